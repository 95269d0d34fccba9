//! Delivery status notifications (RFC 3464 in the multipart of RFC 6522).
//!
//! Three parts: words for people, fields for programs, and the original's header block. A report is ASCII
//! throughout, whatever it reports on, so that any host can carry it: text goes as quoted-printable where
//! it has to, addresses in the escaped form of RFC 6533. There are two exceptions. A report to an address beyond ASCII, which
//! only hosts with SMTPUTF8 carry, is an internationalized one (RFC 6533 §4). And a message that comes back whole does so as it
//! is.

mod parts;

use std::fmt;

use self::parts::{ascii, clean, fits_as_it_is, header_of, part, put_field};
use super::address::{Domain, Mailbox};
use super::date::rfc5322;
use super::notify::{EnvelopeId, OriginalRecipient};
use super::reply::EnhancedStatus;
use super::xtext;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;

/// Most octets of the original's header block that a report carries.
pub const HEADER_BYTES: usize = 16 * 1024;

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
    /// `Original-Recipient`, if the sender gave one.
    pub original: Option<OriginalRecipient>,
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
    /// `Original-Envelope-Id`, if the sender gave one.
    pub envelope_id: Option<&'a EnvelopeId>,
    /// At least one; all failed, all delayed, or neither.
    pub recipients: &'a [RecipientReport],
    /// What comes back of it.
    pub original: Original<'a>,
}

/// What comes back of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Original<'a> {
    /// Its header, from the message or its start: at least as far as the header block goes or [`HEADER_BYTES`]. Empty for a
    /// message whose header nobody here can read.
    Header(&'a [u8]),
    /// All of this, if it can go as it is; else its header.
    Whole(&'a [u8]),
}

/// What all recipients of a report have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Failure,
    Delay,
    /// All are in their mailboxes.
    Delivery,
    /// Some have only come further.
    Progress,
}

impl Report<'_> {
    /// The message, with CRLF line ends. It has octets above 127 only if [`to`](Self::to) does, or the original.
    pub fn render(&self) -> Vec<u8> {
        let boundary = format!("=_report_{}", self.id);
        let mut body = Vec::new();
        part(
            &mut body,
            &boundary,
            "text/plain; charset=utf-8",
            self.text().as_bytes(),
        );
        let status_type = match self.is_international() {
            true => "message/global-delivery-status",
            false => "message/delivery-status",
        };
        part(&mut body, &boundary, status_type, self.status_fields().as_bytes());
        self.put_original(&mut body, &boundary);
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let mut out = self.header(&boundary, body.is_ascii()).into_bytes();
        out.extend_from_slice(&body);
        out
    }

    /// Whoever has an address beyond ASCII can be sent UTF-8, and nobody else.
    fn is_international(&self) -> bool {
        self.to.needs_utf8()
    }

    fn tone(&self) -> Tone {
        let all = |action| self.recipients.iter().all(|one| one.action == action);
        match () {
            () if all(Action::Failed) => Tone::Failure,
            () if all(Action::Delayed) => Tone::Delay,
            () if all(Action::Delivered) => Tone::Delivery,
            () => Tone::Progress,
        }
    }

    fn put_original(&self, out: &mut Vec<u8>, boundary: &str) {
        let (original, whole) = match self.original {
            Original::Header(original) => (original, false),
            Original::Whole(original) => (original, fits_as_it_is(original)),
        };
        let header = header_of(original);
        let is_utf8 = self.is_international() && !header.is_ascii() && std::str::from_utf8(header).is_ok();
        match whole && (is_utf8 || header.is_ascii()) {
            true if is_utf8 => part(out, boundary, "message/global", original),
            true => part(out, boundary, "message/rfc822", original),
            false if header.is_empty() => {}
            false if is_utf8 => part(out, boundary, "message/global-headers", header),
            false => part(out, boundary, "text/rfc822-headers", header),
        }
    }

    fn header(&self, boundary: &str, is_ascii: bool) -> String {
        let subject = match self.tone() {
            Tone::Failure => "Your message could not be delivered",
            Tone::Delay => "Your message is delayed",
            Tone::Delivery => "Your message was delivered",
            Tone::Progress => "Your message was passed on",
        };
        let encoding = match is_ascii {
            true => "",
            false => "Content-Transfer-Encoding: 8bit\r\n",
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
             {encoding}\r\n",
            host = self.reporting_host,
            to = self.to,
            date = rfc5322(self.date),
            id = self.id,
        )
    }

    fn text(&self) -> String {
        let (start, end) = match self.tone() {
            Tone::Failure => (
                " and could not deliver it to:",
                "It has given up. Send your message again only once the cause is gone.",
            ),
            Tone::Delay => (
                " and has not been able yet to deliver it to:",
                "It keeps trying. You need not send your message again.",
            ),
            Tone::Delivery | Tone::Progress => (
                " and reports on it, as you asked:",
                "Nothing is wrong: your message was sent with the wish to be told so.",
            ),
        };
        let mut text = format!(
            "This is the mail host {}. It accepted a message of yours on\r\n{}{start}\r\n",
            self.reporting_host,
            rfc5322(self.arrived_at)
        );
        for recipient in self.recipients {
            recipient.put_text(&mut text);
        }
        text + "\r\n" + end + "\r\n"
    }

    fn status_fields(&self) -> String {
        let mut out = String::new();
        if let Some(envelope_id) = self.envelope_id {
            put_field(&mut out, "Original-Envelope-Id", envelope_id.as_str());
        }
        put_field(
            &mut out,
            "Reporting-MTA",
            &format!("dns; {}", self.reporting_host),
        );
        put_field(&mut out, "Arrival-Date", &rfc5322(self.arrived_at));
        for recipient in self.recipients {
            out.push_str("\r\n");
            recipient.put_fields(&mut out, self.is_international());
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

    fn put_fields(&self, out: &mut String, is_international: bool) {
        let EnhancedStatus(_, subject, detail) = self.status;
        let status = EnhancedStatus(self.action.class(), subject, detail);
        if let Some(original) = &self.original {
            let (kind, address) = original.typed();
            put_field(out, "Original-Recipient", &typed(kind, address, is_international));
        }
        put_field(out, "Final-Recipient", &self.recipient.typed(is_international));
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

impl FinalRecipient {
    /// Address type and address. A recipient that only the sealed message names has a type of our own, with the domain alone.
    fn typed(&self, is_international: bool) -> String {
        match self {
            Self::Mailbox(mailbox) => {
                let kind = if mailbox.needs_utf8() { "utf-8" } else { "rfc822" };
                typed(kind, &mailbox.to_string(), is_international)
            }
            Self::Sealed(domain) => format!("x-dime; @{domain}"),
        }
    }
}

/// Beyond ASCII, the escaped form that a report in ASCII may carry (RFC 6533 §3).
fn typed(kind: &str, address: &str, is_international: bool) -> String {
    match address.is_ascii() || is_international {
        true => format!("{kind}; {address}"),
        false => format!("{kind}; {}", xtext::encode_utf8(address)),
    }
}

#[cfg(test)]
mod tests;
