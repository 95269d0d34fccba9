//! `dimed domain …`.

mod join;
mod pins;
mod relayed;
mod served;

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::answer::Answer;
use super::context::Context;
use super::{Exit, audit};
use crate::base::time::Timestamp;
use crate::config::Config;
use crate::dime::keys::OrgKeys;
use crate::dime::record::{Policy, SubdomainPolicy};
use crate::mail::address::Domain;
use crate::mail::date::rfc5322;
use crate::store::{self, DimeSettings, LocalDomain, Retirement, RetirementState, Verification};

pub use join::{Given, give, why_formless};

/// For how many days others hold on to what they have seen of a domain's keys, unless something else is said.
const EXPIRY_DAYS: u16 = 30;

/// Commands about domains that are served here.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a domain, which makes its keys and its organizational signet, or take mail for another host's (`--relay`).
    ///
    /// On first use this makes the database and the master key, too. Where there was an installation, and its database is not there,
    /// nothing is made without --new.
    Add(Add),
    /// List the domains that are served here.
    List(served::List),
    /// Show a domain, and who gets mail for its postmaster.
    Show(served::Show),
    /// Serve a domain no more, and erase its private keys.
    ///
    /// It must have no accounts and aliases, no mail may wait for it, and it must have left DIME (`retire`).
    Remove(served::Remove),
    /// Say who has an address in a domain that is added with `--relay`.
    #[command(subcommand)]
    Recipients(relayed::Recipients),
    /// Show what is pinned of the management records of other domains.
    Pins(pins::Pins),
    /// Forget what is pinned of another domain's management record, and believe what its DNS says next.
    ///
    /// To be done after its owner has been asked: the pin is what stands between the domain's mail and somebody who
    /// forges its DNS. The log says that it was done.
    ForgetPin(pins::Forget),
    /// Give DIME to a domain that is served without it: keys and a signet to the domain, and to its trustful users and its aliases.
    ///
    /// From then on what its users send to domains with DIME waits until DNS has the domain's management record.
    Join(join::Join),
    /// Take a domain out of DIME safely, and say how far that is and what comes next.
    ///
    /// Others hold mail for a domain whose record is gone for as long as they remember it. So first a record is published
    /// that is soon forgotten, and weeks later it is removed; then the domain is served without DIME. Repeat this as often as
    /// you like; the daemon takes the steps that are due, too.
    Retire(Retire),
}

/// Which domain, and whether.
#[derive(Debug, Args)]
pub struct Retire {
    /// The domain.
    domain: Domain,
    /// Stay in DIME after all.
    #[arg(long)]
    cancel: bool,
    /// Only say how far it is.
    #[arg(long, conflicts_with = "cancel")]
    status: bool,
    /// The domain's record was never in DNS, so nobody remembers it: leave at once. Refused unless DNS says that there is none.
    #[arg(long, conflicts_with_all = ["cancel", "status"])]
    never_published: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What to serve and how.
#[derive(Debug, Args)]
pub struct Add {
    /// The domain.
    domain: Domain,
    /// Without DIME: no keys, no signets, SMTP only.
    #[arg(long, conflicts_with_all = ["policy", "subdomains", "dx", "expiry"])]
    plain: bool,
    /// It is another host's: its mail is taken when that one is down, or always, and passed on to it by SMTP.
    #[arg(long, conflicts_with_all = ["plain", "policy", "subdomains", "dx", "expiry"])]
    relay: bool,
    /// How it is found out who has an address there, so that nothing is taken that nobody gets: list (`dimed domain
    /// recipients`), callout (the other host is asked) or none. [default: callout]
    #[arg(long, value_name = "HOW", requires = "relay", value_parser = relayed::verification)]
    verify: Option<Verification>,
    #[command(flatten)]
    wanted: Wanted,
    /// Begin afresh where the database of an installation is gone for good. One that is there is never touched.
    #[arg(long)]
    new: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What the management record of a domain says beside its keys.
#[derive(Debug, Args)]
pub struct Wanted {
    /// What others do when DMTP does not work: experimental (send by SMTP), mixed (wait, but send by SMTP to users
    /// without a signet) or strict (never send by SMTP).
    #[arg(long, default_value = "experimental", value_parser = policy)]
    policy: Policy,
    /// Whether subdomains may have records of their own: strict, relaxed or explicit.
    #[arg(long, default_value = "strict", value_parser = subdomain_policy)]
    subdomains: SubdomainPolicy,
    /// Host that takes D/MIME for the domain; may be repeated. [default: this host]
    #[arg(long, value_name = "HOST")]
    dx: Vec<Domain>,
    /// Days for which others hold on to what they have seen of the domain's keys, 1 to 3650; 0 lets them forget it within
    /// hours.
    #[arg(long, value_name = "DAYS", default_value_t = EXPIRY_DAYS, value_parser = clap::value_parser!(u16).range(..=3650))]
    expiry: u16,
}

impl Wanted {
    fn settings(self, config: &Config) -> DimeSettings {
        let mut delivery_hosts = self.dx;
        if delivery_hosts.is_empty() {
            delivery_hosts.push(config.server.hostname.clone());
        }
        DimeSettings {
            policy: self.policy,
            subdomain_policy: self.subdomains,
            delivery_hosts,
            expiry_days: (self.expiry > 0).then_some(self.expiry),
        }
    }
}

fn policy(text: &str) -> Result<Policy, &'static str> {
    Policy::parse(text).ok_or("one of experimental, mixed, strict")
}

fn subdomain_policy(text: &str) -> Result<SubdomainPolicy, &'static str> {
    SubdomainPolicy::parse(text).ok_or("one of strict, relaxed, explicit")
}

/// Does as the command says; the configuration is at `path`.
pub async fn run(command: Command, path: &Path, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Add(add) => self::add(add, path, config, out).await,
        Command::List(list) => served::list(&list, config, out).await,
        Command::Show(show) => served::show(&show, config, out).await,
        Command::Remove(remove) => served::remove(&remove, config, out).await,
        Command::Recipients(command) => relayed::recipients(command, config, out).await,
        Command::Pins(pins) => pins::show(pins, config, out).await,
        Command::ForgetPin(forget) => pins::forget(forget, config, out).await,
        Command::Join(join) => join::join(join, config, out).await,
        Command::Retire(retire) => self::retire(&retire, config, out).await,
    }
}

async fn add(add: Add, path: &Path, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open_or_create(config, path, add.new).await?;
    let (name, json) = (add.domain.clone(), add.json);
    if add.relay {
        let how = add.verify.unwrap_or(Verification::Callout);
        return relayed::add(&context, &name, how, json, out).await;
    }
    let is_relayed = context.store.relay_domain(&name).await?.is_some();
    if is_relayed || context.store.local_domain(&name).await?.is_some() {
        return Err(store::Error::Exists).with_context(|| format!("{name} cannot be added"));
    }
    let dime = (!add.plain).then(|| add.wanted.settings(&context.config));
    let with_dime = dime.is_some();
    serve(&context, &name, dime).await?;
    let how = match with_dime {
        true => "with DIME",
        false => "without DIME",
    };
    let answer = Answer {
        text: format!(
            "{name} is served here, {how}.\nNext: publish what `dimed dns records {name}` prints.\n"
        ),
        json: json!({ "result": "done", "domain": name.as_str(), "dime": with_dime }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

/// Serves a domain that is served by nobody yet, which is logged; with DIME it gets keys and a signet.
pub async fn serve(context: &Context, name: &Domain, dime: Option<DimeSettings>) -> anyhow::Result<()> {
    // The signet comes first: should this stop in between, the domain is not half there and can be added again.
    if dime.is_some() {
        make_keys(context, name).await?;
    }
    let domain = LocalDomain {
        name: name.clone(),
        dime,
        created_at: context.now(),
    };
    context.store.add_domain(domain).await?;
    audit::domain(context, name, "served");
    Ok(())
}

/// Sees to it that a domain has keys and a signet.
async fn make_keys(context: &Context, name: &Domain) -> anyhow::Result<()> {
    let published = context.published();
    if published.organization(name).await?.is_none() {
        let keys = OrgKeys::generate(&mut rand::rng());
        published.publish_organization(name, keys).await?;
    }
    Ok(())
}

/// What holds for a domain of which nothing else is said.
pub fn usual(config: &Config) -> DimeSettings {
    DimeSettings {
        policy: Policy::Experimental,
        subdomain_policy: SubdomainPolicy::Strict,
        delivery_hosts: vec![config.server.hostname.clone()],
        expiry_days: Some(EXPIRY_DAYS),
    }
}

async fn retire(retire: &Retire, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let domain = &retire.domain;
    if retire.cancel {
        anyhow::ensure!(
            context.store.cancel_retirement(domain).await?,
            "{domain} is not on its way out of DIME"
        );
        audit::stays(&context, domain);
        let answer = Answer {
            text: format!(
                "{domain} stays in DIME.\nNext: publish what `dimed dns records {domain}` prints.\n"
            ),
            json: json!({ "domain": domain.as_str(), "state": "cancelled" }),
        };
        answer.write(retire.json, out)?;
        return Ok(Exit::Done);
    }
    let local = context.store.local_domain(domain).await?;
    if local.is_some_and(|local| local.dime.is_none()) {
        state(domain, None).write(retire.json, out)?;
        return Ok(Exit::Done);
    }
    if retire.status {
        let retirement = context.store.retirement(domain).await?;
        anyhow::ensure!(
            retirement.is_some(),
            "{domain} is not on its way out of DIME: `dimed domain retire {domain}` begins"
        );
        state(domain, retirement.as_ref()).write(retire.json, out)?;
        return Ok(Exit::Done);
    }
    audit::begin(&context.config);
    let retiring = context.retiring()?;
    let retiring = match retire.never_published {
        true => retiring.retire_unpublished(domain).await.map(|()| None),
        false => retiring.retire(domain).await,
    };
    let retiring = retiring.with_context(|| format!("{domain} cannot be taken out of DIME"))?;
    state(domain, retiring.as_ref()).write(retire.json, out)?;
    Ok(Exit::Done)
}

fn state(domain: &Domain, retiring: Option<&Retirement>) -> Answer {
    let Some(retirement) = retiring else {
        return Answer {
            text: format!("{domain} is served here, without DIME.\n"),
            json: json!({ "domain": domain.as_str(), "state": "done" }),
        };
    };
    let (state, (word, next)) = (retirement.state.name(), next(retirement));
    Answer {
        text: format!("{domain}: {state} since {}.\n{next}\n", rfc5322(retirement.since)),
        json: json!({
            "domain": domain.as_str(),
            "state": state,
            "since": retirement.since.unix_secs(),
            "due": retirement.due_at.map(Timestamp::unix_secs),
            "next": word,
            "message": next,
        }),
    }
}

/// What is to be done, by whom, and when: for programs, and for people.
fn next(retirement: &Retirement) -> (&'static str, String) {
    let domain = &retirement.name;
    let due = retirement.due_at.map(rfc5322);
    match (retirement.state, due) {
        (RetirementState::Announced, _) => (
            "publish_records",
            format!("Next: publish what `dimed dns records {domain}` prints; others will soon forget it."),
        ),
        (RetirementState::Expiring, due) => {
            let due = due.unwrap_or_default();
            let says =
                format!("Next: on {due} everybody has forgotten the record before it; leave this one there.");
            ("wait", says)
        }
        (RetirementState::Withdrawn, None) => (
            "remove_record",
            format!("Next: remove the record of _dx.{domain} from DNS."),
        ),
        (RetirementState::Withdrawn, Some(due)) => (
            "wait",
            format!("Next: on {due} the domain is served without DIME."),
        ),
    }
}
