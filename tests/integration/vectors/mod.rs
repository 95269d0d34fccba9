//! Runs a set of vectors made by libdime: every entry of its `manifest.json`, one runner per kind.
//!
//! The set is `tests/vectors/libdime`, or the folder that `DIMED_VECTORS_LIBDIME` names.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

mod armor;
pub mod dmime2;
mod dmtp;
mod dmtp_dialogues;
mod exceptions;
mod judge;
mod keys;
mod mapping;
mod messages;
mod primitives;
mod records;
mod signets;
mod signets_made;

/// Kinds that have a runner. The test below fails for an entry of any other kind.
const KINDS: &[&str] = &[
    "armor",
    "dmtp-commands",
    "dmtp-transcript",
    "keys",
    "management-record",
    "management-record-parse",
    "message",
    "message-mutated",
    "message-quirk",
    "message-refused",
    "primitives",
    "signet",
    "signet-mutated",
    "signet-quirk",
    "tls-signature",
];

/// A set of vectors on disk.
pub struct Set {
    folder: PathBuf,
    manifest: Value,
}

impl Set {
    /// Loads the manifest.
    pub fn load() -> Self {
        let folder = std::env::var_os("DIMED_VECTORS_LIBDIME").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/libdime")),
            PathBuf::from,
        );
        let text = std::fs::read_to_string(folder.join("manifest.json")).expect("the set has a manifest");
        Self {
            folder,
            manifest: serde_json::from_str(&text).expect("the manifest is JSON"),
        }
    }

    /// All entries of a kind; the test fails if there are none, because then it would check nothing.
    pub fn entries(&self, kind: &str) -> Vec<&Value> {
        assert!(KINDS.contains(&kind), "{kind} is missing in KINDS");
        let entries: Vec<_> = self.all().filter(|entry| entry["kind"] == kind).collect();
        assert!(!entries.is_empty(), "the set has no entry of kind {kind}");
        entries
    }

    /// A file of the set by the relative path that the manifest gives.
    pub fn file(&self, path: &Value) -> Vec<u8> {
        let path = path.as_str().expect("a relative path");
        std::fs::read(self.folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A text file of the set.
    pub fn text(&self, path: &Value) -> String {
        String::from_utf8(self.file(path)).expect("a text file")
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.manifest["vectors"]
            .as_array()
            .expect("a list of vectors")
            .iter()
    }
}

/// The octets of a hexadecimal value.
pub fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().expect("a hexadecimal value").as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hexadecimal"))
        .collect()
}

/// The octets of a hexadecimal value of fixed size.
pub fn unhex_array<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().expect("a value of that size")
}

#[test]
fn every_kind_of_the_set_has_a_runner() {
    let set = Set::load();
    let unknown: BTreeSet<_> = set
        .all()
        .map(|entry| entry["kind"].as_str().unwrap())
        .filter(|kind| !KINDS.contains(kind))
        .collect();
    assert!(unknown.is_empty(), "no runner for {unknown:?}");
}
