//! Publishes, looks up and verifies signets.

mod directory;
mod published;
mod renewal;
mod standing;

use crate::dime::{key_set, keys, signet};
use crate::store;

pub use crate::store::Wanted;
pub use directory::{Directory, Error as LookupError, Named};
pub use published::{Due, Offer, Organization, Published, Status, Times, User};
pub use renewal::{Renewal, Report};
pub use standing::Known;

/// Why a signet cannot be had or published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The domain has no organizational signet of ours.
    #[error("the domain has no organizational signet here")]
    NoOrganization,
    /// The user has no signet of ours.
    #[error("the user has no signet here")]
    NoSignet,
    /// The private keys that belong to the signet are not kept here.
    #[error("the private keys of the signet are not kept here")]
    NoKeys,
    /// The address cannot be written in DMTP: a quoted or internationalized local-part.
    #[error("the address has no form in DMTP")]
    NoDmtpForm,
    /// A signet without all three signatures was to be published.
    #[error("the signet is not complete")]
    Incomplete,
    /// A signet does not verify, or cannot be made.
    #[error(transparent)]
    Signet(#[from] signet::Error),
    /// A key set breaks a rule.
    #[error("the key set cannot be used: {0}")]
    KeySet(#[from] key_set::Error),
    /// Private keys that are kept cannot be read.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
