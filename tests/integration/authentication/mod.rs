//! SPF, DKIM and DMARC with real DNS: of mail that comes in, and of mail that goes out.

mod hostile;
mod incoming;
mod outgoing;
mod peers;
mod spf;

use dimed::authentication::{Bodies, Signer, SigningKey, rsa};
use dimed::config::{Config, Incoming};
use dimed::crypto::ed25519;
use dimed::mail::headers;
use dimed::net::authority::Zone;

use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

/// Where [`Talk`] comes from.
const CLIENT: &str = "ip4:127.0.0.1";

/// A domain elsewhere with keys of both kinds.
struct Elsewhere {
    name: &'static str,
    signers: [Signer; 2],
}

impl Elsewhere {
    fn new(name: &'static str) -> Self {
        let signer = |selector: &str, key| Signer {
            domain: domain(name),
            selector: selector.into(),
            key,
        };
        let rsa = SigningKey::Rsa(rsa::SigningKey::generate());
        let ed25519 = SigningKey::Ed25519(ed25519::SigningKey::generate(&mut rand::rng()));
        Self {
            name,
            signers: [signer("r1", rsa), signer("e1", ed25519)],
        }
    }

    /// Its zone, with these policies.
    fn zone(&self, spf: &str, dmarc: &str) -> Zone {
        let mut zone = Zone::unsigned(&domain(self.name)).unwrap();
        for signer in &self.signers {
            zone = zone.txt(&format!("{}._domainkey", signer.selector), signer.key.record());
        }
        zone.txt("", spf).txt("_dmarc", dmarc)
    }

    /// The message with both signatures.
    fn signed(&self, message: &str) -> String {
        signed(message, &self.signers)
    }
}

fn signed(message: &str, signers: &[Signer]) -> String {
    let split = headers::split(message.as_bytes());
    let mut bodies = Bodies::default();
    bodies.push(split.rest.strip_prefix(b"\r\n").unwrap());
    let bodies = bodies.finish();
    let fields = signers
        .iter()
        .map(|signer| signer.sign(split.block, &bodies, 1_700_000_000));
    String::from_utf8(fields.flatten().collect()).unwrap() + message
}

/// Bob's organization.
async fn hismail(world: &World, incoming: Incoming) -> Organization {
    let change = move |config: &mut Config| config.authentication.incoming = incoming;
    let builder = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(change);
    builder.build().await
}

/// Hands a message for bob over; the final reply.
async fn bring(hismail: &Organization, from: &str, message: &str) -> String {
    Talk::smtp(hismail.ip)
        .await
        .transfer(from, &["bob@hismail.test"], message)
        .await
}

/// The fields that stand above our trace field, unfolded, without those of delivery.
fn results(delivered: &str) -> Vec<String> {
    let (front, _) = delivered.split_once("Received: from client.test").unwrap();
    let unfolded = front.replace("\r\n\t", " ");
    let fields = unfolded.lines().filter(|field| {
        let of_delivery = ["Return-Path:", "Delivered-To:"];
        !of_delivery.iter().any(|name| field.starts_with(name))
    });
    fields.map(|field| field.replace("  ", " ")).collect()
}
