//! Encryption of what we keep: ChaCha20-Poly1305 under a key that never lies beside the data.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 12 | random nonce |
//! | 12 | n | ciphertext |
//! | 12 + n | 16 | tag |
//!
//! The associated data says what the ciphertext is and whose, so that a row moved to another place does not open.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets that sealing adds.
pub const OVERHEAD: usize = 12 + 16;

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
        let mut nonce = [0u8; 12];
        rng.fill_bytes(&mut nonce);
        let payload = Payload {
            msg: plain,
            aad: associated,
        };
        let cipher = ChaCha20Poly1305::new(&self.0.into());
        // Only an input beyond 256 GiB is refused, and no caller holds one in memory.
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload).unwrap_or_default();
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`seal`](Self::seal) made for the same place.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (nonce, rest) = sealed.split_first_chunk::<12>().ok_or(Unreadable)?;
        let payload = Payload {
            msg: rest,
            aad: associated,
        };
        let cipher = ChaCha20Poly1305::new(&self.0.into());
        cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| Unreadable)
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
