//! Keys that sign mail of our domains.

use async_trait::async_trait;

use super::Error;
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// How far a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DkimState {
    /// It is made, and to be published.
    Generated,
    /// It signs.
    Active,
    /// Another one signs. It stays published until nothing under way is signed with it; its private half is erased.
    Replaced,
}

impl DkimState {
    /// A word for people, programs and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Active => "active",
            Self::Replaced => "replaced",
        }
    }

    /// Reads the word.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Generated, Self::Active, Self::Replaced]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A key.
#[derive(Debug, Clone)]
pub struct DkimKey {
    /// Whose.
    pub domain: Domain,
    /// Its name in DNS.
    pub selector: String,
    /// How it signs, as in the tag `a`.
    pub algorithm: String,
    /// What is published.
    pub record: String,
    /// The private half; `None` once it is erased.
    pub private: Option<Secret<Vec<u8>>>,
    /// How far it is.
    pub state: DkimState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is in its state.
    pub since: Timestamp,
}

/// Keys on disk.
#[async_trait]
pub trait DkimKeys: Send + Sync {
    /// The keys of a domain, the oldest first.
    async fn dkim_keys(&self, domain: &Domain) -> Result<Vec<DkimKey>, Error>;

    /// Adds keys. [`Error::Exists`] if a domain has one of that selector.
    async fn add_dkim_keys(&self, keys: Vec<DkimKey>) -> Result<(), Error>;

    /// Puts a key to use, and all that signed in the same way until now out of use: their private halves are erased.
    /// [`Error::Missing`] if it is not there, or not new.
    async fn activate_dkim_key(&self, domain: &Domain, selector: &str, now: Timestamp) -> Result<(), Error>;

    /// Removes a key with its private half. [`Error::Missing`] if there is none.
    async fn remove_dkim_key(&self, domain: &Domain, selector: &str) -> Result<(), Error>;
}
