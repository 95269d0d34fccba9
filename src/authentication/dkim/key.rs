//! Key records (RFC 6376 §3.6.1, RFC 8463 §4).

use super::rsa;
use super::signature::{Algorithm, Signature};
use crate::authentication::tags::{Tags, trimmed, without_space};
use crate::base::encoding::{base64, base64_decode};
use crate::crypto::ed25519;
use crate::crypto::hash::sha256;
use crate::net::dns::{Lookup, Resolver};

/// Octets of a record that are looked at.
const MAX_RECORD: usize = 4096;

/// Why there is no key to check a signature with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// It cannot be looked up now.
    Failed,
    /// There is none.
    Absent,
    /// It was withdrawn.
    Revoked,
    /// There is one, and it cannot be used, or not for this signature.
    Unusable,
}

impl NoKey {
    /// In few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Failed => "key cannot be looked up",
            Self::Absent => "no key",
            Self::Revoked => "key revoked",
            Self::Unusable => "key unusable",
        }
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// In DER, checked when it is used.
    Rsa(Vec<u8>),
    /// A point.
    Ed25519(ed25519::VerifyingKey),
}

impl Key {
    /// Whether it signed what has this canonical form.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(der) => rsa::verify(der, signed, signature).is_ok(),
            Self::Ed25519(key) => {
                let signature = <[u8; 64]>::try_from(signature).map(ed25519::Signature);
                signature.is_ok_and(|signature| key.verify(&sha256(&[signed]), &signature).is_ok())
            }
        }
    }
}

/// Looks the key of a signature up.
pub async fn find(resolver: &dyn Resolver, signature: &Signature) -> Result<Key, NoKey> {
    let records = match resolver.txt(&signature.key_name()).await {
        Lookup::Found { value, .. } => value,
        Lookup::Absent { .. } => return Err(NoKey::Absent),
        Lookup::Bogus | Lookup::Failed => return Err(NoKey::Failed),
    };
    // Several records are nobody's key (RFC 6376 §3.6.2.2); what is no key record at all does not count.
    let texts = records
        .iter()
        .filter_map(|record| std::str::from_utf8(record).ok());
    let mut keys = texts.filter(|record| may_be_key(record));
    match (keys.next(), keys.next()) {
        (Some(record), None) => parse(record, signature),
        (None, _) => Err(NoKey::Absent),
        _ => Err(NoKey::Unusable),
    }
}

fn may_be_key(record: &str) -> bool {
    let tags = Tags::parse_tolerantly(record);
    tags.value("p").is_some() && tags.value("v").is_none_or(|version| version == "DKIM1")
}

/// Reads a record as the key of a signature.
pub fn parse(record: &str, signature: &Signature) -> Result<Key, NoKey> {
    if record.len() > MAX_RECORD {
        return Err(NoKey::Unusable);
    }
    let tags = Tags::parse(record).map_err(|_| NoKey::Unusable)?;
    let one_of = |name: &str, wanted: &[&str]| {
        tags.value(name)
            .is_none_or(|list| list.split(':').any(|item| wanted.contains(&trimmed(item))))
    };
    let has_flag = |flag: &str| {
        let flags = tags.value("t").unwrap_or_default();
        flags.split(':').any(|item| trimmed(item) == flag)
    };
    let is_first = tags.first().is_some_and(|(name, _)| name == "v");
    let fits = tags
        .value("v")
        .is_none_or(|version| version == "DKIM1" && is_first)
        && tags.value("k").unwrap_or("rsa") == signature.algorithm.key_type()
        && one_of("h", &["sha256"])
        && one_of("s", &["*", "email"])
        && (signature.identity_is_domain || !has_flag("s"));
    if !fits {
        return Err(NoKey::Unusable);
    }
    let octets = without_space(tags.value("p").ok_or(NoKey::Unusable)?);
    if octets.is_empty() {
        return Err(NoKey::Revoked);
    }
    let octets = base64_decode(&octets).map_err(|_| NoKey::Unusable)?;
    match signature.algorithm {
        Algorithm::RsaSha256 if octets.len() > rsa::MAX_PUBLIC_KEY => Err(NoKey::Unusable),
        Algorithm::RsaSha256 => Ok(Key::Rsa(octets)),
        Algorithm::Ed25519Sha256 => {
            let octets = octets.try_into().map_err(|_| NoKey::Unusable)?;
            Ok(Key::Ed25519(ed25519::VerifyingKey(octets)))
        }
    }
}

/// The record of a key of ours.
pub fn record(algorithm: Algorithm, public_key: &[u8]) -> String {
    format!("v=DKIM1; k={}; p={}", algorithm.key_type(), base64(public_key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn signature(algorithm: &str, identity: &str) -> Signature {
        let text = format!(
            "v=1; a={algorithm}; d=example.org; s=s; h=from; bh={}; b=QUJD; i={identity}",
            "A".repeat(43)
        );
        Signature::parse(text.as_bytes(), 0).unwrap()
    }

    #[test]
    fn a_record_is_a_key_for_signatures_that_it_fits() {
        let point = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let ed25519 = signature("ed25519-sha256", "@example.org");
        let below = signature("ed25519-sha256", "@sub.example.org");
        let rsa = signature("rsa-sha256", "@example.org");
        let giant = format!("p={}", "A".repeat(4000));
        let cases: [(&str, &Signature, Result<(), NoKey>); 17] = [
            ("v=DKIM1; k=ed25519; p=K", &ed25519, Ok(())),
            ("k=ed25519; p=K; n=note; x=y", &ed25519, Ok(())),
            (
                "v=DKIM1; k=ed25519; h=sha1 : sha256; s=email; t=y; p=K",
                &ed25519,
                Ok(()),
            ),
            ("v=DKIM1; k=ed25519; t=y:s; p=K", &ed25519, Ok(())),
            ("v=DKIM1; k=ed25519; t=y:s; p=K", &below, Err(NoKey::Unusable)),
            ("v=DKIM1; k=ed25519; p=K", &below, Ok(())),
            ("v=DKIM1; k=ed25519; p=", &ed25519, Err(NoKey::Revoked)),
            ("v=DKIM1; p=K", &ed25519, Err(NoKey::Unusable)),
            ("v=DKIM1; k=ed25519; p=K", &rsa, Err(NoKey::Unusable)),
            ("v=DKIM1; k=ed25519; h=sha1; p=K", &ed25519, Err(NoKey::Unusable)),
            (
                "v=DKIM1; k=ed25519; s=tlsrpt; p=K",
                &ed25519,
                Err(NoKey::Unusable),
            ),
            ("v=DKIM2; k=ed25519; p=K", &ed25519, Err(NoKey::Unusable)),
            ("k=ed25519; v=DKIM1; p=K", &ed25519, Err(NoKey::Unusable)),
            ("v=DKIM1; k=ed25519; p=QUJD", &ed25519, Err(NoKey::Unusable)),
            ("v=DKIM1; k=ed25519; p=!", &ed25519, Err(NoKey::Unusable)),
            ("p=QUJD", &rsa, Ok(())),
            (&giant, &rsa, Err(NoKey::Unusable)),
        ];
        for (record, signature, expected) in cases {
            let record = record.replace("p=K", &format!("p={point}"));
            assert_eq!(parse(&record, signature).map(drop), expected, "{record}");
        }
    }
    /// Records that are none do not make a key one of several; broken ones do.
    #[test]
    fn what_may_be_a_key_is_told_by_its_tags() {
        for (record, is_key) in [
            ("v=DKIM1; p=QUJD", true),
            ("v = DKIM1 ; k=rsa ; p = QUJD", true),
            ("p=", true),
            ("v=DKIM1; p=QUJD;;", true),
            ("v=DKIM1; k=rsa", false),
            ("v=DKIM2; p=QUJD", false),
            ("v=spf1 include:a.test exp=b.test -all", false),
            ("google-site-verification=p=x", false),
            ("v=DMARC1; p=none", false),
            ("", false),
        ] {
            assert_eq!(may_be_key(record), is_key, "{record}");
        }
    }
}
