//! Kinds `signet`, `signet-mutated` and `signet-quirk`: signets and signing requests, read and judged.

use dimed::base::encoding::{base64, hex};
use dimed::crypto::ed25519::{SigningKey, VerifyingKey};
use dimed::dime::armor::crc24;
use dimed::dime::signet::{
    Error, Kind, OrgBuilder, Signer, Signet, id, verify_org, verify_request, verify_user,
};
use dimed::mail::address::Domain;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Set;
use super::judge::{
    Judge, address_of, companions, domain_of, expected_outcome, libdimes_outcome, own_files, state,
};

#[test]
fn signets_read_fingerprint_and_write_as_in_libdime() {
    let set = Set::load();
    let judge = Judge::new(&set);
    for entry in set.entries("signet") {
        for (role, path) in own_files(entry) {
            let signet = judge
                .load(path)
                .unwrap_or_else(|error| panic!("{}: {error}", entry["id"]));
            check_octets(entry, &signet);
            check_fields(entry, &signet);
            check_fingerprints(entry, &signet);
            check_text(&set, entry, (role, path), &signet);
        }
    }
}

fn check_octets(entry: &Value, signet: &Signet) {
    let expected = &entry["expected"];
    let octets = signet.encode();
    if expected["size"].is_null() {
        return;
    }
    assert_eq!(expected["magic"], signet.kind().magic(), "{}", entry["id"]);
    assert_eq!(expected["size"], octets.len(), "{}", entry["id"]);
    assert_eq!(
        expected["sha256"],
        hex(&Sha256::digest(&octets)).as_str(),
        "{}",
        entry["id"]
    );
    let structure = signet.level().map_or("SS_SSR", state);
    assert_eq!(expected["structure_state"], structure, "{}", entry["id"]);
}

fn check_fields(entry: &Value, signet: &Signet) {
    let Some(expected) = entry["expected"]["fields"].as_array() else {
        return;
    };
    let ours: Vec<_> = signet.fields().collect();
    assert_eq!(expected.len(), ours.len(), "{}", entry["id"]);
    for (expected, field) in expected.iter().zip(ours) {
        assert_eq!(expected["id"], field.id, "{}", entry["id"]);
        assert_eq!(
            expected["value_hex"],
            hex(field.data).as_str(),
            "{} {}",
            entry["id"],
            field.id
        );
        assert_eq!(
            expected["label"],
            signet.kind().label(field.id).unwrap(),
            "{}",
            entry["id"]
        );
        assert_eq!(
            expected["name"].as_str().map(str::as_bytes),
            field.name,
            "{}",
            entry["id"]
        );
    }
}

fn check_fingerprints(entry: &Value, signet: &Signet) {
    let ours = [
        ("ssr", signet.ssr_fingerprint().map(|print| print.0)),
        ("crypto", signet.crypto_fingerprint().map(|print| print.0)),
        ("full", signet.full_fingerprint().map(|print| print.0)),
        ("id", signet.id_fingerprint().map(|print| print.0)),
    ];
    for (name, ours) in ours {
        // libdime also prints fingerprints of signatures that are not there; ours are compared where there is one.
        let Some(ours) = ours else { continue };
        let expected = [
            &entry["expected"]["fingerprints"][name]["hex"],
            &entry["expected"]["fingerprints_hex"][name],
        ];
        for expected in expected.into_iter().filter(|expected| !expected.is_null()) {
            assert_eq!(*expected, hex(&ours).as_str(), "{} {name}", entry["id"]);
        }
    }
    let text = &entry["expected"]["fingerprints"]["crypto"]["base64_nopad"];
    if let (Some(text), Some(ours)) = (text.as_str(), signet.crypto_fingerprint()) {
        assert_eq!(text, ours.to_string(), "{}", entry["id"]);
    }
}

/// What we would write is what libdime wrote.
fn check_text(set: &Set, entry: &Value, (role, path): (&String, &Value), signet: &Signet) {
    let ours = match role.as_str() {
        "pem" => signet.to_armor().into_bytes(),
        "base64_line" => base64(&signet.encode()).into_bytes(),
        _ => signet.encode(),
    };
    assert_eq!(
        set.file(path).trim_ascii_end(),
        ours.trim_ascii_end(),
        "{}",
        entry["id"]
    );
    if let Some(crc) = entry["expected"]["crc24_hex"].as_str() {
        assert_eq!(crc, format!("{:06x}", crc24(&signet.encode())), "{}", entry["id"]);
    }
}

#[test]
fn signets_are_judged_as_by_libdime() {
    let set = Set::load();
    let judge = Judge::new(&set);
    for entry in set.entries("signet") {
        let signet = judge.object(entry);
        let (octets, companions) = (signet.encode(), companions(entry));
        let ours = judge.outcome(Ok(signet), &companions);
        let expected = expected_outcome(&judge, entry, &octets, &companions);
        assert_eq!(ours, expected, "{}", entry["id"]);
    }
}

#[test]
fn mutated_signets_are_judged_as_by_libdime() {
    let set = Set::load();
    let judge = Judge::new(&set);
    for entry in set.entries("signet-mutated") {
        let path = ["signet", "pem"]
            .into_iter()
            .map(|role| &entry["files"][role])
            .find(|path| !path.is_null());
        let path = path.expect("an object");
        let loaded = judge.load(path);
        if let Ok(signet) = &loaded
            && libdimes_outcome(entry) == "SS_UNKNOWN"
            && signet.kind() == Kind::Organization
            && judge.is_intact(signet)
        {
            only_its_own_key_vouches_for(&judge, signet);
            continue;
        }
        let ours = judge.outcome(loaded, &entry["files"]);
        let expected = expected_outcome(&judge, entry, &judge.octets(path), &entry["files"]);
        // D20: keys are looked at when an object is read, where libdime looks when it uses them.
        let early =
            ours == "bad-key" && ["load-fail", "SS_INVALID", "SS_UNKNOWN"].contains(&expected.as_str());
        assert!(
            ours == expected || early,
            "{}: {ours}, not {expected}",
            entry["id"]
        );
    }
}

/// An intact signet that libdime cannot judge was given no primary key or another one; the set does not say which.
fn only_its_own_key_vouches_for(judge: &Judge<'_>, signet: &Signet) {
    let verify = |keys: &[VerifyingKey]| verify_org(signet, keys, &domain_of(signet)).err();
    let stranger = SigningKey::from_seed(&[1; 32]).verifying_key();
    assert_eq!(verify(&[]), Some(Error::UnknownPrimaryKey));
    assert_eq!(verify(&[stranger]), Some(Error::UnknownPrimaryKey));
    assert_eq!(verify(&judge.primary_keys(signet, &Value::Null)), None);
}

#[test]
fn a_request_with_an_alternate_key_is_read_but_never_signed() {
    let set = Set::load();
    let judge = Judge::new(&set);
    for entry in set.entries("signet-quirk") {
        let alternate = judge.load(&entry["files"]["ssr"]).unwrap();
        assert_eq!(
            alternate.field(id::ALTERNATE_KEY).map(hex).as_deref(),
            entry["expected"]["alternate_key_public"].as_str()
        );
        let verified = verify_request(&alternate, None).unwrap();
        let key = SigningKey::from_seed(&[1; 32]);
        let encryption = verified.encryption_key();
        let org = OrgBuilder::new(&key, &encryption, &[]).unwrap().crypto().unwrap();
        let org = verify_org(&org, &[key.verifying_key()], &domain_of(&org)).unwrap();
        let refused = Signer::new(&org, &key).unwrap().sign(&verified).err();
        assert_eq!(refused, Some(Error::AlternateKey));
        assert!(judge.load(&entry["files"]["user"]).is_err(), "{}", entry["id"]);
    }
}

#[test]
fn identifiable_signets_are_refused_for_any_other_name() {
    let set = Set::load();
    let judge = Judge::new(&set);
    let identifiable = set
        .entries("signet")
        .into_iter()
        .filter(|entry| entry["expected"]["validation"]["state"] == "SS_ID");
    for entry in identifiable {
        let signet = judge.object(entry);
        let companions = companions(entry);
        let other: Domain = "other.example".parse().unwrap();
        let error = match signet.kind() {
            Kind::Organization => {
                let keys = judge.primary_keys(&signet, &companions);
                verify_org(&signet, &keys, &other).err()
            }
            _ => {
                let org = judge.organization(&companions).unwrap();
                let neighbour = format!("not.{}", address_of(&signet, &org)).parse().unwrap();
                let previous = judge.previous(&companions, &org).unwrap();
                verify_user(&signet, &org, previous.as_ref(), &neighbour).err()
            }
        };
        assert_eq!(error, Some(Error::WrongName), "{}", entry["id"]);
    }
}
