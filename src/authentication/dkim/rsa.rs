//! RSA with PKCS #1 v1.5 and SHA-256, for DKIM (RFC 6376 §3.3.1, RFC 8301).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::crypto::ed25519::Invalid;
use crate::crypto::no_memory;

/// Octets of a public key at most: one of 4096 bits has 550 with everything around it.
pub const MAX_PUBLIC_KEY: usize = 600;

/// A private key of 2048 bits. The library wipes it. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<RsaKeyPair>);

impl SigningKey {
    /// Draws a new key from the library's own random source.
    pub fn generate() -> Self {
        Self(Arc::new(
            RsaKeyPair::generate(KeySize::Rsa2048).unwrap_or_else(|_| no_memory()),
        ))
    }

    /// Takes a key in PKCS #8.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Invalid> {
        RsaKeyPair::from_pkcs8(der)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|_| Invalid)
    }

    /// The key in PKCS #8, to be kept under lock.
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der: Result<Pkcs8V1Der<'_>, _> = self.0.as_der();
        Zeroizing::new(der.unwrap_or_else(|_| no_memory()).as_ref().to_vec())
    }

    /// The public half as a SubjectPublicKeyInfo in DER.
    pub fn public_key(&self) -> Vec<u8> {
        let der: Result<PublicKeyX509Der<'_>, _> = self.0.public_key().as_der();
        der.unwrap_or_else(|_| no_memory()).as_ref().to_vec()
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .unwrap_or_else(|_| no_memory());
        signature
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([secret])")
    }
}

/// Checks a signature. `key` is a SubjectPublicKeyInfo or an RSAPublicKey in DER, of 1024 to 4096 bits.
pub fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Invalid> {
    if key.len() > MAX_PUBLIC_KEY {
        return Err(Invalid);
    }
    UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, key)
        .verify(message, signature)
        .map_err(|_| Invalid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn verifies_its_own_and_nothing_else() {
        let key = SigningKey::generate();
        let again = SigningKey::from_pkcs8(&key.pkcs8()).unwrap();
        let signature = again.sign(b"text");
        assert_eq!(signature.len(), 256);
        assert_eq!(verify(&key.public_key(), b"text", &signature), Ok(()));
        assert_eq!(verify(&key.public_key(), b"test", &signature), Err(Invalid));
        assert_eq!(verify(&key.public_key()[1..], b"text", &signature), Err(Invalid));
        assert_eq!(verify(&[0x30; 5000], b"text", &signature), Err(Invalid));
    }

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", SigningKey::generate()), "SigningKey([secret])");
    }
}
