//! The `DIME-Verification` field of opened mail (`dmime2.md` §17).
//!
//! ```text
//! DIME-Verification: mx.destination.example; result=pass; format=1; suite=legacy;
//!     author=alice@origin.example; origin=origin.example;
//!     recipient=bob@destination.example;
//!     from=match
//! ```
//!
//! Continuation lines start with one HTAB. Values come only from verified envelope fields, so nothing the sender wrote can add a parameter.

use std::fmt;

use super::header::trim;
use crate::base::encoding::base64_unpadded;
use crate::crypto::suite::hpke;
use crate::dime::dmime1::open::Opened;
use crate::dime::dmime2;
use crate::mail::address::{Domain, Mailbox};

/// What a server says about a message that it has opened and verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Verification<'a> {
    /// This server's name.
    pub server: &'a Domain,
    /// In which format the message came.
    pub format: Format,
    /// The verified author.
    pub author: &'a Mailbox,
    /// The verified origin.
    pub origin: &'a Domain,
    /// The recipient it was opened for.
    pub recipient: &'a Mailbox,
    /// Whether the From field names the author and nobody else.
    pub from_matches: bool,
}

/// Format and suite of a message, and what the format knows besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// D/MIME 1, which has one suite and knows neither time nor id.
    One,
    /// D/MIME 2.
    Two {
        /// Which suite.
        suite: Suite,
        /// When it was sealed, in unix seconds.
        created: u64,
        /// The message id.
        id: [u8; 64],
    },
}

/// The suites of D/MIME 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// X25519.
    X25519,
    /// X-Wing.
    XWing,
}

impl<'a> Verification<'a> {
    /// For an opened D/MIME 1 message.
    pub fn of_format1(server: &'a Domain, opened: &'a Opened) -> Self {
        let envelope = &opened.envelope;
        let author = &envelope.origin.author;
        let headers = opened.common_headers();
        Self {
            server,
            format: Format::One,
            author,
            origin: &envelope.destination.origin,
            recipient: &envelope.destination.recipient,
            from_matches: headers.is_ok_and(|headers| from_matches(&headers.from_header, author)),
        }
    }

    /// For an opened D/MIME 2 message.
    pub fn of_format2(server: &'a Domain, opened: &'a dmime2::content::Opened) -> Self {
        let verified = opened.verified();
        let author = &verified.origin_envelope().author;
        let outline = verified.outline();
        let from = opened
            .common_headers
            .split(|octet| *octet == b'\n')
            .find_map(|line| line.strip_prefix(b"From: "));
        Self {
            server,
            format: Format::Two {
                suite: match outline.suite() {
                    hpke::Suite::X25519 => Suite::X25519,
                    hpke::Suite::XWing => Suite::XWing,
                },
                created: outline.created(),
                id: outline.message_id().0,
            },
            author,
            origin: author.domain(),
            recipient: &verified.destination_envelope().recipient,
            from_matches: from.is_some_and(|from| from_matches(trim_end(from), author)),
        }
    }
}

/// Without the CR of the line's end.
fn trim_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The field with its folds and final CRLF.
impl fmt::Display for Verification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            author,
            origin,
            recipient,
            ..
        } = self;
        let (format, suite) = match self.format {
            Format::One => (1, "legacy"),
            Format::Two {
                suite: Suite::X25519, ..
            } => (2, "x25519"),
            Format::Two {
                suite: Suite::XWing, ..
            } => (2, "xwing"),
        };
        let from = if self.from_matches { "match" } else { "mismatch" };
        write!(
            f,
            "DIME-Verification: {server}; result=pass; format={format}; suite={suite};\r\n"
        )?;
        write!(
            f,
            "\tauthor={author}; origin={origin};\r\n\trecipient={recipient};\r\n\tfrom={from}"
        )?;
        if let Format::Two { created, id, .. } = self.format {
            write!(f, ";\r\n\tcreated={created};\r\n\tid={}", base64_unpadded(&id))?;
        }
        f.write_str("\r\n")
    }
}

/// Names nobody; `Display` is for the message.
impl fmt::Debug for Verification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("from_matches", &self.from_matches)
            .finish_non_exhaustive()
    }
}

/// Whether a From value is the author's address, alone or in angle brackets behind a phrase; one pass decides.
///
/// Every value that two readers could understand differently is a mismatch: comments, escapes, groups, lists, routes.
pub fn from_matches(from_header: &[u8], author: &Mailbox) -> bool {
    let value = trim(from_header);
    if value.iter().any(|octet| matches!(octet, b'(' | b')' | b'\\')) {
        return false;
    }
    is_author(value, author) || after_phrase(value).is_some_and(|address| is_author(address, author))
}

/// The address in angle brackets at the end, if what stands before is a phrase that nobody can take for an address.
fn after_phrase(value: &[u8]) -> Option<&[u8]> {
    let mut quoted = false;
    let open = value.iter().position(|octet| {
        quoted ^= *octet == b'"';
        !quoted && b"<>@,;:[]".contains(octet)
    })?;
    value[open..].strip_prefix(b"<")?.strip_suffix(b">")
}

fn is_author(address: &[u8], author: &Mailbox) -> bool {
    let Some(at) = address.iter().rposition(|octet| *octet == b'@') else {
        return false;
    };
    let (local, domain) = (&address[..at], &address[at + 1..]);
    local == author.local().as_bytes() && domain.eq_ignore_ascii_case(author.domain().as_str().as_bytes())
}
