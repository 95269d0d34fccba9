//! What verification of all kinds has in common: signatures over prefixes (`signet.md` §6.1), and names.

use super::Error;
use super::field::{Level, SignatureKind, id};
use super::object::Signet;
use crate::crypto::ed25519::{Signature, VerifyingKey};

/// Checks the organization's signatures up to the highest one present, each by any of `signers`, and drops what is above it.
///
/// Fields above the highest signature are covered by nothing and count as absent (D15).
pub(super) fn signed_part(signet: &Signet, signers: &[VerifyingKey]) -> Result<(Signet, Level), Error> {
    let level = signet.level().ok_or(Error::Missing(id::FULL_SIGNATURE))?;
    for (reached, kind) in [
        (Level::Crypto, SignatureKind::Crypto),
        (Level::Full, SignatureKind::Full),
        (Level::Id, SignatureKind::Id),
    ] {
        if reached <= level {
            let field = signet.kind().signature_of(reached).unwrap_or_default();
            check(signet, field, signers).map_err(|Refused| Error::BadSignature(kind))?;
        }
    }
    let part = signet.split(level).ok_or(Error::Missing(id::FULL_SIGNATURE))?;
    Ok((part, level))
}

/// No signer made the signature.
pub(super) struct Refused;

/// Checks the signature in `field` by any of `signers`.
pub(super) fn check(signet: &Signet, field: u8, signers: &[VerifyingKey]) -> Result<(), Refused> {
    let octets = signet.field(field).and_then(|data| data.try_into().ok());
    let signature = Signature(octets.ok_or(Refused)?);
    let covered = signet.below(field);
    let verified = |signer: &VerifyingKey| signer.verify(covered, &signature).is_ok();
    signers.iter().any(verified).then_some(()).ok_or(Refused)
}

/// Demands that an identifier, where there is one, reads as the name asked for.
pub(super) fn check_name<Name: std::str::FromStr + PartialEq>(
    identifier: Option<&[u8]>,
    expected: &Name,
) -> Result<(), Error> {
    let Some(octets) = identifier else { return Ok(()) };
    let text = std::str::from_utf8(octets).map_err(|_| Error::WrongName)?;
    match text.parse::<Name>().is_ok_and(|name| name == *expected) {
        true => Ok(()),
        false => Err(Error::WrongName),
    }
}
