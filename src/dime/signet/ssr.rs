//! Signing requests (SSR): what a user hands to their organization (`signet.md` §8.3, §13).

use super::Error;
use super::builder::Draft;
use super::field::{Kind, SignatureKind, id};
use super::object::Signet;
use super::user::{Custody, VerifiedUser};
use super::verify::{Refused, check};
use crate::crypto::ed25519::{SigningKey, VerifyingKey};
use crate::crypto::suite::secp256k1_aes256::PublicKey;
use crate::dime::fingerprint::SsrFingerprint;
use crate::dime::keys::UserKeys;

/// Asks for a signet over the public halves of `keys`.
pub fn request(keys: &UserKeys) -> Result<Signet, Error> {
    signed_by_user(draft(keys)?, keys)
}

/// Asks for the signet that succeeds the one of `previous`, which signs the new keys.
pub fn rotation_request(keys: &UserKeys, previous: &SigningKey) -> Result<Signet, Error> {
    let mut draft = draft(keys)?;
    draft.sign(id::CUSTODY, previous)?;
    signed_by_user(draft, keys)
}

fn draft(keys: &UserKeys) -> Result<Draft, Error> {
    let mut draft = Draft::new(Kind::Request);
    draft.push_signing_key(&keys.signing.verifying_key())?;
    draft.push(
        id::USER_ENCRYPTION_KEY,
        &keys.encryption.public_key().to_compressed(),
    )?;
    Ok(draft)
}

fn signed_by_user(mut draft: Draft, keys: &UserKeys) -> Result<Signet, Error> {
    draft.sign(id::REQUEST_SIGNATURE, &keys.signing)?;
    draft.finish()
}

/// A request whose maker holds the signing key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    signet: Signet,
    custody: Custody,
    signing: VerifyingKey,
    encryption: PublicKey,
    fingerprint: SsrFingerprint,
}

/// Verifies a request, with the current signet of the same user as `predecessor` when it is a rotation.
///
/// Errors: [`Error::Kind`], [`Error::BadSignature`], [`Error::CustodyBroken`], [`Error::CustodyMissing`]. Source: §8.3.
/// Deviation: libdime checks the wrong field against the predecessor and so refuses every rotation (D3).
pub fn verify_request(signet: &Signet, predecessor: Option<&VerifiedUser>) -> Result<VerifiedRequest, Error> {
    signet.expect(Kind::Request)?;
    check_request_signature(signet)?;
    Ok(VerifiedRequest {
        custody: check_custody(signet, predecessor.map(VerifiedUser::signing_key))?,
        signing: signet.signing_key()?,
        encryption: signet.encryption_key()?,
        fingerprint: signet
            .ssr_fingerprint()
            .ok_or(Error::Missing(id::REQUEST_SIGNATURE))?,
        signet: signet.clone(),
    })
}

impl VerifiedRequest {
    /// Whether the predecessor's key signed the new keys.
    pub fn custody(&self) -> Custody {
        self.custody
    }

    /// The proposed signing key.
    pub fn signing_key(&self) -> VerifyingKey {
        self.signing
    }

    /// The proposed encryption key.
    pub fn encryption_key(&self) -> PublicKey {
        self.encryption
    }

    /// Fingerprint of the request.
    pub fn fingerprint(&self) -> SsrFingerprint {
        self.fingerprint
    }

    /// The request itself.
    pub fn signet(&self) -> &Signet {
        &self.signet
    }
}

/// The user's own signature, by the key in the object itself.
pub(super) fn check_request_signature(signet: &Signet) -> Result<(), Error> {
    check(signet, id::REQUEST_SIGNATURE, &[signet.signing_key()?])
        .map_err(|Refused| Error::BadSignature(SignatureKind::Request))
}

/// The previous key's signature. A given predecessor must have signed; an unknown one leaves the question open (D5).
pub(super) fn check_custody(signet: &Signet, predecessor: Option<VerifyingKey>) -> Result<Custody, Error> {
    match (signet.has(id::CUSTODY), predecessor) {
        (false, None) => Ok(Custody::NoCustody),
        (false, Some(_)) => Err(Error::CustodyMissing),
        (true, None) => Ok(Custody::Unproven),
        (true, Some(previous)) => match check(signet, id::CUSTODY, &[previous]) {
            Ok(()) => Ok(Custody::Proven),
            Err(Refused) => Err(Error::CustodyBroken),
        },
    }
}
