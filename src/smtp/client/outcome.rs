//! What a client is given to do, and what became of it.

use std::time::Duration;

use super::login::Login;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::notify::{MessageRequest, RecipientRequest};
use crate::mail::reply::Reply;
use crate::smtp::reply;

/// Parameters of a session.
#[derive(Debug, Clone)]
pub struct Params {
    /// Our name, for EHLO.
    pub hello: Domain,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Whether the session is to be encrypted.
    pub tls: TlsPolicy,
    /// How to log in, if at all.
    pub login: Option<Login>,
    /// How long to wait for replies.
    pub timeouts: Timeouts,
}

/// Which protocol the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321: one final reply for all recipients.
    Smtp,
    /// RFC 2033: one for each.
    Lmtp,
}

/// Whether to use STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPolicy {
    /// No.
    Never,
    /// If offered. After a failed handshake the caller may connect again with `Never`.
    Opportunistic,
    /// Without it nothing is sent.
    Required,
}

/// How long to wait for replies.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To the connection.
    pub banner: Duration,
    /// To EHLO, STARTTLS, AUTH, MAIL, RCPT and RSET.
    pub command: Duration,
    /// To DATA.
    pub data: Duration,
    /// To the end of data.
    pub end_of_data: Duration,
    /// To QUIT, which changes nothing any more.
    pub quit: Duration,
}

/// The client's timeouts of RFC 5321 §4.5.3.2; a shorter one for QUIT.
impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self {
            banner: minutes(5),
            command: minutes(5),
            data: minutes(2),
            end_of_data: minutes(10),
            quit: Duration::from_secs(10),
        }
    }
}

/// One message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// In the order of the verdicts.
    pub recipients: Vec<Recipient>,
    /// Octets of the message, for SIZE.
    pub size_bytes: u64,
    /// The message has octets above 127, so the server must know 8BITMIME.
    pub eight_bit: bool,
    /// The server must promise verified TLS on the rest of the way (RFC 8689).
    pub require_tls: bool,
    /// The message has header fields in UTF-8, so the server must know SMTPUTF8. Addresses count by themselves.
    pub smtputf8: bool,
    /// What the sender wants to be told; dropped if the server has no DSN.
    pub request: MessageRequest,
}

/// One who is to get the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub mailbox: Mailbox,
    /// What the sender wants to be told of this one; dropped if the server has no DSN. RFC 3461 §5.2.2 lets a client send for
    /// NOTIFY=NEVER with a null reverse-path then. We do not: SPF and filters would judge the message by another sender.
    pub request: RecipientRequest,
}

impl From<Mailbox> for Recipient {
    fn from(mailbox: Mailbox) -> Self {
        Self {
            mailbox,
            request: RecipientRequest::default(),
        }
    }
}

impl Transaction {
    /// Whether anything in it needs SMTPUTF8.
    pub fn needs_smtputf8(&self) -> bool {
        let international = |mailbox: &Mailbox| mailbox.needs_utf8();
        self.smtputf8
            || self.reverse_path.0.as_ref().is_some_and(international)
            || self.recipients.iter().any(|one| international(&one.mailbox))
    }
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server has taken the message for this recipient.
    Accepted(Reply),
    /// It has not; the reply says whether another attempt makes sense.
    Rejected(Reply),
}

/// What became of one transaction, the session being intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// One verdict for each recipient, in their order, as far as the server takes them in this session: what is left of a long
    /// list is for another one (RFC 9422 §4.1).
    Verdicts(Vec<Verdict>),
    /// Nothing was sent, because the server lacks what the message needs.
    Lacking(Need),
}

/// An extension without which a message cannot be sent as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// 8BITMIME.
    EightBitMime,
    /// SMTPUTF8.
    SmtpUtf8,
    /// REQUIRETLS, under TLS.
    RequireTls,
}

impl Failure {
    /// Whether it struck after the end of data, so that the server may have the message or not (RFC 1047).
    pub fn leaves_doubt(&self) -> bool {
        matches!(
            self,
            Self::TimedOut(Stage::EndOfData)
                | Self::ConnectionLost(Stage::EndOfData)
                | Self::NoReply(Stage::EndOfData, _)
                | Self::UnexpectedReply(Stage::EndOfData, _)
        )
    }
}

/// Why a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server does not want us to begin with.
    #[error("the server refused the session: {0}")]
    BannerRefused(Reply),
    /// It refused EHLO, and HELO if that was tried.
    #[error("the server refused our greeting: {0}")]
    HelloRefused(Reply),
    /// TLS is required, and STARTTLS is not offered or was refused.
    #[error("TLS is not available")]
    TlsUnavailable(Option<Reply>),
    /// The driver reported a failed handshake.
    #[error("the TLS handshake failed")]
    TlsHandshake,
    /// More octets followed the reply to STARTTLS in clear text: somebody injects replies.
    #[error("clear text after the reply to STARTTLS")]
    TlsInjection,
    /// We are to log in, and there is no TLS or no mechanism that we know.
    #[error("authentication is not available")]
    AuthUnavailable,
    /// The login failed.
    #[error("authentication failed: {0}")]
    AuthRefused(Reply),
    /// The server does not keep to the mechanism, or does not know the password itself.
    #[error("the server could not show that it knows us")]
    AuthUntrue,
    /// The server said 421.
    #[error("the server closes the session: {0}")]
    Closing(Reply),
    /// No reply came in time.
    #[error("timed out {0}")]
    TimedOut(Stage),
    /// The server closed the connection.
    #[error("connection lost {0}")]
    ConnectionLost(Stage),
    /// What came is no reply.
    #[error("{1} {0}")]
    NoReply(Stage, #[source] reply::Error),
    /// A reply that means nothing here.
    #[error("unexpected reply {0}: {1}")]
    UnexpectedReply(Stage, Reply),
    /// The caller could not provide the body.
    #[error("the message could not be read")]
    BodyAborted,
}

/// Where in a session something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the banner.
    Banner,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS, up to the end of the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// Between two transactions.
    Idle,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// While the message was being sent.
    Body,
    /// After the end of data: the server may have the message or not.
    EndOfData,
    /// QUIT.
    Quit,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Banner => "before the banner",
            Self::Hello => "at EHLO",
            Self::StartTls => "at STARTTLS",
            Self::Auth => "at AUTH",
            Self::Idle => "between transactions",
            Self::Mail => "at MAIL",
            Self::Rcpt => "at RCPT",
            Self::Data => "at DATA",
            Self::Body => "while sending the message",
            Self::EndOfData => "after the end of data",
            Self::Quit => "at QUIT",
        })
    }
}
