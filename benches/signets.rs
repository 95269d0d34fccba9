//! SGNT and VRFY over one connection to a daemon with 100,000 accounts, names at random.
//!
//! | Figure | What the daemon has in memory |
//! |---|---|
//! | cold | nothing: it has just started, and nothing of its database is in the page cache |
//! | first | nothing either, but the database is in the page cache |
//! | warm | what it keeps after everybody has been asked for once |
//!
//! The daemon is a process of its own, and the connection real TLS on loopback; the client shares the processors. `HELO`
//! shows what a question costs that needs no signet. Another number of accounts may be given:
//! `cargo bench --bench signets -- 5000`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a bench may panic

#[path = "people/mod.rs"]
mod people;
#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dimed::config::Config;
use rand::RngExt;
use rand::seq::SliceRandom;
use rustix::fs::{Advice, fadvise};

use people::{Person, populate};
use support::child::Process;
use support::loopback;
use support::organization::Organization;
use support::talk::Talk;
use support::world::World;

const ACCOUNTS: usize = 100_000;

/// Questions for a figure with nothing in memory: each name once, so that there is nothing to find there.
const FIRST_QUESTIONS: usize = 5000;

/// How long a warm figure is taken, after as long without being counted.
const WARM_FOR: Duration = Duration::from_secs(5);

/// Questions under way at the same time, where they are pipelined.
const PIPELINED: usize = 32;

/// Commands without effect that a session may hear in a row.
const MOST_IDLE: usize = 100;

/// What is asked.
#[derive(Clone, Copy)]
enum Question {
    Signet,
    Verify,
}

impl Question {
    fn about(self, person: &Person) -> String {
        let Person { address, fingerprint } = person;
        match self {
            Self::Signet => format!("SGNT <{address}>\r\n"),
            Self::Verify => format!("VRFY <{address}> [{fingerprint}]\r\n"),
        }
    }

    fn answer(self) -> &'static str {
        match self {
            Self::Signet => "250 OK [",
            Self::Verify => "250 CURRENT",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Signet => "SGNT",
            Self::Verify => "VRFY",
        }
    }
}

#[tokio::main]
async fn main() {
    let given = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let accounts = given.unwrap_or(ACCOUNTS);
    let world = World::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).await;
    let organization = world.organization("hismail.test").build().await;
    let started = Instant::now();
    let people = populate(&organization, accounts).await;
    println!(
        "{accounts} accounts with signets and keys, made in {:?}",
        started.elapsed()
    );
    let database = settle(&organization).await;
    for (how, cold) in [("cold", true), ("first", false)] {
        for question in [Question::Signet, Question::Verify] {
            if cold {
                forget(&database);
            } else {
                read(&database);
            }
            first(&organization, question, how, &people).await;
        }
    }
    read(&database);
    let daemon = organization.spawn().await;
    fill(&organization, &people).await;
    for at_once in [1, PIPELINED] {
        floor(&organization, at_once).await;
        for question in [Question::Signet, Question::Verify] {
            warm(&organization, question, at_once, &people).await;
        }
    }
    println!(
        "resident memory of the daemon: {} MiB",
        daemon.resident_kib() / 1024
    );
    end(daemon).await;
}

/// Brings everything into the database file and onto the disk.
async fn settle(organization: &Organization) -> PathBuf {
    // The store that filled it may still be closing.
    while organization.count("PRAGMA wal_checkpoint(TRUNCATE)").await != 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let config = Config::load(&organization.config).unwrap();
    let database = config.server.database();
    File::open(&database).unwrap().sync_all().unwrap();
    println!("database: {} MiB", database.metadata().unwrap().len() >> 20);
    database
}

/// Takes the database out of the page cache.
fn forget(database: &Path) {
    fadvise(File::open(database).unwrap(), 0, None, Advice::DontNeed).unwrap();
}

/// Brings into the page cache whatever is not there yet.
fn read(database: &Path) {
    std::io::copy(&mut File::open(database).unwrap(), &mut std::io::sink()).unwrap();
}

/// Against a daemon that has just started.
async fn first(organization: &Organization, question: Question, how: &str, people: &[Person]) {
    let daemon = organization.spawn().await;
    let mut order: Vec<&Person> = people.iter().collect();
    order.shuffle(&mut rand::rng());
    order.truncate(FIRST_QUESTIONS);
    let mut talk = open(organization).await;
    let started = Instant::now();
    for person in &order {
        ask(&mut talk, question, &[person]).await;
    }
    report(
        question.name(),
        &format!("{how}, one after the other"),
        order.len(),
        started.elapsed(),
    );
    drop(talk);
    end(daemon).await;
}

/// Asks for everybody once.
async fn fill(organization: &Organization, people: &[Person]) {
    let mut order: Vec<&Person> = people.iter().collect();
    order.shuffle(&mut rand::rng());
    let mut talk = open(organization).await;
    let started = Instant::now();
    for batch in order.chunks(PIPELINED) {
        ask(&mut talk, Question::Signet, batch).await;
    }
    let how = format!("first, {PIPELINED} at a time");
    report(Question::Signet.name(), &how, order.len(), started.elapsed());
}

/// What the connection takes: commands that need nothing else. A session hears few of them in a row, so there are several.
async fn floor(organization: &Organization, at_once: usize) {
    let commands = "HELO <hermail.test>\r\n".repeat(at_once);
    let (mut asked, mut took) = (0, Duration::ZERO);
    while took < WARM_FOR / 5 {
        let mut talk = open(organization).await;
        let started = Instant::now();
        for _ in 0..MOST_IDLE / at_once {
            talk.send(commands.as_bytes()).await;
            for _ in 0..at_once {
                talk.expect("250 ").await;
            }
            asked += at_once;
        }
        took += started.elapsed();
    }
    report("HELO", &how_many(at_once), asked, took);
}

async fn warm(organization: &Organization, question: Question, at_once: usize, people: &[Person]) {
    let mut talk = open(organization).await;
    let (mut asked, mut started) = (0, Instant::now());
    // The first time only warms up.
    for _ in 0..2 {
        (asked, started) = (0, Instant::now());
        while started.elapsed() < WARM_FOR {
            let batch: Vec<&Person> = (0..at_once).map(|_| anybody(people)).collect();
            ask(&mut talk, question, &batch).await;
            asked += batch.len();
        }
    }
    let how = format!("warm, {}", how_many(at_once));
    report(question.name(), &how, asked, started.elapsed());
}

fn how_many(at_once: usize) -> String {
    match at_once {
        1 => "one after the other".to_owned(),
        several => format!("{several} at a time"),
    }
}

fn anybody(people: &[Person]) -> &Person {
    &people[rand::rng().random_range(0..people.len())]
}

async fn open(organization: &Organization) -> Talk {
    let mut talk = Talk::open_tls(organization.ip, loopback::DMTP).await;
    talk.expect("220 ").await;
    talk
}

async fn ask(talk: &mut Talk, question: Question, about: &[&Person]) {
    let commands: String = about.iter().map(|person| question.about(person)).collect();
    talk.send(commands.as_bytes()).await;
    for _ in about {
        talk.expect(question.answer()).await;
    }
}

fn report(what: &str, how: &str, asked: usize, took: Duration) {
    let rate = asked as f64 / took.as_secs_f64();
    println!("{what} {how}: {rate:.0}/s");
}

async fn end(mut daemon: Process) {
    daemon.terminate();
    assert!(daemon.ended().await.success());
}
