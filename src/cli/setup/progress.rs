//! What is said, and asked, while steps are taken.

use std::io::{self, BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::questions::Questions;
use crate::cli::answer::{Answer, printable};
use crate::cli::{Exit, exit};
use crate::mail::address::Domain;

/// Tells people at once, and programs at the end.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    json: bool,
    asks: bool,
    steps: Vec<Value>,
    warnings: Vec<Value>,
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
            warnings: Vec::new(),
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

    /// What is worth a second look, and keeps nothing from going on: for programs, and a clause for people.
    pub fn warn(&mut self, code: &'static str, text: &str) -> anyhow::Result<()> {
        self.warnings.push(json!({ "code": code, "message": text }));
        self.say(&format!("Look again: {}.\n", printable(text)))
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

    /// The last words where a step could not be taken without which the others could. Programs are told of these, too.
    pub fn fail(mut self, domain: &Domain, error: anyhow::Error) -> anyhow::Result<Exit> {
        if !self.json {
            self.say(
                "\nNot everything is done, as the next line says. Everything else is; the same command goes on, and prints the records \
                 again: what TLSA says goes with the certificate in use.\n",
            )?;
            return Err(error);
        }
        let (exit, told) = (Exit::of(&error), exit::told(&error));
        // Nobody is left to be told if this fails.
        let _ = writeln!(io::stderr(), "dimed: {}", printable(&told));
        let mut object = exit::object(exit, &told);
        object["domain"] = json!(domain.as_str());
        object["steps"] = json!(self.steps);
        object["warnings"] = json!(self.warnings);
        object["records"] = self.records;
        object["dns"] = Value::Null;
        writeln!(self.out, "{object:#}")?;
        Ok(exit)
    }

    /// The last words, with what DNS says, if it was asked.
    pub fn end(mut self, domain: &Domain, found: Option<(Answer, Exit)>) -> anyhow::Result<Exit> {
        let is_right = found.as_ref().is_none_or(|(_, exit)| *exit == Exit::Done);
        let text = match (&found, is_right) {
            (None, _) => {
                format!(
                    "\nNext: publish them, run the daemon{}, and look with `dimed dns check {domain}`.\n",
                    command(has_unit())
                )
            }
            (Some(_), true) => format!(
                "\n{domain} is set up. Run the daemon, if it does not run yet{}.\n",
                command(has_unit())
            ),
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
                "warnings": self.warnings,
                "records": self.records,
                "dns": found.map(|(answer, _)| answer.json),
            });
            writeln!(self.out, "{object:#}")?;
        }
        Ok(if is_right { Exit::Done } else { Exit::TryLater })
    }
}

/// Whether systemd runs here (sd_booted(3)), and has the daemon's unit.
fn has_unit() -> bool {
    let folders = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    let has = |folder: &str| Path::new(folder).join("dimed.service").exists();
    Path::new("/run/systemd/system").is_dir() && folders.into_iter().any(has)
}

/// How the daemon is run where it has a unit.
fn command(has_unit: bool) -> &'static str {
    match has_unit {
        true => " (`systemctl enable --now dimed`, as root)",
        false => "",
    }
}
