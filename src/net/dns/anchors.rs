//! Trust anchors: DNSKEY or DS records in zone-file form, one on a line.

use std::collections::BTreeSet;
use std::str::FromStr;

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, PublicKeyBuf, Verifier};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber};

use crate::base::encoding::base64_decode;

/// The root's key-signing keys of 2017 and 2024, as IANA publishes them.
const ROOT: &str = "\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// A line that is not a trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a DNSKEY or DS record that can be used as a trust anchor")]
pub struct AnchorError {
    /// From 1.
    pub line: usize,
}

/// Where chains of trust may end; each for one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchors(Vec<Anchor>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Anchor {
    zone: Name,
    data: AnchorData,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AnchorData {
    Key(DNSKEY),
    Digest(DS),
}

impl TrustAnchors {
    /// The anchors of the DNS root.
    pub fn root() -> Self {
        // The constant parses, which a test shows; without anchors everything would be indeterminate, never secure.
        ROOT.parse().unwrap_or(Self(Vec::new()))
    }

    /// The anchored zones, each once.
    pub(super) fn zones(&self) -> BTreeSet<Name> {
        self.0.iter().map(|anchor| anchor.zone.clone()).collect()
    }

    /// The zone of the anchor closest above `name`, or at it.
    pub(super) fn closest(&self, name: &Name) -> Option<Name> {
        let above = self.0.iter().filter(|anchor| anchor.zone.zone_of(name));
        above
            .map(|anchor| anchor.zone.clone())
            .max_by_key(Name::num_labels)
    }

    /// The keys of `zone` and how long they may be used in seconds, if an anchored key has signed them all.
    pub(super) fn keys(&self, zone: &Name, records: &[Record], now: u32) -> Option<(Vec<DNSKEY>, u32)> {
        let keys: Vec<Record> = records
            .iter()
            .filter(|record| record.name == *zone && record.record_type() == RecordType::DNSKEY)
            .cloned()
            .collect();
        let anchored = keys
            .iter()
            .filter_map(dnskey)
            .filter(|key| self.trusts(zone, key));
        let anchored: Vec<&DNSKEY> = anchored.collect();
        let signatures = records
            .iter()
            .filter(|record| record.name == *zone)
            .filter_map(rrsig);
        let signature = signatures
            .take(8)
            .find(|signature| anchored.iter().any(|key| signs(key, signature, zone, &keys, now)))?;
        let ttl = keys
            .iter()
            .map(|key| signature.authenticated_ttl(key, now))
            .min()?;
        Some((keys.iter().filter_map(dnskey).cloned().collect(), ttl))
    }

    fn trusts(&self, zone: &Name, key: &DNSKEY) -> bool {
        let mut anchors = self.0.iter().filter(|anchor| anchor.zone == *zone);
        key.zone_key()
            && !key.revoke()
            && anchors.any(|anchor| match &anchor.data {
                AnchorData::Key(known) => known.public_key() == key.public_key(),
                AnchorData::Digest(digest) => digest.covers(zone, key).unwrap_or(false),
            })
    }
}

fn dnskey(record: &Record) -> Option<&DNSKEY> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
        _ => None,
    }
}

pub(super) fn rrsig(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => Some(rrsig),
        _ => None,
    }
}

/// Whether `signature` over the zone's DNSKEY records is by `key` and valid now (RFC 4035 §5.3).
fn signs(key: &DNSKEY, signature: &RRSIG, zone: &Name, keys: &[Record], now: u32) -> bool {
    let input = signature.input();
    let now = SerialNumber::new(now);
    input.type_covered == RecordType::DNSKEY
        && input.signer_name == *zone
        && input.num_labels == zone.num_labels()
        && input.algorithm == key.public_key().algorithm_of()
        && key.calculate_key_tag().is_ok_and(|tag| tag == input.key_tag)
        && input.sig_inception <= now
        && now <= input.sig_expiration
        && key
            .verify_rrsig(zone, DNSClass::IN, signature, keys.iter())
            .is_ok()
}

/// A short name for the algorithm of a stored key.
trait AlgorithmOf {
    fn algorithm_of(&self) -> Algorithm;
}

impl AlgorithmOf for PublicKeyBuf {
    fn algorithm_of(&self) -> Algorithm {
        hickory_proto::dnssec::PublicKey::algorithm(self)
    }
}

/// Reads one anchor per line; empty lines and comments after `;` are skipped.
impl FromStr for TrustAnchors {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let mut anchors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let record = line.split(';').next().unwrap_or("").trim();
            if !record.is_empty() {
                anchors.push(parse_anchor(record).ok_or(AnchorError { line: index + 1 })?);
            }
        }
        Ok(Self(anchors))
    }
}

/// `owner [ttl] [IN] DNSKEY flags 3 algorithm key`, or `owner [ttl] [IN] DS tag algorithm type digest`.
fn parse_anchor(record: &str) -> Option<Anchor> {
    let mut words = record.split_ascii_whitespace().peekable();
    let mut zone = Name::from_ascii(words.next()?).ok()?;
    zone.set_fqdn(true);
    words.next_if(|word| word.bytes().all(|octet| octet.is_ascii_digit()));
    words.next_if(|word| word.eq_ignore_ascii_case("IN"));
    let kind = words.next()?.to_ascii_uppercase();
    let numbers = [words.next()?, words.next()?, words.next()?];
    let rest: String = words.collect();
    let data = match kind.as_str() {
        "DNSKEY" => AnchorData::Key(parse_key(numbers, &rest)?),
        "DS" => AnchorData::Digest(parse_digest(numbers, &rest)?),
        _ => return None,
    };
    Some(Anchor { zone, data })
}

fn parse_key([flags, protocol, algorithm]: [&str; 3], key: &str) -> Option<DNSKEY> {
    let algorithm = Algorithm::from_u8(algorithm.parse().ok()?);
    let key = PublicKeyBuf::new(base64_decode(key).ok()?, algorithm);
    let key = DNSKEY::with_flags(flags.parse().ok()?, key);
    (protocol == "3" && algorithm.is_supported() && key.zone_key() && !key.revoke()).then_some(key)
}

fn parse_digest([tag, algorithm, kind]: [&str; 3], digest: &str) -> Option<DS> {
    let algorithm = Algorithm::from_u8(algorithm.parse().ok()?);
    let kind = DigestType::from(kind.parse::<u8>().ok()?);
    if !digest.is_ascii() || !digest.len().is_multiple_of(2) {
        return None;
    }
    let octet = |at: usize| u8::from_str_radix(digest.get(at..at + 2)?, 16).ok();
    let digest: Option<Vec<u8>> = (0..digest.len()).step_by(2).map(octet).collect();
    let usable = algorithm.is_supported() && kind.is_supported();
    usable.then_some(DS::new(tag.parse().ok()?, algorithm, kind, digest?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn root_anchors_are_those_built_into_the_library() {
        let known = hickory_proto::dnssec::TrustAnchors::default();
        let root = TrustAnchors::root();
        assert_eq!(root.0.len(), 2);
        for index in 0..2 {
            let key = DNSKEY::with_flags(257, known.get(index).unwrap().clone());
            assert!(root.trusts(&Name::root(), &key), "key {index}");
        }
        let other = DNSKEY::with_flags(257, PublicKeyBuf::new(vec![3, 1, 0, 1], Algorithm::RSASHA256));
        assert!(!root.trusts(&Name::root(), &other));
    }

    #[test]
    fn reads_both_kinds_with_and_without_ttl_and_class() {
        let text = "; comment\n\na.test. 3600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= ; key\n\
            a.test DS 1 13 2 00112233445566778899aabbccddeeff 00112233445566778899AABBCCDDEEFF\n";
        let anchors: TrustAnchors = text.parse().unwrap();
        assert_eq!(anchors.0.len(), 2);
        assert!(
            anchors
                .0
                .iter()
                .all(|anchor| anchor.zone == Name::from_ascii("a.test.").unwrap())
        );
    }

    #[test]
    fn the_closest_anchor_counts() {
        let anchors: TrustAnchors = "test. DS 1 13 2 00\nb.test. DS 1 13 2 00".parse().unwrap();
        let closest = |name: &str| {
            anchors
                .closest(&Name::from_ascii(name).unwrap())
                .map(|zone| zone.to_ascii())
        };
        assert_eq!(closest("_dx.b.test.").as_deref(), Some("b.test."));
        assert_eq!(closest("xb.test.").as_deref(), Some("test."));
        assert_eq!(closest("example."), None);
    }

    #[test]
    fn refuses_what_is_not_an_anchor_and_names_the_line() {
        for bad in [
            "a.test. IN TXT x",
            "a.test. IN DNSKEY 257 3",
            "a.test. IN DNSKEY 257 2 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            "a.test. IN DNSKEY 0 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            "a.test. IN DNSKEY 385 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            "a.test. IN DNSKEY 257 3 15 l02Woi0i!",
            "a.test. IN DS 1 13 2 0",
            "a.test. IN DS 1 13 2 0g",
            "a.test. IN DS 1 13 9 00",
            "a.test. IN DS 70000 13 2 00",
        ] {
            let text = format!("\n{bad}");
            assert_eq!(
                text.parse::<TrustAnchors>(),
                Err(AnchorError { line: 2 }),
                "{bad}"
            );
        }
    }
}
