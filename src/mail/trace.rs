//! Trace fields: `Received` and `Return-Path` (RFC 5321 §4.4), `Delivered-To` and `X-Original-To`.

use std::fmt;
use std::net::IpAddr;

use super::address::{Domain, Mailbox, ReversePath};
use super::date::rfc5322;
use super::headers;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;

/// How a message reached us, as the trace field names it.
///
/// A submitting user's address and host name have no place here, so they cannot end up in a message (DESIGN.md §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// From a user of ours. `from` names this server instead of the user's device.
    Submission {
        /// SMTPUTF8 was used.
        utf8: bool,
        /// TLS was active.
        tls: bool,
        /// The user logged in; hosts of ours need not.
        authenticated: bool,
    },
    /// From another mail host.
    Transfer {
        /// What it called itself, as the server machine checked it.
        hello: String,
        /// Its address.
        address: IpAddr,
        /// It sent EHLO, not HELO.
        extended: bool,
        /// SMTPUTF8 was used.
        utf8: bool,
        /// TLS was active.
        tls: bool,
    },
    /// From a program of this host.
    Local {
        /// The number of the user it ran as, unless that is not to be said.
        uid: Option<u32>,
    },
    /// Over DMTP, from this origin domain.
    Dmtp {
        /// The origin.
        origin: Domain,
    },
}

/// One `Received` field. `Display` gives the folded field with its final CRLF.
///
/// There is no `for` clause: it would show a blind copy's recipient to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a> {
    /// How the message came.
    pub arrival: &'a Arrival,
    /// This host.
    pub host: &'a Domain,
    /// Our id of the message.
    pub id: QueueId,
    /// When.
    pub time: Timestamp,
}

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arrival {
            Arrival::Submission { .. } => write!(f, "Received: from {} (submission)", self.host)?,
            Arrival::Transfer { hello, address, .. } => {
                write!(f, "Received: from {hello} ({})", address_literal(*address))?;
            }
            Arrival::Dmtp { origin } => write!(f, "Received: from {origin}")?,
            Arrival::Local { uid } => return self.of_host(f, *uid),
        }
        write!(
            f,
            "\r\n\tby {} with {} id {};",
            self.host,
            self.arrival.protocol(),
            self.id
        )?;
        write!(f, "\r\n\t{}\r\n", rfc5322(self.time))
    }
}

impl Received<'_> {
    /// Nothing was transferred by a protocol.
    fn of_host(&self, f: &mut fmt::Formatter<'_>, uid: Option<u32>) -> fmt::Result {
        write!(f, "Received: by {}", self.host)?;
        if let Some(uid) = uid {
            write!(f, " (from userid {uid})")?;
        }
        write!(f, "\r\n\tid {};\r\n\t{}\r\n", self.id, rfc5322(self.time))
    }
}

impl Arrival {
    /// The `with` protocol, registered by RFC 3848 and RFC 6531.
    fn protocol(&self) -> &'static str {
        match *self {
            Self::Submission {
                utf8,
                tls,
                authenticated,
            } => submission(utf8, tls, authenticated),
            Self::Transfer {
                utf8: true,
                tls: true,
                ..
            } => "UTF8SMTPS",
            Self::Transfer {
                utf8: true,
                tls: false,
                ..
            } => "UTF8SMTP",
            Self::Transfer { tls: true, .. } => "ESMTPS",
            Self::Transfer { extended: true, .. } => "ESMTP",
            Self::Transfer { .. } => "SMTP",
            Self::Dmtp { .. } => "DMTP",
            Self::Local { .. } => "local",
        }
    }
}

fn submission(utf8: bool, tls: bool, authenticated: bool) -> &'static str {
    match (utf8, tls, authenticated) {
        (false, true, true) => "ESMTPSA",
        (false, false, true) => "ESMTPA",
        (true, true, true) => "UTF8SMTPSA",
        (true, false, true) => "UTF8SMTPA",
        (false, true, false) => "ESMTPS",
        (false, false, false) => "ESMTP",
        (true, true, false) => "UTF8SMTPS",
        (true, false, false) => "UTF8SMTP",
    }
}

/// `Return-Path` with its final CRLF, written once, at final delivery.
pub fn return_path(path: &ReversePath) -> String {
    format!("Return-Path: <{path}>\r\n")
}

/// The field that final delivery writes, by which mail that comes back is known.
const DELIVERED_TO: &str = "Delivered-To";

/// `Delivered-To` fields that are looked at.
const MAX_DELIVERIES: usize = 100;

/// `Delivered-To` with its final CRLF: the mailbox that the message was for.
pub fn delivered_to(mailbox: &Mailbox) -> String {
    format!("{DELIVERED_TO}: {mailbox}\r\n")
}

/// `X-Original-To` with its final CRLF: the address by which the sender named the owner of the mailbox.
pub fn original_to(mailbox: &Mailbox) -> String {
    format!("X-Original-To: {mailbox}\r\n")
}

/// The mailboxes that a message has been in before, as its header block says.
pub fn deliveries(block: &[u8]) -> impl Iterator<Item = Mailbox> {
    let fields = headers::fields(block).filter(|field| field.is(DELIVERED_TO));
    let texts = fields.filter_map(|field| std::str::from_utf8(field.value()).ok());
    texts
        .filter_map(|text| Mailbox::parse(text).ok())
        .take(MAX_DELIVERIES)
}

/// RFC 5321 §4.1.3.
fn address_literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn render(arrival: &Arrival) -> String {
        let host: Domain = "mx.hismail.test".parse().unwrap();
        let id = QueueId::parse(&"B".repeat(25)).unwrap();
        let time = Timestamp(784_111_777_000);
        Received {
            arrival,
            host: &host,
            id,
            time,
        }
        .to_string()
    }

    #[test]
    fn submission_names_this_server_only() {
        assert_eq!(
            render(&Arrival::Submission {
                utf8: false,
                tls: true,
                authenticated: true,
            }),
            "Received: from mx.hismail.test (submission)\r\n\tby mx.hismail.test with ESMTPSA \
             id BBBBBBBBBBBBBBBBBBBBBBBBB;\r\n\tSun, 6 Nov 1994 08:49:37 +0000\r\n"
        );
    }

    #[test]
    fn transfer_names_the_other_host() {
        let arrival = Arrival::Transfer {
            hello: "mx.plain.test".into(),
            address: "2001:db8::1".parse().unwrap(),
            extended: true,
            utf8: false,
            tls: false,
        };
        let field = render(&arrival);
        assert!(field.starts_with("Received: from mx.plain.test ([IPv6:2001:db8::1])\r\n"));
        assert!(field.contains(" with ESMTP id "));
    }

    #[test]
    fn dmtp_names_the_origin_domain_only() {
        let origin = "hermail.test".parse().unwrap();
        let field = render(&Arrival::Dmtp { origin });
        assert!(field.starts_with("Received: from hermail.test\r\n\tby mx.hismail.test with DMTP id "));
    }

    #[test]
    fn deliveries_are_found_in_the_header_alone() {
        let bob = "bob@hismail.test".parse().unwrap();
        let field = delivered_to(&bob);
        let message = format!(
            "{field}Received: x\r\ndelivered-to :\r\n Eve@hismail.test\r\nDelivered-To: me\r\n\r\n{field}"
        );
        let found: Vec<String> = deliveries(message.as_bytes())
            .map(|mailbox| mailbox.to_string())
            .collect();
        assert_eq!(found, ["bob@hismail.test", "Eve@hismail.test"]);
    }

    #[test]
    fn return_path_may_be_null() {
        assert_eq!(return_path(&ReversePath::NULL), "Return-Path: <>\r\n");
        let alice = ReversePath::parse("<alice@hermail.test>").unwrap();
        assert_eq!(return_path(&alice), "Return-Path: <alice@hermail.test>\r\n");
    }
}
