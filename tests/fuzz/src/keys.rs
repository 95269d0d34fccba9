//! Key files and the armor around them.

use dimed::dime::armor;
use dimed::dime::keys::{OrgKeys, SIZE, UserKeys, signing_key_from_armor, signing_key_to_armor};

const LABELS: &[&str] = &[
    "USER KEY",
    "ORGANIZATIONAL KEY",
    "USER SIGNET",
    "ORGANIZATIONAL SIGNET",
    "ED25519 PRIVATE KEY",
];

/// Octets have one reading and one writing, and are of one kind only.
pub fn key_file(input: &[u8]) {
    let (org, user) = (OrgKeys::decode(input), UserKeys::decode(input));
    assert!(org.is_err() || user.is_err(), "a key file of both kinds");
    if let Ok(keys) = &org {
        assert_eq!(keys.encode().expose(), input);
        let again = OrgKeys::from_armor(keys.to_armor().expose()).expect("our own armor");
        assert_eq!(again.encode(), keys.encode());
    }
    if let Ok(keys) = &user {
        assert_eq!(keys.encode().expose(), input);
        let again = UserKeys::from_armor(keys.to_armor().expose()).expect("our own armor");
        assert_eq!(again.encode(), keys.encode());
    }
    if let Ok(text) = std::str::from_utf8(input) {
        armored(text);
    }
}

fn armored(text: &str) {
    if let Ok(keys) = OrgKeys::from_armor(text) {
        assert_eq!(keys.encode().expose().len(), SIZE);
        assert!(UserKeys::from_armor(text).is_err());
    }
    if let Ok(keys) = UserKeys::from_armor(text) {
        assert_eq!(keys.encode().expose().len(), SIZE);
        assert!(OrgKeys::from_armor(text).is_err());
    }
    if let Ok(key) = signing_key_from_armor(text) {
        let again = signing_key_from_armor(signing_key_to_armor(&key).expose());
        assert_eq!(again.expect("our own armor").seed(), key.seed());
    }
}

/// Any octets survive armor; what armor is read is written in the one canonical form, under the label it was found by.
pub fn armor(input: &[u8]) {
    let written = armor::encode(LABELS[0], input);
    match input.is_empty() {
        // Armor around nothing has no body that a checksum could follow.
        true => assert_eq!(armor::decode(&written, LABELS), Err(armor::Error::NoChecksum)),
        false => assert_eq!(armor::decode(&written, LABELS).as_deref(), Ok(input)),
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(data) = armor::decode(text, LABELS) else {
        return;
    };
    let under: Vec<_> = LABELS
        .iter()
        .filter(|label| armor::decode(text, &[label]).as_ref() == Ok(&data))
        .collect();
    assert!(!under.is_empty(), "found under no label alone");
    let canonical = armor::encode(under[0], &data);
    assert_eq!(armor::decode(&canonical, LABELS), Ok(data));
}
