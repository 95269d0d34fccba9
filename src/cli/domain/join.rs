//! `dimed domain join`: DIME for a domain that is served without it.
//!
//! Signets come first, and the domain has DIME when its users have theirs. What was cut off, the same command ends.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Wanted, make_keys, served};
use crate::cli::answer::{Answer, printable};
use crate::cli::context::Context;
use crate::cli::{Exit, alias, audit};
use crate::config::Config;
use crate::dime::keys::UserKeys;
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{Account, DimeSettings, LocalDomain, TrustMode, fold};

/// Users and aliases read at a time.
const PAGE: u32 = 500;

/// Addresses that are named, where there are more.
const NAMED: usize = 10;

/// Which domain, and what its record is to say.
#[derive(Debug, Args)]
pub struct Join {
    /// The domain.
    domain: Domain,
    #[command(flatten)]
    wanted: Wanted,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Whom signets are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Everybody without one, as when they are added.
    All,
    /// Those who never had one. Whose signet was taken out of service, an operator gives another one.
    New,
}

/// What came of giving DIME to a domain.
#[derive(Debug)]
pub enum Given {
    /// It has it.
    Done {
        /// Whether it had none before.
        is_new: bool,
        /// Who has a signet now.
        made: Made,
    },
    /// It cannot have it: these users' addresses cannot be written in DMTP.
    Formless(Vec<Mailbox>),
}

/// How many signets were made, and how many users make their keys themselves.
#[derive(Debug, Default, Clone, Copy)]
pub struct Made {
    users: usize,
    aliases: usize,
    at_home: usize,
}

/// Gives DIME to a domain, or says that it has it.
pub async fn join(join: Join, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let name = &join.domain;
    let settings = join.wanted.settings(&context.config);
    match give(&context, name, settings).await? {
        Given::Formless(formless) => refused(name, &formless, join.json, out),
        Given::Done { is_new, made } => {
            let domain = find(&context, name).await?;
            let is_leaving = context.store.retirement(name).await?.is_some();
            answer(&domain, is_new, is_leaving, made).write(join.json, out)?;
            Ok(Exit::Done)
        }
    }
}

/// Gives DIME to a domain that is served, if it has none.
pub async fn give(context: &Context, name: &Domain, settings: DimeSettings) -> anyhow::Result<Given> {
    let before = find(context, name).await?;
    if before.dime.is_none() {
        let formless = without_form(context, name).await?;
        if !formless.is_empty() {
            return Ok(Given::Formless(formless));
        }
        make_keys(context, name).await?;
    }
    let whom = match before.dime {
        None => Whom::All,
        Some(_) => Whom::New,
    };
    let mut made = for_users(context, name, whom).await?;
    let is_new = match before.dime {
        None => context.store.set_dime(name, settings).await?,
        Some(_) => false,
    };
    if is_new {
        audit::joined(context, name);
        // Who was added meanwhile.
        made.users += for_users(context, name, Whom::New).await?.users;
    }
    made.aliases = for_aliases(context, name, whom).await?;
    Ok(Given::Done { is_new, made })
}

async fn find(context: &Context, name: &Domain) -> anyhow::Result<LocalDomain> {
    let domain = context.store.local_domain(name).await?;
    domain.ok_or_else(|| served::missing(name))
}

/// Users whose addresses cannot be written in DMTP.
async fn without_form(context: &Context, name: &Domain) -> anyhow::Result<Vec<Mailbox>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = accounts(context, name, after.as_ref()).await?;
        after = page.last().map(|account| account.address.clone());
        if after.is_none() {
            return Ok(found);
        }
        let addresses = page.into_iter().map(|account| account.address);
        found.extend(addresses.filter(|address| !matches!(Name::parse(&fold(address)), Ok(Name::User(_)))));
    }
}

async fn accounts(context: &Context, name: &Domain, after: Option<&Mailbox>) -> anyhow::Result<Vec<Account>> {
    Ok(context.store.list_accounts(Some(name), after, PAGE).await?)
}

/// Gives signets to trustful users; the others hand in requests.
async fn for_users(context: &Context, name: &Domain, whom: Whom) -> anyhow::Result<Made> {
    let (mut made, mut after) = (Made::default(), None);
    loop {
        let page = accounts(context, name, after.as_ref()).await?;
        after = page.last().map(|account| account.address.clone());
        if after.is_none() {
            return Ok(made);
        }
        for account in &page {
            let is_without = is_without(context, &account.address, whom).await?;
            match (is_without, account.trust_mode) {
                (false, _) => {}
                (true, TrustMode::Trustful) => {
                    let keys = UserKeys::generate(&mut rand::rng());
                    context.published().publish_user(&account.address, keys).await?;
                    made.users += 1;
                }
                (true, TrustMode::Cautious | TrustMode::Paranoid) => made.at_home += 1,
            }
        }
    }
}

async fn is_without(context: &Context, address: &Mailbox, whom: Whom) -> anyhow::Result<bool> {
    Ok(match whom {
        Whom::All => context.published().user(address).await?.is_none(),
        Whom::New => context.store.signet_history(&fold(address)).await?.is_empty(),
    })
}

/// Gives signets to aliases that need one of their own. How many.
async fn for_aliases(context: &Context, name: &Domain, whom: Whom) -> anyhow::Result<usize> {
    let (mut made, mut after) = (0, None);
    loop {
        let page = context
            .store
            .list_aliases(Some(name), after.as_ref(), PAGE)
            .await?;
        for one in &page {
            if is_without(context, &one.alias, whom).await? {
                let (_, has_one_now) = alias::provide(context, &one.alias).await?;
                made += usize::from(has_one_now);
            }
        }
        after = page.into_iter().next_back();
        if after.is_none() {
            return Ok(made);
        }
    }
}

/// Why a domain cannot have DIME in which users have these addresses.
pub fn why_formless(formless: &[Mailbox]) -> String {
    format!(
        "addresses in it have no form in DMTP, which only a domain without DIME can have ({}): {}",
        formless.len(),
        printable(&first(formless).join(", "))
    )
}

fn first(formless: &[Mailbox]) -> Vec<String> {
    formless.iter().take(NAMED).map(ToString::to_string).collect()
}

fn refused(name: &Domain, formless: &[Mailbox], json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (named, why) = (first(formless), why_formless(formless));
    let answer = Answer {
        text: format!("{name} stays without DIME: {why}.\n"),
        json: json!({
            "result": "refused",
            "domain": name.as_str(),
            "reason": "no_dmtp_form",
            "addresses": named,
            "message": why,
        }),
    };
    answer.write(json, out)?;
    Ok(Exit::No)
}

fn answer(domain: &LocalDomain, is_new: bool, is_leaving: bool, made: Made) -> Answer {
    let (name, how) = (&domain.name, served::how(domain));
    let mut text = match is_new {
        true => format!("{name} is served here, {how}.\n"),
        false => format!("{name} is served here already, {how}.\n"),
    };
    if is_new || made.users + made.aliases > 0 {
        text += &format!(
            "New signets of users: {}; of aliases: {}.\n",
            made.users, made.aliases
        );
    }
    if made.at_home > 0 {
        text += &format!(
            "Users who keep their own keys, and have to ask for a signet (`dimed signet new-request`): {}.\n",
            made.at_home
        );
    }
    text += &match is_leaving {
        true => format!("It is on its way out of DIME; `dimed domain retire {name} --cancel` keeps it.\n"),
        false => format!(
            "Next: publish what `dimed dns records {name}` prints. Until then what its users send to domains with DIME waits.\n"
        ),
    };
    Answer {
        text,
        json: json!({
            "result": if is_new { "done" } else { "unchanged" },
            "domain": name.as_str(),
            "dime": domain.dime.is_some(),
            "leaving_dime": is_leaving,
            "users": made.users,
            "aliases": made.aliases,
            "keys_at_home": made.at_home,
        }),
    }
}
