//! Signets that a message names: whether they are the owner's, valid, and in force (`dmime2.md` §13 E4).

use super::rule::{Rule, demand};
use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::SignedKeySet;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, Mailbox};

/// Most SOKs that a verifier tries (§8).
pub const MAX_SOKS: usize = 16;

/// What a verifier knows of a signet that it looked up by name and fingerprint together.
#[derive(Debug)]
pub struct Known<'a, S> {
    /// The signet, verified for its owner.
    pub signet: &'a S,
    /// The key set in it, if there is one that obeys N1–N3.
    pub key_set: Option<&'a SignedKeySet>,
    /// Whether it is the owner's current signet now, at the first check of the message.
    pub is_current: bool,
}

/// A user's signet as an actor knows it.
pub type KnownUser<'a> = Known<'a, VerifiedUser>;
/// An organization's signet as an actor knows it.
pub type KnownOrg<'a> = Known<'a, VerifiedOrg>;

impl<S> Clone for Known<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Known<'_, S> {}

/// Whether a signet counts for something made at `created`: it is the current one, or it holds a key set that was alive
/// then. Unix seconds; no clock has a part in it.
pub fn in_force(key_set: Option<&SignedKeySet>, is_current: bool, created: u64) -> bool {
    is_current || key_set.is_some_and(|set| set.was_in_force(created))
}

impl<'a> KnownUser<'a> {
    /// Rule E4 for the user `name` and the fingerprint in an envelope.
    pub(super) fn check(
        known: Option<Self>,
        name: &Mailbox,
        fingerprint: &FullFingerprint,
        created: u64,
    ) -> Result<&'a VerifiedUser, Rule> {
        let known = known.ok_or(Rule::E4)?;
        let fits = known.signet.is_of(name) && known.signet.full_fingerprint() == Some(*fingerprint);
        demand(
            fits && in_force(known.key_set, known.is_current, created),
            Rule::E4,
        )?;
        Ok(known.signet)
    }
}

impl<'a> KnownOrg<'a> {
    /// Rule E4 for the organization `name` and the fingerprint in an envelope.
    pub(super) fn check(
        known: Option<Self>,
        name: &Domain,
        fingerprint: &FullFingerprint,
        created: u64,
    ) -> Result<&'a VerifiedOrg, Rule> {
        let known = known.ok_or(Rule::E4)?;
        let fits = known.signet.full_fingerprint() == Some(*fingerprint);
        demand(fits && known.counts_for(name, created), Rule::E4)?;
        Ok(known.signet)
    }

    /// Whether it is a signet of `name` with a full signature that was in force at `time`, whatever its fingerprint.
    pub(super) fn counts_for(&self, name: &Domain, time: u64) -> bool {
        self.signet.domain() == name
            && self.signet.full_fingerprint().is_some()
            && in_force(self.key_set, self.is_current, time)
    }
}

/// Whether the POK or one of the first 16 message SOKs of an organization made this signature.
pub(super) fn is_signed_by(organization: &VerifiedOrg, input: &[u8], signature: &Signature) -> bool {
    is_signed_by_any(&organization.message_signing_keys(), input, signature)
}

/// As [`is_signed_by`] for a POK followed by SOKs.
pub(super) fn is_signed_by_any(keys: &[VerifyingKey], input: &[u8], signature: &Signature) -> bool {
    keys.iter()
        .take(1 + MAX_SOKS)
        .any(|key| key.verify(input, signature).is_ok())
}
