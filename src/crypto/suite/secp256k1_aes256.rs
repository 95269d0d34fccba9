//! The suite of D/MIME 1: ECDH on secp256k1, SHA-512, AES-256-CBC without padding (`dmime.md` §7).
//!
//! For interoperation. CBC carries no authentication: callers verify the message's signatures before they
//! look at what a decryption gave (`dmime.md` §17 W1).

use std::fmt;

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding};
use k256::elliptic_curve::sec1::{FromSec1Point, ToSec1Point};
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// AES block size; every ciphertext is a non-zero multiple of it.
pub const BLOCK: usize = 16;

/// Why a key or a ciphertext is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a compressed point on the curve, or not a scalar in range.
    #[error("not a secp256k1 key")]
    Key,
    /// Not a non-zero multiple of 16 octets.
    #[error("not whole cipher blocks")]
    Length,
}

/// A private scalar. Wiped on drop.
#[derive(Clone)]
pub struct SecretKey(k256::SecretKey);

impl SecretKey {
    /// Draws a new key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        loop {
            let mut scalar = [0u8; 32];
            rng.fill_bytes(&mut scalar);
            let key = Self::from_bytes(&scalar);
            scalar.zeroize();
            // All but about 2^-128 of the draws are in range.
            if let Ok(key) = key {
                return key;
            }
        }
    }

    /// Takes 32 octets, big-endian, in `1..n`.
    pub fn from_bytes(scalar: &[u8; 32]) -> Result<Self, Error> {
        k256::SecretKey::from_slice(scalar)
            .map(Self)
            .map_err(|_| Error::Key)
    }

    /// The scalar, for key files only; the caller wipes it.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.public_key())
    }

    /// The key-encryption key shared with the owner of `peer` (`dmime.md` §7.1).
    pub fn agree(&self, peer: &PublicKey) -> Kek {
        let shared = k256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), peer.0.as_affine());
        let mut digest: [u8; 64] = Sha512::digest(shared.raw_secret_bytes()).into();
        let mut kek = Kek {
            iv: [0; 16],
            key: [0; 32],
        };
        for (place, octet) in kek.iv.iter_mut().enumerate() {
            *octet = digest[place] ^ digest[place + 16];
        }
        kek.key.copy_from_slice(&digest[32..]);
        digest.zeroize();
        kek
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey([secret])")
    }
}

/// A public point, known to be on the curve and not infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(k256::PublicKey);

impl PublicKey {
    /// Reads the compressed SEC1 form: 33 octets, first 02 or 03.
    pub fn from_compressed(octets: &[u8]) -> Result<Self, Error> {
        if octets.len() != 33 || !matches!(octets[0], 2 | 3) {
            return Err(Error::Key);
        }
        let point = k256::Sec1Point::from_bytes(octets).map_err(|_| Error::Key)?;
        Option::from(k256::PublicKey::from_sec1_point(&point))
            .map(Self)
            .ok_or(Error::Key)
    }

    /// The compressed SEC1 form.
    pub fn to_compressed(&self) -> [u8; 33] {
        let mut octets = [0u8; 33];
        octets.copy_from_slice(self.0.to_sec1_point(true).as_bytes());
        octets
    }
}

/// Key-encryption key and IV of one actor for one message. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Kek {
    /// CBC initialisation vector for every slot of the actor.
    pub iv: [u8; 16],
    /// AES-256 key.
    pub key: [u8; 32],
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek([secret])")
    }
}

/// Encrypts whole blocks in place.
pub fn encrypt(key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) -> Result<(), Error> {
    let length = whole_blocks(data)?;
    cbc::Encryptor::<Aes256>::new(key.into(), iv.into())
        .encrypt_padded::<NoPadding>(data, length)
        .map_err(|_| Error::Length)?;
    Ok(())
}

/// Decrypts whole blocks in place. The result means nothing until a signature over it has been verified.
pub fn decrypt(key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) -> Result<(), Error> {
    whole_blocks(data)?;
    cbc::Decryptor::<Aes256>::new(key.into(), iv.into())
        .decrypt_padded::<NoPadding>(data)
        .map_err(|_| Error::Length)?;
    Ok(())
}

fn whole_blocks(data: &[u8]) -> Result<usize, Error> {
    match data.len() {
        0 => Err(Error::Length),
        length if length % BLOCK == 0 => Ok(length),
        _ => Err(Error::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_on_the_same_key() {
        let (a, b) = (
            SecretKey::generate(&mut rand::rng()),
            SecretKey::generate(&mut rand::rng()),
        );
        let (ab, ba) = (a.agree(&b.public_key()), b.agree(&a.public_key()));
        assert_eq!((ab.iv, ab.key), (ba.iv, ba.key));
    }

    #[test]
    fn refuses_points_in_other_forms_and_off_the_curve() {
        let good = SecretKey::generate(&mut rand::rng()).public_key().to_compressed();
        assert!(PublicKey::from_compressed(&good).is_ok());
        assert_eq!(PublicKey::from_compressed(&good[..32]), Err(Error::Key));
        assert_eq!(PublicKey::from_compressed(&[0]), Err(Error::Key));
        let mut wrong_prefix = good;
        wrong_prefix[0] = 4;
        assert_eq!(PublicKey::from_compressed(&wrong_prefix), Err(Error::Key));
        // 5³ + 7 has no square root modulo p.
        let mut off_curve = [0u8; 33];
        (off_curve[0], off_curve[32]) = (2, 5);
        assert_eq!(PublicKey::from_compressed(&off_curve), Err(Error::Key));
    }

    #[test]
    fn refuses_scalars_out_of_range() {
        assert!(SecretKey::from_bytes(&[0; 32]).is_err());
        assert!(SecretKey::from_bytes(&[0xff; 32]).is_err());
    }

    #[test]
    fn encryption_wants_whole_blocks() {
        assert_eq!(encrypt(&[0; 32], &[0; 16], &mut []), Err(Error::Length));
        assert_eq!(decrypt(&[0; 32], &[0; 16], &mut [0; 17]), Err(Error::Length));
    }
}
