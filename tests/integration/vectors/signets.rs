//! Kinds `signet`, `signet-mutated` and `signet-quirk`: signets and signing requests, read and judged.

use dimed::base::encoding::{base64, hex};
use dimed::crypto::ed25519::{SigningKey, VerifyingKey};
use dimed::dime::armor::crc24;
use dimed::dime::fingerprint::AnyFingerprint;
use dimed::dime::signet::{
    Error, Kind, OrgBuilder, Signer, Signet, id, verify_org, verify_request, verify_user,
};
use dimed::mail::address::Domain;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::judge::{
    Judge, address_of, companions, domain_of, expected_outcome, libdimes_outcome, own_files, state,
};
use super::{Set, unhex_array};

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
    let kind = match signet.kind() {
        Kind::Organization => "org",
        Kind::User => "user",
        Kind::Request => "ssr",
    };
    assert_eq!(expected["type"], kind, "{}", entry["id"]);
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
    let octets = &signet.encode()[5..];
    for (expected, field) in expected.iter().zip(ours) {
        let start = usize::try_from(expected["offset"].as_u64().unwrap()).unwrap();
        assert_eq!(expected["length"], field.data.len(), "{}", entry["id"]);
        assert_eq!(octets[start], field.id, "{}", entry["id"]);
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
        let forms = &entry["expected"]["fingerprints"][name];
        for (expected, ours) in [
            (&forms["hex"], hex(&ours)),
            (&entry["expected"]["fingerprints_hex"][name], hex(&ours)),
            (&forms["base64"], base64(&ours)),
            (&forms["base64_nopad"], AnyFingerprint(ours).to_string()),
        ] {
            assert!(
                expected.is_null() || *expected == ours.as_str(),
                "{} {name}",
                entry["id"]
            );
        }
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
    if let (Some(label), "pem") = (entry["expected"]["pem_label"].as_str(), role.as_str()) {
        let begin = format!("-----BEGIN {label}-----\n");
        assert!(signet.to_armor().starts_with(&begin), "{}", entry["id"]);
    }
    if let Some(custody) = entry["expected"]["custody_signature_hex"].as_str() {
        let ours = signet.field(id::CUSTODY).map(hex);
        assert_eq!(ours.as_deref(), Some(custody), "{}", entry["id"]);
    }
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
fn secondary_keys_are_those_of_the_set_with_their_permissions() {
    let set = Set::load();
    let judge = Judge::new(&set);
    for entry in set.entries("signet") {
        let Some(expected) = entry["expected"]["secondary_keys"].as_array() else {
            continue;
        };
        let signet = judge.object(entry);
        let keys = judge.primary_keys(&signet, &companions(entry));
        let org = verify_org(&signet, &keys, &domain_of(&signet)).unwrap();
        assert_eq!(org.secondary_keys().len(), expected.len(), "{}", entry["id"]);
        for (ours, expected) in org.secondary_keys().iter().zip(expected) {
            assert_eq!(expected["permissions"], ours.permissions.0, "{}", entry["id"]);
            assert_eq!(expected["public"], hex(&ours.key.0).as_str(), "{}", entry["id"]);
            let private = SigningKey::from_seed(&unhex_array(&expected["private"]));
            assert_eq!(private.verifying_key(), ours.key, "{}", entry["id"]);
        }
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
        assert_eq!(entry["expected"]["ssr"]["load"], "ok", "{}", entry["id"]);
        assert_eq!(entry["expected"]["user"]["load"], "fail", "{}", entry["id"]);
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
