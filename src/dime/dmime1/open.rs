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
use super::fault::{Checks, Fault, Flaw, Rule};
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
    Ok(EnvelopeView::open(message, Actor::Recipient, keys)?)
}

/// Opens the envelope of a sent copy with the author's key.
pub fn open_sent_envelope(message: &Message, keys: &UserKeys) -> Result<EnvelopeView, Refused> {
    Ok(EnvelopeView::open(message, Actor::Author, keys)?)
}

/// Checks everything of §13.4 and gives the content to the recipient.
pub fn open(view: &EnvelopeView, expected: &Expected<'_>) -> Result<Opened, Refused> {
    Ok(examine(view, expected)?)
}

/// As [`open`]; says what is wrong.
pub fn examine(view: &EnvelopeView, expected: &Expected<'_>) -> Result<Opened, Fault> {
    use ChunkType::{Destination as Five, Origin as Four};
    let reading = view.access.reading(&view.message);
    let Envelope { origin, destination } = &view.envelope;
    let mut checks = Checks::default();
    let is_own = (destination.recipient == *expected.address) & expected.own.is_of(expected.address);
    for (holds, kind, label) in [
        (expected.origin.governs(&destination.origin), Five, "Origin"),
        (
            expected.destination.governs(&origin.destination),
            Four,
            "Destination",
        ),
        (is_own, Five, "Recipient"),
        (expected.author.is_of(&origin.author), Four, "Author"),
    ] {
        checks.identity(holds, kind, label);
    }
    for (named, signet, kind, label) in [
        (
            destination.recipient_signet,
            expected.own.crypto_fingerprint(),
            Five,
            "Recipient-Signet",
        ),
        (
            origin.author_signet,
            expected.author.crypto_fingerprint(),
            Four,
            "Author-Signet",
        ),
        (
            destination.origin_signet,
            expected.origin.crypto_fingerprint(),
            Five,
            "Origin-Signet",
        ),
        (
            origin.destination_signet,
            expected.destination.crypto_fingerprint(),
            Four,
            "Destination-Signet",
        ),
    ] {
        checks.identity(named == signet, kind, label);
    }
    origin_signed(&reading, &expected.origin.message_signing_keys(), &mut checks);
    view.finish(Actor::Recipient, checks, &expected.author.signing_key())
}

/// Checks what §13.5 asks for and gives the content of a sent copy to its author.
///
/// The author's own signatures cover everything, so no other signet is needed; the origin's are not looked at.
pub fn open_sent(view: &EnvelopeView, address: &Mailbox, own: &VerifiedUser) -> Result<Opened, Refused> {
    Ok(examine_sent(view, address, own)?)
}

/// As [`open_sent`]; says what is wrong.
pub fn examine_sent(view: &EnvelopeView, address: &Mailbox, own: &VerifiedUser) -> Result<Opened, Fault> {
    let (origin, kind) = (&view.envelope.origin, ChunkType::Origin);
    let mut checks = Checks::default();
    let is_own = (origin.author == *address) & own.is_of(address);
    checks.identity(is_own, kind, "Author");
    let signet = own.crypto_fingerprint();
    checks.identity(origin.author_signet == signet, kind, "Author-Signet");
    view.finish(Actor::Author, checks, &own.signing_key())
}

impl EnvelopeView {
    /// As [`open_envelope`] for the recipient and [`open_sent_envelope`] for the author; says what is wrong.
    pub fn open(message: &Message, actor: Actor, keys: &UserKeys) -> Result<Self, Fault> {
        let access = Access::new(message, actor, &keys.encryption);
        let told = |flaw: Flaw| flaw.of(message);
        let reading = access.reading(message);
        let four = reading.plain_of(ChunkType::Origin).map_err(told)?;
        let five = reading.plain_of(ChunkType::Destination).map_err(told)?;
        let (origin, destination) = (four.origin(), five.destination());
        let envelope = Envelope {
            origin: origin.map_err(told)?,
            destination: destination.map_err(told)?,
        };
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
    fn finish(&self, actor: Actor, mut checks: Checks, author: &VerifyingKey) -> Result<Opened, Fault> {
        use ChunkType::{Destination as Five, Origin as Four};
        let reading = self.access.reading(&self.message);
        let Envelope { origin, destination } = &self.envelope;
        let [four, five] = &self.plain;
        checks.identity(*origin.author.domain() == destination.origin, Five, "Origin");
        checks.identity(
            *destination.recipient.domain() == origin.destination,
            Four,
            "Destination",
        );
        author_signed(&reading, author, &mut checks);
        checks.signature(four.signed_by(author), Four);
        checks.signature(five.signed_by(author), Five);
        // Opened as somebody else.
        checks.demand(self.access.actor() == actor, Flaw::new(Rule::V12, Four));
        checks.conclude(&self.message)?;
        let content = content(&reading, author).map_err(|flaw| flaw.of(&self.message))?;
        Ok(Opened {
            envelope: self.envelope.clone(),
            content,
        })
    }
}

/// Decrypts and verifies every chunk of content, also after one has failed.
fn content(reading: &Reading<'_>, author: &VerifyingKey) -> Result<Content, Flaw> {
    use ChunkType::{Attachment, CommonHeaders as Common, Display, OtherHeaders as Other};
    let all = |kind| -> Result<Vec<Bytes>, Flaw> {
        let verified: Vec<_> = reading
            .message()
            .all(kind)
            .map(|chunk| verified_data(reading.plain(chunk), author))
            .collect();
        let numbered = verified.into_iter().enumerate();
        numbered
            .map(|(number, data)| data.map_err(|rule| Flaw::new(rule, kind).number(number)))
            .collect()
    };
    let (common_headers, other_headers) = (all(Common), all(Other));
    let (display, attachments) = (all(Display), all(Attachment));
    let one = |chunks: Result<Vec<Bytes>, Flaw>, kind| chunks?.pop().ok_or(Flaw::new(Rule::V12, kind));
    let content = Content {
        common_headers: one(common_headers, Common)?,
        other_headers: one(other_headers, Other)?,
        display: display?,
        attachments: attachments?,
    };
    match CommonHeaders::decode(&content.common_headers) {
        Ok(_) => Ok(content),
        Err(error) => {
            let flaw = Flaw::new(Rule::V14, Common);
            Err(error.label().map_or(flaw, |label| flaw.of_field(label)))
        }
    }
}

fn verified_data(plain: Option<Plain>, author: &VerifyingKey) -> Result<Bytes, Rule> {
    let plain = plain.ok_or(Rule::V12)?;
    let signed = plain.signed_by(author);
    let data = plain.into_data();
    match signed {
        true => data,
        false => Err(Rule::V15),
    }
}

/// Names nobody.
impl fmt::Debug for EnvelopeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeView")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
