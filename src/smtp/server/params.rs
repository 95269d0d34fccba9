//! What the owner of a session decides beforehand.

use std::time::Duration;

use crate::base::machine::TlsInfo;
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::smtp::auth::Mechanism;
use crate::smtp::extension::{self, Extensions};

/// Parameters of a session.
#[derive(Debug, Clone)]
pub struct Params {
    /// Our name, in the banner and in the reply to EHLO.
    pub host: Domain,
    /// What the port is for.
    pub profile: Profile,
    /// Whether STARTTLS is available.
    pub starttls: bool,
    /// Whether logins by SCRAM can be checked.
    pub scram: bool,
    /// Words after `ESMTP` in the banner; dual mode adds `DMTPv1` (`dmtp.md` §5.1).
    pub banner_tokens: Vec<String>,
    /// Whether clients may ask for reports (RFC 3461).
    pub dsn: bool,
    /// The domain of names without one in MAIL and RCPT. Without it, they are refused.
    pub origin: Option<Domain>,
    /// Bounds on what the client may ask of us.
    pub limits: Limits,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Mail from other hosts (port 25): no AUTH.
    Transfer,
    /// Mail from our users (RFC 6409): TLS, then AUTH, then MAIL.
    Submission,
}

/// Bounds on a session.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of a message.
    pub message_bytes: u64,
    /// Octets of a line of a message without its end. RFC 5321 §4.5.3.1.6 allows 998; real mail often has more.
    pub text_line_bytes: usize,
    /// Recipients of a transaction; RFC 5321 §4.5.3.1.8 asks for 100 at least.
    pub recipients: usize,
    /// Errors between two accepted messages, refused recipients counted, after which the session ends.
    pub errors: u32,
    /// Failed logins after which the session ends.
    pub failed_logins: u32,
    /// NOOP, RSET, VRFY, HELP and EHLO between two accepted messages.
    pub idle_commands: u32,
    /// The wait for a complete command.
    pub command: Duration,
    /// The wait for the next octets of a message.
    pub data_block: Duration,
    /// The wait for a complete message; and for the next one that is accepted, counted without the time that messages took.
    pub data_total: Duration,
}

/// The server's timeouts of RFC 5321 §4.5.3.2.
impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 50 * 1024 * 1024,
            text_line_bytes: 65_536,
            recipients: 1000,
            errors: 20,
            failed_logins: 3,
            idle_commands: 100,
            command: Duration::from_secs(5 * 60),
            data_block: Duration::from_secs(3 * 60),
            data_total: Duration::from_secs(2 * 60 * 60),
        }
    }
}

impl Params {
    /// The first line of the session.
    pub fn banner(&self) -> Reply {
        let words = [
            vec![self.host.to_string(), "ESMTP".to_owned()],
            self.banner_tokens.clone(),
        ];
        Reply::plain(220, words.concat().join(" "))
    }

    /// How a client can log in: only under TLS, bound to it where it can be.
    pub(super) fn mechanisms(&self, tls: Option<&TlsInfo>) -> Vec<Mechanism> {
        match tls.filter(|_| self.profile == Profile::Submission) {
            Some(tls) => Mechanism::offered(tls, self.scram),
            None => Vec::new(),
        }
    }

    /// What EHLO is answered with.
    pub(super) fn extensions(&self, tls: Option<&TlsInfo>) -> Extensions {
        Extensions {
            host: self.host.to_string(),
            pipelining: true,
            size: Some(self.limits.message_bytes),
            eight_bit_mime: true,
            chunking: true,
            smtputf8: true,
            enhanced_status_codes: true,
            starttls: self.starttls && tls.is_none(),
            require_tls: tls.is_some(),
            auth: self.mechanisms(tls),
            dsn: self.dsn,
            limits: extension::Limits {
                recipients: Some(self.limits.recipients),
                transactions: None,
            },
            help: true,
        }
    }
}
