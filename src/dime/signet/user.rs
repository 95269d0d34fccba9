//! User signets: signing requests into them, and trusting them because their organization signed (`signet.md` §8.5).

use std::fmt;

use super::Error;
use super::builder::{Builder, Draft};
use super::field::{Kind, Level, SignatureKind, id};
use super::object::Signet;
use super::org::VerifiedOrg;
use super::profile::Profile;
use super::ssr::{VerifiedRequest, check_custody, check_request_signature};
use super::verify::{Refused, check, check_name, signed_part};
use crate::crypto::ed25519::{SigningKey, VerifyingKey};
use crate::crypto::suite::secp256k1_aes256::PublicKey;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint, IdFingerprint, SsrFingerprint};
use crate::mail::address::{Domain, Mailbox};

/// What is known of the chain of custody between a signet and the one before it (§13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Custody {
    /// There is no custody signature: a first signet, or a new start.
    NoCustody,
    /// The predecessor signed the new keys.
    Proven,
    /// There is a custody signature, but the predecessor is not known. The signet itself is valid.
    Unproven,
}

/// Makes a user signet.
pub type UserBuilder<'a> = Builder<'a, Mailbox>;

/// A key that may sign user signets of an organization.
pub struct Signer<'a> {
    key: &'a SigningKey,
    colleagues: Vec<VerifyingKey>,
}

impl<'a> Signer<'a> {
    /// [`Error::NotASigner`] unless `key` is the primary key or a secondary one with that permission (D17).
    pub fn new(org: &VerifiedOrg, key: &'a SigningKey) -> Result<Self, Error> {
        let colleagues = org.signet_signing_keys();
        match colleagues.contains(&key.verifying_key()) {
            true => Ok(Self { key, colleagues }),
            false => Err(Error::NotASigner),
        }
    }

    /// Turns a request into a user signet.
    ///
    /// [`Error::PredecessorUnknown`] for a rotation that was verified without its predecessor, [`Error::AlternateKey`] for
    /// a request that could not be read back as a signet (D8).
    pub fn sign(&self, request: &VerifiedRequest) -> Result<UserBuilder<'a>, Error> {
        let signet = request.signet();
        match request.custody() {
            Custody::Unproven => return Err(Error::PredecessorUnknown),
            _ if signet.has(id::ALTERNATE_KEY) => return Err(Error::AlternateKey),
            _ => {}
        }
        let draft = Draft::continuing(signet, id::REQUEST_SIGNATURE, Kind::User);
        UserBuilder::sealed(draft, self.key)
    }

    /// Vouches anew for the keys of an existing signet, with its profile: all signatures of the organization are made by
    /// this key. What the user has signed, chain of custody and key set included, stays.
    pub fn resign(&self, user: &VerifiedUser) -> Result<UserBuilder<'a>, Error> {
        let draft = Draft::continuing(&user.signet, id::REQUEST_SIGNATURE, Kind::User);
        let builder = UserBuilder::sealed(draft, self.key)?;
        Ok(builder.with_profile(Profile::of(&user.signet)))
    }

    /// Changes the profile of an existing signet; its higher signatures are made anew.
    ///
    /// [`Error::BadSignature`] if the signet's keys are vouched for by another organization.
    pub fn edit(&self, user: &VerifiedUser) -> Result<UserBuilder<'a>, Error> {
        check(&user.signet, id::USER_CRYPTO_SIGNATURE, &self.colleagues)
            .map_err(|Refused| Error::BadSignature(SignatureKind::Crypto))?;
        Ok(UserBuilder::editing(&user.signet, self.key))
    }
}

/// A user signet that its organization vouches for, up to its highest signature.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedUser {
    address: Mailbox,
    signet: Signet,
    object: Vec<u8>,
    level: Level,
    custody: Custody,
    signing: VerifyingKey,
    encryption: PublicKey,
    crypto: CryptoFingerprint,
}

/// Verifies the signet of `address` with the signet of its organization and, where known, the signet before it.
///
/// Errors: [`Error::Kind`], [`Error::BadSignature`], [`Error::CustodyBroken`], [`Error::CustodyMissing`], and
/// [`Error::WrongName`], also when the address is neither of the organization's domain nor of one below it. Source: §8.5.
/// Deviation: the user's own signature is verified (D4), names are compared, an unknown predecessor is no failure (D5).
pub fn verify_user(
    signet: &Signet,
    org: &VerifiedOrg,
    predecessor: Option<&VerifiedUser>,
    address: &Mailbox,
) -> Result<VerifiedUser, Error> {
    signet.expect(Kind::User)?;
    check_request_signature(signet)?;
    let (signet, level) = signed_part(signet, &org.signet_signing_keys())?;
    let custody = check_custody(&signet, predecessor.map(VerifiedUser::signing_key))?;
    check_name(signet.field(id::IDENTIFIER), address)?;
    if !is_within(address.domain(), org.domain()) {
        return Err(Error::WrongName);
    }
    Ok(VerifiedUser {
        address: address.clone(),
        object: signet.encode(),
        level,
        custody,
        signing: signet.signing_key()?,
        encryption: signet.encryption_key()?,
        crypto: signet
            .crypto_fingerprint()
            .ok_or(Error::Missing(id::USER_CRYPTO_SIGNATURE))?,
        signet,
    })
}

impl VerifiedUser {
    /// Whether it was verified for `address`; the case of letters does not matter, in DMTP names neither.
    ///
    /// Only the highest level carries an identifier, so what a signet was asked for is all that binds the others.
    pub fn is_of(&self, address: &Mailbox) -> bool {
        self.address.local().eq_ignore_ascii_case(address.local())
            && self.address.domain() == address.domain()
    }

    /// The key that signs the user's messages.
    pub fn signing_key(&self) -> VerifyingKey {
        self.signing
    }

    /// The key for keyslots of author and recipient.
    pub fn encryption_key(&self) -> PublicKey {
        self.encryption
    }

    /// What is known of the chain of custody.
    pub fn custody(&self) -> Custody {
        self.custody
    }

    /// Whether the holder of `previous` signed the keys of this signet: chain of custody from it, by one step.
    pub fn succeeds(&self, previous: &VerifyingKey) -> bool {
        check(&self.signet, id::CUSTODY, &[*previous]).is_ok()
    }

    /// Whether that key of the organization vouches for the user's keys, and for everything above them.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let levels = [Level::Crypto, Level::Full, Level::Id].into_iter();
        let mut fields = levels
            .filter(|level| *level <= self.level)
            .filter_map(|level| Kind::User.signature_of(level));
        fields.all(|field| check(&self.signet, field, &[*key]).is_ok())
    }

    /// How far the signet reaches.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Fingerprint of the request that it was made from.
    pub fn ssr_fingerprint(&self) -> Option<SsrFingerprint> {
        self.signet.ssr_fingerprint()
    }

    /// Fingerprint of the keys: what message envelopes carry.
    pub fn crypto_fingerprint(&self) -> CryptoFingerprint {
        self.crypto
    }

    /// Fingerprint with the profile, if the signet reaches so far.
    pub fn full_fingerprint(&self) -> Option<FullFingerprint> {
        self.signet.full_fingerprint()
    }

    /// Fingerprint of the whole, if the signet reaches so far.
    pub fn id_fingerprint(&self) -> Option<IdFingerprint> {
        self.signet.id_fingerprint()
    }

    /// The signed identifier as it is spelled in the signet.
    pub fn identifier(&self) -> Option<&[u8]> {
        self.signet.field(id::IDENTIFIER)
    }

    /// The binary object, without any field that no signature covers.
    pub fn object(&self) -> &[u8] {
        &self.object
    }

    /// The fields, without any that no signature covers.
    pub fn signet(&self) -> &Signet {
        &self.signet
    }
}

/// Shows how far it reaches; contents name a person.
impl fmt::Debug for VerifiedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedUser({:?}, {:?})", self.level, self.custody)
    }
}

/// A domain without a record of its own is governed by its parent's (`management-record.md` §8).
pub(super) fn is_within(domain: &Domain, parent: &Domain) -> bool {
    domain
        .as_str()
        .strip_suffix(parent.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
