//! What the parser has against a configuration, in words of those who write one: with the setting's name, and without names of
//! Rust types.

use std::borrow::Cow;

/// A value that is to be shown, without names and passwords that stand in a URL between `//` and `@`. A password may have an `@`.
pub(super) fn without_credentials(text: &str) -> Cow<'_, str> {
    let (Some(start), Some(end)) = (text.find("//"), text.rfind('@')) else {
        return text.into();
    };
    match start + 2 <= end {
        true => format!("{}…{}", &text[..start + 2], &text[end..]).into(),
        false => text.into(),
    }
}

/// A sentence about what stands at an octet of `text`.
pub(super) fn sentence(message: &str, text: &str, at: usize) -> String {
    let place = Place::of(text, at);
    let message = message.replace('\n', ": ");
    place
        .unknown_field(&message)
        .or_else(|| place.missing_field(&message))
        .or_else(|| place.unknown_variant(&message))
        .or_else(|| place.invalid(&message, "invalid type: "))
        .or_else(|| place.invalid(&message, "invalid value: "))
        .unwrap_or_else(|| socket_addresses(&message))
}

fn socket_addresses(message: &str) -> String {
    message.replace(
        "invalid socket address syntax",
        "not an IP address and port, such as 192.0.2.1:25 or [::]:25",
    )
}

/// The section and the key that a line is about.
struct Place {
    section: String,
    key: String,
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let number = before.matches('\n').count();
        let header = |line: &str| {
            let name = line.trim().strip_prefix('[')?.split(']').next()?;
            Some(name.trim_start_matches('[').trim().to_owned())
        };
        let section = text.lines().take(number + 1).filter_map(header).last();
        let line = text.lines().nth(number).unwrap_or_default();
        let key = match header(line) {
            Some(_) => "",
            None => line.split_once('=').map_or("", |(key, _)| key.trim()),
        };
        Self {
            section: section.unwrap_or_default(),
            key: key.to_owned(),
        }
    }

    /// The whole name of what stands there.
    fn name(&self) -> String {
        joined(&self.section, &self.key)
    }

    fn unknown_field(&self, message: &str) -> Option<String> {
        let (field, expected) = quoted(message.strip_prefix("unknown field ")?)?;
        let is_section = self.key.is_empty() && self.section == field;
        let name = match self.key == field {
            _ if is_section => format!("[{field}]"),
            true => self.name(),
            false => joined(&self.name(), field),
        };
        let what = if is_section { "section" } else { "setting" };
        let similar = names(expected).find(|other| is_similar(field, other));
        let all = || {
            names(expected)
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
        };
        let hint = match similar {
            Some(other) => format!("did you mean `{other}`?"),
            None => format!("there are {}", all().join(", ")),
        };
        Some(format!("there is no {what} `{name}`: {hint}"))
    }

    fn missing_field(&self, message: &str) -> Option<String> {
        let (field, _) = quoted(message.strip_prefix("missing field ")?)?;
        // It is the one section that must be there.
        let name = match field {
            "server" => "server.hostname".to_owned(),
            field => joined(&self.name(), field),
        };
        Some(format!("`{name}` is missing"))
    }

    fn unknown_variant(&self, message: &str) -> Option<String> {
        let (variant, expected) = quoted(message.strip_prefix("unknown variant ")?)?;
        let known: Vec<String> = names(expected).map(|name| format!("\"{name}\"")).collect();
        let known = known.join(" or ");
        Some(format!("`{}` is \"{variant}\", and must be {known}", self.name()))
    }

    fn invalid(&self, message: &str, start: &str) -> Option<String> {
        let (given, expected) = message.strip_prefix(start)?.rsplit_once(", expected ")?;
        Some(format!(
            "`{}` is {}, and must be {}",
            self.name(),
            found(given),
            wanted(expected)
        ))
    }
}

fn joined(container: &str, name: &str) -> String {
    match (container, name) {
        ("", name) => name.to_owned(),
        (container, "") => container.to_owned(),
        (container, name) => format!("{container}.{name}"),
    }
}

/// What stands in backticks first, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('`')?.split_once('`')
}

/// Everything in backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What was found, as the parser calls it.
fn found(given: &str) -> String {
    match given.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.trim_matches('`').to_owned(),
        _ => match given {
            "sequence" => "a list".to_owned(),
            "map" => "a table".to_owned(),
            other => other.replace("floating point ", "").replace('`', ""),
        },
    }
}

/// What must stand there, as the parser calls it.
fn wanted(expected: &str) -> String {
    let words = match expected {
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        "u8" => "a whole number up to 255",
        "u16" => "a whole number up to 65535",
        "u32" | "u64" | "usize" => "a whole number",
        other if other.starts_with("a nonzero ") => "a whole number above 0",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    words.to_owned()
}

/// Whether one may have been meant who wrote the other: they differ in two letters at most.
fn is_similar(written: &str, known: &str) -> bool {
    let (written, known): (Vec<char>, Vec<char>) = (written.chars().collect(), known.chars().collect());
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, letter) in written.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in known.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row.last().is_some_and(|distance| *distance <= 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::without_credentials;
    use crate::config::Config;

    #[test]
    fn what_stands_before_the_host_of_a_url_is_never_shown() {
        for (value, shown) in [
            ("smtp://alice:sesame@mx.example", "smtp://…@mx.example"),
            ("smtp://alice:se//s@me@mx.example/x", "smtp://…@mx.example/x"),
            ("//@", "//…@"),
            ("smtp://mx.example", "smtp://mx.example"),
            ("bob@hismail.test", "bob@hismail.test"),
            ("a@b//c", "a@b//c"),
        ] {
            assert_eq!(without_credentials(value), shown);
        }
        let refused = said("[relay]\nnetworks = [\"http://alice:sesame@proxy/\"]\n");
        assert!(refused.contains("`http://…@proxy/`"), "{refused}");
    }

    /// What is said of a configuration that is right without its last lines.
    fn said(more: &str) -> String {
        let text = format!("[server]\nhostname = \"mx.example\"\n{more}");
        let error = Config::parse(&text, Path::new("x")).unwrap_err();
        error.to_string()
    }

    #[test]
    fn mistakes_are_told_in_plain_sentences() {
        for (text, sentence) in [
            (
                "hostnam = 1\n",
                "x:3:1: there is no setting `server.hostnam`: did you mean `hostname`?",
            ),
            (
                "zebra = 1\n",
                "x:3:1: there is no setting `server.zebra`: there are `hostname`, `data_directory`, ",
            ),
            (
                "[listem]\n",
                "x:3:2: there is no section `[listem]`: did you mean `listen`?",
            ),
            (
                "[queue]\nrunners = 0\n",
                "x:4:11: `queue.runners` is 0, and must be a whole number above 0",
            ),
            (
                "[queue]\nrunners = \"many\"\n",
                "x:4:11: `queue.runners` is the text \"many\", and must be a whole number above 0",
            ),
            (
                "[log]\nformat = \"xml\"\n",
                "x:4:10: `log.format` is \"xml\", and must be ",
            ),
            (
                "[screening]\ngreylist = \"yes\"\n",
                "x:4:12: `screening.greylist` is the text \"yes\", and must be true or false",
            ),
            (
                "[screening]\nipv4_bits = 300\n",
                "x:4:13: `screening.ipv4_bits` is 300, and must be a whole number up to 255",
            ),
            (
                "[listen]\nsmtp = \"0.0.0.0:25\"\n",
                "`listen.smtp` is the text \"0.0.0.0:25\", and must be a list in brackets",
            ),
            (
                "[[filtering.filters]]\nname = \"a\"\nprotocol = \"milter\"\n",
                "`filtering.filters.address` is missing",
            ),
            (
                "[listen]\nsmtp = [\"25\"]\n",
                "not an IP address and port, such as 192.0.2.1:25 or [::]:25",
            ),
        ] {
            let found = said(text);
            assert!(found.contains(sentence), "{found}\n{sentence}");
        }
    }

    #[test]
    fn what_must_be_there_is_named() {
        let said = |text: &str| Config::parse(text, Path::new("x")).unwrap_err().to_string();
        assert!(said("").contains("`server.hostname` is missing"));
        assert!(said("[server]\n").contains("`server.hostname` is missing"));
    }
}
