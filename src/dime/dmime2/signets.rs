//! Signets that a message names: whether they are the owner's, valid, and in force (`dmime2.md` §13 E4).

use super::rule::{Rule, demand};
use super::time::ALLOWANCE_SECS;
use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, Mailbox};

/// Most SOKs that a verifier tries (§8).
pub const MAX_SOKS: usize = 16;

/// The dates of a key set that obeys N1–N3; whether it also obeys N5 and N7 does not matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds; 0 means never in force once superseded.
    pub expires: u64,
}

/// What a verifier knows of a signet that it looked up by name and fingerprint together.
#[derive(Debug)]
pub struct Known<'a, S> {
    /// The signet, verified for its owner.
    pub signet: &'a S,
    /// Of the key set in it, if there is one.
    pub key_set: Option<Lifetime>,
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

/// Whether a signet counts for something made at `created`: its key set was alive then, or it is the current one.
pub fn in_force(key_set: Option<Lifetime>, is_current: bool, created: u64) -> bool {
    let lived = |set: Lifetime| {
        set.expires != 0 && set.created.saturating_sub(ALLOWANCE_SECS) <= created && created < set.expires
    };
    is_current || key_set.is_some_and(lived)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superseded_signet_counts_within_the_life_of_its_key_set() {
        let set = |created, expires| Some(Lifetime { created, expires });
        assert!(!in_force(set(10_000, 20_000), false, 6_399));
        assert!(in_force(set(10_000, 20_000), false, 6_400));
        assert!(in_force(set(10_000, 20_000), false, 19_999));
        assert!(!in_force(set(10_000, 20_000), false, 20_000));
        assert!(!in_force(set(10_000, 0), false, 15_000));
        assert!(!in_force(None, false, 15_000));
        assert!(in_force(set(0, 1), false, 0));
    }

    #[test]
    fn the_current_signet_counts_always() {
        assert!(in_force(None, true, 0));
        let expired = Some(Lifetime {
            created: 1,
            expires: 2,
        });
        assert!(in_force(expired, true, u64::MAX));
    }
}
