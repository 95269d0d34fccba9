//! Encryption of what we keep: ChaCha20-Poly1305 under a key that never lies beside the data.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 12 | random nonce |
//! | 12 | n | ciphertext |
//! | 12 + n | 16 | tag |
//!
//! The associated data says what the ciphertext is and whose, so that a row moved to another place does not open.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aead::{self, NONCE_SIZE, TAG_SIZE};

/// Octets that sealing adds.
pub const OVERHEAD: usize = NONCE_SIZE + TAG_SIZE;

/// The ciphertext is damaged, of another place, or under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored data does not open")]
pub struct Unreadable;

/// A 256-bit key: the master key, or a key that it wraps. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// Draws a new key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut octets = [0u8; 32];
        rng.fill_bytes(&mut octets);
        Self(octets)
    }

    /// Takes an existing key.
    pub fn from_bytes(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The key itself, for wrapping it or writing the master key file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts `plain` for the place that `associated` names.
    ///
    /// Nonces are random: with 96 bits, one key serves 2³² items.
    pub fn seal<R: CryptoRng + ?Sized>(&self, rng: &mut R, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0u8; NONCE_SIZE];
        rng.fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = aead::seal(&self.0, nonce, associated, &mut sealed[NONCE_SIZE..]);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`seal`](Self::seal) made for the same place.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (nonce, rest) = sealed.split_first_chunk().ok_or(Unreadable)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(Unreadable)?;
        let mut plain = ciphertext.to_vec();
        match aead::open(&self.0, *nonce, associated, &mut plain, tag) {
            Ok(()) => Ok(plain),
            Err(aead::Unopened) => Err(Unreadable),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_in_its_place_under_its_key_and_undamaged() {
        let key = Key::generate(&mut rand::rng());
        let sealed = key.seal(&mut rand::rng(), b"body 1", b"text");
        assert_eq!(sealed.len(), 4 + OVERHEAD);
        assert_eq!(key.open(b"body 1", &sealed), Ok(b"text".to_vec()));
        assert_eq!(key.open(b"body 2", &sealed), Err(Unreadable));
        assert_eq!(
            Key::generate(&mut rand::rng()).open(b"body 1", &sealed),
            Err(Unreadable)
        );
        for place in [0, 12, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert_eq!(key.open(b"body 1", &damaged), Err(Unreadable));
        }
        assert_eq!(key.open(b"body 1", &sealed[..11]), Err(Unreadable));
    }
}
