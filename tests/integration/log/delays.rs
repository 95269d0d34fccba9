//! What the line of a delivery says (DESIGN.md §10).

use std::time::Duration;

use serde_json::Value;

use super::lines;
use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nSubject: out\r\n\r\nhello\r\n";

/// The time between MAIL and the end of the message.
const THINKING: Duration = Duration::from_millis(300);

fn number(line: &Value, field: &str) -> u64 {
    let number = line[field].as_u64();
    number.unwrap_or_else(|| panic!("{field} is no number in {line}"))
}

async fn submit_slowly(hermail: &Organization, to: &str) {
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    talk.ask("MAIL FROM:<alice@hermail.test>", "250").await;
    tokio::time::sleep(THINKING).await;
    talk.ask(&format!("RCPT TO:<{to}>"), "250").await;
    let reply = talk.data(MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_by_smtp_says_where_why_how_and_how_long() {
    let world = World::new().await;
    let host = Loopback::take();
    world.plain_domain("sink.test", host.ip);
    let behaviour = Behaviour {
        deferrals: 1,
        ..Behaviour::with_tls(world.home())
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let process = hermail.spawn().await;
    submit_slowly(&hermail, "carol@sink.test").await;
    sink.taken(1).await;
    hermail.idle().await;
    let log = process.log();
    let accepted = &lines(&log, "smtp.message.accepted")[0];
    let attempts = lines(&log, "queue.attempt.smtp");
    assert_eq!(attempts.len(), 2, "{log}");
    for (attempt, (outcome, code, status)) in attempts
        .iter()
        .zip([("deferred", 451, "4.3.0"), ("relayed", 250, "2.0.0")])
    {
        assert_eq!(attempt["message.id"], accepted["message.id"]);
        assert_eq!(attempt["route.kind"], "smtp");
        assert!(
            attempt["route.reason"].as_str().unwrap().starts_with("record_"),
            "{attempt}"
        );
        assert_eq!(attempt["destination"], "sink.test");
        assert_eq!(attempt["peer.host"], "mx.sink.test");
        assert!(
            attempt["tls.version"].as_str().unwrap().contains("1.3"),
            "{attempt}"
        );
        assert_eq!(attempt["outcome"], outcome);
        assert_eq!(attempt["reply.code"], code);
        assert_eq!(attempt["reply.enhanced"], status);
        assert!(
            attempt["reply.text"].is_null(),
            "it could name anybody: {attempt}"
        );
        // The message waited for its author, and the author is asked once.
        let before = number(attempt, "delay.before_queue_ms");
        assert!(before >= 300, "{attempt}");
        assert_eq!(before, number(accepted, "delay.before_queue_ms"));
        let parts = number(attempt, "delay.connecting_ms") + number(attempt, "delay.transmitting_ms");
        let elapsed = number(attempt, "elapsed_ms");
        assert!(parts <= elapsed && elapsed - parts <= 1, "{attempt}");
    }
    let waited = |attempt: &Value| number(attempt, "delay.in_queue_ms");
    assert!(waited(&attempts[1]) > waited(&attempts[0]), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_here_says_how_long_it_took() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .build()
        .await;
    let process = hermail.spawn().await;
    submit_slowly(&hermail, "bob@hermail.test").await;
    hermail.maildir("bob").only().await;
    hermail.idle().await;
    let log = process.log();
    let attempt = &lines(&log, "queue.attempt.local")[0];
    assert_eq!(attempt["route.kind"], "local");
    assert_eq!(attempt["route.reason"], "local_domain");
    assert_eq!(attempt["outcome"], "delivered");
    assert!(number(attempt, "delay.before_queue_ms") >= 300, "{attempt}");
    assert_eq!(
        number(attempt, "delay.transmitting_ms"),
        number(attempt, "elapsed_ms")
    );
    number(attempt, "delay.in_queue_ms");
}

/// The time of a line must not lead from the destination to the author.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_by_dmtp_says_the_same_in_whole_seconds() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    submit_slowly(&hermail, "bob@hismail.test").await;
    hismail.maildir("bob").only().await;
    hermail.idle().await;
    hismail.idle().await;
    let log = here.log();
    let transfer = &lines(&log, "queue.attempt.dmtp")[0];
    assert!(
        transfer["route.reason"].as_str().unwrap().starts_with("dime_"),
        "{transfer}"
    );
    assert_eq!(transfer["peer.host"], "mx.hismail.test");
    assert_eq!(transfer["outcome"], "relayed");
    assert_eq!(transfer["reply.code"], 250);
    assert!(
        transfer["reply.text"].is_null(),
        "it has the destination's id: {transfer}"
    );
    let log = there.log();
    let delivery = &lines(&log, "queue.attempt.local")[0];
    for (line, parts) in [
        (
            transfer,
            &["before_queue", "in_queue", "connecting", "transmitting"][..],
        ),
        (delivery, &["before_queue", "in_queue", "transmitting"][..]),
    ] {
        for part in parts {
            assert_eq!(number(line, &format!("delay.{part}_ms")) % 1000, 0, "{line}");
        }
        assert_eq!(number(line, "elapsed_ms") % 1000, 0, "{line}");
    }
    assert!(number(transfer, "delay.before_queue_ms") >= 1000, "{transfer}");
}
