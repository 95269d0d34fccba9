//! `dimed dns …`.

mod certificate;
pub(in crate::cli) mod check;
mod policy;
mod records;
mod report;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use clap::Subcommand;

use self::certificate::Certificates;
use super::Exit;
use super::answer::Answer;
use super::context::Context;
use crate::accounts;
use crate::config::{Config, Validation};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::signet::VerifiedOrg;
use crate::mail::address::Domain;
use crate::store::LocalDomain;

/// Commands about DNS.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what to publish for a domain, as lines of a zone file.
    ///
    /// The management record vouches for the certificate that DMTP peers will see, and for the one that tls.next_certificate
    /// names. What is not for the zone file, or not done by this version, is a comment.
    Records {
        /// A domain that is served here, or whose mail is passed on to another host.
        domain: Domain,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Compare what DNS says of a domain with what it should say, and the MTA-STS policy that web servers have with ours.
    ///
    /// Exits with 1 if something that mail needs is wrong, and with 75 if nothing is known to be wrong and something could
    /// not be looked up.
    Check {
        /// A domain that is served here.
        domain: Domain,
        /// Name server to ask: its address, with the port if that is not 53; may be repeated. Answers are validated here.
        /// [default: those of the configuration]
        #[arg(long, value_name = "ADDRESS", value_parser = name_server)]
        server: Vec<SocketAddr>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(in crate::cli) fn name_server(text: &str) -> Result<SocketAddr, &'static str> {
    let without_port = |_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53));
    text.parse()
        .or_else(without_port)
        .map_err(|_| "not an IP address, such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353")
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Records { domain, json } => print_records(config, &domain, json, out).await,
        Command::Check { domain, server, json } => {
            let mut config = config;
            if !server.is_empty() {
                config.dns.servers = server;
                config.dns.validation = Validation::Dnssec;
            }
            print_check(config, &domain, json, out).await
        }
    }
}

async fn print_records(
    config: Config,
    domain: &Domain,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    records_of(&context, domain).await?.write(json, out)?;
    Ok(Exit::Done)
}

/// What to publish for a domain.
pub async fn records_of(context: &Context, domain: &Domain) -> anyhow::Result<Answer> {
    let lines = match context.store.relay_domain(domain).await? {
        Some(_) => records::of_relayed(domain, &context.config),
        None => {
            let local = local(context, domain).await?;
            records::all(context, &local, &Certificates::of(&context.config)?).await?
        }
    };
    Ok(Answer {
        text: lines.iter().map(|line| format!("{line}\n")).collect(),
        json: records::object(domain, &lines),
    })
}

async fn print_check(
    config: Config,
    domain: &Domain,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let (answer, exit) = checked(&context, domain).await?;
    answer.write(json, out)?;
    Ok(exit)
}

/// What DNS says of a domain, beside what it should say.
pub async fn checked(context: &Context, domain: &Domain) -> anyhow::Result<(Answer, Exit)> {
    let local = local(context, domain).await?;
    let checked = compared(context, &local).await?;
    let answer = Answer {
        text: report::text(domain, &checked),
        json: report::object(domain, &checked),
    };
    Ok((answer, checked.exit()))
}

/// What DNS and web servers say of a domain, against what they should say.
pub(in crate::cli) async fn compared(
    context: &Context,
    local: &LocalDomain,
) -> anyhow::Result<check::Checked> {
    let domain = &local.name;
    let certificates = Certificates::of(&context.config)?;
    let lines = records::all(context, local, &certificates).await?;
    let resolver = context.config.dns.resolver()?;
    let around = check::Surroundings {
        certificates: &certificates,
        now_secs: context.now().unix_secs(),
        former_keys: former_keys(context, domain).await?,
    };
    let hosts = records::hosts(&context.config, local.dime.as_ref());
    let mut findings = check::all(&*resolver, &lines, &hosts, &around).await;
    if !lines.iter().any(records::Line::is_management) {
        findings.extend(check::leftover(&*resolver, domain).await);
    }
    if let Some(policy) = context.config.own_policy() {
        let outbound = &context.config.outbound;
        let source = outbound.https(&resolver, outbound.roots()?.as_ref())?;
        findings.push(policy::check(&source, domain, &policy, &context.config.server.hostname).await);
    }
    Ok(check::Checked {
        self_test: resolver.self_test().await,
        findings,
    })
}

/// Primary keys that the domain had, or was about to have.
async fn former_keys(context: &Context, domain: &Domain) -> anyhow::Result<Vec<VerifyingKey>> {
    let mut keys = context.store.withdrawn_keys(domain).await?;
    let past = context.published().past_organizations(domain).await?;
    keys.extend(past.iter().map(VerifiedOrg::primary_key));
    Ok(keys)
}

async fn local(context: &Context, domain: &Domain) -> anyhow::Result<LocalDomain> {
    let local = context.store.local_domain(domain).await?;
    let is_relayed = context.store.relay_domain(domain).await?.is_some();
    local
        .ok_or(accounts::Error::ForeignDomain)
        .with_context(|| match is_relayed {
            true => format!(
                "mail for {domain} is passed on, and whoever serves it has its records (`dimed dns records {domain}` prints \
                 the one for this host)"
            ),
            false => format!("{domain} has no records"),
        })
}
