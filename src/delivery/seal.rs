//! Sealing for a trustful author, and the origin's signature: MIME in, a D/MIME 1 object ready for transfer out.

use std::sync::Arc;

use crate::dime::convert;
use crate::dime::dmime1::padding::Padding;
use crate::dime::dmime1::{Limits, Message, origin, seal};
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;
use crate::signet_service::{Organization, Published, User};

/// Whether messages are sealed as D/MIME 2 where the parties' key sets allow it. While they are not, the origin counts as
/// one without a key set, so that nothing that was to go as D/MIME 2 goes as D/MIME 1 unseen.
pub const SEALS_DMIME_2: bool = false;

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
    Seal(#[from] seal::Error),
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
        let user = published.user(address).await?.filter(|user| user.keys.is_some());
        let organization = published.organization(address.domain()).await?;
        match (user, organization) {
            (Some(user), Some(organization)) => Ok(Self {
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

/// Seals for one recipient and signs as the origin, on a thread where that may take its time.
pub async fn seal_and_sign(
    author: Arc<Author>,
    recipient: Mailbox,
    destination: VerifiedOrg,
    recipient_signet: VerifiedUser,
    mime: bytes::Bytes,
) -> Result<Vec<u8>, Error> {
    let work = move || {
        let sealed = seal_for(&author, &recipient, &destination, &recipient_signet, mime)?;
        sign(&author, &destination, sealed)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Interrupted)?
}

fn seal_for(
    author: &Author,
    recipient: &Mailbox,
    destination: &VerifiedOrg,
    recipient_signet: &VerifiedUser,
    mime: bytes::Bytes,
) -> Result<Vec<u8>, Error> {
    let parties = seal::Parties {
        author: &author.address,
        author_keys: author.user.keys.as_ref().ok_or(Error::NoKeys)?,
        author_signet: &author.user.signet,
        origin_signet: &author.organization.signet,
        destination_signet: destination,
        recipient,
        recipient_signet,
    };
    let content = convert::to_dmime1(mime)?;
    Ok(seal::seal(
        &parties,
        &content,
        Padding::default(),
        &mut rand::rng(),
    )?)
}

/// The origin checks what it signs, whoever sealed it (`dmime.md` §13.2).
fn sign(author: &Author, destination: &VerifiedOrg, sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
    let organization = &author.organization;
    let limits = Limits {
        size: sealed.len(),
        ..Limits::default()
    };
    let message = Message::parse(sealed, &limits).map_err(|_| Error::OwnCheck)?;
    let view = origin::open(&message, &organization.keys).map_err(|_| Error::OwnCheck)?;
    let expected = origin::Expected {
        submitter: &author.address,
        origin: author.address.domain(),
        author: &author.user.signet,
        destination,
    };
    let checked = view.check(&expected).map_err(|_| Error::OwnCheck)?;
    let signed = origin::sign(&checked, &organization.keys.signing, origin::Bounces::default());
    signed.map_err(|_| Error::OwnCheck)
}
