//! Fingerprints of signets: SHA-512 over a prefix of the fields (`signet.md` §9).
//!
//! Three kinds are in use and must not be mixed up, so each is a type. Text form: standard base64 without padding, 86 characters.

use std::fmt;

use crate::base::encoding::{NotBase64, base64_decode_unpadded, base64_unpadded};

macro_rules! fingerprint {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; 64]);

        impl $name {
            /// Reads the 86-character text form.
            pub fn parse(text: &str) -> Result<Self, NotBase64> {
                base64_decode_unpadded(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base64_unpadded(&self.0))
            }
        }
    };
}

fingerprint! {
    /// Up to the cryptographic signature: what envelope chunks carry.
    CryptoFingerprint
}
fingerprint! {
    /// Up to the full signature: what DMTP commands carry.
    FullFingerprint
}
fingerprint! {
    /// Over every field of an identifiable signet.
    IdFingerprint
}
fingerprint! {
    /// A fingerprint of a kind that the peer did not name; matched against all three.
    AnyFingerprint
}

impl From<CryptoFingerprint> for AnyFingerprint {
    fn from(fingerprint: CryptoFingerprint) -> Self {
        Self(fingerprint.0)
    }
}

impl From<FullFingerprint> for AnyFingerprint {
    fn from(fingerprint: FullFingerprint) -> Self {
        Self(fingerprint.0)
    }
}
