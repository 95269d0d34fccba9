//! Private key files in the clear (`signet.md` §11): always 74 octets.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 2 | magic: 07A0 organization, 07DD user |
//! | 2 | 3 | 69, the length of the rest |
//! | 5 | 2 | 01 20 |
//! | 7 | 32 | Ed25519 seed |
//! | 39 | 3 | 03 (organization) or 02 (user), 0020 |
//! | 42 | 32 | secp256k1 scalar, big-endian |
//!
//! | Armor label | What | Format |
//! |---|---|---|
//! | `ORGANIZATIONAL KEY`, `USER KEY` | signing and encryption key, as above | libdime's |
//! | `ED25519 PRIVATE KEY` | a signing key alone, 32 octets | libdime's |
//! | `KEY SET PRIVATE KEYS` | private keys of a key set for D/MIME 2 ([`kem`]) | ours |
//! | `WRAPPED PRIVATE KEY` | any of these under a passphrase or the master key ([`wrapped`]) | ours |
//!
//! A file may hold several blocks; [`private`] reads any kind.
//!
//! Deviation: libdime takes a file of the other kind and octets after the last field (D21, D22); we do not.

pub mod kem;
pub mod private;
pub mod wrapped;

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::armor;
use crate::base::bytes::{self, Reader};
use crate::base::secret::Secret;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256::SecretKey;

/// Size of a key file in octets.
pub const SIZE: usize = 74;

/// Magic number of an organization's key file.
pub const ORG_MAGIC: u16 = 1952;
/// Magic number of a user's key file.
pub const USER_MAGIC: u16 = 2013;

/// Labels under which libdime looks for a key file; the magic number says which kind it is.
const LABELS: &[&str] = &["USER KEY", "ORGANIZATIONAL KEY"];

/// Label of a bare Ed25519 seed, which libdime's record tool reads (§10.3, §12).
const SEED_LABEL: &str = "ED25519 PRIVATE KEY";

/// What is wrong with a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The magic number is not the one of this kind of key file.
    #[error("magic number {found}{} instead of {expected}{}", named(*found), named(*expected))]
    Magic {
        /// Number of the kind asked for.
        expected: u16,
        /// Number in the file.
        found: u16,
    },
    /// Not exactly the two fields at their places; the octet where that shows, counted from 0.
    #[error("not laid out as a key file at octet {0}")]
    Layout(usize),
    /// The encryption key is not a scalar of the curve.
    #[error("the encryption key is out of range")]
    Key,
    /// The armor around it.
    #[error(transparent)]
    Armor(#[from] armor::Error),
}

/// What has this magic number, in brackets.
fn named(magic: u16) -> &'static str {
    match magic {
        ORG_MAGIC => " (organizational key)",
        USER_MAGIC => " (user key)",
        _ => "",
    }
}

macro_rules! key_file {
    ($(#[$meta:meta])* $name:ident, $layout:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            /// Ed25519 key.
            pub signing: SigningKey,
            /// secp256k1 key.
            pub encryption: SecretKey,
        }

        impl $name {
            /// Draws both keys.
            pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                Self {
                    signing: SigningKey::generate(rng),
                    encryption: SecretKey::generate(rng),
                }
            }

            /// Reads the binary form.
            pub fn decode(octets: &[u8]) -> Result<Self, Error> {
                let (signing, encryption) = $layout.decode(octets)?;
                Ok(Self { signing, encryption })
            }

            /// The binary form.
            pub fn encode(&self) -> Secret<Vec<u8>> {
                $layout.encode(&self.signing, &self.encryption)
            }

            /// Reads the armored form; the label is not looked at beyond finding the block.
            pub fn from_armor(text: &str) -> Result<Self, Error> {
                Self::decode(&Zeroizing::new(armor::decode(text, LABELS)?))
            }

            /// The armored form. Files of it are for the owner's eyes only.
            pub fn to_armor(&self) -> Secret<String> {
                Secret::new(armor::encode($layout.label, self.encode().expose()))
            }
        }
    };
}

key_file! {
    /// Private keys of an organization: primary organizational key and encryption key.
    OrgKeys, Layout { magic: ORG_MAGIC, encryption_id: 3, label: "ORGANIZATIONAL KEY" }
}
key_file! {
    /// Private keys of a user.
    UserKeys, Layout { magic: USER_MAGIC, encryption_id: 2, label: "USER KEY" }
}

/// Reads an armored bare Ed25519 seed.
pub fn signing_key_from_armor(text: &str) -> Result<SigningKey, Error> {
    let octets = Zeroizing::new(armor::decode(text, &[SEED_LABEL])?);
    let seed = octets
        .as_slice()
        .try_into()
        .map_err(|_| Error::Layout(octets.len().min(32)))?;
    Ok(SigningKey::from_seed(seed))
}

/// The armored bare Ed25519 seed.
pub fn signing_key_to_armor(key: &SigningKey) -> Secret<String> {
    Secret::new(armor::encode(SEED_LABEL, key.seed()))
}

struct Layout {
    magic: u16,
    encryption_id: u8,
    label: &'static str,
}

impl Layout {
    fn encode(&self, signing: &SigningKey, encryption: &SecretKey) -> Secret<Vec<u8>> {
        let mut scalar = encryption.to_bytes();
        let mut octets = Vec::with_capacity(SIZE);
        octets.extend_from_slice(&self.magic.to_be_bytes());
        bytes::put_u24(&mut octets, 69);
        octets.extend_from_slice(&[1, 32]);
        octets.extend_from_slice(signing.seed());
        octets.extend_from_slice(&[self.encryption_id, 0, 32]);
        octets.extend_from_slice(&scalar);
        scalar.zeroize();
        Secret::new(octets)
    }

    fn decode(&self, octets: &[u8]) -> Result<(SigningKey, SecretKey), Error> {
        let mut reader = Reader::new(octets);
        let cut = Error::Layout(octets.len());
        let found = reader.u16().map_err(|_| cut)?;
        if found != self.magic {
            let expected = self.magic;
            return Err(Error::Magic { expected, found });
        }
        require(&mut reader, 2, &[0, 0, 69, 1, 32])?;
        let seed = Zeroizing::new(reader.array::<32>().map_err(|_| cut)?);
        require(&mut reader, 39, &[self.encryption_id, 0, 32])?;
        let scalar = Zeroizing::new(reader.array::<32>().map_err(|_| cut)?);
        reader.finish().map_err(|_| Error::Layout(SIZE))?;
        let encryption = SecretKey::from_bytes(&scalar).map_err(|_| Error::Key)?;
        Ok((SigningKey::from_seed(&seed), encryption))
    }
}

/// Demands these octets at this place.
fn require(reader: &mut Reader<'_>, offset: usize, expected: &[u8]) -> Result<(), Error> {
    for (place, octet) in (offset..).zip(expected) {
        match reader.u8() {
            Ok(found) if found == *octet => {}
            _ => return Err(Error::Layout(place)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    /// The published key files (§18.5).
    const ORG: &str = "\
-----BEGIN ORGANIZATIONAL KEY-----
B6AAAEUBIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAwAgQEFCQ0RF
RkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=
=4F6n
-----END ORGANIZATIONAL KEY-----
";
    const USER: &str = "\
-----BEGIN USER KEY-----
B90AAEUBICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/AgAgYGFiY2Rl
ZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8=
=efZ/
-----END USER KEY-----
";

    fn counting_from(first: u8) -> [u8; 32] {
        std::array::from_fn(|place| first + place as u8)
    }

    fn user() -> UserKeys {
        UserKeys {
            signing: SigningKey::from_seed(&counting_from(0x20)),
            encryption: SecretKey::from_bytes(&counting_from(0x60)).unwrap(),
        }
    }

    #[test]
    fn published_key_files_are_written_and_read() {
        let org = OrgKeys::from_armor(ORG).unwrap();
        assert_eq!(org.signing.seed(), &counting_from(0));
        assert_eq!(org.encryption.to_bytes(), counting_from(0x40));
        assert_eq!(org.to_armor().expose(), ORG);
        assert_eq!(user().to_armor().expose(), USER);
        assert_eq!(UserKeys::from_armor(USER).unwrap().encode(), user().encode());
    }

    #[test]
    fn the_label_does_not_matter_but_the_magic_does() {
        let text = USER.replace("USER KEY", "ORGANIZATIONAL KEY");
        assert!(UserKeys::from_armor(&text).is_ok());
        let error = OrgKeys::from_armor(USER).unwrap_err();
        assert_eq!(
            error,
            Error::Magic {
                expected: 1952,
                found: 2013
            }
        );
    }

    #[test]
    fn refuses_every_neighbour_of_the_layout() {
        let good = user().encode();
        let good = good.expose();
        assert_eq!(good.len(), SIZE);
        for place in (2..7).chain(39..42) {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert_eq!(
                UserKeys::decode(&bad).unwrap_err(),
                Error::Layout(place),
                "octet {place}"
            );
        }
        for length in 0..SIZE {
            let cut = UserKeys::decode(&good[..length]).unwrap_err();
            assert_eq!(cut, Error::Layout(length));
        }
        let longer = [good, &[0][..]].concat();
        assert_eq!(UserKeys::decode(&longer).unwrap_err(), Error::Layout(SIZE));
        for scalar in [[0; 32], [0xff; 32]] {
            let bad = [&good[..42], &scalar].concat();
            assert_eq!(UserKeys::decode(&bad).unwrap_err(), Error::Key);
        }
    }

    #[test]
    fn a_bare_seed_has_its_own_armor() {
        let text = signing_key_to_armor(&user().signing);
        assert!(text.expose().starts_with("-----BEGIN ED25519 PRIVATE KEY-----\n"));
        let key = signing_key_from_armor(text.expose()).unwrap();
        assert_eq!(key.seed(), &counting_from(0x20));
        let short = armor::encode(SEED_LABEL, &[0; 31]);
        assert_eq!(signing_key_from_armor(&short).unwrap_err(), Error::Layout(31));
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", user());
        assert_eq!(
            shown,
            "UserKeys { signing: SigningKey([secret]), encryption: SecretKey([secret]) }"
        );
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(seed in any::<[u8; 32]>(), scalar in any::<[u8; 32]>()) {
            let Ok(encryption) = SecretKey::from_bytes(&scalar) else { return Ok(()) };
            let keys = OrgKeys { signing: SigningKey::from_seed(&seed), encryption };
            let read = OrgKeys::from_armor(keys.to_armor().expose()).unwrap();
            prop_assert_eq!(read.encode(), keys.encode());
        }

        #[test]
        fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = OrgKeys::decode(&octets);
            let _ = UserKeys::decode(&octets);
        }
    }
}
