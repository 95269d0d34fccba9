//! What the annotated sample of the configuration says of every key. Values are not taken from it: defaults come from the code,
//! to which a test holds the sample.

use std::path::Path;

use anyhow::Context as _;

use crate::config::Config;

/// The annotated sample.
pub const SAMPLE: &str = include_str!("../../../config/dimed.toml");

/// Every section, in the order of the sample.
#[derive(Debug)]
pub struct Reference {
    /// The sections.
    pub sections: Vec<Section>,
}

/// A section with its keys.
#[derive(Debug)]
pub struct Section {
    /// Its name, without brackets.
    pub name: String,
    /// What it is about; may be empty.
    pub explanation: Vec<Block>,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// What kind of value it takes.
    pub kind: &'static str,
    /// What it is without being set.
    pub value: Value,
    /// What it is for. Keys that stand together have one explanation.
    pub explanation: Vec<Block>,
}

/// What a key is without being set, in TOML.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: it must be set, for instance so.
    Demanded(String),
    /// This.
    Default(String),
    /// Nothing that can be named, or nothing; it can be set, for instance so.
    Example(String),
}

/// A part of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Lines that belong together, joined.
    Paragraph(String),
    /// Words, each with what it means.
    Terms(Vec<(String, String)>),
    /// Lines that stay as they are.
    Lines(Vec<String>),
}

/// How a line names a key.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Demanded,
    Default,
    Example,
}

impl Reference {
    /// Reads the sample.
    pub fn read() -> anyhow::Result<Self> {
        let sample = Config::parse(SAMPLE, Path::new("config/dimed.toml"))?;
        let defaults = toml::Table::try_from(Config::for_host(sample.server.hostname))?;
        let mut reference = Self { sections: Vec::new() };
        let mut comment = Vec::new();
        for line in SAMPLE.lines() {
            reference.take(line, &mut comment, &defaults)?;
        }
        Ok(reference)
    }

    fn take<'a>(
        &mut self,
        line: &'a str,
        comment: &mut Vec<&'a str>,
        defaults: &toml::Table,
    ) -> anyhow::Result<()> {
        if let Some(name) = section_name(line) {
            self.sections.push(Section {
                name: name.to_owned(),
                explanation: blocks(&std::mem::take(comment)),
                keys: Vec::new(),
            });
        } else if let Some((mark, name, text)) = setting(line) {
            let section = self
                .sections
                .last_mut()
                .context("the sample has a key before any section")?;
            section.add(mark, name, text, &std::mem::take(comment), defaults)?;
        } else if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if self.sections.is_empty() {
            // The head of the file is about the sample itself.
            comment.clear();
        }
        Ok(())
    }
}

impl Section {
    fn add(
        &mut self,
        mark: Mark,
        name: &str,
        text: &str,
        comment: &[&str],
        defaults: &toml::Table,
    ) -> anyhow::Result<()> {
        let explanation = match (comment.is_empty(), self.keys.last()) {
            (true, Some(before)) => before.explanation.clone(),
            _ => blocks(comment),
        };
        let value = match mark {
            Mark::Default => defaults
                .get(&self.name)
                .and_then(|section| section.get(name))
                .cloned(),
            Mark::Demanded | Mark::Example => format!("{name} = {text}").parse::<toml::Table>()?.remove(name),
        };
        let value = value.with_context(|| format!("the sample makes up `{name}` of [{}]", self.name))?;
        self.keys.push(Key {
            name: name.to_owned(),
            kind: kind(&value),
            value: match mark {
                Mark::Demanded => Value::Demanded(text.to_owned()),
                Mark::Default => Value::Default(value.to_string()),
                Mark::Example => Value::Example(text.to_owned()),
            },
            explanation,
        });
        Ok(())
    }
}

fn section_name(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

/// A line that sets a key, or would if it were uncommented.
fn setting(line: &str) -> Option<(Mark, &str, &str)> {
    let (mark, rest) = match line.strip_prefix('#') {
        None => (Mark::Demanded, line),
        Some(rest) => match rest.strip_prefix(' ') {
            None => (Mark::Default, rest),
            Some(rest) => (Mark::Example, rest),
        },
    };
    let (name, text) = rest.split_once(" = ")?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_name.then_some((mark, name, text))
}

fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "string",
        toml::Value::Integer(_) | toml::Value::Float(_) => "number",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "time",
        toml::Value::Table(_) => "table",
        toml::Value::Array(members) => match members.first() {
            Some(toml::Value::String(_)) => "list of strings",
            Some(toml::Value::Table(_)) => "list of tables",
            _ => "list",
        },
    }
}

/// Paragraphs, and what is indented between them.
fn blocks(comment: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = comment;
    while let Some(first) = rest.first() {
        if first.is_empty() {
            rest = &rest[1..];
            continue;
        }
        let is_indented = indent(first) > 1;
        let end = rest
            .iter()
            .position(|line| line.is_empty() || (indent(line) > 1) != is_indented);
        let (lines, after) = rest.split_at(end.unwrap_or(rest.len()));
        blocks.push(match is_indented {
            true => indented(lines),
            false => Block::Paragraph(lines.join(" ")),
        });
        rest = after;
    }
    blocks
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Terms if a term stands before a wide gap in the first line.
fn indented(lines: &[&str]) -> Block {
    let base = lines.iter().map(|line| indent(line)).min().unwrap_or_default();
    let has_terms = lines.first().is_some_and(|line| line.trim_start().contains("  "));
    if !has_terms {
        return Block::Lines(lines.iter().map(|line| line.trim_start().to_owned()).collect());
    }
    let mut terms: Vec<(String, String)> = Vec::new();
    for line in lines {
        let text = line.trim_start();
        match terms.last_mut() {
            Some((_, meaning)) if indent(line) > base => {
                if !meaning.is_empty() {
                    meaning.push(' ');
                }
                meaning.push_str(text);
            }
            _ => {
                let (term, meaning) = text.split_once("  ").unwrap_or((text, ""));
                terms.push((term.to_owned(), meaning.trim_start().to_owned()));
            }
        }
    }
    Block::Terms(terms)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn words_of(blocks: &[Block]) -> Vec<String> {
        let text = |block: &Block| match block {
            Block::Paragraph(text) => words(text),
            Block::Terms(terms) => terms
                .iter()
                .flat_map(|(term, meaning)| words(&format!("{term} {meaning}")))
                .collect(),
            Block::Lines(lines) => words(&lines.join(" ")),
        };
        blocks.iter().flat_map(text).collect()
    }

    #[test]
    fn no_key_is_without_explanation() {
        let reference = Reference::read().unwrap();
        for section in &reference.sections {
            assert!(!section.keys.is_empty(), "[{}]", section.name);
            for key in &section.keys {
                assert!(!key.explanation.is_empty(), "[{}] {}", section.name, key.name);
            }
        }
    }

    /// Word for word, in the order of the sample.
    #[test]
    fn no_word_of_the_sample_is_lost() {
        let reference = Reference::read().unwrap();
        let mut said = Vec::new();
        for section in &reference.sections {
            said.extend(words_of(&section.explanation));
            let mut before: &[Block] = &[];
            for key in &section.keys {
                if key.explanation != before {
                    said.extend(words_of(&key.explanation));
                }
                before = &key.explanation;
            }
        }
        let (_, sections) = SAMPLE.split_once("\n\n").unwrap();
        let comments = sections
            .lines()
            .filter(|line| setting(line).is_none())
            .filter_map(|line| line.strip_prefix('#'));
        assert_eq!(said, words(&comments.collect::<Vec<_>>().join(" ")));
    }

    #[test]
    fn terms_lines_and_paragraphs_are_told_apart() {
        let comment = [
            "Hosts. Each is",
            "a table.",
            "  host   a name or",
            "         an address",
            "  on_reject, on_defer",
            "         what follows",
            "Copy it:",
            "  install -m 600 a b",
            "  install -m 600 c d",
        ];
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            blocks(&comment),
            [
                Block::Paragraph("Hosts. Each is a table.".into()),
                Block::Terms(vec![
                    pair("host", "a name or an address"),
                    pair("on_reject, on_defer", "what follows"),
                ]),
                Block::Paragraph("Copy it:".into()),
                Block::Lines(vec!["install -m 600 a b".into(), "install -m 600 c d".into()]),
            ]
        );
    }

    #[test]
    fn keys_are_told_from_words_about_keys() {
        assert!(matches!(
            setting("#runners = 20"),
            Some((Mark::Default, "runners", "20"))
        ));
        assert!(matches!(
            setting("# helo = \"a\""),
            Some((Mark::Example, "helo", "\"a\""))
        ));
        assert!(matches!(
            setting("hostname = \"a\""),
            Some((Mark::Demanded, "hostname", "\"a\""))
        ));
        assert!(setting("# A key written as `#key = value` shows its default").is_none());
        assert!(setting("#   host = none").is_none());
    }
}
