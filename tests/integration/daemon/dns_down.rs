//! A daemon whose name servers do not answer.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde_json::Value;

use dimed::net::authority::Zone;

use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::watcher::until_reasons;
use crate::support::world::{World, domain};
use crate::support::{PATIENCE, eventually};

const MESSAGE: &str = "From: alice@hermail.test\r\nTo: somebody\r\nSubject: down\r\n\r\nHello\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_dns_is_served_and_the_rest_waits() {
    let world = World::new().await;
    let dark = Loopback::take();
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "ann"])
        .config(|config| {
            config.dns.servers = vec![SocketAddr::new(dark.ip, 10053)];
            config.dns.rounds = NonZeroU32::MIN;
            config.dns.reply_timeout_secs = NonZeroU64::MIN;
        })
        .build()
        .await;
    let mut process = hermail.spawn().await;
    eventually("the self-test", || {
        let log = process.log();
        let told = log
            .lines()
            .find(|line| line.contains("\"dns.self_test.failed\""))?;
        assert!(told.contains("\"reason\":\"unreachable\""), "{told}");
        Some(())
    })
    .await;
    until_reasons(hermail.ip, &["name_servers"]).await;
    hermail.submit("alice", &["ann@hermail.test"], MESSAGE).await;
    assert!(hermail.maildir("ann").only().await.contains("Subject: down"));
    let mut stranger = Talk::smtp(hermail.ip).await;
    let reply = stranger
        .transfer("carol@plain.test", &["alice@hermail.test"], MESSAGE)
        .await;
    assert!(reply.starts_with("250 "), "{reply}");
    hermail.maildir("alice").only().await;
    // Mail for elsewhere is taken and kept.
    hermail.submit("alice", &["bob@hismail.test"], MESSAGE).await;
    waits(&hermail, "bob@hismail.test").await;
    let log = process.log();
    let told = log.lines().find(|line| line.contains("\"queue.route.closed\""));
    let told = told.expect("the log says why it waits");
    assert!(
        told.contains("\"route.reason\":\"record_lookup_failed\""),
        "{told}"
    );
    assert!(!told.contains("hismail"), "{told}");
    process.check();
}

/// Waits until an attempt for the one recipient in the queue has failed for want of DNS.
async fn waits(organization: &Organization, recipient: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = organization.cli(&["queue", "list", "--json"]).await;
        let waiting: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(waiting["forward_path"], recipient);
        if let Some(note) = waiting["last_note"].as_str() {
            assert!(note.contains("lookup"), "{note}");
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waited_for_dns_goes_on_when_it_is_back() {
    let world = World::new().await;
    let host = Loopback::take();
    let plain = Zone::unsigned(&domain("plain.test"))
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", host.ip);
    let address = SocketAddr::new(host.ip, 10053);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .config(|config| {
            config.dns.servers = vec![address];
            config.dns.rounds = NonZeroU32::MIN;
            config.dns.reply_timeout_secs = NonZeroU64::MIN;
        })
        .build()
        .await;
    let mut process = hermail.spawn().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    waits(&hermail, "carol@plain.test").await;
    world.put("plain.test", &plain);
    let back = world.serve_also(address, &[plain]).await;
    let taken = sink.taken(1).await.remove(0);
    assert!(taken.message.contains("Subject: down"));
    hermail.idle().await;
    process.check();
    back.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_names_no_resolver_yet_does_not_keep_the_daemon_from_starting() {
    let world = World::new().await;
    let named = world.home().join("resolv.conf");
    std::fs::write(&named, "# to be filled in later\n").unwrap();
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "ann"])
        .config(|config| {
            config.dns.servers = vec![];
            config.dns.resolv_conf = named.clone();
        })
        .build()
        .await;
    assert!(hermail.cli(&["check"]).await.contains("can be used"));
    let mut process = hermail.spawn().await;
    hermail.submit("alice", &["ann@hermail.test"], MESSAGE).await;
    hermail.maildir("ann").only().await;
    process.check();
}
