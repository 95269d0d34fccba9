//! `dimed alias …`.

mod import;

use std::io::Write;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::answer::{self, Answer, printable};
use super::context::Context;
use super::{Exit, audit};
use crate::accounts::{self, Resolution, Target};
use crate::config::Config;
use crate::dime::keys::UserKeys;
use crate::mail::address::{Domain, Mailbox};
use crate::signet_service;
use crate::store;

/// Targets of aliases read at a time.
const PAGE: u32 = 500;

/// Commands about aliases. What they change holds at once, also in the running daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send what comes for an address on to another one; repeat for several.
    ///
    /// In a domain with DIME, an alias of one account has that account's signet. One that leads to several, or elsewhere,
    /// gets a signet of its own: this server opens what is sealed for it, and passes it on.
    Add(Add),
    /// Add many aliases from a file.
    ///
    /// A line is `ALIAS TARGET, TARGET`, as in the virtual aliases of Postfix, or `ALIAS,TARGET`; `@DOMAIN` takes all that is for
    /// nobody else. Every line is reported. One that cannot be used keeps none of the others out, and the exit code is 1 then;
    /// aliases that are there already stay.
    Import(import::Import),
    /// List aliases and where they lead.
    List(List),
    /// Show where an address leads, and who gets its mail in the end.
    Show(Show),
    /// Remove an alias, or one of the addresses that it leads to.
    ///
    /// With the last one, the signet that the alias has of its own goes out of service, and its private keys are erased.
    Remove(Remove),
}

/// From where, and where to.
#[derive(Debug, Args)]
pub struct Add {
    /// Address in a domain that is served here; `*@DOMAIN` takes all that is for nobody else.
    alias: Mailbox,
    /// Address here or elsewhere.
    target: Mailbox,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which aliases to list.
#[derive(Debug, Args)]
pub struct List {
    /// Those of one domain.
    #[arg(long)]
    domain: Option<Domain>,
    /// JSON, one object for each target on a line.
    #[arg(long)]
    json: bool,
}

/// Which address.
#[derive(Debug, Args)]
pub struct Show {
    /// Any address in a domain that is served here.
    alias: Mailbox,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which alias, or which of its targets.
#[derive(Debug, Args)]
pub struct Remove {
    /// The alias.
    alias: Mailbox,
    /// Where it shall not lead any more; without it, nowhere.
    target: Option<Mailbox>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    match command {
        Command::Add(add) => self::add(&context, &add, out).await,
        Command::Import(import) => import::import(&context, &import, out).await,
        Command::List(list) => self::list(&context, &list, out).await,
        Command::Show(show) => self::show(&context, &show, out).await,
        Command::Remove(remove) => self::remove(&context, &remove, out).await,
    }
}

async fn add(context: &Context, add: &Add, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Add { alias, target, json } = add;
    let added = lead(context, alias, target).await;
    let (leads, own_signet) = added.with_context(|| format!("{alias} cannot be added"))?;
    audit::alias(context, alias.domain(), "added");
    let text = match (leads, own_signet) {
        (false, _) => format!("{alias} leads to {target}, and so far to nobody: mail for it is refused.\n"),
        (true, false) => format!("{alias} leads to {target}.\n"),
        (true, true) => {
            format!("{alias} leads to {target}.\nIt has a signet of its own, whose keys are kept here.\n")
        }
    };
    let answer = Answer {
        text,
        json: json!({
            "result": "done",
            "alias": alias.to_string(),
            "target": target.to_string(),
            "leads_to_somebody": leads,
            "own_signet": own_signet,
        }),
    };
    answer.write(*json, out)?;
    Ok(Exit::Done)
}

/// Makes an alias. Whether it leads to somebody, and whether it has got a signet of its own.
async fn lead(context: &Context, alias: &Mailbox, target: &Mailbox) -> anyhow::Result<(bool, bool)> {
    context.accounts().create_alias(alias, target).await?;
    provide(context, alias).await
}

/// Sees to it that an alias has a signet of its own, where it needs one. Whether it leads to somebody, and whether it has got one.
pub async fn provide(context: &Context, alias: &Mailbox) -> anyhow::Result<(bool, bool)> {
    match context.accounts().resolve(alias).await {
        Ok(Resolution::Unknown) | Err(accounts::Error::AliasLoop) => Ok((false, false)),
        Ok(Resolution::Targets(targets)) => {
            let is_one_account = matches!(targets.as_slice(), [Target::Local(_)]);
            Ok((true, !is_one_account && publish_alias(context, alias).await?))
        }
        Ok(Resolution::NotLocal) => Ok((true, false)),
        Err(error) => Err(error.into()),
    }
}

/// Gives an alias a signet, if its domain has DIME and the alias has none; whether it has got one.
async fn publish_alias(context: &Context, alias: &Mailbox) -> anyhow::Result<bool> {
    let domain = context.store.local_domain(alias.domain()).await?;
    let published = context.published();
    let is_catch_all = alias.local() == "*";
    if is_catch_all
        || domain.is_none_or(|domain| domain.dime.is_none())
        || published.user(alias).await?.is_some()
    {
        return Ok(false);
    }
    let keys = UserKeys::generate(&mut rand::rng());
    match published.publish_user(alias, keys).await {
        Ok(_) => Ok(true),
        // What cannot be asked for over DMTP needs none.
        Err(signet_service::Error::NoDmtpForm) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn list(context: &Context, list: &List, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (mut after, mut count) = (None, 0usize);
    loop {
        let page = context
            .store
            .list_aliases(list.domain.as_ref(), after.as_ref(), PAGE)
            .await?;
        for one in &page {
            let (alias, target) = (one.alias.to_string(), one.target.to_string());
            match list.json {
                true => writeln!(out, "{}", json!({ "alias": alias, "target": target }))?,
                false => writeln!(out, "{}  leads to {}", printable(&alias), printable(&target))?,
            }
        }
        count += page.len();
        let is_last = page.len() < PAGE as usize;
        after = page.into_iter().next_back();
        if is_last {
            break;
        }
    }
    if count == 0 && !list.json {
        writeln!(out, "There are no aliases.")?;
    }
    Ok(Exit::Done)
}

/// Ends with 1 if nobody gets the mail.
async fn show(context: &Context, show: &Show, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let alias = &show.alias;
    let targets = texts(&context.store.alias_targets(alias).await?);
    let (why_nobody, reached) = match context.accounts().resolve(alias).await {
        Ok(Resolution::Targets(reached)) => (None, reached),
        Ok(Resolution::Unknown) => (Some("there is no such address"), Vec::new()),
        Ok(Resolution::NotLocal) => (Some("its domain is not served here"), Vec::new()),
        Err(accounts::Error::AliasLoop) => (
            Some("the aliases lead in a circle, too far, or to too many addresses"),
            Vec::new(),
        ),
        Err(error) => return Err(error.into()),
    };
    let reached: Vec<Mailbox> = reached
        .into_iter()
        .map(|target| match target {
            Target::Local(account) => account.address,
            Target::Remote(mailbox) => mailbox,
        })
        .collect();
    let reached = texts(&reached);
    let leads = match targets.is_empty() {
        true => format!("{alias} is no alias.\n"),
        false => format!("{alias} leads to {}.\n", targets.join(", ")),
    };
    let gets = match why_nobody {
        Some(why) => format!("Nobody gets its mail: {why}.\n"),
        None => format!("Its mail is for {}.\n", reached.join(", ")),
    };
    let lines: String = [leads, gets]
        .iter()
        .map(|line| printable(line.trim_end()) + "\n")
        .collect();
    let answer = Answer {
        text: lines,
        json: json!({
            "result": if why_nobody.is_none() { "done" } else { "nobody" },
            "alias": alias.to_string(),
            "targets": targets,
            "recipients": reached,
            "why_nobody": why_nobody,
        }),
    };
    answer.write(show.json, out)?;
    Ok(match why_nobody {
        None => Exit::Done,
        Some(_) => Exit::No,
    })
}

async fn remove(context: &Context, remove: &Remove, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Remove { alias, target, json } = remove;
    let before = context.store.alias_targets(alias).await?;
    let was_there = match target {
        Some(target) => before.contains(target),
        None => !before.is_empty(),
    };
    let removed = context
        .store
        .remove_alias(alias, target.as_ref(), context.now())
        .await;
    if answer::is_removed(&removed, was_there, |count| *count > 0) {
        audit::alias(context, alias.domain(), "removed");
    }
    let removed = answer::removed(removed, alias)?;
    if removed == 0 {
        let what = match target {
            Some(target) => format!("{alias} does not lead to {target}"),
            None => format!("{alias} is no alias"),
        };
        return Err(store::Error::Missing).context(what);
    }
    let left = texts(&context.store.alias_targets(alias).await?);
    let text = match left.is_empty() {
        true => format!("{alias} is no alias any more.\n"),
        false => format!("{alias} leads to {} now.\n", left.join(", ")),
    };
    let answer = Answer {
        text,
        json: json!({ "result": "done", "alias": alias.to_string(), "removed": removed, "targets": left }),
    };
    answer.write(*json, out)?;
    Ok(Exit::Done)
}

fn texts(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(Mailbox::to_string).collect()
}
