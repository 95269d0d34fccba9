//! Delivery status notifications (RFC 3464 in the multipart of RFC 6522).
//!
//! Three parts: words for people, fields for programs, and the original's header block. A report is ASCII
//! throughout, whatever it reports on, so that any host can carry it: text goes as quoted-printable where
//! it has to, addresses in the escaped form of RFC 6533. Only a sender's own UTF-8 address, in `To`, is not.

use std::fmt::{self, Write};

use super::address::{Domain, Mailbox};
use super::date::rfc5322;
use super::headers::fields;
use super::reply::EnhancedStatus;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;

/// Most octets of the original's header block that a report carries.
pub const HEADER_BYTES: usize = 16 * 1024;

/// Most characters of one field or sentence made from somebody else's words.
const FOREIGN_CHARS: usize = 1024;

/// Lines are folded to this where they can be (RFC 5322 §2.1.1).
const LINE_CHARS: usize = 78;

/// Longest line that may go as it is (RFC 5322 §2.1.1).
const LONGEST_LINE: usize = 998;

/// `Action` (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Still being tried.
    Delayed,
    /// In the recipient's mailbox.
    Delivered,
    /// Handed to a host that does not send reports.
    Relayed,
    /// Sent on to several.
    Expanded,
}

impl Action {
    /// The keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// First digit of a status that goes with it (RFC 3464 §2.3.4).
    fn class(self) -> u8 {
        match self {
            Self::Failed => 5,
            Self::Delayed => 4,
            Self::Delivered | Self::Relayed | Self::Expanded => 2,
        }
    }
}

/// What another host said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDiagnostic {
    /// Its name.
    pub host: String,
    /// Code and text on one line.
    pub reply: String,
}

/// Whom a report is about, as far as this host may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalRecipient {
    /// A mailbox.
    Mailbox(Mailbox),
    /// Somebody at this domain, named inside a sealed message alone.
    Sealed(Domain),
}

/// As the reader sees it.
impl fmt::Display for FinalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
            Self::Sealed(domain) => write!(f, "a recipient at {domain}, known to you alone"),
        }
    }
}

/// What is reported of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReport {
    /// `Final-Recipient`.
    pub recipient: FinalRecipient,
    /// `Action`.
    pub action: Action,
    /// `Status`; its class is made to fit the action.
    pub status: EnhancedStatus,
    /// One sentence for the reader.
    pub explanation: String,
    /// `Remote-MTA` and `Diagnostic-Code`.
    pub remote: Option<RemoteDiagnostic>,
    /// `Last-Attempt-Date`.
    pub last_attempt_at: Timestamp,
    /// `Will-Retry-Until`, for delays.
    pub will_retry_until: Option<Timestamp>,
}

/// A complete report. Equal reports render to equal octets.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The report's own id: its `Message-ID` and the boundary are made of it.
    pub id: QueueId,
    /// The host that reports, and whose `MAILER-DAEMON` it comes from.
    pub reporting_host: &'a Domain,
    /// Who gets it.
    pub to: &'a Mailbox,
    /// When it is made.
    pub date: Timestamp,
    /// When the original came to this host.
    pub arrived_at: Timestamp,
    /// At least one.
    pub recipients: &'a [RecipientReport],
    /// The original from its start, at least as far as its header block goes or [`HEADER_BYTES`]; empty for a message
    /// whose header nobody here can read.
    pub original: &'a [u8],
}

impl Report<'_> {
    /// The message, with CRLF line ends.
    pub fn render(&self) -> Vec<u8> {
        let boundary = format!("=_report_{}", self.id);
        let mut out = self.header(&boundary).into_bytes();
        let status = self.status_fields();
        part(
            &mut out,
            &boundary,
            "text/plain; charset=utf-8",
            self.text().as_bytes(),
        );
        part(&mut out, &boundary, "message/delivery-status", status.as_bytes());
        let headers = bounded_header(self.original);
        if !headers.is_empty() {
            part(&mut out, &boundary, "text/rfc822-headers", headers);
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        out
    }

    fn is_delay(&self) -> bool {
        self.recipients
            .iter()
            .all(|recipient| recipient.action == Action::Delayed)
    }

    fn header(&self, boundary: &str) -> String {
        let subject = match self.is_delay() {
            true => "Your message is delayed",
            false => "Your message could not be delivered",
        };
        format!(
            "From: Mail delivery <MAILER-DAEMON@{host}>\r\n\
             To: {to}\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}@{host}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\n\
             \r\n",
            host = self.reporting_host,
            to = self.to,
            date = rfc5322(self.date),
            id = self.id,
        )
    }

    fn text(&self) -> String {
        let mut text = format!(
            "This is the mail host {}. It accepted a message of yours on\r\n{}",
            self.reporting_host,
            rfc5322(self.arrived_at)
        );
        text.push_str(match self.is_delay() {
            true => " and has not been able yet to deliver it to:\r\n",
            false => " and could not deliver it to:\r\n",
        });
        for recipient in self.recipients {
            recipient.put_text(&mut text);
        }
        text.push_str(match self.is_delay() {
            true => "\r\nIt keeps trying. You need not send your message again.\r\n",
            false => "\r\nIt has given up. If you send your message again, it will be tried again.\r\n",
        });
        text
    }

    fn status_fields(&self) -> String {
        let mut out = String::new();
        put_field(
            &mut out,
            "Reporting-MTA",
            &format!("dns; {}", self.reporting_host),
        );
        put_field(&mut out, "Arrival-Date", &rfc5322(self.arrived_at));
        for recipient in self.recipients {
            out.push_str("\r\n");
            recipient.put_fields(&mut out);
        }
        out
    }
}

impl RecipientReport {
    fn put_text(&self, text: &mut String) {
        let mut line = |indent: &str, words: &str| {
            text.push_str(indent);
            text.push_str(words);
            text.push_str("\r\n");
        };
        line("\r\n", &self.recipient.to_string());
        line("    ", &clean(&self.explanation));
        if let Some(remote) = &self.remote {
            line(
                "    ",
                &format!("{} said: {}", clean(&remote.host), clean(&remote.reply)),
            );
        }
        if let Some(until) = self.will_retry_until {
            line("    ", &format!("It will be tried until {}.", rfc5322(until)));
        }
    }

    fn put_fields(&self, out: &mut String) {
        let EnhancedStatus(_, subject, detail) = self.status;
        let status = EnhancedStatus(self.action.class(), subject, detail);
        put_field(out, "Final-Recipient", &typed_address(&self.recipient));
        put_field(out, "Action", self.action.as_str());
        put_field(out, "Status", &status.to_string());
        if let Some(remote) = &self.remote {
            put_field(out, "Remote-MTA", &format!("dns; {}", ascii(&remote.host)));
            put_field(out, "Diagnostic-Code", &format!("smtp; {}", ascii(&remote.reply)));
        }
        put_field(out, "Last-Attempt-Date", &rfc5322(self.last_attempt_at));
        if let Some(until) = self.will_retry_until {
            put_field(out, "Will-Retry-Until", &rfc5322(until));
        }
    }
}

/// Address type and address; beyond ASCII, the escaped form that a 7-bit report may carry (RFC 6533 §3).
///
/// A recipient that only the sealed message names has a type of our own, with the domain alone.
fn typed_address(recipient: &FinalRecipient) -> String {
    let address = match recipient {
        FinalRecipient::Mailbox(mailbox) => mailbox.to_string(),
        FinalRecipient::Sealed(domain) => return format!("x-dime; @{domain}"),
    };
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    address
        .chars()
        .fold(String::from("utf-8; "), |mut escaped, char| {
            match char {
                '!'..='~' if !matches!(char, '+' | '=' | '\\') => escaped.push(char),
                // Writing to a String cannot fail.
                _ => write!(escaped, "\\x{{{:02X}}}", u32::from(char)).unwrap_or_default(),
            }
            escaped
        })
}

/// Words of others, without control characters, and no more of them than a reader needs.
fn clean(words: &str) -> String {
    let printable = |char: char| if char.is_control() { ' ' } else { char };
    words.chars().map(printable).take(FOREIGN_CHARS).collect()
}

/// The same for a field, where only ASCII may stand.
fn ascii(words: &str) -> String {
    let plain = |char: char| if char.is_ascii() { char } else { '?' };
    clean(words).chars().map(plain).collect()
}

/// Appends a field, folded at its spaces where it is long.
fn put_field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        if column + 1 + word.len() > LINE_CHARS && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push_str("\r\n");
}

/// The original's header block: whole fields only, as many as fit.
fn bounded_header(original: &[u8]) -> &[u8] {
    let mut length = 0;
    for field in fields(original) {
        if length + field.raw.len() > HEADER_BYTES || !field.raw.ends_with(b"\r\n") {
            break;
        }
        length += field.raw.len();
    }
    original.get(..length).unwrap_or_default()
}

/// Appends one part, encoded if it cannot go as it is.
fn part(out: &mut Vec<u8>, boundary: &str, content_type: &str, content: &[u8]) {
    let plain = is_plain(content);
    let encoding = if plain { "7bit" } else { "quoted-printable" };
    let head = format!(
        "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    match plain {
        true => out.extend_from_slice(content),
        false => quoted_printable(out, content),
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether every line is short enough and printable ASCII.
fn is_plain(content: &[u8]) -> bool {
    lines(content).all(|line| {
        let printable = |octet: &u8| matches!(octet, b'\t' | b' '..=b'~');
        line.len() <= LONGEST_LINE && line.iter().all(printable)
    })
}

/// The lines of a text whose line ends are CRLF, without them; what follows the last one is a line if there is any.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 2..]);
        Some(line)
    })
}

/// RFC 2045 §6.7; the text ends in a line end.
fn quoted_printable(out: &mut Vec<u8>, content: &[u8]) {
    for line in lines(content) {
        let mut column = 0;
        for (place, octet) in line.iter().enumerate() {
            let at_end = place + 1 == line.len();
            let literal = match octet {
                b'=' => false,
                b' ' | b'\t' => !at_end,
                other => other.is_ascii_graphic(),
            };
            let width = if literal { 1 } else { 3 };
            // One column is left for the soft line break.
            if column + width > 75 {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            match literal {
                true => out.push(*octet),
                false => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
            }
            column += width;
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mail_parser::{MessageParser, MimeHeaders};
    use proptest::prelude::*;

    use super::*;

    /// Mon, 14 Oct 2024 08:00:00 UTC.
    const ARRIVED: Timestamp = Timestamp(1_728_892_800_000);

    fn id() -> QueueId {
        QueueId::parse("0123456789BCDFGHJKLMNPQRS").unwrap()
    }

    fn failed(address: &str) -> RecipientReport {
        RecipientReport {
            recipient: FinalRecipient::Mailbox(address.parse().unwrap()),
            action: Action::Failed,
            status: EnhancedStatus(5, 1, 1),
            explanation: "mx.hismail.test refused the message".into(),
            remote: Some(RemoteDiagnostic {
                host: "mx.hismail.test".into(),
                reply: "550 5.1.1 no such user".into(),
            }),
            last_attempt_at: Timestamp(ARRIVED.0 + 60_000),
            will_retry_until: None,
        }
    }

    fn render(recipients: &[RecipientReport], original: &[u8]) -> String {
        let report = Report {
            id: id(),
            reporting_host: &"mx.hermail.test".parse().unwrap(),
            to: &"alice@hermail.test".parse().unwrap(),
            date: Timestamp(ARRIVED.0 + 61_000),
            arrived_at: ARRIVED,
            recipients,
            original,
        };
        String::from_utf8(report.render()).unwrap()
    }

    #[test]
    fn a_failure_is_reported_like_this() {
        let original = b"Subject: hello\r\nTo: bob@hismail.test\r\n\r\nsecret body\r\n";
        let expected = "\
From: Mail delivery <MAILER-DAEMON@mx.hermail.test>\r
To: alice@hermail.test\r
Subject: Your message could not be delivered\r
Date: Mon, 14 Oct 2024 08:01:01 +0000\r
Message-ID: <0123456789BCDFGHJKLMNPQRS@mx.hermail.test>\r
Auto-Submitted: auto-replied\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status;\r
\tboundary=\"=_report_0123456789BCDFGHJKLMNPQRS\"\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 7bit\r
\r
This is the mail host mx.hermail.test. It accepted a message of yours on\r
Mon, 14 Oct 2024 08:00:00 +0000 and could not deliver it to:\r
\r
<bob@hismail.test>\r
    mx.hismail.test refused the message\r
    mx.hismail.test said: 550 5.1.1 no such user\r
\r
It has given up. If you send your message again, it will be tried again.\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS\r
Content-Type: message/delivery-status\r
Content-Transfer-Encoding: 7bit\r
\r
Reporting-MTA: dns; mx.hermail.test\r
Arrival-Date: Mon, 14 Oct 2024 08:00:00 +0000\r
\r
Final-Recipient: rfc822; bob@hismail.test\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; mx.hismail.test\r
Diagnostic-Code: smtp; 550 5.1.1 no such user\r
Last-Attempt-Date: Mon, 14 Oct 2024 08:01:00 +0000\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS\r
Content-Type: text/rfc822-headers\r
Content-Transfer-Encoding: 7bit\r
\r
Subject: hello\r
To: bob@hismail.test\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS--\r
";
        assert_eq!(render(&[failed("bob@hismail.test")], original), expected);
    }

    #[test]
    fn a_delay_says_how_long_it_will_be_tried() {
        let delayed = RecipientReport {
            action: Action::Delayed,
            status: EnhancedStatus(5, 4, 1),
            explanation: "no host answered".into(),
            remote: None,
            will_retry_until: Some(Timestamp(ARRIVED.0 + 432_000_000)),
            ..failed("bob@hismail.test")
        };
        let report = render(&[delayed], b"");
        for line in [
            "Subject: Your message is delayed\r\n",
            "    It will be tried until Sat, 19 Oct 2024 08:00:00 +0000.\r\n",
            "Action: delayed\r\n",
            "Status: 4.4.1\r\n",
            "Will-Retry-Until: Sat, 19 Oct 2024 08:00:00 +0000\r\n",
        ] {
            assert!(report.contains(line), "{line}");
        }
        for absent in ["Remote-MTA", "Diagnostic-Code", "rfc822-headers", "given up"] {
            assert!(!report.contains(absent), "{absent}");
        }
    }

    #[test]
    fn a_mail_program_finds_the_parts() {
        let recipients = [failed("bob@hismail.test"), failed("carol@plain.test")];
        let report = render(&recipients, b"Subject: hello\r\n\r\n");
        let parsed = MessageParser::default().parse(report.as_bytes()).unwrap();
        assert_eq!(parsed.content_type().unwrap().subtype(), Some("report"));
        assert_eq!(parsed.parts.len(), 4, "the multipart and its three parts");
        let kinds: Vec<_> = parsed.parts[1..]
            .iter()
            .map(|part| part.content_type().unwrap().subtype().unwrap())
            .collect();
        assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
        assert_eq!(report.matches("\r\nFinal-Recipient: ").count(), 2);
    }

    #[test]
    fn foreign_words_cannot_add_lines_or_octets() {
        let mut hostile = failed("bob@hismail.test");
        hostile.remote = Some(RemoteDiagnostic {
            host: "mx\r\nAction: delivered".into(),
            reply: format!("550 né\r\n\r\nAction: delivered {}", "x".repeat(100_000)),
        });
        let report = render(&[hostile], b"");
        assert!(report.is_ascii());
        assert!(report.len() < 10_000);
        assert!(!report.contains("\r\nAction: delivered"));
        assert!(report.contains("Diagnostic-Code: smtp; 550 n? Action: delivered"));
        assert!(report.contains("said: 550 n=C3=A9"), "people read it as it was");
    }

    #[test]
    fn addresses_beyond_ascii_are_escaped() {
        let utf8 = "bü+c=k@hismail.test".parse().unwrap();
        assert_eq!(
            typed_address(&FinalRecipient::Mailbox(utf8)),
            r"utf-8; b\x{FC}\x{2B}c\x{3D}k@hismail.test"
        );
        let report = render(&[failed("bü@hismail.test")], b"");
        assert!(report.is_ascii());
        assert!(report.contains("<b=C3=BC@hismail.test>\r\n"));
    }

    #[test]
    fn header_is_cut_between_fields() {
        let long = [
            b"A: 1\r\nB: ".as_slice(),
            &[b'x'; HEADER_BYTES],
            b"\r\nC: 3\r\n\r\n",
        ]
        .concat();
        assert_eq!(bounded_header(&long), b"A: 1\r\n");
        assert_eq!(
            bounded_header(b"A: 1\r\n\tfolded\r\nB: unfinished"),
            b"A: 1\r\n\tfolded\r\n"
        );
        assert_eq!(bounded_header(b"A: 1\r\n\r\nB: body\r\n"), b"A: 1\r\n");
        assert_eq!(bounded_header(b""), b"");
    }

    #[test]
    fn headers_beyond_ascii_or_too_long_are_encoded() {
        let report = render(
            &[failed("bob@hismail.test")],
            "Subject: fünf=5 \r\n\r\n".as_bytes(),
        );
        assert!(report.contains(
            "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             Subject: f=C3=BCnf=3D5=20\r\n"
        ));
        let long = format!("Subject: {}\r\n\r\n", "x".repeat(999));
        let report = render(&[failed("bob@hismail.test")], long.as_bytes());
        assert!(report.lines().all(|line| line.len() <= 78), "no line is long");
    }

    #[test]
    fn long_fields_are_folded_at_spaces() {
        let mut out = String::new();
        put_field(&mut out, "Diagnostic-Code", &"word ".repeat(20));
        assert_eq!(
            out,
            "Diagnostic-Code: word word word word word word word word word word word word\r\n \
             word word word word word word word word\r\n"
        );
    }

    proptest! {
        #[test]
        fn quoted_printable_is_undone_by_a_mail_parser(text in "[ -~äöü=\t]{0,200}") {
            let mut message = b"Content-Type: text/plain; charset=utf-8\r\n\
                Content-Transfer-Encoding: quoted-printable\r\n\r\n".to_vec();
            quoted_printable(&mut message, format!("{text}\r\n").as_bytes());
            let parsed = MessageParser::default().parse(&message).unwrap();
            let read = parsed.body_text(0).unwrap();
            prop_assert_eq!(read.trim_end_matches(['\r', '\n']), text);
        }

        #[test]
        fn any_original_makes_an_ascii_report(original: Vec<u8>) {
            let report = render(&[failed("bob@hismail.test")], &original);
            prop_assert!(report.is_ascii());
            prop_assert!(report.split("\r\n").all(|line| !line.contains(['\r', '\n'])));
        }
    }
}
