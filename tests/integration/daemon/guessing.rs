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

/// That many guesses at the same time, each in a session of its own.
async fn guess(hismail: &Organization, count: usize) {
    let guesses = (0..count).map(|_| {
        let ip = hismail.ip;
        tokio::spawn(async move {
            let mut talk = Talk::open_tls(ip, SUBMISSIONS).await;
            talk.expect("220 ").await;
            talk.ask("EHLO client.test", "250").await;
            talk.ask(&format!("AUTH PLAIN {}", plain("wrong horse")), "535")
                .await;
            talk.ask("QUIT", "221").await;
        })
    });
    for guess in guesses.collect::<Vec<_>>() {
        guess.await.unwrap();
    }
}

/// Many threads that block, each of which may be given a password to check.
async fn occupy_threads(hismail: &Organization) {
    let letters = (0..40).map(|_| {
        let ip = hismail.ip;
        tokio::spawn(async move {
            let mut talk = Talk::smtp(ip).await;
            let letter = "From: carol@plain.test\r\n\r\nhi\r\n";
            let reply = talk.transfer("carol@plain.test", &[BOB], letter).await;
            assert!(reply.starts_with("250"), "{reply}");
        })
    });
    for letter in letters.collect::<Vec<_>>() {
        letter.await.unwrap();
    }
    hismail.idle().await;
}

/// RFC 9106 has a check fill memory; two checks at a time fill it twice, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn refused_logins_take_no_more_memory_than_those_that_are_checked_at_a_time() {
    const MIB: u64 = 1024;
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let usual = NonZeroU32::new(19 * 1024).unwrap();
    let hismail = hismail.config(|config| config.accounts.password_memory_kib = usual);
    let hismail = hismail.build().await;
    let process = hismail.spawn().await;
    occupy_threads(&hismail).await;
    guess(&hismail, 2).await;
    let before = process.resident_kib();
    for _ in 0..3 {
        guess(&hismail, 20).await;
    }
    let grown = process.resident_kib().saturating_sub(before);
    assert!(grown < 64 * MIB, "{grown} KiB more");
}
