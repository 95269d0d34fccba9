//! Private KEM keys of ours until they are destroyed, key sets signed ahead, and what is pinned of others' key sets.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::dime::dmime2::Candidate;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::{KemKeys, Pin};

/// Private KEM keys to keep, and for how long.
#[derive(Debug, Clone)]
pub struct NewKemKeys {
    /// The keys.
    pub keys: KemKeys,
    /// When their key set was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When they are destroyed.
    pub destroy_at: Timestamp,
}

/// Private KEM keys of ours.
#[derive(Debug, Clone)]
pub struct StoredKemKeys {
    /// The signet whose key set has the public halves.
    pub signet: FullFingerprint,
    /// The keys.
    pub keys: KemKeys,
    /// When their key set was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When they are destroyed.
    pub destroy_at: Timestamp,
}

impl From<StoredKemKeys> for Candidate {
    fn from(stored: StoredKemKeys) -> Self {
        Self {
            signet: stored.signet,
            keys: stored.keys,
        }
    }
}

/// A key set that a user has signed for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetAhead {
    /// When it is due.
    pub publish_at: Timestamp,
    /// The value of the field.
    pub value: Vec<u8>,
}

/// What is pinned, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySetPin {
    /// What was seen.
    pub pin: Pin,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// Key sets and their private keys on disk. Names are domains and addresses, found without regard to case.
#[async_trait]
pub trait KeySets: Send + Sync {
    /// The private KEM keys of `name` that still exist, those of the newest key set first.
    async fn kem_keys(&self, name: &str) -> Result<Vec<StoredKemKeys>, Error>;

    /// Destroys the private KEM keys that are due; how many there were.
    ///
    /// What held them is overwritten, in the database and in its log; [`Error::LogInUse`] if it is not, and is to be tried again.
    async fn destroy_kem_keys(&self, now: Timestamp) -> Result<u64, Error>;

    /// Puts key sets signed ahead in the place of those that `name` had.
    async fn keep_key_sets_ahead(&self, name: &str, sets: Vec<KeySetAhead>) -> Result<(), Error>;

    /// The key sets of `name` that were signed ahead, in the order in which they are due.
    async fn key_sets_ahead(&self, name: &str) -> Result<Vec<KeySetAhead>, Error>;

    /// Drops exactly these: they have been published, or have been passed over. What has come meanwhile stays.
    async fn drop_key_sets_ahead(&self, name: &str, sets: Vec<KeySetAhead>) -> Result<(), Error>;

    /// What is pinned of the key sets of `name` and not forgotten at `now`.
    async fn key_set_pin(&self, name: &str, now: Timestamp) -> Result<Option<KeySetPin>, Error>;

    /// Puts a pin in the place of `before`; `false`, and nothing is changed, if that is not what is there.
    ///
    /// None is dropped before its time for others: that would undo what it protects from (`dmime2.md` §3.4). How many there are is
    /// decided by users of ours alone, within their limits, as only keys of those whom they write to are pinned; each goes when
    /// it has not been seen for [so long](KeySetPin::expires_at), some with every new one.
    async fn pin_key_set(
        &self,
        name: &str,
        before: Option<Pin>,
        pin: KeySetPin,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Drops what is pinned of `name`; whether there was anything.
    async fn forget_key_set_pin(&self, name: &str) -> Result<bool, Error>;
}
