//! Disks that fail: nothing that was acknowledged is lost, what is not durable is refused with 4xx, and it all goes on once
//! the disk is well again.
//!
//! The faults are in a library that is loaded before the C library (`faults.c`), so the binary knows nothing of them, and there
//! is nothing to be left out of a release.
//!
//! A connection to the database that is lost amid a transaction is a matter of PostgreSQL: SQLite works in the process, on files. There
//! `a_connection_that_is_lost_amid_a_transaction_is_replaced_and_nothing_acknowledged_is_lost` ends it (`store/postgres.rs`), and the
//! server as a whole goes away in `cluster`. A transaction of SQLite that is gone half-way is tested beside the writer
//! (`store::sql::writer`).

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::Command;

use dimed::config::Config;
use serde_json::Value;

use crate::support::child::Launch;
use crate::support::eventually;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::watcher::until_reasons;
use crate::support::world::World;

const EIO: &str = "error 5";
const ENOSPC: &str = "error 28";

/// Decides what fails, in processes that it launched.
pub struct Faults {
    library: PathBuf,
    control: PathBuf,
}

impl Faults {
    /// Nothing fails yet.
    pub fn new(folder: &Path) -> Self {
        let (source, library, control) = (
            folder.join("faults.c"),
            folder.join("faults.so"),
            folder.join("faults"),
        );
        std::fs::write(&source, include_str!("faults.c")).unwrap();
        std::fs::write(&control, "").unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .args([&library, &source]);
        assert!(compiler.status().unwrap().success());
        Self { library, control }
    }

    pub fn launch(&self) -> Launch {
        let variable = |name: &str, path: &Path| (name.into(), path.into());
        Launch {
            environment: vec![
                variable("LD_PRELOAD", &self.library),
                variable("DIMED_FAULTS", &self.control),
            ],
            ..Launch::default()
        }
    }

    /// From now on these calls fail for paths with that part; see `faults.c`.
    pub fn begin(&self, calls: &str, part: &str, action: &str) {
        // There is none if nothing has failed.
        let _ = std::fs::remove_file(self.hits());
        // As a whole, for it is read at any moment.
        let new = self.control.with_extension("new");
        std::fs::write(&new, format!("{calls} {part} {action}\n")).unwrap();
        std::fs::rename(new, &self.control).unwrap();
    }

    /// Waits until something has failed since this began.
    pub async fn happened(&self) {
        eventually("a fault", || self.hits().exists().then_some(())).await;
    }

    /// Nothing fails any more.
    pub fn end(&self) {
        std::fs::write(&self.control, "").unwrap();
    }

    fn hits(&self) -> PathBuf {
        self.control.with_extension("hits")
    }
}

async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test").accounts(&["bob"]);
    let quick = |config: &mut Config| config.queue.retry_max_secs = NonZeroU64::new(1).unwrap();
    builder.config(quick).build().await
}

fn message(text: &str) -> String {
    format!("From: alice@plain.test\r\n\r\n{text}\r\n")
}

/// The bodies in a mailbox, in any order.
fn texts(organization: &Organization) -> Vec<String> {
    let messages = organization.maildir("bob").messages();
    let mut texts: Vec<_> = messages
        .iter()
        .map(|message| split(message).1.trim_end().to_owned())
        .collect();
    texts.sort();
    texts
}

const FROM: &str = "alice@plain.test";
const TO: [&str; 1] = ["bob@hismail.test"];

/// RFC 5321 §4.2.1: 4yz, so the client tries again.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_is_refused_for_now_and_nothing_else_is_lost() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let mut process = hismail.spawn_with(&faults.launch()).await;
    let mut expected = Vec::new();
    let log = "dimed.db-wal";
    for (number, (calls, action)) in [
        ("sync", EIO),
        ("write", EIO),
        ("write", ENOSPC),
        ("write", "full 2048"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut talk = Talk::smtp(hismail.ip).await;
        faults.begin(calls, log, action);
        let reply = talk.transfer(FROM, &TO, &message("refused")).await;
        assert!(reply.starts_with("451 4.3.0"), "{calls} {action}: {reply}");
        faults.end();
        // The same session goes on.
        let text = format!("{number} after {calls}");
        let reply = talk.transfer(FROM, &TO, &message(&text)).await;
        assert!(reply.starts_with("250"), "{calls} {action}: {reply}");
        expected.push(text);
        process.kill();
        process = hismail.spawn_with(&faults.launch()).await;
    }
    hismail.idle().await;
    process.check();
    // What was refused may be there if it was committed but for the sync: RFC 5321 §4.5.4.1 has it sent again, as RFC 1047 says.
    let found = texts(&hismail);
    let taken: Vec<_> = found.iter().filter(|text| *text != "refused").collect();
    assert_eq!(taken, expected.iter().collect::<Vec<_>>());
    assert!(found.len() <= expected.len() + 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_start_cannot_be_stored_is_refused_though_the_disk_is_well_at_its_end() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let _process = hismail.spawn_with(&faults.launch()).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    // What a start writes is written.
    let reply = talk.transfer(FROM, &TO, &message("the first")).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.idle().await;
    talk.ask(&format!("MAIL FROM:<{FROM}>"), "250").await;
    talk.ask(&format!("RCPT TO:<{}>", TO[0]), "250").await;
    talk.ask("DATA", "354").await;
    faults.begin("write", "dimed.db-wal", EIO);
    talk.send(message(&"0123456789".repeat(90)).repeat(600).as_bytes())
        .await;
    faults.happened().await;
    faults.end();
    talk.ask(".", "451 4.3.0").await;
    let reply = talk.transfer(FROM, &TO, &message("the next")).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.idle().await;
    assert_eq!(texts(&hismail), ["the first", "the next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_writes_lose_nothing() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    faults.begin("write", "/hismail.test/", "short 0");
    let mut process = hismail.spawn_with(&faults.launch()).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk.transfer(FROM, &TO, &message(&"x".repeat(900))).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.idle().await;
    process.kill();
    let _process = hismail.spawn_with(&faults.launch()).await;
    assert_eq!(texts(&hismail), ["x".repeat(900)]);
}

/// Delivery is put off, and happens once.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_durable_in_a_maildir_stays_in_the_spool() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let _process = hismail.spawn_with(&faults.launch()).await;
    let mut expected = Vec::new();
    for (number, (calls, part, action)) in [
        ("write", "/bob/tmp/", ENOSPC),
        ("write", "/bob/tmp/", "full 64"),
        ("write", "/bob/tmp/", EIO),
        ("sync", "/bob/tmp/", EIO),
        ("rename", "/bob/new/", EIO),
        ("sync", "/bob/new", EIO),
    ]
    .into_iter()
    .enumerate()
    {
        faults.begin(calls, part, action);
        let mut talk = Talk::smtp(hismail.ip).await;
        let text = format!("{number} {calls}");
        let reply = talk.transfer(FROM, &TO, &message(&text)).await;
        assert!(reply.starts_with("250"), "{reply}");
        faults.happened().await;
        let listed = hismail.cli(&["queue", "list"]).await;
        assert!(!listed.contains("empty"), "{calls} {part} {action}: {listed}");
        faults.end();
        hismail.idle().await;
        expected.push(text);
    }
    assert_eq!(texts(&hismail), expected);
}

/// The lease would end in half an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_recorded_for_long_is_recorded_once_it_can_be() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let process = hismail.spawn_with(&faults.launch()).await;
    faults.begin("write", "/bob/tmp/", "sleep 2000");
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk.transfer(FROM, &TO, &message("once")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let written = hismail.maildir("bob").0.join("tmp");
    eventually("its delivery", || {
        std::fs::read_dir(&written).ok()?.next().map(drop)
    })
    .await;
    faults.begin("write", "dimed.db-wal", ENOSPC);
    let tries = || process.log().matches("cannot record a result").count();
    eventually("the sixth try", || (tries() >= 6).then_some(())).await;
    let listed = hismail.cli(&["queue", "list"]).await;
    assert!(listed.contains("being tried now"), "{listed}");
    faults.end();
    hismail.idle().await;
    assert_eq!(texts(&hismail), ["once"]);
}

/// A refusal would have it sent again, and it is delivered anyway.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_synced_once_is_written_again_and_acknowledged() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let mut process = hismail.spawn_with(&faults.launch()).await;
    let mut expected = Vec::new();
    for number in 1..=3 {
        let mut talk = Talk::smtp(hismail.ip).await;
        faults.begin("sync", "dimed.db-wal", "once 5");
        let text = number.to_string();
        let reply = talk.transfer(FROM, &TO, &message(&text)).await;
        assert!(reply.starts_with("250"), "{reply}");
        faults.happened().await;
        expected.push(text);
        hismail.idle().await;
    }
    let told = "cannot sync what was written last";
    assert_eq!(process.log().matches(told).count(), 3, "{}", process.log());
    process.kill();
    let _process = hismail.spawn_with(&faults.launch()).await;
    hismail.idle().await;
    assert_eq!(texts(&hismail), expected);
}

/// SQLite has the log open, too, and hears of the failure at its next sync: when all has been mended long since.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_was_mended_keeps_nothing_from_being_brought_into_the_database() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let process = hismail.spawn_with(&faults.launch()).await;
    faults.begin("sync", "dimed.db-wal", "told 5");
    let mut talk = Talk::smtp(hismail.ip).await;
    for number in 0..=40 {
        let text = format!("{number:02}{}", "\r\n0123456789".repeat(80_000));
        let reply = talk.transfer(FROM, &TO, &message(&text)).await;
        assert!(reply.starts_with("250"), "{number}: {reply}");
    }
    faults.happened().await;
    hismail.idle().await;
    let (failed, kept) = (
        "cannot sync what was written last",
        "cannot bring what was written into the database",
    );
    let log = process.log();
    assert!(log.contains(failed) && !log.contains(kept), "{log}");
    until_reasons(hismail.ip, &[]).await;
    // Else it has all of them.
    let log = hismail.folder.join("data/dimed.db-wal");
    assert!(log.metadata().unwrap().len() < 40 << 20, "{log:?}");
}

/// Nothing that was written is lost then: it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn what_there_was_no_room_for_in_the_database_is_brought_there_once_there_is() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let process = hismail.spawn_with(&faults.launch()).await;
    let database = hismail.folder.join("data/dimed.db");
    let length = || database.metadata().unwrap().len();
    let before = length();
    let mut talk = Talk::smtp(hismail.ip).await;
    for is_full in [true, false] {
        match is_full {
            true => faults.begin("write", "dimed.db$", ENOSPC),
            false => faults.end(),
        }
        for number in 1..=30 {
            let text = format!("{number:02}{}", "\r\n0123456789".repeat(80_000));
            let reply = talk.transfer(FROM, &TO, &message(&text)).await;
            assert!(reply.starts_with("250"), "{number}: {reply}");
        }
        hismail.idle().await;
        assert_eq!(length() == before, is_full);
    }
    faults.happened().await;
    let log = process.log();
    assert!(log.contains("no room to bring what was written"), "{log}");
    assert!(!log.contains("cannot bring what was written"), "{log}");
}

/// What is in the log stays there until there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_starts_though_there_is_no_room_for_its_log_in_the_database() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let mut process = hismail.spawn_with(&faults.launch()).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk.transfer(FROM, &TO, &message("before")).await;
    assert!(reply.starts_with("250"), "{reply}");
    process.kill();
    process.ended().await;
    faults.begin("write", "dimed.db$", ENOSPC);
    let process = hismail.spawn_with(&faults.launch()).await;
    faults.happened().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk.transfer(FROM, &TO, &message("after")).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.idle().await;
    let log = process.log();
    assert!(log.contains("no room to bring what was written"), "{log}");
    assert_eq!(hismail.maildir("bob").count(), 2);
}

/// What was written there may be missing, whatever later syncs say: the log keeps it until the next start.
#[tokio::test(flavor = "multi_thread")]
async fn mail_is_kept_in_the_log_once_it_could_not_be_brought_into_the_database() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let mut process = hismail.spawn_with(&faults.launch()).await;
    faults.begin("sync", "dimed.db$", "once 5");
    let mut talk = Talk::smtp(hismail.ip).await;
    let mut expected = Vec::new();
    for number in 1..=40 {
        let text = format!("{number:02}{}", "\r\n0123456789".repeat(80_000));
        let reply = talk.transfer(FROM, &TO, &message(&text)).await;
        assert!(reply.starts_with("250"), "{number}: {reply}");
        expected.push(text);
    }
    faults.happened().await;
    hismail.idle().await;
    let told = "cannot bring what was written into the database";
    assert_eq!(process.log().matches(told).count(), 1, "{}", process.log());
    let log = hismail.folder.join("data/dimed.db-wal");
    assert!(log.metadata().unwrap().len() > 40 << 20, "{log:?}");
    until_reasons(hismail.ip, &["store_log_kept"]).await;
    let (_, found, _) = hismail.binary(&["doctor", "--reach", "none", "--json"]);
    assert!(found.contains("\"store_log_kept\""), "{found}");
    let (code, said, _) = hismail.binary(&["queue", "stats"]);
    assert_eq!(code, 0);
    assert!(said.contains("stop the daemon and all commands"), "{said}");
    process.terminate();
    process.ended().await;
    assert!(log.metadata().unwrap().len() > 40 << 20, "{log:?}");
    let _process = hismail.spawn_with(&faults.launch()).await;
    until_reasons(hismail.ip, &[]).await;
    let (_, said, _) = hismail.binary(&["queue", "stats", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["log_kept"], false);
    hismail.idle().await;
    assert!(texts(&hismail) == expected);
}

/// DMTP's own 4xx; the origin keeps the object and comes again.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_committed_is_refused_for_now() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let _process = hismail.spawn_with(&faults.launch()).await;
    let served = hermail.start().await;
    faults.begin("sync", "dimed.db-wal", EIO);
    hermail
        .submit("alice", &TO, "From: alice@hermail.test\r\n\r\nsealed\r\n")
        .await;
    faults.happened().await;
    assert_eq!(hismail.maildir("bob").count(), 0);
    faults.end();
    hermail.idle().await;
    hismail.idle().await;
    assert_eq!(texts(&hismail), ["sealed"]);
    assert_eq!(hermail.maildir("alice").count(), 0, "no bounce");
    served.stop().await;
}
