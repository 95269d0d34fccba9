//! The annotated sample says what the program does.

use std::collections::BTreeSet;
use std::path::Path;

use dimed::config::Config;

const SAMPLE: &str = include_str!("../../config/dimed.toml");

/// Keys that `[section] key` name, in `text`.
fn keys(text: &str) -> BTreeSet<String> {
    let table: toml::Table = text.parse().unwrap();
    let of_section = |(section, value): (String, toml::Value)| {
        let keys: Vec<String> = value.as_table().unwrap().keys().cloned().collect();
        keys.into_iter().map(move |key| format!("[{section}] {key}"))
    };
    table.into_iter().flat_map(of_section).collect()
}

/// The sample with the lines that start with `mark` and a key uncommented.
fn uncommented(text: &str, mark: &str) -> String {
    let line = |line: &str| match line.strip_prefix(mark) {
        Some(rest) if is_setting(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_setting(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    line.contains(" = ")
        && !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("config/dimed.toml")).unwrap()
}

#[test]
fn the_sample_is_the_default_configuration() {
    let default = Config::for_host("mx.example.org".parse().unwrap());
    assert_eq!(parse(SAMPLE), default);
}

#[test]
fn every_default_that_the_sample_claims_is_the_default() {
    let default = Config::for_host("mx.example.org".parse().unwrap());
    let text = uncommented(SAMPLE, "#");
    assert_eq!(parse(&text), default);
    // The rendered default holds every key that has one, so none is missing in the sample and none made up.
    let rendered = toml::to_string(&default).unwrap();
    assert_eq!(keys(&text), keys(&rendered));
}

#[test]
fn every_example_of_the_sample_is_valid() {
    let text = uncommented(&uncommented(SAMPLE, "# "), "#");
    let config = parse(&text);
    assert_eq!(keys(&text), known_keys());
    // What the daemon writes is where its unit lets it.
    let data = &config.server.data_directory;
    for written in [config.tls.smtp_certificate, config.tls.smtp_key] {
        assert!(written.unwrap().starts_with(data));
    }
}

/// Every key there is, from what is said in place of an unknown one.
pub fn known_keys() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for section in expected_after("") {
        for key in expected_after(&format!("[{section}]\n")) {
            known.insert(format!("[{section}] {key}"));
        }
    }
    known
}

fn expected_after(head: &str) -> Vec<String> {
    let error = Config::parse(&format!("{head}unknown = 1\n"), Path::new("x")).unwrap_err();
    let message = error.to_string();
    let (_, expected) = message.split_once(": there are ").unwrap();
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn password_memory_below_what_argon2_takes_is_refused() {
    let with = |kib: u32| {
        let text =
            format!("[server]\nhostname = \"mx.example.org\"\n[accounts]\npassword_memory_kib = {kib}\n");
        Config::parse(&text, Path::new("x.toml"))
    };
    assert!(with(8).is_ok());
    assert_eq!(
        with(7).unwrap_err().to_string(),
        "x.toml:4:23: `7` is too little: 8 at least"
    );
}
