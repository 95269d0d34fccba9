//! Kind `armor`: armored signets and key files, many of them odd.

use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::Signet;

use super::Set;
use super::judge::{Judge, expected_outcome};

#[test]
fn armored_signets_are_accepted_as_by_libdime() {
    let set = Set::load();
    let judge = Judge::new(&set);
    let signets = set
        .entries("armor")
        .into_iter()
        .filter(|entry| entry["expected"]["libdime"]["sign"].is_null());
    for entry in signets {
        let loaded = Signet::from_armor(&set.text(&entry["files"]["pem"]));
        let outcome = judge.outcome(loaded, &entry["files"]);
        let octets = judge.octets(&entry["files"]["pem"]);
        let expected = expected_outcome(&judge, entry, &octets, &entry["files"]);
        assert_eq!(outcome, expected, "{}", entry["id"]);
    }
}

#[test]
fn armored_key_files_are_accepted_where_libdime_reads_both_keys() {
    let set = Set::load();
    let keys = set
        .entries("armor")
        .into_iter()
        .filter(|entry| !entry["expected"]["libdime"]["sign"].is_null());
    for entry in keys {
        let text = set.text(&entry["files"]["pem"]);
        let ours = OrgKeys::from_armor(&text).is_ok() || UserKeys::from_armor(&text).is_ok();
        let libdime = &entry["expected"]["libdime"];
        let both = libdime["sign"] == "ok" && libdime["enc"] == "ok";
        assert_eq!(ours, both, "{}", entry["id"]);
    }
}
