//! Who is refused on DMTP, since when and why, and what happened because of it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::base::encoding::{base64_decode_unpadded, base64_unpadded};
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::mail::address::Domain;

/// What can be refused: always something that its owner has proven to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// An origin domain, with every domain below it.
    Domain(Domain),
    /// The POK of an origin, whatever domain uses it.
    PrimaryKey(VerifyingKey),
    /// The signing key of an author.
    AuthorKey(VerifyingKey),
}

impl Identity {
    /// The kind in one word: `domain`, `pok`, `author-key`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Domain(_) => "domain",
            Self::PrimaryKey(_) => "pok",
            Self::AuthorKey(_) => "author-key",
        }
    }

    /// The domain, or the key in base64 without padding.
    pub fn value(&self) -> String {
        match self {
            Self::Domain(domain) => domain.to_string(),
            Self::PrimaryKey(key) | Self::AuthorKey(key) => base64_unpadded(&key.0),
        }
    }

    /// Reads what [`kind`](Self::kind) and [`value`](Self::value) give.
    pub fn parse(kind: &str, value: &str) -> Option<Self> {
        let key = || base64_decode_unpadded(value).ok().map(VerifyingKey);
        match kind {
            "domain" => Domain::parse(value).ok().map(Self::Domain),
            "pok" => key().map(Self::PrimaryKey),
            "author-key" => key().map(Self::AuthorKey),
            _ => None,
        }
    }
}

/// Kind and value.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.value())
    }
}

/// Who does something to the block list, or because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doer {
    /// Somebody at the command line.
    Operator,
    /// Mail to a trap.
    Trap,
    /// The end of an entry's time.
    Expiry,
    /// A message that was refused.
    Arrival,
}

impl Doer {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Trap => "trap",
            Self::Expiry => "expiry",
            Self::Arrival => "arrival",
        }
    }

    /// Reads what [`name`](Self::name) gives.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Operator, Self::Trap, Self::Expiry, Self::Arrival]
            .into_iter()
            .find(|doer| doer.name() == name)
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// An entry was made, or put in the place of another one.
    Added,
    /// An entry ends later than it would have.
    Prolonged,
    /// An entry was taken away before its time.
    Removed,
    /// The time of an entry was over.
    Expired,
    /// Messages were refused.
    Refused,
}

impl Deed {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Prolonged => "prolonged",
            Self::Removed => "removed",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// Reads what [`name`](Self::name) gives.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Added,
            Self::Prolonged,
            Self::Removed,
            Self::Expired,
            Self::Refused,
        ]
        .into_iter()
        .find(|deed| deed.name() == name)
    }
}

/// One entry of the block list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Who is refused.
    pub identity: Identity,
    /// [`Doer::Operator`] or [`Doer::Trap`].
    pub by: Doer,
    /// Why, in words for operators.
    pub reason: String,
    /// Of an author key that wrote to a trap: its domain.
    pub origin: Option<Domain>,
    /// When it was made.
    pub since: Timestamp,
    /// When it ends, if it does.
    pub until: Option<Timestamp>,
}

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEvent {
    /// Its place; later lines have greater ones.
    pub place: i64,
    /// When it happened; of refusals, when the hour began in which they are counted.
    pub at: Timestamp,
    /// Who did it.
    pub doer: Doer,
    /// What.
    pub deed: Deed,
    /// To whom.
    pub identity: Identity,
    /// The entry's reason.
    pub reason: String,
    /// How many messages were refused; else 1.
    pub count: u64,
}

/// A verified author who wrote to a trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trapped {
    /// The author's signing key, which is blocked.
    pub author: VerifyingKey,
    /// The author's domain.
    pub origin: Domain,
    /// How long the entry holds.
    pub blocked_for: Duration,
    /// From how many such authors on their domain is blocked, too; 0 for never.
    pub origin_after: u32,
}

/// Authors of one domain that traps may have blocked at a time. Beyond that the oldest entry makes room: domains make as
/// many keys as they like.
pub const MAX_TRAPPED_OF_ORIGIN: u32 = 100;

/// Entries by traps at a time.
pub const MAX_TRAPPED: u32 = 20_000;

/// Lines of the audit trail that are kept of each doer.
pub const MAX_BLOCK_EVENTS: u32 = 10_000;

/// The block list on disk.
#[async_trait]
pub trait Blocks: Send + Sync {
    /// Makes an entry, in the place of one for the same identity.
    async fn block(&self, entry: Block) -> Result<(), Error>;

    /// Takes an entry away; whether there was one at `now`.
    async fn unblock(&self, identity: &Identity, now: Timestamp) -> Result<bool, Error>;

    /// The first entry for any of these identities that holds at `now`. Of domains, that means the domain itself.
    async fn find_block(&self, identities: &[Identity], now: Timestamp) -> Result<Option<Block>, Error>;

    /// Records that a message was refused because of an entry.
    async fn note_refusal(&self, entry: &Block, now: Timestamp) -> Result<(), Error>;

    /// Takes away what has ended by `now`, and records it; how many entries.
    async fn expire_blocks(&self, now: Timestamp) -> Result<u64, Error>;

    /// Entries, also such as have ended and not been taken away yet: by kind and value, at most `limit` after `after`.
    async fn list_blocks(&self, after: Option<&Identity>, limit: u32) -> Result<Vec<Block>, Error>;

    /// The audit trail, newest first: at most `limit` lines before the place `before`.
    async fn block_events(&self, before: Option<i64>, limit: u32) -> Result<Vec<BlockEvent>, Error>;
}
