//! Fingerprints of signets: SHA-512 over a prefix of the fields (`signet.md` §9).
//!
//! The kinds must not be mixed up, so each is a type; [`Signet`](super::signet::Signet) makes them. Text form: standard base64 without padding, 86 characters.

use std::fmt;

use sha2::{Digest, Sha512};

use crate::base::encoding::{NotBase64, base64_decode_unpadded, base64_unpadded};

macro_rules! fingerprint {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; 64]);

        impl $name {
            /// The digest of the field octets that this kind covers, without the header.
            pub fn of(covered: &[u8]) -> Self {
                Self(Sha512::digest(covered).into())
            }

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
    /// Up to the user's own signature: names a signing request, and stays the same in the signet made from it.
    SsrFingerprint
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

impl From<IdFingerprint> for AnyFingerprint {
    fn from(fingerprint: IdFingerprint) -> Self {
        Self(fingerprint.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_86_unpadded_characters_and_reads_back() {
        let fingerprint = CryptoFingerprint::of(b"fields");
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 86);
        assert_eq!(CryptoFingerprint::parse(&text), Ok(fingerprint));
        assert_eq!(CryptoFingerprint::parse(&format!("{text}==")), Err(NotBase64));
        assert_eq!(CryptoFingerprint::parse(&text[1..]), Err(NotBase64));
    }
}
