//! What passes through: domains whose mail we take for other hosts, who has an address there, and reverse-paths that were
//! rewritten.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};

/// How it is found out whether a recipient exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// By a list that is kept here.
    List,
    /// By asking the next host.
    Callout,
    /// Not at all.
    None,
}

impl Verification {
    /// One word, for the command line and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Callout => "callout",
            Self::None => "none",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::List, Self::Callout, Self::None];
        all.into_iter().find(|one| one.name() == word)
    }
}

/// A domain whose mail we take and pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayDomain {
    /// Its name.
    pub name: Domain,
    /// How its recipients are verified.
    pub verification: Verification,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What came of removing a relay domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayRemoval {
    /// Its mail is not taken any more.
    Done,
    /// Nothing was changed: mail for so many of its recipients waits.
    MailWaits(u64),
    /// It is no relay domain.
    Missing,
}

/// Relaying on disk.
#[async_trait]
pub trait Relaying: Send + Sync {
    /// Adds a relay domain; [`Error::Exists`] if it is one, or is served here.
    async fn add_relay_domain(&self, domain: RelayDomain) -> Result<(), Error>;
    /// The domain, if its mail is taken for another host.
    async fn relay_domain(&self, name: &Domain) -> Result<Option<RelayDomain>, Error>;
    /// All of them, by name.
    async fn list_relay_domains(&self) -> Result<Vec<RelayDomain>, Error>;
    /// Changes how recipients are verified; whether there is such a relay domain.
    async fn set_verification(&self, name: &Domain, verification: Verification) -> Result<bool, Error>;
    /// Forgets a relay domain, and the list of its recipients.
    async fn remove_relay_domain(&self, name: &Domain) -> Result<RelayRemoval, Error>;

    /// Whether the list has that address, apart from case.
    async fn is_relay_recipient(&self, address: &Mailbox) -> Result<bool, Error>;
    /// Puts addresses of a relay domain on its list, `replaces` in place of all that were there. How many are new.
    /// [`Error::Missing`] without such a relay domain.
    async fn add_relay_recipients(
        &self,
        domain: &Domain,
        addresses: Vec<Mailbox>,
        replaces: bool,
    ) -> Result<u64, Error>;
    /// Takes addresses from the list of their domain; how many were there.
    async fn remove_relay_recipients(&self, addresses: Vec<Mailbox>) -> Result<u64, Error>;
    /// The list, by address, folded, from behind `after` on, `limit` at most.
    async fn list_relay_recipients(
        &self,
        domain: &Domain,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, Error>;

    /// When the next host said last that it knows a recipient.
    async fn known_since(&self, recipient: &Mailbox) -> Result<Option<Timestamp>, Error>;
    /// It said so now. What is older than `expired` is forgotten, and the oldest beyond a bound.
    async fn note_known(&self, recipient: &Mailbox, now: Timestamp, expired: Timestamp) -> Result<(), Error>;
    /// It says that it does not know the recipient.
    async fn note_unknown(&self, recipient: &Mailbox) -> Result<(), Error>;

    /// What vouches for a text about reverse-paths on a day, counted from the Unix epoch. Nobody makes it without the master key.
    fn srs_mac(&self, day: u64, text: &str) -> [u8; 32];
    /// Keeps a reverse-path that is too long to be rewritten. Those that ended before `now` are forgotten.
    async fn keep_srs_path(
        &self,
        id: &str,
        path: &Mailbox,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), Error>;
    /// The one with that id, if it has not ended.
    async fn srs_path(&self, id: &str, now: Timestamp) -> Result<Option<Mailbox>, Error>;
}
