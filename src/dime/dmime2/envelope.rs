//! The text of the envelope chunks 4 and 5 (`dmime2.md` §9.1): who learns which name.
//!
//! Exactly four lines, each ending in CRLF, one space after the colon:
//!
//! ```text
//! Author: <alice@hermail.test>            Recipient: <bob@hismail.test>
//! Author-Signet: [86 characters]          Recipient-Signet: [86 characters]
//! Destination: <hismail.test>             Origin: <hermail.test>
//! Destination-Signet: [86 characters]     Origin-Signet: [86 characters]
//! ```
//!
//! Fingerprints are full ones. Deviation: a domain must also be one that [`Domain`] can hold, so an all-numeric last label
//! and an A-label that stands for nothing are refused.

use std::fmt;

use super::layout::ChunkType;
use super::rule::{Refused, Rule};
use crate::dime::fingerprint::FullFingerprint;
use crate::mail::address::{Domain, Mailbox};

/// Most octets of an address.
const MAX_ADDRESS: usize = 254;
/// Most octets of a local-part.
const MAX_LOCAL: usize = 64;

/// Chunk 4: what the origin learns.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginEnvelope {
    /// Who wrote the message.
    pub author: Mailbox,
    /// Which signet of the author verifies it.
    pub author_signet: FullFingerprint,
    /// Where it goes.
    pub destination: Domain,
    /// Which signet of the destination it was sealed for.
    pub destination_signet: FullFingerprint,
}

/// Chunk 5: what the destination learns.
#[derive(Clone, PartialEq, Eq)]
pub struct DestinationEnvelope {
    /// Who the message is for.
    pub recipient: Mailbox,
    /// Which signet of the recipient it was sealed for.
    pub recipient_signet: FullFingerprint,
    /// Where it comes from.
    pub origin: Domain,
    /// Which signet of the origin verifies it.
    pub origin_signet: FullFingerprint,
}

impl OriginEnvelope {
    /// The four lines.
    pub fn encode(&self) -> Vec<u8> {
        lines(
            ["Author", "Destination"],
            (&self.author, &self.author_signet),
            (&self.destination, &self.destination_signet),
        )
    }

    /// Reads exactly the four lines (E1).
    pub fn decode(data: &[u8]) -> Result<Self, Rule> {
        let (author, author_signet, destination, destination_signet) =
            parse(data, ["Author", "Destination"]).ok_or(Rule::E1)?;
        Ok(Self {
            author,
            author_signet,
            destination,
            destination_signet,
        })
    }
}

impl DestinationEnvelope {
    /// The four lines.
    pub fn encode(&self) -> Vec<u8> {
        lines(
            ["Recipient", "Origin"],
            (&self.recipient, &self.recipient_signet),
            (&self.origin, &self.origin_signet),
        )
    }

    /// Reads exactly the four lines (E2).
    pub fn decode(data: &[u8]) -> Result<Self, Rule> {
        let (recipient, recipient_signet, origin, origin_signet) =
            parse(data, ["Recipient", "Origin"]).ok_or(Rule::E2)?;
        Ok(Self {
            recipient,
            recipient_signet,
            origin,
            origin_signet,
        })
    }
}

/// Names nobody: who writes to whom is not for logs.
impl fmt::Debug for OriginEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginEnvelope([private])")
    }
}

/// Names nobody: who writes to whom is not for logs.
impl fmt::Debug for DestinationEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DestinationEnvelope([private])")
    }
}

/// A rule that chunk 4 breaks.
pub(super) fn in_origin_envelope(rule: Rule) -> Refused {
    rule.in_chunk(1).of_type(ChunkType::OriginEnvelope.id())
}

/// A rule that chunk 5 breaks.
pub(super) fn in_destination_envelope(rule: Rule) -> Refused {
    rule.in_chunk(2).of_type(ChunkType::DestinationEnvelope.id())
}

/// Whether an address can stand in an envelope chunk.
pub fn is_sealable(address: &Mailbox) -> bool {
    is_address(&address.to_string())
}

fn lines(
    labels: [&str; 2],
    user: (&Mailbox, &FullFingerprint),
    organization: (&Domain, &FullFingerprint),
) -> Vec<u8> {
    let [first, second] = labels;
    let ((address, of_user), (domain, of_organization)) = (user, organization);
    format!(
        "{first}: <{address}>\r\n{first}-Signet: [{of_user}]\r\n\
         {second}: <{domain}>\r\n{second}-Signet: [{of_organization}]\r\n"
    )
    .into_bytes()
}

fn parse(data: &[u8], labels: [&str; 2]) -> Option<(Mailbox, FullFingerprint, Domain, FullFingerprint)> {
    let mut text = std::str::from_utf8(data).ok()?;
    let [first, second] = labels;
    let mut value = |label: &str, before: &str, after: &str| {
        let rest = text.strip_prefix(label)?.strip_prefix(before)?;
        let (value, rest) = rest.split_once(after)?;
        text = rest;
        Some(value)
    };
    let address = value(first, ": <", ">\r\n")?;
    let of_user = value(first, "-Signet: [", "]\r\n")?;
    let domain = value(second, ": <", ">\r\n")?;
    let of_organization = value(second, "-Signet: [", "]\r\n")?;
    let whole = text.is_empty() && is_address(address) && is_domain(domain);
    let address = whole.then(|| Mailbox::parse(address).ok()).flatten()?;
    let domain = Domain::parse(domain).ok()?;
    Some((
        address,
        FullFingerprint::parse(of_user).ok()?,
        domain,
        FullFingerprint::parse(of_organization).ok()?,
    ))
}

fn is_address(text: &str) -> bool {
    text.len() <= MAX_ADDRESS
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| is_local(local) && is_domain(domain))
}

fn is_local(text: &str) -> bool {
    let is_atext = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    text.len() <= MAX_LOCAL
        && text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

fn is_domain(text: &str) -> bool {
    let is_inner = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn origin(author: &str) -> OriginEnvelope {
        OriginEnvelope {
            author: author.parse().unwrap(),
            author_signet: FullFingerprint([1; 64]),
            destination: "hismail.test".parse().unwrap(),
            destination_signet: FullFingerprint([2; 64]),
        }
    }

    #[test]
    fn decoding_inverts_encoding_and_labels_are_not_mixed_up() {
        let envelope = origin("alice@hermail.test");
        let data = envelope.encode();
        assert!(data.starts_with(b"Author: <alice@hermail.test>\r\nAuthor-Signet: [AQEB"));
        assert_eq!(OriginEnvelope::decode(&data), Ok(envelope));
        assert_eq!(DestinationEnvelope::decode(&data), Err(Rule::E2));
    }

    #[test]
    fn the_longest_names_fit_and_longer_ones_do_not() {
        let local = "l".repeat(64);
        let domain = ["a".repeat(63), "b".repeat(63), "c".repeat(58), "dd".to_owned()].join(".");
        let longest = format!("{local}@{domain}");
        assert_eq!(longest.len(), 254);
        assert!(is_sealable(&longest.parse().unwrap()));
        let mut envelope = origin(&longest);
        let labels = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)];
        envelope.destination = labels.join(".").parse().unwrap();
        assert!(envelope.encode().len() <= 763);
        assert!(!is_address(&format!("{local}@{domain}d")));
        assert!(!is_address(&format!("{local}l@a.test")));
    }

    #[test]
    fn addresses_outside_the_grammar_are_not_sealable() {
        for address in ["\"a b\"@a.test", "jörg@a.test"] {
            assert!(!is_sealable(&address.parse().unwrap()), "{address}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = OriginEnvelope::decode(&data);
        }

        #[test]
        fn any_changed_octet_gives_another_envelope_or_none(place in 0usize..260, value in any::<u8>()) {
            let envelope = origin("alice@hermail.test");
            let mut data = envelope.encode();
            let place = place % data.len();
            prop_assume!(data[place] != value);
            data[place] = value;
            prop_assert_ne!(OriginEnvelope::decode(&data), Ok(envelope));
        }
    }
}
