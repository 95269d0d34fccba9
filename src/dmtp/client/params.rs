//! What the owner of a session decides beforehand, and what it is told.

use std::time::Duration;

#[cfg(doc)]
use super::Client;
use crate::dime::fingerprint::FullFingerprint;
use crate::dmtp::command::{self, CommitHash, Return};
use crate::dmtp::handed_in::{KeySetsTaken, Pending};
use crate::dmtp::reply::{TransactionId, Verdict};
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::smtp::auth::Mechanism;

/// Bounds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest reply line to anything but SGNT and HIST, terminator included.
    pub reply_line_bytes: usize,
    /// Largest signet, in octets. The default is the largest there can be (`dmtp.md` §4.4).
    pub signet_bytes: usize,
    /// All signets of a history together, in octets.
    pub history_bytes: usize,
    /// How long banner and replies may take.
    pub reply_timeout: Duration,
    /// How long the final reply to DATA may take: the server checks and stores the message first.
    pub commit_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply_line_bytes: 8 * 1024,
            signet_bytes: 16_777_220,
            history_bytes: 64 * 1024 * 1024,
            reply_timeout: Duration::from_secs(300),
            commit_timeout: Duration::from_secs(600),
        }
    }
}

/// How the session gets into TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// TLS is active from the first octet (port 26).
    Single,
    /// Clear text first, then STARTTLS for this DX host (ports 25 and 587).
    Dual(Domain),
}

/// Why a request was not sent, or why the session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another request is in progress, the session is not [`Event::Ready`] yet, or it is over.
    #[error("the session cannot take a request now")]
    NotReady,
    /// The request has no form on the wire.
    #[error("the request cannot be written")]
    Request(#[from] command::Error),
    /// More or fewer octets than were announced as the message's size.
    #[error("the message is not as long as announced")]
    MessageLength,
    /// The banner does not offer DMTP, or the server is in another mode after STARTTLS.
    #[error("the host does not speak DMTP")]
    NotDmtp,
    /// The server refused the session: at the banner, at STARTTLS, or with an unasked-for reply.
    #[error("the host refused the session: {0}")]
    Refused(Reply),
    /// What arrived is not a reply.
    #[error("the host broke the protocol: {0}")]
    Malformed(&'static str),
    /// A reply is longer than the limits allow.
    #[error("a reply is too long")]
    TooLong,
    /// Octets followed the reply to STARTTLS in clear text: somebody injects replies (`dmtp.md` §11 no. 1).
    #[error("clear text behind the reply to STARTTLS")]
    ClearTextSurplus,
    /// The server did not answer in time.
    #[error("the host did not answer in time")]
    Timeout,
    /// The server closed the connection.
    #[error("the host closed the connection")]
    Closed,
}

/// What the session reports to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server agreed to STARTTLS. The owner runs the handshake, then calls [`Client::tls_established`].
    StartTls,
    /// Banner and mode are right: requests may be made, once the owner has checked the certificate.
    Ready,
    /// The server wants the message, or more of it: [`Client::body`]. Comes again until all octets are given.
    WantBody,
    /// The request is answered.
    Finished(Outcome),
    /// The session is over.
    Failed(Error),
}

/// How a request ended. The session stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done(Answer),
    /// 450 to SGNT, VRFY, HIST, KEYS or SSR: there is no such signet, no keys, no request.
    NotFound,
    /// 4xx: worth trying again.
    Transient(Reply),
    /// 5xx: final.
    Permanent(Reply),
    /// A reply whose text makes no sense here.
    Unusable(Reply),
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// NOOP, RSET, QUIT, AUTH that has succeeded, and a signing request that is stored: nothing to tell.
    Nothing,
    /// EHLO.
    Extensions(Extensions),
    /// SGNT: a binary object. Nothing about it is verified, not even that it is the one asked for.
    Signet(Vec<u8>),
    /// VRFY.
    Verdict(Verdict),
    /// HIST: binary objects, oldest first; unverified.
    History(Vec<Vec<u8>>),
    /// AUTH: a challenge of the server, without its base64.
    Challenge(Vec<u8>),
    /// KEYS: wrapped keys, and their version.
    Keys {
        /// As they were left there.
        octets: Vec<u8>,
        /// Counted up with every change.
        version: u64,
    },
    /// The wrapped keys are stored as this version.
    Deposited(u64),
    /// SSR: the request that waits, or was rejected.
    Pending(Pending),
    /// The key sets are stored.
    KeySetsTaken(KeySetsTaken),
    /// The message is the server's now. The id is missing if the server gave none of the known form.
    Committed(Option<TransactionId>),
}

/// What the answer to EHLO offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions {
    /// `AUTH`: how to log in, on the submission port.
    pub auth: Vec<Mechanism>,
    /// `SIZE`: largest message, in octets.
    pub size_bytes: Option<u64>,
    /// `RETURN`: the parameter of MAIL is understood.
    pub returning: bool,
    /// `PIPELINING`: commands may be sent before those that came first are answered (RFC 2920).
    pub pipelining: bool,
}

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The domain that it comes from.
    pub origin: Domain,
    /// The origin's signet; an author does not name it.
    pub origin_signet: Option<FullFingerprint>,
    /// The domain that it goes to.
    pub destination: Domain,
    /// The destination's signet; an author does not name it.
    pub destination_signet: Option<FullFingerprint>,
    /// Octets of the object, at least 1.
    pub size: u64,
    /// How much of it a failure report should return.
    pub returning: Option<Return>,
    /// What DATA calls it.
    pub commit: CommitHash,
}
