//! What guides name is there: commands with their options, events, keys of the configuration, reasons.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use dimed::base::observe::{EVENTS, Level};
use dimed::cli::Arguments;
use dimed::config::Config;

use super::config::known_keys;
use super::text::{blocks, code_spans, guides, read, root, rows};

const TROUBLE: &str = "deploy/troubleshooting.md";

/// What documents have in the place of a value, and a value.
const PLACES: &[(&str, &str)] = &[
    ("ADDRESS", "alice@example.org"),
    ("NAME", "alice@example.org"),
    ("DOMAIN", "example.org"),
    ("HOST", "mx.example.org"),
];

/// Words of a line, those in quotes kept together.
fn words(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => found.push(String::new()),
            (c, _) => found.last_mut().unwrap().push(c),
        }
    }
    let value = |word: String| match PLACES.iter().find(|(place, _)| *place == word) {
        Some((_, value)) => (*value).to_owned(),
        None => word,
    };
    found.into_iter().map(value).collect()
}

/// What is wrong with a command line that may be the beginning of one.
fn refused(line: &str) -> Option<String> {
    let error = Arguments::try_parse_from(words(line)).err()?;
    match error.kind() {
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayHelp => None,
        _ => Some(format!("{line}: {error}")),
    }
}

fn documents() -> Vec<PathBuf> {
    let mut all = guides();
    all.push("README.md".into());
    all
}

#[test]
fn every_command_that_is_named_is_one() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        for span in code_spans(&read(&document)) {
            if span.starts_with("dimed ") && !span.contains('|') {
                count += 1;
                wrong.extend(refused(&span).map(|what| format!("{}: {what}", document.display())));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count > 100, "{count}");
}

#[test]
fn what_is_no_command_is_refused_here() {
    for wrong in [
        "dimed quue list",
        "dimed queue lst",
        "dimed queue list --domian example.org",
        "dimed key rotate example.org --sometimes",
        "dimed domain add example.org --policy lax",
    ] {
        assert!(refused(wrong).is_some(), "{wrong}");
    }
    for right in [
        "dimed queue",
        "dimed account quota ADDRESS",
        "dimed queue list --reason \"a b\"",
    ] {
        assert_eq!(refused(right), None);
    }
}

#[test]
fn every_event_and_key_that_a_guide_names_is_there() {
    let known: BTreeSet<String> = known_keys()
        .into_iter()
        .map(|key| key.trim_start_matches('[').replace("] ", "."))
        .chain(EVENTS.iter().map(|event| event.name.to_owned()))
        .chain(
            dimed::base::observe::FIELDS
                .iter()
                .map(|field| field.name.to_owned()),
        )
        .collect();
    let families: BTreeSet<&str> = known.iter().filter_map(|name| name.split('.').next()).collect();
    let is_name = |span: &str| {
        span.split('.').count() > 1
            && span.split('.').all(|part| !part.is_empty())
            && span
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.'))
    };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for guide in guides() {
        for span in code_spans(&read(&guide)) {
            // What it is set to may stand behind it.
            let name = span.split(" = ").next().unwrap_or_default();
            let is_ours = is_name(name) && families.contains(name.split('.').next().unwrap_or_default());
            if is_ours && !is_other(name) {
                count += 1;
                if !known.contains(name) {
                    wrong.push(format!("{}: {name}", guide.display()));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count > 50, "{count}");
}

/// Files and hosts have dots, too.
fn is_other(name: &str) -> bool {
    [".key", ".toml", ".md", ".conf", ".old", ".example.org"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// What guides show of the configuration file can stand there.
#[test]
fn every_piece_of_a_configuration_can_be_used() {
    let mut count = 0;
    for guide in guides() {
        for block in blocks(&read(&guide)) {
            if block.kind == "toml" {
                let text = format!(
                    "[server]\nhostname = \"mx.example.org\"\n{}\n",
                    block.lines.join("\n")
                );
                let parsed = Config::parse(&text, Path::new("dimed.toml"));
                assert!(parsed.is_ok(), "{}: {parsed:?}", guide.display());
                count += 1;
            }
        }
    }
    assert!(count >= 4, "{count}");
}

fn lacking<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let spans: BTreeSet<String> = code_spans(&read(TROUBLE)).into_iter().collect();
    names.into_iter().filter(|name| !spans.contains(*name)).collect()
}

#[test]
fn there_is_advice_on_every_event_that_asks_for_somebody() {
    let asking = EVENTS.iter().filter(|event| event.levels.contains(&Level::Error));
    let names: Vec<&str> = asking.map(|event| event.name).collect();
    assert!(names.len() > 20);
    assert_eq!(lacking(names), [""; 0]);
}

#[test]
fn there_is_advice_on_everything_that_keeps_a_host_from_being_ready() {
    assert_eq!(lacking(dimed::daemon::health::REASONS), [""; 0]);
}

/// The tables of routing, which a test holds to the code, say what makes mail wait or come back.
#[test]
fn there_is_advice_on_every_reason_for_which_mail_waits_or_comes_back() {
    let table = std::fs::read_to_string(root().join("src/routing/table.md")).unwrap();
    let mut codes = BTreeSet::new();
    for row in rows(&table) {
        let stays = |cell: &String| cell.contains("waits") || cell.contains("comes back");
        if row.iter().any(stays) {
            codes.extend(code_spans(row.first().unwrap()));
            codes.extend(code_spans(row.last().unwrap()));
        }
        let refused = row.iter().filter(|cell| cell.starts_with("refused"));
        codes.extend(refused.flat_map(|cell| code_spans(cell)));
    }
    assert!(codes.len() > 15, "{codes:?}");
    assert_eq!(lacking(codes.iter().map(String::as_str)), [""; 0]);
}
