//! Rows that are kept in memory, while the same process or another one changes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dimed::base::time::ManualClock;
use dimed::crypto::at_rest::Key;
use dimed::mail::address::Domain;
use dimed::store::sqlite::SqliteStore;
use dimed::store::*;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection, query, query_scalar};

use super::suite::{NOON, domain, noon_plus};

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
            let master = MasterKey(Key::from_bytes([1; 32]));
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
