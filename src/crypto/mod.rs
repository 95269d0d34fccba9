//! Cryptographic primitives behind small typed calls. Randomness is always a parameter.

pub mod aead;
pub mod aes256_gcm;
pub mod at_rest;
pub mod ed25519;
pub mod hash;
pub mod suite;
