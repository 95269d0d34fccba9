//! `dimed doctor`: looks at everything that mail through this host rests on, says what is wrong with it, why that matters and what
//! to do. It changes nothing.

mod disk;
mod domain;
mod network;
mod relay;
mod running;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use self::network::{Reach, Target};
use super::answer::{Answer, printable};
use super::context::Context;
use super::{Exit, check, dns};
use crate::base::descriptors;
use crate::config::{Config, Validation};
use crate::daemon::health::{self, Finding, Weight};
use crate::mail::address::Domain;
use crate::net::dns::SelfTest;
use crate::store;

/// What to look at.
///
/// The certificate, the records in DNS, the way to other hosts and back, the disk, the database, and whether the running daemon is
/// ready, and passes mail on for strangers. `dimed check` reads the configuration itself.
///
/// Exit codes: 0 if nothing is wrong, 1 if something is, 75 if nothing is known to be wrong and something could not be found out, 78
/// if the configuration cannot be used.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A domain that is served here. [default: all of them]
    domain: Option<Domain>,
    /// Name server to ask: its address, with the port if that is not 53; may be repeated. Answers are validated here.
    /// [default: those of the configuration]
    #[arg(long, value_name = "ADDRESS", value_parser = dns::name_server)]
    server: Vec<SocketAddr>,
    /// A domain to whose mail hosts a connection is made, to see whether the way out is open; `none` for none. Nothing is sent.
    /// [default: the host that outbound.transports names for all mail; without one, nobody is connected to]
    #[arg(long, value_name = "DOMAIN")]
    reach: Option<Reach>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Looks at everything, and tells; the configuration is at `path`.
pub async fn run(
    arguments: Arguments,
    path: &Path,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let mut config = config;
    if !arguments.server.is_empty() {
        config.dns.servers = arguments.server;
        config.dns.validation = Validation::Dnssec;
    }
    let mut told = Told::new(arguments.json, out);
    told.add(of_host(&config))?;
    told.add(check::open_to_all(&config, path))?;
    told.add(check::issued(&config))?;
    let (context, unusable) = opened(&config).await?;
    told.add(unusable)?;
    let resolver = config.dns.resolver()?;
    let tested = resolver.self_test().await;
    told.add(health::name_servers(tested))?;
    told.add(relay::findings(&config, context.as_ref()).await)?;
    if let Some(context) = &context {
        told.add(of_clock(context).await)?;
        told.add(health::kept_log(context.store.keeps_log().await))?;
    }
    // Nothing can be said about others' answers behind name servers that pass on what anybody has made of them.
    let mut target = Target::Nobody;
    if tested == SelfTest::Passed {
        target = Target::of(&config, arguments.reach);
        told.add(network::findings(&config, &*resolver, &target).await)?;
        if let Some(context) = &context {
            domain::findings(context, arguments.domain.as_ref(), &mut told).await?;
        }
    }
    told.add_new(running::findings(&config).await)?;
    told.end(&target)
}

/// What was found. People are told of it at once, for there is much to wait for; programs in the end, what counts most first.
struct Told<'a> {
    for_programs: bool,
    findings: Vec<Finding>,
    out: &'a mut dyn Write,
}

impl<'a> Told<'a> {
    fn new(for_programs: bool, out: &'a mut dyn Write) -> Self {
        Self {
            for_programs,
            findings: Vec::new(),
            out,
        }
    }

    /// The same thing counts once.
    fn add(&mut self, found: impl IntoIterator<Item = Finding>) -> io::Result<()> {
        for finding in found {
            if self.findings.iter().any(|known| known.what == finding.what) {
                continue;
            }
            if !self.for_programs {
                self.out.write_all(lines(&finding).as_bytes())?;
                self.out.flush()?;
            }
            self.findings.push(finding);
        }
        Ok(())
    }

    /// What is known already in other words is not said again.
    fn add_new(&mut self, found: Vec<Finding>) -> io::Result<()> {
        let known: Vec<&str> = self.findings.iter().map(|finding| finding.code).collect();
        let new = found.into_iter().filter(|finding| !known.contains(&finding.code));
        self.add(new.collect::<Vec<_>>())
    }

    fn end(mut self, target: &Target) -> anyhow::Result<Exit> {
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.weight));
        let exit = exit(&self.findings);
        answer(&self.findings, target, exit).write(self.for_programs, self.out)?;
        Ok(exit)
    }
}

/// What can be seen without the database and the network.
fn of_host(config: &Config) -> Vec<Finding> {
    let mut found = disk::findings(config);
    found.extend(health::files(config, descriptors::most()));
    found
}

/// The installation, or why its database cannot be used; it fails for what is wrong with the configuration.
async fn opened(config: &Config) -> anyhow::Result<(Option<Context>, Option<Finding>)> {
    if let Err(store::Error::NoDatabase(path)) = config.place()?.demand_there() {
        return Ok((None, Some(health::no_database(&path))));
    }
    let error = match Context::open(config.clone()).await {
        Ok(context) => return Ok((Some(context), None)),
        Err(error) => error,
    };
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<store::Error>());
    let is_found = |cause: &&store::Error| {
        matches!(cause, store::Error::Database(_) | store::Error::NotDurable(_))
            || cause.is_damaged()
            || cause.is_locked()
    };
    match cause.filter(is_found) {
        Some(failure) => Ok((None, health::store(Some(failure)))),
        None => Err(error),
    }
}

async fn of_clock(context: &Context) -> Option<Finding> {
    match context.store.clock_record().await {
        Ok(record) => health::clock(record.is_some_and(|record| record.is_doubted)),
        Err(error) => health::store(Some(&error)),
    }
}

fn exit(findings: &[Finding]) -> Exit {
    match findings.iter().map(|finding| finding.weight).max() {
        Some(Weight::Wrong) => Exit::No,
        Some(Weight::Unknown) => Exit::TryLater,
        Some(Weight::Risky) | None => Exit::Done,
    }
}

fn answer(findings: &[Finding], target: &Target, exit: Exit) -> Answer {
    let mut text = format!("To see whether the way out is open, {target}.\n");
    text += match (exit, findings.is_empty()) {
        (Exit::No, _) => "Something is wrong; it is marked with an exclamation mark.\n",
        (Exit::TryLater, _) => {
            "Nothing is known to be wrong; what is marked with a question mark could not be found out.\n"
        }
        (_, false) => "Nothing is wrong; something could be better.\n",
        (_, true) => "Nothing is wrong.\n",
    };
    let result = match exit {
        Exit::No => "wrong",
        Exit::TryLater => "try_later",
        _ => "right",
    };
    let objects: Vec<Value> = findings.iter().map(Finding::object).collect();
    Answer {
        text,
        json: json!({ "result": result, "connected_to": target.object(), "findings": objects }),
    }
}

fn lines(finding: &Finding) -> String {
    let mark = match finding.weight {
        Weight::Wrong => '!',
        Weight::Unknown => '?',
        Weight::Risky => ' ',
    };
    let [what, why, advice] = [&finding.what, &finding.why, &finding.advice].map(|text| printable(text));
    format!("{mark} {what}\n      why: {why}\n      do:  {advice}\n")
}
