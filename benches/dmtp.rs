//! Messages of 4 KiB from submission at one daemon by DMTP into Maildirs, synced, at another: sealed, transferred, opened,
//! with every signature checked.
//!
//! Two daemons with 1,000 users each, processes of their own, and a name server with signed zones in this one. Authors
//! and recipients are drawn at random. Authors' mail comes in as that of a trusted network, so that no passwords are
//! checked; a message counts once it is in its Maildir, and both queues must be empty then. The first messages go while
//! neither daemon knows the other's signets. The last column is what one processor would do for each daemon alone, from the processor
//! time it took. Another number of messages may be given: `cargo bench --bench dmtp -- 5000`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a bench may panic

#[allow(dead_code)]
#[path = "people/mod.rs"]
mod people;
#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dimed::base::time::{Clock, SystemClock};
use dimed::config::Config;
use dimed::crypto::suite::hpke::{SecretKey, Suite};
use dimed::daemon::Services;
use dimed::dime::key_set::{Draft, FIELD, KemKeys};
use dimed::dime::signet::{Kind, OrgBuilder};
use dimed::store::{NewKemKeys, Publication, StoredSignet};
use rand::RngExt;
use tokio::task::JoinSet;

use people::{Person, populate};
use support::child::Process;
use support::maildir::Maildir;
use support::organization::Organization;
use support::talk::Talk;
use support::world::World;

const PEOPLE: usize = 1000;
const MESSAGES: usize = 10_000;
const SESSIONS: usize = 20;
const OCTETS: usize = 4096;

/// How long nothing may arrive, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// How long a key set of the bench holds, and its keys are kept.
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

#[tokio::main]
async fn main() {
    let given = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let messages = given.unwrap_or(MESSAGES);
    println!(
        "| D/MIME 2 | rate | at the origin, per processor | at the destination, per processor |\n|---|---|---|---|"
    );
    for suite in [Suite::X25519, Suite::XWing] {
        let field = Field::set_up(suite).await;
        field
            .measure(&format!("{suite:?}, the first {PEOPLE}"), PEOPLE)
            .await;
        field.measure(&format!("{suite:?}"), messages).await;
        field.end().await;
    }
}

/// Two organizations and their daemons.
struct Field {
    _world: World,
    origin: Side,
    destination: Side,
}

struct Side {
    organization: Organization,
    people: Arc<Vec<Person>>,
    maildirs: Vec<Maildir>,
    daemon: Process,
}

impl Field {
    /// The destination's domain has no keys for better suites, so that no message goes by one.
    async fn set_up(suite: Suite) -> Self {
        let world = World::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).await;
        let origin = world.organization("hermail.test").config(open_to_loopback);
        let origin = origin.build().await;
        let destination = world.organization("hismail.test").config(without_limits);
        let destination = destination.build().await;
        if suite == Suite::X25519 {
            give_only(&destination, suite).await;
        }
        Self {
            origin: Side::start(origin).await,
            destination: Side::start(destination).await,
            _world: world,
        }
    }

    async fn measure(&self, what: &str, messages: usize) {
        let before = self.destination.arrived();
        let [origin, destination] = [&self.origin, &self.destination].map(Side::processor_time);
        let started = Instant::now();
        self.submit(messages).await;
        self.destination.have(before + messages).await;
        let took = started.elapsed();
        let [origin, destination] = [
            self.origin.processor_time() - origin,
            self.destination.processor_time() - destination,
        ];
        self.origin.organization.idle().await;
        self.destination.organization.idle().await;
        assert_eq!(self.destination.delivered(), before + messages);
        let per = |time: Duration| messages as f64 / time.as_secs_f64();
        println!(
            "| {what} | {:.0}/s | {:.0}/s | {:.0}/s |",
            per(took),
            per(origin),
            per(destination)
        );
    }

    async fn submit(&self, messages: usize) {
        let left = Arc::new(AtomicUsize::new(messages));
        let mut sessions = JoinSet::new();
        for _ in 0..SESSIONS {
            let (left, ip) = (Arc::clone(&left), self.origin.organization.ip);
            let (authors, recipients) = (
                Arc::clone(&self.origin.people),
                Arc::clone(&self.destination.people),
            );
            sessions.spawn(async move {
                let mut talk = Talk::smtp(ip).await;
                while take(&left) {
                    let (from, to) = (anybody(&authors), anybody(&recipients));
                    talk.transfer(from, &[to], &message(from, to)).await;
                }
            });
        }
        sessions.join_all().await;
    }

    /// Ends both daemons, once every message has been seen to carry what the destination found.
    async fn end(self) {
        for side in [self.origin, self.destination] {
            let mut daemon = side.daemon;
            daemon.terminate();
            assert!(daemon.ended().await.success());
        }
    }
}

impl Side {
    async fn start(organization: Organization) -> Self {
        let people = Arc::new(populate(&organization, PEOPLE).await);
        let daemon = organization.spawn().await;
        let maildirs = (0..PEOPLE).map(|number| organization.maildir(&format!("user{number}")));
        Self {
            maildirs: maildirs.collect(),
            organization,
            people,
            daemon,
        }
    }

    /// Waits until so many messages are in all Maildirs. Looks seldom, as that takes time from what is measured.
    async fn have(&self, wanted: usize) {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let arrived = self.arrived();
            if arrived >= wanted {
                return;
            }
            if arrived > last {
                (last, since) = (arrived, Instant::now());
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{arrived} of {wanted} messages arrive"
            );
            tokio::time::sleep(LOOK_AFTER).await;
        }
    }

    /// Messages in all Maildirs, counted by their files.
    fn arrived(&self) -> usize {
        self.maildirs.iter().map(Maildir::count).sum()
    }

    /// Messages in all Maildirs; each must have passed.
    fn delivered(&self) -> usize {
        let all = self.maildirs.iter();
        all.map(|maildir| {
            let found = maildir.messages();
            assert!(
                found
                    .iter()
                    .all(|message| message.contains("result=pass; format=2;"))
            );
            found.len()
        })
        .sum()
    }

    /// What the process has used, of user and system.
    fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
}

fn anybody(people: &[Person]) -> &str {
    &people[rand::rng().random_range(0..people.len())].address
}

fn message(from: &str, to: &str) -> String {
    let head = format!("From: {from}\r\nTo: {to}\r\nSubject: x\r\n\r\n");
    let line = format!("{}\r\n", "x".repeat(70));
    head + &line.repeat(OCTETS / line.len())
}

fn without_limits(config: &mut Config) {
    config.limits.connections_per_address = NonZeroUsize::new(1000).unwrap();
    config.abuse.origin_messages_per_hour = 0;
    config.abuse.origin_mib_per_hour = 0;
}

fn open_to_loopback(config: &mut Config) {
    without_limits(config);
    config.relay.networks = vec!["127.0.0.0/8".parse().unwrap()];
    config.relay.messages_per_hour = 0;
    config.relay.recipients_per_hour = 0;
}

/// Publishes a signet of the domain whose key set has a key of one suite alone.
async fn give_only(organization: &Organization, suite: Suite) {
    let Services { store, published, .. } = organization.services().await;
    let ours = published.organization(&organization.name).await.unwrap().unwrap();
    let keys = KemKeys::new(vec![SecretKey::generate(suite, &mut rand::rng())]).unwrap();
    let created_at = SystemClock.now();
    let expires_at = created_at.after(A_MONTH);
    let draft = Draft {
        created: created_at.unix_secs() as u64,
        expires: expires_at.unix_secs() as u64,
        keys: keys.public_keys(),
    };
    let mut builder = OrgBuilder::edit(&ours.signet, &ours.keys.signing).unwrap();
    let profile = builder.profile_mut();
    profile.remove_undefined(FIELD);
    let value = draft.sign(Kind::Organization, &ours.keys.signing).unwrap();
    profile.add_undefined(FIELD, &value).unwrap();
    let signet = builder.identifiable(&organization.name).unwrap();
    let stored = StoredSignet {
        name: organization.name.to_string(),
        crypto: signet.crypto_fingerprint().unwrap(),
        full: signet.full_fingerprint().unwrap(),
        id: signet.id_fingerprint().unwrap(),
        object: signet.encode(),
        published_at: created_at,
    };
    let publication = Publication {
        kem_keys: Some(NewKemKeys {
            keys,
            created_at,
            expires_at,
            destroy_at: expires_at.after(A_MONTH),
        }),
        ..stored.into()
    };
    store.publish_signet(publication).await.unwrap();
}
