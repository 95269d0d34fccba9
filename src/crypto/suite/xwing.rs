//! X-Wing (`dmime2.md` §2.1) of ML-KEM-768 and [`x25519`](super::x25519), as a KEM of the `hpke` crate.
//!
//! The crate's own X-Wing expands the seed again for each decapsulation and multiplies in portable Rust; here a private
//! key is expanded once, when it is first used. The crate's stays the yardstick in the tests.

use std::fmt;
use std::sync::{Arc, OnceLock};

use hpke::hybrid_array::Array;
use hpke::hybrid_array::sizes::{U32, U1120, U1216};
use hpke::kem::{Kem, SharedSecret};
use hpke::{Deserializable, HpkeError, Serializable};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, Decapsulate, KeyExport, Seed};
use rand_core::CryptoRng;
use sha3::{Digest, Sha3_256};
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use super::x25519::{self, Point, Scalar};

/// Octets of an ML-KEM-768 encapsulation key; the X25519 point follows.
const MODULE_KEY_SIZE: usize = 1184;
/// Octets of an ML-KEM-768 ciphertext; the X25519 point follows.
const MODULE_CIPHERTEXT_SIZE: usize = 1088;
/// Octets of the seed of an ML-KEM key, `d ‖ z`; the X25519 scalar follows.
const MODULE_SEED_SIZE: usize = 64;

/// X-Wing, 0x647A.
pub(super) struct XWing;

/// An encapsulation key whose ML-KEM part has passed the modulus check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    module: EncapsulationKey,
    point: Point,
}

/// The seed and what it expands to. Wiped on drop. Cheap to clone.
#[derive(Clone)]
pub(super) struct PrivateKey(Arc<Parts>);

struct Parts {
    seed: Zeroizing<[u8; 32]>,
    /// Of the keys that an owner still has, most are only tried on messages of the other suite.
    expanded: OnceLock<Expanded>,
}

struct Expanded {
    module: DecapsulationKey,
    scalar: Scalar,
}

/// The ciphertext of ML-KEM and an ephemeral point.
#[derive(Clone)]
pub(super) struct Encapsulation {
    module: Ciphertext,
    point: Point,
}

impl PrivateKey {
    fn new(seed: &[u8; 32]) -> Self {
        Self(Arc::new(Parts {
            seed: Zeroizing::new(*seed),
            expanded: OnceLock::new(),
        }))
    }

    fn expanded(&self) -> &Expanded {
        self.0.expanded.get_or_init(|| Expanded::of(&self.0.seed))
    }
}

impl Expanded {
    /// `SHAKE256(seed, 96)` = `d ‖ z` (64) ‖ X25519 scalar (32).
    fn of(seed: &[u8; 32]) -> Self {
        let mut octets = Zeroizing::new([0; MODULE_SEED_SIZE + x25519::SIZE]);
        Shake256::default().chain(seed).finalize_xof().read(&mut *octets);
        let (mut module, mut scalar) = (Seed::default(), Zeroizing::new([0; x25519::SIZE]));
        module.copy_from_slice(&octets[..MODULE_SEED_SIZE]);
        scalar.copy_from_slice(&octets[MODULE_SEED_SIZE..]);
        let expanded = Self {
            module: DecapsulationKey::from_seed(module),
            scalar: Scalar::new(&scalar),
        };
        module.zeroize();
        expanded
    }
}

impl PublicKey {
    /// Encapsulates with given randomness: the message of ML-KEM, then the scalar.
    fn encapsulate(&self, message: &B32, scalar: &[u8; 32]) -> Option<(SharedSecret<XWing>, Encapsulation)> {
        let (module, mut module_shared) = self.module.encapsulate_deterministic(message);
        let ephemeral = Scalar::new(scalar);
        let point = ephemeral.point().clone();
        let shared = ephemeral
            .agree(&self.point)
            .map(|agreed| combine(&module_shared, &agreed, &point, &self.point));
        module_shared.zeroize();
        Some((shared?, Encapsulation { module, point }))
    }
}

impl Kem for XWing {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = Encapsulation;
    type NSecret = U32;

    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(secret: &PrivateKey) -> PublicKey {
        let Expanded { module, scalar } = secret.expanded();
        PublicKey {
            module: module.encapsulation_key().clone(),
            point: scalar.point().clone(),
        }
    }

    /// Not that of the crate: what a seed was made from is nobody else's business (`dmime2.md` §2.1).
    fn derive_keypair(material: &[u8]) -> (PrivateKey, PublicKey) {
        let mut seed = Zeroizing::new([0; 32]);
        Shake256::default()
            .chain(material)
            .finalize_xof()
            .read(&mut *seed);
        let secret = PrivateKey::new(&seed);
        let public = Self::sk_to_pk(&secret);
        (secret, public)
    }

    fn encap_with_rng(
        recipient: &PublicKey,
        sender: Option<(&PrivateKey, &PublicKey)>,
        rng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, Encapsulation), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (mut message, mut scalar) = (B32::default(), Zeroizing::new([0; x25519::SIZE]));
        rng.fill_bytes(&mut message);
        rng.fill_bytes(&mut *scalar);
        let made = recipient.encapsulate(&message, &scalar);
        message.zeroize();
        made.ok_or(HpkeError::EncapError)
    }

    fn decap(
        secret: &PrivateKey,
        sender: Option<&PublicKey>,
        encapsulation: &Encapsulation,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let Expanded { module, scalar } = secret.expanded();
        let mut module_shared = module.decapsulate(&encapsulation.module);
        let shared = scalar
            .agree(&encapsulation.point)
            .map(|agreed| combine(&module_shared, &agreed, &encapsulation.point, scalar.point()));
        module_shared.zeroize();
        shared.ok_or(HpkeError::DecapError)
    }
}

/// `SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label)`.
fn combine(module: &B32, agreed: &[u8; 32], ephemeral: &Point, public: &Point) -> SharedSecret<XWing> {
    let mut hash = Sha3_256::new();
    for piece in [&module[..], agreed, &ephemeral.0, &public.0, br"\.//^\"] {
        Digest::update(&mut hash, piece);
    }
    SharedSecret(hash.finalize())
}

impl Serializable for PublicKey {
    type OutputSize = U1216;

    fn write_exact(&self, out: &mut [u8]) {
        let (module, point) = out.split_at_mut(MODULE_KEY_SIZE);
        module.copy_from_slice(&self.module.to_bytes());
        point.copy_from_slice(&self.point.0);
    }
}

impl Deserializable for PublicKey {
    fn from_bytes(octets: &[u8]) -> Result<Self, HpkeError> {
        let (module, point) = split(octets, MODULE_KEY_SIZE)?;
        let module = Array::try_from(module).map_err(|_| HpkeError::ValidationError)?;
        Ok(Self {
            module: EncapsulationKey::new(&module).map_err(|_| HpkeError::ValidationError)?,
            point: Point::from_bytes(point)?,
        })
    }
}

impl Serializable for Encapsulation {
    type OutputSize = U1120;

    fn write_exact(&self, out: &mut [u8]) {
        let (module, point) = out.split_at_mut(MODULE_CIPHERTEXT_SIZE);
        module.copy_from_slice(&self.module);
        point.copy_from_slice(&self.point.0);
    }
}

impl Deserializable for Encapsulation {
    fn from_bytes(octets: &[u8]) -> Result<Self, HpkeError> {
        let (module, point) = split(octets, MODULE_CIPHERTEXT_SIZE)?;
        Ok(Self {
            module: Array::try_from(module).map_err(|_| HpkeError::ValidationError)?,
            point: Point::from_bytes(point)?,
        })
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, out: &mut [u8]) {
        out.copy_from_slice(&*self.0.seed);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(octets: &[u8]) -> Result<Self, HpkeError> {
        let seed = octets
            .try_into()
            .map_err(|_| HpkeError::IncorrectInputLength(32, octets.len()))?;
        Ok(Self::new(&Zeroizing::new(seed)))
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.seed.ct_eq(&*other.0.seed)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([secret])")
    }
}

/// The ML-KEM part and the X25519 part.
fn split(octets: &[u8], module_size: usize) -> Result<(&[u8], &[u8]), HpkeError> {
    octets
        .split_at_checked(module_size)
        .ok_or(HpkeError::IncorrectInputLength(
            module_size + x25519::SIZE,
            octets.len(),
        ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::agrees_with;
    use super::*;

    #[test]
    fn is_the_x_wing_of_the_crate_octet_for_octet() {
        agrees_with::<hpke::kem::XWing, XWing>();
    }

    #[test]
    fn other_sizes_are_refused_and_debug_shows_no_secret() {
        for size in [0, MODULE_CIPHERTEXT_SIZE, 1119, 1121] {
            assert!(Encapsulation::from_bytes(&vec![0; size]).is_err());
        }
        for size in [0, MODULE_KEY_SIZE, 1215, 1217] {
            assert!(PublicKey::from_bytes(&vec![0; size]).is_err());
        }
        assert!(PrivateKey::from_bytes(&[7; 31]).is_err());
        assert_eq!(format!("{:?}", PrivateKey::new(&[7; 32])), "PrivateKey([secret])");
    }
}
