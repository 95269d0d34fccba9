//! Filters that the operator runs beside us: milters, and rspamd by HTTP. They are asked while a client waits, never later.
//!
//! A filter is trusted to judge mail, and with nothing else: what it sends is bounded and checked like a stranger's, and what
//! breaks a rule is its own failure, for which the operator says what is to happen.
//!
//! | What a filter controls | Bound |
//! |---|---|
//! | a packet of a milter | 256 KiB |
//! | an answer by HTTP | 1 MiB, its head 16 KiB |
//! | changes to one message, empty pieces of a body included | 512, in a header block of as many octets as ours may have |
//! | a header field | 60,000 octets, in lines of 998 |
//! | another body | as many octets, and as long lines, as a message may have; in the spool, never in memory |
//! | packets that only say that it is busy | 1000 |
//! | time | per command and per message, as configured, connecting included |
//! | words for the client | 8 lines of 400 printable characters, with a code of 4xx or 5xx |
//!
//! Mail is a stranger's as well, and he may want a filter to fail. What no milter can be shown (a header field of more than 60,000
//! octets, or more than 2,000 fields) is refused without asking. A filter that fails, or takes too long, over a message never lets
//! it pass; one that does so over MAIL or RCPT is asked again when the message is complete.
//!
//! What came in is in the spool when the message is filtered, and is read back piece by piece. It is not touched before every
//! filter has judged: until then a filter that cannot be reached can be passed over.

mod chain;
mod change;
mod header;
pub mod milter;
mod replacement;
mod rewrite;
pub mod rspamd;
mod words;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub use chain::{Chain, Filtered, Rewritten, Work};
pub use change::{Change, Changes, FieldChange, MAX_CHANGES, Place};
pub use header::Header;
pub use replacement::Limits;
pub use rewrite::rewrite;

use crate::authentication::iprev::Reverse;
use crate::base::id::QueueId;
use crate::base::secret::Secret;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::reply::Reply;
use crate::net::service::Service;
use crate::store;
use crate::store::blocking::Pieces;

/// One filter, as configured.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What the operator calls it, in logs and reasons.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it listens.
    pub address: Service,
    /// How long it may take over a command, with everything that has to come before it.
    pub command_time: Duration,
    /// How long it may take over a message.
    pub message_time: Duration,
    /// What follows from its verdicts.
    pub rules: Rules,
}

/// What a filter speaks.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// The milter protocol, version 6.
    Milter,
    /// HTTP, as rspamd's worker for scanning does.
    Rspamd {
        /// Given with every request.
        password: Option<Secret<String>>,
    },
}

/// What is done about mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is taken.
    Accept,
    /// It is taken, with a field that calls it suspicious.
    Mark,
    /// It is taken, and held until the operator decides.
    Quarantine,
    /// It is refused for now.
    Defer,
    /// It is refused.
    Reject,
}

/// What follows from each verdict of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// "Refuse it."
    pub reject: Action,
    /// "Refuse it for now."
    pub defer: Action,
    /// "Take it, and throw it away."
    pub discard: Action,
    /// "Hold it."
    pub quarantine: Action,
    /// "Mark it."
    pub mark: Action,
    /// It cannot be reached, takes too long, or breaks a rule. `Accept` and `Mark` are `Defer` unless it cannot be reached, also
    /// when the message is complete.
    pub unavailable: Action,
}

/// What a filter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has nothing against the message.
    Accept,
    /// It is to be refused, with these words.
    Reject(Option<Reply>),
    /// It is to be refused for now, with these words.
    Defer(Option<Reply>),
    /// It is to be taken and thrown away.
    Discard,
    /// It is to be held, for this reason.
    Quarantine(String),
    /// It is to be marked.
    Mark,
}

/// Who brings mail, as filters are told.
#[derive(Debug, Clone)]
pub struct Client {
    /// Our name.
    pub host: Domain,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What reverse DNS says of it, if that was looked up: not of users, and not of this machine.
    pub reverse: Option<Reverse>,
    /// What it calls itself.
    pub hello: String,
    /// Version and cipher suite of TLS.
    pub tls: Option<(String, String)>,
    /// Who has logged in.
    pub login: Option<Mailbox>,
}

/// What MAIL says, as filters are told.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The reverse-path.
    pub path: ReversePath,
    /// SIZE.
    pub size_bytes: Option<u64>,
    /// SMTPUTF8.
    pub smtputf8: bool,
}

/// The envelope of a message.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// From MAIL.
    pub sender: Sender,
    /// From RCPT, those that were accepted.
    pub recipients: Vec<Mailbox>,
}

/// A body that is read from its start, in pieces.
pub struct Body<'a> {
    pieces: &'a mut dyn Pieces,
    position: u64,
}

impl<'a> Body<'a> {
    /// From the octet `start` of a message.
    pub fn new(pieces: &'a mut dyn Pieces, start: u64) -> Self {
        Self {
            pieces,
            position: start,
        }
    }

    /// Octets that are left.
    pub fn remaining(&self) -> u64 {
        self.pieces.size_bytes().saturating_sub(self.position)
    }

    /// The next octets, at most a piece of the store; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, store::Error> {
        if self.remaining() == 0 {
            return Ok(None);
        }
        let size = store::PIECE_BYTES as u64;
        let index = u32::try_from(self.position / size).map_err(|_| store::Error::TooLong)?;
        let mut piece = self
            .pieces
            .piece(index)
            .await?
            .ok_or(store::Error::Unreadable("body piece"))?;
        let skipped = (self.position % size) as usize;
        if skipped >= piece.len() {
            return Err(store::Error::Unreadable("body piece"));
        }
        piece.drain(..skipped);
        self.position += piece.len() as u64;
        Ok(Some(piece))
    }
}

/// A message before a filter.
pub struct Message<'a> {
    /// Its id in our queue.
    pub id: QueueId,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// Its header.
    pub header: &'a Header,
    /// What follows the empty line.
    pub body: Body<'a>,
}

/// Why a filter's answer is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers there.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The connection ended.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// It does not speak its protocol.
    #[error("it broke its protocol: {0}")]
    Protocol(&'static str),
    /// It does something that it may not.
    #[error("it wants what cannot be done: {0}")]
    Unfit(&'static str),
    /// It wants more than is allowed.
    #[error("it goes too far: {0}")]
    TooMuch(&'static str),
    /// It answers with an error.
    #[error("it answers with status {0}")]
    Status(u16),
    /// The store failed, which is no fault of the filter.
    #[error(transparent)]
    Store(#[from] store::Error),
}
