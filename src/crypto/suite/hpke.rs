//! The suites of D/MIME 2: HPKE (RFC 9180) in base mode with HKDF-SHA256, of which only the exporter is used
//! (`dmime2.md` §2).
//!
//! | Suite | KEM | public key | private key | encapsulation |
//! |---|---|---|---|---|
//! | 1 `x25519` | DHKEM(X25519, HKDF-SHA256) | 32 | 32 | 32 |
//! | 2 `xwing` | X-Wing: X25519 and ML-KEM-768 | 1216 | 32 (seed) | 1120 |
//!
//! Randomness is drawn in the order of appendix A, so that a generator with given octets makes given encapsulations.

use std::fmt;
use std::sync::Arc;

use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::Kem;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::x25519::X25519;
use super::xwing::XWing;
use crate::base::secret::Secret;

/// Octets of an X25519 value.
pub const POINT_SIZE: usize = 32;
/// Octets of a private key of any suite.
pub const SECRET_SIZE: usize = 32;

/// Which KEM a key, an encapsulation or a whole message uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suite {
    /// X25519 alone.
    X25519 = 1,
    /// X25519 with ML-KEM-768: confidential against later quantum computers too.
    XWing = 2,
}

impl Suite {
    /// Every suite, in ascending order.
    pub const ALL: [Self; 2] = [Self::X25519, Self::XWing];

    /// The suite of a number; `None` for reserved ones.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// The suite of a name in configuration and marker fields.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Its number on the wire.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Its name: `x25519` or `xwing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519 => "x25519",
            Self::XWing => "xwing",
        }
    }

    /// Octets of a public key.
    pub fn public_key_size(self) -> usize {
        match self {
            Self::X25519 => POINT_SIZE,
            Self::XWing => 1216,
        }
    }

    /// Octets of an encapsulation.
    pub fn encapsulation_size(self) -> usize {
        match self {
            Self::X25519 => POINT_SIZE,
            Self::XWing => 1120,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why octets are no usable key or encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the size that the suite demands.
    #[error("{found} octets where {suite} has {expected}")]
    Size {
        /// Whose size it should be.
        suite: Suite,
        /// That size.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// The X25519 part is not canonical or of small order (`dmime2.md` §2.2).
    #[error("not an acceptable X25519 value")]
    Point,
    /// The ML-KEM part fails the modulus check (FIPS 203 §7.2).
    #[error("not an ML-KEM-768 encapsulation key")]
    Modulus,
    /// No secret could be shared.
    #[error("the key agreement failed")]
    Agreement,
}

/// Whether the last 32 octets of a public key or an encapsulation are an acceptable X25519 value: less than 2^255 − 19
/// and of no small order (`dmime2.md` §2.2). Too few octets are not.
pub fn is_acceptable(value: &[u8]) -> bool {
    value
        .last_chunk::<POINT_SIZE>()
        .is_some_and(|point| is_canonical(point) && !SMALL_ORDER.contains(point))
}

/// Values less than the prime whose points have order 2, 4, 4 on the twist, 8 and 8; little-endian.
const SMALL_ORDER: [[u8; POINT_SIZE]; 5] = [
    [0; POINT_SIZE],
    little_endian(1, 0),
    P_MINUS_ONE,
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

/// 2^255 − 20, the greatest canonical value.
const P_MINUS_ONE: [u8; POINT_SIZE] = {
    let mut value = [0xff; POINT_SIZE];
    value[0] = 0xec;
    value[31] = 0x7f;
    value
};

const fn little_endian(low: u8, high: u8) -> [u8; POINT_SIZE] {
    let mut value = [0; POINT_SIZE];
    value[0] = low;
    value[31] = high;
    value
}

/// Compares from the most significant octet on.
fn is_canonical(point: &[u8; POINT_SIZE]) -> bool {
    point.iter().rev().le(P_MINUS_ONE.iter().rev())
}

/// A public key that has passed the checks of `dmime2.md` §2.2 and FIPS 203 §7.2. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<PublicParts>);

struct PublicParts {
    octets: Vec<u8>,
    key: AnyPublic,
}

enum AnyPublic {
    X25519(<X25519 as Kem>::PublicKey),
    XWing(Box<<XWing as Kem>::PublicKey>),
}

impl PublicKey {
    /// Reads a key; [`Error::Size`], [`Error::Point`] or [`Error::Modulus`] says what is wrong with it.
    pub fn from_bytes(suite: Suite, octets: &[u8]) -> Result<Self, Error> {
        check_size(suite, suite.public_key_size(), octets)?;
        if !is_acceptable(octets) {
            return Err(Error::Point);
        }
        let key = match suite {
            Suite::X25519 => AnyPublic::X25519(parse(octets)?),
            Suite::XWing => AnyPublic::XWing(Box::new(parse(octets)?)),
        };
        Ok(Self(Arc::new(PublicParts {
            octets: octets.to_vec(),
            key,
        })))
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        match self.0.key {
            AnyPublic::X25519(_) => Suite::X25519,
            AnyPublic::XWing(_) => Suite::XWing,
        }
    }

    /// Its octets on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.octets
    }

    /// The X25519 key that it is or contains: the keys of one owner must not share it (rule N6).
    pub fn point(&self) -> &[u8] {
        &self.0.octets[self.0.octets.len() - POINT_SIZE..]
    }

    /// Agrees with the owner on a context; gives the encapsulation, which tells only the owner.
    ///
    /// Draws 32 octets (suite 1: input of `DeriveKeyPair`) or 64 (suite 2: ML-KEM message, X25519 scalar).
    pub fn encapsulate<R: CryptoRng + ?Sized>(
        &self,
        info: &[u8],
        mut rng: &mut R,
    ) -> Result<(Vec<u8>, Context), Error> {
        match &self.0.key {
            AnyPublic::X25519(key) => {
                let (enc, context) = hpke::setup_sender_with_rng(&OpModeS::Base, key, info, &mut rng)
                    .map_err(|_| Error::Agreement)?;
                Ok((to_vec(&enc), Context(AnyContext::SenderX25519(context))))
            }
            AnyPublic::XWing(key) => {
                let (enc, context) = hpke::setup_sender_with_rng(&OpModeS::Base, &**key, info, &mut rng)
                    .map_err(|_| Error::Agreement)?;
                Ok((to_vec(&enc), Context(AnyContext::SenderXWing(context))))
            }
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.octets == other.0.octets
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.suite())
    }
}

/// A private key, 32 octets in both suites: an X25519 scalar or an X-Wing seed. Cheap to clone, wiped on drop.
#[derive(Clone)]
pub struct SecretKey(Arc<SecretParts>);

struct SecretParts {
    octets: Secret<[u8; SECRET_SIZE]>,
    key: AnySecret,
}

/// Both wipe themselves.
enum AnySecret {
    X25519(<X25519 as Kem>::PrivateKey),
    XWing(Box<<XWing as Kem>::PrivateKey>),
}

impl SecretKey {
    /// Draws 32 octets and uses them directly.
    pub fn generate<R: CryptoRng + ?Sized>(suite: Suite, rng: &mut R) -> Self {
        loop {
            let mut octets = Zeroizing::new([0u8; SECRET_SIZE]);
            rng.fill_bytes(&mut *octets);
            // Any 32 octets are a private key in both suites, so the first draw is taken.
            if let Ok(key) = Self::from_bytes(suite, &octets) {
                return key;
            }
        }
    }

    /// Takes existing octets.
    pub fn from_bytes(suite: Suite, octets: &[u8; SECRET_SIZE]) -> Result<Self, Error> {
        let key = match suite {
            Suite::X25519 => AnySecret::X25519(parse(octets)?),
            Suite::XWing => AnySecret::XWing(Box::new(parse(octets)?)),
        };
        Ok(Self(Arc::new(SecretParts {
            octets: Secret::new(*octets),
            key,
        })))
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        match self.0.key {
            AnySecret::X25519(_) => Suite::X25519,
            AnySecret::XWing(_) => Suite::XWing,
        }
    }

    /// The octets, for storing them only.
    pub fn expose(&self) -> &[u8; SECRET_SIZE] {
        self.0.octets.expose()
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let (octets, key) = match &self.0.key {
            AnySecret::X25519(secret) => {
                let key = X25519::sk_to_pk(secret);
                (to_vec(&key), AnyPublic::X25519(key))
            }
            AnySecret::XWing(secret) => {
                let key = XWing::sk_to_pk(secret);
                (to_vec(&key), AnyPublic::XWing(Box::new(key)))
            }
        };
        PublicKey(Arc::new(PublicParts { octets, key }))
    }

    /// Agrees with whoever made the encapsulation. That it was made to another key shows only in what the context opens.
    pub fn decapsulate(&self, encapsulation: &[u8], info: &[u8]) -> Result<Context, Error> {
        let suite = self.suite();
        check_size(suite, suite.encapsulation_size(), encapsulation)?;
        if !is_acceptable(encapsulation) {
            return Err(Error::Point);
        }
        let context = match &self.0.key {
            AnySecret::X25519(key) => AnyContext::ReceiverX25519(
                hpke::setup_receiver(&OpModeR::Base, key, &parse(encapsulation)?, info)
                    .map_err(|_| Error::Agreement)?,
            ),
            AnySecret::XWing(key) => AnyContext::ReceiverXWing(
                hpke::setup_receiver(&OpModeR::Base, &**key, &parse(encapsulation)?, info)
                    .map_err(|_| Error::Agreement)?,
            ),
        };
        Ok(Context(context))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, [secret])", self.suite())
    }
}

/// What both sides of an encapsulation share. Wiped on drop.
pub struct Context(AnyContext);

/// The contexts wipe themselves.
enum AnyContext {
    SenderX25519(AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519>),
    SenderXWing(AeadCtxS<ChaCha20Poly1305, HkdfSha256, XWing>),
    ReceiverX25519(AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519>),
    ReceiverXWing(AeadCtxR<ChaCha20Poly1305, HkdfSha256, XWing>),
}

impl Context {
    /// A key for one purpose, which `label` names in full.
    pub fn export(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0u8; 32]);
        let done = match &self.0 {
            AnyContext::SenderX25519(context) => context.export(label, &mut *key),
            AnyContext::SenderXWing(context) => context.export(label, &mut *key),
            AnyContext::ReceiverX25519(context) => context.export(label, &mut *key),
            AnyContext::ReceiverXWing(context) => context.export(label, &mut *key),
        };
        // Only more than 255 × 32 octets are refused.
        debug_assert!(done.is_ok());
        key
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context([secret])")
    }
}

fn check_size(suite: Suite, expected: usize, octets: &[u8]) -> Result<(), Error> {
    match octets.len() {
        found if found == expected => Ok(()),
        found => Err(Error::Size {
            suite,
            expected,
            found,
        }),
    }
}

/// Reads a value of the crate. After the size, the modulus is all it can find wrong.
fn parse<T: Deserializable>(octets: &[u8]) -> Result<T, Error> {
    T::from_bytes(octets).map_err(|_| Error::Modulus)
}

fn to_vec<T: Serializable>(value: &T) -> Vec<u8> {
    let mut bytes = value.to_bytes();
    let octets = bytes.to_vec();
    bytes.zeroize();
    octets
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_sides_export_the_same_and_others_do_not() {
        for suite in Suite::ALL {
            let mut rng = rand::rng();
            let (own, other) = (
                SecretKey::generate(suite, &mut rng),
                SecretKey::generate(suite, &mut rng),
            );
            let (enc, sender) = own.public_key().encapsulate(b"info", &mut rng).unwrap();
            assert_eq!(enc.len(), suite.encapsulation_size());
            let receiver = own.decapsulate(&enc, b"info").unwrap();
            assert_eq!(sender.export(b"label"), receiver.export(b"label"));
            assert_ne!(sender.export(b"label"), receiver.export(b"other"));
            let elsewhere = other.decapsulate(&enc, b"info").unwrap();
            assert_ne!(sender.export(b"label"), elsewhere.export(b"label"));
            let misinformed = own.decapsulate(&enc, b"inf").unwrap();
            assert_ne!(sender.export(b"label"), misinformed.export(b"label"));
        }
    }

    #[test]
    fn keys_read_back_and_other_sizes_are_refused() {
        for suite in Suite::ALL {
            let key = SecretKey::generate(suite, &mut rand::rng());
            let public = key.public_key();
            assert_eq!(
                PublicKey::from_bytes(suite, public.as_bytes()),
                Ok(public.clone())
            );
            let again = SecretKey::from_bytes(suite, key.expose()).unwrap();
            assert_eq!(again.public_key(), public);
            let expected = suite.public_key_size();
            for found in [0, expected - 1] {
                let refused = PublicKey::from_bytes(suite, &public.as_bytes()[..found]);
                assert_eq!(
                    refused,
                    Err(Error::Size {
                        suite,
                        expected,
                        found
                    })
                );
            }
        }
    }

    #[test]
    fn only_canonical_points_of_large_order_are_acceptable() {
        for point in SMALL_ORDER {
            assert!(!is_acceptable(&point));
            assert_eq!(PublicKey::from_bytes(Suite::X25519, &point), Err(Error::Point));
        }
        let mut point = P_MINUS_ONE;
        point[0] = 0xeb;
        assert!(is_acceptable(&point));
        for low in 0xed..=0xff {
            point[0] = low;
            assert!(!is_acceptable(&point), "2^255 - 19 and above");
        }
        assert!(is_acceptable(&little_endian(9, 0)));
        assert!(!is_acceptable(&little_endian(9, 0x80)), "top bit");
        assert!(!is_acceptable(&[9; 31]));
    }

    #[test]
    fn an_ml_kem_part_beyond_the_modulus_is_refused() {
        let key = SecretKey::generate(Suite::XWing, &mut rand::rng()).public_key();
        let mut octets = key.as_bytes().to_vec();
        (octets[0], octets[1]) = (0xff, 0xff);
        assert_eq!(PublicKey::from_bytes(Suite::XWing, &octets), Err(Error::Modulus));
    }

    #[test]
    fn hostile_encapsulations_are_refused_before_any_key_is_used() {
        for suite in Suite::ALL {
            let key = SecretKey::generate(suite, &mut rand::rng());
            let zero = vec![0; suite.encapsulation_size()];
            assert_eq!(key.decapsulate(&zero, b"").unwrap_err(), Error::Point);
            assert!(matches!(
                key.decapsulate(&zero[1..], b""),
                Err(Error::Size { .. })
            ));
        }
    }

    #[test]
    fn names_and_numbers_read_back_and_debug_shows_no_secret() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_id(suite.id()), Some(suite));
            assert_eq!(Suite::from_name(suite.name()), Some(suite));
        }
        assert_eq!(Suite::from_id(0), None);
        assert_eq!(Suite::from_id(3), None);
        let key = SecretKey::generate(Suite::XWing, &mut rand::rng());
        assert_eq!(format!("{key:?}"), "SecretKey(xwing, [secret])");
    }
}
