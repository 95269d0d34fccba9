//! Kinds `management-record`, `management-record-parse` and `tls-signature`.

use dimed::base::encoding::{base64_unpadded, hex};
use dimed::crypto::ed25519::{Signature, VerifyingKey};
use dimed::dime::keys::signing_key_from_armor;
use dimed::dime::record::{ManagementRecord, sign_certificate};
use serde_json::Value;
use sha2::{Digest, Sha512};

use super::exceptions::{self, Case};
use super::{Set, unhex_array};

#[test]
fn records_of_genrec_are_read_as_libdime_does_and_written_as_genrec_does() {
    let set = Set::load();
    for entry in set.entries("management-record") {
        let expected = &entry["expected"];
        let printed = set.text(&entry["files"]["text"]);
        assert_eq!(printed.trim_end_matches('\n'), expected["text"].as_str().unwrap());
        check(entry, &printed, &expected["parsed_by_libdime"]);
        if let Some(joined) = expected["joined_text"].as_str() {
            check(entry, joined, &expected["parsed_by_libdime_joined"]);
            assert_eq!(
                ManagementRecord::parse(joined).unwrap().render().as_deref(),
                Ok(joined)
            );
        } else if let Ok(record) = ManagementRecord::parse(&printed) {
            assert_eq!(
                record.render().as_deref(),
                Ok(printed.trim_end_matches('\n')),
                "{}",
                entry["id"]
            );
        }
    }
}

#[test]
fn zone_text_holds_the_joined_record_of_long_vectors() {
    let set = Set::load();
    let entries = set.entries("management-record");
    let long = entries
        .iter()
        .filter_map(|entry| entry["expected"]["joined_text"].as_str());
    for joined in long {
        let zone_text = ManagementRecord::parse(joined)
            .unwrap()
            .render_zone_text()
            .unwrap();
        let strings: Vec<&str> = zone_text.trim_matches('"').split("\" \"").collect();
        assert!(strings.len() > 1 && strings.iter().all(|string| string.len() <= 255));
        assert_eq!(strings.concat(), joined);
    }
}

#[test]
fn handwritten_records_are_read_as_libdime_does() {
    let set = Set::load();
    for entry in set.entries("management-record-parse") {
        check(
            entry,
            &set.text(&entry["files"]["text"]),
            &entry["expected"]["libdime"],
        );
    }
}

/// Compares what we read with what libdime reads.
fn check(entry: &Value, text: &str, libdime: &Value) {
    let id = entry["id"].as_str().unwrap();
    let parsed = ManagementRecord::parse(text);
    if libdime["parse"] != "ok" {
        assert!(parsed.is_err(), "{id} was read");
        return;
    }
    let record = parsed.unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(libdime["version"], 1, "{id}");
    let keys = record.primary_keys.iter().map(|key| hex(&key.0));
    assert_eq!(keys.collect::<Vec<_>>(), strings(&libdime["pok"]), "{id}");
    let signatures = record.tls_signatures.iter().map(|signature| hex(&signature.0));
    assert_eq!(signatures.collect::<Vec<_>>(), strings(&libdime["tls"]), "{id}");
    let hosts = record.delivery_hosts.iter().map(ToString::to_string);
    assert_eq!(hosts.collect::<Vec<_>>(), strings(&libdime["dx"]), "{id}");
    assert_eq!(libdime["policy"], record.policy.to_string(), "{id}");
    assert_eq!(libdime["subdomain"], record.subdomain_policy.to_string(), "{id}");
    check_dropped_fields(id, text, &record, libdime);
}

/// `exp` and `syn`: libdime reads none, and ours is the text's own value where an exception says so.
fn check_dropped_fields(id: &str, text: &str, record: &ManagementRecord, libdime: &Value) {
    assert_eq!(
        (&libdime["expiry"], &libdime["syndicates"]),
        (&Value::from(0), &Value::Null),
        "{id}"
    );
    let value = |names: [&str; 2]| {
        let fields = text
            .trim_end()
            .split([' ', ';'])
            .filter_map(|field| field.split_once('='));
        let mut named = fields.filter(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()));
        named.next_back().map(|(_, value)| value.to_owned())
    };
    let (expiry, syndicates) = match exceptions::ours(&Case::Record(text)) {
        Some("keeps exp and syn") => (value(["exp", "expiry"]), value(["syn", "syndicates"])),
        Some(other) => panic!("{id}: unknown exception {other}"),
        None => (None, None),
    };
    assert_eq!(record.expiry_days.map(|days| days.to_string()), expiry, "{id}");
    assert_eq!(record.syndicates, syndicates, "{id}");
}

fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().expect("a list").iter();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn certificate_signatures_are_made_and_matched() {
    let set = Set::load();
    for entry in set.entries("tls-signature") {
        let expected = &entry["expected"];
        let der = set.file(&entry["files"]["certificate_der"]);
        assert_eq!(
            expected["der_sha512"],
            hex(&Sha512::digest(&der)).as_str(),
            "{}",
            entry["id"]
        );
        let signature = Signature(unhex_array(&expected["signature_hex"]));
        assert_eq!(expected["signature_base64_nopad"], base64_unpadded(&signature.0));
        let signer = VerifyingKey(unhex_array(&expected["signer_public"]));
        let record = ManagementRecord::parse(format!(
            "pok={} tls={}",
            base64_unpadded(&signer.0),
            base64_unpadded(&signature.0)
        ));
        let record = record.unwrap();
        assert!(record.matches_certificate(&der));
        assert!(!record.matches_certificate(&der[1..]));
        assert_eq!(
            sign_certificate(&key_of(&set, &expected["signer_public"]), &der),
            signature
        );
    }
}

/// The primary key in the form that genrec reads.
fn key_of(set: &Set, public: &Value) -> dimed::crypto::ed25519::SigningKey {
    let entries = set.entries("keys");
    let is_it = |entry: &&&Value| {
        entry["expected"]["sign_public"] == *public && entry["expected"]["pem_label"] == "ED25519 PRIVATE KEY"
    };
    let entry = entries.iter().find(is_it).expect("the signer's key file");
    signing_key_from_armor(&set.text(&entry["files"]["pem"])).expect("readable")
}
