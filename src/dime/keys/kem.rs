//! Private keys of a key set in a file (`dmime2.md` §3), beside the key file that libdime knows.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 8 | `dimedkk1` |
//! | 8 | 2 | magic of the owner's signet: 06F0 organization, 06FD user |
//! | 10 | 32 | the owner's public signing key |
//! | 42 | 8 | created, unix seconds |
//! | 50 | 8 | expires, unix seconds |
//! | 58 | … | [`KemKeys`]: count (1), then suite (1) and key (32) each, suites ascending |
//!
//! Armored under [`LABEL`]. A file may hold several, one for each key set that may still be needed, in any order; a
//! message names the signet that it was sealed for, and the keys of the others do not open it.

use super::armor;
use crate::base::bytes::Reader;
use crate::base::secret::Secret;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::key_set::{KemKeys, SignedKeySet};
use crate::dime::signet::Kind;

/// Label of the armor.
pub const LABEL: &str = "KEY SET PRIVATE KEYS";

pub(super) const MAGIC: &[u8; 8] = b"dimedkk1";

/// Where the keys begin.
const KEYS_OFFSET: usize = 58;

/// Why octets are no such file: not laid out so, from that octet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not laid out as the private keys of a key set at octet {0}")]
pub struct NotKemFile(pub usize);

/// Private keys of one key set, and whose they are.
#[derive(Debug, Clone)]
pub struct KemFile {
    /// Kind of the owner's signet: organization or user.
    pub kind: Kind,
    /// The owner's signing key, under which the key set is signed.
    pub owner: VerifyingKey,
    /// When the key set was made. Unix seconds.
    pub created: u64,
    /// When it ends. Unix seconds.
    pub expires: u64,
    /// The private keys.
    pub keys: KemKeys,
}

impl KemFile {
    /// Whether these are the private halves of that key set of the owner.
    pub fn belongs_to(&self, set: &SignedKeySet) -> bool {
        self.created == set.created() && self.expires == set.expires()
    }

    /// Reads the binary form.
    pub fn decode(octets: &[u8]) -> Result<Self, NotKemFile> {
        let mut reader = Reader::new(octets);
        let cut = NotKemFile(octets.len());
        if reader.array().map_err(|_| cut)? != *MAGIC {
            return Err(NotKemFile(0));
        }
        let kind = Kind::from_magic(reader.u16().map_err(|_| cut)?);
        let kind = kind.filter(|kind| *kind != Kind::Request).ok_or(NotKemFile(8))?;
        let owner = VerifyingKey(reader.array().map_err(|_| cut)?);
        let created = u64::from_be_bytes(reader.array().map_err(|_| cut)?);
        let expires = u64::from_be_bytes(reader.array().map_err(|_| cut)?);
        let keys = KemKeys::decode(reader.rest()).map_err(|_| NotKemFile(KEYS_OFFSET))?;
        Ok(Self {
            kind,
            owner,
            created,
            expires,
            keys,
        })
    }

    /// The binary form.
    pub fn encode(&self) -> Secret<Vec<u8>> {
        let keys = self.keys.encode();
        let mut octets = Vec::with_capacity(KEYS_OFFSET + keys.expose().len());
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&self.kind.magic().to_be_bytes());
        octets.extend_from_slice(&self.owner.0);
        octets.extend_from_slice(&self.created.to_be_bytes());
        octets.extend_from_slice(&self.expires.to_be_bytes());
        octets.extend_from_slice(keys.expose());
        Secret::new(octets)
    }

    /// The armored form. Files of it are for the owner's eyes only.
    pub fn to_armor(&self) -> Secret<String> {
        Secret::new(armor::encode(LABEL, self.encode().expose()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn file() -> KemFile {
        KemFile {
            kind: Kind::User,
            owner: VerifyingKey([5; 32]),
            created: 1_700_000_000,
            expires: 1_702_592_000,
            keys: KemKeys::generate(&mut rand::rng()),
        }
    }

    #[test]
    fn reads_what_it_wrote_and_shows_no_key() {
        let file = file();
        let octets = file.encode();
        assert_eq!(octets.expose().len(), 58 + 1 + 2 * 33);
        let read = KemFile::decode(octets.expose()).unwrap();
        assert_eq!(read.encode(), octets);
        assert!(
            file.to_armor()
                .expose()
                .starts_with("-----BEGIN KEY SET PRIVATE KEYS-----\n")
        );
        let private = &octets.expose()[60..64];
        assert!(!format!("{file:?}").contains(&format!("{}, {}", private[0], private[1])));
    }

    #[test]
    fn refuses_every_neighbour_of_the_layout() {
        let good = file().encode();
        let good = good.expose();
        let refused = |octets: &[u8]| KemFile::decode(octets).unwrap_err();
        for (place, expected) in [(0, 0), (7, 0), (8, 8), (9, 8), (58, 58), (59, 58), (92, 58)] {
            let mut bad = good.clone();
            bad[place] ^= 0x80;
            assert_eq!(refused(&bad), NotKemFile(expected), "octet {place}");
        }
        for length in 0..58 {
            assert_eq!(refused(&good[..length]), NotKemFile(length));
        }
        for length in 58..good.len() {
            assert_eq!(refused(&good[..length]), NotKemFile(58));
        }
        assert_eq!(refused(&[good, &[0][..]].concat()), NotKemFile(58));
        let mut request = good.clone();
        request[8..10].copy_from_slice(&Kind::Request.magic().to_be_bytes());
        assert_eq!(refused(&request), NotKemFile(8));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = KemFile::decode(&tail);
            let _ = KemFile::decode(&[MAGIC, &tail[..]].concat());
        }
    }
}
