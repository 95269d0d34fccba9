//! `dimed alias import`.

use std::io::Write;

use clap::Args;

use crate::accounts;
use crate::cli::bulk::{self, Outcome, Report};
use crate::cli::context::Context;
use crate::cli::files::FileName;
use crate::cli::{Exit, audit};
use crate::mail::address::Mailbox;
use crate::store;

/// From where.
#[derive(Debug, Args)]
pub struct Import {
    /// File, or `-` for standard input.
    file: FileName,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Adds aliases.
pub async fn import(context: &Context, import: &Import, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    for (number, line) in bulk::read(&import.file)? {
        let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        let alias = words.next().unwrap_or_default();
        let mut has_target = false;
        for target in words {
            has_target = true;
            let outcome = match add_one(context, alias, target).await {
                Ok(outcome) => outcome,
                Err(error) => match Outcome::of(&error) {
                    Some(refused) => refused,
                    None => return Err(error),
                },
            };
            report.note(number, &format!("{alias} to {target}"), outcome);
        }
        if !has_target {
            let why = "it leads to nobody: a line is `ALIAS TARGET, TARGET`".to_owned();
            report.note(number, alias, Outcome::Refused(why));
        }
    }
    report.end("", import.json, out)
}

async fn add_one(context: &Context, alias: &str, target: &str) -> anyhow::Result<Outcome> {
    // Postfix's word for everybody who is nobody else.
    let alias: Mailbox = match alias.starts_with('@') {
        true => format!("*{alias}").parse()?,
        false => alias.parse()?,
    };
    match super::lead(context, &alias, &target.parse()?).await {
        Ok(_) => {
            audit::alias(context, alias.domain(), "added");
            Ok(Outcome::Added)
        }
        Err(error) => match error.downcast_ref::<accounts::Error>() {
            Some(accounts::Error::Store(store::Error::Exists)) => Ok(Outcome::There),
            _ => Err(error),
        },
    }
}
