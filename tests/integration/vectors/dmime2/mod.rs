//! Runs the vectors of D/MIME 2 (`dmime2.md` §22).
//!
//! The set is `tests/vectors/dmime2`, or the folder that `DIMED_VECTORS_DMIME2` names.

use std::path::PathBuf;

use dimed::base::encoding::base64_decode;
use dimed::crypto::ed25519::VerifyingKey;
use dimed::dime::signet::{Signet, VerifiedOrg, verify_org};
use dimed::mail::address::Domain;
use serde_json::Value;

use super::unhex_array;

pub mod actors;
mod fixed_rng;
mod key_sets;
mod messages;
mod returned;
mod selection;
mod texts;

/// The set on disk.
pub struct Set {
    folder: PathBuf,
    manifest: Value,
}

impl Set {
    /// Loads the manifest.
    pub fn load() -> Self {
        let folder = std::env::var_os("DIMED_VECTORS_DMIME2").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/dmime2")),
            PathBuf::from,
        );
        let mut set = Self {
            folder,
            manifest: Value::Null,
        };
        set.manifest = set.file("manifest.json");
        set
    }

    /// A file of the set.
    pub fn file(&self, path: &str) -> Value {
        let text =
            std::fs::read_to_string(self.folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Every file of a kind; the test fails if there are none, because then it would check nothing.
    pub fn files(&self, kind: &str) -> Vec<Value> {
        let entries = self.manifest["files"].as_array().expect("a list of files");
        let files: Vec<_> = entries
            .iter()
            .filter(|entry| entry["kind"] == kind)
            .map(|entry| self.file(entry["file"].as_str().expect("a path")))
            .collect();
        assert!(!files.is_empty(), "the set has no file of kind {kind}");
        files
    }

    /// The newest signet of an organization, whose primary key DNS has.
    pub fn organization(&self, name: &str) -> VerifiedOrg {
        let actors = self.file("actors.json");
        let organizations = actors["organizations"].as_array().expect("organizations");
        let organization = organizations
            .iter()
            .find(|organization| organization["name"] == name)
            .expect("a known organization");
        let signets = organization["signets"].as_array().expect("signets");
        let newest = &signets.last().expect("a signet")["signet"];
        let key = VerifyingKey(unhex_array(&organization["signing_key"]));
        let domain: Domain = name.parse().expect("a domain");
        verify_org(&signet(newest), &[key], &domain).expect("a valid signet")
    }
}

/// A signet in base64.
pub fn signet(value: &Value) -> Signet {
    let octets = base64_decode(value.as_str().expect("base64")).expect("base64");
    Signet::decode(&octets).expect("a signet")
}

/// Every file of the manifest is one that a runner reads: by its kind, or alone.
#[test]
fn no_file_of_the_set_is_left_unread() {
    const KINDS: &[&str] = &["message", "returned", "key-set"];
    const FILES: &[&str] = &["actors.json", "text.json", "select.json"];
    let set = Set::load();
    for entry in set.manifest["files"].as_array().expect("a list of files") {
        let (file, kind) = (entry["file"].as_str().unwrap(), entry["kind"].as_str().unwrap());
        // The mapping's runner walks over this folder.
        let is_read = KINDS.contains(&kind) || FILES.contains(&file) || file.starts_with("mime/");
        assert!(is_read, "{file} of kind {kind}");
    }
}
