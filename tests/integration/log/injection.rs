//! What others say stands in the log, and does nothing there.

use dimed::base::observe::Event;
use dimed::config::{LogAddresses, LogFormat, LogLevel};
use serde_json::Value;

use super::lines;
use crate::support::child::{Launch, Process};
use crate::support::eventually;
use crate::support::loopback::{Loopback, SMTP, SUBMISSIONS};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

/// The screen is emptied, the direction of writing turned round, and a line ended, as a terminal has it.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{2028}\u{7f}event=daemon.stopped";

/// Said by a host that gets our mail.
const REFUSAL: &str = "550 5.7.1 \u{1b}[31m\u{202e}no\" outcome=delivered \u{feff}\\";

/// A sender as SMTPUTF8 lets it be.
const SENDER: &str = "x\u{202e}y@plain.test";

const MESSAGE: &str = "From: alice@hermail.test\r\nSubject: out\r\n\r\nhello\r\n";

/// Has everything said to it that ends up in a log, and stops; the log.
async fn harassed(hermail: &Organization) -> String {
    let process = Process::start(&hermail.config, &hermail.log(), &Launch::default());
    eventually("the daemon to start", || {
        process.log().contains("daemon.started").then_some(())
    })
    .await;
    let mut talk = Talk::open(hermail.ip, SMTP).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask(&format!("EHLO {HOSTILE}"), "500").await;
    talk.ask(&format!("{HOSTILE} {HOSTILE}"), "500").await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask(&format!("MAIL FROM:<{HOSTILE}@plain.test>"), "5").await;
    talk.ask(&format!("MAIL FROM:<{SENDER}> SMTPUTF8"), "250").await;
    talk.ask(&format!("RCPT TO:<{HOSTILE}@hermail.test>"), "5").await;
    talk.ask("RCPT TO:<bob@hermail.test>", "250").await;
    let taken = talk
        .data(&format!("From: carol@plain.test\r\n\r\n{HOSTILE}\r\n"))
        .await;
    assert!(taken.starts_with("250"), "{taken}");
    // What is no TLS, where TLS begins at once.
    let mut talk = Talk::open(hermail.ip, SUBMISSIONS).await;
    talk.send(HOSTILE.as_bytes()).await;
    talk.end().await;
    hermail.submit("alice", &["carol@sink.test"], MESSAGE).await;
    hermail.maildir("alice").only().await;
    hermail.maildir("bob").only().await;
    hermail.idle().await;
    eventually("the broken session", || {
        process.log().contains("session.broken").then_some(())
    })
    .await;
    process.log()
}

async fn log_in(format: LogFormat) -> String {
    let world = World::new().await;
    let host = Loopback::take();
    world.plain_domain("sink.test", host.ip);
    let refusing = Behaviour {
        refusal: Some(REFUSAL),
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, refusing).await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| {
            config.log.format = format;
            config.log.level = LogLevel::Trace;
            config.log.addresses = LogAddresses::Clear;
        })
        .build()
        .await;
    let log = harassed(&hermail).await;
    sink.stop().await;
    log
}

/// Nothing but the ends of lines does anything on a terminal.
fn assert_harmless(log: &str) {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let found = log.lines().find(|line| line.contains(is_harmful));
    assert_eq!(found.map(|line| format!("{line:?}")), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_say_breaks_a_line_for_programs() {
    let log = log_in(LogFormat::Json).await;
    assert_harmless(&log);
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        let event = Event::named(line["event"].as_str().unwrap()).expect("an event of ours");
        assert_eq!(line["target"], event.class.target());
        for field in event.fields {
            assert!(!line[*field].is_null(), "{field} is not in {line}");
        }
    }
    // All of it was heard, and is there.
    let attempt = &lines(&log, "queue.attempt.smtp")[0];
    let said = attempt["reply.text"].as_str().unwrap();
    assert!(said.contains("\\u{202e}no\" outcome=delivered"), "{attempt}");
    assert!(said.contains("\\u{feff}\\"), "{attempt}");
    assert_eq!(attempt["outcome"], "failed");
    assert_eq!(attempt["sender"], "alice@hermail.test");
    assert_eq!(attempt["recipient"], "carol@sink.test");
    let senders: Vec<Value> = lines(&log, "queue.attempt.local")
        .into_iter()
        .map(|line| line["sender"].clone())
        .collect();
    assert!(senders.contains(&"x\\u{202e}y@plain.test".into()), "{senders:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_say_passes_for_a_line_or_field_for_people() {
    let log = log_in(LogFormat::Text).await;
    assert_harmless(&log);
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let time = words.next().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        let level = words.next().unwrap();
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
            "{line}"
        );
        assert!(words.next().unwrap().starts_with("dimed::"), "{line}");
        let (_, event) = line.split_once(" event=").unwrap_or_else(|| panic!("{line}"));
        assert!(Event::named(event.split(' ').next().unwrap()).is_some(), "{line}");
    }
    let attempt = log.lines().find(|line| line.contains("event=queue.attempt.smtp"));
    let attempt = attempt.unwrap_or_else(|| panic!("{log}"));
    assert!(
        attempt.contains("\\\\u{202e}no\\\" outcome=delivered \\\\u{feff}\\\\\""),
        "{attempt}"
    );
    assert!(attempt.contains(" outcome=failed "), "{attempt}");
}
