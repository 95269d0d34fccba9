//! `dimed domain list|show|remove`: domains that are served here.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::relayed;
use crate::accounts::{self, Resolution, Target};
use crate::base::observe;
use crate::cli::Exit;
use crate::cli::answer::{Answer, is_removed, printable, removed};
use crate::cli::context::Context;
use crate::cli::lost::{self, Known};
use crate::cli::serve::start_log;
use crate::config::Config;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;
use crate::store::{self, DomainRemoval, LocalDomain};

/// How to list them.
#[derive(Debug, Args)]
pub struct List {
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

/// Which to show.
#[derive(Debug, Args)]
pub struct Show {
    /// The domain.
    domain: Domain,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which to remove.
#[derive(Debug, Args)]
pub struct Remove {
    /// The domain.
    domain: Domain,
    /// Although it is in DIME: nobody has seen its record, or mail from those who have may be lost.
    #[arg(long)]
    at_once: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Lists domains, by name.
pub async fn list(list: &List, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let domains = context.store.list_domains().await?;
    let relayed = context.store.list_relay_domains().await?;
    for domain in &domains {
        match list.json {
            true => writeln!(out, "{}", brief(domain))?,
            false => writeln!(out, "{}  {}", domain.name, how(domain))?,
        }
    }
    for domain in &relayed {
        match list.json {
            true => writeln!(out, "{}", relayed::brief(domain))?,
            false => writeln!(out, "{}", relayed::line(domain))?,
        }
    }
    if domains.is_empty() && relayed.is_empty() && !list.json {
        writeln!(out, "No domain is served here.")?;
    }
    Ok(Exit::Done)
}

/// Shows a domain.
pub async fn show(show: &Show, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    if let Some(relayed) = context.store.relay_domain(&show.domain).await? {
        relayed::answer(&relayed).write(show.json, out)?;
        return Ok(Exit::Done);
    }
    let domain = context.store.local_domain(&show.domain).await?;
    let domain = domain.ok_or_else(|| missing(&show.domain))?;
    let leaving = context.store.retirement(&domain.name).await?;
    let Known { fingerprint, lost } = lost::organization(&context, &domain.name).await?;
    let lost = lost.filter(|_| domain.dime.is_some());
    let postmaster = in_charge(&context, &domain.name, "postmaster").await?;
    let abuse = in_charge(&context, &domain.name, "abuse").await?;

    let mut object = brief(&domain);
    if let Value::Object(fields) = &mut object {
        let more = [
            (
                "leaving_dime",
                json!(leaving.as_ref().map(|leaving| leaving.state.name())),
            ),
            ("signet", json!(fingerprint)),
            ("lost", json!(lost)),
            ("postmaster", json!(postmaster)),
            ("abuse", json!(abuse)),
        ];
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    let mut text = format!(
        "{}\n  served        {}\n  since         {}\n",
        domain.name,
        how(&domain),
        rfc5322(domain.created_at)
    );
    if let Some(dime) = &domain.dime {
        let hosts: Vec<&str> = dime.delivery_hosts.iter().map(Domain::as_str).collect();
        let expiry = dime
            .expiry_days
            .map_or_else(|| "none".to_owned(), |days| format!("{days} days"));
        text += &format!(
            "  subdomains    {}\n  hosts         {}\n  expiry        {expiry}\n  signet        {}\n",
            dime.subdomain_policy,
            hosts.join(" "),
            fingerprint.as_deref().unwrap_or("none"),
        );
    }
    if let Some(lost) = &lost {
        text += &format!("  lost          {lost}\n");
    }
    if let Some(leaving) = leaving {
        text += &format!("  leaves DIME   {}\n", leaving.state.name());
    }
    text += &format!(
        "  postmaster    {}\n  abuse         {}\n",
        or_nobody(&postmaster),
        or_nobody(&abuse)
    );
    Answer { text, json: object }.write(show.json, out)?;
    Ok(match lost {
        Some(_) => Exit::No,
        None => Exit::Done,
    })
}

/// Stops to serve a domain.
pub async fn remove(remove: &Remove, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let name = &remove.domain;
    if context.store.relay_domain(name).await?.is_some() {
        return relayed::remove(&context, name, remove.json, out).await;
    }
    let domain = context.store.local_domain(name).await?;
    let was_there = domain.is_some();
    if domain.is_some_and(|domain| domain.dime.is_some()) && !remove.at_once {
        let text = format!(
            "it is in DIME, and others hold mail for it as long as they remember its record: `dimed domain retire {name}` \
             comes first, or say --at-once"
        );
        return refused(remove, &text, "in_dime", out);
    }
    let removal = context.store.remove_domain(name, context.now()).await;
    if is_removed(&removal, was_there, |removal| *removal == DomainRemoval::Done) {
        start_log(&context.config);
        tracing::warn!(event = observe::DOMAIN_REMOVED, domain = %name,
            "by order of an administrator, a domain is not served any more, and its private keys are removed");
    }
    match removed(removal, name)? {
        DomainRemoval::Missing => Err(missing(name)),
        DomainRemoval::HasAddresses { accounts, aliases } => {
            let text =
                format!("it has addresses (accounts: {accounts}, aliases: {aliases}); remove them first");
            refused(remove, &text, "has_addresses", out)
        }
        DomainRemoval::MailWaits(count) => {
            let text =
                format!("mail waits for it ({count}), which would go elsewhere: see `dimed queue list`");
            refused(remove, &text, "mail_waits", out)
        }
        DomainRemoval::Done => {
            let answer = Answer {
                text: format!(
                    "{name} is not served here any more, and its private keys are erased.\nNext: take its records out of \
                     DNS, or let them name another host.\n"
                ),
                json: json!({ "result": "done", "domain": name.as_str() }),
            };
            answer.write(remove.json, out)?;
            Ok(Exit::Done)
        }
    }
}

fn refused(remove: &Remove, why: &str, reason: &str, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let name = &remove.domain;
    let answer = Answer {
        text: format!("{name} stays: {why}.\n"),
        json: json!({ "result": "refused", "domain": name.as_str(), "reason": reason, "message": why }),
    };
    answer.write(remove.json, out)?;
    Ok(Exit::No)
}

/// Nobody serves it here.
pub fn missing(domain: &Domain) -> anyhow::Error {
    anyhow::Error::new(store::Error::Missing).context(format!("{domain} is not served here"))
}

fn brief(domain: &LocalDomain) -> Value {
    let dime = domain.dime.as_ref();
    json!({
        "domain": domain.name.as_str(),
        "dime": dime.is_some(),
        "policy": dime.map(|dime| dime.policy.to_string()),
        "subdomains": dime.map(|dime| dime.subdomain_policy.to_string()),
        "hosts": dime.map(|dime| dime.delivery_hosts.iter().map(Domain::as_str).collect::<Vec<_>>()),
        "expiry_days": dime.and_then(|dime| dime.expiry_days),
        "created": domain.created_at.unix_secs(),
    })
}

/// With DIME, and how, or without.
pub fn how(domain: &LocalDomain) -> String {
    match &domain.dime {
        Some(dime) => format!("with DIME, {}", dime.policy),
        None => "without DIME".to_owned(),
    }
}

/// Who gets mail for an address that every domain must have.
async fn in_charge(context: &Context, domain: &Domain, local: &str) -> anyhow::Result<Vec<String>> {
    let Ok(address) = Mailbox::parse(&format!("{local}@{domain}")) else {
        return Ok(Vec::new());
    };
    match context.accounts().resolve(&address).await {
        Ok(Resolution::Targets(targets)) => Ok(targets.iter().map(name).collect()),
        Ok(_) | Err(accounts::Error::AliasLoop) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Local(account) => account.address.to_string(),
        Target::Remote(mailbox) => mailbox.to_string(),
    }
}

fn or_nobody(names: &[String]) -> String {
    match names.is_empty() {
        true => "nobody: `dimed check` says what to do".to_owned(),
        false => printable(&names.join(", ")),
    }
}
