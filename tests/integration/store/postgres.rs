//! PostgreSQL below the behaviour suite, and what only PostgreSQL has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dimed::base::secret::Secret;
use dimed::base::time::{Clock, ManualClock, SystemClock};
use dimed::cli::Exit;
use dimed::crypto::at_rest::Key;
use dimed::mail::address::Domain;
use dimed::store::postgres::{Host, Server};
use dimed::store::*;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::suite::{self, Bed, NOON, claim, claim_one, enqueue, message, noon_plus, settle};
use crate::support::certificates::Certification;
use crate::support::loopback::Loopback;
use crate::support::postgres::{Cluster, Database, PASSWORD, server_at};

struct PostgresBed<'c> {
    database: Database<'c>,
    clock: Arc<ManualClock>,
}

impl<'c> PostgresBed<'c> {
    fn on(cluster: &'c Cluster) -> Self {
        Self {
            database: cluster.database(),
            clock: Arc::new(ManualClock::new(NOON)),
        }
    }

    async fn try_open(&self, key: u8) -> Result<SqlStore, Error> {
        open(self.database.server(), key, self.clock.clone()).await
    }

    async fn store(&self) -> SqlStore {
        self.try_open(1).await.unwrap()
    }
}

async fn open(server: Server, key: u8, clock: Arc<dyn Clock>) -> Result<SqlStore, Error> {
    let master = MasterKey::new(Key::from_bytes([key; 32]));
    SqlStore::open_postgres(server, None, master, clock).await
}

#[async_trait]
impl Bed for PostgresBed<'_> {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn close(&self, store: Arc<dyn Store>) {
        drop(store);
    }
}

suite::behaviours!(PostgresBed::on(&Cluster::shared()));

async fn body(store: &SqlStore, id: dimed::base::id::QueueId) -> Vec<u8> {
    let mut octets = Vec::new();
    for index in 0.. {
        match store.read_piece(id, index).await.unwrap() {
            Some(piece) => octets.extend(piece),
            None => break,
        }
    }
    octets
}

#[tokio::test]
async fn a_database_of_another_master_key_is_refused() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    bed.store().await.close().await;
    assert!(matches!(bed.try_open(2).await, Err(Error::WrongMasterKey)));
    assert!(bed.try_open(1).await.is_ok());
}

/// While nodes are replaced one by one, those of the old version can be started again.
#[tokio::test]
async fn a_newer_schema_is_used_only_if_it_says_that_it_can_be() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let running = bed.store().await;
    bed.database.sql(
        "ALTER TABLE accounts ADD COLUMN from_the_future BIGINT; \
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, '\\x00', 0)",
    );
    let restarted = bed.store().await;
    let id = enqueue(&restarted, message(&["bob@hismail.test"])).await;
    assert_eq!(claim_one(&running, NOON).await.message, id);
    bed.database
        .sql("UPDATE schema_compatibility SET oldest_schema = 9999");
    assert!(matches!(bed.try_open(1).await, Err(Error::Schema(_))));
}

#[tokio::test]
async fn several_nodes_may_start_at_once_on_an_empty_database() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let (one, other, third) = tokio::join!(bed.try_open(1), bed.try_open(1), bed.try_open(1));
    let id = enqueue(&one.unwrap(), message(&["bob@hismail.test"])).await;
    assert_eq!(claim_one(&other.unwrap(), NOON).await.message, id);
    assert!(claim(&third.unwrap(), NOON, 1).await.is_empty());
}

#[tokio::test]
async fn two_nodes_share_the_work() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let (one, other) = (bed.store().await, bed.store().await);
    for _ in 0..20 {
        enqueue(&one, message(&["bob@hismail.test"])).await;
    }
    let (first, second) = tokio::join!(claim(&one, NOON, 10), claim(&other, NOON, 10));
    let messages: std::collections::BTreeSet<_> =
        first.iter().chain(&second).map(|claim| claim.message).collect();
    assert_eq!(messages.len(), 20);
    // Either may settle what the other one claimed: the lease is in the database.
    settle(&other, &first[0], SettledState::Relayed).await.unwrap();
    let late = settle(&one, &first[0], SettledState::Relayed).await;
    assert!(matches!(late, Err(Error::LeaseLost)));
}

const SILENCE: Duration = Duration::from_secs(1);

fn host() -> Domain {
    "mx.hismail.test".parse().unwrap()
}

/// What a store can claim, once there is something.
async fn claimed_at_last(store: &SqlStore) -> Claim {
    for _ in 0..200 {
        if let Some(claimed) = claim(store, NOON, 1).await.pop() {
            return claimed;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is due");
}

#[tokio::test]
async fn what_a_silent_node_had_leased_is_taken_over_and_its_leases_end() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let (dying, other) = (bed.store().await, bed.store().await);
    dying.join(&host(), SILENCE, NOON).await.unwrap();
    other.join(&host(), SILENCE, NOON).await.unwrap();
    let id = enqueue(&dying, message(&["bob@hismail.test"])).await;
    let first = claim_one(&dying, NOON).await;
    let begun = Instant::now();
    dying.close().await;
    let second = claimed_at_last(&other).await;
    assert!(begun.elapsed() >= SILENCE, "{:?}", begun.elapsed());
    assert_eq!((second.message, second.recipients[0].attempts), (id, 1));
    assert_ne!(second.lease, first.lease);
    let late = settle(&other, &first, SettledState::Relayed).await;
    assert!(matches!(late, Err(Error::LeaseLost)));
    settle(&other, &second, SettledState::Relayed).await.unwrap();
    assert_eq!(bed.database.sql("SELECT count(*) FROM nodes").trim(), "1");
}

#[tokio::test]
async fn a_node_that_is_heard_of_keeps_its_leases() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let (working, other) = (bed.store().await, bed.store().await);
    working.join(&host(), SILENCE, NOON).await.unwrap();
    other.join(&host(), SILENCE, NOON).await.unwrap();
    enqueue(&working, message(&["bob@hismail.test"])).await;
    let claimed = claim_one(&working, NOON).await;
    tokio::time::sleep(SILENCE * 3).await;
    assert!(claimed.tenure.lasts());
    assert!(claim(&other, NOON, 1).await.is_empty());
    settle(&working, &claimed, SettledState::Relayed).await.unwrap();
}

/// As an earlier version takes it, which has no row.
#[tokio::test]
async fn what_is_leased_by_nobody_who_is_watched_is_left_until_its_lease_runs_out() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let (earlier, other) = (bed.store().await, bed.store().await);
    other.join(&host(), SILENCE, NOON).await.unwrap();
    enqueue(&earlier, message(&["bob@hismail.test"])).await;
    let claimed = claim_one(&earlier, NOON).await;
    earlier.close().await;
    tokio::time::sleep(SILENCE * 2).await;
    assert!(claim(&other, NOON, 1).await.is_empty());
    assert_eq!(
        claim_one(&other, claimed.leased_until).await.message,
        claimed.message
    );
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_claims_nothing_until_it_has_another_id() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let store = bed.store().await;
    store.join(&host(), SILENCE * 12, NOON).await.unwrap();
    for _ in 0..2 {
        enqueue(&store, message(&["bob@hismail.test"])).await;
    }
    let first = claim_one(&store, NOON).await;
    bed.database.sql("DELETE FROM nodes");
    assert!(claim(&store, NOON, 1).await.is_empty());
    let second = claimed_at_last(&store).await;
    assert!(!first.tenure.lasts());
    assert!(second.tenure.lasts());
    let node = second.tenure.node().to_string();
    assert_ne!(first.tenure.node().to_string(), node);
    assert_eq!(bed.database.sql("SELECT id FROM nodes").trim(), node);
}

#[tokio::test]
async fn a_node_that_leaves_is_forgotten_unless_something_is_leased() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let nodes = || bed.database.sql("SELECT count(*) FROM nodes").trim().to_owned();
    for (messages, left) in [(0, "0"), (1, "1")] {
        let store = bed.store().await;
        store.join(&host(), SILENCE, NOON).await.unwrap();
        for _ in 0..messages {
            enqueue(&store, message(&["bob@hismail.test"])).await;
            claim_one(&store, NOON).await;
        }
        store.leave().await.unwrap();
        store.close().await;
        assert_eq!(nodes(), left);
    }
}

/// A start releases leases of the only daemon there is. Here others may be at work.
#[tokio::test]
async fn a_node_that_starts_leaves_the_leases_of_others() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let working = bed.store().await;
    enqueue(&working, message(&["bob@hismail.test"])).await;
    let claimed = claim_one(&working, NOON).await;
    let starting = bed.store().await;
    assert_eq!(starting.join(&host(), SILENCE, NOON).await.unwrap(), 0);
    assert!(claim(&starting, NOON, 1).await.is_empty());
    settle(&working, &claimed, SettledState::Delivered).await.unwrap();
}

#[tokio::test]
async fn a_node_that_starts_leaves_bodies_that_others_take_in() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let working = bed.store().await;
    let octets = vec![b'x'; 3 * PIECE_BYTES];
    let new = message(&["bob@hismail.test"]);
    let id = new.id;
    let mut writer = working.begin(id).await.unwrap();
    writer.write(&octets).await.unwrap();
    let starting = bed.store().await;
    writer.commit(new).await.unwrap();
    assert_eq!(body(&starting, id).await, octets);
}

#[tokio::test]
async fn bodies_that_a_dead_node_left_are_swept_after_a_day() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let store = bed.store().await;
    let mut left = Vec::new();
    for _ in 0..2 {
        let new = message(&["bob@hismail.test"]);
        let mut writer = store.begin(new.id).await.unwrap();
        writer.write(&vec![b'x'; 2 * PIECE_BYTES]).await.unwrap();
        left.push((new.id, writer));
    }
    let sql = format!(
        "UPDATE incoming SET begun_at = now() - interval '25 hours' WHERE message = '{}'",
        left[0].0
    );
    bed.database.sql(&sql);
    drop(bed.store().await);
    assert_eq!(
        bed.database.sql("SELECT message FROM incoming").trim(),
        left[1].0.to_string()
    );
    assert_eq!(
        bed.database.sql("SELECT DISTINCT message FROM pieces").trim(),
        left[1].0.to_string()
    );
}

#[tokio::test]
async fn an_idle_node_hears_of_mail_that_another_took_in() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let (idle, busy) = (bed.store().await, bed.store().await);
    // What is heard at the start.
    let quiet = Duration::from_millis(500);
    while timeout(quiet, idle.changed()).await.is_ok() {}
    enqueue(&busy, message(&["bob@hismail.test"])).await;
    timeout(Duration::from_secs(5), idle.changed()).await.unwrap();
    // A retry by an operator, too.
    let claimed = claim_one(&busy, NOON).await;
    let due_at = noon_plus(60);
    let deferred = SettledState::Deferred {
        due_at,
        delay_reported: false,
    };
    settle(&busy, &claimed, deferred).await.unwrap();
    while timeout(quiet, idle.changed()).await.is_ok() {}
    assert_eq!(busy.retry(Selection::All, noon_plus(1)).await.unwrap(), 1);
    timeout(Duration::from_secs(5), idle.changed()).await.unwrap();
}

async fn raw(server: &Server) -> PgConnection {
    let Host::Socket { folder, port } = &server.address.hosts[0] else {
        panic!("no socket")
    };
    let options = PgConnectOptions::new_without_pgpass()
        .socket(folder)
        .port(*port)
        .username(&server.address.user)
        .database(&server.address.database);
    options.connect().await.unwrap()
}

/// The server ends the session while that waits for a lock in the middle of its transaction.
#[tokio::test]
async fn a_connection_that_is_lost_amid_a_transaction_is_replaced_and_nothing_acknowledged_is_lost() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let store = bed.store().await;
    let before = enqueue(&store, message(&["bob@hismail.test"])).await;
    let mut holder = raw(&bed.database.server()).await;
    for sql in ["BEGIN", "LOCK TABLE recipients IN EXCLUSIVE MODE"] {
        sqlx::query(sql).execute(&mut holder).await.unwrap();
    }
    let own = store.clone();
    let losing = tokio::spawn(async move {
        let message = FollowUp::new(message(&["carol@plain.test"]), b"lost".to_vec());
        own.enqueue(message).await
    });
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let end = async {
        while bed.database.sql(ended).trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), end).await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    let lost = losing.await.unwrap();
    assert!(matches!(lost, Err(Error::NotCommitted(_))), "{lost:?}");
    let after = enqueue(&store, message(&["pat@elsewhere.test"])).await;
    let there = claim(&store, NOON, 10).await;
    let there: Vec<_> = there.iter().map(|claim| claim.message).collect();
    assert!(
        there.len() == 2 && there.contains(&before) && there.contains(&after),
        "{there:?}"
    );
}

/// As of a node that was stopped (SIGSTOP) in the middle of writing.
#[tokio::test]
async fn a_node_that_stands_still_in_a_transaction_does_not_hold_up_the_others() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let store = bed.store().await;
    let mut still = raw(&bed.database.server()).await;
    for sql in [
        "SET idle_in_transaction_session_timeout = '5s'",
        "BEGIN",
        "SELECT pg_advisory_xact_lock(431265506660)",
    ] {
        sqlx::query(sql).execute(&mut still).await.unwrap();
    }
    let held = bed
        .database
        .sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())");
    assert_eq!(held.trim(), "1");
    let enqueued = enqueue(&store, message(&["bob@hismail.test"]));
    assert!(
        timeout(Duration::from_millis(500), enqueued).await.is_err(),
        "it is the same lock"
    );
    timeout(
        Duration::from_secs(15),
        enqueue(&store, message(&["bob@hismail.test"])),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn settings_that_could_lose_mail_are_refused_at_the_start_and_while_it_runs() {
    let cluster = Cluster::own();
    let bed = PostgresBed::on(&cluster);
    let store = bed.store().await;
    enqueue(&store, message(&["bob@hismail.test"])).await;
    for setting in ["fsync", "full_page_writes"] {
        let set = |value: &str| {
            cluster.sql("postgres", &format!("ALTER SYSTEM SET {setting} = {value}"));
            cluster.sql("postgres", "SELECT pg_reload_conf()");
        };
        set("off");
        let is_off = || bed.database.sql(&format!("SHOW {setting}")).trim() == "off";
        while !is_off() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match bed.try_open(1).await {
            Err(Error::NotDurable(reason)) => {
                assert!(reason.contains(&format!("{setting}=off")), "{reason}");
                assert_eq!(exit_code(Error::NotDurable(reason)), 75);
            }
            other => panic!("{setting}: {:?}", other.map(drop)),
        }
        // The session learns of it at its next statement.
        let mut refused = false;
        for _ in 0..100 {
            let new = message(&["bob@hismail.test"]);
            let mut writer = store.begin(new.id).await.unwrap();
            writer.write(b"x").await.unwrap();
            if matches!(writer.commit(new).await, Err(Error::NotDurable(_))) {
                refused = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(refused, "{setting}");
        set("on");
        while is_off() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // Asynchronous commits are ours to forbid.
    cluster.sql("postgres", "ALTER SYSTEM SET synchronous_commit = off");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    assert!(bed.try_open(1).await.is_ok());
}

/// How a command ends that meets this.
fn exit_code(error: Error) -> u8 {
    Exit::of(&anyhow::Error::new(error).context("opening")).code()
}

/// As for a while after a maintenance, or where sessions that write have to say so.
#[tokio::test]
async fn sessions_that_write_say_so_whatever_the_database_has_set() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let name = &bed.database.name;
    cluster.sql(
        "postgres",
        &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"),
    );
    let store = bed.store().await;
    let id = enqueue(&store, message(&["bob@hismail.test"])).await;
    assert_eq!(claim_one(&store, NOON).await.message, id);
}

#[tokio::test]
async fn only_what_nobody_has_to_change_is_worth_another_start() {
    let cluster = Cluster::own();
    let bed = PostgresBed::on(&cluster);
    let code = async |server: Server| {
        let refused = open(server, 1, bed.clock.clone()).await.map(drop).unwrap_err();
        exit_code(refused)
    };
    let nowhere = server_at("nowhere", vec![cluster.host()]);
    assert_eq!(code(nowhere).await, 78, "there is no such database");
    let mut nobody = bed.database.server();
    nobody.address.user = "nobody".to_owned();
    assert_eq!(code(nobody).await, 78, "there is no such role");
    // Somebody else is in charge of what the role may do; it is no matter of time either.
    cluster.sql("postgres", "CREATE ROLE guest LOGIN");
    let mut guest = bed.database.server();
    guest.address.user = "guest".to_owned();
    assert_eq!(code(guest).await, 78, "it may not make tables");
    cluster.kill();
    assert_eq!(code(bed.database.server()).await, 75, "nobody is there");
}

#[tokio::test]
async fn a_restart_of_the_server_loses_nothing_and_is_got_over() {
    let cluster = Cluster::own();
    let bed = PostgresBed::on(&cluster);
    let store = bed.store().await;
    let mut acknowledged = vec![enqueue(&store, message(&["bob@hismail.test"])).await];
    let claimed = claim_one(&store, NOON).await;
    assert_eq!(store.list_domains().await.unwrap(), []);
    cluster.kill();
    let new = message(&["bob@hismail.test"]);
    let mut writer = store.begin(new.id).await.unwrap();
    writer.write(b"x").await.unwrap();
    assert!(writer.commit(new).await.is_err(), "nobody is there");
    assert!(store.list_domains().await.is_err());
    cluster.start("");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.list_domains().await.unwrap(), []);
    acknowledged.push(enqueue(&store, message(&["carol@plain.test"])).await);
    settle(&store, &claimed, SettledState::Delivered).await.unwrap();
    let found: Vec<_> = claim(&store, NOON, 10)
        .await
        .iter()
        .map(|claim| claim.message)
        .collect();
    assert_eq!(found, acknowledged[1..]);
    // An idle writer and idle readers are replaced unnoticed.
    cluster.kill();
    cluster.start("");
    assert_eq!(store.list_domains().await.unwrap(), []);
    enqueue(&store, message(&["carol@plain.test"])).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_fail_over() {
    let primary = Cluster::own();
    let bed = PostgresBed::on(&primary);
    drop(bed.store().await);
    let standby = primary.synchronous_standby();
    let hosts = vec![standby.host(), primary.host()];
    let server = server_at(&bed.database.name, hosts);
    let store = open(server, 1, bed.clock.clone()).await.unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..50 {
        acknowledged.push(enqueue(&store, message(&["bob@hismail.test"])).await);
    }
    let alone = server_at(&bed.database.name, vec![standby.host()]);
    let refused = open(alone, 1, bed.clock.clone()).await.map(drop).unwrap_err();
    assert_eq!(exit_code(refused), 75, "it may be promoted");
    primary.kill();
    standby.promote();
    let mut found = Vec::new();
    for _ in 0..100 {
        match store.claim(NOON, noon_plus(10), 100).await {
            Ok(claims) if claims.is_empty() => break,
            Ok(claims) => found.extend(claims.iter().map(|claim| claim.message)),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    found.sort();
    acknowledged.sort();
    assert_eq!(found, acknowledged);
    enqueue(&store, message(&["bob@hismail.test"])).await;
}

#[tokio::test]
async fn by_tcp_the_server_shows_a_certificate_for_its_name_and_we_know_the_password() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let (loopback, folder) = (Loopback::take(), tempfile::tempdir().unwrap());
    let authority = Certification::new(folder.path());
    let name = loopback.ip.to_string();
    let entered = async |host: Host, password: Option<&str>, is_known: bool| {
        let mut server = server_at(&database.name, vec![host]);
        server.password = password.map(|password| Secret::new(password.to_owned()));
        server.root_certificates = is_known.then(|| authority.roots());
        server.time().await
    };
    let host = cluster.listen(loopback.ip, Some(&authority.issue(&name)));
    entered(host.clone(), Some(PASSWORD), true).await.unwrap();
    for password in [None, Some("open says me")] {
        let refused = entered(host.clone(), password, true).await;
        assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
        assert_eq!(exit_code(refused.unwrap_err()), 78, "{password:?}");
    }
    let tls = |refused: Result<_, Error>| {
        matches!(
            refused,
            Err(Error::Database(sqlx::Error::Tls(_) | sqlx::Error::Io(_)))
        )
    };
    assert!(
        tls(entered(host, Some(PASSWORD), false).await),
        "nobody knows the authority"
    );
    let other = cluster.listen(loopback.ip, Some(&authority.issue("127.0.0.9")));
    assert!(tls(entered(other, Some(PASSWORD), true).await), "another name");
    let expired = cluster.listen(loopback.ip, Some(&authority.issue_expired(&name)));
    assert!(tls(entered(expired, Some(PASSWORD), true).await), "expired");
    let plain = cluster.listen(loopback.ip, None);
    assert!(tls(entered(plain, Some(PASSWORD), true).await), "no TLS");
}

/// A way to the server on which answers to commits can be lost.
struct Way {
    folder: tempfile::TempDir,
    /// Whether the connection breaks instead of the next such answer.
    breaks: Arc<AtomicBool>,
}

impl Way {
    async fn to(cluster: &Cluster) -> Self {
        let Host::Socket { folder: there, port } = cluster.host() else {
            panic!("no socket")
        };
        let name = format!(".s.PGSQL.{port}");
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(&name)).unwrap();
        let breaks = Arc::<AtomicBool>::default();
        let shared = Arc::clone(&breaks);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(there.join(&name)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { folder, breaks }
    }

    fn host(&self) -> Host {
        Host::Socket {
            folder: self.folder.path().to_owned(),
            port: 5432,
        }
    }

    fn break_next(&self) {
        self.breaks.store(true, Ordering::Relaxed);
    }
}

async fn carry(client: UnixStream, server: UnixStream, breaks: Arc<AtomicBool>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut octets = [0; 8192];
    loop {
        let count = from_server.read(&mut octets).await?;
        let has_commit = octets[..count].windows(7).any(|window| window == b"COMMIT\0");
        if count == 0 || has_commit && breaks.swap(false, Ordering::Relaxed) {
            there.abort();
            return Ok(());
        }
        to_client.write_all(&octets[..count]).await?;
    }
}

/// Mail is refused, what was claimed is claimed again, and what is recorded again is there once.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_believed_and_does_no_harm() {
    let cluster = Cluster::shared();
    let bed = PostgresBed::on(&cluster);
    let way = Way::to(&cluster).await;
    let server = server_at(&bed.database.name, vec![way.host()]);
    let store = open(server, 1, bed.clock.clone()).await.unwrap();
    let entry = ReplayEntry {
        key: [7; 32],
        digest: [7; 16],
        until: noon_plus(60),
    };
    let taken = async || {
        let new = message(&["bob@hismail.test"]);
        let mut writer = store.begin(new.id).await.unwrap();
        writer.write(b"x").await.unwrap();
        writer.commit_once(new, entry).await
    };
    way.break_next();
    let lost = taken().await;
    assert!(matches!(lost, Err(Error::NotCommitted(_))), "{lost:?}");
    assert_eq!(taken().await.unwrap(), Committed::Duplicate);
    way.break_next();
    let lost = store.claim(NOON, noon_plus(60), 1).await;
    assert!(matches!(lost, Err(Error::NotCommitted(_))), "{lost:?}");
    let claimed = claim_one(&store, NOON).await;
    assert_eq!(claimed.recipients[0].attempts, 0, "nobody has tried it");
    assert!(claim(&store, NOON, 1).await.is_empty(), "there is one");
    way.break_next();
    let lost = settle(&store, &claimed, SettledState::Delivered).await;
    assert!(matches!(lost, Err(Error::NotCommitted(_))), "{lost:?}");
    let again = settle(&store, &claimed, SettledState::Delivered).await;
    assert!(matches!(again, Err(Error::LeaseLost)), "{again:?}");
    assert_eq!(bed.database.sql("SELECT count(*) FROM messages").trim(), "0");
}

/// Nodes go by the clock of the server, whatever their hosts say.
#[tokio::test]
async fn the_time_is_that_of_the_server() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let before = SystemClock.now();
    let time = database.server().time().await.unwrap();
    assert!(before <= time && time <= SystemClock.now().after(Duration::from_millis(50)));
    let master = MasterKey::new(Key::from_bytes([1; 32]));
    let (_store, clock) = Place::Server(database.server()).open(master).await.unwrap();
    let ahead = clock.now().since(SystemClock.now());
    assert!(ahead < Duration::from_millis(50), "{ahead:?}");
}
