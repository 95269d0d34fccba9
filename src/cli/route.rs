//! `dimed route …`.

mod report;

use std::io::Write;
use std::sync::Arc;

use clap::Subcommand;
use rand::rngs::StdRng;

use super::Exit;
use super::context::Context;
use crate::accounts::Resolution;
use crate::base::time::SystemClock;
use crate::config::Config;
use crate::domains::{self, DomainFacts, Domains};
use crate::mail::address::Mailbox;
use crate::routing::{Allowances, Decision, DmtpFinding, Facts, Route, decide};
use crate::store;
use report::{Hosts, Report};

/// Commands about the way that mail takes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look up what is known of a recipient's domain, and say which way mail would take and why. Sends nothing.
    ///
    /// Exits with 75 if mail would wait, and with 1 if it would be returned.
    Explain {
        /// The recipient.
        address: Mailbox,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Command::Explain { address, json } = command;
    let context = Context::open(config).await?;
    let local = match context.accounts().resolve(&address).await? {
        Resolution::NotLocal => None,
        Resolution::Unknown => Some(false),
        Resolution::Targets(_) => Some(true),
    };
    let report = match local {
        Some(known) => Report::local(address, known),
        None => remote(&context, address).await?,
    };
    match json {
        true => writeln!(out, "{}", report.object())?,
        false => out.write_all(report.text().as_bytes())?,
    }
    Ok(match (&report.decision.route, local) {
        (Route::Defer, _) => Exit::TryLater,
        (Route::Bounce, _) | (_, Some(false)) => Exit::No,
        _ => Exit::Done,
    })
}

async fn remote(context: &Context, address: Mailbox) -> anyhow::Result<Report> {
    let domains = Domains::new(
        context.config.dns.resolver()?,
        Arc::clone(&context.store) as Arc<dyn store::Domains>,
        Arc::new(SystemClock),
        domains::Limits::default(),
    );
    let facts = domains.facts(address.domain()).await?;
    let decision = decide(&question(facts.clone()));
    let hosts = hosts(&domains, &address, &decision).await;
    Ok(Report {
        address,
        known: None,
        facts: Some(facts),
        hosts,
        decision,
    })
}

/// Nobody in particular writes, and DMTP has not been tried.
fn question(domain: DomainFacts) -> Facts {
    Facts {
        local: false,
        sender_policy: None,
        domain,
        finding: DmtpFinding::NotAsked,
        failing_for_long: false,
        allowances: Allowances::default(),
    }
}

async fn hosts(domains: &Domains, address: &Mailbox, decision: &Decision) -> Hosts {
    let mut rng: StdRng = rand::make_rng();
    match &decision.route {
        Route::Dmtp { record, .. } => {
            Hosts::Delivery(domains.delivery_hosts(record, address.domain(), &mut rng).await)
        }
        Route::Smtp { .. } => Hosts::Mail(domains.mail_hosts(address.domain(), &mut rng).await),
        _ => Hosts::None,
    }
}
