//! Publishes, looks up and verifies signets.

mod custody;
mod desk;
mod directory;
mod enumeration;
mod inquiry;
mod published;
mod renewal;
mod retirement;
mod rotation;
mod standing;
mod verified;

use crate::accounts;
use crate::dime::{key_set, keys, signet};
use crate::store;

pub use crate::store::Wanted;
pub use custody::{Chains, Sighting};
pub use desk::Desk;
pub use directory::{Directory, Named};
pub use enumeration::Enumeration;
pub use inquiry::{Error as LookupError, Inquiry};
pub use published::{Due, OLD_KEYS_KEPT, Offer, Organization, Published, RecordPlan, Status, Times, User};
pub use renewal::{Renewal, Report};
pub use retirement::Retiring;
pub use rotation::{LONGEST_TTL, Progress, Rotation, TakenAlong};
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
    /// The user's private keys are kept here, and nothing is handed in for them.
    #[error("the private keys of the user are kept here")]
    KeptHere,
    /// The address cannot be written in DMTP: a quoted or internationalized local-part.
    #[error(
        "the address has no form in DMTP: only a domain without DIME (`dimed domain add DOMAIN --plain`) can have it"
    )]
    NoDmtpForm,
    /// A signet without all three signatures was to be published.
    #[error("the signet is not complete")]
    Incomplete,
    /// There is no signing request of that user that waits.
    #[error("no signing request of that user waits")]
    NoRequest,
    /// The signing key was taken out of service for that user, and stays there.
    #[error("the signing key was taken out of service: it takes a new one")]
    Revoked,
    /// Another request of that user waits than the one named.
    #[error("another signing request of that user waits")]
    OtherRequest,
    /// The domain is not served here, or has no DIME.
    #[error("the domain is not served here with DIME")]
    NotServed,
    /// Keys of the domain, or of a user in it, are being changed.
    #[error("a change of keys is under way")]
    RolloverUnderWay,
    /// DNS has a record of the domain, or does not say that there is none.
    #[error("DNS has the domain's record, or does not answer, so that others may remember it")]
    RecordSeen,
    /// Others may have been told of the new keys as the ones to use.
    #[error("the new keys are in use: once this change has ended, another one replaces them")]
    NewKeysInUse,
    /// The domain is on its way out of DIME.
    #[error("the domain is on its way out of DIME")]
    Retiring,
    /// The history is longer than one answer may be.
    #[error("the history is too long for one answer")]
    TooLong,
    /// A signet does not verify, or cannot be made.
    #[error(transparent)]
    Signet(#[from] signet::Error),
    /// A key set breaks a rule.
    #[error("the key set cannot be used: {0}")]
    KeySet(#[from] key_set::Error),
    /// Private keys that are kept cannot be read.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// It cannot be found out who is behind an address.
    #[error(transparent)]
    Accounts(#[from] accounts::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
