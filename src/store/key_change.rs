//! Replacing the master key: every key that it wraps is wrapped anew, and nothing else is written again.

use async_trait::async_trait;

use super::{Error, Mark, MasterKey, Part};

/// How far a change of the master key is, seen with the key that the database was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    /// None is under way.
    None,
    /// The key is the one that is to be replaced.
    HasPrevious,
    /// The key is the next one.
    HasNext,
}

/// Some rows, wrapped anew.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// How many.
    pub rows: u64,
    /// Those that neither key opens; they stay as they are.
    pub unreadable: u64,
    /// Where to go on, if there may be more.
    pub next: Option<Mark>,
}

/// Changing the master key. Whoever does so has the database alone.
#[async_trait]
pub trait KeyChanges: Send + Sync {
    /// How far it is.
    async fn key_change(&self) -> Result<KeyChange, Error>;

    /// The key that takes the place of the other, while a change is under way.
    fn next_key(&self) -> MasterKey;

    /// Begins a change. From its end on, either key opens the database; this store has to be opened anew.
    async fn begin_key_change(&self, next: MasterKey) -> Result<(), Error>;

    /// Wraps some rows of a part behind a place anew, in one transaction. What is wrapped by the next key already stays.
    async fn rewrap(&self, part: Part, after: &Mark) -> Result<Rewrapped, Error>;

    /// Ends the change: the previous key opens nothing any more. [`Error::LogInUse`] as for all that is erased.
    async fn finish_key_change(&self) -> Result<(), Error>;
}
