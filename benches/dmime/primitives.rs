//! The primitives alone, through the calls that the formats make.

use std::hint::black_box;
use std::time::Duration;

use dimed::crypto::aead::{open_once, seal_once};
use dimed::crypto::ed25519::SigningKey;
use dimed::crypto::hash::sha512;
use dimed::crypto::suite::hpke::{SecretKey, Suite};

use crate::measure::{best_of, rate};

const KEY: [u8; 32] = [7; 32];

/// MB/s of hashing and encrypting in pieces of 64 KiB, and of both one after the other.
pub struct Bound {
    sha512: f64,
    chacha20_poly1305: f64,
}

impl Bound {
    /// 1 / (1 / SHA-512 + 1 / ChaCha20-Poly1305).
    pub fn both(&self) -> f64 {
        1.0 / (1.0 / self.sha512 + 1.0 / self.chacha20_poly1305)
    }
}

/// Measures both.
pub fn bound() -> Bound {
    Bound {
        sha512: rate(64 << 10, hashing(64 << 10)),
        chacha20_poly1305: rate(64 << 10, encrypting(64 << 10)),
    }
}

/// Prints all of them.
pub fn print() {
    println!("primitives");
    for size in [48, 4 << 10, 64 << 10] {
        println!("  SHA-512 of {size:<21} {:9.0} MB/s", rate(size, hashing(size)));
        println!(
            "  ChaCha20-Poly1305 of {size:<11} {:9.0} MB/s",
            rate(size, encrypting(size))
        );
        println!(
            "  the same, opened {size:<15} {:9.0} MB/s",
            rate(size, decrypting(size))
        );
    }
    let signer = SigningKey::from_seed(&KEY);
    let (input, public) = ([1; 546], signer.verifying_key());
    let signature = signer.sign(&input);
    print_call("Ed25519 sign", || {
        black_box(signer.sign(black_box(&input)));
    });
    print_call("Ed25519 verify", || {
        public.verify(black_box(&input), &signature).unwrap()
    });
    for suite in Suite::ALL {
        let secret = SecretKey::from_bytes(suite, &KEY).unwrap();
        let (public, rng) = (secret.public_key(), &mut rand::rng());
        let (enc, _) = public.encapsulate(b"info", rng).unwrap();
        print_call(&format!("HPKE {suite} to a public key"), || {
            drop(black_box(public.encapsulate(b"info", rng).unwrap()));
        });
        print_call(&format!("HPKE {suite} with a private key"), || {
            drop(black_box(secret.decapsulate(&enc, b"info").unwrap()));
        });
    }
}

fn print_call(name: &str, call: impl FnMut()) {
    println!("  {name:32} {:9.1} µs", best_of(500, 5, call).as_secs_f64() * 1e6);
}

fn hashing(size: usize) -> Duration {
    let data = vec![1; size];
    best_of(200, calls(size), || {
        black_box(sha512(&[black_box(&data)]));
    })
}

fn encrypting(size: usize) -> Duration {
    let mut data = vec![1; size];
    best_of(200, calls(size), || {
        black_box(seal_once(black_box(&KEY), &mut data));
    })
}

/// With a copy of the ciphertext first, because opening destroys it.
fn decrypting(size: usize) -> Duration {
    let mut sealed = vec![1; size];
    let tag = seal_once(&KEY, &mut sealed);
    let mut data = sealed.clone();
    best_of(200, calls(size), || {
        data.copy_from_slice(&sealed);
        open_once(black_box(&KEY), &mut data, &tag).unwrap();
    })
}

/// A fraction of a millisecond.
fn calls(size: usize) -> u32 {
    (250_000 / size) as u32 + 1
}
