//! The daemon dies between sealing a message and recording that it is sealed: one object arrives, and nothing is left of
//! the message.

use std::num::NonZeroU64;
use std::time::Duration;

use dimed::queue::runner::{Attempt, Times};
use dimed::store::SettledState;

use super::exchange::{LETTER, assert_same_letter, hismail};
use super::privacy::assert_absent_at_rest;
use crate::support::PATIENCE;
use crate::support::organization::Organization;
use crate::support::world::World;

const LEASE: Duration = Duration::from_secs(600);
const WAITING: &str = "SELECT count(*) FROM recipients WHERE state = 'waiting'";
const FINAL: &str = "SELECT count(*) FROM recipients WHERE state <> 'waiting'";
/// Octets written for messages that do not exist yet.
const BEGUN: &str = "SELECT count(*) FROM pieces WHERE message IN (SELECT message FROM incoming)";
const SECRETS: [&str; 3] = ["bob@hismail", "Grüße, with", "numbers.bin"];

async fn hermail(world: &World, retry_first_secs: u64) -> Organization {
    let builder = world.organization("hermail.test").accounts(&["alice"]);
    let change = move |config: &mut dimed::config::Config| {
        config.queue.retry_first_secs = NonZeroU64::new(retry_first_secs).unwrap();
    };
    builder.config(change).build().await
}

/// So long that its object is written while it is sealed.
fn letter(octets: usize) -> String {
    let line = "0123456789".repeat(7) + "\r\n";
    LETTER.to_owned() + &line.repeat(octets / line.len())
}

/// Everything has gone on and nothing is kept.
async fn assert_empty(organization: &Organization) {
    organization.idle().await;
    for sql in [
        "SELECT count(*) FROM messages",
        "SELECT count(*) FROM pieces",
        "SELECT count(*) FROM incoming",
        "SELECT count(*) FROM tickets",
    ] {
        assert_eq!(organization.count(sql).await, 0, "{sql}");
    }
}

/// The very point: the object is whole, and the transaction that records it never comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_sealed_and_never_recorded_is_sealed_anew_and_arrives_once() {
    let world = World::new().await;
    let hermail = hermail(&world, 3600).await;
    let hismail = hismail(&world).await;
    let here = hermail.start().await;
    // Nobody answers for hismail, so the message stays as it is.
    let letter = letter(1_000_000);
    hermail.submit("alice", &["bob@hismail.test"], &letter).await;
    let waits = |kinds: Vec<String>| (!kinds.is_empty()).then_some(());
    crate::support::eventually("an attempt", || waits(here.witness.routes_to("bob@hismail.test"))).await;
    here.stop().await;

    let there = hismail.start().await;
    let services = hermail.services().await;
    let now = services.clock.now().after(Duration::from_secs(7200));
    let until = now.after(LEASE);
    let claim = services.store.claim(now, until, 1).await.unwrap().remove(0);
    let settled = services.mailer().attempt(&claim, Times::from_now(LEASE)).await;
    assert_eq!(settled.settlements[0].state, SettledState::Expanded);
    assert_eq!(settled.follow_ups.len(), 1);
    // A process that is killed cleans nothing up.
    std::mem::forget(settled);
    drop(services);
    assert!(hermail.count(BEGUN).await > 0);
    assert_eq!((hermail.count(WAITING).await, hermail.count(FINAL).await), (1, 0));
    assert_absent_at_rest(&hermail, &SECRETS);

    let _here = hermail.spawn().await;
    assert_same_letter(&hismail.maildir("bob").only().await, &letter);
    hermail.idle().await;
    // The object that was never recorded is swept by a start at which nobody else, like this test, has the database open.
    assert_eq!(hermail.count("SELECT count(*) FROM messages").await, 0);
    assert_eq!(there.objects(1).await.len(), 1);
    assert_absent_at_rest(&hermail, &SECRETS);
    hismail.idle().await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    there.stop().await;
}

/// A real process, killed while it seals.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_while_it_seals_loses_nothing_and_sends_one_object() {
    let world = World::new().await;
    let hermail = hermail(&world, 1).await;
    let hismail = hismail(&world).await;
    let there = hismail.start().await;
    let mut here = hermail.spawn().await;
    let letter = letter(10_000_000);
    hermail.submit("alice", &["bob@hismail.test"], &letter).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while hermail.count(BEGUN).await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it is not sealed");
    }
    here.kill();
    assert!(hermail.count(BEGUN).await > 0, "killed too late");
    assert_eq!((hermail.count(WAITING).await, hermail.count(FINAL).await), (1, 0));
    assert!(there.witness.objects().is_empty());
    assert_absent_at_rest(&hermail, &SECRETS);

    let _here = hermail.spawn().await;
    let delivered = hismail.maildir("bob").only().await;
    assert_same_letter(&delivered, &letter);
    assert_empty(&hermail).await;
    assert_eq!(there.objects(1).await.len(), 1);
    assert_absent_at_rest(&hermail, &SECRETS);
    there.stop().await;
}
