//! The reader's side: recipient (`dmime.md` §13.4), or author with a sent copy (§13.5).
//!
//! [`open_envelope`] tells which signets to fetch and proves nothing; [`open`] and [`open_sent`] check everything and
//! give the content. The signatures around the message are verified before any padding or text of the content is
//! looked at, and every check is made whatever the others gave, so that neither answer nor time tells them apart
//! (`dmime.md` §17 W1). Reading the envelope cannot wait for that, because it names the keys: a server that opens for its
//! user checks as [`destination`](super::destination) first.

use std::fmt;

use bytes::Bytes;

use super::chunk::{Actor, ChunkType};
use super::content::Content;
use super::envelope::{DestinationEnvelope, OriginEnvelope};
use super::metadata::CommonHeaders;
use super::reading::{Access, Plain, Reading};
use super::signature::{author_signed, origin_signed};
use super::{Message, Refused};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::keys::UserKeys;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;

/// What chunks 4 and 5 say. Untrusted until opened.
pub struct EnvelopeView {
    message: Message,
    access: Access,
    envelope: Envelope,
    plain: [Plain; 2],
}

/// Both envelope chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Author and destination.
    pub origin: OriginEnvelope,
    /// Recipient and origin.
    pub destination: DestinationEnvelope,
}

/// What the recipient knows by itself or has fetched, as the envelope names it.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The recipient's own address.
    pub address: &'a Mailbox,
    /// The recipient's own signet that the message was sealed for.
    pub own: &'a VerifiedUser,
    /// The author's signet.
    pub author: &'a VerifiedUser,
    /// The origin's signet.
    pub origin: &'a VerifiedOrg,
    /// The destination's signet.
    pub destination: &'a VerifiedOrg,
}

/// A message whose author is proven, in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who wrote to whom; show this author, not the From header (`dmime.md` §13.4).
    pub envelope: Envelope,
    /// What was written.
    pub content: Content,
}

impl Opened {
    /// The six common header fields.
    pub fn common_headers(&self) -> Result<CommonHeaders, Refused> {
        CommonHeaders::decode(&self.content.common_headers).map_err(|_| Refused)
    }
}

/// Opens the envelope with the recipient's key.
pub fn open_envelope(message: &Message, keys: &UserKeys) -> Result<EnvelopeView, Refused> {
    EnvelopeView::open(message, Actor::Recipient, keys)
}

/// Opens the envelope of a sent copy with the author's key.
pub fn open_sent_envelope(message: &Message, keys: &UserKeys) -> Result<EnvelopeView, Refused> {
    EnvelopeView::open(message, Actor::Author, keys)
}

/// Checks everything of §13.4 and gives the content to the recipient.
pub fn open(view: &EnvelopeView, expected: &Expected<'_>) -> Result<Opened, Refused> {
    let reading = view.access.reading(&view.message);
    let Envelope { origin, destination } = &view.envelope;
    let governed =
        expected.origin.governs(&destination.origin) & expected.destination.governs(&origin.destination);
    let named = (destination.recipient == *expected.address)
        & expected.own.is_of(expected.address)
        & expected.author.is_of(&origin.author)
        & (destination.recipient_signet == expected.own.crypto_fingerprint())
        & (origin.author_signet == expected.author.crypto_fingerprint())
        & (destination.origin_signet == expected.origin.crypto_fingerprint())
        & (origin.destination_signet == expected.destination.crypto_fingerprint());
    let vouched = origin_signed(&reading, &expected.origin.message_signing_keys());
    view.finish(
        Actor::Recipient,
        governed & named & vouched,
        &expected.author.signing_key(),
    )
}

/// Checks what §13.5 asks for and gives the content of a sent copy to its author.
///
/// The author's own signatures cover everything, so no other signet is needed; the origin's are not looked at.
pub fn open_sent(view: &EnvelopeView, address: &Mailbox, own: &VerifiedUser) -> Result<Opened, Refused> {
    let origin = &view.envelope.origin;
    let named =
        (origin.author == *address) & own.is_of(address) & (origin.author_signet == own.crypto_fingerprint());
    view.finish(Actor::Author, named, &own.signing_key())
}

impl EnvelopeView {
    fn open(message: &Message, actor: Actor, keys: &UserKeys) -> Result<Self, Refused> {
        let access = Access::new(message, actor, &keys.encryption);
        let reading = access.reading(message);
        let four = reading.plain_of(ChunkType::Origin).ok_or(Refused)?;
        let five = reading.plain_of(ChunkType::Destination).ok_or(Refused)?;
        let origin = four.data().and_then(OriginEnvelope::decode);
        let destination = five.data().and_then(DestinationEnvelope::decode);
        let (Some(origin), Some(destination)) = (origin, destination) else {
            return Err(Refused);
        };
        let envelope = Envelope { origin, destination };
        Ok(Self {
            message: message.clone(),
            access,
            envelope,
            plain: [four, five],
        })
    }

    /// All four actors, with the fingerprints of the signets to fetch.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The message this is the envelope of.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The checks common to both readers, then the content.
    fn finish(&self, actor: Actor, so_far: bool, author: &VerifyingKey) -> Result<Opened, Refused> {
        let reading = self.access.reading(&self.message);
        let Envelope { origin, destination } = &self.envelope;
        let consistent = (*origin.author.domain() == destination.origin)
            & (*destination.recipient.domain() == origin.destination);
        let outer = author_signed(&reading, author);
        let envelope = self
            .plain
            .iter()
            .fold(true, |all, chunk| all & chunk.signed_by(author));
        if !(so_far & consistent & outer & envelope & (self.access.actor() == actor)) {
            return Err(Refused);
        }
        let content = content(&reading, author).ok_or(Refused)?;
        Ok(Opened {
            envelope: self.envelope.clone(),
            content,
        })
    }
}

/// Decrypts and verifies every chunk of content, also after one has failed.
fn content(reading: &Reading<'_>, author: &VerifyingKey) -> Option<Content> {
    let all = |kind| -> Option<Vec<Bytes>> {
        let verified: Vec<_> = reading
            .message()
            .all(kind)
            .map(|chunk| verified_data(reading.plain(chunk), author))
            .collect();
        verified.into_iter().collect()
    };
    let common_headers = all(ChunkType::CommonHeaders);
    let other_headers = all(ChunkType::OtherHeaders);
    let display = all(ChunkType::Display);
    let attachments = all(ChunkType::Attachment);
    let content = Content {
        common_headers: common_headers?.pop()?,
        other_headers: other_headers?.pop()?,
        display: display?,
        attachments: attachments?,
    };
    CommonHeaders::decode(&content.common_headers).ok()?;
    Some(content)
}

fn verified_data(plain: Option<Plain>, author: &VerifyingKey) -> Option<Bytes> {
    let plain = plain?;
    let signed = plain.signed_by(author);
    plain.into_data().filter(|_| signed)
}

/// Names nobody.
impl fmt::Debug for EnvelopeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeView")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
