//! The private halves of a key set, as they are stored.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 1 | count of keys |
//! | 1 | … | keys: suite (1), octets (32); suites strictly ascending |

use rand_core::CryptoRng;

use crate::base::bytes::Reader;
use crate::base::secret::Secret;
use crate::crypto::suite::hpke::{PublicKey, SECRET_SIZE, SecretKey, Suite};

/// Stored octets are no private keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the private keys of a key set")]
pub struct NotKemKeys;

/// Private keys, one for each suite of a key set; none belong to an opt-out.
#[derive(Debug, Clone, Default)]
pub struct KemKeys {
    keys: Vec<SecretKey>,
}

impl KemKeys {
    /// Draws a key for every suite.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let keys = Suite::ALL.map(|suite| SecretKey::generate(suite, rng));
        Self { keys: keys.into() }
    }

    /// Takes existing keys; [`NotKemKeys`] unless they are of different suites.
    pub fn new(mut keys: Vec<SecretKey>) -> Result<Self, NotKemKeys> {
        keys.sort_by_key(SecretKey::suite);
        match keys.is_sorted_by(|one, next| one.suite() < next.suite()) {
            true => Ok(Self { keys }),
            false => Err(NotKemKeys),
        }
    }

    /// The key of a suite.
    pub fn key(&self, suite: Suite) -> Option<&SecretKey> {
        self.keys.iter().find(|key| key.suite() == suite)
    }

    /// The public halves, ascending by suite.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.keys.iter().map(SecretKey::public_key).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Reads the stored form.
    pub fn decode(octets: &[u8]) -> Result<Self, NotKemKeys> {
        let mut reader = Reader::new(octets);
        let count = reader.u8().map_err(|_| NotKemKeys)?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let suite = reader.u8().ok().and_then(Suite::from_id).ok_or(NotKemKeys)?;
            let octets = reader.take(SECRET_SIZE).map_err(|_| NotKemKeys)?;
            let octets = octets.try_into().map_err(|_| NotKemKeys)?;
            keys.push(SecretKey::from_bytes(suite, octets).map_err(|_| NotKemKeys)?);
        }
        reader.finish().map_err(|_| NotKemKeys)?;
        match keys.is_sorted_by(|one: &SecretKey, next| one.suite() < next.suite()) {
            true => Ok(Self { keys }),
            false => Err(NotKemKeys),
        }
    }

    /// The stored form; for its owner's eyes, or under encryption, only.
    pub fn encode(&self) -> Secret<Vec<u8>> {
        let mut octets = Vec::with_capacity(1 + self.keys.len() * (1 + SECRET_SIZE));
        octets.push(self.keys.len() as u8);
        for key in &self.keys {
            octets.push(key.suite().id());
            octets.extend_from_slice(key.expose());
        }
        Secret::new(octets)
    }
}
