//! The block list, traps, and limits by origin, on a running daemon.

use dimed::base::encoding::base64_unpadded;
use dimed::crypto::ed25519::VerifyingKey;
use dimed::dime::keys::UserKeys;
use serde_json::Value;

use super::exchange::{LETTER, assert_same_letter, hermail, letter_of};
use crate::support::home::Home;
use crate::support::organization::{Organization, Served};
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

const ORIGIN: &str = "hermail.test";
const DESTINATION: &str = "hismail.test";
const BLOCKED: &str = "550 mail of this sender is not taken here";
const TOO_MUCH: &str = "431 too much mail from your domain, try again later";

/// hermail.test with alice and eve, hismail.test with bob and a trap, both served.
struct Pair {
    world: World,
    hermail: Organization,
    hismail: Organization,
    here: Served,
    there: Served,
}

impl Pair {
    async fn new(format: u8, change: fn(&mut dimed::config::Abuse)) -> Self {
        let world = World::new().await;
        let hermail = hermail(&world).await;
        let hismail = world.organization(DESTINATION).accounts(&["bob"]);
        let hismail = hismail.config(move |config| change(&mut config.abuse));
        let hismail = match format {
            1 => hismail.opted_out().build().await,
            _ => hismail.build().await,
        };
        hismail.cli(&["trap", "add", "trap@hismail.test"]).await;
        let (here, there) = (hermail.start().await, hismail.start().await);
        Self {
            world,
            hermail,
            hismail,
            here,
            there,
        }
    }

    /// Sends a letter, which must arrive; what bob has then.
    async fn arrives(&self, from: &str, count: usize) -> Vec<String> {
        self.hermail
            .submit(from, &["bob@hismail.test"], &letter_of(from))
            .await;
        self.hismail.maildir("bob").expect(count).await
    }

    /// Sends a letter, which must come back as refused; all reports so far.
    async fn comes_back(&self, from: &str, count: usize) {
        self.hermail
            .submit(from, &["bob@hismail.test"], &letter_of(from))
            .await;
        let reports = self.hermail.maildir(from).expect(count).await;
        let refusals = reports.iter().filter(|report| report.contains(BLOCKED));
        assert_eq!(refusals.count(), count, "{reports:?}");
    }

    /// Sends letters to the trap until it has taken that many objects in all.
    async fn write_to_trap(&self, from: &str, objects: usize) -> Vec<u8> {
        self.hermail
            .submit(from, &["trap@hismail.test"], &letter_of(from))
            .await;
        let object = self.there.objects(objects).await.pop().unwrap();
        self.hermail.idle().await;
        self.hismail.idle().await;
        assert_eq!(self.hermail.maildir(from).count(), 0, "no report");
        object
    }

    async fn key_of(&self, user: &str) -> VerifyingKey {
        let published = self.hermail.services().await.published;
        let address = self.hermail.address(user).parse().unwrap();
        published
            .user(&address)
            .await
            .unwrap()
            .unwrap()
            .signet
            .signing_key()
    }

    /// Lines of `dimed block …` for programs.
    async fn lines(&self, command: &str) -> Vec<Value> {
        let text = self.hismail.cli(&["block", command, "--json"]).await;
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What happened, oldest first.
    async fn deeds(&self) -> Vec<String> {
        let lines = self.lines("log").await;
        let deed =
            |line: &Value| format!("{} {} {}", line["by"], line["what"], line["kind"]).replace('"', "");
        lines.iter().rev().map(deed).collect()
    }

    async fn block(&self, kind: &str, value: &str) {
        let arguments = ["block", "add", kind, value, "--reason", "complaints"];
        self.hismail.cli(&arguments).await;
    }

    async fn unblock(&self, kind: &str, value: &str) {
        self.hismail.cli(&["block", "remove", kind, value]).await;
    }

    async fn stop(self) {
        self.here.stop().await;
        self.there.stop().await;
    }
}

fn text(key: VerifyingKey) -> String {
    base64_unpadded(&key.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_list_holds_at_once_and_until_it_is_changed() {
    let pair = Pair::new(2, |_| {}).await;
    pair.arrives("alice", 1).await;
    pair.block("domain", ORIGIN).await;
    pair.comes_back("alice", 1).await;
    pair.unblock("domain", ORIGIN).await;
    pair.arrives("alice", 2).await;

    let published = pair.hermail.services().await.published;
    let origin = published.organization(&domain(ORIGIN)).await.unwrap().unwrap();
    let pok = text(origin.signet.primary_key());
    pair.block("pok", &pok).await;
    pair.comes_back("alice", 2).await;
    // As when its time is over.
    pair.hismail
        .change_database("UPDATE blocks SET until = since + 1")
        .await;
    pair.arrives("alice", 3).await;

    pair.block("author-key", &text(pair.key_of("alice").await)).await;
    pair.comes_back("alice", 3).await;
    pair.arrives("eve", 4).await;
    let expected = [
        "operator added domain",
        "arrival refused domain",
        "operator removed domain",
        "operator added pok",
        "arrival refused pok",
        "operator added author-key",
        "arrival refused author-key",
        "expiry expired pok",
    ];
    assert_eq!(pair.deeds().await, expected);
    let left = pair.lines("list").await;
    assert_eq!((left.len(), &left[0]["kind"]), (1, &"author-key".into()));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_author_of_format_1_is_refused_too() {
    let pair = Pair::new(1, |_| {}).await;
    pair.arrives("alice", 1).await;
    pair.block("author-key", &text(pair.key_of("alice").await)).await;
    pair.comes_back("alice", 1).await;
    pair.arrives("eve", 2).await;
    pair.block("domain", "test").await;
    pair.comes_back("eve", 1).await;
    pair.stop().await;
}

async fn remembers_an_author_once_admitted(format: u8) {
    let pair = Pair::new(format, |_| {}).await;
    let key = pair.key_of("alice").await;
    let remembered = async || {
        let services = pair.hismail.services().await;
        let now = services.clock.now();
        let pin = services.store.custody_pin("alice@hermail.test", now).await;
        pin.unwrap().map(|pin| pin.signing_key)
    };
    pair.block("author-key", &text(key)).await;
    pair.comes_back("alice", 1).await;
    assert_eq!(remembered().await, None);
    pair.unblock("author-key", &text(key)).await;
    pair.arrives("alice", 1).await;
    assert_eq!(remembered().await, Some(key));
    pair.stop().await;
}

/// Nobody's key is remembered before a message has proven to be theirs and has been let in.
#[tokio::test(flavor = "multi_thread")]
async fn an_author_is_remembered_once_a_message_of_theirs_is_taken() {
    remembers_an_author_once_admitted(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_of_format_1_is_remembered_once_a_message_of_theirs_is_taken() {
    remembers_an_author_once_admitted(1).await;
}

/// The list answers nobody who has not proven to be on it.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_listed_cannot_be_found_out_by_others() {
    let pair = Pair::new(2, |_| {}).await;
    pair.arrives("alice", 1).await;
    let mut object = pair.there.objects(1).await.remove(0);
    let middle = object.len() / 2;
    object[middle] ^= 1;
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    let before = talk.object(ORIGIN, DESTINATION, &object).await;
    pair.block("domain", ORIGIN).await;
    assert_eq!(talk.object(ORIGIN, DESTINATION, &object).await, before);
    assert_eq!(before, "554 the message could not be verified");
    object[middle] ^= 1;
    assert_eq!(talk.object(ORIGIN, DESTINATION, &object).await, BLOCKED);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_author_is_not_seen_where_the_keys_are_at_home() {
    let pair = Pair::new(2, |_| {}).await;
    Home::join(&pair.hismail, "pat", "paranoid").await;
    pair.block("author-key", &text(pair.key_of("alice").await)).await;
    pair.hermail.submit("alice", &["pat@hismail.test"], LETTER).await;
    let delivered = pair.hismail.maildir("pat").only().await;
    assert!(delivered.contains("application/vnd.dime"));
    pair.stop().await;
}

async fn traps_an_author(format: u8) {
    let pair = Pair::new(format, |_| {}).await;
    let object = pair.write_to_trap("alice", 1).await;
    assert_eq!(pair.hismail.maildir("trap").count(), 0, "discarded");
    let listed = pair.lines("list").await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let key = text(pair.key_of("alice").await);
    for (field, value) in [
        ("kind", "author-key"),
        ("value", &key),
        ("by", "trap"),
        ("origin", ORIGIN),
    ] {
        assert_eq!(listed[0][field], *value);
    }
    let days = (listed[0]["until"].as_i64().unwrap() - listed[0]["since"].as_i64().unwrap()) / (24 * 3600);
    assert_eq!(days, 30);
    pair.comes_back("alice", 1).await;
    pair.arrives("eve", 1).await;

    // An operator forgives; a copy of the old mail, whoever sends it, changes nothing.
    pair.unblock("author-key", &key).await;
    let mut talk = Talk::dmtp(pair.hismail.ip, "anybody.test").await;
    for _ in 0..3 {
        let reply = talk.object(ORIGIN, DESTINATION, &object).await;
        assert!(reply.starts_with("250 OK ["), "{reply}");
    }
    pair.arrives("alice", 2).await;
    let expected = [
        "trap added author-key",
        "arrival refused author-key",
        "operator removed author-key",
    ];
    assert_eq!(pair.deeds().await, expected);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_a_trap_in_format_1_is_blocked_and_copies_block_nobody() {
    traps_an_author(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_a_trap_in_format_2_is_blocked_and_copies_block_nobody() {
    traps_an_author(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_answers_and_looks_like_any_other_address() {
    let pair = Pair::new(2, |abuse| abuse.trap_mail = dimed::config::TrapMail::Keep).await;
    pair.arrives("alice", 1).await;
    pair.write_to_trap("eve", 2).await;
    let kept = pair.hismail.maildir("trap").only().await;
    assert_same_letter(&kept, &letter_of("eve"));
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    for user in ["bob", "trap"] {
        talk.ask(&format!("SGNT <{user}@hismail.test>"), "250 OK [").await;
    }
    // By SMTP it is an address like others, and blocks nobody.
    let mut talk = Talk::smtp(pair.hismail.ip).await;
    let reply = talk
        .transfer("carol@plain.test", &["trap@hismail.test"], LETTER)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    pair.hismail.maildir("trap").expect(2).await;
    assert_eq!(pair.lines("list").await.len(), 1);
    // Nobody is at home there.
    let mut talk = Talk::open(pair.hismail.ip, crate::support::loopback::SUBMISSION).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask("STARTTLS", "220").await;
    talk.start_tls().await;
    talk.ask("EHLO client.test", "250").await;
    let login = dimed::base::encoding::base64(b"\0trap@hismail.test\0correct horse");
    talk.ask(&format!("AUTH PLAIN {login}"), "535").await;
    pair.stop().await;
}

/// A block follows no key: whoever gets a new one is another author, and counts as one more of the domain.
#[tokio::test(flavor = "multi_thread")]
async fn an_author_with_a_new_key_is_another_one_and_counts_for_the_domain() {
    let pair = Pair::new(2, |abuse| abuse.trap_origin_after_authors = 2).await;
    pair.write_to_trap("alice", 1).await;
    pair.comes_back("alice", 1).await;
    let old = pair.key_of("alice").await;
    let services = pair.hermail.services().await;
    let address = pair.hermail.address("alice").parse().unwrap();
    let keys = UserKeys::generate(&mut rand::rng());
    services.published.publish_user(&address, keys).await.unwrap();
    assert_ne!(pair.key_of("alice").await, old);
    pair.arrives("alice", 1).await;

    pair.hermail.submit("alice", &["trap@hismail.test"], LETTER).await;
    pair.hermail.idle().await;
    let kinds: Vec<_> = pair
        .lines("list")
        .await
        .iter()
        .map(|line| line["kind"].clone())
        .collect();
    assert_eq!(kinds, ["author-key", "author-key", "domain"]);
    pair.comes_back("eve", 1).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_blocks_nobody_of_a_domain_that_is_never_blocked() {
    let pair = Pair::new(2, |abuse| {
        abuse.never_blocked = vec![domain("test")];
        abuse.trap_origin_after_authors = 1;
    })
    .await;
    pair.write_to_trap("alice", 1).await;
    pair.arrives("alice", 1).await;
    assert!(pair.lines("list").await.is_empty());
    // What is on the list from before does not hold for it either.
    pair.block("author-key", &text(pair.key_of("alice").await)).await;
    pair.arrives("alice", 2).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_sends_too_much_is_put_off_and_copies_use_up_nothing() {
    let pair = Pair::new(2, |abuse| abuse.origin_messages_per_hour = 4).await;
    for count in 1..=3 {
        pair.arrives("alice", count).await;
    }
    let objects = pair.there.objects(3).await;
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    for object in objects.iter().cycle().take(10) {
        let reply = talk.object(ORIGIN, DESTINATION, object).await;
        assert!(reply.starts_with("250 OK ["), "{reply}");
    }
    pair.arrives("alice", 4).await;

    // They are new here once they are forgotten, and all come at once when one message is left.
    pair.hismail.change_database("DELETE FROM replay_entries").await;
    let Pair {
        world,
        hermail,
        hismail,
        here,
        there,
    } = pair;
    here.stop().await;
    there.stop().await;
    let there = hismail.start().await;
    let here = hermail.start().await;
    let ip = hismail.ip;
    for object in &objects[..3] {
        let reply = talk_to(ip, object.clone()).await;
        assert!(reply.starts_with("250 OK ["), "{reply}");
    }
    hismail.change_database("DELETE FROM replay_entries").await;
    let at_once = objects
        .iter()
        .map(|object| tokio::spawn(talk_to(ip, object.clone())));
    let mut replies = Vec::new();
    for reply in at_once.collect::<Vec<_>>() {
        replies.push(reply.await.unwrap());
    }
    let taken = replies
        .iter()
        .filter(|reply| reply.starts_with("250 OK ["))
        .count();
    let put_off = replies.iter().filter(|reply| *reply == TOO_MUCH).count();
    assert_eq!((taken, put_off), (1, 2), "{replies:?}");
    here.stop().await;
    there.stop().await;
    drop(world);
}

async fn talk_to(ip: std::net::IpAddr, object: Vec<u8>) -> String {
    let mut talk = Talk::dmtp(ip, ORIGIN).await;
    talk.object(ORIGIN, DESTINATION, &object).await
}
