//! Looking after what is stored: reading all of it, setting aside what cannot be read, and rescuing what can.

use std::path::Path;

use async_trait::async_trait;

use super::{Content, Envelope, Error};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;

/// What is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Messages with their bodies.
    Messages,
    /// Recipients with their history.
    Recipients,
    /// Pieces of bodies that belong to nothing.
    Pieces,
    /// Lanes, which say when the turn of a domain is.
    Lanes,
    /// Signets of ours.
    Signets,
    /// Their private keys.
    PrivateKeys,
    /// Private KEM keys.
    KemKeys,
    /// Private keys that are not in use yet, and how far their change is.
    Rollovers,
    /// Requests of users who keep their keys.
    SigningRequests,
    /// Domains that leave DIME.
    Retirements,
    /// Wrapped keys of cautious users.
    KeyDeposits,
    /// Private keys for DKIM.
    DkimKeys,
    /// Reverse-paths behind rewritten ones.
    SrsPaths,
    /// Pinned management records.
    Pins,
    /// MTA-STS policies.
    StsPolicies,
    /// Users.
    Accounts,
    /// Addresses that users may write under beside their own.
    Senders,
    /// Aliases.
    Aliases,
    /// Domains that are served here.
    LocalDomains,
    /// Domains of other hosts.
    RelayDomains,
    /// Who has an address there.
    RelayRecipients,
    /// The block list.
    Blocks,
    /// Copies of others' signets, under hashes of names.
    RemoteSignets,
    /// Pinned key sets of others, under hashes of names.
    KeySetPins,
    /// Pinned signing keys of others, under hashes of names.
    CustodyPins,
    /// What was taken before.
    ReplayEntries,
    /// Hosts that were asked to come again, under hashes.
    Greylist,
    /// Recipients whom the next host knows, under hashes.
    Callouts,
}

impl Part {
    /// All of them, so that what others follow from comes first: lanes from recipients, and those from messages. What is kept under hashes of
    /// names does not open without the name; sizes and times are looked at there.
    pub const ALL: [Self; 28] = [
        Self::Messages,
        Self::Recipients,
        Self::Pieces,
        Self::Lanes,
        Self::Signets,
        Self::PrivateKeys,
        Self::KemKeys,
        Self::Rollovers,
        Self::SigningRequests,
        Self::Retirements,
        Self::KeyDeposits,
        Self::DkimKeys,
        Self::SrsPaths,
        Self::Pins,
        Self::StsPolicies,
        Self::Accounts,
        Self::Senders,
        Self::Aliases,
        Self::LocalDomains,
        Self::RelayDomains,
        Self::RelayRecipients,
        Self::Blocks,
        Self::RemoteSignets,
        Self::KeySetPins,
        Self::CustodyPins,
        Self::ReplayEntries,
        Self::Greylist,
        Self::Callouts,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Recipients => "recipients",
            Self::Pieces => "pieces",
            Self::Lanes => "lanes",
            Self::Signets => "signets",
            Self::PrivateKeys => "private keys",
            Self::KemKeys => "private KEM keys",
            Self::Rollovers => "rollovers",
            Self::SigningRequests => "signing requests",
            Self::Retirements => "retirements",
            Self::KeyDeposits => "key deposits",
            Self::DkimKeys => "DKIM keys",
            Self::SrsPaths => "rewritten reverse-paths",
            Self::Pins => "pinned records",
            Self::StsPolicies => "MTA-STS policies",
            Self::Accounts => "accounts",
            Self::Senders => "senders",
            Self::Aliases => "aliases",
            Self::LocalDomains => "domains",
            Self::RelayDomains => "relay domains",
            Self::RelayRecipients => "relay recipients",
            Self::Blocks => "block list",
            Self::RemoteSignets => "copies of signets",
            Self::KeySetPins => "pinned key sets",
            Self::CustodyPins => "pinned signing keys",
            Self::ReplayEntries => "replay entries",
            Self::Greylist => "greylist",
            Self::Callouts => "known recipients",
        }
    }
}

/// A place among the rows of a part; the default is its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mark {
    pub(super) number: i64,
    pub(super) name: String,
    pub(super) rest: Vec<u8>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it is.
    pub part: Part,
    /// Its key: an id, a name.
    pub row: String,
    /// What does not open, cannot be parsed, or refers to nothing.
    pub what: &'static str,
}

/// Some rows, read.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many.
    pub rows: u64,
    /// What is wrong with them.
    pub faults: Vec<Fault>,
    /// Where to read on, if there may be more.
    pub next: Option<Mark>,
}

/// What became of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// So many recipients were set aside.
    SetAside(u64),
    /// It was made anew from other rows.
    Rebuilt,
    /// Nothing can be done, or not now: somebody works on it.
    None,
}

/// What can be read of a message.
#[derive(Debug)]
pub struct Rescued {
    /// Whether its key opens: without it nothing else does.
    pub has_key: bool,
    /// What the body is.
    pub content: Option<Content>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Octets of the body, as it should be.
    pub size_bytes: i64,
    /// Pieces of the body that there are, or were.
    pub pieces: u32,
    /// The envelope.
    pub envelope: Option<Envelope>,
    /// Recipients that are left.
    pub recipients: Vec<RescuedRecipient>,
}

/// What can be read of a recipient.
#[derive(Debug)]
pub struct RescuedRecipient {
    /// Its id.
    pub id: String,
    /// Its domain.
    pub destination: String,
    /// Where it stands.
    pub state: String,
    /// The whole address, if it can be read.
    pub path: Option<String>,
}

/// Care for what is stored.
#[async_trait]
pub trait Care: Send + Sync {
    /// What the database itself finds wrong with its file; nothing if it has none.
    async fn check_file(&self) -> Result<Vec<String>, Error>;

    /// Reads some rows of a part, behind a place. Nothing is wrong with mail that is set aside already.
    async fn check(&self, part: Part, after: &Mark) -> Result<Checked, Error>;

    /// Makes indexes anew, where the database can do that beside others.
    async fn rebuild_indexes(&self) -> Result<(), Error>;

    /// Does what can be done about a fault. Nothing is deleted but what is made from other rows.
    async fn repair(&self, fault: &Fault, now: Timestamp) -> Result<Repair, Error>;

    /// What [`repair`](Self::repair) would do.
    async fn foresee_repair(&self, fault: &Fault, now: Timestamp) -> Result<Repair, Error>;

    /// Recipients that are set aside.
    async fn count_set_aside(&self) -> Result<u64, Error>;

    /// Messages behind a place, the oldest first, at most `limit`, and the place of the last; with `quarantined`, those with
    /// recipients that were set aside.
    async fn spooled(
        &self,
        after: &Mark,
        quarantined: bool,
        limit: usize,
    ) -> Result<(Vec<String>, Option<Mark>), Error>;

    /// Copies the database, as it is at one moment, into an empty file. [`Error::NotThere`] if it is not one that can be copied so.
    async fn copy_to(&self, file: &Path) -> Result<(), Error>;

    /// What can be read of a message.
    async fn rescue(&self, message: QueueId) -> Result<Option<Rescued>, Error>;
}
