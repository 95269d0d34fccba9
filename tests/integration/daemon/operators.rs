//! What an operator does about mail on its way, and what others hear of it.

use std::num::NonZeroU64;

use dimed::config::{Schedule, Trouble};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::eventually;
use crate::support::loopback::{Loopback, SMTP};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    Subject: operated on\r\n\r\nthe body of it\r\n";

async fn hermail(world: &World) -> Organization {
    let builder = world
        .organization("hermail.test")
        .plain()
        .accounts(&["alice", "bob"]);
    let builder = builder.config(|config| config.queue.retry_first_secs = NonZeroU64::new(3600).unwrap());
    builder.build().await
}

/// The ids of a message that waits, and of its recipient of that name.
async fn waiting(hermail: &Organization, recipient: &str) -> (String, String) {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let listed = hermail.cli(&["queue", "list", "--json"]).await;
        let entry = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let was_tried = |entry: &Value| {
            entry["forward_path"] == recipient && entry["attempts"] == 1 && entry["in_progress"] == false
        };
        if let Some(entry) = listed.lines().map(entry).find(was_tried) {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            return (text("message"), text("recipient"));
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_deleted_with_a_report_where_an_operator_wants_one() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        deferrals: 9,
        ..Behaviour::default()
    };
    let _sink = Sink::start(host.ip, behaviour).await;
    let served = hermail.start().await;
    hermail
        .submit("alice", &["carol@plain.test", "dave@plain.test"], MESSAGE)
        .await;
    let (message, carol) = waiting(&hermail, "carol@plain.test").await;
    waiting(&hermail, "dave@plain.test").await;
    hermail.cli(&["queue", "hold", &message]).await;
    let deleted = hermail
        .cli(&["queue", "delete", "--report", "--recipient", &carol])
        .await;
    assert_eq!(deleted, "One recipient deleted; the next attempt reports it.\n");
    // What a command changes is found by a running daemon within half a minute, or when there is something else to do.
    hermail.submit("alice", &["bob@hermail.test"], MESSAGE).await;
    let report = hermail.maildir("alice").only().await;
    for line in [
        "Final-Recipient: rfc822; carol@plain.test\r\nAction: failed\r\nStatus: 5.7.1\r\n",
        "an operator of this server has deleted the message",
        "the body of it",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(!report.contains("dave@plain.test"), "{report}");
    let listed = hermail.cli(&["queue", "list"]).await;
    assert!(
        listed.contains("dave@plain.test") && !listed.contains("carol@plain.test"),
        "{listed}"
    );
    // Without a word.
    let deleted = hermail.cli(&["queue", "delete", &message]).await;
    assert_eq!(deleted, "One recipient deleted.\n");
    hermail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_tried_is_told_of_and_its_end_is_not_taken_for_another_runners_work() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("slow.test", host.ip);
    let listener = TcpListener::bind((host.ip, SMTP)).await.unwrap();
    let process = hermail.spawn().await;
    hermail.submit("alice", &["carol@slow.test"], MESSAGE).await;
    let (tcp, _) = listener.accept().await.unwrap();
    drop(listener);
    let held = hermail.cli(&["queue", "hold", "--domain", "slow.test"]).await;
    let tried = "One of them is being tried right now, and may still arrive.\n";
    assert_eq!(held, format!("One recipient held.\n{tried}"));
    let deleted = hermail.cli(&["queue", "delete", "--domain", "slow.test"]).await;
    assert_eq!(deleted, format!("One recipient deleted.\n{tried}"));
    drop(tcp);
    let is_told = || process.log().contains("\"queue.deleted_amid\"").then_some(());
    eventually("the end of the attempt", is_told).await;
    let log = process.log();
    assert!(!log.contains("queue.lease_lost"), "{log}");
}

/// Whatever happens to us then, it counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_recorded_before_the_host_is_dialled() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("slow.test", host.ip);
    let listener = TcpListener::bind((host.ip, SMTP)).await.unwrap();
    let mut process = hermail.spawn().await;
    hermail.submit("alice", &["carol@slow.test"], MESSAGE).await;
    for sql in [
        "SELECT count(*) FROM recipients WHERE attempts = 1 AND lease IS NOT NULL",
        "SELECT count(*) FROM recipients WHERE attempts = 2 AND lease IS NOT NULL",
    ] {
        let dialled = listener.accept().await.unwrap();
        assert_eq!(hermail.count(sql).await, 1, "{sql}");
        process.kill();
        drop(dialled);
        process = hermail.spawn().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_has_a_schedule_of_its_own_after_the_trouble_that_it_names() {
    let world = World::new().await;
    let rule = |domain: &str, after| Schedule {
        domains: vec![domain.parse().unwrap()],
        after: Some(after),
        retry_first_secs: NonZeroU64::new(1),
        retry_max_secs: None,
        lifetime_secs: None,
    };
    let builder = world.organization("hermail.test").plain().accounts(&["alice"]);
    let hermail = builder
        .config(|config| {
            config.queue.retry_first_secs = NonZeroU64::new(3600).unwrap();
            config.queue.schedules = vec![
                rule("soon.test", Trouble::Refused),
                rule("late.test", Trouble::Unreachable),
            ];
        })
        .build()
        .await;
    let hosts = [Loopback::take(), Loopback::take()];
    let behaviour = Behaviour {
        deferrals: 1,
        ..Behaviour::default()
    };
    let mut sinks = Vec::new();
    for (name, host) in ["soon.test", "late.test"].into_iter().zip(&hosts) {
        world.plain_domain(name, host.ip);
        sinks.push(Sink::start(host.ip, behaviour.clone()).await);
    }
    let served = hermail.start().await;
    hermail
        .submit("alice", &["carol@soon.test", "carol@late.test"], MESSAGE)
        .await;
    sinks[0].taken(1).await;
    waiting(&hermail, "carol@late.test").await;
    assert_eq!(sinks[1].attempts().len(), 1);
    served.stop().await;
}
