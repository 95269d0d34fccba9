//! Mail that was taken and cannot be delivered goes back to its origin, which believes nothing unchecked
//! (`dmime2.md` §12).

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use dimed::base::encoding::base64_unpadded;
use dimed::base::time::{SystemClock, Timestamp};
use dimed::config::{self, Config, LogLevel};
use dimed::crypto::ed25519::SigningKey;
use dimed::daemon::Services;
use dimed::dime::dmime2::returned::{Returned, Scope, Status, Ticket};
use dimed::dime::dmime2::{Limits, Outline};
use dimed::dime::key_set::SignedKeySet;
use dimed::dime::keys::OrgKeys;
use dimed::dime::keys::kem::KemFile;
use dimed::dime::signet::Kind;
use dimed::mail::reply::EnhancedStatus;
use dimed::queue::attempt::Mailer;
use dimed::queue::runner::{Attempt, Times};
use dimed::store::sqlite::SqliteStore;
use dimed::store::{Claim, Content, MasterKey, SettledState, Source, Store};

use serde_json::Value;

use super::exchange::{LETTER, SIGNETS, hand_out_signets, hermail, letter_of, shows};
use crate::support::child::Process;
use crate::support::eventually;
use crate::support::loopback::Loopback;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::tool::Desk;
use crate::support::world::{World, domain};

const ORIGIN: &str = "hermail.test";
const DESTINATION: &str = "hismail.test";
const REFUSED: &str = "554 the message could not be verified";
const HOUR: u64 = 3600;
const GAVE_UP: Status = Status {
    subject: 4,
    detail: 7,
};

/// An organization whose daemon waits for an hour before it tries again, and logs what rules are broken.
async fn patient(world: &World, name: &str, accounts: &[&str]) -> Organization {
    let builder = world.organization(name).accounts(accounts).config(|config| {
        config.queue.retry_first_secs = NonZeroU64::new(HOUR).unwrap();
        config.log.level = LogLevel::Debug;
    });
    builder.build().await
}

/// A message that hismail has taken for bob, and holds because it cannot be delivered.
struct Held {
    services: Services,
    claim: Claim,
    object: Vec<u8>,
}

impl Held {
    /// Has `author` write to bob, and stops hismail once it has tried in vain.
    async fn of(author: &str, hermail: &Organization, hismail: &Organization) -> Self {
        hismail.block_mailbox("bob");
        let there = hismail.start().await;
        let letter = letter_of(author);
        hermail.submit(author, &["bob@hismail.test"], &letter).await;
        let object = there.objects(1).await.remove(0);
        hermail.idle().await;
        eventually_tried(hismail).await;
        there.stop().await;
        let services = hismail.services().await;
        let later = services.clock.now().after(Duration::from_secs(2 * HOUR));
        let until = later.after(Duration::from_secs(HOUR));
        let claims = services.store.claim(later, until, 10).await.unwrap();
        let author = hermail.address(author);
        let is_theirs = |claim: &Claim| claim.envelope.reverse_path.to_string().contains(&author);
        let claim = claims.into_iter().find(is_theirs).expect("the message waits");
        Self {
            services,
            claim,
            object,
        }
    }

    async fn ticket(&self) -> Ticket {
        let ticket = self.services.store.ticket(self.claim.message).await.unwrap();
        Ticket::decode(&ticket.unwrap()).unwrap()
    }

    async fn key(&self) -> SigningKey {
        let published = &self.services.published;
        let organization = published.organization(&domain(DESTINATION)).await.unwrap();
        organization.unwrap().keys.signing
    }

    /// Records what would follow if this had been the last attempt and was cut off; the returned message.
    async fn give_up(&self) -> Returned {
        let settled = self
            .mailer()
            .attempt(&self.claim, Times::from_now(Duration::ZERO))
            .await;
        let [settlement] = &settled.settlements[..] else {
            panic!("{:?}", settled.settlements);
        };
        let expired = SettledState::Failed(EnhancedStatus(5, 4, 7));
        assert_eq!(settlement.state, expired);
        let [report] = &settled.follow_ups[..] else {
            panic!("{} follow-ups", settled.follow_ups.len());
        };
        let ours = Source::Domain(domain(DESTINATION));
        assert_eq!(
            (report.message.content, &report.message.envelope.source),
            (Content::Returned, &ours)
        );
        let object = report.body.whole().unwrap().to_vec();
        let (lease, store) = (self.claim.lease, &self.services.store);
        let recorded = store.settle(lease, settled.settlements, settled.follow_ups);
        recorded.await.unwrap();
        Returned::decode(object, &Limits::default()).unwrap()
    }

    /// The queue, for which every attempt is the last one.
    fn mailer(&self) -> Mailer {
        let mut mailer = self.services.mailer();
        mailer.schedules.usual.lifetime = Duration::ZERO;
        mailer
    }
}

/// Stopping waits for the attempts under way.
async fn eventually_tried(organization: &Organization) {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let listed = organization.cli(&["queue", "list", "--json"]).await;
        let untried = |line: &str| serde_json::from_str::<Value>(line).unwrap()["attempts"] == 0;
        if !listed.is_empty() && !listed.lines().any(untried) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "never tried: {listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The organization's database, with which nothing can be done any more.
async fn closed_store(organization: &Organization) -> Arc<dyn Store> {
    let config = Config::load(&organization.config).unwrap();
    let master = MasterKey::new(config::load_master_key(&config).unwrap());
    let store = SqliteStore::open(&config.server.database(), master, Arc::new(SystemClock)).await;
    let store = store.unwrap();
    store.close().await;
    Arc::new(store)
}

fn unix(time: Timestamp) -> u64 {
    u64::try_from(time.unix_secs()).unwrap()
}

/// How often the origin's log says that `rule` was broken.
fn broken(process: &Process, rule: &str) -> usize {
    let log = process.log();
    let lines = log.lines().filter(|line| line.contains("\"dmtp.message.rule\""));
    lines
        .filter(|line| serde_json::from_str::<Value>(line).unwrap()["rule"] == rule)
        .count()
}

/// The same return with another octet in the chunk of the common headers, so that its hash is another one.
fn altered(ticket: &Ticket, object: &[u8]) -> Ticket {
    let outline = Outline::read(object, &Limits::default()).unwrap();
    let before: usize = outline.chunks()[..3].iter().map(|chunk| 1 + chunk.size).sum();
    let mut stored = ticket.encode();
    stored[6 + before + 1 + outline.chunks()[3].size - 60] ^= 1;
    Ticket::decode(&stored).unwrap()
}

/// `dmime2.md` §12: the mailbox cannot be written for so long that the destination gives up.
#[tokio::test(flavor = "multi_thread")]
async fn mail_that_fails_after_the_250_comes_back_to_its_author_as_a_report() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.queue.lifetime_secs = NonZeroU64::new(1).unwrap())
        .build()
        .await;
    hismail.block_mailbox("bob");
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;

    let report = hermail.maildir("alice").only().await;
    assert!(
        report.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{report}"
    );
    assert!(report.contains("Action: failed\r\nStatus: 5."), "{report}");
    assert!(
        report.contains("Subject: =?UTF-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?="),
        "{report}"
    );
    // It went over DMTP, and nobody on the way could read it.
    let object = here.objects(1).await.remove(0);
    assert_eq!(shows(&object, &["alice", "bob@", "Subject", "numbers.bin"]), None);
    let returned = Returned::decode(object, &Limits::default()).unwrap();
    assert_eq!(returned.scope(), Scope::Headers);
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// What was opened here and went on to a host elsewhere, which does not take it: the author hears of it as of any failure over
/// there, and nobody on the way learns where it went.
#[tokio::test(flavor = "multi_thread")]
async fn opened_mail_that_is_refused_where_an_alias_sends_it_is_returned_sealed() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    for target in ["bob@hismail.test", "carol@plain.test"] {
        hismail.cli(&["alias", "add", "list@hismail.test", target]).await;
    }
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        refusal: Some("550 5.7.1 carol is away"),
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["list@hismail.test"], LETTER).await;
    hismail.maildir("bob").only().await;
    let report = hermail.maildir("alice").only().await;
    assert!(sink.sessions() > 0);
    assert!(
        report.contains("Final-Recipient: rfc822; list@hismail.test\r\n"),
        "{report}"
    );
    assert!(report.contains("Action: failed\r\nStatus: 5.7.1\r\n"), "{report}");
    for secret in ["plain.test", "carol", "away"] {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
    // It came by DMTP.
    let object = here.objects(1).await.remove(0);
    assert!(Returned::decode(object, &Limits::default()).is_ok());
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn returns_that_break_a_rule_are_refused_alike_and_the_right_one_counts_as_before() {
    let world = World::new().await;
    let hermail = patient(&world, ORIGIN, &["alice", "eve"]).await;
    let hismail = patient(&world, DESTINATION, &["bob"]).await;
    let here = hermail.spawn().await;
    let eves = Held::of("eve", &hermail, &hismail).await.ticket().await;
    let held = Held::of("alice", &hermail, &hismail).await;
    hermail
        .change_database("DELETE FROM accounts WHERE folded = 'eve@hermail.test'")
        .await;
    let (ticket, key) = (held.ticket().await, held.key().await);
    let now = unix(held.services.clock.now());
    let right = ticket.report(now, GAVE_UP, &key);
    let stranger = SigningKey::generate(&mut rand::rng());
    let cases = [
        // What the origin signed is something else.
        (
            "B3",
            DESTINATION,
            altered(&ticket, &held.object).report(now, GAVE_UP, &key),
        ),
        // Another domain hands it over, or another key has signed it.
        ("B4", "evil.test", right.clone()),
        ("B4", DESTINATION, ticket.report(now, GAVE_UP, &stranger)),
        // Its author is nobody here any more.
        ("B5", DESTINATION, eves.report(now, GAVE_UP, &key)),
        // Before the message was made, and in the future.
        ("B6", DESTINATION, ticket.report(now - 2 * HOUR, GAVE_UP, &key)),
        ("B6", DESTINATION, ticket.report(now + HOUR + 60, GAVE_UP, &key)),
    ];
    let mut talk = Talk::dmtp(hermail.ip, DESTINATION).await;
    for (rule, peer, object) in &cases {
        let before = broken(&here, rule);
        assert_eq!(talk.object(peer, ORIGIN, object).await, REFUSED, "{rule}");
        eventually("the rule in the log", || {
            (broken(&here, rule) > before).then_some(())
        })
        .await;
    }
    hermail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 0);

    // None of them has used up the one return that there may be; the same octets again change nothing.
    for _ in 0..2 {
        let reply = talk.object(DESTINATION, ORIGIN, &right).await;
        assert!(reply.starts_with("250 OK ["), "{reply}");
    }
    let told = hermail.maildir("alice").only().await;
    assert!(
        told.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{told}"
    );
    assert!(told.contains("Status: 5.4.7\r\n"), "{told}");
    // A second one does not: rule B6.
    let other = Status {
        subject: 2,
        detail: 2,
    };
    let second = ticket.report(now, other, &key);
    assert_eq!(talk.object(DESTINATION, ORIGIN, &second).await, REFUSED);
    eventually("the rule in the log", || (broken(&here, "B6") == 3).then_some(())).await;
    hermail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_cut_off_at_the_end_of_a_messages_life_returns_it_to_its_origin() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = patient(&world, DESTINATION, &["bob"]).await;
    let here = hermail.start().await;
    let held = Held::of("alice", &hermail, &hismail).await;
    let returned = held.give_up().await;
    assert_eq!(returned.status().to_string(), "5.4.7");
    let there = hismail.start().await;
    let told = hermail.maildir("alice").only().await;
    assert!(
        told.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{told}"
    );
    assert!(told.contains("Status: 5.4.7\r\n"), "{told}");
    hismail.idle().await;
    hermail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_returned_now_is_not_told_in_the_clear_instead() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = patient(&world, DESTINATION, &["bob"]).await;
    let here = hermail.start().await;
    let held = Held::of("alice", &hermail, &hismail).await;
    let mut mailer = held.mailer();
    mailer.store = closed_store(&hismail).await;
    let settled = mailer.attempt(&held.claim, Times::from_now(Duration::ZERO)).await;
    assert!(settled.follow_ups.is_empty());
    let states: Vec<_> = settled.settlements.iter().map(|one| one.state).collect();
    assert!(
        matches!(
            states[..],
            [SettledState::Deferred {
                delay_reported: false,
                ..
            }]
        ),
        "{states:?}"
    );
    here.stop().await;
}

/// Rule B4: what counts is the signet of the time of the report, which was neither there when the message was made nor
/// is it the current one when the return arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_counts_under_the_keys_of_its_time_though_they_have_changed_before_and_after() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let [second, third] = [(); 2].map(|()| OrgKeys::generate(&mut rand::rng()));
    let further: String = [&second, &third]
        .map(|keys| format!(" pok={}", base64_unpadded(&keys.signing.verifying_key().0)))
        .concat();
    let hismail = world
        .organization(DESTINATION)
        .accounts(&["bob"])
        .config(|config| config.queue.retry_first_secs = NonZeroU64::new(HOUR).unwrap())
        .record(|record| record + &further)
        .build()
        .await;
    let here = hermail.start().await;
    let held = Held::of("alice", &hermail, &hismail).await;
    let published = &held.services.published;
    let name = domain(DESTINATION);
    let signed_with = published.publish_organization(&name, second).await.unwrap();
    let object = held.give_up().await;
    assert!(object.is_signed_by(&signed_with.signet));
    let current = published.publish_organization(&name, third).await.unwrap();
    assert!(!object.is_signed_by(&current.signet));
    let remembered = hermail.services().await.store;
    remembered.forget_remote_signets(DESTINATION).await.unwrap();

    let there = hismail.start().await;
    let told = hermail.maildir("alice").only().await;
    assert!(
        told.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{told}"
    );
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// Takes private keys off the server and to a desk; from now on they are nowhere else.
async fn take_alices_keys_home(organization: &Organization, desk: &Desk) {
    let address = organization.address("alice");
    let published = organization.services().await.published;
    let user = published.user(&address.parse().unwrap()).await.unwrap().unwrap();
    let keys = user.keys.unwrap();
    desk.write("alice.key", keys.to_armor().expose());
    let set = SignedKeySet::of(user.signet.signet()).unwrap().unwrap();
    let candidates = published.candidates(&address).await.unwrap();
    let file = KemFile {
        kind: Kind::User,
        owner: user.signet.signing_key(),
        created: set.created(),
        expires: set.expires(),
        keys: candidates.into_iter().next().unwrap().keys,
    };
    desk.write("alice.kem", file.to_armor().expose());
    for sql in [
        "UPDATE signets SET private_keys = NULL WHERE name = 'alice@hermail.test'",
        "DELETE FROM kem_keys WHERE name = 'alice@hermail.test'",
    ] {
        organization.change_database(sql).await;
    }
}

/// `dmime2.md` §12.4: the origin cannot open what comes back, and passes it on as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_goes_to_an_author_with_keys_at_home_as_it_is_and_the_tools_open_it() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = patient(&world, DESTINATION, &["bob"]).await;
    let here = hermail.start().await;
    let held = Held::of("alice", &hermail, &hismail).await;
    let desk = Desk::new();
    hand_out_signets(&desk, (&hermail, "alice"), (&hismail, "bob")).await;
    take_alices_keys_home(&hermail, &desk).await;

    held.give_up().await;
    let there = hismail.start().await;
    let told = hermail.maildir("alice").only().await;
    let header = split(&told).0;
    assert!(
        header.contains("\r\nContent-Type: application/vnd.dime\r\n") && header.contains("Return-Path: <>"),
        "{header}"
    );
    assert_eq!(
        shows(told.as_bytes(), &["bob@", "=?UTF-8?B?", "numbers.bin"]),
        None
    );
    desk.write("mail.eml", &told);
    let keys = "--key alice.key --key alice.kem";
    let returned = desk.json(
        0,
        &format!("message verify --as author {keys} {SIGNETS} mail.eml"),
    );
    assert_eq!(returned["type"], "returned message");
    assert_eq!(returned["envelope"]["recipient"], "bob@hismail.test");
    let headers = returned["returned"]["common_headers"].as_str().unwrap();
    assert!(
        headers.contains("Subject: =?UTF-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?="),
        "{headers}"
    );
    // Cut off, it is nothing.
    let mut lines: Vec<&str> = told.lines().collect();
    lines.truncate(lines.len() - 2);
    desk.write("mail.eml", lines.join("\r\n"));
    desk.fails(
        1,
        &format!("message verify --as author {keys} {SIGNETS} mail.eml"),
    );
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}
