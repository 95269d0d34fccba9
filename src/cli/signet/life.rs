//! `dimed signet publish|approve|reject|history|revoke`: signets that this server publishes.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::read;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::files::FileName;
use crate::cli::serve::start_log;
use crate::cli::{Exit, Misuse, audit, load};
use crate::dime::fingerprint::SsrFingerprint;
use crate::dime::keys::UserKeys;
use crate::dime::signet::{Kind, Signet};
use crate::dmtp::handed_in::MAX_REASON;
use crate::dmtp::name::Name;
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;
use crate::store::{self, HistoricSignet, SigningRequest, TrustMode};

/// Commands about signets that are published here; they read the configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    Publish(Publish),
    Approve(Approve),
    Reject(Reject),
    History(History),
    Revoke(Revoke),
}

/// Publish a user's signet: one that was signed elsewhere, or one over keys that are made here.
///
/// Without --signet the user must be trustful and without a signet, as after a domain has got DIME. With --signet it is
/// one that `dimed signet sign` has made with a key of the organization; unless it is over the same keys, it must carry a
/// chain of custody from the present one.
#[derive(Debug, Args)]
pub struct Publish {
    /// The user.
    address: Mailbox,
    /// A user signet; - is standard input.
    #[arg(long, value_name = "FILE")]
    signet: Option<FileName>,
}

/// Sign and publish what a user has asked for; without an address, list what waits.
///
/// Whoever has the user's password can hand in a request: of a user without signet, nothing else says whose keys are in it.
/// Have the user read the fingerprint to you (`dimed signet fingerprint`), and name it.
#[derive(Debug, Args)]
pub struct Approve {
    /// The user.
    address: Option<Mailbox>,
    /// Fingerprint of the request; one that has taken its place meanwhile is not approved.
    #[arg(long, value_name = "FINGERPRINT", requires = "address")]
    request: Option<String>,
}

/// Reject what a user has asked for.
#[derive(Debug, Args)]
pub struct Reject {
    /// The user.
    address: Mailbox,
    /// What to tell the user, up to 500 octets.
    #[arg(long, default_value = "rejected by the administrator", value_parser = reason)]
    reason: String,
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() <= MAX_REASON {
        true => Ok(text.to_owned()),
        false => Err(format!("more than {MAX_REASON} octets")),
    }
}

/// List every signet that a domain or user of ours has had.
#[derive(Debug, Args)]
pub struct History {
    /// The domain or address.
    name: Name,
}

/// Take a user's current signet out of service, with all earlier ones of the same signing key.
///
/// Nobody is told of them any more, and no new mail can be sealed for them; mail that is under way can still be opened. The
/// user's next signet is a new start: others who have seen the old keys hold their mail until they accept it. The signet of a
/// domain cannot be revoked: change its keys (`dimed key rotate`) or take it out of DIME (`dimed domain retire`).
#[derive(Debug, Args)]
pub struct Revoke {
    /// The user.
    address: Mailbox,
}

/// Does as the command says, with the configuration at `path`.
pub async fn run(command: Command, path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(load(path)?).await?;
    let answer = match command {
        Command::Publish(publish) => self::publish(&context, &publish).await?,
        Command::Approve(Approve {
            address: Some(address),
            request,
        }) => approve(&context, &address, request.as_deref()).await?,
        Command::Approve(Approve { address: None, .. }) => waiting(&context).await?,
        Command::Reject(reject) => self::reject(&context, &reject).await?,
        Command::History(history) => self::history(&context, &history.name).await?,
        Command::Revoke(revoke) => self::revoke(&context, &revoke.address).await?,
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

async fn publish(context: &Context, publish: &Publish) -> anyhow::Result<Answer> {
    let address = &publish.address;
    let failed = || format!("the signet of {address} cannot be published");
    let published = context.published();
    let Some(file) = &publish.signet else {
        let account = context.accounts().find(address).await?;
        let account = account.ok_or_else(|| Misuse(format!("there is no account {address}")))?;
        if account.trust_mode != TrustMode::Trustful {
            return Err(Misuse(format!(
                "the keys of {address} are not made here: hand in a request with `dimed signet request`"
            ))
            .into());
        }
        if published.user(address).await?.is_some() {
            return Err(Misuse(format!(
                "{address} has a signet: `dimed key rotate {address}` replaces its keys"
            ))
            .into());
        }
        let keys = UserKeys::generate(&mut rand::rng());
        published.publish_user(address, keys).await.with_context(failed)?;
        audit::signet(context, address.domain(), "published");
        return Ok(done(address, "has a signet", "published"));
    };
    let signet = read::signet_of(Kind::User, file)?;
    published
        .publish_signed(address, &signet)
        .await
        .with_context(failed)?;
    audit::signet(context, address.domain(), "published");
    Ok(done(address, "has that signet", "published"))
}

async fn approve(context: &Context, address: &Mailbox, request: Option<&str>) -> anyhow::Result<Answer> {
    let request = request.map(SsrFingerprint::parse).transpose();
    let request = request.map_err(|_| Misuse("a fingerprint has 86 characters of base64".into()))?;
    let approved = context.published().approve(address, request).await;
    approved.with_context(|| format!("the request of {address} cannot be granted"))?;
    audit::signet(context, address.domain(), "approved");
    Ok(done(address, "has the signet asked for", "published"))
}

async fn reject(context: &Context, reject: &Reject) -> anyhow::Result<Answer> {
    let address = &reject.address;
    let rejected = context.published().reject(address, &reject.reason).await;
    rejected.with_context(|| format!("the request of {address} cannot be rejected"))?;
    audit::signet(context, address.domain(), "rejected");
    Ok(done(address, "does not get the signet asked for", "rejected"))
}

async fn waiting(context: &Context) -> anyhow::Result<Answer> {
    let mut requests = context.store.signing_requests().await?;
    requests.retain(|request| request.rejected.is_none());
    let mut text: String = requests.iter().map(line_of_request).collect();
    if requests.is_empty() {
        text = "Nobody waits for a signet.\n".into();
    }
    let requests: Vec<Value> = requests.iter().map(view_of_request).collect();
    Ok(Answer {
        text,
        json: json!({ "requests": requests }),
    })
}

fn line_of_request(request: &SigningRequest) -> String {
    let came = rfc5322(request.submitted_at);
    let print = fingerprint(request).unwrap_or_else(|| "unreadable".into());
    format!("{}  waits since {came}\n  request {print}\n", request.name)
}

fn fingerprint(request: &SigningRequest) -> Option<String> {
    let signet = Signet::decode(&request.object).ok()?;
    signet.ssr_fingerprint().map(|print| print.to_string())
}

fn view_of_request(request: &SigningRequest) -> Value {
    json!({
        "name": request.name,
        "request": fingerprint(request),
        "submitted": request.submitted_at.unix_secs(),
        "key_set": request.key_set.is_some(),
    })
}

async fn history(context: &Context, name: &Name) -> anyhow::Result<Answer> {
    let past = context.store.signet_history(&name.to_string()).await?;
    if past.is_empty() {
        return Err(store::Error::Missing).with_context(|| format!("{name} never had a signet here"));
    }
    let current = context.store.current_signet(&name.to_string()).await?;
    let current = current.map(|signet| signet.full);
    let state = |past: &HistoricSignet| match past.revoked_at {
        Some(_) => "revoked",
        None if Some(past.signet.full) == current => "current",
        None => "replaced",
    };
    let text = past
        .iter()
        .map(|past| line_of_signet(past, state(past)))
        .collect();
    let signets: Vec<Value> = past
        .iter()
        .map(|past| view_of_signet(past, state(past)))
        .collect();
    Ok(Answer {
        text,
        json: json!({ "name": name.to_string(), "signets": signets }),
    })
}

fn line_of_signet(past: &HistoricSignet, state: &str) -> String {
    let mut line = format!("{}  {state}", rfc5322(past.signet.published_at));
    if let Some(at) = past.revoked_at {
        line += &format!(" on {}", rfc5322(at));
    }
    line += match past.keys_kept {
        true => ", private keys here",
        false => "",
    };
    if let Some(at) = past.erase_keys_at.filter(|_| past.keys_kept) {
        line += &format!(" until {}", rfc5322(at));
    }
    format!("{line}\n  full {}\n", past.signet.full)
}

fn view_of_signet(past: &HistoricSignet, state: &str) -> Value {
    let secs = |time: Option<Timestamp>| time.map(Timestamp::unix_secs);
    json!({
        "published": past.signet.published_at.unix_secs(),
        "state": state,
        "revoked": secs(past.revoked_at),
        "private_keys": past.keys_kept,
        "erased": secs(past.erase_keys_at),
        "crypto": past.signet.crypto.to_string(),
        "full": past.signet.full.to_string(),
        "id": past.signet.id.to_string(),
    })
}

async fn revoke(context: &Context, address: &Mailbox) -> anyhow::Result<Answer> {
    let revoked = context.published().revoke(address).await;
    let count = revoked.with_context(|| format!("the signet of {address} cannot be revoked"))?;
    start_log(&context.config);
    tracing::warn!(event = observe::SIGNET_REVOKED, domain = %address.domain(), count,
        "by order of an administrator, a user's signets are out of service");
    Ok(Answer {
        text: format!(
            "{address}: signets taken out of service: {count}.\n\
             Next: `dimed signet publish {address}` makes new keys, or a user who keeps them hands in a request; until then mail \
             comes by SMTP, or not at all to a strict domain.\n"
        ),
        json: json!({ "result": "done", "name": address.to_string(), "revoked": count }),
    })
}

fn done(address: &Mailbox, says: &str, result: &str) -> Answer {
    Answer {
        text: format!("{address} {says}.\n"),
        json: json!({ "result": result, "name": address.to_string() }),
    }
}
