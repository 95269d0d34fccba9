//! Private keys that cautious users leave here wrapped under a passphrase that we never see.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::Mailbox;

/// What a user has left here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDeposit {
    /// Counted up with every change; the first is 1.
    pub version: u64,
    /// Wrapped keys as the user's own tool made them.
    pub octets: Vec<u8>,
}

/// Key deposits on disk: one for each account, found without regard to case.
#[async_trait]
pub trait KeyDeposits: Send + Sync {
    /// What is there.
    async fn key_deposit(&self, account: &Mailbox) -> Result<Option<KeyDeposit>, Error>;

    /// Puts `octets` in the place of the deposit of version `replaces`, 0 for none; the new version.
    ///
    /// [`Error::Conflict`], and nothing is changed, if another version is there.
    async fn put_key_deposit(
        &self,
        account: &Mailbox,
        octets: Vec<u8>,
        replaces: u64,
        now: Timestamp,
    ) -> Result<u64, Error>;
}
