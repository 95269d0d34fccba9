//! Sealing for a trustful author, and the origin's signature: MIME in, an object ready for transfer out.

mod format1;
mod format2;

pub use format1::{check_format1, seal_and_sign};
pub use format2::{Request, Sealed, seal_in_spool};

use std::io;

use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::dime::{convert, dmime1, dmime2};
use crate::mail::address::Mailbox;
use crate::signet_service::{Organization, Published, User};
use crate::store::{self, blocking::store_error};

/// Why a message cannot be sealed here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The author has no signet here, or keeps the private keys elsewhere.
    #[error("the author's keys are not kept here")]
    NoKeys,
    /// MIME that the format cannot carry.
    #[error(transparent)]
    Convert(#[from] convert::Error),
    /// The format refuses the parties or the content.
    #[error(transparent)]
    Seal(#[from] dmime1::seal::Error),
    /// The same, in format 2.
    #[error(transparent)]
    Seal2(#[from] dmime2::seal::Error),
    /// A key set that was good when the message was planned is so no more.
    #[error("a key set cannot be used any more")]
    KeySet,
    /// The spool failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What we sealed does not pass the origin's own checks: a fault of ours.
    #[error("the sealed message does not pass the origin's checks")]
    OwnCheck,
    /// Our signets or keys cannot be read.
    #[error(transparent)]
    Published(#[from] crate::signet_service::Error),
    /// The sealing task was cancelled by a shutdown.
    #[error("sealing was interrupted")]
    Interrupted,
}

/// The author's side of a message: signets and private keys, all kept here.
pub struct Author {
    address: Mailbox,
    user: User,
    organization: Organization,
}

impl Author {
    /// Loads signets and keys of a trustful author. [`Error::NoKeys`] for anybody else.
    pub async fn load(published: &Published, address: &Mailbox) -> Result<Self, Error> {
        match published.user_and_organization(address).await? {
            Some((user, organization)) if user.keys.is_some() => Ok(Self {
                address: address.clone(),
                user,
                organization,
            }),
            _ => Err(Error::NoKeys),
        }
    }

    /// The author's address.
    pub fn address(&self) -> &Mailbox {
        &self.address
    }

    /// The author's signet.
    pub fn signet(&self) -> &VerifiedUser {
        &self.user.signet
    }

    /// The signet of the author's organization.
    pub fn organization(&self) -> &VerifiedOrg {
        &self.organization.signet
    }
}

fn of_mapping(error: convert::Error) -> Error {
    match error {
        convert::Error::Source(error) => of_spool(error),
        other => Error::Convert(other),
    }
}

/// Only the spool can fail there; what comes from elsewhere is a message that ends too early.
fn of_spool(error: io::Error) -> Error {
    match store_error(error) {
        Ok(error) => Error::Store(error),
        Err(error) => Error::Seal2(error.into()),
    }
}
