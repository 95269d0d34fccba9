//! X25519 (RFC 7748) by AWS-LC, and with it DHKEM(X25519, HKDF-SHA256) as a KEM of the `hpke` crate.
//!
//! The crate's own KEM multiplies in portable Rust, which takes twice as long; it stays the yardstick in the tests.
//! Key schedule, exporter and derivation of keys are the crate's.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use hpke::hybrid_array::typenum::U32;
use hpke::kdf::{HkdfSha256, Kdf};
use hpke::kem::{Kem, SharedSecret};
use hpke::{Deserializable, HpkeError, Serializable};
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::crypto::no_memory;

/// Octets of a scalar, a point and a shared secret.
pub(super) const SIZE: usize = 32;

/// Of this KEM in `LabeledExtract` and `LabeledExpand` (RFC 9180 §4.1).
const SUITE_ID: [u8; 5] = *b"KEM\x00\x20";

/// DHKEM(X25519, HKDF-SHA256), 0x0020, without authentication of the sender.
pub(super) struct X25519;

/// A point; also the encapsulation of the KEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point(pub(super) [u8; SIZE]);

/// A clamped scalar with its point. Wiped on drop. Cheap to clone.
#[derive(Clone)]
pub(super) struct Scalar(Arc<Parts>);

struct Parts {
    octets: Zeroizing<[u8; SIZE]>,
    /// The library's own, which it wipes.
    key: agreement::PrivateKey,
    point: Point,
}

impl Scalar {
    /// Clamps (RFC 7748 §5) and multiplies the base point.
    pub(super) fn new(octets: &[u8; SIZE]) -> Self {
        let mut octets = Zeroizing::new(*octets);
        octets[0] &= 248;
        octets[SIZE - 1] = octets[SIZE - 1] & 127 | 64;
        // Every 32 octets are a private key.
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, &*octets)
            .unwrap_or_else(|_| no_memory());
        let public = key.compute_public_key().unwrap_or_else(|_| no_memory());
        let point = Point::from_bytes(public.as_ref()).unwrap_or_else(|_| no_memory());
        Self(Arc::new(Parts { octets, key, point }))
    }

    /// The public half.
    pub(super) fn point(&self) -> &Point {
        &self.0.point
    }

    /// What the owners of both halves share; `None` if it is zero, which only points of small order make it.
    pub(super) fn agree(&self, other: &Point) -> Option<Zeroizing<[u8; SIZE]>> {
        let other = UnparsedPublicKey::new(&agreement::X25519, &other.0);
        agreement::agree(&self.0.key, other, (), |shared| {
            let mut octets = Zeroizing::new([0; SIZE]);
            octets.copy_from_slice(shared);
            Ok(octets)
        })
        .ok()
    }
}

impl Kem for X25519 {
    type PublicKey = Point;
    type PrivateKey = Scalar;
    type EncappedKey = Point;
    type NSecret = U32;

    const KEM_ID: u16 = 0x0020;

    fn sk_to_pk(secret: &Scalar) -> Point {
        secret.point().clone()
    }

    fn derive_keypair(material: &[u8]) -> (Scalar, Point) {
        let octets = Zeroizing::new(HkdfSha256::derive_x25519_sk_eph_bytes(&SUITE_ID, material));
        let scalar = Scalar::new(&octets);
        let point = scalar.point().clone();
        (scalar, point)
    }

    fn encap_with_rng(
        recipient: &Point,
        sender: Option<(&Scalar, &Point)>,
        rng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, Point), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (ephemeral, encapsulation) = Self::gen_keypair_with_rng(rng);
        let agreed = ephemeral.agree(recipient).ok_or(HpkeError::EncapError)?;
        let shared = extract_and_expand(&agreed, &encapsulation, recipient)?;
        Ok((shared, encapsulation))
    }

    fn decap(
        secret: &Scalar,
        sender: Option<&Point>,
        encapsulation: &Point,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let agreed = secret.agree(encapsulation).ok_or(HpkeError::DecapError)?;
        extract_and_expand(&agreed, encapsulation, secret.point())
    }
}

/// `ExtractAndExpand` of RFC 9180 §4.1.
fn extract_and_expand(
    agreed: &[u8; SIZE],
    encapsulation: &Point,
    recipient: &Point,
) -> Result<SharedSecret<X25519>, HpkeError> {
    let mut context = [0; 2 * SIZE];
    context[..SIZE].copy_from_slice(&encapsulation.0);
    context[SIZE..].copy_from_slice(&recipient.0);
    let mut shared = SharedSecret::default();
    HkdfSha256::extract_and_expand(agreed, &SUITE_ID, &context, &mut shared.0)?;
    Ok(shared)
}

impl Serializable for Point {
    type OutputSize = U32;

    fn write_exact(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

impl Deserializable for Point {
    fn from_bytes(octets: &[u8]) -> Result<Self, HpkeError> {
        exact(octets).map(Self)
    }
}

impl Serializable for Scalar {
    type OutputSize = U32;

    fn write_exact(&self, out: &mut [u8]) {
        out.copy_from_slice(&*self.0.octets);
    }
}

impl Deserializable for Scalar {
    fn from_bytes(octets: &[u8]) -> Result<Self, HpkeError> {
        exact(octets).map(|octets| Self::new(&Zeroizing::new(octets)))
    }
}

impl ConstantTimeEq for Scalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.octets.ct_eq(&*other.0.octets)
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar([secret])")
    }
}

fn exact<const N: usize>(octets: &[u8]) -> Result<[u8; N], HpkeError> {
    octets
        .try_into()
        .map_err(|_| HpkeError::IncorrectInputLength(N, octets.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::agrees_with;
    use super::*;

    #[test]
    fn is_the_kem_of_the_crate_octet_for_octet() {
        agrees_with::<hpke::kem::X25519HkdfSha256, X25519>();
    }

    /// RFC 7748 §6.1.
    #[test]
    fn agrees_as_the_rfc_does() {
        let alice = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
            0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let bob = [
            0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4, 0xd3, 0x5b, 0x61, 0xc2, 0xec, 0xe4, 0x35, 0x37,
            0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78, 0x67, 0x4d, 0xad, 0xfc, 0x7e, 0x14, 0x6f, 0x88, 0x2b, 0x4f,
        ];
        let shared = Scalar::new(&alice).agree(&Point(bob)).unwrap();
        assert_eq!(shared[..4], [0x4a, 0x5d, 0x9d, 0x5b]);
        assert_eq!(shared[28..], [0x1e, 0x16, 0x17, 0x42]);
    }

    #[test]
    fn shares_nothing_with_points_of_small_order() {
        let scalar = Scalar::new(&[7; SIZE]);
        for low in [0, 1] {
            let mut point = [0; SIZE];
            point[0] = low;
            assert!(scalar.agree(&Point(point)).is_none());
        }
    }

    #[test]
    fn other_sizes_are_refused_and_debug_shows_no_secret() {
        assert!(Point::from_bytes(&[9; 31]).is_err());
        assert!(Scalar::from_bytes(&[9; 33]).is_err());
        assert_eq!(format!("{:?}", Scalar::new(&[7; SIZE])), "Scalar([secret])");
    }
}
