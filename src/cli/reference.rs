//! `dimed config reference`: every key of the configuration with its kind, its default and what it is for.

mod sample;

use std::fmt::Write as _;
use std::io::Write;

use clap::{Args, Subcommand};
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use super::Exit;
use super::answer::Answer;
use super::pages::{NO_DATE, VERSION};
use sample::{Block, Key, Reference, Section, Value};

pub use sample::SAMPLE;

/// What holds for the whole file.
const HEAD: &str = "The file is TOML: sections, and in each of them keys. Unknown keys are errors. `dimed check` reads the file and says \
     what is wrong with it. An annotated sample comes with the program; Debian's package has it in /usr/share/doc/dimed/examples.";

/// Commands about the configuration file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every key, its default and what it is for, as Markdown. `dimed check` says whether a file can be used.
    Reference(Form),
}

/// For whom.
#[derive(Debug, Args)]
pub struct Form {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Does as the command says.
pub fn run(command: &Command, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Command::Reference(form) = command;
    let reference = Reference::read()?;
    let text = markdown(&reference);
    let json =
        json!({ "result": "done", "keys": reference.sections.iter().flat_map(objects).collect::<Vec<_>>() });
    Answer { text, json }.write(form.json, out)?;
    Ok(Exit::Done)
}

fn objects(section: &Section) -> Vec<serde_json::Value> {
    let object = |key: &Key| {
        let (default, example) = match &key.value {
            Value::Default(value) => (Some(value), None),
            Value::Demanded(value) | Value::Example(value) => (None, Some(value)),
        };
        json!({
            "section": section.name, "key": key.name, "type": key.kind, "default": default, "example": example,
            "required": matches!(key.value, Value::Demanded(_)), "explanation": plain(&key.explanation),
        })
    };
    section.keys.iter().map(object).collect()
}

fn plain(blocks: &[Block]) -> String {
    let text = |block: &Block| match block {
        Block::Paragraph(text) => text.clone(),
        Block::Lines(lines) => lines.join("\n"),
        Block::Terms(terms) => {
            let lines: Vec<_> = terms
                .iter()
                .map(|(term, meaning)| format!("{term}: {meaning}"))
                .collect();
            lines.join("\n")
        }
    };
    blocks.iter().map(text).collect::<Vec<_>>().join("\n\n")
}

/// The kind of a key and what it is without being set, between `quote` and `quote`.
fn value(key: &Key, quote: &str) -> String {
    let kind = key.kind;
    match &key.value {
        Value::Demanded(value) => format!("Must be set: {kind}, for instance {quote}{value}{quote}."),
        Value::Default(value) => format!("Default: {quote}{value}{quote} ({kind})."),
        Value::Example(value) => format!("Optional: {kind}, for instance {quote}{value}{quote}."),
    }
}

fn markdown(reference: &Reference) -> String {
    let mut text = format!("# Configuration of dimed\n\n{HEAD}\n");
    for section in &reference.sections {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## [{}]\n", section.name);
        in_markdown(&section.explanation, &mut text);
        for key in &section.keys {
            let _ = write!(text, "\n### `{}`\n\n{}\n", key.name, value(key, "`"));
            in_markdown(&key.explanation, &mut text);
        }
    }
    text
}

fn in_markdown(blocks: &[Block], text: &mut String) {
    for block in blocks {
        text.push('\n');
        let _ = match block {
            Block::Paragraph(paragraph) => writeln!(text, "{}", escaped(paragraph)),
            Block::Lines(lines) => writeln!(text, "    {}", lines.join("\n    ")),
            Block::Terms(terms) => terms
                .iter()
                .try_for_each(|(term, meaning)| writeln!(text, "- `{term}`: {}", escaped(meaning))),
        };
    }
}

/// Characters that mean something in Markdown, outside of code.
fn escaped(text: &str) -> String {
    let mut is_code = false;
    let mut escaped = String::new();
    for c in text.chars() {
        is_code ^= c == '`';
        if !is_code && matches!(c, '*' | '<' | '>' | '|' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The page dimed.toml(5).
pub fn page() -> anyhow::Result<String> {
    let reference = Reference::read()?;
    let mut page = Roff::new();
    page.control("TH", ["dimed.toml", "5", NO_DATE, VERSION]);
    page.control("SH", ["NAME"])
        .text([roman("dimed.toml - configuration of dimed")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(HEAD)]);
    for section in &reference.sections {
        page.control("SH", [format!("[{}]", section.name).as_str()]);
        in_roff(&section.explanation, "PP", &mut page);
        for key in &section.keys {
            page.control("TP", [])
                .text([bold(key.name.as_str())])
                .text([roman(value(key, ""))]);
            in_roff(&key.explanation, "IP", &mut page);
        }
    }
    page.control("SH", ["SEE ALSO"])
        .text([roman("dimed(1), dimed-check(1)")]);
    Ok(page.render())
}

/// Parts of an explanation; each begins with `paragraph`, which says how far it is indented.
fn in_roff(blocks: &[Block], paragraph: &str, page: &mut Roff) {
    for block in blocks {
        page.control(paragraph, []);
        match block {
            Block::Paragraph(text) => {
                page.text([roman(text.as_str())]);
            }
            Block::Lines(lines) => {
                page.control("nf", []);
                for line in lines {
                    page.text([roman(line.as_str())]);
                }
                page.control("fi", []);
            }
            Block::Terms(terms) => {
                page.control("RS", []);
                for (term, meaning) in terms {
                    page.control("TP", []).text([bold(term.as_str())]);
                    if !meaning.is_empty() {
                        page.text([roman(meaning.as_str())]);
                    }
                }
                page.control("RE", []);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn markdown_has_the_value_and_the_words() {
        let text = markdown(&Reference::read().unwrap());
        assert!(text.contains(
            "\n### `hostname`\n\nMust be set: string, for instance `\"mx.example.org\"`.\n\nName of this host"
        ));
        assert!(
            text.contains(
                "\n### `runners`\n\nDefault: `20` (number).\n\nDeliveries that run at the same time."
            )
        );
        assert!(text.contains("\n### `retry_max_secs`\n"), "{text}");
        assert!(text.contains("\n- `port`: 25, or 587 if there are credentials\n"));
    }

    #[test]
    fn what_means_something_in_markdown_is_escaped_outside_of_code() {
        assert_eq!(
            escaped("\"*\" for all, `a*b`, [dns]"),
            "\"\\*\" for all, `a*b`, \\[dns\\]"
        );
    }

    #[test]
    fn the_page_has_every_key() {
        let page = page().unwrap();
        for section in Reference::read().unwrap().sections {
            assert!(page.contains(&format!("\n.SH [{}]\n", section.name)), "{page}");
            for key in section.keys {
                assert!(page.contains(&format!("\\fB{}\\fR\n", key.name)), "{}", key.name);
            }
        }
    }
}
