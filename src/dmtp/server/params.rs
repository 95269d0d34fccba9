//! What the owner of a session decides beforehand, and what it is asked.

use std::time::Duration;

#[cfg(doc)]
use super::Session;
use crate::base::machine::TlsInfo;
use crate::dime::fingerprint::AnyFingerprint;
use crate::dmtp::command::{CommitHash, Return};
use crate::dmtp::name::Name;
use crate::dmtp::reply;
use crate::mail::address::{Domain, Mailbox};
use crate::smtp::auth::Login;

/// Bounds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message object, in octets.
    pub message_bytes: u64,
    /// Longest reply line, terminator included. libdime's client reads no more than the default.
    pub reply_line_bytes: usize,
    /// The same for clients that are more capable, which shows in their TLS ([`Parameters::within`]). The default holds
    /// the largest signet there can be.
    pub long_reply_line_bytes: usize,
    /// Commands refused as wrong before the session is closed with 421.
    pub violations: u32,
    /// Commands in a row that bring nobody forward, before the session is closed with 421.
    pub idle_commands: u32,
    /// How long to wait for a command.
    pub command_timeout: Duration,
    /// How long to wait for more of a message.
    pub data_timeout: Duration,
    /// How long a whole message may take.
    pub message_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 50 * 1024 * 1024,
            reply_line_bytes: reply::MAX_LINE,
            long_reply_line_bytes: reply::MAX_LONG_LINE,
            violations: 20,
            idle_commands: 100,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            message_timeout: Duration::from_secs(3600),
        }
    }
}

/// What a session needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Our name in the banner and the answer to EHLO.
    pub host: Domain,
    /// Bounds.
    pub limits: Limits,
    /// Sent with 354 when the client names no usable commit hash; any random token will do.
    pub nonce: CommitHash,
}

impl Parameters {
    /// The parameters for a session inside that TLS.
    ///
    /// libdime's client knows no TLS newer than 1.2 (`dmtp.md` §3.2), so whoever speaks 1.3 is another one, and may be sent
    /// long lines (§4.4).
    pub fn within(mut self, tls: &TlsInfo) -> Self {
        if tls.version == "TLS1.3" {
            self.limits.reply_line_bytes = self.limits.long_reply_line_bytes;
        }
        self
    }
}

/// How the session came to be inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// TLS from the first octet: a banner comes first.
    Single,
    /// A DMTP-style STARTTLS: the line `250 OK DMTPv1` comes first.
    Upgraded,
}

/// What the session asks of, or reports to, its owner.
///
/// [`Ehlo`](Self::Ehlo), [`Reset`](Self::Reset), [`LoginRefused`](Self::LoginRefused) and
/// [`DataChunk`](Self::DataChunk) need no answer. Every other
/// event waits for one of the methods it names, or for [`Session::refuse`]; until then the session reads nothing.
/// When the session ends, a transaction that was not committed is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client has named its domain; nothing proves it.
    Ehlo {
        /// The sender's domain.
        domain: Domain,
    },
    /// A transaction begins. Answer: [`Session::accept`].
    MailFrom {
        /// The domain that the message comes from.
        origin: Domain,
        /// The origin's signet, if named.
        fingerprint: Option<AnyFingerprint>,
        /// Octets of the message, if named; within the limit.
        size: Option<u64>,
        /// How much of the message a failure report should return.
        returning: Option<Return>,
    },
    /// The transaction's only destination. Answer: [`Session::accept`].
    RcptTo {
        /// The domain that the message goes to.
        destination: Domain,
        /// The destination's signet, if named.
        fingerprint: Option<AnyFingerprint>,
    },
    /// The client is about to send the message. Answer: [`Session::accept`].
    Data {
        /// What the client calls the message.
        commit: Option<CommitHash>,
    },
    /// The next octets of the message; at least one.
    DataChunk(Vec<u8>),
    /// The message is complete. Answer once it is durable: [`Session::committed`].
    DataEnd,
    /// The transaction was abandoned.
    Reset,
    /// A signet is wanted. Answer: [`Session::signet`], [`Session::not_found`].
    Signet {
        /// Whose.
        name: Name,
        /// Which; the current one if missing.
        fingerprint: Option<AnyFingerprint>,
    },
    /// Is that signet current? Answer: [`Session::current`], [`Session::update`], [`Session::not_found`].
    Verify {
        /// Whose.
        name: Name,
        /// Which.
        fingerprint: AnyFingerprint,
    },
    /// A user's signets are wanted. Answer: [`Session::history`], [`Session::not_found`].
    History {
        /// Whose.
        name: Mailbox,
        /// The oldest wanted, included; the first there is if missing.
        start: Option<AnyFingerprint>,
        /// The newest wanted, included; the current one if missing.
        stop: Option<AnyFingerprint>,
    },
    /// A user wants to log in by SCRAM, and may not exist. Answer: [`Session::offer_verifier`].
    Verifier {
        /// The name, as the client spelled it.
        identity: String,
    },
    /// A user wants to log in. Answer: [`Session::accept`].
    Authenticate(Login),
    /// A login was refused before anything was asked. Needs no answer.
    LoginRefused,
    /// The user's wrapped keys are wanted. Answer: [`Session::keys`].
    Keys,
    /// Wrapped keys are to be stored. Answer once they are durable: [`Session::deposited`].
    Deposit {
        /// At least one, and at most [`MAX_KEYS`](super::keys::MAX_KEYS).
        octets: Vec<u8>,
        /// The version that they replace; 0 for none.
        replaces: u64,
    },
    /// What became of the user's signing request? Answer: [`Session::pending`].
    Pending,
    /// A signing request, packed, is to be stored. Answer once it is durable: [`Session::handed_in`].
    ///
    /// At least one octet, and at most [`MAX_REQUEST`](crate::dmtp::handed_in::MAX_REQUEST).
    HandIn(Vec<u8>),
    /// Key sets, packed, are to be stored. Answer once they are durable: [`Session::key_sets_taken`].
    ///
    /// At least one octet, and at most [`MAX_KEY_SETS_OCTETS`](crate::dmtp::handed_in::MAX_KEY_SETS_OCTETS).
    KeySets(Vec<u8>),
}
