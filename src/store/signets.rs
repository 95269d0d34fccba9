//! Our signets with their private keys, and the verified signets of others.

use async_trait::async_trait;

use super::Error;
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
    /// When it was published. The newest one of a name is the current one.
    pub published_at: Timestamp,
}

/// A signet of somebody else, verified when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSignet {
    /// Domain or address, folded.
    pub name: String,
    /// See [`CryptoFingerprint`].
    pub crypto: CryptoFingerprint,
    /// The binary object.
    pub object: Vec<u8>,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// When it must be fetched again.
    pub expires_at: Timestamp,
}

/// Signets and keys on disk.
#[async_trait]
pub trait Signets: Send + Sync {
    /// Publishes a signet, with its armored private keys if the server keeps them; both in one transaction.
    async fn publish_signet(
        &self,
        signet: StoredSignet,
        private_keys: Option<Secret<Vec<u8>>>,
    ) -> Result<(), Error>;

    /// The current signet of `name`.
    async fn current_signet(&self, name: &str) -> Result<Option<StoredSignet>, Error>;

    /// The signet of `name` with that fingerprint, of whichever kind, current or not.
    async fn signet_by_fingerprint(
        &self,
        name: &str,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<StoredSignet>, Error>;

    /// All signets of `name`, oldest first.
    async fn signet_history(&self, name: &str) -> Result<Vec<StoredSignet>, Error>;

    /// The private keys that belong to a signet of ours, if the server keeps them.
    async fn private_keys(
        &self,
        name: &str,
        signet: CryptoFingerprint,
    ) -> Result<Option<Secret<Vec<u8>>>, Error>;

    /// Keeps a verified remote signet.
    async fn remember_remote_signet(&self, signet: RemoteSignet) -> Result<(), Error>;

    /// A remembered signet of `name` that has not expired at `now`: that fingerprint, or the newest.
    async fn remote_signet(
        &self,
        name: &str,
        crypto: Option<CryptoFingerprint>,
        now: Timestamp,
    ) -> Result<Option<RemoteSignet>, Error>;

    /// Drops every remembered signet of `name`, because a peer said it is stale.
    async fn forget_remote_signets(&self, name: &str) -> Result<(), Error>;
}
