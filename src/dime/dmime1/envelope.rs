//! The text of the envelope chunks 4 and 5 (`dmime.md` §12.1).
//!
//! Exactly four lines, each ending in CRLF, one space after the colon; fingerprints are cryptographic ones:
//!
//! ```text
//! Author: <alice@hermail.test>            Recipient: <bob@hismail.test>
//! Author-Signet: [86 characters]          Recipient-Signet: [86 characters]
//! Destination: <hismail.test>             Origin: <hermail.test>
//! Destination-Signet: [86 characters]     Origin-Signet: [86 characters]
//! ```
//!
//! Deviation: addresses must have the grammar of `dmime2.md` §9.1 (ASCII, dot-string local-part), because a message
//! from any other cannot be delivered with a marker; the case of domains is folded. libdime takes any printable text.

use std::fmt;

use crate::dime::fingerprint::CryptoFingerprint;
use crate::mail::address::{Domain, Mailbox};

/// Chunk 4: what the origin learns.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginEnvelope {
    /// Who wrote the message.
    pub author: Mailbox,
    /// Which signet of the author verifies it.
    pub author_signet: CryptoFingerprint,
    /// Where it goes.
    pub destination: Domain,
    /// Which signet of the destination it was sealed for.
    pub destination_signet: CryptoFingerprint,
}

/// Chunk 5: what the destination learns.
#[derive(Clone, PartialEq, Eq)]
pub struct DestinationEnvelope {
    /// Who the message is for.
    pub recipient: Mailbox,
    /// Which signet of the recipient it was sealed for.
    pub recipient_signet: CryptoFingerprint,
    /// Where it comes from.
    pub origin: Domain,
    /// Which signet of the origin verifies it.
    pub origin_signet: CryptoFingerprint,
}

impl OriginEnvelope {
    /// The four lines.
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            author,
            author_signet,
            destination,
            destination_signet,
        } = self;
        format!(
            "Author: <{author}>\r\nAuthor-Signet: [{author_signet}]\r\n\
             Destination: <{destination}>\r\nDestination-Signet: [{destination_signet}]\r\n"
        )
        .into_bytes()
    }

    /// Reads exactly the four lines; `None` for anything else.
    pub fn decode(data: &[u8]) -> Option<Self> {
        Self::read(data).ok()
    }

    /// The same; for anything else, the label of the line that is wrong or has something behind it.
    pub fn read(data: &[u8]) -> Result<Self, &'static str> {
        let mut lines = Lines::new(data);
        let envelope = Self {
            author: lines.value("Author", mailbox)?,
            author_signet: lines.value("Author-Signet", fingerprint)?,
            destination: lines.value("Destination", domain)?,
            destination_signet: lines.value("Destination-Signet", fingerprint)?,
        };
        lines.end(envelope, "Destination-Signet")
    }
}

impl DestinationEnvelope {
    /// The four lines.
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            recipient,
            recipient_signet,
            origin,
            origin_signet,
        } = self;
        format!(
            "Recipient: <{recipient}>\r\nRecipient-Signet: [{recipient_signet}]\r\n\
             Origin: <{origin}>\r\nOrigin-Signet: [{origin_signet}]\r\n"
        )
        .into_bytes()
    }

    /// Reads exactly the four lines; `None` for anything else.
    pub fn decode(data: &[u8]) -> Option<Self> {
        Self::read(data).ok()
    }

    /// The same; for anything else, the label of the line that is wrong or has something behind it.
    pub fn read(data: &[u8]) -> Result<Self, &'static str> {
        let mut lines = Lines::new(data);
        let envelope = Self {
            recipient: lines.value("Recipient", mailbox)?,
            recipient_signet: lines.value("Recipient-Signet", fingerprint)?,
            origin: lines.value("Origin", domain)?,
            origin_signet: lines.value("Origin-Signet", fingerprint)?,
        };
        lines.end(envelope, "Origin-Signet")
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

/// Whether an address can stand in an envelope chunk: ASCII, a dot-string, at most 254 octets (`dmime2.md` §9.1).
pub fn is_sealable(address: &Mailbox) -> bool {
    let text = address.to_string();
    text.is_ascii() && text.len() <= 254 && !text.starts_with('"')
}

/// The lines not read yet; none of octets that are not UTF-8.
struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self(std::str::from_utf8(data).unwrap_or_default())
    }

    /// The value of the line that is next, which must have that label.
    fn value<T>(
        &mut self,
        label: &'static str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, &'static str> {
        let rest = self
            .0
            .strip_prefix(label)
            .and_then(|rest| rest.strip_prefix(": "));
        self.0 = rest.ok_or(label)?;
        read(self).ok_or(label)
    }

    /// What stands between `before` at the current place and the next `after`.
    fn enclosed(&mut self, before: &str, after: &str) -> Option<&'a str> {
        let (value, rest) = self.0.strip_prefix(before)?.split_once(after)?;
        self.0 = rest;
        Some(value)
    }

    /// Nothing follows the last line.
    fn end<T>(self, envelope: T, last: &'static str) -> Result<T, &'static str> {
        match self.0.is_empty() {
            true => Ok(envelope),
            false => Err(last),
        }
    }
}

fn mailbox(lines: &mut Lines<'_>) -> Option<Mailbox> {
    let text = lines.enclosed("<", ">\r\n")?;
    let address = Mailbox::parse(text).ok()?;
    (text.is_ascii() && is_sealable(&address) && address.to_string().eq_ignore_ascii_case(text))
        .then_some(address)
}

fn domain(lines: &mut Lines<'_>) -> Option<Domain> {
    let text = lines.enclosed("<", ">\r\n")?;
    let domain = Domain::parse(text).ok()?;
    domain.as_str().eq_ignore_ascii_case(text).then_some(domain)
}

fn fingerprint(lines: &mut Lines<'_>) -> Option<CryptoFingerprint> {
    CryptoFingerprint::parse(lines.enclosed("[", "]\r\n")?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn origin() -> OriginEnvelope {
        OriginEnvelope {
            author: "ivan@darkmail.info".parse().unwrap(),
            author_signet: CryptoFingerprint([1; 64]),
            destination: "lavabit.com".parse().unwrap(),
            destination_signet: CryptoFingerprint([2; 64]),
        }
    }

    fn destination() -> DestinationEnvelope {
        DestinationEnvelope {
            recipient: "ryan@lavabit.com".parse().unwrap(),
            recipient_signet: CryptoFingerprint([3; 64]),
            origin: "darkmail.info".parse().unwrap(),
            origin_signet: CryptoFingerprint([4; 64]),
        }
    }

    #[test]
    fn sizes_are_those_of_the_chapter() {
        assert_eq!(origin().encode().len(), 244 + 18 + 11);
        assert_eq!(destination().encode().len(), 240 + 16 + 13);
        assert!(
            origin()
                .encode()
                .starts_with(b"Author: <ivan@darkmail.info>\r\nAuthor-Signet: [AQEB")
        );
    }

    #[test]
    fn decoding_inverts_encoding() {
        assert_eq!(OriginEnvelope::decode(&origin().encode()), Some(origin()));
        assert_eq!(
            DestinationEnvelope::decode(&destination().encode()),
            Some(destination())
        );
        assert_eq!(OriginEnvelope::decode(&destination().encode()), None);
    }

    #[test]
    fn folds_the_case_of_domains_only() {
        let text = String::from_utf8(origin().encode()).unwrap();
        let shouted = text.replace("lavabit.com", "Lavabit.COM");
        assert_eq!(OriginEnvelope::decode(shouted.as_bytes()), Some(origin()));
        let local = text.replace("ivan", "Ivan");
        assert_ne!(OriginEnvelope::decode(local.as_bytes()), Some(origin()));
    }

    #[test]
    fn refuses_other_lines_values_and_line_ends() {
        let text = String::from_utf8(origin().encode()).unwrap();
        for (from, to) in [
            ("Author: <", "author: <"),
            ("Author: <", "Author:  <"),
            ("Author: <", " Author: <"),
            (">\r\n", ">\n"),
            ("ivan@", "ivan>\r\n@"),
            ("ivan@", "iv[an@"),
            ("ivan@", "\"ivan\"@"),
            ("ivan@", "\"i van\"@"),
            ("ivan@", "iván@"),
            ("ivan@", ""),
            ("<ivan@darkmail.info>", "<>"),
            ("<lavabit.com>", "<>"),
            ("[AQEB", "[A"),
            ("AQ]", "AR]"),
            ("AQ]", "AQ==]"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text);
            assert_eq!(OriginEnvelope::decode(bad.as_bytes()), None, "{from:?} {to:?}");
        }
        assert_eq!(OriginEnvelope::decode(format!("{text}X").as_bytes()), None);
        assert_eq!(OriginEnvelope::decode(&text.as_bytes()[..text.len() - 1]), None);
    }

    #[test]
    fn debug_names_nobody() {
        assert_eq!(format!("{:?}", origin()), "OriginEnvelope([private])");
        assert_eq!(format!("{:?}", destination()), "DestinationEnvelope([private])");
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(data: Vec<u8>) {
            let _ = OriginEnvelope::decode(&data);
            let _ = DestinationEnvelope::decode(&data);
        }
    }
}
