//! Kind `primitives`: checksum, key agreement and signature samples.

use dimed::base::encoding::hex;
use dimed::crypto::ed25519::{Signature, SigningKey};
use dimed::crypto::suite::secp256k1_aes256::{PublicKey, SecretKey};
use dimed::dime::armor::crc24;
use serde_json::Value;

use super::{Set, unhex, unhex_array};

fn samples(name: &str) -> Vec<Value> {
    let set = Set::load();
    let files: Vec<Value> = set
        .entries("primitives")
        .iter()
        .map(|entry| serde_json::from_slice(&set.file(&entry["files"]["json"])).expect("JSON"))
        .collect();
    let samples: Vec<Value> = files
        .iter()
        .flat_map(|file| file[name].as_array().expect("a list of samples").clone())
        .collect();
    assert!(!samples.is_empty(), "no sample of {name}");
    samples
}

#[test]
fn checksums_are_libdimes() {
    for sample in samples("crc24") {
        let ours = format!("{:06x}", crc24(sample["ascii"].as_str().unwrap().as_bytes()));
        assert_eq!(sample["crc24_hex"], ours.as_str());
    }
}

#[test]
fn key_agreements_are_libdimes() {
    for sample in samples("kek") {
        let private = SecretKey::from_bytes(&unhex_array(&sample["private"])).unwrap();
        let public = PublicKey::from_compressed(&unhex(&sample["public"])).unwrap();
        let kek = private.agree(&public);
        assert_eq!(sample["kek_iv"], hex(&kek.iv).as_str());
        assert_eq!(sample["kek_key"], hex(&kek.key).as_str());
    }
}

#[test]
fn signatures_are_libdimes() {
    for sample in samples("ed25519") {
        let key = SigningKey::from_seed(&unhex_array(&sample["private"]));
        let message = unhex(&sample["message_hex"]);
        assert_eq!(sample["public"], hex(&key.verifying_key().0).as_str());
        assert_eq!(sample["signature"], hex(&key.sign(&message).0).as_str());
        let theirs = Signature(unhex_array(&sample["signature"]));
        assert_eq!(key.verifying_key().verify(&message, &theirs), Ok(()));
    }
}
