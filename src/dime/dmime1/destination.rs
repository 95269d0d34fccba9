//! The destination's side: reads chunk 5 and checks the origin's signatures (`dmime.md` §13.3).
//!
//! The destination does not learn the author, so it cannot verify chunk 5 itself: that the origin signed the whole
//! message is what it relies on (W14).

use std::fmt;

use super::chunk::{Actor, ChunkType};
use super::envelope::DestinationEnvelope;
use super::fault::{Checks, Fault};
use super::reading::Access;
use super::signature::origin_signed;
use super::{Message, Refused};
use crate::dime::keys::OrgKeys;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Domain;

/// What chunk 5 says. Untrusted until checked.
pub struct DestinationView {
    message: Message,
    access: Access,
    envelope: DestinationEnvelope,
}

/// What the destination knows by itself when it checks a message.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The domain that the peer named as the sender's in this DMTP transaction.
    pub peer: &'a Domain,
    /// A domain served here.
    pub destination: &'a Domain,
    /// The origin's signet that chunk 5 names.
    pub origin: &'a VerifiedOrg,
    /// The signet of an account here that chunk 5 names. A recipient whose signet has changed is bounced before.
    pub recipient: &'a VerifiedUser,
}

/// A message that the origin vouches for. May be stored or passed on.
pub struct CheckedArrival {
    message: Message,
    envelope: DestinationEnvelope,
}

/// Opens chunk 5 with the organization's key.
pub fn open(message: &Message, keys: &OrgKeys) -> Result<DestinationView, Refused> {
    Ok(DestinationView::open(message, keys)?)
}

impl DestinationView {
    /// As [`open`]; says what is wrong.
    pub fn open(message: &Message, keys: &OrgKeys) -> Result<Self, Fault> {
        let access = Access::new(message, Actor::Destination, &keys.encryption);
        let plain = access.reading(message).plain_of(ChunkType::Destination);
        let envelope = plain.and_then(|plain| plain.destination());
        Ok(Self {
            message: message.clone(),
            access,
            envelope: envelope.map_err(|flaw| flaw.of(message))?,
        })
    }

    /// Recipient and origin, with the fingerprints of the signets to fetch for the check.
    pub fn envelope(&self) -> &DestinationEnvelope {
        &self.envelope
    }

    /// Every check of §13.3: domains, signets, the origin's signatures.
    pub fn check(self, expected: &Expected<'_>) -> Result<CheckedArrival, Refused> {
        Ok(self.examine(expected)?)
    }

    /// As [`check`](Self::check); says what is wrong.
    pub fn examine(self, expected: &Expected<'_>) -> Result<CheckedArrival, Fault> {
        let Expected {
            peer,
            destination,
            origin,
            recipient,
        } = expected;
        let (envelope, kind) = (&self.envelope, ChunkType::Destination);
        let mut checks = Checks::default();
        checks.identity(envelope.origin == **peer, kind, "Origin");
        checks.identity(envelope.recipient.domain() == *destination, kind, "Recipient");
        checks.identity(origin.governs(&envelope.origin), kind, "Origin");
        let signet = origin.crypto_fingerprint();
        checks.identity(envelope.origin_signet == signet, kind, "Origin-Signet");
        checks.identity(recipient.is_of(&envelope.recipient), kind, "Recipient");
        let signet = recipient.crypto_fingerprint();
        checks.identity(envelope.recipient_signet == signet, kind, "Recipient-Signet");
        let keys = origin.message_signing_keys();
        origin_signed(&self.access.reading(&self.message), &keys, &mut checks);
        checks.conclude(&self.message)?;
        Ok(CheckedArrival {
            message: self.message,
            envelope: self.envelope,
        })
    }
}

/// The same as [`DestinationView::check`].
pub fn check(view: DestinationView, expected: &Expected<'_>) -> Result<CheckedArrival, Refused> {
    view.check(expected)
}

impl CheckedArrival {
    /// Recipient and origin, as the origin vouches for them.
    pub fn envelope(&self) -> &DestinationEnvelope {
        &self.envelope
    }

    /// The message, to be kept unchanged, without tracing.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// Names nobody.
impl fmt::Debug for DestinationView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationView")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// Names nobody.
impl fmt::Debug for CheckedArrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedArrival")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
