//! The queue as an operator looks at it: rows that fit a filter, a page at a time, and how much there is of what.

use std::fmt;

use async_trait::async_trait;

use super::{Error, QueueEntry, QueuePosition};
use crate::base::id::{QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// Where a recipient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its next attempt is due some time.
    Waiting,
    /// Leased by a runner at this moment.
    Trying,
    /// Held back, by an operator or since it came.
    Held,
    /// Set aside because it cannot be read.
    Quarantined,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Trying, Self::Held, Self::Quarantined];

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Trying => "trying",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
        }
    }

    /// Reads the word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// Which way a recipient's mail goes, as far as that is known: for other hosts' domains it is decided anew in each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To an account of ours.
    Local,
    /// As MIME.
    Smtp,
    /// As D/MIME.
    Dmtp,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Smtp, Self::Dmtp];

    /// One word, with which the note of an attempt begins, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Smtp => "smtp",
            Self::Dmtp => "dmtp",
        }
    }

    /// Reads the word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Among {
    /// Everybody's.
    #[default]
    All,
    /// Those of one message.
    Message(QueueId),
    /// One.
    Recipient(RecipientId),
}

/// What rows must be to be shown; each field that is set narrows it down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueFilter {
    /// Where to look.
    pub among: Among,
    /// In this domain.
    pub destination: Option<Domain>,
    /// With this status.
    pub status: Option<Status>,
    /// Going this way.
    pub way: Option<Way>,
    /// Accepted at this time or earlier.
    pub accepted_until: Option<Timestamp>,
    /// Accepted at this time or later.
    pub accepted_from: Option<Timestamp>,
    /// What the note of the last attempt, or the reason of the quarantine, contains; capitals count as small letters.
    pub reason: Option<String>,
    /// Nothing behind this place, so that a walk ends however much comes in meanwhile.
    pub end: Option<QueuePosition>,
}

/// One row, as far as it can be read.
#[derive(Debug)]
pub struct QueueLine {
    /// To go on from here.
    pub position: QueuePosition,
    /// Where it stands.
    pub status: Status,
    /// The way, if it is known.
    pub way: Option<Way>,
    /// The domain, as it is stored.
    pub destination: String,
    /// The id of the message, as it is stored.
    pub message: String,
    /// The id of the recipient, as it is stored.
    pub recipient: String,
    /// Why it is quarantined.
    pub fault: Option<String>,
    /// The rest, or what of it cannot be read.
    pub entry: Result<QueueEntry, &'static str>,
}

/// Some rows.
#[derive(Debug, Default)]
pub struct QueuePage {
    /// Those that fit, oldest first.
    pub lines: Vec<QueueLine>,
    /// Where to look on, if there may be more.
    pub next: Option<QueuePosition>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Recipients that wait.
    pub waiting: u64,
    /// Of these, those whose time has come.
    pub due: u64,
    /// Recipients that are being tried.
    pub trying: u64,
    /// Recipients that are held.
    pub held: u64,
    /// Recipients that are set aside.
    pub quarantined: u64,
}

impl Amount {
    /// All recipients.
    pub fn recipients(&self) -> u64 {
        self.waiting + self.trying + self.held + self.quarantined
    }
}

/// The queue in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Messages in the spool.
    pub messages: u64,
    /// Octets of their bodies.
    pub octets: u64,
    /// When the oldest was accepted.
    pub oldest: Option<Timestamp>,
    /// All recipients.
    pub all: Amount,
    /// Domains with recipients.
    pub destinations: u64,
    /// The domains with the most.
    pub largest: Vec<(String, Amount)>,
}

/// How many recipients there are of one way and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// The way. What is MIME for other domains counts as [`Way::Smtp`], until an attempt has sealed it.
    pub way: Way,
    /// Where they stand.
    pub status: Status,
    /// So many.
    pub recipients: u64,
    /// When the message of the one that came first was accepted, if that can be read.
    pub oldest: Option<Timestamp>,
}

/// Looking at the queue.
#[async_trait]
pub trait QueueView: Send + Sync {
    /// Looks at `limit` rows behind `after` at most, and returns those that fit the filter.
    async fn queue_page(
        &self,
        filter: &QueueFilter,
        after: Option<QueuePosition>,
        limit: usize,
    ) -> Result<QueuePage, Error>;

    /// The place of the row that came last.
    async fn queue_end(&self) -> Result<QueuePosition, Error>;

    /// The queue in numbers, with the `largest` domains.
    async fn queue_stats(&self, largest: usize) -> Result<QueueStats, Error>;

    /// The queue by way and status; what is empty is left out. It is read once through.
    async fn queue_depths(&self) -> Result<Vec<QueueDepth>, Error>;
}
