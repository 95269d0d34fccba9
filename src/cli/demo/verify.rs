//! Whether what arrived is what was sent.
//!
//! Compared octet by octet with rules of its own, not with the code that did the mapping: the header as
//! `dmime2.md` §16.2 allows it to change, everything after the first empty line not at all.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use serde::Serialize;

use super::letters::Letter;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::headers::{self, Field};

/// The fields that D/MIME keeps in one chunk, in its order.
const COMMON: [&str; 6] = ["Date", "To", "Cc", "From", "Organization", "Subject"];
/// Fields that do not travel inside a message: trace fields, results of checks, blind copies.
const NOT_CARRIED: [&str; 13] = [
    "Bcc",
    "Resent-Bcc",
    "Return-Path",
    "Received",
    "Delivered-To",
    "X-Original-To",
    "Envelope-To",
    "Authentication-Results",
    "Received-SPF",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
];
/// Fields that a submission server adds when they are missing.
const ADDED: [&str; 3] = ["Date", "Message-ID", "MIME-Version"];
/// What says of opened mail by whom it is.
const MARKER: &str = "DIME-Verification";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// Whether it is as it must be.
    pub passed: bool,
}

/// How a message was carried.
#[derive(Clone, Copy)]
pub enum Carriage<'a> {
    /// Sealed: the receiving host says by whom it is.
    Dmtp {
        /// The receiving host.
        server: &'a Domain,
        /// The author.
        author: &'a Mailbox,
        /// The recipient.
        recipient: &'a Mailbox,
    },
    /// As MIME.
    Smtp,
}

/// Compares a delivered message with the one submitted.
pub fn delivered(sent: &Letter, arrived: &[u8], carriage: Carriage<'_>) -> Vec<Check> {
    let header_is_same = match carriage {
        Carriage::Dmtp { .. } => sealed_header_is_same(&sent.octets, arrived),
        Carriage::Smtp => carried(&sent.octets, &sent.octets) == carried(arrived, &sent.octets),
    };
    vec![
        check("same header fields", header_is_same),
        check("same body, octet for octet", body(&sent.octets) == body(arrived)),
        check("same attachments", attachments_are_same(sent, arrived)),
        match carriage {
            Carriage::Dmtp {
                server,
                author,
                recipient,
            } => check(
                "author verified by the destination",
                is_marked(arrived, server, author, recipient),
            ),
            Carriage::Smtp => check("no claim of a verified author", dime_fields(arrived).count() == 0),
        },
    ]
}

/// Looks at a report of failed delivery (RFC 3464).
pub fn report(arrived: &[u8], recipient: &Mailbox) -> Vec<Check> {
    let message = MessageParser::default().parse(arrived);
    let status = message.as_ref().and_then(delivery_status).unwrap_or_default();
    let has = |line: &str| {
        status
            .lines()
            .any(|found| found.trim_end().eq_ignore_ascii_case(line))
    };
    vec![
        check("a multipart/report", message.as_ref().is_some_and(is_report)),
        check(
            "names the recipient",
            has(&format!("Final-Recipient: rfc822; {recipient}")),
        ),
        check("says that delivery failed", has("Action: failed")),
        check(
            "sent by nobody, so that nobody answers",
            headers::find(arrived, "Return-Path").is_some_and(|field| field.value() == b"<>"),
        ),
    ]
}

/// The sentences in which a report explains a failure.
pub fn explanation(report: &[u8]) -> String {
    let message = MessageParser::default().parse(report);
    let text = message.as_ref().and_then(|message| message.body_text(0));
    let text = text.unwrap_or_default();
    let sentences = text.lines().filter_map(|line| line.strip_prefix("    "));
    sentences.collect::<Vec<_>>().join(" ")
}

/// The Message-ID of a message, without angle brackets.
pub fn message_id(message: &[u8]) -> Option<String> {
    let value = headers::find(message, "Message-ID")?.value();
    let id = std::str::from_utf8(value).ok()?;
    Some(id.trim_start_matches('<').trim_end_matches('>').to_owned())
}

/// The value of a field, unfolded.
pub fn unfolded(message: &[u8], name: &str) -> Vec<u8> {
    headers::find(message, name)
        .map(|field| without_folds(field.value()))
        .unwrap_or_default()
}

/// Everything after the first empty line.
pub fn body(message: &[u8]) -> &[u8] {
    match memchr::memmem::find(message, b"\r\n\r\n") {
        Some(place) => &message[place + 4..],
        None => &[],
    }
}

fn check(what: &'static str, passed: bool) -> Check {
    Check { what, passed }
}

fn is_any(field: &Field<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| field.is(name))
}

fn is_dime(field: &Field<'_>) -> bool {
    let start = field.name.get(..5).unwrap_or_default();
    start.eq_ignore_ascii_case(b"DIME-")
}

fn dime_fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    headers::fields(message).filter(is_dime)
}

/// The fields that must be the same at both ends, as they stand there. What the submission server had to add is not
/// among them.
fn carried<'a>(message: &'a [u8], sent: &[u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let was_added = |field: &Field<'_>| {
        is_any(field, &ADDED) && !headers::fields(sent).any(|own| own.name.eq_ignore_ascii_case(field.name))
    };
    headers::fields(message)
        .filter(|field| !is_any(field, &NOT_CARRIED) && !is_dime(field) && !was_added(field))
        .map(|field| (field.name, field.value()))
        .collect()
}

/// The six common fields come first and unfolded; all others keep order and form.
fn sealed_header_is_same(sent: &[u8], arrived: &[u8]) -> bool {
    let common = |message| COMMON.map(|name| common_value(&carried(message, sent), name));
    let others = |message| -> Vec<(Vec<u8>, Vec<u8>)> {
        let fields = carried(message, sent).into_iter();
        let others = fields.filter(|(name, _)| !is_common(name));
        others
            .map(|(name, value)| (name.to_vec(), without_blank_lines(value)))
            .collect()
    };
    common(sent) == common(arrived) && others(sent) == others(arrived)
}

fn is_common(name: &[u8]) -> bool {
    COMMON
        .iter()
        .any(|common| name.eq_ignore_ascii_case(common.as_bytes()))
}

/// The values of all fields of that name, unfolded and joined by commas.
fn common_value(fields: &[(&[u8], &[u8])], name: &str) -> Vec<u8> {
    let of_name = fields
        .iter()
        .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
    let values: Vec<Vec<u8>> = of_name
        .map(|(_, value)| without_folds(value))
        .filter(|value| !value.is_empty())
        .collect();
    values.join(&b", "[..])
}

fn without_folds(value: &[u8]) -> Vec<u8> {
    let ends = |octet: &u8| !matches!(octet, b'\r' | b'\n');
    value.trim_ascii().iter().copied().filter(ends).collect()
}

/// Continuation lines of nothing but blanks do not survive.
fn without_blank_lines(value: &[u8]) -> Vec<u8> {
    let lines = value.split_inclusive(|octet| *octet == b'\n');
    let filled: Vec<&[u8]> = lines.filter(|line| !line.trim_ascii().is_empty()).collect();
    filled.concat().trim_ascii().to_vec()
}

/// Attachments as a mail program sees them; of our own letter also as they were before they were encoded.
fn attachments_are_same(sent: &Letter, arrived: &[u8]) -> bool {
    let arrived = attachments(arrived);
    let is_ours = match &sent.attachment {
        Some(attachment) => arrived == [(Some("photographs.bin".to_owned()), attachment.clone())],
        None => true,
    };
    is_ours && attachments(&sent.octets) == arrived
}

fn attachments(message: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
    let Some(message) = MessageParser::default().parse(message) else {
        return Vec::new();
    };
    let named = |part: &mail_parser::MessagePart<'_>| {
        let name = part.attachment_name().map(str::to_owned);
        (name, part.contents().to_vec())
    };
    message.attachments().map(named).collect()
}

/// The reader's rule of `dmime2.md` §17: the first `DIME-` field counts, and here it is the only one.
fn is_marked(arrived: &[u8], server: &Domain, author: &Mailbox, recipient: &Mailbox) -> bool {
    let fields: Vec<Field<'_>> = dime_fields(arrived).collect();
    let [marker] = fields[..] else {
        return false;
    };
    let value = String::from_utf8_lossy(&without_folds(marker.value())).replace('\t', " ");
    let parameters: Vec<&str> = value.split(';').map(str::trim).collect();
    let says = |name: &str, value: &str| parameters.contains(&format!("{name}={value}").as_str());
    marker.is(MARKER)
        && parameters.first() == Some(&server.as_str())
        && says("result", "pass")
        && says("author", &author.to_string())
        && says("origin", author.domain().as_str())
        && says("recipient", &recipient.to_string())
}

fn is_report(message: &Message<'_>) -> bool {
    message.content_type().is_some_and(|kind| {
        kind.ctype() == "multipart"
            && kind.subtype() == Some("report")
            && kind.attribute("report-type") == Some("delivery-status")
    })
}

fn delivery_status(message: &Message<'_>) -> Option<String> {
    let is_status = |part: &&mail_parser::MessagePart<'_>| {
        part.content_type()
            .is_some_and(|kind| kind.ctype() == "message" && kind.subtype() == Some("delivery-status"))
    };
    let part = message.parts.iter().find(is_status)?;
    Some(match &part.body {
        PartType::Text(text) => text.to_string(),
        _ => String::from_utf8_lossy(part.contents()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] = b"Subject: a\r\n b\r\nX-One: 1\r\n\t2\r\nTo: x@a.example\r\nBcc: z@a.example\r\n\
                          From: alice@hermail.test\r\n\r\nBody\r\n";

    fn letter() -> Letter {
        Letter {
            octets: SENT.to_vec(),
            attachment: None,
        }
    }

    fn opened() -> Vec<u8> {
        let head = "Return-Path: <alice@hermail.test>\r\nDelivered-To: bob@hismail.test\r\n\
                    DIME-Verification: mx.hismail.test; result=pass; format=1; suite=legacy;\r\n\
                    \tauthor=alice@hermail.test; origin=hermail.test;\r\n\trecipient=bob@hismail.test;\r\n\tfrom=match\r\n\
                    Date: today\r\nTo: x@a.example\r\nFrom: alice@hermail.test\r\nSubject: a b\r\n\
                    X-One: 1\r\n\t2\r\nMIME-Version: 1.0\r\n\r\nBody\r\n";
        head.as_bytes().to_vec()
    }

    fn failing(arrived: &[u8]) -> Vec<&'static str> {
        #![allow(clippy::unwrap_used)]
        let carriage = Carriage::Dmtp {
            server: &"mx.hismail.test".parse().unwrap(),
            author: &"alice@hermail.test".parse().unwrap(),
            recipient: &"bob@hismail.test".parse().unwrap(),
        };
        let checks = delivered(&letter(), arrived, carriage);
        checks
            .iter()
            .filter(|check| !check.passed)
            .map(|check| check.what)
            .collect()
    }

    #[test]
    fn a_canonical_header_is_the_same_header() {
        assert_eq!(failing(&opened()), [""; 0]);
    }

    #[test]
    fn every_difference_is_seen() {
        let text = String::from_utf8_lossy(&opened()).into_owned();
        for (from, to, what) in [
            ("X-One: 1\r\n\t2", "X-One: 1\r\n 2", "same header fields"),
            ("X-One: 1\r\n\t2\r\n", "", "same header fields"),
            ("Subject: a b", "Subject: a", "same header fields"),
            ("X-One", "X-Two: 2\r\nX-One", "same header fields"),
            ("Body", "Body ", "same body, octet for octet"),
            ("result=pass", "result=fail", "author verified by the destination"),
            (
                "author=alice",
                "author=mallory",
                "author verified by the destination",
            ),
            (
                "mx.hismail.test;",
                "mx.hermail.test;",
                "author verified by the destination",
            ),
            (
                "Date:",
                "DIME-Verification: x\r\nDate:",
                "author verified by the destination",
            ),
        ] {
            assert_eq!(failing(text.replacen(from, to, 1).as_bytes()), [what], "{from}");
        }
    }

    #[test]
    fn a_claim_on_mail_by_smtp_is_seen() {
        let arrived = [b"DIME-Verification: mx.hismail.test; result=pass\r\n", SENT].concat();
        let failed = |arrived: &[u8]| {
            let checks = delivered(&letter(), arrived, Carriage::Smtp);
            checks.iter().filter(|check| !check.passed).count()
        };
        assert_eq!(failed(&arrived), 1);
        assert_eq!(failed(SENT), 0);
    }
}
