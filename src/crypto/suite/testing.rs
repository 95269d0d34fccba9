//! Compares a KEM with the same one of the `hpke` crate.

#![allow(clippy::unwrap_used)]

use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::Kem;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// From the same octets, both make the same public key, encapsulation and exported secrets, and each opens the other's.
pub(super) fn agrees_with<Theirs: Kem, Ours: Kem>() {
    for seed in 0..20 {
        let mut octets = [seed; 32];
        octets[31] = !seed;
        let (theirs, our) = (keys::<Theirs>(&octets), keys::<Ours>(&octets));
        assert_eq!(theirs.1.to_bytes().to_vec(), our.1.to_bytes().to_vec());
        let ((enc, exported), (our_enc, our_exported)) =
            (send::<Theirs>(&theirs.1, seed), send::<Ours>(&our.1, seed));
        assert_eq!((&enc, exported), (&our_enc, our_exported));
        assert_eq!(receive::<Theirs>(&theirs.0, &our_enc), our_exported);
        assert_eq!(receive::<Ours>(&our.0, &enc), exported);
    }
}

fn keys<K: Kem>(octets: &[u8]) -> (K::PrivateKey, K::PublicKey) {
    let secret = K::PrivateKey::from_bytes(octets).unwrap();
    let public = K::PublicKey::from_bytes(&K::sk_to_pk(&secret).to_bytes()).unwrap();
    (secret, public)
}

fn send<K: Kem>(public: &K::PublicKey, seed: u8) -> (Vec<u8>, [u8; 32]) {
    let mut rng = StdRng::from_seed([seed; 32]);
    let (enc, context): (_, AeadCtxS<ChaCha20Poly1305, HkdfSha256, K>) =
        hpke::setup_sender_with_rng(&OpModeS::Base, public, b"info", &mut rng).unwrap();
    let mut exported = [0; 32];
    context.export(b"label", &mut exported).unwrap();
    (enc.to_bytes().to_vec(), exported)
}

fn receive<K: Kem>(secret: &K::PrivateKey, enc: &[u8]) -> [u8; 32] {
    let enc = K::EncappedKey::from_bytes(enc).unwrap();
    let context: AeadCtxR<ChaCha20Poly1305, HkdfSha256, K> =
        hpke::setup_receiver(&OpModeR::Base, secret, &enc, b"info").unwrap();
    let mut exported = [0; 32];
    context.export(b"label", &mut exported).unwrap();
    exported
}
