//! What the binary is made of, where its image comes from, and what is asked of both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::child::DIMED;

/// Octets in which the names of a registry and a crate end.
const LONGEST: usize = 160;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sbom() -> String {
    let output = Command::new(top().join("deploy/sbom")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Crates as `name-version` whose sources are named in the binary: by panics, and by what debuggers want.
fn named_in_the_binary() -> BTreeSet<String> {
    const MARK: &[u8] = b"/registry/src/";
    let binary = fs::read(DIMED).unwrap();
    let mut found = BTreeSet::new();
    for place in memchr::memmem::find_iter(&binary, MARK) {
        let rest = &binary[place + MARK.len()..];
        let rest = String::from_utf8_lossy(&rest[..rest.len().min(LONGEST)]);
        // The registry, the crate, its files.
        let parts: Vec<&str> = rest.splitn(3, '/').collect();
        if parts.len() == 3 && parts[1].contains('-') && parts[1].chars().all(is_of_a_name) {
            found.insert(parts[1].to_owned());
        }
    }
    found
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+')
}

#[test]
fn the_list_of_crates_has_every_one_that_the_binary_names() {
    let list: Value = serde_json::from_str(&sbom()).unwrap();
    let components = list["components"].as_array().unwrap();
    let scope_of = |one: &Value| one["scope"].as_str().unwrap().to_owned();
    let scopes: BTreeMap<String, String> = components
        .iter()
        .map(|one| {
            let (name, version) = (one["name"].as_str().unwrap(), one["version"].as_str().unwrap());
            (format!("{name}-{version}"), scope_of(one))
        })
        .collect();
    let named = named_in_the_binary();
    // Enough that they have been looked for where they are.
    assert!(named.len() > 50, "{named:?}");
    let required = |name: &String| scopes.get(name).is_some_and(|scope| scope == "required");
    let missing: Vec<_> = named.iter().filter(|name| !required(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // What only tests need is not in it.
    assert!(!scopes.keys().any(|name| name.starts_with("proptest-")));
}

/// As the schema of CycloneDX 1.5 asks.
#[test]
fn the_list_of_crates_has_the_shape_that_readers_expect() {
    let text = sbom();
    assert_eq!(text, sbom(), "the same sources give the same list");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&list["bomFormat"], &list["specVersion"], &list["version"]),
        (&"CycloneDX".into(), &"1.5".into(), &1.into())
    );
    let serial = list["serialNumber"].as_str().unwrap();
    let groups: Vec<_> = serial
        .strip_prefix("urn:uuid:")
        .unwrap()
        .split('-')
        .map(str::len)
        .collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    let own = &list["metadata"]["component"];
    let reference = concat!("pkg:cargo/dimed@", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&own["type"], &own["bom-ref"]),
        (&"application".into(), &reference.into())
    );
    let mut references = BTreeSet::from([reference]);
    for one in list["components"].as_array().unwrap() {
        assert_eq!(one["type"], "library", "{one}");
        assert_eq!(one["purl"], one["bom-ref"], "{one}");
        let licence = one["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.contains('/'), "{one}");
        let hash = &one["hashes"][0];
        assert_eq!(hash["alg"], "SHA-256", "{one}");
        assert_eq!(hash["content"].as_str().unwrap().len(), 64, "{one}");
        assert!(
            references.insert(one["bom-ref"].as_str().unwrap()),
            "twice: {one}"
        );
    }
    let dependencies = list["dependencies"].as_array().unwrap();
    let described: BTreeSet<&str> = dependencies
        .iter()
        .map(|one| one["ref"].as_str().unwrap())
        .collect();
    assert_eq!(described, references);
    for one in dependencies {
        for needed in one["dependsOn"].as_array().unwrap() {
            assert!(references.contains(needed.as_str().unwrap()), "{one}");
        }
    }
}

/// The allow-list has no licence that nobody uses, and none that would bind whoever passes the binary on.
#[test]
fn licences_that_are_allowed_are_those_that_crates_have() {
    let text = fs::read_to_string(top().join("deploy/deny.toml")).unwrap();
    let rules: toml::Table = text.parse().unwrap();
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    let list: Value = serde_json::from_str(&sbom()).unwrap();
    let components = list["components"].as_array().unwrap();
    let used: Vec<&str> = components
        .iter()
        .map(|one| one["licenses"][0]["expression"].as_str().unwrap())
        .collect();
    for licence in allowed {
        let licence = licence.as_str().unwrap();
        assert!(used.iter().any(|text| text.contains(licence)), "{licence}");
        assert!(!licence.contains("GPL"), "{licence}");
    }
}

/// The instructions of the container file, continued lines joined.
fn instructions(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// What a linter cannot know. It has never been built here: no engine runs where the tests do.
#[test]
fn the_image_is_made_of_what_is_there_and_runs_without_rights() {
    let text = fs::read_to_string(top().join("deploy/Containerfile")).unwrap();
    let lines = instructions(&text);
    let of = |name: &str| lines.iter().filter(|words| words[0] == name).collect::<Vec<_>>();
    let bases = of("FROM");
    let rust = format!(
        "docker.io/library/rust:{}.0-slim-bookworm",
        env!("CARGO_PKG_RUST_VERSION")
    );
    assert_eq!(bases[0][1..], [rust.as_str(), "AS", "build"]);
    assert_eq!(bases[1][1], "docker.io/library/debian:12-slim");
    for words in of("COPY").iter().filter(|words| !words[1].starts_with("--from=")) {
        for source in &words[1..words.len() - 1] {
            assert!(top().join(source).exists(), "{source}");
        }
    }
    // Whatever the crate's manifest names is copied.
    for folder in ["benches", "config", "migrations", "src", "tests"] {
        assert!(of("COPY").iter().any(|words| words[1] == folder), "{folder}");
    }
    let users: Vec<_> = of("USER").iter().map(|words| words[1].clone()).collect();
    assert_eq!(
        users,
        ["25125:25125"],
        "a number, so that nobody has to look it up"
    );
    assert_eq!(of("ENTRYPOINT")[0][1..], ["[\"/usr/bin/dimed\"]"]);
}
