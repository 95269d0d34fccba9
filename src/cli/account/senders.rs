//! `dimed account grant|withdraw`.

use std::io::Write;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::account;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, audit};
use crate::mail::address::Mailbox;
use crate::store;

/// Who, and as whom.
#[derive(Debug, Args)]
pub struct Sender {
    /// Address of the user.
    address: Mailbox,
    /// Address to write under, here or elsewhere; `*@DOMAIN` for every one of a domain.
    sender: Mailbox,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Sender {
    fn answer(&self, text: String, may: bool) -> Answer {
        Answer {
            text,
            json: json!({
                "result": "done",
                "address": self.address.to_string(),
                "sender": self.sender.to_string(),
                "may_write_as": may,
            }),
        }
    }
}

/// Lets a user write under an address.
pub async fn grant(context: &Context, sender: &Sender, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Sender {
        address,
        sender: other,
        ..
    } = sender;
    account(context, address).await?;
    match context.store.grant_sender(address, other).await {
        Ok(()) => audit::account(context, address.domain(), "granted"),
        Err(store::Error::Exists) => {}
        Err(error) => return Err(error).with_context(|| format!("{address} cannot be let write as {other}")),
    }
    let text = format!("{address} may write as {other}.\n");
    sender.answer(text, true).write(sender.json, out)?;
    Ok(Exit::Done)
}

/// Takes that back; ends with 1 if it was not granted.
pub async fn withdraw(context: &Context, sender: &Sender, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Sender {
        address,
        sender: other,
        ..
    } = sender;
    let account = account(context, address).await?;
    let was = context.store.withdraw_sender(address, other).await?;
    if was {
        audit::account(context, address.domain(), "withdrawn");
    }
    let may = context.accounts().may_write_as(&account, other).await?;
    let text = match (was, may) {
        (_, true) => {
            format!("{address} may still write as {other}, which leads to it or is granted otherwise.\n")
        }
        (true, false) => format!("{address} may not write as {other} any more.\n"),
        (false, false) => format!("{address} was not granted to write as {other}.\n"),
    };
    sender.answer(text, may).write(sender.json, out)?;
    Ok(if was { Exit::Done } else { Exit::No })
}
