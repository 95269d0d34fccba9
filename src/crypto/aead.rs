//! ChaCha20-Poly1305 (RFC 8439) for keys that encrypt once: zero nonce, no associated data, in place.
//!
//! In one place, so that the implementation can be exchanged. This is AWS-LC's, in the tree for TLS: its assembler is
//! half again as fast as Rust code in pieces of 64 KiB and five times for a slot of 48 octets, and it wipes its copy of
//! the key. What is encrypted more than once under a key has [`at_rest`](super::at_rest).

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::no_memory;

/// Octets of a key.
pub const KEY_SIZE: usize = 32;
/// Octets of a nonce.
pub(super) const NONCE_SIZE: usize = 12;
/// Octets of a tag.
pub const TAG_SIZE: usize = 16;

/// The tag does not fit key and ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not open")]
pub struct Unopened;

/// Encrypts `data` in place and gives the tag. The key must never be used again.
pub fn seal_once(key: &[u8; KEY_SIZE], data: &mut [u8]) -> [u8; TAG_SIZE] {
    seal(key, [0; NONCE_SIZE], &[], data)
}

/// A tag over `data`, which stays readable: Poly1305 under a key that ChaCha20 makes from `key`.
///
/// As long as nobody sees `key` or tags made with it, two inputs of up to 64 KiB have the same tag with a probability
/// below 2⁻⁹⁰, however they were chosen.
pub fn tag_once(key: &[u8; KEY_SIZE], data: &[u8]) -> [u8; TAG_SIZE] {
    seal(key, [0; NONCE_SIZE], data, &mut [])
}

/// Decrypts `data` in place if the tag fits; otherwise its content means nothing.
pub fn open_once(key: &[u8; KEY_SIZE], data: &mut [u8], tag: &[u8; TAG_SIZE]) -> Result<(), Unopened> {
    open(key, [0; NONCE_SIZE], &[], data, tag)
}

/// Encrypts in place under a nonce that the key has not seen.
pub(super) fn seal(
    key: &[u8; KEY_SIZE],
    nonce: [u8; NONCE_SIZE],
    associated: &[u8],
    data: &mut [u8],
) -> [u8; TAG_SIZE] {
    // Refused are more than 256 GiB, which no caller holds in memory, and what finds no memory for the key.
    let tag = cipher(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), data)
        .unwrap_or_else(|_| no_memory());
    let mut octets = [0; TAG_SIZE];
    octets.copy_from_slice(tag.as_ref());
    octets
}

/// Decrypts in place what [`seal`] made.
pub(super) fn open(
    key: &[u8; KEY_SIZE],
    nonce: [u8; NONCE_SIZE],
    associated: &[u8],
    data: &mut [u8],
    tag: &[u8; TAG_SIZE],
) -> Result<(), Unopened> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher(key)
        .open_in_place_separate_tag(nonce, Aad::from(associated), tag, data)
        .map(|_| ())
        .map_err(|_| Unopened)
}

fn cipher(key: &[u8; KEY_SIZE]) -> LessSafeKey {
    UnboundKey::new(&CHACHA20_POLY1305, key).map_or_else(|_| no_memory(), LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::encoding::hex;

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

    #[test]
    fn tags_differ_by_key_and_by_data() {
        let tag = tag_once(&[7; 32], b"text");
        assert_eq!(tag, tag_once(&[7; 32], b"text"));
        assert_ne!(tag, tag_once(&[8; 32], b"text"));
        assert_ne!(tag, tag_once(&[7; 32], b"text\0"));
        assert_ne!(tag, tag_once(&[7; 32], b"test"));
    }

    /// RFC 8439 §2.8.2.
    #[test]
    fn gives_the_tag_of_the_rfc() {
        let key = std::array::from_fn(|place| 0x80 + place as u8);
        let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let associated = [
            0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        ];
        let mut text =
            *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                          future, sunscreen would be it.";
        let tag = seal(&key, nonce, &associated, &mut text);
        assert_eq!(hex(&text[..16]), "d31a8d34648e60db7b86afbc53ef7ec2");
        assert_eq!(hex(&tag), "1ae10b594f09e26a7e902ecbd0600691");
        assert_eq!(open(&key, nonce, &associated, &mut text, &tag), Ok(()));
        assert!(text.starts_with(b"Ladies and Gentlemen"));
        assert_eq!(open(&key, nonce, &[], &mut text, &tag), Err(Unopened));
    }
}
