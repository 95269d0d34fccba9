//! Guessing passwords.

use std::num::NonZeroU32;

use dimed::base::encoding::base64;

use super::sealed_submission::dmtp_submission;
use crate::support::loopback::SUBMISSIONS;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

const BOB: &str = "bob@hismail.test";

fn plain(password: &str) -> String {
    base64(format!("\0{BOB}\0{password}").as_bytes())
}

async fn submissions(hismail: &Organization) -> Talk {
    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_passwords_is_not_listened_to_any_more() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let limit = NonZeroU32::new(4).unwrap();
    let hismail = hismail.config(|config| config.limits.refused_logins_per_hour = limit);
    let hismail = hismail.build().await;
    let served = hismail.start().await;
    // Who knows the password uses up nothing, also by a mechanism of two steps that is broken off.
    for _ in 0..10 {
        Talk::submission(hismail.ip, BOB).await;
    }
    let first = base64(format!("n,,n={BOB},r=abcdefghijklmnop").as_bytes());
    let mut talk = submissions(&hismail).await;
    talk.ask(&format!("AUTH SCRAM-SHA-256 {first}"), "334").await;
    talk.ask("*", "501").await;
    talk.ask(&format!("AUTH PLAIN {}", plain(PASSWORD)), "235").await;

    let mut talk = submissions(&hismail).await;
    for _ in 0..2 {
        talk.ask(&format!("AUTH PLAIN {}", plain("wrong horse")), "535")
            .await;
    }
    let mut talk = dmtp_submission(&hismail).await;
    for _ in 0..2 {
        talk.ask(&format!("AUTH PLAIN {}", plain("wrong horse")), "535")
            .await;
    }
    // Neither a right password nor a name is looked at now.
    let attempts = [
        format!("PLAIN {}", plain(PASSWORD)),
        format!("SCRAM-SHA-256 {first}"),
    ];
    for attempt in attempts {
        let mut talk = submissions(&hismail).await;
        talk.ask(&format!("AUTH {attempt}"), "454 4.7.0 Too many refused logins")
            .await;
        talk.ask("NOOP", "250").await;
        let mut talk = dmtp_submission(&hismail).await;
        talk.ask(&format!("AUTH {attempt}"), "451 Too many refused logins")
            .await;
        talk.ask("NOOP", "250").await;
    }
    served.stop().await;
}
