//! Who is named in the log, and how.

use dimed::config::LogAddresses;
use serde_json::Value;

use super::lines;
use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nSubject: out\r\n\r\nhello\r\n";

async fn hash(organization: &Organization, address: &str) -> String {
    let printed = organization.cli(&["log", "hash", address]).await;
    printed.trim().to_owned()
}

async fn named<'a>(
    world: &'a World,
    name: &str,
    locals: &[&'a str],
    addresses: LogAddresses,
) -> Organization {
    world
        .organization(name)
        .accounts(locals)
        .config(|config| config.log.addresses = addresses)
        .build()
        .await
}

/// The log after a message by SMTP to carol, and one to bob here.
async fn log(addresses: Option<LogAddresses>) -> (String, [String; 3]) {
    let world = World::new().await;
    let host = Loopback::take();
    world.plain_domain("sink.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| {
            if let Some(addresses) = addresses {
                config.log.addresses = addresses;
            }
        })
        .build()
        .await;
    let process = hermail.spawn().await;
    hermail
        .submit("alice", &["carol@sink.test", "bob@hermail.test"], MESSAGE)
        .await;
    sink.taken(1).await;
    hermail.maildir("bob").only().await;
    hermail.idle().await;
    let mut hashes = Vec::new();
    for address in ["alice@hermail.test", "Carol@SINK.test", "bob@hermail.test"] {
        hashes.push(hash(&hermail, address).await);
    }
    let json = hermail.cli(&["log", "hash", "carol@sink.test", "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hash"], hashes[1], "whatever the spelling");
    (process.log(), hashes.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sent_what_to_whom_is_found_by_hashes() {
    let (log, [alice, carol, bob]) = log(None).await;
    for address in ["alice@", "carol@", "bob@"] {
        assert!(!log.contains(address), "{address} is in {log}");
    }
    let accepted = lines(&log, "smtp.message.accepted");
    assert_eq!(accepted[0]["sender"], alice);
    assert!(accepted[0]["recipient"].is_null());
    for (event, recipient) in [("queue.attempt.smtp", carol), ("queue.attempt.local", bob)] {
        let attempts = lines(&log, event);
        assert_eq!(attempts.len(), 1, "{log}");
        assert_eq!(attempts[0]["sender"], alice);
        assert_eq!(attempts[0]["recipient"], recipient);
        assert_eq!(attempts[0]["message.id"], accepted[0]["message.id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_left_out_or_clear_where_the_operator_wants_it() {
    let (log, hashes) = log(Some(LogAddresses::None)).await;
    assert_eq!(lines(&log, "queue.attempt.smtp").len(), 1);
    for trace in [
        "\"sender\"",
        "\"recipient\"",
        "alice@",
        hashes[0].as_str(),
        hashes[1].as_str(),
        hashes[2].as_str(),
    ] {
        assert!(!log.contains(trace), "{trace} is in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_addresses_are_in_lines_of_deliveries_by_smtp_alone() {
    let (log, [alice, ..]) = log(Some(LogAddresses::Clear)).await;
    let attempt = &lines(&log, "queue.attempt.smtp")[0];
    assert_eq!(attempt["sender"], "alice@hermail.test");
    assert_eq!(attempt["recipient"], "carol@sink.test");
    assert_eq!(attempt["reply.text"], "250 taken");
    // It is not known yet which way the message goes.
    assert_eq!(lines(&log, "smtp.message.accepted")[0]["sender"], alice);
}

/// Hosts quote what they refuse, in forms that nobody can foresee.
#[tokio::test(flavor = "multi_thread")]
async fn what_other_hosts_say_is_nowhere_but_where_addresses_are_clear() {
    const REFUSAL: &str = "550 5.7.1 user=carol c%2Earol <\"carol x\"@sink.test> subject \"planted\"";
    for addresses in [LogAddresses::None, LogAddresses::Hashed, LogAddresses::Clear] {
        let world = World::new().await;
        let host = Loopback::take();
        world.plain_domain("sink.test", host.ip);
        let refusing = Behaviour {
            refusal: Some(REFUSAL),
            ..Behaviour::default()
        };
        let _sink = Sink::start(host.ip, refusing).await;
        let hermail = named(&world, "hermail.test", &["alice"], addresses).await;
        let process = hermail.spawn().await;
        hermail.submit("alice", &["carol@sink.test"], MESSAGE).await;
        hermail.maildir("alice").only().await;
        hermail.idle().await;
        let log = process.log();
        let attempt = &lines(&log, "queue.attempt.smtp")[0];
        assert_eq!(attempt["reply.code"], 550);
        assert_eq!(attempt["reply.enhanced"], "5.7.1");
        for word in ["planted", "carol", "Earol"] {
            assert_eq!(
                log.contains(word),
                addresses == LogAddresses::Clear,
                "{word}: {log}"
            );
        }
    }
}

/// Whatever the option, each side's log has its own user by a hash, and no line that an id joins to it has the other end.
#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_sealed_mail_are_hashed_and_apart() {
    for addresses in [LogAddresses::Hashed, LogAddresses::Clear] {
        let world = World::new().await;
        let hermail = named(&world, "hermail.test", &["alice"], addresses).await;
        let hismail = named(&world, "hismail.test", &["bob"], addresses).await;
        let (here, there) = (hermail.spawn().await, hismail.spawn().await);
        hermail.submit("alice", &["bob@hismail.test"], MESSAGE).await;
        hismail.maildir("bob").only().await;
        hermail.idle().await;
        hismail.idle().await;
        let (here, there) = (here.log(), there.log());
        for address in ["alice@", "bob@"] {
            assert!(!here.contains(address) && !there.contains(address), "{address}");
        }
        let accepted = lines(&here, "smtp.message.accepted");
        assert_eq!(accepted[0]["sender"], hash(&hermail, "alice@hermail.test").await);
        assert!(
            !here.contains(&hash(&hermail, "bob@hismail.test").await),
            "{here}"
        );
        let transfer = &lines(&here, "queue.attempt.dmtp")[0];
        assert!(transfer["message.id"].is_null() && transfer["sender"].is_null());
        assert_eq!(transfer["destination"], "hismail.test");

        assert!(
            !there.contains(&hash(&hismail, "alice@hermail.test").await),
            "{there}"
        );
        let taken = &lines(&there, "dmtp.message.accepted")[0];
        assert_eq!(taken["origin"], "hermail.test");
        assert!(taken["recipient"].is_null());
        let delivery = &lines(&there, "queue.attempt.local")[0];
        assert_eq!(delivery["recipient"], hash(&hismail, "bob@hismail.test").await);
        assert!(delivery["message.id"].is_null() && delivery["sender"].is_null());
        let id = delivery["attempt.id"].as_str().unwrap();
        assert_eq!(there.matches(id).count(), 1, "no other line has it");
    }
}

/// Lines of the delivery name whom the address leads to.
#[tokio::test(flavor = "multi_thread")]
async fn mail_is_found_by_the_address_that_it_was_sent_to() {
    let world = World::new().await;
    let hermail = named(&world, "hermail.test", &["alice", "bob"], LogAddresses::Hashed).await;
    hermail
        .cli(&["alias", "add", "sales@hermail.test", "bob@hermail.test"])
        .await;
    let process = hermail.spawn().await;
    for address in ["sales@hermail.test", "bob+detail@hermail.test"] {
        hermail.submit("alice", &[address], MESSAGE).await;
        hermail.idle().await;
        let printed = hash(&hermail, address).await;
        let hashes: Vec<&str> = printed.lines().collect();
        assert_eq!(hashes.len(), 2, "{printed}");
        assert_eq!(hashes[1], hash(&hermail, "bob@hermail.test").await);
        let log = process.log();
        let attempts = lines(&log, "queue.attempt.local");
        let recipient = attempts.last().unwrap()["recipient"].as_str().unwrap();
        assert!(hashes.contains(&recipient), "{recipient}: {printed}");
        let json = hermail.cli(&["log", "hash", address, "--json"]).await;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["leads_to"][0]["address"], "bob@hermail.test");
        assert_eq!(
            (&json["hash"], &json["leads_to"][0]["hash"]),
            (&hashes[0].into(), &hashes[1].into())
        );
    }
}
