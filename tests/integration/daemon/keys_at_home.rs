//! Users whose private keys never were on the server.

use dimed::base::encoding::base64_decode;
use dimed::dime::convert::from_dmime1;
use dimed::dime::dmime1::inspect::readable;
use dimed::dime::dmime1::{Limits, Message};
use dimed::dime::keys::UserKeys;
use dimed::dime::signet;

use super::exchange::{LETTER, assert_same_letter, hermail, shows};
use crate::support::maildir::split;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

/// Adds a user of hismail whose private keys exist here alone, and returns them.
async fn add_paranoid(hismail: &Organization, world: &World, local: &str) -> UserKeys {
    let keys = UserKeys::generate(&mut rand::rng());
    let (request, password) = (world.home().join("pat.ssr"), world.home().join("pat.password"));
    std::fs::write(&request, signet::request(&keys).unwrap().to_armor()).unwrap();
    std::fs::write(&password, PASSWORD).unwrap();
    let address = hismail.address(local);
    let (request, password) = (request.to_str().unwrap(), password.to_str().unwrap());
    hismail
        .cli(&[
            "account",
            "add",
            &address,
            "--trust",
            "paranoid",
            "--request",
            request,
            "--password-file",
            password,
        ])
        .await;
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_keeps_the_keys_gets_the_letter_sealed_and_can_open_it() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world.organization("hismail.test").build().await;
    let keys = add_paranoid(&hismail, &world, "pat").await;
    let (_here, there) = (hermail.start().await, hismail.start().await);
    let letter = LETTER.replace("bob@", "pat@");
    hermail.submit("alice", &["pat@hismail.test"], &letter).await;
    let delivered = hismail.maildir("pat").only().await;
    let (header, body) = split(&delivered);
    assert!(
        header.contains("\r\nContent-Type: application/vnd.dime\r\n"),
        "{header}"
    );
    let hidden = ["alice", "hermail.test>", "=?UTF-8?B?", "numbers.bin"];
    assert_eq!(shows(delivered.as_bytes(), &hidden), None);
    let object = base64_decode(&body.replace("\r\n", "")).unwrap();
    assert_eq!(there.objects(1).await, std::slice::from_ref(&object));
    let message = Message::parse(object, &Limits::default()).unwrap();
    let content = readable(&message, &keys.encryption).content();
    let opened = String::from_utf8(from_dmime1(&content).mime).unwrap();
    assert_same_letter(&opened, &letter);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_keeps_the_keys_cannot_submit_plain_text_for_a_dime_domain() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world.organization("hismail.test").build().await;
    add_paranoid(&hismail, &world, "pat").await;
    let (_here, _there) = (hermail.start().await, hismail.start().await);
    let mut talk = Talk::submission(hismail.ip, "pat@hismail.test").await;
    talk.ask("MAIL FROM:<pat@hismail.test>", "250").await;
    let refused = talk.ask("RCPT TO:<alice@hermail.test>", "550 5.7.1").await;
    assert!(refused.contains("seal it before you submit it"), "{refused}");
}
