//! Every line of the source is in the catalogue as it is, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dimed::base::observe::{EVENTS, Event, FIELDS};

use crate::support::tool::Desk;

/// The macros that write lines.
const MACROS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Ways to write lines that are not read here, and so are not to be used.
const UNREAD: [&str; 4] = ["tracing::event!", "span!(", "instrument]", "instrument("];

/// A place where a line is written.
#[derive(Debug)]
struct Line {
    place: String,
    level: &'static str,
    /// The name of the constant; `None` without an event.
    event: Option<String>,
    fields: BTreeSet<String>,
}

/// All lines that a text writes; its unit tests do not count.
fn lines(place: &str, text: &str) -> Vec<Line> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    for level in MACROS {
        let call = format!("{level}!(");
        for (at, _) in text.match_indices(&call) {
            let before = &text[..at];
            let is_other = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let line = before.rsplit('\n').next().unwrap();
            if !is_other && !line.contains("//") {
                let number = before.matches('\n').count() + 1;
                found.push(read(format!("{place}:{number}"), level, &text[at + call.len()..]));
            }
        }
    }
    found
}

fn read(place: String, level: &'static str, text: &str) -> Line {
    let mut line = Line {
        place,
        level,
        event: None,
        fields: BTreeSet::new(),
    };
    // What follows the sentence is for the sentence.
    let arguments = arguments(text);
    for argument in arguments.iter().take_while(|argument| !argument.starts_with('"')) {
        match argument.split_once('=') {
            Some((name, value)) if name.trim() == "event" => {
                line.event = value.trim().strip_prefix("observe::").map(str::to_owned);
            }
            named => {
                let name = named.map_or(argument.as_str(), |(name, _)| name);
                let name = name.trim().trim_start_matches(['%', '?']);
                line.fields.insert(name.to_owned());
            }
        }
    }
    line
}

/// The arguments of a call from behind its parenthesis, without comments and what is in strings.
fn arguments(text: &str) -> Vec<String> {
    let (mut found, mut depth) = (vec![String::new()], 0);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                while let Some(inner) = rest.next() {
                    match inner {
                        '\\' => {
                            rest.next();
                        }
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if rest.peek() == Some(&'/') => {
                let _ = rest.by_ref().find(|c| *c == '\n');
                continue;
            }
            '\'' => skip_character(&mut rest),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().unwrap().push(c);
    }
    let trimmed = found.into_iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

/// A character between quotes, if the quote does not begin a lifetime.
fn skip_character(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut ahead = rest.clone();
    let is_escaped = ahead.next() == Some('\\');
    if is_escaped {
        ahead.next();
    }
    if is_escaped || ahead.peek() == Some(&'\'') {
        let _ = rest
            .by_ref()
            .skip(usize::from(is_escaped) + 1)
            .find(|c| *c == '\'');
    }
}

/// What the catalogue says otherwise than these lines.
fn differences(lines: &[Line]) -> Vec<String> {
    let known: BTreeMap<&str, &Event> = EVENTS.iter().map(|event| (event.constant, event)).collect();
    let mut used: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    let mut found = Vec::new();
    for line in lines {
        match line.event.as_deref() {
            Some(name) if known.contains_key(name) => used.entry(name).or_default().push(line),
            Some(name) => found.push(format!("{}: {name} is not listed", line.place)),
            None => found.push(format!("{}: no event", line.place)),
        }
    }
    for (name, event) in known {
        match used.get(name) {
            Some(lines) => found.extend(of_event(event, lines)),
            None => found.push(format!("{name} is not used")),
        }
    }
    found
}

fn of_event(event: &Event, lines: &[&Line]) -> Vec<String> {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let (always, optional) = (set(event.fields), set(event.optional));
    let mut found = Vec::new();
    for line in lines {
        let lacking = always.difference(&line.fields);
        found.extend(lacking.map(|field| format!("{}: without {field}", line.place)));
        let unlisted = line
            .fields
            .iter()
            .filter(|field| !always.contains(*field) && !optional.contains(*field));
        found.extend(
            unlisted.map(|field| format!("{}: {field} is not listed for {}", line.place, event.name)),
        );
        if !event.levels.iter().any(|level| level.name() == line.level) {
            found.push(format!(
                "{}: level {} is not listed for {}",
                line.place, line.level, event.name
            ));
        }
    }
    for field in optional {
        if !lines.iter().any(|line| line.fields.contains(&field)) {
            found.push(format!("{field} is in no line of {}", event.name));
        }
    }
    for level in event.levels {
        if !lines.iter().any(|line| line.level == level.name()) {
            found.push(format!("no line of {} has level {}", event.name, level.name()));
        }
    }
    found
}

/// All of the source, with the files' names.
fn source() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut open, mut found) = (vec![root], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|extension| extension == "rs") => {
                    found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
                }
                false => {}
            }
        }
    }
    found
}

#[test]
fn the_source_and_the_catalogue_say_the_same() {
    let source = source();
    let all: Vec<Line> = source
        .iter()
        .flat_map(|(place, text)| lines(place, text))
        .collect();
    assert!(all.len() >= EVENTS.len(), "{} lines", all.len());
    let mut found = differences(&all);
    for (place, text) in &source {
        found.extend(
            UNREAD
                .iter()
                .filter(|way| text.contains(*way))
                .map(|way| format!("{place}: {way}")),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The reader of lines is itself held to what it must see.
#[test]
fn a_line_that_differs_from_the_catalogue_is_found() {
    let about = |text: &str| -> Vec<String> {
        let found = differences(&lines("x.rs", text));
        found
            .into_iter()
            .filter(|difference| difference.starts_with("x.rs"))
            .collect()
    };
    let right = "tracing::info!(\n    event = observe::QUEUE_CONDEMNED,\n    message.id = %claim.message, // why\n    \"said\"\n);";
    assert_eq!(about(right), Vec::<String>::new());
    assert_eq!(
        about(&right.replace("info!", "warn!")),
        ["x.rs:1: level warn is not listed for queue.condemned"]
    );
    assert_eq!(
        about(&right.replace("message.id = %claim.message", "%error, other = f(a, \"b, c\")")),
        [
            "x.rs:1: without message.id",
            "x.rs:1: error is not listed for queue.condemned",
            "x.rs:1: other is not listed for queue.condemned",
        ]
    );
    assert_eq!(
        about(&right.replace("CONDEMNED", "NO")),
        ["x.rs:1: QUEUE_NO is not listed"]
    );
    assert_eq!(about("{ error!(%error, \"said\") }"), ["x.rs:1: no event"]);
    // What is no line, or none of the program.
    for other in [
        "compile_error!(\"x\")",
        "// info!(\"x\")",
        "#[cfg(test)]\nmod tests { info!(\"x\") }",
    ] {
        assert_eq!(about(other), Vec::<String>::new(), "{other}");
    }
    // What the catalogue has and nothing uses.
    let all = differences(&lines("x.rs", right));
    assert!(all.contains(&"DAEMON_STARTED is not used".to_owned()), "{all:?}");
    let partly = "warn!(event = observe::LISTENER_PROXY_REFUSED, peer.ip = 1)";
    let all = differences(&lines("x.rs", partly));
    for expected in [
        "error is in no line of listener.proxy_refused",
        "no line of listener.proxy_refused has level info",
    ] {
        assert!(all.contains(&expected.to_owned()), "{all:?}");
    }
}

#[test]
fn arguments_are_told_apart_whatever_is_in_them() {
    let text = "a = f(',', '\\'', \"x, \\\" )\"), b.c = %{ d::<'_, (E, F)>(1) }, %g, \"h\", i) + j";
    let found = arguments(text);
    let names: Vec<&str> = found
        .iter()
        .map(|one| one.split([' ', '"']).next().unwrap())
        .collect();
    assert_eq!(names, ["a", "b.c", "%g", "", "i"], "{found:?}");
}

#[test]
fn the_catalogue_is_printed_for_people_and_programs() {
    let desk = Desk::new();
    let printed = desk.done("log events");
    for event in EVENTS {
        assert!(
            printed.contains(&format!("\n{} (", event.name)),
            "{}: {printed}",
            event.name
        );
    }
    let json = desk.json(0, "log events");
    assert_eq!(json["events"].as_array().unwrap().len(), EVENTS.len());
    assert_eq!(json["fields"].as_array().unwrap().len(), FIELDS.len());
    let events = json["events"].as_array().unwrap();
    let refused = events
        .iter()
        .find(|event| event["name"] == "listener.proxy_refused")
        .unwrap();
    assert_eq!(refused["levels"], serde_json::json!(["warn", "info"]));
    assert_eq!(refused["fields"], serde_json::json!(["peer.ip"]));
    assert_eq!(refused["optional"], serde_json::json!(["error"]));
    assert_eq!(refused["target"], "dimed::security");
    assert!(
        refused["meaning"]
            .as_str()
            .unwrap()
            .starts_with("A connection to an address for proxies")
    );
    assert_eq!(json["classes"][0]["target"], "dimed::mail");
}
