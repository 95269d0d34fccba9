//! Peers who prove nothing: what they can make the daemon do to others.

use std::io::Cursor;
use std::num::NonZeroU64;
use std::sync::Arc;

use dimed::base::time::{Clock, SystemClock};
use dimed::config::Config;
use dimed::crypto::ed25519::SigningKey;
use dimed::crypto::suite::hpke::{PublicKey, SecretKey, Suite};
use dimed::dime::convert::to_dmime2;
use dimed::dime::dmime2::returned::{Scope, Status, Ticket};
use dimed::dime::dmime2::seal::{self, Parties};
use dimed::dime::dmime2::{Limits, Outline};
use dimed::dime::fingerprint::FullFingerprint;
use dimed::dime::key_set::SignedKeySet;
use dimed::mail::address::Domain;
use dimed::signet_service::Published;
use dimed::store::MasterKey;
use dimed::store::sqlite::SqliteStore;
use tokio::sync::Barrier;

use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::watcher::get;
use crate::support::world::{World, domain};

const HERMAIL: &str = "hermail.test";
const HISMAIL: &str = "hismail.test";
const LETTER: &str = "Date: d\r\nFrom: mallory@hermail.test\r\n\r\nHello\r\n";

/// Returned messages that come at the same time, and the memory that they may take altogether, in KiB. What is freed is given back a
/// second later.
const AT_ONCE: usize = 60;
const ALLOWED_KIB: u64 = 96 << 10;

/// What everybody can know of an organization.
struct Known {
    domain: Domain,
    signet: FullFingerprint,
    key: PublicKey,
}

impl Known {
    async fn of(organization: &Organization) -> Self {
        let config = Config::load(&organization.config).unwrap();
        let master = MasterKey::new(dimed::config::load_master_key(&config).unwrap());
        let clock = Arc::new(SystemClock);
        let path = config.server.database();
        let store = SqliteStore::open(&path, master, clock.clone()).await.unwrap();
        let published = Published::new(Arc::new(store), clock);
        let found = published.organization(&organization.name).await.unwrap().unwrap();
        let set = SignedKeySet::of(found.signet.signet()).unwrap().unwrap();
        Self {
            domain: organization.name.clone(),
            signet: found.signet.full_fingerprint().unwrap(),
            key: set.accept(now()).unwrap().key(Suite::X25519).unwrap().clone(),
        }
    }

    fn party(&self) -> seal::Organization {
        seal::Organization {
            domain: self.domain.clone(),
            signet: self.signet,
            key: self.key.clone(),
        }
    }
}

fn now() -> u64 {
    u64::try_from(SystemClock.now().unix_secs()).unwrap()
}

fn some_key() -> PublicKey {
    SecretKey::generate(Suite::X25519, &mut rand::rng()).public_key()
}

/// A message that nobody's signature vouches for.
fn made_up(parties: &Parties, letter: &str) -> Vec<u8> {
    let content = to_dmime2(Cursor::new(letter)).unwrap();
    let (key, mut object) = (SigningKey::generate(&mut rand::rng()), Vec::new());
    let body = Cursor::new(letter);
    seal::write(parties, &key, &content, body, &mut object, &mut rand::rng()).unwrap();
    object
}

/// All of a message that nobody sent, returned.
fn returned(object: &[u8]) -> Vec<u8> {
    let outline = Outline::read(object, &Limits::default()).unwrap();
    let mut list = vec![Suite::X25519.id(), Scope::Full as u8];
    list.extend(u32::try_from(outline.chunks().len()).unwrap().to_be_bytes());
    for chunk in outline.chunks() {
        list.push(1);
        list.extend_from_slice(&object[chunk.offset as usize..][..chunk.size]);
    }
    let status = Status {
        subject: 2,
        detail: 2,
    };
    let key = SigningKey::generate(&mut rand::rng());
    Ticket::decode(&list).unwrap().report(now(), status, &key)
}

fn parties(origin: seal::Organization, destination: seal::Organization) -> Parties {
    let address = |local: &str, domain: &Domain| format!("{local}@{domain}").parse().unwrap();
    Parties {
        created: now(),
        author: seal::Author {
            address: address("mallory", &origin.domain),
            signet: FullFingerprint([1; 64]),
            copy: None,
        },
        recipient: seal::Recipient {
            address: address("bob", &destination.domain),
            signet: FullFingerprint([2; 64]),
            key: some_key(),
        },
        origin,
        destination,
    }
}

/// How often it has asked others for a signet.
async fn asked(by: &Organization) -> f64 {
    let metrics = get(by.ip, "/metrics").await;
    let count = |result| metrics.value(&format!("dimed_signet_lookups_total{{result=\"{result}\"}}"));
    ["found", "missing", "invalid", "unavailable"]
        .map(count)
        .iter()
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_not_asked_for_signets_without_end_because_of_peers_who_prove_nothing() {
    let world = World::new().await;
    let hermail = world.organization(HERMAIL).build().await;
    let hismail = world.organization(HISMAIL).accounts(&["bob"]).build().await;
    let (_there, _here) = (hermail.spawn().await, hismail.spawn().await);
    let destination = Known::of(&hismail).await;
    let mut talk = Talk::dmtp(hismail.ip, HERMAIL).await;
    let mut replies = Vec::new();
    for count in 0..30u8 {
        let origin = seal::Organization {
            domain: domain(HERMAIL),
            // Another one each time, so that nothing is remembered.
            signet: FullFingerprint([count; 64]),
            key: some_key(),
        };
        let object = made_up(&parties(origin, destination.party()), LETTER);
        let reply = talk.object(HERMAIL, HISMAIL, &object).await;
        replies.push(reply[..3].to_owned());
    }
    assert_eq!(replies[..20], vec!["554"; 20]);
    // One may have been regained in between.
    assert!(
        replies[20..].iter().filter(|code| *code == "451").count() >= 8,
        "{replies:?}"
    );
    let asked = asked(&hismail).await;
    assert!((20.0..=22.0).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_for_signets_because_of_a_returned_message_that_was_never_sent() {
    let world = World::new().await;
    let hermail = world.organization(HERMAIL).build().await;
    let hismail = world.organization(HISMAIL).accounts(&["bob"]).build().await;
    let (_there, _here) = (hermail.spawn().await, hismail.spawn().await);
    // As if bob had written to somebody at hermail.
    let origin = Known::of(&hismail).await;
    let there = Known::of(&hermail).await;
    let object = returned(&made_up(&parties(origin.party(), there.party()), LETTER));
    let mut talk = Talk::dmtp(hismail.ip, HERMAIL).await;
    let reply = talk.object(HERMAIL, HISMAIL, &object).await;
    assert_eq!(reply, "554 the message could not be verified");
    talk.ask("QUIT", "221").await;
    assert_eq!(asked(&hismail).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn returned_messages_that_come_at_once_are_held_in_bounded_memory() {
    let world = World::new().await;
    let hismail = world.organization(HISMAIL).accounts(&["bob"]);
    let hismail = hismail.config(|config| config.limits.message_bytes = NonZeroU64::new(1 << 20).unwrap());
    let hismail = hismail.build().await;
    let here = hismail.spawn().await;
    let origin = Known::of(&hismail).await;
    let there = seal::Organization {
        domain: domain(HERMAIL),
        signet: FullFingerprint([3; 64]),
        key: some_key(),
    };
    let letter = format!("{LETTER}{}", "0123456789\r\n".repeat(75_000));
    let object = Arc::new(returned(&made_up(&parties(origin.party(), there), &letter)));
    assert!(
        object.len() > 900_000 && object.len() < 1 << 20,
        "{}",
        object.len()
    );
    let together = Arc::new(Barrier::new(AT_ONCE));
    here.forget_peak();
    let before = here.resident_kib();
    let sessions = (0..AT_ONCE).map(|_| {
        let (ip, object, together) = (hismail.ip, Arc::clone(&object), Arc::clone(&together));
        tokio::spawn(async move {
            let mut talk = Talk::dmtp(ip, HERMAIL).await;
            let size = object.len();
            talk.ask(&format!("MAIL FROM: <{HERMAIL}> [x] SIZE={size}"), "250")
                .await;
            talk.ask(&format!("RCPT TO: <{HISMAIL}> [x]"), "250").await;
            talk.ask("DATA [x]", "354").await;
            talk.send(&object).await;
            together.wait().await;
            talk.ask("", "").await
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        let reply = session.await.unwrap();
        assert!(reply.starts_with("554") || reply.starts_with("451"), "{reply}");
    }
    let taken = here.peak_kib().saturating_sub(before);
    assert!(taken < ALLOWED_KIB, "{taken} KiB");
}
