//! A signed key set in a file: what users who keep their keys hand to their organization beside a signing request.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 8 | `dimedks1` |
//! | 8 | 2 | magic of the owner's signet: 06F0 organization, 06FD user |
//! | 10 | 32 | the owner's public signing key |
//! | 42 | … | the value of the field, as it goes into the signet |
//!
//! Armored under [`LABEL`]. A file may hold several, signed ahead.

use super::{Error, SignedKeySet};
use crate::base::bytes::Reader;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::armor;
use crate::dime::signet::Kind;

/// Label of the armor.
pub const LABEL: &str = "KEY SET";

const MAGIC: &[u8; 8] = b"dimedks1";

/// Why octets are no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotKeySetFile {
    /// Not laid out so, from that octet on.
    #[error("not laid out as a key set file at octet {0}")]
    Layout(usize),
    /// The key set in it breaks a rule.
    #[error(transparent)]
    KeySet(#[from] Error),
}

/// A key set, its owner's signature verified (rules N2 and N3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetFile {
    kind: Kind,
    owner: VerifyingKey,
    value: Vec<u8>,
    set: SignedKeySet,
}

impl KeySetFile {
    /// Takes the value of a field, signed by `owner`.
    ///
    /// [`Error::Layout`], [`Error::Signature`].
    pub fn new(kind: Kind, owner: VerifyingKey, value: Vec<u8>) -> Result<Self, Error> {
        let set = SignedKeySet::decode(kind, &owner, &value)?;
        Ok(Self {
            kind,
            owner,
            value,
            set,
        })
    }

    /// Kind of the owner's signet.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The owner's signing key.
    pub fn owner(&self) -> VerifyingKey {
        self.owner
    }

    /// What goes into the signet's field.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// What it says.
    pub fn set(&self) -> &SignedKeySet {
        &self.set
    }

    /// Reads the binary form.
    pub fn decode(octets: &[u8]) -> Result<Self, NotKeySetFile> {
        let mut reader = Reader::new(octets);
        let cut = |_| NotKeySetFile::Layout(octets.len());
        if reader.array().map_err(cut)? != *MAGIC {
            return Err(NotKeySetFile::Layout(0));
        }
        let kind = Kind::from_magic(reader.u16().map_err(cut)?);
        let kind = kind
            .filter(|kind| *kind != Kind::Request)
            .ok_or(NotKeySetFile::Layout(8))?;
        let owner = VerifyingKey(reader.array().map_err(cut)?);
        Ok(Self::new(kind, owner, reader.rest().to_vec())?)
    }

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        let kind = self.kind.magic().to_be_bytes();
        [&MAGIC[..], &kind, &self.owner.0, &self.value].concat()
    }

    /// The armored form.
    pub fn to_armor(&self) -> String {
        armor::encode(LABEL, &self.encode())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::crypto::ed25519::SigningKey;
    use crate::dime::key_set::{Draft, KemKeys, Layout};

    fn file() -> KeySetFile {
        let owner = SigningKey::from_seed(&[7; 32]);
        let draft = Draft {
            created: 1_700_000_000,
            expires: 1_702_592_000,
            keys: KemKeys::generate(&mut rand::rng()).public_keys(),
        };
        let value = draft.sign(Kind::User, &owner).unwrap();
        KeySetFile::new(Kind::User, owner.verifying_key(), value).unwrap()
    }

    #[test]
    fn reads_what_it_wrote() {
        let file = file();
        let octets = armor::decode(&file.to_armor(), &[LABEL]).unwrap();
        assert_eq!(octets.len(), 42 + 1336);
        assert_eq!(KeySetFile::decode(&octets), Ok(file));
    }

    #[test]
    fn a_change_of_any_octet_is_refused() {
        let good = file().encode();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            let error = KeySetFile::decode(&bad).unwrap_err();
            match place {
                0..=7 => assert_eq!(error, NotKeySetFile::Layout(0)),
                8..=9 => assert_eq!(error, NotKeySetFile::Layout(8)),
                10..=41 => assert_eq!(error, NotKeySetFile::KeySet(Error::Signature)),
                _ => assert!(
                    matches!(error, NotKeySetFile::KeySet(_)),
                    "octet {place}: {error}"
                ),
            }
        }
        for length in 0..42 {
            assert_eq!(
                KeySetFile::decode(&good[..length]),
                Err(NotKeySetFile::Layout(length))
            );
        }
        let cut = NotKeySetFile::KeySet(Error::Layout(Layout::Truncated));
        assert_eq!(KeySetFile::decode(&good[..60]), Err(cut));
    }
}
