//! What is said, and asked, while steps are taken.

use std::io::{BufReader, Write};

use serde_json::{Value, json};

use super::questions::Questions;
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::mail::address::Domain;

/// Tells people at once, and programs at the end.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    json: bool,
    asks: bool,
    steps: Vec<Value>,
    records: Value,
}

impl<'a> Progress<'a> {
    /// Nothing has been done yet. `asks` says that somebody can answer, and wants to.
    pub fn new(out: &'a mut dyn Write, json: bool, asks: bool) -> Self {
        Self {
            out,
            json,
            asks,
            steps: Vec::new(),
            records: Value::Null,
        }
    }

    /// A step that has just been taken.
    pub fn done(&mut self, step: &'static str, text: &str) -> anyhow::Result<()> {
        self.steps.push(json!({ "step": step, "result": "done" }));
        self.say(&format!("{text}.\n"))
    }

    /// A step that had been taken before.
    pub fn already(&mut self, step: &'static str, text: &str) -> anyhow::Result<()> {
        self.steps.push(json!({ "step": step, "result": "already" }));
        self.say(&format!("Done already: {text}.\n"))
    }

    /// What is to be published.
    pub fn records(&mut self, records: Answer) -> anyhow::Result<()> {
        self.say("\nPublish these records, and address records for this host:\n\n")?;
        self.say(&records.text)?;
        self.records = records.json;
        Ok(())
    }

    /// Something for people alone.
    pub fn say(&mut self, text: &str) -> anyhow::Result<()> {
        if !self.json {
            self.out.write_all(text.as_bytes())?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// What somebody answers; `None` where nobody is to be asked.
    pub fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Questions<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        if !self.asks {
            return Ok(None);
        }
        let mut input = BufReader::new(std::io::stdin());
        question(&mut Questions::new(&mut input, self.out)).map(Some)
    }

    /// The last words, with what DNS says, if it was asked.
    pub fn end(mut self, domain: &Domain, found: Option<(Answer, Exit)>) -> anyhow::Result<Exit> {
        let is_right = found.as_ref().is_none_or(|(_, exit)| *exit == Exit::Done);
        let text = match (&found, is_right) {
            (None, _) => {
                format!("\nNext: publish them, run the daemon, and look with `dimed dns check {domain}`.\n")
            }
            (Some(_), true) => format!("\n{domain} is set up. Run the daemon, if it does not run yet.\n"),
            (Some(_), false) => {
                format!(
                    "\nDNS does not have everything yet: the same command waits on, or `dimed dns check {domain}` looks.\n"
                )
            }
        };
        self.say(&text)?;
        if self.json {
            let object = json!({
                "result": if is_right { "done" } else { "try_later" },
                "domain": domain.as_str(),
                "steps": self.steps,
                "records": self.records,
                "dns": found.map(|(answer, _)| answer.json),
            });
            writeln!(self.out, "{object:#}")?;
        }
        Ok(if is_right { Exit::Done } else { Exit::TryLater })
    }
}
