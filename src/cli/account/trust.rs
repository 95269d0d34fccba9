//! `dimed account trust`: other hands for a user's keys.
//!
//! Keys do not move: whoever had them could still read. So a user whose keys come to the server, or leave it, has no signet over the old
//! ones any more when that happens, and gets other keys.

use std::io::Write;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::add::{self, Trust};
use super::{account, missing, show};
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, audit};
use crate::mail::address::Mailbox;
use crate::store::{self, Account, TrustMode, fold};

/// Whose keys, and who is to hold them.
#[derive(Debug, Args)]
pub struct ChangeTrust {
    /// Address of the user.
    address: Mailbox,
    /// Who holds the user's private keys from now on.
    #[arg(value_enum)]
    mode: Trust,
    /// Also where a cautious user has left keys here, under a passphrase: they are erased.
    #[arg(long)]
    erase_left_keys: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Why a mode stays as it is: for programs, and for people.
struct Obstacle {
    reason: &'static str,
    why: String,
}

/// Whether a user has a signet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Yes.
    Signet,
    /// Not yet.
    NoSignet,
    /// Nobody in the domain has a use for one.
    NoDime,
}

/// Changes the mode, or says what comes first.
pub async fn trust(context: &Context, change: &ChangeTrust, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let address = &change.address;
    let before = account(context, address).await?;
    let mode = TrustMode::from(change.mode);
    if before.trust_mode == mode {
        // What was erased then may still be in the log of the database.
        demand_set(context.store.set_trust_mode(address, mode).await, address, mode)?;
        let standing = standing(context, address).await?;
        answer(address, mode, standing, "unchanged").write(change.json, out)?;
        return Ok(Exit::Done);
    }
    if let Some(obstacle) = obstacle(context, &before, change).await? {
        refused(&before, &obstacle).write(change.json, out)?;
        return Ok(Exit::No);
    }
    // The signet comes first: should this stop in between, the same command ends it.
    let provided = provide(context, address, mode).await;
    let standing = provided.with_context(|| failed(address))?;
    let set = context.store.set_trust_mode(address, mode).await;
    if matches!(set, Ok(true) | Err(store::Error::LogInUse)) {
        audit::account(context, address.domain(), "trust");
    }
    demand_set(set, address, mode)?;
    answer(address, mode, standing, "done").write(change.json, out)?;
    Ok(Exit::Done)
}

fn failed(address: &Mailbox) -> String {
    format!("the trust mode of {address} cannot be changed")
}

/// Says what is left to be done where a mode is set and all that is erased is not gone.
fn demand_set(set: Result<bool, store::Error>, address: &Mailbox, mode: TrustMode) -> anyhow::Result<()> {
    let is_in_log = matches!(set, Err(store::Error::LogInUse));
    let is_there = set.with_context(|| match is_in_log {
        true => format!(
            "{address} is {}, but the log of the database may still have keys that were left here; repeat this until there is none",
            show::trust(mode)
        ),
        false => failed(address),
    })?;
    match is_there {
        true => Ok(()),
        false => Err(missing(address)),
    }
}

async fn obstacle(
    context: &Context,
    before: &Account,
    change: &ChangeTrust,
) -> anyhow::Result<Option<Obstacle>> {
    let address = &before.address;
    let is_ours = TrustMode::from(change.mode) == TrustMode::Trustful;
    let user = context.published().user(address).await;
    let user = user.with_context(|| format!("the signet of {address} cannot be read"))?;
    if user.is_some_and(|user| user.keys.is_some() != is_ours) {
        let whose = match is_ours {
            true => {
                "it has a signet over keys that are elsewhere, and this server could not open what is sealed for them"
            }
            false => "it has a signet over keys that this server has, and could still open everything with",
        };
        return Ok(Some(Obstacle {
            reason: "other_keys",
            why: format!(
                "{whose}: `dimed signet revoke {address}` takes it out of service first; whoever has seen those keys holds mail for \
                 the user until they accept others"
            ),
        }));
    }
    let leaves = before.trust_mode == TrustMode::Cautious && !change.erase_left_keys;
    if leaves && context.store.key_deposit(address).await?.is_some() {
        return Ok(Some(Obstacle {
            reason: "left_keys",
            why: "the user has left keys here, under a passphrase, which would be erased: have them fetched (`dimed key download`) if \
                  there is no other copy, and say --erase-left-keys"
                .to_owned(),
        }));
    }
    Ok(None)
}

/// Sees to it that a trustful user has a signet, where there are any.
async fn provide(context: &Context, address: &Mailbox, mode: TrustMode) -> anyhow::Result<Standing> {
    let has_dime = has_dime(context, address).await?;
    if has_dime && mode == TrustMode::Trustful {
        add::publish(context, address, Trust::Trustful, None).await?;
    }
    standing(context, address).await
}

async fn standing(context: &Context, address: &Mailbox) -> anyhow::Result<Standing> {
    if !has_dime(context, address).await? {
        return Ok(Standing::NoDime);
    }
    let signet = context.store.current_signet(&fold(address)).await?;
    Ok(signet.map_or(Standing::NoSignet, |_| Standing::Signet))
}

async fn has_dime(context: &Context, address: &Mailbox) -> anyhow::Result<bool> {
    let domain = context.store.local_domain(address.domain()).await?;
    Ok(domain.is_some_and(|domain| domain.dime.is_some()))
}

fn refused(before: &Account, obstacle: &Obstacle) -> Answer {
    let (address, mode) = (&before.address, show::trust(before.trust_mode));
    let Obstacle { reason, why } = obstacle;
    Answer {
        text: format!("{address} stays {mode}: {why}.\n"),
        json: json!({
            "result": "refused",
            "address": address.to_string(),
            "trust": mode,
            "reason": reason,
            "message": why,
        }),
    }
}

fn answer(address: &Mailbox, mode: TrustMode, standing: Standing, result: &str) -> Answer {
    let word = show::trust(mode);
    Answer {
        text: format!("{address} is {word}.\n{}", next(address, mode, standing)),
        json: json!({
            "result": result,
            "address": address.to_string(),
            "trust": word,
            "signet": standing == Standing::Signet,
        }),
    }
}

/// What is left to be done.
fn next(address: &Mailbox, mode: TrustMode, standing: Standing) -> String {
    let domain = address.domain();
    match (mode, standing) {
        (TrustMode::Trustful, Standing::Signet | Standing::NoSignet) | (_, Standing::Signet) => String::new(),
        (TrustMode::Trustful, Standing::NoDime) => format!(
            "That matters once {domain} has DIME: `dimed domain join {domain}` gives it DIME, and the user keys and a signet.\n"
        ),
        (_, Standing::NoDime) => format!(
            "That matters once {domain} has DIME, which `dimed domain join {domain}` gives it; the user makes keys at home and hands them \
             in after that.\n"
        ),
        (_, Standing::NoSignet) => format!(
            "Next: the user makes keys at home (`dimed signet new-request {address}`) and hands them in (`dimed signet request {address} \
             FILE --key-set FILE --submit HOST`); `dimed signet approve` puts them to use. Until then there is no signet.\n"
        ),
    }
}
