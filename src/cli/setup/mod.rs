//! `dimed setup`: from nothing to a domain with mail, one step after the other. Each step looks first whether it has been done, so
//! the same command goes on where another one was cut off, and changes nothing where all is done.

mod certificate;
mod file;
mod lock;
mod owner;
mod plan;
mod ports;
mod progress;
mod questions;
mod steps;
mod wait;

use std::io::{BufReader, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::lock::Lock;
use self::progress::Progress;
use self::questions::Questions;
use super::files::FileName;
use super::{Exit, check};
use crate::config::Config;
use crate::mail::address::{Domain, Mailbox};
use crate::net::acme::Challenge;

pub use file::is_ours;
pub use lock::Busy;

/// Set up a domain, from nothing to mail: configuration, keys, the first account, a certificate, and what to publish in DNS.
///
/// On a terminal it asks for what no option says. It writes the configuration file (`--config`), with the keys alone that are not as
/// usual, makes the database and the master key, serves the domain with DIME, adds the first account, makes keys for DKIM,
/// sees to a certificate, prints the DNS records, and waits until DNS has them.
///
/// Repeat it as often as you like: what has been done is left as it is, and what is missing is done. A configuration file that says
/// something else than the options is not changed. Where there was an installation, and its database is not there, nothing is made
/// without --new. A domain that is served without DIME gets it. As root it goes on as the user who owns the data directory.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The domain.
    domain: Domain,
    /// Name of this host in DNS. [default: mx. and the domain]
    #[arg(long, value_name = "HOST")]
    hostname: Option<Domain>,
    /// The first account, in the domain.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Mailbox>,
    /// File whose first line is the password of that account; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<FileName>,
    /// Who gets mail for postmaster and abuse. [default: the first account of each domain]
    #[arg(long, value_name = "ADDRESS")]
    postmaster: Option<Mailbox>,
    /// Where the certificate comes from. [default: acme, or files with --cert]
    #[arg(long, value_enum)]
    tls: Option<Tls>,
    /// Chain in PEM, leaf first, for every service.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The authority's directory. [default: that of Let's Encrypt]
    #[arg(long, value_name = "URL")]
    acme_directory: Option<String>,
    /// Roots in PEM that the authority's own certificate must lead to. [default: the system's]
    #[arg(long, value_name = "FILE")]
    acme_ca: Option<PathBuf>,
    /// How the authority finds out that the host is ours: http-01 (port 80) or tls-alpn-01 (port 443). [default: http-01]
    #[arg(long, value_name = "HOW")]
    challenge: Option<Challenge>,
    /// Where the authority is answered; may be repeated. [default: port 80 or 443 of all addresses]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_acme: Vec<SocketAddr>,
    /// Where SMTP and DMTP are served; may be repeated. [default: [::]:25]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_smtp: Vec<SocketAddr>,
    /// Where DMTP alone is served; may be repeated. [default: [::]:26]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_dmtp: Vec<SocketAddr>,
    /// Where users submit with STARTTLS; may be repeated. [default: [::]:587]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_submission: Vec<SocketAddr>,
    /// Where users submit with TLS from the first octet; may be repeated. [default: [::]:465]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_submissions: Vec<SocketAddr>,
    /// Where those who watch over the host ask; may be repeated. [default: 127.0.0.1:8525]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_operations: Vec<SocketAddr>,
    /// Directory of the database and the mailboxes. [default: /var/lib/dimed]
    #[arg(long, value_name = "FOLDER")]
    data_directory: Option<PathBuf>,
    /// File with the master key. [default: /etc/dimed/master.key]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// Name server to ask; may be repeated. [default: those of the system]
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns_server: Vec<SocketAddr>,
    /// File with what signatures in DNS must lead to. [default: the root's published anchors]
    #[arg(long, value_name = "FILE")]
    trust_anchors: Option<PathBuf>,
    /// Begin afresh where the database of an installation is gone for good. One that is there is never touched.
    #[arg(long)]
    new: bool,
    /// Ask nothing but the password, and agree to the terms of the authority that issues certificates.
    #[arg(long)]
    yes: bool,
    /// Do not look into DNS at all.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// How long to wait until DNS has the records. Seconds; 0 looks once.
    #[arg(long, value_name = "SECS", default_value_t = 3600)]
    wait: u64,
    /// One JSON object, at the end; nothing is asked.
    #[arg(long)]
    json: bool,
}

/// Where certificates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tls {
    /// An authority issues it, for SMTP; the one for DMTP is self-signed, and the management record vouches for it.
    Acme,
    /// Files of yours.
    Files,
    /// Self-signed, for trials.
    SelfSigned,
}

/// Does everything that has not been done.
pub async fn run(arguments: Arguments, path: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let usual = Config::for_host(arguments.domain.clone()).server.data_directory;
    let data = plan::data_directory(&arguments, path)?;
    owner::step_down(&data, &usual, arguments.password_file.as_ref())?;
    let mut lock = Lock::take(path)?;
    let types = !arguments.json && std::io::stdin().is_terminal();
    let asks = types && !arguments.yes;
    let plan = {
        let mut input = BufReader::new(std::io::stdin());
        let mut questions = Questions::new(&mut input, out);
        plan::make(&arguments, path, types, asks.then_some(&mut questions))?
    };
    ports::demand_free(&plan.config)?;
    certificate::demand_usable(&plan.config)?;
    plan::demand_usable(&plan.config)?;

    let domain = &arguments.domain;
    let mut progress = Progress::new(out, arguments.json, asks);
    owner::warn(&plan.config.server.data_directory, &mut progress)?;
    steps::configuration(&plan, path, &mut lock, &mut progress)?;
    let context = steps::store(plan.config, path, arguments.new, &mut progress).await?;
    let newcomer = steps::newcomer(&context, domain, plan.account, plan.password, &mut progress).await?;
    steps::domain(&context, domain, &mut progress).await?;
    steps::account(&context, domain, newcomer, &mut progress).await?;
    steps::dkim(&context, domain, &mut progress).await?;
    steps::others(&context, domain, &mut progress).await?;
    certificate::own(&context, &mut progress)?;
    let issued = certificate::issued(&context, &mut progress).await;
    // Also where the authority refuses: it may do so because DNS does not have them.
    progress.records(super::dns::records_of(&context, domain).await?)?;
    drop(lock);
    let left = match issued {
        Ok(()) => check::check_in_charge_of(&context, domain).await,
        failed => failed,
    };
    if let Err(error) = left {
        return progress.fail(domain, error);
    }
    if arguments.no_wait {
        return progress.end(domain, None);
    }
    let limit = Duration::from_secs(arguments.wait);
    let (found, exit) = wait::for_dns(&context, domain, limit, &mut progress).await?;
    progress.end(domain, Some((found, exit)))
}
