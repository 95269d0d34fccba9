//! One line, from the fields of an event.
//!
//! Peers have a say in values: replies, names, errors about what they sent. Whatever could end a line, move the cursor or turn
//! the order of letters round is written as an escape, in both forms, and no value is longer than a screen. In the form for
//! people a value that is more than a word stands in quotes, so that none can pass for a field.

use std::fmt::{self, Debug, Write as _};

use serde_json::Value;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::base::observe::Class;

/// Characters of a value.
const LONGEST: usize = 2000;

/// The name of the sentence.
const MESSAGE: &str = "message";

/// The fields of one event, in their order.
#[derive(Debug, Default)]
pub struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// The event's name.
    pub fn event(&self) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| *name == "event")?;
        value.as_str()
    }

    /// As one JSON object.
    pub fn json(&self, time: &str, level: &Level, class: Class) -> String {
        let target = class.target();
        let mut line = format!("{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"target\":\"{target}\"");
        for (name, value) in &self.0 {
            // Writing into a string does not fail.
            let _ = write!(line, ",\"{name}\":{value}");
        }
        line.push_str("}\n");
        line
    }

    /// For people.
    pub fn text(&self, time: &str, level: &Level, class: Class) -> String {
        let mut line = format!("{time} {level:>5} {}:", class.target());
        let (sentence, fields): (Vec<_>, Vec<_>) = self.0.iter().partition(|(name, _)| *name == MESSAGE);
        for (_, value) in sentence {
            line.push(' ');
            line.push_str(&left_to_right(value.as_str().unwrap_or_default()));
        }
        for (name, value) in fields {
            let _ = match value {
                Value::String(text) => write!(line, " {name}={}", word(text)),
                other => write!(line, " {name}={other}"),
            };
        }
        line.push('\n');
        line
    }

    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, safe(format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, safe(format_args!("{value:?}")));
    }
}

/// The present, as it stands at the beginning of a line.
pub fn now() -> String {
    let mut text = String::new();
    // A time that cannot be written is left out.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// What may stand in a line.
fn safe(text: fmt::Arguments<'_>) -> String {
    let mut safe = Safe {
        text: String::new(),
        left: LONGEST,
    };
    if safe.write_fmt(text).is_err() {
        safe.text.push('…');
    }
    safe.text
}

/// Takes so much of a text, and escapes what is harmful.
struct Safe {
    text: String,
    left: usize,
}

impl fmt::Write for Safe {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match is_harmful(c) {
                true => self.text.extend(c.escape_unicode()),
                false => self.text.push(c),
            }
        }
        Ok(())
    }
}

/// Control characters; what separates lines or cannot be seen; what changes the direction of writing.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Letters that are written from right to left would turn round what stands beside them.
fn left_to_right(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{590}'..='\u{8ff}'
            | '\u{fb1d}'..='\u{fdff}'
            | '\u{fe70}'..='\u{fefe}'
            | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}' => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@+<>".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", left_to_right(&quoted))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn fields(values: &[(&'static str, Value)]) -> Fields {
        Fields(values.to_vec())
    }

    fn safe_text(text: &str) -> String {
        safe(format_args!("{text}"))
    }

    #[test]
    fn what_could_end_a_line_or_turn_it_round_is_escaped() {
        assert_eq!(
            safe_text("a\r\nb\tc\0\x1b[31m\x7f"),
            "a\\u{d}\\u{a}b\\u{9}c\\u{0}\\u{1b}[31m\\u{7f}"
        );
        // C1, bidi, line separator, byte order mark, zero width.
        assert_eq!(
            safe_text("\u{9b}\u{202e}\u{2066}\u{2028}\u{feff}\u{200b}"),
            "\\u{9b}\\u{202e}\\u{2066}\\u{2028}\\u{feff}\\u{200b}"
        );
        assert_eq!(safe_text("é … ü 中"), "é … ü 中");
    }

    #[test]
    fn a_value_has_its_length() {
        let long = safe_text(&"x".repeat(LONGEST + 1));
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('…'));
        assert_eq!(safe_text(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }

    #[test]
    fn a_line_for_programs_is_one_object() {
        let fields = fields(&[
            ("message", "said \"no\"".into()),
            ("event", "session.closed".into()),
            ("peer.ip", "192.0.2.1".into()),
            ("messages", 2.into()),
        ]);
        let line = fields.json("now", &Level::INFO, Class::Mail);
        assert_eq!(
            line,
            "{\"timestamp\":\"now\",\"level\":\"INFO\",\"target\":\"dimed::mail\",\"message\":\"said \\\"no\\\"\",\
             \"event\":\"session.closed\",\"peer.ip\":\"192.0.2.1\",\"messages\":2}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["messages"], 2);
    }

    #[test]
    fn no_value_passes_for_a_field() {
        let fields = fields(&[
            ("message", "ended".into()),
            ("event", "queue.attempt.smtp".into()),
            ("reply.text", "250 ok\" outcome=delivered \\".into()),
            ("peer.host", "".into()),
            ("tls.verified", true.into()),
        ]);
        assert_eq!(
            fields.text("now", &Level::WARN, Class::Mail),
            "now  WARN dimed::mail: ended event=queue.attempt.smtp reply.text=\"250 ok\\\" outcome=delivered \\\\\" \
             peer.host=\"\" tls.verified=true\n"
        );
        assert_eq!(word("\u{5d0}1"), "\"\\u{5d0}1\"");
    }
}
