//! `dimed account import`.

use std::io::Write;

use clap::Args;

use super::add;
use crate::accounts;
use crate::cli::Exit;
use crate::cli::bulk::{self, Outcome, Report};
use crate::cli::context::Context;
use crate::cli::files::FileName;
use crate::mail::address::Mailbox;

/// From where.
#[derive(Debug, Args)]
pub struct Import {
    /// File, or `-` for standard input.
    file: FileName,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Adds users whose passwords are not known here.
pub async fn import(context: &Context, import: &Import, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    for (number, line) in bulk::read(&import.file)? {
        let name = line.split([':', ',', ' ', '\t']).next().unwrap_or_default();
        let outcome = match add_one(context, name).await {
            Ok(outcome) => outcome,
            Err(error) => match Outcome::of(&error) {
                Some(refused) => refused,
                None => return Err(error),
            },
        };
        report.note(number, name, outcome);
    }
    let next = match report.has_added() && !add::is_at_dovecot(context) {
        true => "They cannot log in yet: `dimed account passwd ADDRESS` gives a password.\n",
        false => "",
    };
    report.end(next, import.json, out)
}

async fn add_one(context: &Context, name: &str) -> anyhow::Result<Outcome> {
    let address: Mailbox = name.parse()?;
    match context.accounts().demand_free(&address).await {
        Err(accounts::Error::IsAccount) => return Ok(Outcome::There),
        free => free?,
    }
    add::add_without_password(context, &address).await?;
    Ok(Outcome::Added)
}
