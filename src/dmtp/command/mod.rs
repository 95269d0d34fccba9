//! Commands as values, and their two grammars (`dmtp.md` §2, §6).
//!
//! | | Bracket | Key=value |
//! |---|---|---|
//! | Example | `SGNT <ada@alpha.example> [fp]` | `SGNT USER=<ada@alpha.example> FINGERPRINT=[fp]` |
//! | Line end | CRLF | LF |
//! | MAIL says the size | always | never |
//!
//! [`parse`] reads both and tells them apart command by command; [`Command::format`] writes one or the other.

mod format;
mod parse;

#[cfg(test)]
mod tests;

pub use parse::parse;

use std::fmt;

use super::name::Name;
use crate::base::encoding::base64_unpadded;
use crate::base::id::{AttemptId, SessionId};
use crate::base::secret::Secret;
use crate::dime::fingerprint::AnyFingerprint;
use crate::mail::address::{Domain, Mailbox};

/// Longest command line, terminator included (`dmtp.md` §4.1).
pub const MAX_LINE: usize = 512;

/// Longest [`CommitHash`]: SHA-512 in base64 with padding, and room to spare.
const MAX_COMMIT_HASH: usize = 128;

/// Why a line is not a command, or a command not a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The verb is not one of DMTP's. Answer: 500.
    #[error("unknown command")]
    UnknownVerb,
    /// A command of SMTP that DMTP does not have. Answer: 554.
    #[error("an SMTP command")]
    SmtpOnly,
    /// A known verb with arguments it does not take; says what was expected. Answer: 501.
    #[error("{0}")]
    Arguments(&'static str),
    /// The command cannot be written in the grammar asked for.
    #[error("this grammar has no form for the command")]
    Inexpressible,
    /// A value holds a bracket, a line end or another character that would change the command's meaning.
    #[error("a value cannot be written safely")]
    UnsafeValue,
    /// The formatted line would be longer than [`MAX_LINE`].
    #[error("the command is longer than {MAX_LINE} octets")]
    TooLong,
}

/// Which grammar to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// What the network client of libdime sends. Lines end in CRLF.
    Bracket,
    /// What libdime's command formatter writes. Lines end in LF.
    KeyValue,
}

/// One command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `STARTTLS`: without arguments it is SMTP's (RFC 3207).
    StartTls(Option<Upgrade>),
    /// `EHLO`: the sender's domain.
    Ehlo(Domain),
    /// `HELO`: the same, answered in one line.
    Helo(Domain),
    /// `MAIL`: where the message comes from.
    Mail(Mail),
    /// `RCPT`: where it goes. The fingerprint is that of the destination's signet, if one was given.
    Rcpt {
        /// The destination.
        destination: Domain,
        /// Missing if the brackets held something else, as libdime's literal word.
        fingerprint: Option<AnyFingerprint>,
    },
    /// `DATA`: the message follows.
    Data(Option<CommitHash>),
    /// `SGNT`: fetch the current signet, or that one.
    Signet {
        /// Whose.
        name: Name,
        /// Which; the current one if missing.
        fingerprint: Option<AnyFingerprint>,
    },
    /// `VRFY`: is that signet the current one?
    Verify {
        /// Whose.
        name: Name,
        /// Which.
        fingerprint: AnyFingerprint,
    },
    /// `HIST`: a user's signets in order, both ends included.
    History {
        /// Whose.
        address: Mailbox,
        /// The oldest wanted; the first there is if missing.
        start: Option<AnyFingerprint>,
        /// The newest wanted; the current one if missing.
        stop: Option<AnyFingerprint>,
    },
    /// `AUTH`, on the submission port: as in SMTP (RFC 4954 §4).
    Auth {
        /// The name of the mechanism, as the client spelled it.
        mechanism: String,
        /// The first response, if it came with the command.
        initial: Option<Secret<String>>,
    },
    /// `KEYS`, an extension of ours on the submission port: fetch wrapped keys, or leave some.
    Keys(Option<Deposit>),
    /// `SSR`, an extension of ours there: what became of the signing request that was handed in, or hand one in of so many
    /// octets, at least 1.
    Request(Option<u64>),
    /// `SETS`, an extension of ours there: hand in key sets signed ahead, so many octets, at least 1.
    KeySets(u64),
    /// `STATS`, which nobody defined.
    Stats,
    /// `MODE`: which protocol is this?
    Mode,
    /// `NOOP`; its arguments are ignored.
    Noop,
    /// `RSET`: forget the transaction.
    Rset,
    /// `HELP`; its arguments are ignored.
    Help,
    /// `VERB`, which has no effect anywhere.
    Verb,
    /// `QUIT`: goodbye.
    Quit,
}

/// The arguments of a KEYS that leaves wrapped keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deposit {
    /// The version that is replaced; 0 if there is none.
    pub replaces: u64,
    /// Octets that follow, at least 1.
    pub size: u64,
}

/// The arguments of a DMTP-style STARTTLS (`dmtp.md` §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The host whose certificate is wanted.
    pub host: Domain,
    /// `MODE=`, if it was given.
    pub mode: Option<Protocol>,
}

impl Upgrade {
    /// What is to be spoken inside TLS: naming a host is asking for DMTP, unless MODE says otherwise.
    pub fn protocol(&self) -> Protocol {
        self.mode.unwrap_or(Protocol::Dmtp)
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `SMTP` or `ESMTP` on the wire.
    Smtp,
    /// `DMTPv1`, or `DMTP` in the key=value grammar.
    Dmtp,
}

/// The arguments of MAIL (`dmtp.md` §6.4). The author is not among them: only the origin's domain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The domain that the message comes from.
    pub origin: Domain,
    /// The origin's signet; missing if the brackets held something else, as libdime's literal word.
    pub fingerprint: Option<AnyFingerprint>,
    /// Octets of the message object, at least 1. The key=value grammar cannot say it.
    pub size: Option<u64>,
    /// How much of the message a failure report should return.
    pub returning: Option<Return>,
    /// Declared width of the content; without effect on the transfer.
    pub width: Option<Width>,
}

/// `RETURN=` of MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// `FULL`: everything.
    Full,
    /// `DISPLAY`: what is displayed.
    Display,
    /// `HEADER`: headers only.
    Header,
}

/// `DATA=` of MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// `7BIT`.
    Seven,
    /// `8BIT`.
    Eight,
}

/// The argument of DATA, whose meaning was never settled (`dmtp.md` §16 no. 1): 1–128 letters, digits, or `+/=-_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitHash(String);

impl CommitHash {
    /// Reads the content of the brackets; `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let sane = |octet: u8| octet.is_ascii_alphanumeric() || b"+/=-_".contains(&octet);
        let fits = (1..=MAX_COMMIT_HASH).contains(&text.len());
        (fits && text.bytes().all(sane)).then(|| Self(text.to_owned()))
    }

    /// A token of octets that mean nothing to anybody.
    pub fn from_octets(octets: &[u8; 16]) -> Self {
        Self(base64_unpadded(octets))
    }

    /// The text, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ids of ours consist of characters that a commit hash may have.
impl From<SessionId> for CommitHash {
    fn from(id: SessionId) -> Self {
        Self(id.to_string())
    }
}

impl From<AttemptId> for CommitHash {
    fn from(id: AttemptId) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for CommitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
