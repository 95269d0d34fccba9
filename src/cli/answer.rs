//! What commands of the tools say, in either form.

use std::fmt::Display;
use std::io::Write;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::files::FileName;
use super::refusal::Refusal;
use super::{Exit, Misuse};
use crate::dime::signet;
use crate::store;

/// Something to say to people and to programs.
pub struct Answer {
    /// Lines for people, the last line end included.
    pub text: String,
    /// An object for programs.
    pub json: Value,
}

impl Answer {
    /// Says it in the form asked for.
    pub fn write(&self, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        match json {
            true => writeln!(out, "{:#}", self.json)?,
            false => out.write_all(self.text.as_bytes())?,
        }
        Ok(())
    }
}

/// Tells programs why an object was refused; for people, the error goes on to standard error.
///
/// A signet that cannot be made, for instance because it would be too large, is named as one that cannot be read.
pub fn conclude(done: anyhow::Result<Exit>, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let done = done.map_err(|error| match error.downcast::<signet::Error>() {
        Ok(error) => Refusal::new(&error).into(),
        Err(error) => error,
    });
    match done {
        Err(error) if json => match error.downcast_ref::<Refusal>() {
            Some(refusal) => {
                writeln!(
                    out,
                    "{:#}",
                    json!({ "result": "not_valid", "refused": refusal.json() })
                )?;
                Ok(Exit::No)
            }
            None => Err(error),
        },
        done => done,
    }
}

/// An object for programs and a result cannot share standard output.
pub fn check_output(json: bool, out: &FileName) -> Result<(), Misuse> {
    match json && out.is_standard() {
        true => Err(Misuse("with --json, name a file with --out".into())),
        false => Ok(()),
    }
}

/// Whether an event is due which says that something is removed: also where its private keys may still be in the database's log, for
/// whoever repeats the command finds nothing to remove.
pub fn is_removed<T>(
    done: &Result<T, store::Error>,
    was_there: bool,
    is_done: impl FnOnce(&T) -> bool,
) -> bool {
    match done {
        Ok(removal) => is_done(removal),
        Err(error) => was_there && matches!(error, store::Error::LogInUse),
    }
}

/// What came of removing something, with its private keys.
pub fn removed<T>(done: Result<T, store::Error>, name: &dyn Display) -> anyhow::Result<T> {
    let in_log = matches!(done, Err(store::Error::LogInUse));
    done.with_context(|| match in_log {
        true => format!(
            "{name} is removed, but the log of the database may still have its keys; repeat this until there is none"
        ),
        false => format!("{name} cannot be removed"),
    })
}

/// A number of octets in words.
pub fn octets(count: u64) -> String {
    match count {
        1 => "1 octet".to_owned(),
        count => format!("{count} octets"),
    }
}

/// Text from an object, made safe for a terminal: what is not printable is escaped.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() || is_invisible(c) {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// Characters that change how their neighbours are shown: directions, joiners, line and paragraph separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn programs_are_told_of_a_refusal_and_of_nothing_else() {
        let told = |error: anyhow::Error, json| {
            let mut out = Vec::new();
            let exit = conclude(Err(error), json, &mut out).ok();
            (exit, serde_json::from_slice::<Value>(&out).ok())
        };
        let (exit, said) = told(signet::Error::TooLarge.into(), true);
        assert_eq!(exit, Some(Exit::No));
        assert_eq!(said.unwrap()["refused"]["variant"], "signet.too_large");
        assert_eq!(told(signet::Error::TooLarge.into(), false), (None, None));
        assert_eq!(told(anyhow::anyhow!("no"), true), (None, None));
    }

    #[test]
    fn nothing_from_an_object_reaches_the_terminal_as_a_command() {
        assert_eq!(printable("Zoë \x1b[2J\n"), "Zoë \\u{1b}[2J\\n");
        assert_eq!(printable("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
    }
}
