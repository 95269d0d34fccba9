//! The origin's side: reads chunk 4, checks that the author may send this, and signs (`dmime.md` §13.2).
//!
//! [`open`] gives an [`OriginView`], which proves nothing; [`OriginView::check`] turns it into a
//! [`CheckedSubmission`], the only thing that can be signed.

use std::fmt;

use super::chunk::{Actor, ChunkType};
use super::envelope::OriginEnvelope;
use super::fault::{Checks, Fault};
use super::keyslot::ContentKey;
use super::reading::{Access, Plain};
use super::signature::{ORIGIN_SIGNATURES, author_signed};
use super::{MAGIC, MESSAGE_HEADER_SIZE, Message, Refused};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256 as suite;
use crate::dime::keys::OrgKeys;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, Mailbox};

/// What chunk 4 says. Untrusted until checked.
pub struct OriginView {
    message: Message,
    access: Access,
    envelope: OriginEnvelope,
    plain: Plain,
}

/// What the origin knows by itself when it checks a submission.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who has authenticated for this submission.
    pub submitter: &'a Mailbox,
    /// The domain this origin serves.
    pub origin: &'a Domain,
    /// The author's signet that chunk 4 names.
    pub author: &'a VerifiedUser,
    /// The destination's signet that chunk 4 names.
    pub destination: &'a VerifiedOrg,
}

/// Which bounce signatures the origin makes; the chunk of one it does not make is removed (`dmime.md` M4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounces {
    /// Over envelope and metadata (248).
    pub metadata: bool,
    /// Over envelope, metadata and display content (249).
    pub display: bool,
}

impl Default for Bounces {
    /// Both: a fixed policy leaks nothing about a message.
    fn default() -> Self {
        Self {
            metadata: true,
            display: true,
        }
    }
}

/// A message whose author, destination and placeholders have been checked. May be signed.
pub struct CheckedSubmission {
    message: Message,
    access: Access,
    envelope: OriginEnvelope,
}

/// Opens chunk 4 with the organization's key.
pub fn open(message: &Message, keys: &OrgKeys) -> Result<OriginView, Refused> {
    Ok(OriginView::open(message, keys)?)
}

impl OriginView {
    /// As [`open`]; says what is wrong.
    pub fn open(message: &Message, keys: &OrgKeys) -> Result<Self, Fault> {
        let access = Access::new(message, Actor::Origin, &keys.encryption);
        let plain = access.reading(message).plain_of(ChunkType::Origin);
        let opened = plain.and_then(|plain| Ok((plain.origin()?, plain)));
        let (envelope, plain) = opened.map_err(|flaw| flaw.of(message))?;
        Ok(Self {
            message: message.clone(),
            access,
            envelope,
            plain,
        })
    }

    /// Author and destination, with the fingerprints of the signets to fetch for the check.
    pub fn envelope(&self) -> &OriginEnvelope {
        &self.envelope
    }

    /// Whether the author signed this message for this destination. Says nothing about who submitted it.
    pub fn verify_author(&self, author: &VerifiedUser, destination: &VerifiedOrg) -> Result<(), Refused> {
        let mut checks = Checks::default();
        self.check_author(author, destination, &mut checks);
        Ok(checks.conclude(&self.message)?)
    }

    fn check_author(&self, author: &VerifiedUser, destination: &VerifiedOrg, checks: &mut Checks) {
        let (envelope, kind) = (&self.envelope, ChunkType::Origin);
        let signet = author.crypto_fingerprint();
        checks.identity(envelope.author_signet == signet, kind, "Author-Signet");
        let signet = destination.crypto_fingerprint();
        checks.identity(envelope.destination_signet == signet, kind, "Destination-Signet");
        checks.identity(author.is_of(&envelope.author), kind, "Author");
        checks.identity(destination.governs(&envelope.destination), kind, "Destination");
        author_signed(&self.access.reading(&self.message), &author.signing_key(), checks);
        checks.signature(self.plain.signed_by(&author.signing_key()), kind);
    }

    /// Every check of §13.2: submitter, domain, signets, the author's three signatures, blank origin signatures.
    pub fn check(self, expected: &Expected<'_>) -> Result<CheckedSubmission, Refused> {
        Ok(self.examine(expected)?)
    }

    /// As [`check`](Self::check); says what is wrong.
    pub fn examine(self, expected: &Expected<'_>) -> Result<CheckedSubmission, Fault> {
        let (author, kind) = (&self.envelope.author, ChunkType::Origin);
        let mut checks = Checks::default();
        checks.identity(author == expected.submitter, kind, "Author");
        checks.identity(author.domain() == expected.origin, kind, "Author");
        self.check_author(expected.author, expected.destination, &mut checks);
        self.check_placeholders(&mut checks);
        checks.conclude(&self.message)?;
        Ok(CheckedSubmission {
            message: self.message,
            access: self.access,
            envelope: self.envelope,
        })
    }

    /// The origin's signatures are blank.
    fn check_placeholders(&self, checks: &mut Checks) {
        let reading = self.access.reading(&self.message);
        let present = ORIGIN_SIGNATURES
            .into_iter()
            .filter(|(kind, _)| self.message.find(*kind).is_some());
        for (kind, _) in present {
            let value = reading.signature(kind);
            checks.signature(value.is_some_and(|value| value.0 == [0; 64]), kind);
        }
    }
}

/// The same as [`OriginView::check`].
pub fn check(view: OriginView, expected: &Expected<'_>) -> Result<CheckedSubmission, Refused> {
    view.check(expected)
}

impl CheckedSubmission {
    /// Author and destination, verified.
    pub fn envelope(&self) -> &OriginEnvelope {
        &self.envelope
    }

    /// The message as the author made it.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// Makes the origin's signatures in place of the placeholders and drops tracing; deterministic.
///
/// `key` is the primary organizational key wherever libdime may verify (`dmime.md` M5).
pub fn sign(checked: &CheckedSubmission, key: &SigningKey, bounces: Bounces) -> Result<Vec<u8>, Refused> {
    let message = &checked.message;
    let reading = checked.access.reading(message);
    let wanted = |kind| match kind {
        ChunkType::MetadataBounce => bounces.metadata,
        ChunkType::DisplayBounce => bounces.display,
        _ => true,
    };
    let mut out = header_and_area(message, ChunkType::MetadataBounce);
    for (kind, until) in ORIGIN_SIGNATURES.into_iter().filter(|(kind, _)| wanted(*kind)) {
        let Some(chunk) = message.find(kind) else { continue };
        let covered = match kind {
            ChunkType::OriginSignature => out.len(),
            _ => MESSAGE_HEADER_SIZE + message.octets_before(until).len(),
        };
        let mut value = key.sign(&out[MESSAGE_HEADER_SIZE..covered]).0;
        let content_key = reading.content_key(chunk).ok_or(Refused)?;
        encrypt(&content_key, &mut value)?;
        let octets = message.chunk_octets(chunk);
        let payload = chunk.payload_range();
        out.extend_from_slice(&octets[..payload.start - chunk.start]);
        out.extend_from_slice(&value);
        out.extend_from_slice(&octets[payload.end - chunk.start..]);
    }
    write_size(&mut out)?;
    Ok(out)
}

fn encrypt(key: &ContentKey, value: &mut [u8]) -> Result<(), Refused> {
    suite::encrypt(&key.key, &key.iv, value).map_err(|_| Refused)
}

/// A copy of the message up to the first chunk of `until` or a later type.
fn header_and_area(message: &Message, until: ChunkType) -> Vec<u8> {
    let area = message.octets_before(until);
    let mut out = Vec::with_capacity(message.without_tracing().len());
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(area);
    out
}

fn write_size(out: &mut [u8]) -> Result<(), Refused> {
    let size = u32::try_from(out.len() - MESSAGE_HEADER_SIZE).map_err(|_| Refused)?;
    out[2..MESSAGE_HEADER_SIZE].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

/// Names nobody.
impl fmt::Debug for OriginView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginView")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// Names nobody.
impl fmt::Debug for CheckedSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedSubmission")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
