//! Ed25519 (RFC 8032), pure, verified strictly.
//!
//! Deviation: libdime accepts `S ≥ L` and points of small order (`signet.md` D18, `dmime.md` W16); we do not.
//! Honest signatures are unaffected.

use std::fmt;

use ed25519_dalek::Signer;
use rand_core::CryptoRng;
use zeroize::Zeroize;

/// A signature that does not verify, or a key that is not a usable point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct Invalid;

/// A private key: the 32-octet seed of RFC 8032. Wiped on drop.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Draws a new key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = [0u8; 32];
        rng.fill_bytes(&mut seed);
        let key = Self::from_seed(&seed);
        seed.zeroize();
        key
    }

    /// Takes an existing seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for key files only.
    pub fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`; deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
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
    /// Checks a signature over `message` strictly: canonical `S`, no points of small order.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Invalid> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| Invalid)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| Invalid)
    }
}

/// 64 octets, R ‖ S.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn debug_hides_the_seed() {
        assert_eq!(
            format!("{:?}", SigningKey::from_seed(&[7; 32])),
            "SigningKey([secret])"
        );
    }
}
