//! Kind `keys`: key files, read and written.

use dimed::base::encoding::hex;
use dimed::crypto::ed25519::SigningKey;
use dimed::crypto::suite::secp256k1_aes256::SecretKey;
use dimed::dime::armor::crc24;
use dimed::dime::keys::{OrgKeys, UserKeys, signing_key_from_armor, signing_key_to_armor};
use serde_json::Value;

use super::Set;

/// A key file of either kind.
struct KeyFile {
    signing: SigningKey,
    encryption: SecretKey,
    binary: Vec<u8>,
    text: String,
}

fn org(text: &str) -> Option<KeyFile> {
    let keys = OrgKeys::from_armor(text).ok()?;
    Some(KeyFile {
        binary: keys.encode().expose().clone(),
        text: keys.to_armor().expose().clone(),
        signing: keys.signing,
        encryption: keys.encryption,
    })
}

fn user(text: &str) -> Option<KeyFile> {
    let keys = UserKeys::from_armor(text).ok()?;
    Some(KeyFile {
        binary: keys.encode().expose().clone(),
        text: keys.to_armor().expose().clone(),
        signing: keys.signing,
        encryption: keys.encryption,
    })
}

#[test]
fn key_files_are_read_and_written_as_libdime_does() {
    let set = Set::load();
    for entry in set.entries("keys") {
        let text = set.text(&entry["files"]["pem"]);
        let expected = &entry["expected"];
        let (own, other) = match expected["magic"].as_u64() {
            Some(1952) => (org(&text), user(&text)),
            Some(2013) => (user(&text), org(&text)),
            Some(other) => panic!("{}: magic {other}", entry["id"]),
            None => continue,
        };
        check_key_file(entry, &own.expect("readable"), &text);
        assert!(other.is_none(), "{}: taken for the other kind (D22)", entry["id"]);
    }
}

fn check_key_file(entry: &Value, file: &KeyFile, text: &str) {
    let expected = &entry["expected"];
    let crc = format!("{:06x}", crc24(&file.binary));
    for (name, ours) in [
        ("sign_private", hex(file.signing.seed())),
        ("sign_public", hex(&file.signing.verifying_key().0)),
        ("enc_private", hex(&file.encryption.to_bytes())),
        ("enc_public", hex(&file.encryption.public_key().to_compressed())),
        ("binary_hex", hex(&file.binary)),
        ("crc24_hex", crc),
    ] {
        assert_eq!(expected[name], ours.as_str(), "{} {name}", entry["id"]);
    }
    let label = expected["pem_label"].as_str().unwrap();
    assert!(
        text.contains(&format!("-----BEGIN {label}-----\n")),
        "{}",
        entry["id"]
    );
    assert_eq!(file.text, text, "{}", entry["id"]);
}

#[test]
fn bare_seeds_are_read_and_written_as_the_record_tool_reads_them() {
    let set = Set::load();
    let seeds = set
        .entries("keys")
        .into_iter()
        .filter(|entry| entry["expected"]["magic"].is_null());
    for entry in seeds {
        let text = set.text(&entry["files"]["pem"]);
        let key = signing_key_from_armor(&text).expect("a seed");
        assert_eq!(
            entry["expected"]["sign_private"],
            hex(key.seed()).as_str(),
            "{}",
            entry["id"]
        );
        assert_eq!(
            entry["expected"]["sign_public"],
            hex(&key.verifying_key().0).as_str(),
            "{}",
            entry["id"]
        );
        assert_eq!(signing_key_to_armor(&key).expose(), &text, "{}", entry["id"]);
    }
}
