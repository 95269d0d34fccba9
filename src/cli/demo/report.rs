//! The result: for programs as JSON, for people as a table and a list, at most 100 columns wide.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::readable::{self, Row};
use super::verify::Check;
use crate::routing::Decision;

/// Most columns of a line.
const WIDTH: usize = 100;
/// Columns of the names in the table.
const NAMES: usize = 36;
/// Columns of one thing in the table.
const COLUMN: usize = 10;

/// Everything the demo found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything arrived, verified, and was hidden from whom it should be.
    pub ok: bool,
    /// The messages in the order they were sent.
    pub messages: Vec<Message>,
    /// The sealed object of the first message.
    pub object: Option<Object>,
    /// Time from the first look for a port to the last daemon's end. Milliseconds.
    pub elapsed_ms: u128,
    /// Where everything lies, if it was to be kept.
    pub kept_in: Option<PathBuf>,
}

/// What became of one message.
#[derive(Debug, Serialize)]
pub struct Message {
    /// From 1.
    pub number: usize,
    /// Who sent it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// The sending host's id for it.
    pub queue_id: Option<String>,
    /// The ways it went, and its report if it came back.
    pub routes: Vec<RouteTaken>,
    /// What was expected to happen.
    pub expected: Expected,
    /// Whether that happened in time.
    pub arrived: bool,
    /// From the start of the submission to the file in the Maildir. Milliseconds.
    pub elapsed_ms: u128,
    /// What was looked at in the file.
    pub checks: Vec<Check>,
    /// The file in the Maildir, if everything was to be kept.
    pub file: Option<PathBuf>,
    /// What went wrong, in words.
    pub problems: Vec<String>,
}

/// What is to happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// It arrives.
    Delivery,
    /// A report of failure comes back.
    Report,
}

/// One decision of a host, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteTaken {
    /// The host that decided.
    pub host: String,
    /// What it decided about: the message, or the report that came of it.
    pub about: Expected,
    /// For whom.
    pub recipient: String,
    /// Where to: `dmtp`, `smtp`, `local`, `defer` or `bounce`.
    pub route: &'static str,
    /// Name of the reason.
    pub code: &'static str,
    /// The reason in words.
    pub reason: String,
}

impl RouteTaken {
    /// For one decision.
    pub fn new(host: impl ToString, about: Expected, recipient: impl ToString, decision: &Decision) -> Self {
        Self {
            host: host.to_string(),
            about,
            recipient: recipient.to_string(),
            route: decision.route.kind(),
            code: decision.reason.code(),
            reason: decision.reason.to_string(),
        }
    }
}

/// A sealed object, and who could read what of it.
#[derive(Debug, Serialize)]
pub struct Object {
    /// Its size.
    pub size_bytes: usize,
    /// Of D/MIME.
    pub format: u8,
    /// The suite of its keys.
    pub suite: &'static str,
    /// One row for each party.
    pub rows: Vec<Row>,
    /// What breaks the promise of D/MIME, in words.
    pub problems: Vec<String>,
}

impl Message {
    /// Whether it arrived as it should.
    pub fn is_good(&self) -> bool {
        self.arrived && self.problems.is_empty() && self.checks.iter().all(|check| check.passed)
    }
}

impl Report {
    /// Puts the result together; it is good only if there is nothing to complain about.
    pub fn new(messages: Vec<Message>, object: Option<Object>) -> Self {
        let all_arrived = messages.iter().all(Message::is_good);
        let hidden = object.as_ref().is_some_and(|object| object.problems.is_empty());
        Self {
            ok: all_arrived && hidden,
            messages,
            object,
            elapsed_ms: 0,
            kept_in: None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(object) = &self.object {
            text += &object.text();
        }
        for message in &self.messages {
            text += &message.text();
        }
        text += &self.verdict();
        text
    }

    fn verdict(&self) -> String {
        let secs = self.elapsed_ms as f64 / 1000.0;
        let mut text = match self.ok {
            true => format!(
                "Everything arrived, verified, and stayed hidden from whom it should ({secs:.1} s).\n"
            ),
            false => {
                format!("NOT everything is as it should be ({secs:.1} s); see what is marked !! above.\n")
            }
        };
        if let Some(folder) = &self.kept_in {
            let _ = writeln!(
                text,
                "Configurations, spools, Maildirs, zones and message.dmime lie in {}.",
                folder.display()
            );
        }
        text
    }
}

impl Object {
    fn text(&self) -> String {
        let mut text = wrapped(
            &format!(
                "Who could read what of message 1, found out by opening the sealed object (D/MIME {}, {}, {} octets, \
                 taken off the wire) with the keys that each one has:",
                self.format, self.suite, self.size_bytes
            ),
            0,
        );
        text.push('\n');
        let heads = readable::HEADS;
        text += &line("", heads.map(|(above, _)| above));
        text += &line("", heads.map(|(_, below)| below));
        for row in &self.rows {
            text += &line(&row.who, row.cells().map(|can| if can { "reads" } else { "-" }));
        }
        text.push('\n');
        text += &complaints(&self.problems);
        text
    }
}

impl Message {
    fn text(&self) -> String {
        let mut text = format!(
            "{}  {} to {}: {}\n",
            self.number,
            self.from,
            self.to,
            self.outcome()
        );
        for route in &self.routes {
            let what = match route.about {
                Expected::Delivery => "",
                Expected::Report => "the report goes ",
            };
            text += &wrapped(&format!("{what}{}: {}", way(route.route), route.reason), 3);
        }
        let passed: Vec<&str> = self
            .checks
            .iter()
            .filter(|check| check.passed)
            .map(|check| check.what)
            .collect();
        if !passed.is_empty() {
            text += &wrapped(&format!("verified: {}", passed.join("; ")), 3);
        }
        let failed = self.checks.iter().filter(|check| !check.passed);
        let failed: Vec<String> = failed
            .map(|check| format!("it is not so: {}", check.what))
            .collect();
        text += &complaints(&failed);
        text += &complaints(&self.problems);
        text.push('\n');
        text
    }

    fn outcome(&self) -> String {
        let what = match (self.arrived, self.expected) {
            (true, Expected::Delivery) => "arrived",
            (true, Expected::Report) => "came back with a report",
            (false, Expected::Delivery) => return "DID NOT ARRIVE".into(),
            (false, Expected::Report) => return "NO REPORT CAME BACK".into(),
        };
        format!("{what} after {:.2} s", self.elapsed_ms as f64 / 1000.0)
    }
}

fn way(route: &str) -> String {
    match route {
        "dmtp" => "by DMTP".into(),
        "smtp" => "by SMTP".into(),
        "local" => "into a Maildir".into(),
        other => other.to_owned(),
    }
}

fn line(name: &str, cells: [&str; readable::THINGS]) -> String {
    let mut line = format!("{name:<NAMES$}");
    for cell in cells {
        let _ = write!(line, "{cell:<COLUMN$}", COLUMN = COLUMN + 1);
    }
    format!("{}\n", line.trim_end())
}

fn complaints(problems: &[String]) -> String {
    let marked = problems
        .iter()
        .map(|problem| wrapped(&format!("!! {problem}"), 3));
    marked.collect()
}

/// Words in lines of at most [`WIDTH`] columns, each starting with `indent` spaces; line ends in the text stay.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut line = " ".repeat(indent);
        for word in paragraph.split_whitespace() {
            let is_first = line.len() == indent;
            if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
                out += &line;
                out.push('\n');
                line = " ".repeat(indent);
            } else if !is_first {
                line.push(' ');
            }
            line += word;
        }
        out += &line;
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arrived: bool, passed: bool) -> Message {
        Message {
            number: 1,
            from: "alice@hermail.test".into(),
            to: "bob@hismail.test".into(),
            queue_id: None,
            routes: Vec::new(),
            expected: Expected::Delivery,
            arrived,
            elapsed_ms: 120,
            checks: vec![Check {
                what: "same body",
                passed,
            }],
            file: None,
            problems: Vec::new(),
        }
    }

    fn object(problems: &[&str]) -> Option<Object> {
        Some(Object {
            size_bytes: 5000,
            format: 2,
            suite: "xwing",
            rows: Vec::new(),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
        })
    }

    #[test]
    fn good_means_that_all_is_good() {
        assert!(Report::new(vec![message(true, true)], object(&[])).ok);
        assert!(!Report::new(vec![message(true, true), message(false, true)], object(&[])).ok);
        assert!(!Report::new(vec![message(true, false)], object(&[])).ok);
        assert!(!Report::new(vec![message(true, true)], object(&["leak"])).ok);
        assert!(!Report::new(vec![message(true, true)], None).ok);
    }

    #[test]
    fn what_failed_is_said_in_words() {
        let text = Report::new(
            vec![message(true, false)],
            object(&["the network could read the body"]),
        )
        .text();
        assert!(text.contains("   !! the network could read the body\n"), "{text}");
        assert!(text.contains("   !! it is not so: same body\n"), "{text}");
        assert!(text.contains("NOT everything"), "{text}");
    }

    #[test]
    fn long_lines_are_wrapped() {
        let text = wrapped(&"word ".repeat(60), 3);
        assert!(
            text.lines()
                .all(|line| line.starts_with("   word") && line.len() <= WIDTH),
            "{text}"
        );
        assert_eq!(text.split_whitespace().count(), 60);
    }
}
