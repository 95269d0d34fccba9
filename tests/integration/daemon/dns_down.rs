//! A daemon whose name servers do not answer.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde_json::Value;

use crate::support::loopback::Loopback;
use crate::support::talk::Talk;
use crate::support::world::World;
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
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = hermail.cli(&["queue", "list", "--json"]).await;
        let waiting: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(waiting["forward_path"], "bob@hismail.test");
        if let Some(note) = waiting["last_note"].as_str() {
            assert!(note.contains("lookup"), "{note}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.check();
}
