//! Rows that are kept in memory, while the same process or another one changes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dimed::base::time::ManualClock;
use dimed::crypto::at_rest::Key;
use dimed::dime::fingerprint::{AnyFingerprint, CryptoFingerprint};
use dimed::mail::address::Domain;
use dimed::store::sqlite::SqliteStore;
use dimed::store::*;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection, query, query_scalar};

use super::suite::{NOON, domain, noon_plus, signet};

/// After that, whatever another process has changed is seen.
const UNSEEN: Duration = Duration::from_millis(10);

/// A database that two have open, as a daemon and a command do.
struct Shared {
    folder: tempfile::TempDir,
    daemon: SqliteStore,
    command: SqliteStore,
}

impl Shared {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = async || {
            let master = MasterKey::new(Key::from_bytes([1; 32]));
            let clock = Arc::new(ManualClock::new(NOON));
            SqliteStore::open(&folder.path().join("dimed.db"), master, clock)
                .await
                .unwrap()
        };
        let (daemon, command) = (open().await, open().await);
        Self {
            folder,
            daemon,
            command,
        }
    }

    async fn raw(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("dimed.db"));
        options.connect().await.unwrap()
    }
}

fn name() -> Domain {
    domain("hismail.test")
}

fn pin(number: u64) -> Pin {
    Pin {
        domain: name(),
        record: format!("ver=1 {number}"),
        secure: true,
        first_seen_at: NOON,
        refresh_at: noon_plus(60),
        expires_at: noon_plus(600),
    }
}

fn served() -> LocalDomain {
    LocalDomain {
        name: name(),
        dime: Some(DimeSettings {
            policy: dimed::dime::record::Policy::Mixed,
            subdomain_policy: dimed::dime::record::SubdomainPolicy::Strict,
            delivery_hosts: vec![domain("dx.hismail.test")],
            expiry_days: None,
        }),
        created_at: NOON,
    }
}

#[tokio::test]
async fn a_pin_that_a_command_has_forgotten_is_gone_when_the_command_is_done() {
    let shared = Shared::new().await;
    let (daemon, command) = (&shared.daemon, &shared.command);
    for number in 0..20 {
        daemon.set_pin(pin(number)).await.unwrap();
        assert_eq!(daemon.pin(&name()).await.unwrap(), Some(pin(number)));
        assert!(command.drop_pin(&name()).await.unwrap());
        assert_eq!(daemon.pin(&name()).await.unwrap(), None, "{number}");
    }
}

#[tokio::test]
async fn a_domain_is_known_to_be_ours_or_out_of_dime_when_the_command_is_done() {
    let shared = Shared::new().await;
    let (daemon, command) = (&shared.daemon, &shared.command);
    assert_eq!(daemon.local_domain(&name()).await.unwrap(), None);
    command.add_domain(served()).await.unwrap();
    assert_eq!(daemon.local_domain(&name()).await.unwrap(), Some(served()));
    command.begin_retirement(&name(), NOON).await.unwrap();
    let (announced, withdrawn) = (RetirementState::Announced, RetirementState::Withdrawn);
    command
        .advance_retirement(&name(), announced, withdrawn, NOON, None)
        .await
        .unwrap();
    assert_eq!(daemon.local_domain(&name()).await.unwrap(), Some(served()));
    command.finish_retirement(&name()).await.unwrap();
    let left = daemon.local_domain(&name()).await.unwrap().unwrap();
    assert_eq!(left.dime, None);
}

#[tokio::test]
async fn a_pin_that_another_process_has_set_is_seen_soon() {
    let shared = Shared::new().await;
    assert_eq!(shared.daemon.pin(&name()).await.unwrap(), None);
    for number in 0..20 {
        shared.command.set_pin(pin(number)).await.unwrap();
        tokio::time::sleep(UNSEEN).await;
        assert_eq!(shared.daemon.pin(&name()).await.unwrap(), Some(pin(number)));
    }
}

/// Whatever order readers and writers come in, nobody reads what was there before a write that has been answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_written_is_read_at_once_by_everybody_in_the_process() {
    let shared = Shared::new().await;
    let store = shared.daemon.clone();
    let written = Arc::new(AtomicU64::new(0));
    store.set_pin(pin(0)).await.unwrap();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (store, written) = (store.clone(), Arc::clone(&written));
            tokio::spawn(async move {
                let mut reads = 0u64;
                while written.load(Ordering::SeqCst) < u64::MAX {
                    let answered = written.load(Ordering::SeqCst);
                    let record = store.pin(&name()).await.unwrap().unwrap().record;
                    let number: u64 = record.strip_prefix("ver=1 ").unwrap().parse().unwrap();
                    assert!(
                        answered == u64::MAX || number >= answered,
                        "{number} after {answered}"
                    );
                    reads += 1;
                    tokio::task::yield_now().await;
                }
                reads
            })
        })
        .collect();
    for number in 1..=200 {
        store.set_pin(pin(number)).await.unwrap();
        written.store(number, Ordering::SeqCst);
    }
    written.store(u64::MAX, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

/// A row in memory may be used while the count stays, so every way of changing one must count.
#[tokio::test]
async fn every_change_of_rows_that_are_kept_is_counted() {
    let shared = Shared::new().await;
    let mut raw = shared.raw().await;
    let mut count: i64 = query_scalar("SELECT count FROM changes")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    for change in [
        "INSERT INTO pins VALUES ('a.test', 'ver=1', 0, 1, 2, 3, x'00')",
        "INSERT OR REPLACE INTO pins VALUES ('a.test', 'ver=1', 1, 1, 2, 3, x'00')",
        "UPDATE pins SET expires_at = 4",
        "DELETE FROM pins",
        "INSERT INTO local_domains (name, created_at) VALUES ('a.test', 1)",
        "UPDATE local_domains SET created_at = 2",
        "DELETE FROM local_domains",
    ] {
        query(change).execute(&mut raw).await.unwrap();
        let now: i64 = query_scalar("SELECT count FROM changes")
            .fetch_one(&mut raw)
            .await
            .unwrap();
        assert!(now > count, "{change}");
        count = now;
    }
}

/// What cannot be read is not kept, and neither is it missing.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_each_time() {
    let shared = Shared::new().await;
    shared.daemon.set_pin(pin(1)).await.unwrap();
    query("UPDATE pins SET record = 'ver=1 2'")
        .execute(&mut shared.raw().await)
        .await
        .unwrap();
    tokio::time::sleep(UNSEEN).await;
    for _ in 0..2 {
        let read = shared.daemon.pin(&name()).await;
        assert!(
            matches!(read, Err(Error::Unreadable("pinned record"))),
            "{read:?}"
        );
    }
}

#[tokio::test]
async fn rows_in_memory_are_no_use_once_the_store_is_closed() {
    let shared = Shared::new().await;
    shared.daemon.set_pin(pin(1)).await.unwrap();
    shared.daemon.pin(&name()).await.unwrap();
    shared.daemon.close().await;
    tokio::time::sleep(UNSEEN).await;
    let read = shared.daemon.pin(&name()).await;
    assert!(matches!(read, Err(Error::Database(_))), "{read:?}");
}

const BOB: &str = "bob@hismail.test";

/// The octet that the signet served is made of.
async fn served_octet(store: &SqliteStore, name: &str) -> Option<u8> {
    let object = store.served_signet(name, None).await.unwrap();
    object.map(|object| object[0])
}

/// Which signet, by that octet, is the current one for whoever asks about that one.
async fn current(store: &SqliteStore, asked: u8) -> Option<u8> {
    let asked = AnyFingerprint([asked; 64]);
    let found = store.signet_standing(BOB, asked).await.unwrap();
    found.map(|found| found.current.0[0] - 1)
}

async fn publish(store: &SqliteStore, name: &str, octet: u8) {
    store
        .publish_signet(signet(name, octet, NOON).into())
        .await
        .unwrap();
}

/// In no order do a daemon that serves signets and a command that changes them bring an old one back.
#[tokio::test]
async fn a_signet_that_a_command_has_replaced_or_revoked_is_not_served_when_the_command_is_done() {
    let shared = Shared::new().await;
    let (daemon, command) = (&shared.daemon, &shared.command);
    assert_eq!(served_octet(daemon, BOB).await, None);
    for octet in (1..200).step_by(10) {
        publish(command, BOB, octet).await;
        assert_eq!(served_octet(daemon, BOB).await, Some(octet));
        assert_eq!(current(daemon, octet).await, Some(octet));
        publish(command, BOB, octet + 5).await;
        assert_eq!(current(daemon, octet).await, Some(octet + 5));
        assert_eq!(served_octet(daemon, BOB).await, Some(octet + 5));
        let all = [octet, octet + 5].map(|octet| CryptoFingerprint([octet; 64]));
        assert_eq!(command.revoke_signets(BOB, &all, NOON).await.unwrap(), 2);
        assert_eq!(served_octet(daemon, BOB).await, None);
        assert_eq!(current(daemon, octet + 5).await, None);
        let by_print = AnyFingerprint([octet + 5; 64]);
        assert_eq!(daemon.served_signet(BOB, Some(by_print)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_account_that_a_command_has_removed_has_no_signet_when_the_command_is_done() {
    let shared = Shared::new().await;
    let (daemon, command) = (&shared.daemon, &shared.command);
    let bob = super::suite::mailbox(BOB);
    query(
        "INSERT INTO accounts (folded, domain, address, password_hash, trust_mode, created_at) \
         VALUES ('bob@hismail.test', 'hismail.test', 'bob@hismail.test', '', 'trustful', 1)",
    )
    .execute(&mut shared.raw().await)
    .await
    .unwrap();
    publish(daemon, BOB, 1).await;
    assert_eq!(served_octet(daemon, BOB).await, Some(1));
    let removed = command.remove_account(&bob, false, NOON).await.unwrap();
    assert_eq!(removed, Removal::Done);
    assert_eq!(served_octet(daemon, BOB).await, None);
}

/// What the command wrote is in force after that time even if nobody waits for the command: here somebody writes by hand.
#[tokio::test]
async fn a_signet_revoked_by_hand_is_not_served_for_long() {
    let shared = Shared::new().await;
    publish(&shared.daemon, BOB, 1).await;
    assert_eq!(served_octet(&shared.daemon, BOB).await, Some(1));
    query("UPDATE signets SET revoked_at = 1")
        .execute(&mut shared.raw().await)
        .await
        .unwrap();
    tokio::time::sleep(UNSEEN).await;
    assert_eq!(served_octet(&shared.daemon, BOB).await, None);
    assert_eq!(current(&shared.daemon, 1).await, None);
}

#[tokio::test]
async fn whoever_has_missed_more_changes_than_are_listed_serves_nothing_old() {
    let shared = Shared::new().await;
    publish(&shared.daemon, BOB, 1).await;
    assert_eq!(served_octet(&shared.daemon, BOB).await, Some(1));
    let mut raw = shared.raw().await;
    query("UPDATE signets SET object = x'09'")
        .execute(&mut raw)
        .await
        .unwrap();
    query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) \
         INSERT INTO signet_changes (name) SELECT 'user' || i || '@hismail.test' FROM n",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let listed: i64 = query_scalar("SELECT COUNT(*) FROM signet_changes")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(listed, 10_000, "the list does not grow without end");
    tokio::time::sleep(UNSEEN).await;
    assert_eq!(served_octet(&shared.daemon, BOB).await, Some(9));
}

/// Whatever order readers and writers come in, nobody is served what was there before a write that has been answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signet_that_was_published_is_served_at_once_by_everybody_in_the_process() {
    let shared = Shared::new().await;
    let store = shared.daemon.clone();
    let published = Arc::new(AtomicU64::new(1));
    publish(&store, BOB, 1).await;
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (store, published) = (store.clone(), Arc::clone(&published));
            tokio::spawn(async move {
                while published.load(Ordering::SeqCst) < u64::MAX {
                    let answered = published.load(Ordering::SeqCst);
                    let octet = u64::from(served_octet(&store, BOB).await.unwrap());
                    assert!(
                        answered == u64::MAX || octet >= answered,
                        "{octet} after {answered}"
                    );
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for octet in 2..=200 {
        publish(&store, BOB, octet).await;
        published.store(octet.into(), Ordering::SeqCst);
    }
    published.store(u64::MAX, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// A signet in memory may be served while nothing is listed, so every way of changing one must be.
#[tokio::test]
async fn every_change_of_a_signet_is_listed() {
    let shared = Shared::new().await;
    let mut raw = shared.raw().await;
    for (change, names) in [
        (
            "INSERT INTO signets (name, crypto, complete, identifiable, object, published_at) \
             VALUES ('a.test', x'01', x'02', x'03', x'04', 1)",
            "a.test",
        ),
        (
            "INSERT INTO signets (name, crypto, complete, identifiable, object, published_at) \
             VALUES ('a.test', x'01', x'02', x'03', x'04', 1) \
             ON CONFLICT DO UPDATE SET object = x'05'",
            "a.test",
        ),
        ("UPDATE signets SET revoked_at = 2", "a.test"),
        ("UPDATE signets SET complete = x'07'", "a.test"),
        ("UPDATE signets SET seq = seq + 1", "a.test"),
        ("UPDATE signets SET name = 'b.test'", "a.test b.test"),
        ("DELETE FROM signets", "b.test"),
        (
            "INSERT INTO signets (name, crypto, complete, identifiable, object, published_at) \
             VALUES ('c.test', x'01', x'02', x'03', x'04', 1)",
            "c.test",
        ),
    ] {
        query("DELETE FROM signet_changes")
            .execute(&mut raw)
            .await
            .unwrap();
        query(change).execute(&mut raw).await.unwrap();
        let listed: Vec<String> = query_scalar("SELECT name FROM signet_changes ORDER BY seq")
            .fetch_all(&mut raw)
            .await
            .unwrap();
        assert_eq!(listed.join(" "), names, "{change}");
    }
}

/// One that cannot be read is not kept, and neither is it missing.
#[tokio::test]
async fn a_signet_that_cannot_be_read_is_an_error_each_time() {
    let shared = Shared::new().await;
    publish(&shared.daemon, BOB, 1).await;
    assert_eq!(served_octet(&shared.daemon, BOB).await, Some(1));
    query("UPDATE signets SET crypto = x'01'")
        .execute(&mut shared.raw().await)
        .await
        .unwrap();
    tokio::time::sleep(UNSEEN).await;
    for _ in 0..2 {
        let read = shared.daemon.served_signet(BOB, None).await;
        assert!(matches!(read, Err(Error::Unreadable("fingerprint"))), "{read:?}");
    }
}
