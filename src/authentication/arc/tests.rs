#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::authentication::dkim::Bodies;
use crate::authentication::dkim::sign::SigningKey;
use crate::crypto::ed25519;
use crate::net::dns::{Host, Lookup, Mx, Proof, SelfTest, Srv, Tlsa};

const MESSAGE: &str = "Authentication-Results: mx.a.test; spf=pass\r\nFrom: a@a.test\r\nSubject: s\r\n";

/// One key, given after a while.
struct Slow {
    record: String,
    after: Duration,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolver for Slow {
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        assert_eq!(name, "s._domainkey.a.test");
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.after).await;
        Lookup::Found {
            value: vec![self.record.clone().into_bytes()],
            ttl: Duration::ZERO,
            proof: Proof::Insecure,
        }
    }
    async fn mx(&self, _: &Domain) -> Lookup<Vec<Mx>> {
        Lookup::Failed
    }
    async fn addresses(&self, _: &Domain) -> Lookup<Vec<IpAddr>> {
        Lookup::Failed
    }
    async fn host(&self, _: &Domain) -> Lookup<Host> {
        Lookup::Failed
    }
    async fn srv(&self, _: &str) -> Lookup<Vec<Srv>> {
        Lookup::Failed
    }
    async fn tlsa(&self, _: &str) -> Lookup<Vec<Tlsa>> {
        Lookup::Failed
    }
    async fn self_test(&self) -> SelfTest {
        SelfTest::Passed
    }
}

fn signer() -> Signer {
    Signer {
        domain: "a.test".parse().unwrap(),
        selector: "s".into(),
        key: SigningKey::Ed25519(ed25519::SigningKey::from_seed(&[7; 32])),
    }
}

fn resolver(after: Duration) -> Slow {
    Slow {
        record: signer().key.record(),
        after,
        asked: AtomicUsize::new(0),
    }
}

fn hashed(body: &[u8]) -> HashedBodies {
    let mut bodies = Bodies::default();
    bodies.push(body);
    bodies.finish()
}

/// The block with one more set; `None` if it gets none.
async fn sealed_again(resolver: &Slow, block: &str, body: &[u8]) -> Option<String> {
    let server = "mx.a.test".parse().unwrap();
    let set = seal(
        resolver,
        &signer(),
        &server,
        block.as_bytes(),
        &hashed(body),
        1_700_000_000,
    )
    .await?;
    let set = String::from_utf8(set).unwrap();
    // Our results stand above all.
    let rest = block
        .strip_prefix("Authentication-Results: mx.a.test; spf=pass\r\n")
        .unwrap();
    Some(format!(
        "Authentication-Results: mx.a.test; spf=pass\r\n{set}{rest}"
    ))
}

#[tokio::test]
async fn a_chain_grows_to_fifty_sets() {
    let resolver = resolver(Duration::ZERO);
    let mut block = MESSAGE.to_owned();
    for count in 1..=50 {
        block = sealed_again(&resolver, &block, b"body\r\n").await.unwrap();
        assert_eq!(length(block.as_bytes()), Some(count));
    }
    assert_eq!(sealed_again(&resolver, &block, b"body\r\n").await, None);
}

#[tokio::test]
async fn any_change_to_a_chain_breaks_it() {
    let resolver = resolver(Duration::ZERO);
    let once = sealed_again(&resolver, MESSAGE, b"body\r\n").await.unwrap();
    let twice = sealed_again(&resolver, &once, b"body\r\n").await.unwrap();
    assert!(sealed_again(&resolver, &twice, b"body\r\n").await.is_some());
    assert!(sealed_again(&resolver, &twice, b"boDy\r\n").await.is_none());
    for (from, to) in [
        ("Subject: s", "Subject: t"),
        ("Subject: s", "Subject: s\r\nSubject: t"),
        ("ARC-Seal: i=2", "ARC-Seal: i=3"),
        ("ARC-Seal: i=2", "ARC-Seal: i=1"),
        ("ARC-Seal: i=1", "ARC-Seal: i=0"),
        ("ARC-Seal: i=1", "ARC-Seal: i=+1"),
        ("ARC-Seal: i=1", "ARC-Seal: i=1; i=1"),
        ("ARC-Seal: i=1", "ARC-Seal: i=51"),
        ("ARC-Seal: i=1", "ARC-Seal: i=18446744073709551617"),
        ("ARC-Seal: i=1", "X-ARC-Seal: i=1"),
        (
            "ARC-Authentication-Results: i=1; ",
            "ARC-Authentication-Results: ",
        ),
        (
            "ARC-Authentication-Results: i=1; ",
            "ARC-Authentication-Results: x; i=1; ",
        ),
        ("cv=pass", "cv=none"),
        ("cv=none", "cv=pass"),
        ("cv=pass", "cv=fail"),
        (
            "ARC-Message-Signature: i=1; a=",
            "ARC-Message-Signature: i=1; x=1; a=",
        ),
        (
            "ARC-Authentication-Results: i=1; mx.a.test; spf=pass",
            "ARC-Authentication-Results: i=1; mx.a.test; spf=fail",
        ),
    ] {
        let changed = twice.replace(from, to);
        assert_ne!(changed, twice, "{from}");
        assert_eq!(
            sealed_again(&resolver, &changed, b"body\r\n").await,
            None,
            "{from:?} to {to:?}"
        );
    }
}

#[test]
fn a_seal_names_no_fields_and_no_signature_covers_a_seal() {
    let read = |text: &str| seal_of(&Tags::parse(text).unwrap(), "pass").is_ok();
    let seal = "i=2; a=ed25519-sha256; d=a.test; s=s; cv=pass; b=QUJD";
    assert!(read(seal));
    assert!(!read(&format!("{seal}; h=from")) && !read(&format!("{seal}; h=")));
    let read = |names: &str| {
        let hash = "A".repeat(43);
        let text = format!("i=1; a=ed25519-sha256; d=a.test; s=s; h={names}; bh={hash}; b=QUJD");
        signature(&Tags::parse(&text).unwrap()).is_ok()
    };
    assert!(read("from:arc-message-signature"));
    assert!(!read("from:ARC-Seal") && !read("to"));
}

/// Fifty keys that each come late must not hold up the delivery for long.
#[tokio::test(start_paused = true)]
async fn a_chain_of_slow_keys_is_given_up() {
    let quick = resolver(Duration::ZERO);
    let mut block = MESSAGE.to_owned();
    for _ in 1..50 {
        block = sealed_again(&quick, &block, b"").await.unwrap();
    }
    let slow = resolver(Duration::from_secs(9));
    let started = Instant::now();
    assert_eq!(sealed_again(&slow, &block, b"").await, None);
    assert_eq!(started.elapsed(), PATIENCE);
    assert_eq!(slow.asked.load(Ordering::Relaxed), 3);
    // What is wrong without any key costs no question.
    let wrong = block.replacen("cv=none", "cv=pass", 1);
    assert_eq!(sealed_again(&slow, &wrong, b"").await, None);
    assert_eq!(slow.asked.load(Ordering::Relaxed), 3);
}
