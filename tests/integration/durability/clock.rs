//! A clock that jumps ends and destroys nothing, until the time is plausible again or an operator confirms it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use dimed::base::guarded_clock::GuardedClock;
use dimed::base::id::QueueId;
use dimed::base::time::{Clock as _, SystemClock, Timestamp};
use dimed::cli::Exit;
use dimed::config::{Config, read_master_key};
use dimed::mail::address::{Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::store::sqlite::SqliteStore;
use dimed::store::{
    Committed, Content, Envelope, KeySets as _, MasterKey, NewMessage, ReplayEntry, Source, Spool as _,
};

use crate::support::eventually;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::watcher::until_reasons;
use crate::support::world::World;

const HOUR_MS: i64 = 3_600_000;

async fn hismail(world: &World) -> Organization {
    // Everything that cannot be delivered at once comes back at once.
    let hasty = |config: &mut Config| {
        config.queue.lifetime_secs = NonZeroU64::new(1).unwrap();
        config.queue.retry_max_secs = NonZeroU64::new(1).unwrap();
    };
    let builder = world.organization("hismail.test").accounts(&["alice", "bob"]);
    let hismail = builder.config(hasty).build().await;
    hismail.block_mailbox("bob");
    hismail
}

async fn submit(hismail: &Organization) {
    let message = "From: alice@hismail.test\r\n\r\nhello\r\n";
    let mut talk = Talk::submission(hismail.ip, "alice@hismail.test").await;
    let reply = talk
        .transfer("alice@hismail.test", &["bob@hismail.test"], message)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
}

fn says(log: &str, event: &str) -> bool {
    log.contains(&format!("\"{event}\""))
}

/// The last time that the daemon trusted is moved, which is the same as if the clock had jumped while it was down.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_back_while_the_time_is_in_doubt_and_all_does_once_it_is_confirmed() {
    for away in [-3 * HOUR_MS, 3 * HOUR_MS] {
        let world = World::new().await;
        let hismail = hismail(&world).await;
        let trusted = Timestamp(SystemClock.now().0 + away);
        let store = hismail.services().await.store;
        store.note_clock(trusted, false).await.unwrap();
        drop(store);
        let process = hismail.spawn().await;
        eventually("doubt", || says(&process.log(), "clock.doubted").then_some(())).await;
        assert_eq!(hismail.answered(&["clock", "show"]).await.0, Exit::No);
        until_reasons(hismail.ip, &["clock_doubted"]).await;
        submit(&hismail).await;
        // Several attempts fail, each of them after its lifetime.
        eventually("attempts", || {
            let attempts = process.log().matches("\"queue.attempt.local\"").count();
            (attempts >= 3).then_some(())
        })
        .await;
        assert_eq!(hismail.maildir("alice").count(), 0, "it came back {away}");

        hismail.cli(&["clock", "confirm"]).await;
        let report = hismail.maildir("alice").only().await;
        assert!(report.contains("multipart/report"), "{report}");
        assert!(says(&process.log(), "clock.trusted"));
        assert_eq!(hismail.answered(&["clock", "show"]).await.0, Exit::Done);
        until_reasons(hismail.ip, &[]).await;
    }
}

/// What was confirmed or trusted holds for the next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_right_is_not_doubted_at_the_next_start() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let mut process = hismail.spawn().await;
    submit(&hismail).await;
    hismail.maildir("alice").only().await;
    process.kill();
    let process = hismail.spawn().await;
    submit(&hismail).await;
    hismail.maildir("alice").expect(2).await;
    assert!(!says(&process.log(), "clock.doubted"));
}

/// A daemon whose clock is a year ahead puts mail off until then.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_clock_has_put_off_that_was_ahead_goes_out_at_the_next_start() {
    let world = World::new().await;
    let quick = |config: &mut Config| config.queue.retry_max_secs = NonZeroU64::new(1).unwrap();
    let builder = world.organization("hismail.test").accounts(&["alice", "bob"]);
    let hismail = builder.config(quick).build().await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    submit(&hismail).await;
    eventually("an attempt", || {
        says(&process.log(), "queue.attempt.local").then_some(())
    })
    .await;
    process.kill();
    hismail
        .change_database(
            "UPDATE recipients SET due_at = due_at + 31536000000, lease = NULL, leased_until = NULL",
        )
        .await;
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    let process = hismail.spawn().await;
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.contains("hello"), "{delivered}");
    assert!(says(&process.log(), "queue.brought_forward"));
}

/// The store asks the clock before it forgets or destroys anything.
#[tokio::test(flavor = "multi_thread")]
async fn replay_entries_stay_and_keys_are_kept_while_the_time_is_in_doubt() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let config = Config::load(&hismail.config).unwrap();
    let key = MasterKey::new(read_master_key(&config.server.master_key_file).unwrap());
    let clock = Arc::new(GuardedClock::system());
    let database = config.server.database();
    let store = SqliteStore::open(&database, key, Arc::clone(&clock) as _);
    let store = store.await.unwrap();
    let now = clock.now();
    let entry = ReplayEntry {
        key: [7; 32],
        digest: [1; 16],
        until: now.before(Duration::from_secs(60)),
    };
    assert_eq!(remember(&store, entry).await, Committed::Stored);
    let years = now.after(Duration::from_secs(10 * 365 * 24 * 3600));
    let keys = "SELECT count(*) FROM kem_keys";
    let before = hismail.count(keys).await;
    assert!(before > 0);

    clock.resume(now.before(Duration::from_secs(2 * 3600)));
    assert!(clock.look().is_some());
    // By the clock it has expired.
    assert_eq!(remember(&store, entry).await, Committed::Duplicate);
    assert_eq!(store.destroy_kem_keys(years).await.unwrap(), 0);
    assert_eq!(hismail.count(keys).await, before);

    clock.confirm();
    assert_eq!(remember(&store, entry).await, Committed::Stored);
    assert!(store.destroy_kem_keys(years).await.unwrap() > 0);
    assert_eq!(hismail.count(keys).await, 0);
}

/// Takes a message with that entry.
async fn remember(store: &SqliteStore, entry: ReplayEntry) -> Committed {
    let now = SystemClock.now();
    let message = NewMessage {
        id: QueueId::random(&mut rand::rng()),
        envelope: Envelope {
            reverse_path: ReversePath(None),
            source: Source::Smtp,
            smtputf8: false,
            eight_bit: false,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        },
        content: Content::Mime,
        recipients: vec!["bob@hismail.test".parse::<Mailbox>().unwrap().into()],
        accepted_at: now,
        due_at: now,
        ticket: None,
    };
    let body = store.begin(message.id).await.unwrap();
    body.commit_once(message, entry).await.unwrap()
}
