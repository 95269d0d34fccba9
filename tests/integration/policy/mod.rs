//! What recipients' domains and authors demand of the TLS on the way, with real DNS, web and mail servers.

mod dane;
mod demand;
mod proxy;
mod revocation;
mod sts;
mod transports;

use dimed::config::Config;
use dimed::net::authority::Zone;
use sha2::{Digest, Sha256};

use crate::support::certificates::{Certificate, Certification};
use crate::support::loopback::{self, Loopback};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink, Taken};
use crate::support::web::Web;
use crate::support::world::{World, domain};
use crate::support::{PATIENCE, eventually};

/// What everybody writes.
const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\n\
    Date: Tue, 3 Jun 2025 10:00:00 +0000\r\nSubject: out\r\n\r\nhello\r\n";

/// hermail.test and its world, in which certificates come from one authority.
struct Scene {
    world: World,
    authority: Certification,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let folder = world.home().join("authority");
        std::fs::create_dir(&folder).unwrap();
        let authority = Certification::new(&folder);
        Self { world, authority }
    }

    /// Alice's organization, which trusts the authority.
    async fn hermail(&self, change: impl Fn(&mut Config)) -> Organization {
        self.world
            .organization("hermail.test")
            .accounts(&["alice"])
            .config(|config| {
                config.outbound.root_certificates = Some(self.authority.roots());
                change(config);
            })
            .build()
            .await
    }
}

/// A usual TLSA record: the SHA-256 of the host's public key.
fn key_record(zone: Zone, host: &str, certificate: &Certificate) -> Zone {
    let digest = Sha256::digest(&certificate.public_key);
    zone.tlsa(host, loopback::SMTP, [3, 1, 1], &digest)
}

/// Waits until an attempt has ended with those words, and nothing has been taken.
async fn waits(hermail: &Organization, sink: &Sink, words: &str) {
    is_listed(hermail, words).await;
    assert!(sink.attempts().is_empty(), "the host heard of a message");
}

/// Waits until the queue says those words.
async fn is_listed(hermail: &Organization, words: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = hermail.cli(&["queue", "list"]).await;
        if listed.contains(words) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no {words:?} in {listed}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The one message that a sink takes.
async fn only(sink: &Sink) -> Taken {
    sink.taken(1).await.remove(0)
}
