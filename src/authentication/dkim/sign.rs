//! Making signatures.

use super::canonical::Canonical;
use super::signature::{Algorithm, FIELD};
use super::{HashedBodies, Index, key, rsa};
use crate::base::encoding::base64;
use crate::crypto::ed25519;
use crate::crypto::hash::sha256;
use crate::mail::address::Domain;
use crate::mail::headers::Field;

/// Fields that are signed as often as they are there, and once more, so that none can be added (RFC 6376 §8.15).
const OVERSIGNED: [&str; 9] = [
    "from",
    "subject",
    "date",
    "to",
    "cc",
    "reply-to",
    "message-id",
    "mime-version",
    "content-type",
];

/// Fields that are signed as often as they are there.
const SIGNED: [&str; 9] = [
    "dkim-signature",
    "sender",
    "in-reply-to",
    "references",
    "content-transfer-encoding",
    "content-language",
    "auto-submitted",
    "list-unsubscribe",
    "tls-required",
];

/// Fields signed of one name at most; a message that has more is not one of ours.
const MAX_OF_A_NAME: usize = 8;

/// A private key for signatures.
#[derive(Debug, Clone)]
pub enum SigningKey {
    /// 2048 bits.
    Rsa(rsa::SigningKey),
    /// RFC 8463.
    Ed25519(ed25519::SigningKey),
}

impl SigningKey {
    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RsaSha256,
            Self::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// What is published of it.
    pub fn record(&self) -> String {
        match self {
            Self::Rsa(key) => key::record(Algorithm::RsaSha256, &key.public_key()),
            Self::Ed25519(key) => key::record(Algorithm::Ed25519Sha256, &key.verifying_key().0),
        }
    }

    fn sign(&self, signed: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => key.sign(signed),
            Self::Ed25519(key) => key.sign(&sha256(&[signed])).0.to_vec(),
        }
    }
}

/// A key of a domain, under the name by which others find it.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Whose key it is.
    pub domain: Domain,
    /// Its selector.
    pub selector: String,
    /// The key.
    pub key: SigningKey,
}

impl Signer {
    /// The field that signs a header block and a body in relaxed form, with its final CRLF. `now` in unix seconds.
    pub fn sign(&self, block: &[u8], bodies: &HashedBodies, now: u64) -> Vec<u8> {
        self.sign_as(FIELD, "v=1", block, bodies, now)
    }

    /// The same for a field of another name, with another first tag.
    pub fn sign_as(
        &self,
        field: &str,
        first: &str,
        block: &[u8],
        bodies: &HashedBodies,
        now: u64,
    ) -> Vec<u8> {
        let index = Index::of(block, OVERSIGNED.iter().chain(&SIGNED));
        let names = names(&index);
        let text = format!(
            "{field}: {first}; a={}; c=relaxed/relaxed;\r\n\td={}; s={}; t={now};\r\n\th={};\r\n\tbh={};\r\n\tb=",
            self.key.algorithm().name(),
            self.domain,
            self.selector,
            folded(&names),
            base64(&bodies.relaxed.hash),
        );
        self.complete(field, text, |own| index.signed(&names, Canonical::Relaxed, own))
    }

    /// A field that ends in `b=`, with its octets and its final CRLF. `signed` says what they cover, given the field so far.
    pub fn complete(
        &self,
        name: &str,
        mut text: String,
        signed: impl FnOnce(&Field<'_>) -> Vec<u8>,
    ) -> Vec<u8> {
        let own = Field {
            name: name.as_bytes(),
            raw: text.as_bytes(),
        };
        let octets = base64(&self.key.sign(&signed(&own)));
        for (number, line) in octets.as_bytes().chunks(72).enumerate() {
            if number > 0 {
                text.push_str("\r\n\t");
            }
            text.extend(line.iter().copied().map(char::from));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

fn names(index: &Index<'_>) -> Vec<String> {
    let there = |name: &str| index.count(name).min(MAX_OF_A_NAME);
    let oversigned = OVERSIGNED.iter().map(|name| (name, there(name) + 1));
    let signed = SIGNED.iter().map(|name| (name, there(name)));
    let often = oversigned.chain(signed);
    often
        .flat_map(|(name, times)| std::iter::repeat_n((*name).to_owned(), times))
        .collect()
}

/// A list of names in lines that are not too long.
fn folded(names: &[String]) -> String {
    let (mut text, mut line) = (String::new(), 0);
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            text.push(':');
        }
        line += name.len() + 1;
        if line > 72 {
            text.push_str("\r\n\t ");
            line = name.len() + 1;
        }
        text.push_str(name);
    }
    text
}
