//! Files of many accounts or aliases, as other mail servers have them.
//!
//! Each line is taken by itself: what an import that broke off has left out, the next one of the same file adds.

use std::io::Write;

use serde_json::{Value, json};

use super::answer::{Answer, printable};
use super::exit::told;
use super::files::FileName;
use super::{Exit, Misuse};

/// Octets of a file, at most.
const MOST_OCTETS: usize = 64 << 20;

/// What came of a line, or of one of the targets on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Added,
    /// It was there before.
    There,
    /// It cannot be added, and why.
    Refused(String),
}

impl Outcome {
    /// Of a failure that is the line's own. Errors: those that the next line would meet, too.
    pub fn of(error: &anyhow::Error) -> Option<Self> {
        matches!(Exit::of(error), Exit::No | Exit::Usage).then(|| Self::Refused(told(error)))
    }
}

/// Reads the lines of a file, with their numbers. Empty ones and those that start with `#` say nothing; those that start with a
/// blank go on with the one before.
pub fn read(file: &FileName) -> anyhow::Result<Vec<(usize, String)>> {
    let octets = file.read(MOST_OCTETS)?;
    let text = std::str::from_utf8(&octets).map_err(|_| Misuse(format!("{file} is not UTF-8")))?;
    Ok(lines(text))
}

fn lines(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let words = line.trim();
        match all.last_mut() {
            _ if words.is_empty() || words.starts_with('#') => {}
            Some((_, before)) if line.starts_with([' ', '\t']) => {
                before.push(' ');
                before.push_str(words);
            }
            _ => all.push((index + 1, words.to_owned())),
        }
    }
    all
}

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Report {
    text: String,
    lines: Vec<Value>,
    added: usize,
    there: usize,
    refused: usize,
}

impl Report {
    /// What came of something on that line.
    pub fn note(&mut self, line: usize, what: &str, outcome: Outcome) {
        let (count, word, why) = match outcome {
            Outcome::Added => (&mut self.added, "added", None),
            Outcome::There => (&mut self.there, "there already", None),
            Outcome::Refused(why) => (&mut self.refused, "refused", Some(why)),
        };
        *count += 1;
        let end = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        self.text
            .push_str(&format!("line {line}: {}: {word}{end}\n", printable(what)));
        self.lines
            .push(json!({ "line": line, "what": what, "outcome": word, "message": why }));
    }

    /// Whether anything is new.
    pub fn has_added(&self) -> bool {
        self.added > 0
    }

    /// Says it, with what is to be done next.
    pub fn end(self, next: &str, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
        let Self {
            text,
            lines,
            added,
            there,
            refused,
        } = self;
        let answer = Answer {
            text: format!("{text}{added} added, {there} there already, {refused} refused.\n{next}"),
            json: json!({ "lines": lines, "added": added, "there": there, "refused": refused }),
        };
        answer.write(json, out)?;
        Ok(if refused == 0 { Exit::Done } else { Exit::No })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_behind_a_blank() {
        let text = "# c\n\na b,\n\t c\n  # not this\n  d\ne\r\n";
        let expected = [(3, "a b, c d".to_owned()), (7, "e".to_owned())];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(lines("\u{feff}a b\r\n"), [(1, "a b".to_owned())]);
        assert_eq!(lines("\u{feff}# c\n"), []);
    }
}
