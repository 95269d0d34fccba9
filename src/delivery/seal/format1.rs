//! D/MIME 1: sealed, checked and signed as one piece in memory.

use std::sync::Arc;

use super::{Author, Error, of_mapping};
use crate::dime::convert;
use crate::dime::dmime1::padding::Padding;
use crate::dime::dmime1::{Limits, Message, origin, seal};
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;
use crate::store::blocking::{Reader, StoredBody};

/// Whether a message can be sealed at all: rule F2 of `dmime2.md` §16.5 and what its header must have. Read in pieces, so
/// that nobody holds a message whole that is too large.
pub async fn check_format1(mime: StoredBody) -> Result<(), Error> {
    let work = move || convert::check_dmime1(Reader::new(mime)).map_err(of_mapping);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Interrupted)?
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
