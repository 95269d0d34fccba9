//! ChaCha20-Poly1305 (RFC 8439) for keys that encrypt once: zero nonce, no associated data, in place.
//!
//! In one place, so that the implementation can be exchanged. What is encrypted more than once under a key has
//! [`at_rest`](super::at_rest).

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

/// Octets of a key.
pub const KEY_SIZE: usize = 32;
/// Octets of a tag.
pub const TAG_SIZE: usize = 16;

/// The tag does not fit key and ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not open")]
pub struct Unopened;

/// Encrypts `data` in place and gives the tag. The key must never be used again.
pub fn seal_once(key: &[u8; KEY_SIZE], data: &mut [u8]) -> [u8; TAG_SIZE] {
    let cipher = ChaCha20Poly1305::new(key.into());
    // Only more than 256 GiB are refused, and no caller holds so much in memory.
    let tag = cipher.encrypt_inout_detached(&Nonce::default(), &[], data.into());
    tag.map(Into::into).unwrap_or_default()
}

/// Decrypts `data` in place if the tag fits; otherwise its content means nothing.
pub fn open_once(key: &[u8; KEY_SIZE], data: &mut [u8], tag: &[u8; TAG_SIZE]) -> Result<(), Unopened> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher
        .decrypt_inout_detached(&Nonce::default(), &[], data.into(), tag.into())
        .map_err(|_| Unopened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_under_its_key_and_undamaged_only() {
        let mut data = *b"text";
        let tag = seal_once(&[7; 32], &mut data);
        assert_ne!(&data, b"text");
        let (mut opened, mut other, mut damaged) = (data, data, data);
        assert_eq!(open_once(&[7; 32], &mut opened, &tag), Ok(()));
        assert_eq!(&opened, b"text");
        assert_eq!(open_once(&[8; 32], &mut other, &tag), Err(Unopened));
        damaged[3] ^= 1;
        assert_eq!(open_once(&[7; 32], &mut damaged, &tag), Err(Unopened));
    }
}
