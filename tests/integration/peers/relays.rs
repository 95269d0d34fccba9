//! Other mail servers bring us mail and take mail from us.

use super::exim::Exim;
use super::postfix::Postfix;
use super::{Mta, bring, hard_messages, holds, large_message, transfer};
use crate::support::eventually;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

/// Octets of the large message.
const LARGE: usize = 20 << 20;
const CAROL: &str = "carol@plain.test";
const ALICE: &str = "alice@hermail.test";

async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test").plain();
    builder.accounts(&["bob", "jürgen"]).build().await
}

/// Gives the relay all kinds of mail for our users, who get it as it was.
async fn relays_to(hismail: &Organization, relay: &impl Mta) {
    let served = hismail.start().await;
    let messages = hard_messages(CAROL);
    for octets in &messages {
        bring(relay.ip(), CAROL, "bob@hismail.test", octets).await;
    }
    let large = large_message(CAROL, LARGE);
    bring(relay.ip(), CAROL, "bob@hismail.test", &large).await;
    bring(relay.ip(), "zoë@plain.test", "jürgen@hismail.test", &messages[3]).await;

    let delivered = hismail.maildir("bob").expect_octets(5).await;
    for octets in messages.iter().chain([&large]) {
        assert!(holds(&delivered, octets), "not as it was sent");
    }
    let delivered = hismail.maildir("jürgen").only().await;
    assert!(holds(&[delivered.clone().into_bytes()], &messages[3]));
    assert!(
        delivered.starts_with("Return-Path: <zoë@plain.test>\r\n"),
        "{delivered}"
    );
    assert!(delivered.contains("with UTF8SMTPS id "), "{delivered}");
    served.stop().await;
}

/// Alice writes all kinds of mail to somebody whose host is the relay, one after the other, which gets it as it was.
async fn takes_from_us(world: &World, relay: &impl Mta) {
    world.plain_domain("plain.test", relay.ip());
    let hermail = world.organization("hermail.test").plain();
    let hermail = hermail.accounts(&["alice"]).build().await;
    let served = hermail.start().await;
    let messages = hard_messages(ALICE);
    let large = large_message(ALICE, LARGE);
    let mut talk = Talk::submission(hermail.ip, ALICE).await;
    for octets in &messages {
        transfer(&mut talk, ALICE, CAROL, octets).await;
        hermail.idle().await;
    }
    transfer(&mut talk, ALICE, "zoë@plain.test", &large).await;
    hermail.idle().await;
    let taken = relay.maildir().expect_octets(5).await;
    for octets in messages.iter().chain([&large]) {
        assert!(holds(&taken, octets), "not as it was sent:\n{}", relay.log());
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_relays_to_us_by_mx_with_tls_and_pipelining() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let more = format!("debug_peer_list = {}\n", hismail.ip);
    let postfix = Postfix::start_with(world.name_server(), |_| more).await;
    relays_to(&hismail, &postfix).await;
    eventually("Postfix' queue to empty", || {
        postfix.queue().contains("queue is empty").then_some(())
    })
    .await;
    let log = postfix.log();
    assert!(
        log.contains("TLS connection established to mx.hismail.test"),
        "{log}"
    );
    // It sends three commands before it reads the first reply.
    let (_, after) = log.split_once(": MAIL FROM:").unwrap();
    let (before, _) = after.split_once(": < mx.hismail.test").unwrap();
    assert!(
        before.contains(": RCPT TO:") && before.contains(": DATA"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_takes_from_us_by_mx_in_chunks_in_one_session() {
    let world = World::new().await;
    let postfix = Postfix::start(world.name_server()).await;
    takes_from_us(&world, &postfix).await;
    let ended = || postfix.log().contains(": disconnect from ").then_some(());
    eventually("the session to end", ended).await;
    let log = postfix.log();
    let (_, commands) = log.split_once(": disconnect from ").unwrap();
    assert!(
        commands.contains(" mail=5 rcpt=5 bdat=") && !log.contains(" data="),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exim_relays_to_us_by_mx_with_tls_and_in_chunks() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let exim = Exim::start(world.name_server()).await;
    relays_to(&hismail, &exim).await;
    let log = exim.log();
    let sent: Vec<&str> = log.lines().filter(|line| line.contains(" => ")).collect();
    assert_eq!(sent.len(), 6, "{log}");
    for line in sent {
        assert!(
            line.contains(" X=TLS1.3:") && line.contains(" K C=\"250"),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exim_takes_from_us_by_mx_in_chunks_in_one_session() {
    let world = World::new().await;
    let exim = Exim::start(world.name_server()).await;
    takes_from_us(&world, &exim).await;
    let log = exim.log();
    assert_eq!(log.matches(" (TCP/IP connection count").count(), 1, "{log}");
    let taken: Vec<&str> = log.lines().filter(|line| line.contains(" <= ")).collect();
    assert!(
        taken.len() == 5 && taken.iter().all(|line| line.contains(" K S=")),
        "{log}"
    );
}
