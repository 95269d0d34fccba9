//! `dimed trap …`: addresses that nobody writes to but spammers.

use std::io::Write;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rand::RngExt;
use serde_json::json;

use super::answer::Answer;
use super::context::Context;
use super::{Exit, audit};
use crate::accounts::{self, NewAccount};
use crate::base::encoding::base64;
use crate::base::secret::Secret;
use crate::config::Config;
use crate::dime::keys::UserKeys;
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;
use crate::store::{self, TrustMode, fold};

/// Commands about spam traps.
///
/// Mail to a trap by DMTP is taken like any other, and its verified author is put on the block list (`dimed block`), with
/// an end. What comes by SMTP blocks nobody: there the sender proves nothing. `[abuse]` in the configuration says how long
/// an author is blocked, whether the domain is, too, and what becomes of the mail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an address a trap.
    ///
    /// The address becomes an account that nobody can log in to, with keys that are kept here. Only mail for exactly that address counts, not for aliases that lead there. Do not use an address that
    /// anybody could be given by mistake: those who write to it cannot write to anybody here.
    Add(Add),
    /// Make a trap an ordinary account.
    ///
    /// Those who are blocked stay blocked: see `dimed block remove`.
    Remove(Address),
    /// Show the traps.
    List(List),
}

/// Which address.
#[derive(Debug, Args)]
pub struct Address {
    /// In a domain with DIME that is served here.
    address: Mailbox,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which address, and whether it may be somebody's.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    address: Address,
    /// Take an account that exists, whose keys are kept here. Its user can log in no more, until the trap is removed.
    #[arg(long)]
    existing: bool,
}

/// How to show them.
#[derive(Debug, Args)]
pub struct List {
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    match command {
        Command::Add(Add {
            address: Address { address, json },
            existing,
        }) => {
            let added = add(&context, &address, existing).await;
            added.with_context(|| format!("{address} cannot be a trap"))?;
            audit::trap(&context, address.domain(), "added");
            let text = format!("{address} is a trap: authors who write to it by DMTP are blocked.\n");
            say(text, json!({ "result": "done", "address": address.to_string() })).write(json, out)?;
            Ok(Exit::Done)
        }
        Command::Remove(Address { address, json }) => remove(&context, &address, json, out).await,
        Command::List(List { json }) => list(&context, json, out).await,
    }
}

fn say(text: String, json: serde_json::Value) -> Answer {
    Answer { text, json }
}

async fn add(context: &Context, address: &Mailbox, existing: bool) -> anyhow::Result<()> {
    let local = address.local().to_ascii_lowercase();
    let postmaster = context.config.accounts.postmaster.as_ref();
    anyhow::ensure!(
        !["postmaster", "abuse", "*"].contains(&local.as_str())
            && postmaster.is_none_or(|postmaster| fold(postmaster) != fold(address)),
        "honest people write to it"
    );
    let domain = context.store.local_domain(address.domain()).await?;
    let domain = domain.ok_or(accounts::Error::ForeignDomain)?;
    anyhow::ensure!(
        domain.dime.is_some(),
        "{} has no DIME, so nobody writes to it by DMTP",
        domain.name
    );
    let accounts = context.accounts();
    match accounts.find(address).await? {
        Some(account) => {
            anyhow::ensure!(
                account.trust_mode == TrustMode::Trustful,
                "its keys are not kept here, so nobody here can see who writes to it"
            );
            anyhow::ensure!(
                existing || account.trap_since.is_some(),
                "it is somebody's account; --existing takes it from its user"
            );
            publish(context, &account.address).await?;
        }
        None => {
            if !context.store.alias_targets(address).await?.is_empty() {
                return Err(store::Error::Exists).context("there is an alias of that name");
            }
            // As for other accounts, the signet comes first.
            publish(context, address).await?;
            let password: [u8; 32] = rand::rng().random();
            let new = NewAccount {
                address: address.clone(),
                password: Secret::new(base64(&password)),
                trust_mode: TrustMode::Trustful,
            };
            accounts.create(new, context.now()).await?;
        }
    }
    context.store.set_trap(address, Some(context.now())).await?;
    Ok(())
}

/// Sees to it that the address can be written to.
async fn publish(context: &Context, address: &Mailbox) -> anyhow::Result<()> {
    let published = context.published();
    if published.user(address).await?.is_none() {
        let keys = UserKeys::generate(&mut rand::rng());
        published.publish_user(address, keys).await?;
    }
    Ok(())
}

async fn remove(
    context: &Context,
    address: &Mailbox,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let account = context.accounts().find(address).await?;
    let was_trap = account.is_some_and(|account| account.trap_since.is_some());
    let removed = was_trap && context.store.set_trap(address, None).await?;
    if removed {
        audit::trap(context, address.domain(), "removed");
    }
    let text = match removed {
        true => format!("{address} is no trap any more; its mail goes into its Maildir.\n"),
        false => format!("{address} is no trap.\n"),
    };
    let object = json!({ "result": "done", "address": address.to_string(), "removed": removed });
    say(text, object).write(json, out)?;
    Ok(if removed { Exit::Done } else { Exit::No })
}

async fn list(context: &Context, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let traps = context.store.list_traps().await?;
    for trap in &traps {
        let since = trap.trap_since.unwrap_or(trap.created_at);
        match json {
            true => writeln!(
                out,
                "{}",
                json!({ "address": trap.address.to_string(), "since": since.unix_secs() })
            )?,
            false => writeln!(out, "{}  since {}", trap.address, rfc5322(since))?,
        }
    }
    if traps.is_empty() && !json {
        writeln!(out, "There are no traps.")?;
    }
    Ok(Exit::Done)
}
