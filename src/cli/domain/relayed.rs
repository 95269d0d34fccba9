//! Domains whose mail is taken for other hosts, and `dimed domain recipients …`: who has an address there.

use std::io::Write;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::answer::{Answer, printable};
use crate::cli::context::Context;
use crate::cli::files::FileName;
use crate::cli::{Exit, audit};
use crate::config::Config;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;
use crate::store::{self, RelayDomain, RelayRemoval, Verification};

/// Recipients read at a time.
const PAGE: u32 = 1000;

/// Octets of a file of recipients, at most.
const MOST_OCTETS: usize = 64 << 20;

/// Commands about recipients in relay domains. What they change holds at once, also in the running daemon.
#[derive(Debug, Subcommand)]
pub enum Recipients {
    /// Put addresses on the list of their relay domain.
    Add(Addresses),
    /// Take addresses from the list of their relay domain.
    Remove(Addresses),
    /// Put a list from a file in the place of the one of a relay domain.
    ///
    /// One address on a line; what follows a blank, empty lines, and lines that start with `#` say nothing. If one line
    /// cannot be read, or there is no address, nothing is changed.
    Import(Import),
    /// List the addresses that are on the list of a relay domain.
    List(List),
    /// Change how it is found out who has an address in a relay domain.
    Verify(Verify),
}

/// Which addresses.
#[derive(Debug, Args)]
pub struct Addresses {
    /// Addresses in one relay domain.
    #[arg(required = true)]
    addresses: Vec<Mailbox>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// From where, and for which domain.
#[derive(Debug, Args)]
pub struct Import {
    /// The relay domain.
    domain: Domain,
    /// File, or `-` for standard input.
    file: FileName,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Which list.
#[derive(Debug, Args)]
pub struct List {
    /// The relay domain.
    domain: Domain,
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

/// How.
#[derive(Debug, Args)]
pub struct Verify {
    /// The relay domain.
    domain: Domain,
    /// list (`dimed domain recipients`), callout (the next host is asked) or none.
    #[arg(value_parser = verification)]
    how: Verification,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads the word for a way to verify.
pub fn verification(text: &str) -> Result<Verification, &'static str> {
    Verification::parse(text).ok_or("one of list, callout, none")
}

/// Takes mail for a domain from now on.
pub async fn add(
    context: &Context,
    name: &Domain,
    verification: Verification,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let domain = RelayDomain {
        name: name.clone(),
        verification,
        created_at: context.now(),
    };
    let added = context.store.add_relay_domain(domain).await;
    added.with_context(|| format!("{name} cannot be added"))?;
    audit::domain(context, name, "relayed");
    let next = match verification {
        Verification::List => {
            format!(
                "Next: name its recipients with `dimed domain recipients import {name} FILE`; nobody else gets mail.\n"
            )
        }
        Verification::Callout => String::new(),
        Verification::None => UNVERIFIED.to_owned(),
    };
    let answer = Answer {
        text: format!(
            "Mail for {name} is taken here and passed on to the hosts that its MX records prefer to this one, or to the one \
             that outbound.transports names.\n{next}"
        ),
        json: json!({ "result": "done", "domain": name.as_str(), "relay": true, "verification": verification.name() }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

const UNVERIFIED: &str = "Nobody verifies its recipients: what is sent to made-up addresses is reported to made-up senders, \
                          and other hosts will take this one for a source of spam.\n";

/// Takes no more mail for a domain.
pub async fn remove(
    context: &Context,
    name: &Domain,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    match context.store.remove_relay_domain(name).await? {
        RelayRemoval::Done => {
            audit::domain(context, name, "not_relayed");
            let answer = Answer {
                text: format!(
                    "Mail for {name} is not taken here any more.\nNext: take this host out of its MX records.\n"
                ),
                json: json!({ "result": "done", "domain": name.as_str() }),
            };
            answer.write(json, out)?;
            Ok(Exit::Done)
        }
        RelayRemoval::MailWaits(count) => {
            let why = format!("mail waits for it ({count}): see `dimed queue list`");
            let answer = Answer {
                text: format!("{name} stays: {why}.\n"),
                json: json!({ "result": "refused", "domain": name.as_str(), "reason": "mail_waits", "message": why }),
            };
            answer.write(json, out)?;
            Ok(Exit::No)
        }
        RelayRemoval::Missing => Err(missing(name)),
    }
}

/// What there is to say of a relay domain.
pub fn answer(domain: &RelayDomain) -> Answer {
    Answer {
        text: format!(
            "{}\n  relayed       {}\n  since         {}\n",
            domain.name,
            how(domain),
            rfc5322(domain.created_at)
        ),
        json: brief(domain),
    }
}

/// The same in a line.
pub fn line(domain: &RelayDomain) -> String {
    format!("{}  relayed, {}", domain.name, how(domain))
}

/// The same for programs.
pub fn brief(domain: &RelayDomain) -> Value {
    json!({
        "domain": domain.name.as_str(),
        "relay": true,
        "verification": domain.verification.name(),
        "created": domain.created_at.unix_secs(),
    })
}

fn how(domain: &RelayDomain) -> &'static str {
    match domain.verification {
        Verification::List => "recipients by list",
        Verification::Callout => "recipients by callout",
        Verification::None => "recipients not verified",
    }
}

/// Does as the command says.
pub async fn recipients(command: Recipients, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    match command {
        Recipients::Add(add) => {
            let domain = common_domain(&add.addresses)?;
            put(&context, &domain, add.addresses, false, add.json, out).await
        }
        Recipients::Remove(remove) => take(&context, remove, out).await,
        Recipients::Import(import) => {
            let octets = import.file.read(MOST_OCTETS)?;
            let text = std::str::from_utf8(&octets).context("the file is not UTF-8")?;
            let addresses = parse(text, &import.domain)?;
            put(&context, &import.domain, addresses, true, import.json, out).await
        }
        Recipients::List(list) => show(&context, &list, out).await,
        Recipients::Verify(verify) => change(&context, &verify, out).await,
    }
}

fn common_domain(addresses: &[Mailbox]) -> anyhow::Result<Domain> {
    let domain = addresses.first().context("name an address")?.domain();
    let is_other = |address: &&Mailbox| address.domain() != domain;
    match addresses.iter().find(is_other) {
        Some(other) => anyhow::bail!("{other} is not in {domain}: name addresses of one domain at a time"),
        None => Ok(domain.clone()),
    }
}

fn parse(text: &str, domain: &Domain) -> anyhow::Result<Vec<Mailbox>> {
    let mut addresses = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let word = line.split_whitespace().next();
        let Some(word) = word.filter(|word| !word.starts_with('#')) else {
            continue;
        };
        let place = || format!("line {}: {:?}", number + 1, printable(word));
        let address = Mailbox::parse(word).with_context(place)?;
        anyhow::ensure!(address.domain() == domain, "{} is not in {domain}", place());
        addresses.push(address);
    }
    anyhow::ensure!(!addresses.is_empty(), "the file names nobody");
    Ok(addresses)
}

async fn put(
    context: &Context,
    domain: &Domain,
    addresses: Vec<Mailbox>,
    replaces: bool,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let given = addresses.len();
    let added = context
        .store
        .add_relay_recipients(domain, addresses, replaces)
        .await;
    let added = match added {
        Err(store::Error::Missing) => return Err(missing(domain)),
        added => added?,
    };
    if replaces || added > 0 {
        let change = if replaces { "replaced" } else { "added" };
        audit::recipients(context, domain, change, added);
    }
    let text = match replaces {
        true => format!("{added} recipients are on the list of {domain}, and nobody else.\n"),
        false => format!("{added} of {given} recipients are new on the list of {domain}.\n"),
    };
    let answer = Answer {
        text: text + &hint(context, domain).await?,
        json: json!({ "result": "done", "domain": domain.as_str(), "added": added }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

/// The list counts for nothing unless recipients are verified by it.
async fn hint(context: &Context, domain: &Domain) -> anyhow::Result<String> {
    let relayed = context.store.relay_domain(domain).await?;
    let is_used = relayed.is_some_and(|relayed| relayed.verification == Verification::List);
    Ok(match is_used {
        true => String::new(),
        false => format!("It is not used: `dimed domain recipients verify {domain} list` changes that.\n"),
    })
}

async fn take(context: &Context, remove: Addresses, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let domain = common_domain(&remove.addresses)?;
    let given = remove.addresses.len();
    let removed = context.store.remove_relay_recipients(remove.addresses).await?;
    if removed > 0 {
        audit::recipients(context, &domain, "removed", removed);
    }
    let answer = Answer {
        text: format!(
            "{removed} of {given} recipients were on the list of {domain}, and are not any more.\n"
        ),
        json: json!({ "result": "done", "domain": domain.as_str(), "removed": removed }),
    };
    answer.write(remove.json, out)?;
    Ok(if removed == 0 { Exit::No } else { Exit::Done })
}

async fn show(context: &Context, list: &List, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let relayed = context.store.relay_domain(&list.domain).await?;
    relayed.ok_or_else(|| missing(&list.domain))?;
    let mut after: Option<String> = None;
    loop {
        let page = context
            .store
            .list_relay_recipients(&list.domain, after.as_deref(), PAGE)
            .await?;
        for address in &page {
            match list.json {
                true => writeln!(out, "{}", json!({ "address": address }))?,
                false => writeln!(out, "{}", printable(address))?,
            }
        }
        after = match page.last() {
            Some(last) => Some(last.clone()),
            None => return Ok(Exit::Done),
        };
    }
}

async fn change(context: &Context, verify: &Verify, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Verify { domain, how, json } = verify;
    if !context.store.set_verification(domain, *how).await? {
        return Err(missing(domain));
    }
    audit::domain(context, domain, "verification");
    let warning = match how {
        Verification::None => UNVERIFIED,
        Verification::List | Verification::Callout => "",
    };
    let answer = Answer {
        text: format!(
            "Recipients of {domain} are verified by: {}.\n{warning}",
            how.name()
        ),
        json: json!({ "result": "done", "domain": domain.as_str(), "verification": how.name() }),
    };
    answer.write(*json, out)?;
    Ok(Exit::Done)
}

fn missing(domain: &Domain) -> anyhow::Error {
    anyhow::Error::new(store::Error::Missing).context(format!("{domain} is no relay domain"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let domain: Domain = "relayed.test".parse().unwrap();
        let read = |text: &str| parse(text, &domain).map_err(|error| format!("{error:#}"));
        let good = read("# exported\r\nbob@relayed.test OK\n\n  Carol@Relayed.test\n").unwrap();
        let good: Vec<String> = good.iter().map(Mailbox::to_string).collect();
        assert_eq!(good, ["bob@relayed.test", "Carol@relayed.test"]);
        for (bad, why) in [
            ("", "the file names nobody"),
            ("# nobody\n", "the file names nobody"),
            ("bob@relayed.test\nbob\n", "line 2: \"bob\": not a mailbox"),
            ("@relayed.test\n", "line 1: \"@relayed.test\": not a local-part"),
            (
                "bob@other.test\n",
                "line 1: \"bob@other.test\" is not in relayed.test",
            ),
        ] {
            assert_eq!(read(bad).unwrap_err(), why);
        }
    }
}
