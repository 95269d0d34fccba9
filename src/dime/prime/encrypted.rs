//! Key files under a key that a user's password gives (`prime.md` §4, `signet.md` §17.3): PRIME only.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 2 | magic 1947 or 1976 |
//! | 2 | 4 | length of the rest |
//! | 6 | 16 | vector, masked by the first shard of the realm key |
//! | 22 | 16 | tag, masked by the second shard |
//! | 38 | … | AES-256-GCM ciphertext under the rest of the realm key |
//!
//! Plaintext: length (3), padding count (1), the fields of a key file, and that many octets of the count, 1 to 16, up to a
//! multiple of 16.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::{Owner, from_fields};
use super::{Error, Keys, body};
use crate::base::bytes::Reader;
use crate::crypto::aes256_gcm;
use crate::dime::signet::Kind;

/// Octets of a realm key: two shards of 16, and an AES-256 key.
pub const REALM_KEY_SIZE: usize = 64;

/// The key of the realm `mail` of one user, as STACIE derives it from a password. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RealmKey([u8; REALM_KEY_SIZE]);

impl RealmKey {
    /// Takes an existing key.
    pub fn from_bytes(octets: [u8; REALM_KEY_SIZE]) -> Self {
        Self(octets)
    }
}

impl std::fmt::Debug for RealmKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RealmKey([secret])")
    }
}

/// Private keys that have not been opened; only their header was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedKeys {
    owner: Owner,
    masked_vector: [u8; 16],
    masked_tag: [u8; 16],
    ciphertext: Vec<u8>,
}

pub(super) fn decode(owner: Owner, octets: &[u8]) -> Result<EncryptedKeys, Error> {
    let mut reader = Reader::new(body(octets, 4)?);
    let truncated = |_| Error::Truncated { offset: 6 };
    Ok(EncryptedKeys {
        owner,
        masked_vector: reader.array().map_err(truncated)?,
        masked_tag: reader.array().map_err(truncated)?,
        ciphertext: reader.rest().to_vec(),
    })
}

impl EncryptedKeys {
    /// Whether the keys are of an organization or of a user.
    pub fn owner(&self) -> Kind {
        match self.owner {
            Owner::Organization => Kind::Organization,
            Owner::User => Kind::User,
        }
    }

    /// Decrypts the keys.
    ///
    /// [`Error::RealmKey`] for another key or a damaged object; other errors when a rightful writer put something else than
    /// two keys inside.
    pub fn open(&self, key: &RealmKey) -> Result<Keys, Error> {
        let iv = unmask(&self.masked_vector, key.0.first_chunk());
        let tag = unmask(&self.masked_tag, key.0[16..].first_chunk());
        let cipher_key = key.0.last_chunk().ok_or(Error::RealmKey)?;
        let mut plain = Zeroizing::new(self.ciphertext.clone());
        aes256_gcm::open(cipher_key, &iv, &tag, &mut plain).map_err(|_| Error::RealmKey)?;
        from_fields(self.owner, unpadded(&plain)?)
    }
}

fn unmask(masked: &[u8; 16], shard: Option<&[u8; 16]>) -> [u8; 16] {
    // A shard is always there, because the key is 64 octets.
    let shard = shard.copied().unwrap_or_default();
    std::array::from_fn(|place| masked[place] ^ shard[place])
}

/// The fields in a plaintext whose size, alignment and padding are all as one writer makes them.
fn unpadded(plain: &[u8]) -> Result<&[u8], Error> {
    let damaged = |_| Error::RealmKey;
    let mut reader = Reader::new(plain);
    let length = reader.u24().map_err(damaged)? as usize;
    let count = reader.u8().map_err(damaged)?;
    let fields = reader.take(length).map_err(damaged)?;
    let padding = reader.rest();
    let whole = plain.len().is_multiple_of(16) && (1..=16).contains(&padding.len());
    match whole && padding.len() == usize::from(count) && padding.iter().all(|octet| *octet == count) {
        true => Ok(fields),
        false => Err(Error::RealmKey),
    }
}
