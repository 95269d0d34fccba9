//! Every intermediate value of the accepted messages in `tests/vectors/dmime2`, on the way that a reader goes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::encoding::{base64_decode, hex};
use crate::crypto::hash::sha512;
use crate::crypto::suite::hpke::{SecretKey, Suite};
use crate::dime::dmime2::derivation::{Hash, Place, envelope_hash, info, open_slot, origin_input};
use crate::dime::dmime2::layout::{Actor, ChunkRef, prefix};
use crate::dime::dmime2::skeleton::{Skeleton, chunk_hash};
use crate::dime::dmime2::{Limits, Outline};
use crate::dime::fingerprint::FullFingerprint;

const ROLES: [(&str, Actor); 4] = [
    ("author", Actor::Author),
    ("origin", Actor::Origin),
    ("destination", Actor::Destination),
    ("recipient", Actor::Recipient),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dmime2")
}

fn load(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn unhex<const N: usize>(value: &Value) -> [u8; N] {
    let text = value.as_str().unwrap();
    let octets = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
    octets.collect::<Vec<_>>().try_into().unwrap()
}

/// The private key of the signet with this fingerprint, or the discarded one.
fn secret(actors: &Value, case: &Value, role: &str, suite: Suite) -> SecretKey {
    if role == "author" && case["author_copy"] == false {
        let octets = unhex(&case["randomness"]["discarded_private"]);
        return SecretKey::from_bytes(suite, &octets).unwrap();
    }
    let lists = ["organizations", "users"];
    let entries = lists.iter().flat_map(|list| actors[list].as_array().unwrap());
    let mut signets = entries.flat_map(|entry| entry["signets"].as_array().unwrap());
    let signet = signets
        .find(|signet| signet["full_fingerprint"] == case["fingerprints"][role])
        .unwrap();
    SecretKey::from_bytes(suite, &unhex(&signet["kem_private"][suite.id().to_string()])).unwrap()
}

#[test]
fn all_values_on_the_way_are_those_of_the_vectors() {
    let actors = load(&folder().join("actors.json"));
    let mut checked = 0;
    for entry in std::fs::read_dir(folder().join("message")).unwrap() {
        let case = load(&entry.unwrap().path());
        if case["outcome"] == "accept" {
            check(&actors, &case);
            checked += 1;
        }
    }
    assert!(checked >= 13);
}

fn check(actors: &Value, case: &Value) {
    let message = base64_decode(case["message"].as_str().unwrap()).unwrap();
    let outline = Outline::read(&message[..], &Limits::default()).unwrap();
    let skeleton = outline.skeleton();
    check_hashes(case, skeleton);
    for (role, actor) in ROLES {
        let signet = FullFingerprint(unhex(&case["fingerprints"][role]));
        let info = info(skeleton.prefix(), actor, skeleton.created(), &signet);
        assert_eq!(case["contexts"][role]["info"], hex(&info));
        let key = secret(actors, case, role, skeleton.suite());
        let context = key.decapsulate(skeleton.encapsulation(actor), &info).unwrap();
        for (index, chunk) in outline.chunks().iter().enumerate().skip(1) {
            let expected = &case["chunks"][index];
            let octets = &message[chunk.offset as usize..][..chunk.size];
            let place = skeleton.place(chunk.kind, index as u32);
            let Some(slot) = ChunkRef::new(chunk.kind, octets).slot(actor) else {
                assert!(expected["slot_keys"][role].is_null());
                continue;
            };
            let slot_key = place.slot_key(&context);
            assert_eq!(expected["slot_keys"][role], hex(&*slot_key));
            let content_key = open_slot(&slot_key, slot).unwrap();
            check_keys(expected, &place, &content_key, ChunkRef::new(chunk.kind, octets));
        }
    }
}

fn check_keys(expected: &Value, place: &Place<'_>, content_key: &[u8; 32], chunk: ChunkRef<'_>) {
    assert_eq!(expected["content_key"], hex(content_key));
    let keys = place.derive(content_key);
    assert_eq!(expected["encryption_key"], hex(&*keys.encryption));
    assert_eq!(expected["commitment"], hex(&keys.commitment));
    assert!(keys.fit(chunk));
    assert_eq!(
        expected["plaintext_size"].as_u64(),
        Some(chunk.sealed().len() as u64 - 16)
    );
    assert_eq!(
        expected["hash"],
        hex(&chunk_hash(suite_of(place), place.index, chunk.octets()))
    );
}

fn suite_of(place: &Place<'_>) -> Suite {
    Suite::ALL
        .into_iter()
        .find(|suite| prefix(*suite) == place.prefix)
        .unwrap()
}

fn check_hashes(case: &Value, skeleton: &Skeleton) {
    let hashes: &[Hash] = skeleton.hashes();
    assert_eq!(case["message_id"], hex(&hashes[0]));
    assert_eq!(
        case["envelope_hash"],
        hex(&envelope_hash(skeleton.prefix(), hashes))
    );
    for (input, signature) in [
        (skeleton.author_input(), "author_signature"),
        (skeleton.origin_input(), "origin_signature"),
    ] {
        assert_eq!(case[signature]["input_sha512"], hex(&sha512(&[&input])));
    }
    // HB of both signature chunks stand at the ends of the inputs.
    let author = skeleton.author_input();
    let (_, blanks) = author.split_at(author.len() - 128);
    assert_eq!(case["blank_hashes"][0], hex(&blanks[..64]));
    assert_eq!(case["blank_hashes"][1], hex(&blanks[64..]));
    let last: &Hash = blanks[64..].try_into().unwrap();
    let made = &hashes[..hashes.len() - 1];
    assert_eq!(
        origin_input(skeleton.prefix(), made, last),
        skeleton.origin_input()
    );
}
