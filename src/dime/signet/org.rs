//! Organizational signets: making them, and trusting them because DNS lists their key (`signet.md` §8.4).

use std::fmt;
use std::str::FromStr;

use super::Error;
use super::builder::{Builder, Draft};
use super::field::{Kind, Level, id};
use super::object::{SIGNING_KEY_FORMAT, Signet, signing_key};
use super::verify::{check_name, signed_part};
use crate::crypto::ed25519::{SigningKey, VerifyingKey};
use crate::crypto::suite::secp256k1_aes256::PublicKey;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint, IdFingerprint};
use crate::mail::address::Domain;

/// What a secondary organizational key may sign: bits, of which unknown ones are kept and mean nothing (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(pub u8);

impl Permissions {
    /// User signets.
    pub const SIGNETS: Self = Self(1);
    /// Messages, as their origin.
    pub const MESSAGES: Self = Self(2);
    /// TLS certificates.
    pub const TLS: Self = Self(4);
    /// Software.
    pub const SOFTWARE: Self = Self(8);

    /// Those that have a name.
    const NAMED: [(Self, &str); 4] = [
        (Self::SIGNETS, "signets"),
        (Self::MESSAGES, "messages"),
        (Self::TLS, "tls"),
        (Self::SOFTWARE, "software"),
    ];

    /// Names of what is permitted; bits without one are left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let granted = Self::NAMED.into_iter().filter(move |(one, _)| self.contain(*one));
        granted.map(|(_, name)| name)
    }

    /// Whether every bit of `wanted` is set.
    pub fn contain(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// A word that names nothing that a secondary key may sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of signets, messages, tls, software")]
pub struct UnknownPermission(pub String);

/// Names with commas between them.
impl FromStr for Permissions {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        let one = |word: &str| {
            let known = Self::NAMED.into_iter().find(|(_, name)| *name == word);
            let (permission, _) = known.ok_or_else(|| UnknownPermission(word.to_owned()))?;
            Ok(permission)
        };
        text.split(',')
            .try_fold(Self::default(), |all, word| Ok(all | one(word)?))
    }
}

/// Permissions of both.
impl std::ops::BitOr for Permissions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Most secondary keys that an organizational signet may have.
///
/// The specification sets no limit; without one, a hostile signet makes every check of a user signet try each of its keys.
pub const MAX_SECONDARY_KEYS: usize = 64;

/// A secondary organizational key (SOK).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondaryKey {
    /// What it may sign.
    pub permissions: Permissions,
    /// The key.
    pub key: VerifyingKey,
}

impl SecondaryKey {
    fn from_data(data: &[u8]) -> Option<Self> {
        let (permissions, key) = data.split_first()?;
        Some(Self {
            permissions: Permissions(*permissions),
            key: signing_key(key)?,
        })
    }

    fn to_data(self) -> Vec<u8> {
        [&[self.permissions.0, SIGNING_KEY_FORMAT][..], &self.key.0].concat()
    }
}

/// Makes an organizational signet.
pub type OrgBuilder<'a> = Builder<'a, Domain>;

impl<'a> OrgBuilder<'a> {
    /// Starts a new signet: `key` becomes its primary organizational key and signs everything.
    ///
    /// [`Error::TooManyKeys`] above [`MAX_SECONDARY_KEYS`].
    pub fn new(
        key: &'a SigningKey,
        encryption: &PublicKey,
        secondary: &[SecondaryKey],
    ) -> Result<Self, Error> {
        check_count(secondary.len())?;
        let mut draft = Draft::new(Kind::Organization);
        draft.push_signing_key(&key.verifying_key())?;
        for secondary in secondary {
            draft.push(id::SECONDARY_KEY, &secondary.to_data())?;
        }
        draft.push(id::ORG_ENCRYPTION_KEY, &encryption.to_compressed())?;
        Self::sealed(draft, key)
    }

    /// Changes the profile of an existing signet; its higher signatures are made anew.
    ///
    /// [`Error::NotASigner`] if `key` is not its primary key.
    pub fn edit(org: &VerifiedOrg, key: &'a SigningKey) -> Result<Self, Error> {
        match key.verifying_key() == org.primary {
            true => Ok(Self::editing(&org.signet, key)),
            false => Err(Error::NotASigner),
        }
    }
}

/// An organizational signet that one of a domain's primary keys vouches for, up to its highest signature.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedOrg {
    signet: Signet,
    object: Vec<u8>,
    level: Level,
    domain: Domain,
    primary: VerifyingKey,
    secondary: Vec<SecondaryKey>,
    encryption: PublicKey,
    crypto: CryptoFingerprint,
}

/// Verifies the signet of `domain`, whose management record lists `primary_keys`.
///
/// Errors: [`Error::Kind`], [`Error::UnknownPrimaryKey`], [`Error::BadSignature`], [`Error::WrongName`],
/// [`Error::TooManyKeys`]. Source: §8.4.
/// Deviation: libdime never compares the identifier with the domain asked for.
pub fn verify_org(
    signet: &Signet,
    primary_keys: &[VerifyingKey],
    domain: &Domain,
) -> Result<VerifiedOrg, Error> {
    signet.expect(Kind::Organization)?;
    let primary = signet.signing_key()?;
    if !primary_keys.contains(&primary) {
        return Err(Error::UnknownPrimaryKey);
    }
    let (signet, level) = signed_part(signet, &[primary])?;
    check_name(signet.field(id::IDENTIFIER), domain)?;
    Ok(VerifiedOrg {
        object: signet.encode(),
        level,
        domain: domain.clone(),
        primary,
        secondary: secondary_keys(&signet)?,
        encryption: signet.encryption_key()?,
        crypto: signet
            .crypto_fingerprint()
            .ok_or(Error::Missing(id::ORG_CRYPTO_SIGNATURE))?,
        signet,
    })
}

impl VerifiedOrg {
    /// The domain that it was verified for.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether this organization speaks for `domain`: its own, or one below it.
    pub fn governs(&self, domain: &Domain) -> bool {
        super::user::is_within(domain, &self.domain)
    }

    /// The primary organizational key (POK).
    pub fn primary_key(&self) -> VerifyingKey {
        self.primary
    }

    /// The secondary organizational keys, in field order.
    pub fn secondary_keys(&self) -> &[SecondaryKey] {
        &self.secondary
    }

    /// The key for keyslots of origin and destination.
    pub fn encryption_key(&self) -> PublicKey {
        self.encryption
    }

    /// Keys that may sign user signets: the primary one, then secondary ones in field order.
    pub fn signet_signing_keys(&self) -> Vec<VerifyingKey> {
        self.keys_with(Permissions::SIGNETS)
    }

    /// Keys that may sign messages: the primary one, then secondary ones in field order.
    pub fn message_signing_keys(&self) -> Vec<VerifyingKey> {
        self.keys_with(Permissions::MESSAGES)
    }

    /// How far the signet reaches.
    pub fn level(&self) -> Level {
        self.level
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

    fn keys_with(&self, wanted: Permissions) -> Vec<VerifyingKey> {
        let permitted = self
            .secondary
            .iter()
            .filter(|secondary| secondary.permissions.contain(wanted));
        std::iter::once(self.primary)
            .chain(permitted.map(|secondary| secondary.key))
            .collect()
    }
}

/// Shows whose it is and how far it reaches.
impl fmt::Debug for VerifiedOrg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedOrg({}, {:?})", self.domain, self.level)
    }
}

pub(super) fn secondary_keys(signet: &Signet) -> Result<Vec<SecondaryKey>, Error> {
    let fields = || signet.fields().filter(|field| field.id == id::SECONDARY_KEY);
    check_count(fields().count())?;
    fields()
        .map(|field| SecondaryKey::from_data(field.data).ok_or(Error::Key(id::SECONDARY_KEY)))
        .collect()
}

fn check_count(keys: usize) -> Result<(), Error> {
    match keys <= MAX_SECONDARY_KEYS {
        true => Ok(()),
        false => Err(Error::TooManyKeys(keys)),
    }
}
