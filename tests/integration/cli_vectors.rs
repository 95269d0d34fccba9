//! libdime's signets and key files, good and bad, through the tools: what they say, and how they end.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::tool::Desk;

fn set() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/libdime")
}

fn entries(kind: &str) -> Vec<Value> {
    let manifest = fs::read(set().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let all = manifest["vectors"].as_array().unwrap().clone();
    let wanted: Vec<_> = all.into_iter().filter(|entry| entry["kind"] == kind).collect();
    assert!(!wanted.is_empty());
    wanted
}

/// The primary key that vouches for the organization whose signet is in that file.
fn pok_of(path: &Value) -> Option<String> {
    let owners = entries("signet");
    let owner = owners.iter().find(|entry| {
        let files = entry["files"].as_object().unwrap();
        files.values().any(|file| file == path)
    })?;
    let key = owner["expected"]["validation"]["with"]["management_record_pok"].as_str()?;
    let octets: Vec<u8> = (0..32)
        .map(|place| u8::from_str_radix(&key[2 * place..2 * place + 2], 16).unwrap())
        .collect();
    Some(dimed::base::encoding::base64_unpadded(&octets))
}

/// Every form of every signet is shown with libdime's fingerprints, and judged as libdime judges it.
///
/// The one difference is signet.md D3: rotation requests are right, and libdime calls their custody broken.
#[test]
fn signets_of_libdime_are_shown_and_judged() {
    let desk = Desk::new();
    for entry in entries("signet") {
        let files = entry["files"].as_object().unwrap();
        for (_, path) in files.iter().filter(|(role, _)| *role != "org") {
            check_shown(&desk, &entry["expected"], path);
            let (code, result) = match entry["expected"]["libdime"]["state"] == "SS_INVALID" {
                true => (1, "not_valid"),
                false => (0, "valid"),
            };
            let command = verification(&entry, path);
            let said = desk.json(code, &command);
            assert_eq!(said["result"], result, "{command}");
        }
    }
}

fn check_shown(desk: &Desk, expected: &Value, path: &Value) {
    let file = set().join(path.as_str().unwrap());
    let shown = desk.json(0, &format!("signet show {}", file.display()));
    for number in ["size", "magic"] {
        assert!(
            expected[number].is_null() || shown[number] == expected[number],
            "{path} {number}"
        );
    }
    let ours = format!("SS_{}", shown["state"].as_str().unwrap().to_uppercase());
    let state = &expected["structure_state"];
    assert!(state.is_null() || *state == ours, "{path}");
    for (name, forms) in expected["fingerprints"].as_object().into_iter().flatten() {
        let ours = &shown["fingerprints"][name];
        assert!(ours.is_null() || *ours == forms["base64_nopad"], "{path} {name}");
    }
}

/// The command that judges an object with the companions that its entry names.
fn verification(entry: &Value, path: &Value) -> String {
    let with = &entry["expected"]["validation"]["with"];
    let org = [&with["org_signet"], &entry["files"]["org"]]
        .into_iter()
        .find(|org| !org.is_null());
    let mut command = format!("signet verify {}", set().join(path.as_str().unwrap()).display());
    for (flag, companion) in [
        ("--org", org),
        ("--previous", Some(&with["previous_user_signet"])),
    ] {
        if let Some(companion) = companion.and_then(Value::as_str) {
            command += &format!(" {flag} {}", set().join(companion).display());
        }
    }
    match pok_of(path).or_else(|| pok_of(org.unwrap_or(&Value::Null))) {
        Some(pok) => command + " --pok " + &pok,
        None => command,
    }
}

/// What libdime refuses, or refuses to call valid, ends with 1 and says what is wrong.
#[test]
fn damaged_signets_of_libdime_are_refused_by_name() {
    let desk = Desk::new();
    let origin = set().join("signets/origin.signet");
    let pok = pok_of(&json!("signets/origin.signet")).unwrap();
    let folder = set().join("negative");
    let judged = |name: &str| {
        let file = folder.join(name);
        let org = match name.starts_with("signet-user") {
            true => format!("--org {}", origin.display()),
            false => String::new(),
        };
        desk.json(1, &format!("signet verify {} {org} --pok {pok}", file.display()))["refused"].clone()
    };
    for (name, variant, field, offset) in [
        ("signet-user-bad-magic.bin", "signet.magic", None, Some(0)),
        ("signet-user-truncate-1.bin", "signet.length", None, Some(2)),
        ("signet-user-trailing.bin", "signet.length", None, Some(2)),
        ("signet-user-short-header.bin", "signet.length", None, Some(2)),
        ("signet-user-header-only.bin", "signet.missing", Some(1), Some(5)),
        ("signet-user-signkey-format.bin", "signet.key", Some(1), Some(5)),
        ("signet-user-signkey-short.bin", "signet.key", Some(1), Some(5)),
        (
            "signet-user-no-encryption-key.bin",
            "signet.missing",
            Some(2),
            Some(40),
        ),
        (
            "signet-user-unknown-field-7.bin",
            "signet.reserved",
            Some(7),
            Some(206),
        ),
        (
            "signet-user-no-request-signature.bin",
            "signet.missing",
            Some(5),
            Some(76),
        ),
        (
            "signet-user-flip-request-signature.bin",
            "signet.bad_signature",
            Some(5),
            Some(76),
        ),
        (
            "signet-user-flip-cryptographic-signature.bin",
            "signet.bad_signature",
            Some(6),
            Some(141),
        ),
        (
            "signet-org-flip-cryptographic-signature.bin",
            "signet.bad_signature",
            Some(4),
            Some(76),
        ),
        (
            "signet-org-flip-primary-key.bin",
            "signet.bad_signature",
            Some(4),
            Some(76),
        ),
    ] {
        let refused = judged(name);
        assert_eq!(refused["variant"], variant, "{name}: {refused}");
        assert_eq!(refused["field"], json!(field), "{name}: {refused}");
        assert_eq!(refused["offset"], json!(offset), "{name}: {refused}");
    }
    for (name, variant) in [
        ("signet-user-flip-name.bin", "signet.bad_signature"),
        ("signet-user-flip-full-signature.bin", "signet.bad_signature"),
        ("signet-user-flip-identifier.bin", "signet.bad_signature"),
        ("signet-user-field-order.bin", "signet.order"),
        ("signet-user-duplicate-unique.bin", "signet.repeated"),
        ("signet-user-unnamed-field-40.bin", "signet.reserved"),
        ("signet-user-truncate-1-fixed.bin", "signet.truncated"),
        ("armor-bad-crc.signet", "armor.checksum"),
        ("armor-no-crc.signet", "armor.no_checksum"),
        ("armor-no-end.signet", "armor.no_end"),
        ("armor-label.signet", "armor.no_block"),
    ] {
        assert_eq!(judged(name)["variant"], variant, "{name}");
    }
}

/// With the companions that the vector names, whatever libdime does not call valid ends with 1; the differences are those
/// that the runner of the vectors lists.
#[test]
fn every_negative_signet_ends_with_1_and_a_name() {
    let desk = Desk::new();
    for entry in entries("signet-mutated") {
        let id = entry["id"].as_str().unwrap();
        let Some(path) = entry["files"]["signet"].as_str() else {
            continue;
        };
        let is_fine_here = id.ends_with("no-org") || id.ends_with("id-without-signature");
        let mut command = format!("signet verify {}", set().join(path).display());
        if let Some(org) = entry["files"]["org"].as_str() {
            command += &format!(" --org {}", set().join(org).display());
        } else if !is_fine_here {
            command += &format!(" --org {}", set().join("signets/origin.signet").display());
        }
        if id.ends_with("id-without-signature") {
            continue;
        }
        let said = desk.json(1, &command);
        assert_eq!(said["result"], "not_valid", "{id}");
        let variant = said["refused"]["variant"].as_str().unwrap();
        assert!(
            variant.contains('.') && !variant.contains(char::is_uppercase),
            "{id}: {variant}"
        );
        assert!(said["refused"]["message"].as_str().unwrap().len() > 5, "{id}");
    }
}

/// An identifier that no signature covers is shown as absent.
#[test]
fn what_no_signature_covers_is_marked() {
    let desk = Desk::new();
    let file = set().join("negative/signet-user-id-without-signature.bin");
    let org = set().join("signets/origin.signet");
    let verified = desk.json(
        0,
        &format!("signet verify {} --org {}", file.display(), org.display()),
    );
    assert_eq!(verified["verified"], "full");
    let last = verified["fields"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["id"], &last["covered"]), (&json!(254), &json!(false)));
    let named = format!(
        "signet verify {} --org {} --name author@origin.example",
        file.display(),
        org.display()
    );
    let refused = desk.json(1, &named)["refused"].clone();
    assert_eq!(
        (&refused["variant"], &refused["field"]),
        (&json!("signet.missing"), &json!(254))
    );
}

#[test]
fn key_files_of_libdime_are_read_and_damaged_ones_refused() {
    let desk = Desk::new();
    for entry in entries("keys") {
        let file = set().join(entry["files"]["pem"].as_str().unwrap());
        let shown = desk.json(0, &format!("key show {} --public --private", file.display()));
        let key = &shown["keys"][0];
        for (ours, expected) in [
            (&key["private"]["ed25519"], "sign_private"),
            (&key["private"]["secp256k1"], "enc_private"),
            (&key["public"]["ed25519"], "sign_public"),
            (&key["public"]["secp256k1"], "enc_public"),
        ] {
            let Some(ours) = ours.as_str() else { continue };
            let octets = dimed::base::encoding::base64_decode(ours).unwrap();
            assert_eq!(
                json!(dimed::base::encoding::hex(&octets)),
                entry["expected"][expected],
                "{}",
                entry["id"]
            );
        }
    }
    for (name, variant, offset) in [
        ("armor-key-bad-crc.key", "armor.checksum", None),
        ("armor-key-truncated.key", "key.layout", Some(4)),
        ("armor-key-length.key", "key.layout", Some(4)),
        ("armor-key-magic.key", "key.unknown", Some(0)),
        ("armor-key-org-magic.key", "key.layout", Some(39)),
        ("armor-key-zero-enc.key", "key.out_of_range", Some(42)),
        ("armor-key-enc-order.key", "key.out_of_range", Some(42)),
    ] {
        let file = set().join("negative").join(name);
        let refused = desk.json(1, &format!("key show {}", file.display()))["refused"].clone();
        assert_eq!(refused["variant"], variant, "{name}: {refused}");
        assert_eq!(refused["offset"], json!(offset), "{name}: {refused}");
    }
    let other_label = set().join("negative/armor-key-wrong-label.key");
    desk.json(0, &format!("key show {}", other_label.display()));
}
