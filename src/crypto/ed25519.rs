//! Ed25519 (RFC 8032), pure, verified strictly.
//!
//! Deviation: libdime accepts `S ≥ L` and points of small order (`signet.md` D18, `dmime.md` W16); we do not.
//! Honest signatures are unaffected.
//!
//! AWS-LC signs, in half the time of Rust code and with the same result; `ed25519-dalek` verifies, because it can do so
//! strictly.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::no_memory;

/// A signature that does not verify, or a key that is not a usable point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct Invalid;

/// A private key: the 32-octet seed of RFC 8032. Wiped on drop. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<SigningParts>);

struct SigningParts {
    seed: Zeroizing<[u8; 32]>,
    /// The library's own, which it wipes.
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Draws a new key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// Takes an existing seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        // Every 32 octets are a seed.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap_or_else(|_| no_memory());
        let seed = Zeroizing::new(*seed);
        Self(Arc::new(SigningParts { seed, pair }))
    }

    /// The seed, for key files only.
    pub fn seed(&self) -> &[u8; 32] {
        &self.0.seed
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut octets = [0; 32];
        octets.copy_from_slice(self.0.pair.public_key().as_ref());
        VerifyingKey(octets)
    }

    /// Signs `message`; deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.0.pair.try_sign(message).unwrap_or_else(|_| no_memory());
        let mut octets = [0; 64];
        octets.copy_from_slice(signature.as_ref());
        Signature(octets)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([secret])")
    }
}

/// A public key as 32 octets; whether they are a point shows when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// Checks a signature over `message` strictly (`dmime2.md` §2.3): canonical points and `S`, no points of small order,
    /// no cofactor.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Invalid> {
        if !self.is_canonical() {
            return Err(Invalid);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| Invalid)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| Invalid)
    }

    /// Whether the coordinate, which is all but the top bit, is less than 2^255 − 19.
    fn is_canonical(&self) -> bool {
        let [lowest, rest @ .., highest] = &self.0;
        *lowest < 0xed || highest & 0x7f != 0x7f || rest.iter().any(|octet| *octet != 0xff)
    }
}

/// 64 octets, R ‖ S.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::encoding::hex;

    #[test]
    fn verifies_its_own_and_nothing_else() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signature = key.sign(b"text");
        assert_eq!(key.verifying_key().verify(b"text", &signature), Ok(()));
        assert_eq!(key.verifying_key().verify(b"test", &signature), Err(Invalid));
        let other = SigningKey::from_seed(&[8; 32]).verifying_key();
        assert_eq!(other.verify(b"text", &signature), Err(Invalid));
    }

    #[test]
    fn refuses_a_signature_with_s_plus_the_group_order() {
        // L, little-endian (RFC 8032 §5.1).
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = SigningKey::from_seed(&[7; 32]);
        let mut signature = key.sign(b"text");
        let mut carry = 0u16;
        for (octet, add) in signature.0[32..].iter_mut().zip(order) {
            let sum = u16::from(*octet) + u16::from(add) + carry;
            *octet = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(key.verifying_key().verify(b"text", &signature), Err(Invalid));
    }

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn signs_as_the_rfc_does() {
        let seed = [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
            0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
        ];
        let key = SigningKey::from_seed(&seed);
        assert_eq!(key.seed(), &seed);
        assert_eq!(
            hex(&key.verifying_key().0),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            hex(&key.sign(&[0x72]).0),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    /// The point with coordinate 3 has large order; 2^255 − 16 is the same point, written another way.
    #[test]
    fn refuses_a_key_that_is_not_canonical() {
        let mut key = VerifyingKey([0xff; 32]);
        (key.0[0], key.0[31]) = (0xf0, 0x7f);
        assert!(ed25519_dalek::VerifyingKey::from_bytes(&key.0).is_ok());
        assert!(!key.is_canonical());
        key.0[0] = 0xed;
        assert!(!key.is_canonical(), "the prime itself");
        key.0[0] = 0xec;
        assert!(key.is_canonical());
        (key.0[0], key.0[31]) = (0xed, 0xff);
        assert!(!key.is_canonical(), "whatever the top bit");
        (key.0[0], key.0[30]) = (0xff, 0xfe);
        assert!(key.is_canonical());
    }

    #[test]
    fn debug_hides_the_seed() {
        assert_eq!(
            format!("{:?}", SigningKey::from_seed(&[7; 32])),
            "SigningKey([secret])"
        );
    }
}
