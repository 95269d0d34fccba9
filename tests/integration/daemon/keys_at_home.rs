//! Users whose private keys never were on the server.

use dimed::base::encoding::base64_decode;
use dimed::cli::Exit;
use dimed::dime::convert::from_dmime1;
use dimed::dime::dmime1::inspect::readable;
use dimed::dime::dmime1::{Limits, Message};
use dimed::dime::keys::UserKeys;
use dimed::dime::signet;
use serde_json::json;

use super::exchange::{LETTER, SIGNETS, assert_same_letter, hand_out_signets, hermail, shows};
use crate::support::maildir::split;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::tool::Desk;
use crate::support::world::World;

/// Adds a user of hismail who has made keys and key set with the tools, at a desk of their own.
async fn add_pat(hismail: &Organization) -> Desk {
    let desk = Desk::new();
    desk.done("signet new-request pat@hismail.test");
    desk.write("password", PASSWORD);
    let file = |name: &str| desk.path(name).to_str().unwrap().to_owned();
    let (request, password) = (file("pat-hismail.test.ssr"), file("password"));
    let add = ["account", "add", "pat@hismail.test", "--trust", "paranoid"];
    let files = ["--request", &request, "--password-file", &password];
    hismail.cli(&[&add[..], &files].concat()).await;
    let set = file("pat-hismail.test.keyset");
    hismail
        .cli(&["key", "set", "import", "pat@hismail.test", &set])
        .await;
    desk
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_key_set_at_home_gets_the_letter_in_format_2_and_opens_it_with_the_tools() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world.organization("hismail.test").build().await;
    let desk = add_pat(&hismail).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let letter = LETTER.replace("bob@", "pat@");
    hermail.submit("alice", &["pat@hismail.test"], &letter).await;
    let delivered = hismail.maildir("pat").only().await;
    let header = split(&delivered).0;
    assert!(
        header.contains("\r\nContent-Type: application/vnd.dime\r\n") && header.contains("Return-Path: <>"),
        "{header}"
    );
    let hidden = ["alice", "hermail.test>", "=?UTF-8?B?", "numbers.bin"];
    assert_eq!(shows(delivered.as_bytes(), &hidden), None);

    hand_out_signets(&desk, (&hermail, "alice"), (&hismail, "pat")).await;
    desk.write("mail.eml", &delivered);
    let keys = "--key pat-hismail.test.key --key pat-hismail.test.kem";
    let verified = desk.json(
        0,
        &format!("message verify --as recipient {keys} {SIGNETS} mail.eml"),
    );
    assert_eq!(
        [&verified["format"], &verified["suite"], &verified["wrapped"]],
        [&json!(2), &json!("xwing"), &json!(true)]
    );
    let opened = desk.done(&format!("message open --as recipient {keys} {SIGNETS} mail.eml"));
    assert_same_letter(&opened, &letter);
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// `dmime2.md` §3.2: what the server cannot sign, the user is asked for in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_by_mail_that_one_key_set_is_left_and_told_once() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world.organization("hismail.test").build().await;
    let desk = add_pat(&hismail).await;
    hand_out_signets(&desk, (&hermail, "alice"), (&hismail, "pat")).await;
    // One for now, and one for in two weeks.
    desk.done("key set --ahead 2 --key pat-hismail.test.key --signet recipient.signet");
    let files = desk.files();
    let is_ahead = |name: &&String| name.starts_with("pat-hismail.test-") && name.ends_with(".keyset");
    let set = desk.path(files.iter().find(is_ahead).unwrap());
    let set = set.to_str().unwrap();
    hismail
        .cli(&["key", "set", "import", "pat@hismail.test", set])
        .await;
    for _ in 0..2 {
        let there = hismail.start().await;
        let mail = hismail.maildir("pat").only().await;
        let header = split(&mail).0;
        assert!(header.starts_with("Return-Path: <>\r\n"), "{header}");
        assert!(
            header.contains("\r\nSubject: Your keys for sealed mail run out\r\n"),
            "{header}"
        );
        assert!(
            mail.contains("    dimed key set import pat@hismail.test FILE --submit mx.hismail.test\r\n"),
            "{mail}"
        );
        hismail.idle().await;
        there.stop().await;
    }
}

/// Adds a user of hismail whose private keys exist here alone, and returns them.
pub(super) async fn add_paranoid(hismail: &Organization, world: &World, local: &str) -> UserKeys {
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

/// What Bob writes to a colleague.
fn letter_of_bob() -> String {
    LETTER
        .replace("Alice <alice@hermail.test>", "Bob <bob@hismail.test>")
        .replace("To: Bob <bob@hismail.test>", "To: Pat <pat@hismail.test>")
        .replace("<letter-1@hermail.test>", "<letter-1@hismail.test>")
}

/// By the same rules as if it had left and come back, but nothing leaves: no host is there to be asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_s_letter_to_a_user_who_keeps_the_keys_is_delivered_sealed() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let unreachable = |record: String| record.replace("dx=mx.hismail.test", "dx=nowhere.hismail.test");
    let hismail = hismail.record(unreachable).build().await;
    let desk = add_pat(&hismail).await;
    let served = hismail.start().await;
    let (pat, bob) = ("pat@hismail.test", "bob@hismail.test");
    let explained = hismail.cli(&["route", "explain", pat, "--from", bob]).await;
    assert!(explained.contains("(local_sealed)"), "{explained}");
    let letter = letter_of_bob();
    hismail.submit("bob", &[pat, bob], &letter).await;
    let delivered = hismail.maildir("pat").only().await;
    let header = split(&delivered).0;
    assert!(
        header.contains("\r\nContent-Type: application/vnd.dime\r\n") && header.contains("Return-Path: <>"),
        "{header}"
    );
    let hidden = ["bob@", "Bob <", "=?UTF-8?B?", "numbers.bin"];
    assert_eq!(shows(delivered.as_bytes(), &hidden), None);
    hand_out_signets(&desk, (&hismail, "bob"), (&hismail, "pat")).await;
    desk.write("mail.eml", &delivered);
    let keys = "--key pat-hismail.test.key --key pat-hismail.test.kem";
    let opened = desk.done(&format!("message open --as recipient {keys} {SIGNETS} mail.eml"));
    assert_same_letter(&opened, &letter);
    // Bob opens his here.
    assert_same_letter(&hismail.maildir("bob").only().await, &letter);
    // From elsewhere by SMTP there is nobody to seal.
    let mut talk = Talk::smtp(hismail.ip).await;
    let plain = letter.replace("Bob <bob@hismail.test>", "Carol <carol@plain.test>");
    let reply = talk.transfer("carol@plain.test", &[pat], &plain).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let all = hismail.maildir("pat").expect(2).await;
    assert_eq!(
        all.iter()
            .filter(|mail| mail.contains("Carol <carol@plain.test>"))
            .count(),
        1
    );
    assert!(served.witness.objects().is_empty(), "nothing has left");
    hismail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_s_letter_is_sealed_in_format_1_for_a_user_without_a_key_set() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let keys = add_paranoid(&hismail, &world, "pat").await;
    let served = hismail.start().await;
    let letter = letter_of_bob();
    hismail.submit("bob", &["pat@hismail.test"], &letter).await;
    let delivered = hismail.maildir("pat").only().await;
    let (header, body) = split(&delivered);
    assert!(
        header.contains("\r\nContent-Type: application/vnd.dime\r\n"),
        "{header}"
    );
    let object = base64_decode(&body.replace("\r\n", "")).unwrap();
    let message = Message::parse(object, &Limits::default()).unwrap();
    let content = readable(&message, &keys.encryption).content();
    assert_same_letter(&String::from_utf8(from_dmime1(&content).mime).unwrap(), &letter);
    hismail.idle().await;
    served.stop().await;
}

/// Whoever had keys gets no plain text because there are none now; others get their mail meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_s_letter_waits_while_there_is_no_signet_to_seal_it_for() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob", "dora"]);
    let hismail = hismail.build().await;
    add_pat(&hismail).await;
    hismail.cli(&["signet", "revoke", "pat@hismail.test"]).await;
    // Nor does a broken signet matter where none is needed.
    hismail
        .change_database("UPDATE signets SET object = x'00' WHERE name = 'dora@hismail.test'")
        .await;
    let served = hismail.start().await;
    let (pat, bob) = ("pat@hismail.test", "bob@hismail.test");
    let (exit, explained) = hismail.answered(&["route", "explain", pat, "--from", bob]).await;
    assert!(explained.contains("(local_held_q1)"), "{explained}");
    assert_eq!(exit, Exit::TryLater);
    hismail
        .submit("bob", &[pat, "dora@hismail.test"], &letter_of_bob())
        .await;
    assert_same_letter(&hismail.maildir("dora").only().await, &letter_of_bob());
    let waits = async || hismail.cli(&["queue", "list"]).await.contains(pat);
    assert!(waits().await && hismail.maildir("pat").count() == 0);
    served.stop().await;
    assert!(waits().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_s_letter_stays_until_the_mailbox_has_it_sealed() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    add_pat(&hismail).await;
    hismail.block_mailbox("pat");
    let served = hismail.start().await;
    hismail
        .submit("bob", &["pat@hismail.test"], &letter_of_bob())
        .await;
    let listed = hismail.cli(&["queue", "list"]).await;
    assert!(listed.contains("pat@hismail.test"), "{listed}");
    std::fs::remove_file(hismail.maildir("pat").0).unwrap();
    let delivered = hismail.maildir("pat").only().await;
    assert!(
        delivered.contains("\r\nContent-Type: application/vnd.dime\r\n"),
        "{delivered}"
    );
    hismail.idle().await;
    served.stop().await;
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
    assert!(
        refused.contains("seal it at home (dimed message seal) and submit it sealed (dimed message send)"),
        "{refused}"
    );
    // Nor by another spelling, nor through addresses of ours that lead there.
    for (alias, target) in [
        ("friend", "alice@hermail.test"),
        ("list", "nobody@plain.test"),
        ("list", "friend@hismail.test"),
        ("*", "list@hismail.test"),
    ] {
        hismail
            .cli(&["alias", "add", &hismail.address(alias), target])
            .await;
    }
    for path in [
        "ALICE@HerMail.TEST",
        "\"alice\"@hermail.test",
        "@relay.test:alice@hermail.test",
        "friend@hismail.test",
        "Friend+x@hismail.test",
        "list@hismail.test",
        "anybody@hismail.test",
    ] {
        assert_eq!(
            talk.ask(&format!("RCPT TO:<{path}>"), "550 5.7.1").await,
            refused,
            "{path}"
        );
    }
}

/// Nobody can seal for a domain that has left DIME, so its users are not told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_keeps_the_keys_submits_plain_text_once_the_domain_has_left_dime() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    add_paranoid(&hismail, &world, "pat").await;
    let (_here, _there) = (hermail.start().await, hismail.start().await);
    let mut talk = Talk::submission(hismail.ip, "pat@hismail.test").await;
    talk.ask("MAIL FROM:<pat@hismail.test>", "250").await;
    let paths = ["alice@hermail.test", "bob@hismail.test"];
    for path in paths {
        talk.ask(&format!("RCPT TO:<{path}>"), "550 5.7.1").await;
    }
    hismail
        .change_database(
            "UPDATE local_domains SET policy = NULL, subdomain_policy = NULL, delivery_hosts = NULL, \
             expiry_days = NULL",
        )
        .await;
    for path in paths {
        talk.ask(&format!("RCPT TO:<{path}>"), "250").await;
    }
}
