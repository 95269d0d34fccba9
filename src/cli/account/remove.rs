//! `dimed account remove`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::missing;
use crate::base::observe;
use crate::cli::answer::{Answer, is_removed, removed};
use crate::cli::context::Context;
use crate::cli::serve::start_log;
use crate::cli::{Exit, check};
use crate::mail::address::Mailbox;
use crate::store::Removal;

/// Whom to remove.
#[derive(Debug, Args)]
pub struct Remove {
    /// Address of the user.
    address: Mailbox,
    /// Also where aliases lead to the user: they lose that target, and are gone if it was their last.
    #[arg(long)]
    with_aliases: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Removes a user.
pub async fn remove(context: &Context, remove: &Remove, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let address = &remove.address;
    let was_there = context.store.account(address).await?.is_some();
    let before = check::nobodys(context).await.unwrap_or_default();
    let removal = context
        .store
        .remove_account(address, remove.with_aliases, context.now())
        .await;
    if is_removed(&removal, was_there, |removal| *removal == Removal::Done) {
        start_log(&context.config);
        tracing::warn!(event = observe::ACCOUNT_REMOVED, domain = %address.domain(),
            "by order of an administrator, an account is removed, with its private keys");
    }
    match removed(removal, address)? {
        Removal::Missing => Err(missing(address)),
        Removal::AliasesLeadHere(aliases) => {
            let aliases = texts(&aliases);
            let answer = Answer {
                text: format!(
                    "{address} stays: aliases lead to it ({}). Let them lead elsewhere, or say --with-aliases.\n",
                    aliases.join(", ")
                ),
                json: json!({ "result": "refused", "address": address.to_string(), "aliases": aliases }),
            };
            answer.write(remove.json, out)?;
            Ok(Exit::No)
        }
        Removal::Done => {
            let server = context.config.delivery.server_of(address.domain());
            let maildir = context.config.maildirs().folder(address);
            let maildir = server.is_none().then(|| maildir.display().to_string());
            // It is removed, whatever can be found out of that.
            let mut nobodys = check::nobodys(context).await.unwrap_or_default();
            nobodys.retain(|somebody| !before.contains(somebody));
            let stays = match (&maildir, server) {
                (Some(maildir), _) => format!("in {maildir}"),
                (None, server) => format!(
                    "with the mailbox server{}",
                    server.map_or_else(String::new, |server| format!(" {server}"))
                ),
            };
            let answer = Answer {
                text: format!(
                    "{address} is removed: mail for it is refused, its signet is out of service, and its private keys are \
                     erased.\nIts mail stays {stays}.\n{}",
                    warning(&nobodys)
                ),
                json: json!({
                    "result": "done",
                    "address": address.to_string(),
                    "maildir": maildir,
                    "nobody_gets": texts(&nobodys),
                }),
            };
            answer.write(remove.json, out)?;
            Ok(Exit::Done)
        }
    }
}

/// Whose mail nobody gets any more, if that is so.
fn warning(nobodys: &[Mailbox]) -> String {
    match nobodys {
        [] => String::new(),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                count => format!(" (and {count} more: `dimed check`)"),
            };
            format!(
                "Nobody gets mail for {first} now{more}: add an account or alias of that name, or set `postmaster` in [accounts].\n"
            )
        }
    }
}

fn texts(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(Mailbox::to_string).collect()
}
