//! Signatures of imported signets: Ed25519 over whole fields, without the header (`prime.md` §5, `signet.md` §6.1).

use super::{Dialect, Error, ForeignSignet};
use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::dime::signet::{Kind, Permissions, id};

/// Signets that others are verified with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Companions<'a> {
    /// Signet of the organization that signed a user signet.
    pub organization: Option<&'a ForeignSignet>,
    /// The signet that a user had before.
    pub previous: Option<&'a ForeignSignet>,
}

/// What became of one signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// The field that it is in.
    pub field: u8,
    /// The judgement.
    pub outcome: Outcome,
}

/// How a signature was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Made by the key that has to make it.
    Verified,
    /// Not made by that key.
    Refused,
    /// Nobody said whose key that is.
    Unproven,
    /// No reader of the dialect looks at it.
    Ignored,
}

/// The signatures that need no other signet: all of an organization, and the user's own.
pub(super) fn check_own(signet: &ForeignSignet) -> Result<(), Error> {
    let checks = checks(signet, Companions::default())?;
    match checks.iter().find(|check| check.outcome == Outcome::Refused) {
        Some(refused) => Err(Error::BadSignature(refused.field)),
        None => Ok(()),
    }
}

pub(super) fn checks(signet: &ForeignSignet, companions: Companions<'_>) -> Result<Vec<Check>, Error> {
    if let Some(organization) = companions.organization {
        organization.expect(Kind::Organization)?;
    }
    if let Some(previous) = companions.previous {
        previous.expect(Kind::User)?;
    }
    let signatures = signet
        .fields()
        .map(|field| field.id)
        .filter(|id| is_signature(*id));
    let judged = signatures.map(|field| Check {
        field,
        outcome: judge(signet, field, companions),
    });
    Ok(judged.collect())
}

fn is_signature(id: u8) -> bool {
    matches!(id, 4..=15 | id::FULL_SIGNATURE | id::ID_SIGNATURE)
}

fn judge(signet: &ForeignSignet, field: u8, companions: Companions<'_>) -> Outcome {
    if !signet.is_kept(field) {
        return Outcome::Ignored;
    }
    let Some(signers) = signers(signet, field, companions) else {
        return Outcome::Unproven;
    };
    let octets = signet.field(field).and_then(|data| data.try_into().ok());
    let Some(signature) = octets.map(Signature) else {
        return Outcome::Refused;
    };
    let covered = signet.below(field);
    match signers
        .iter()
        .any(|signer| signer.verify(&covered, &signature).is_ok())
    {
        true => Outcome::Verified,
        false => Outcome::Refused,
    }
}

/// Keys that may have made a signature; `None` if they are in a signet that was not given.
fn signers(signet: &ForeignSignet, field: u8, companions: Companions<'_>) -> Option<Vec<VerifyingKey>> {
    match (signet.kind(), field) {
        (Kind::Organization, _) | (_, id::REQUEST_SIGNATURE) => Some(vec![signet.signing_key()]),
        (_, id::CUSTODY) => companions.previous.map(|previous| vec![previous.signing_key()]),
        _ => companions.organization.map(signet_signing_keys),
    }
}

/// The primary key and, outside PRIME, secondary ones with that permission.
fn signet_signing_keys(organization: &ForeignSignet) -> Vec<VerifyingKey> {
    let mut keys = vec![organization.signing_key()];
    if organization.dialect() == Dialect::Magma {
        let secondary = organization.secondary_keys().into_iter();
        keys.extend(
            secondary
                .filter(|key| key.permissions.contain(Permissions::SIGNETS))
                .map(|key| key.key),
        );
    }
    keys
}
