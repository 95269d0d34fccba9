//! Suites: key agreement and content encryption of a message format, one file each.

pub mod hpke;
pub mod secp256k1_aes256;
mod x25519;
mod xwing;

#[cfg(test)]
mod testing;
