//! Our signets with their private keys, and the verified signets of others.

use async_trait::async_trait;

use super::{Error, NewKemKeys, Rollover};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint, IdFingerprint};

/// A signet published by us. `name` is a domain or an address, in the folded form under which it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSignet {
    /// Domain or address.
    pub name: String,
    /// Prefix fingerprints, for look-up by any of them.
    pub crypto: CryptoFingerprint,
    /// See [`FullFingerprint`].
    pub full: FullFingerprint,
    /// See [`IdFingerprint`].
    pub id: IdFingerprint,
    /// The complete binary object.
    pub object: Vec<u8>,
    /// When it was published. The one of a name that was published last is the current one, whatever the clock said.
    pub published_at: Timestamp,
}

/// A signet to publish, with what is kept beside it.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The signet.
    pub signet: StoredSignet,
    /// Its armored private keys, if the server keeps them and does not have them yet.
    pub private_keys: Option<Secret<Vec<u8>>>,
    /// The private halves of its key set, if the server keeps them.
    pub kem_keys: Option<NewKemKeys>,
    /// What must be the current signet, or nothing is published.
    pub replaces: Replaces,
    /// When the private keys of earlier signets with other keys are erased, unless they are due before; `None` leaves
    /// them as they are.
    pub erase_older_at: Option<Timestamp>,
    /// The change of keys that it is part of must be this one, in this state, or nothing is published.
    pub during: Option<Rollover>,
}

/// A signet of the history of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoricSignet {
    /// The signet.
    pub signet: StoredSignet,
    /// When it was taken out of service.
    pub revoked_at: Option<Timestamp>,
    /// Whether its private keys are kept.
    pub keys_kept: bool,
    /// When they are erased.
    pub erase_keys_at: Option<Timestamp>,
}

/// The newest signet of a name, among those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestSignet {
    /// Domain or address, folded.
    pub name: String,
    /// The binary object.
    pub object: Vec<u8>,
    /// Whether private keys are kept for its keys.
    pub keys_kept: bool,
    /// Whether it was taken out of service.
    pub is_revoked: bool,
}

/// A signet of ours that somebody asked about, beside the current one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignetStanding {
    /// The one asked about.
    pub asked: FullFingerprint,
    /// The current one.
    pub current: FullFingerprint,
}

/// How much of a history may be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeBound {
    /// Signets.
    pub signets: u32,
    /// Octets of their objects together.
    pub octets: u32,
}

/// What a signet comes after. Two that were made from the same one at the same time are not both published: the second
/// would have no chain of custody from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// That does not matter.
    Whatever,
    /// There is none yet.
    Nothing,
    /// This one.
    Signet(FullFingerprint),
}

impl From<Option<FullFingerprint>> for Replaces {
    fn from(signet: Option<FullFingerprint>) -> Self {
        signet.map_or(Self::Nothing, Self::Signet)
    }
}

impl From<StoredSignet> for Publication {
    fn from(signet: StoredSignet) -> Self {
        Self {
            signet,
            private_keys: None,
            kem_keys: None,
            replaces: Replaces::Whatever,
            erase_older_at: None,
            during: None,
        }
    }
}

/// A signet of somebody else, verified when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSignet {
    /// Domain or address, folded.
    pub name: String,
    /// See [`CryptoFingerprint`].
    pub crypto: CryptoFingerprint,
    /// See [`FullFingerprint`]; `None` for a signet that does not reach so far.
    pub full: Option<FullFingerprint>,
    /// The binary object.
    pub object: Vec<u8>,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// How long it is taken for the current one; `None` if its host did not say that it was.
    pub current_until: Option<Timestamp>,
    /// When it is dropped.
    pub expires_at: Timestamp,
}

/// Which remembered signet of a name is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The current one.
    Current,
    /// The newest one with these keys.
    Crypto(CryptoFingerprint),
    /// Exactly that one.
    Full(FullFingerprint),
}

impl Wanted {
    /// The fingerprint that says which.
    pub fn fingerprint(self) -> Option<AnyFingerprint> {
        match self {
            Self::Current => None,
            Self::Crypto(print) => Some(print.into()),
            Self::Full(print) => Some(print.into()),
        }
    }
}

/// Signets and keys on disk.
#[async_trait]
pub trait Signets: Send + Sync {
    /// Publishes a signet with everything that is kept beside it, in one transaction.
    ///
    /// Errors: [`Error::Exists`], and [`Error::Changed`] if another signet has come since the one to replace.
    async fn publish_signet(&self, publication: Publication) -> Result<(), Error>;

    /// The current signet of `name`: the newest one, unless it was taken out of service.
    async fn current_signet(&self, name: &str) -> Result<Option<StoredSignet>, Error>;

    /// The signet of `name` with that fingerprint, of whichever kind, current or not. Not one out of service.
    async fn signet_by_fingerprint(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<StoredSignet>, Error>;

    /// The object of [`current_signet`](Self::current_signet), or of
    /// [`signet_by_fingerprint`](Self::signet_by_fingerprint) with one, for whoever asks from outside. Quicker: it may come
    /// from memory, and what another process has published or revoked counts only after some milliseconds.
    async fn served_signet(
        &self,
        name: &str,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<u8>>, Error>;

    /// Which signet of `name` has that fingerprint, of whichever kind, and which one is current: as
    /// [`signet_by_fingerprint`](Self::signet_by_fingerprint) and [`current_signet`](Self::current_signet) find them at the
    /// same moment. `None` unless there are both. From memory like [`served_signet`](Self::served_signet).
    async fn signet_standing(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<SignetStanding>, Error>;

    /// Names that have a signet, in their order, after that one: at most `limit`.
    async fn signet_names(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error>;

    /// The newest signet of each name, in the order of names, after that one: at most `limit`.
    async fn newest_signets(&self, after: Option<&str>, limit: u32) -> Result<Vec<NewestSignet>, Error>;

    /// All signets of `name`, oldest first.
    async fn signet_history(&self, name: &str) -> Result<Vec<HistoricSignet>, Error>;

    /// The objects of the signets of `name` from `start` to `stop`, both included, oldest first, without those out of
    /// service. Without `start` from the first, without `stop` to the newest.
    ///
    /// `None` if there is nothing of that name, or `start` or `stop` is not there, or `stop` is before `start`.
    /// Errors: [`Error::TooLong`] for more than `most`, of which nothing is read.
    async fn signet_range(
        &self,
        name: &str,
        start: Option<AnyFingerprint>,
        stop: Option<AnyFingerprint>,
        most: RangeBound,
    ) -> Result<Option<Vec<Vec<u8>>>, Error>;

    /// The private keys that belong to a signet of ours, if the server keeps them.
    async fn private_keys(
        &self,
        name: &str,
        signet: CryptoFingerprint,
    ) -> Result<Option<Secret<Vec<u8>>>, Error>;

    /// Keeps a verified remote signet.
    async fn remember_remote_signet(&self, signet: RemoteSignet) -> Result<(), Error>;

    /// A remembered signet of `name` that has not expired at `now`.
    async fn remote_signet(
        &self,
        name: &str,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Option<RemoteSignet>, Error>;

    /// The remembered signet of `name` that was the current one last, whether it is still taken for it at `now` or not.
    async fn last_current_signet(&self, name: &str, now: Timestamp) -> Result<Option<RemoteSignet>, Error>;

    /// Drops every remembered signet of `name`, because a peer said it is stale.
    async fn forget_remote_signets(&self, name: &str) -> Result<(), Error>;
}
