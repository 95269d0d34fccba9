//! AES-256-GCM with a 16-octet vector: only to open what magma encrypted (`prime.md` §4). We write nothing in it.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};

/// The ciphertext is damaged, or under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not open")]
pub struct Invalid;

/// Decrypts `data` in place, without associated data; it is left as it was unless the tag is right.
pub fn open(key: &[u8; 32], iv: &[u8; 16], tag: &[u8; 16], data: &mut [u8]) -> Result<(), Invalid> {
    AesGcm::<Aes256, U16>::new(key.into())
        .decrypt_inout_detached(&Nonce::from(*iv), &[], InOutBuf::from(data), tag.into())
        .map_err(|_| Invalid)
}

/// Encrypts, for tests of readers.
#[cfg(test)]
pub(crate) fn seal(key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) -> [u8; 16] {
    let cipher = AesGcm::<Aes256, U16>::new(key.into());
    match cipher.encrypt_inout_detached(&Nonce::from(*iv), &[], InOutBuf::from(data)) {
        Ok(tag) => tag.into(),
        Err(_) => [0; 16],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_is_undamaged_and_leaves_the_rest_alone() {
        let (key, iv) = ([7; 32], [9; 16]);
        let mut data = *b"sixteen octets, and more";
        let tag = seal(&key, &iv, &mut data);
        let sealed = data;
        for place in 0..sealed.len() {
            data = sealed;
            data[place] ^= 1;
            let damaged = data;
            assert_eq!(open(&key, &iv, &tag, &mut data), Err(Invalid));
            assert_eq!(data, damaged);
        }
        data = sealed;
        assert_eq!(open(&[8; 32], &iv, &tag, &mut data), Err(Invalid));
        assert_eq!(open(&key, &[8; 16], &tag, &mut data), Err(Invalid));
        assert_eq!(open(&key, &iv, &[8; 16], &mut data), Err(Invalid));
        assert_eq!(open(&key, &iv, &tag, &mut data), Ok(()));
        assert_eq!(&data, b"sixteen octets, and more");
    }
}
