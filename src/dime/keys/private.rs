//! Private key files of any kind, by what they say they are.

use std::fmt;

use zeroize::Zeroizing;

use super::kem::{self, KemFile, NotKemFile};
use super::wrapped::{self, Wrapped};
use super::{Error, LABELS, ORG_MAGIC, OrgKeys, SEED_LABEL, USER_MAGIC, UserKeys, armor};
use crate::base::secret::Secret;
use crate::crypto::ed25519::SigningKey;

/// Labels under which private keys are found in armor.
pub const ALL_LABELS: &[&str] = &[LABELS[0], LABELS[1], SEED_LABEL, kem::LABEL, wrapped::LABEL];

/// What a private key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Signing and encryption key of an organization, 1952.
    Organization,
    /// Signing and encryption key of a user, 2013.
    User,
    /// A signing key alone.
    Signing,
    /// Private keys of a key set.
    KeySet,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Organization, Self::User, Self::Signing, Self::KeySet];

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Organization => 1,
            Self::User => 2,
            Self::Signing => 3,
            Self::KeySet => 4,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "organizational key",
            Self::User => "user key",
            Self::Signing => "signing key",
            Self::KeySet => "private keys of a key set",
        })
    }
}

/// A private key.
#[derive(Debug, Clone)]
pub enum PrivateKey {
    /// Of an organization.
    Organization(OrgKeys),
    /// Of a user.
    User(UserKeys),
    /// A signing key alone.
    Signing(SigningKey),
    /// Of a key set.
    KeySet(KemFile),
}

/// What is wrong with a private key of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// It is none of the kinds of private keys.
    #[error("not a private key")]
    Unknown,
    /// A key file of libdime's kinds.
    #[error(transparent)]
    File(#[from] Error),
    /// Private keys of a key set.
    #[error(transparent)]
    KeySet(#[from] NotKemFile),
    /// A wrapped key.
    #[error(transparent)]
    Wrapped(#[from] wrapped::Error),
}

impl PrivateKey {
    /// What it is for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Organization(_) => Kind::Organization,
            Self::User(_) => Kind::User,
            Self::Signing(_) => Kind::Signing,
            Self::KeySet(_) => Kind::KeySet,
        }
    }

    /// The signing key, if it has one.
    pub fn signing(&self) -> Option<&SigningKey> {
        match self {
            Self::Organization(keys) => Some(&keys.signing),
            Self::User(keys) => Some(&keys.signing),
            Self::Signing(key) => Some(key),
            Self::KeySet(_) => None,
        }
    }

    /// Reads the binary form of any kind; 32 octets are a bare signing key.
    pub fn decode(octets: &[u8]) -> Result<Self, BadKey> {
        if octets.starts_with(kem::MAGIC) {
            return Ok(Self::KeySet(KemFile::decode(octets)?));
        }
        if let Ok(seed) = octets.try_into() {
            return Ok(Self::Signing(SigningKey::from_seed(seed)));
        }
        match octets.first_chunk().map(|magic| u16::from_be_bytes(*magic)) {
            Some(ORG_MAGIC) => Ok(Self::Organization(OrgKeys::decode(octets)?)),
            Some(USER_MAGIC) => Ok(Self::User(UserKeys::decode(octets)?)),
            _ => Err(BadKey::Unknown),
        }
    }

    /// The binary form.
    pub fn encode(&self) -> Secret<Vec<u8>> {
        match self {
            Self::Organization(keys) => keys.encode(),
            Self::User(keys) => keys.encode(),
            Self::Signing(key) => Secret::new(key.seed().to_vec()),
            Self::KeySet(file) => file.encode(),
        }
    }

    /// The armored form. Files of it are for the owner's eyes only.
    pub fn to_armor(&self) -> Secret<String> {
        match self {
            Self::Organization(keys) => keys.to_armor(),
            Self::User(keys) => keys.to_armor(),
            Self::Signing(key) => super::signing_key_to_armor(key),
            Self::KeySet(file) => file.to_armor(),
        }
    }
}

/// A block of a key file.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In the clear.
    Clear(PrivateKey),
    /// Under a passphrase or the master key.
    Wrapped(Wrapped),
}

impl Stored {
    /// Reads the data of a block with one of [`ALL_LABELS`].
    pub fn from_block(block: &armor::Labelled<'_>) -> Result<Self, BadKey> {
        match block.label {
            wrapped::LABEL => Ok(Self::Wrapped(Wrapped::decode(&block.data)?)),
            _ => Self::clear(block),
        }
    }

    fn clear(block: &armor::Labelled<'_>) -> Result<Self, BadKey> {
        let data: &Zeroizing<Vec<u8>> = &block.data;
        let key = PrivateKey::decode(data)?;
        // 32 octets are a seed only where a seed is announced.
        match (block.label == SEED_LABEL) == (key.kind() == Kind::Signing) {
            true => Ok(Self::Clear(key)),
            false => Err(BadKey::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str) -> Result<Stored, BadKey> {
        Stored::from_block(&armor::decode_all(text, ALL_LABELS).unwrap()[0])
    }

    #[test]
    fn every_kind_is_read_back_as_itself() {
        let rng = &mut rand::rng();
        let seed = SigningKey::from_seed(&[7; 32]);
        for key in [
            PrivateKey::Organization(OrgKeys::generate(rng)),
            PrivateKey::User(UserKeys::generate(rng)),
            PrivateKey::Signing(seed),
        ] {
            let Stored::Clear(read) = read(key.to_armor().expose()).unwrap() else {
                panic!("{key:?}")
            };
            assert_eq!((read.kind(), read.encode()), (key.kind(), key.encode()));
            assert_eq!(Kind::from_code(key.kind().code()), Some(key.kind()));
        }
        assert_eq!(Kind::from_code(0), None);
        assert_eq!(Kind::from_code(5), None);
    }

    #[test]
    fn a_label_announces_a_bare_seed_and_nothing_else_does() {
        let short = armor::encode("USER KEY", &[7; 32]);
        assert_eq!(read(&short).unwrap_err(), BadKey::Unknown);
        let keys = UserKeys::generate(&mut rand::rng()).encode();
        let long = armor::encode(SEED_LABEL, keys.expose());
        assert_eq!(read(&long).unwrap_err(), BadKey::Unknown);
        let signet = armor::encode("USER KEY", &[0x06, 0xfd, 0, 0, 0]);
        assert_eq!(read(&signet).unwrap_err(), BadKey::Unknown);
        assert_eq!(
            read(&armor::encode("USER KEY", &[7])).unwrap_err(),
            BadKey::Unknown
        );
        let cut = armor::encode("USER KEY", &[0x07, 0xdd, 0, 0, 69, 1]);
        assert_eq!(read(&cut).unwrap_err(), BadKey::File(Error::Layout(6)));
    }
}
