//! `dimed check`.

mod dns;
mod host;
mod issued;
mod logs;
mod surroundings;

use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::timeout;

pub use self::host::{demand_apart, open_to_all};
pub use self::issued::issued;
pub use self::logs::UnusableLog;
use self::surroundings::Finding;
use super::answer::Answer;
use super::context::Context;
use super::{Exit, load};
use crate::accounts::{self, Accounts, Dovecot, Loaded, Resolution};
use crate::base::secret::Secret;
use crate::base::space::Free;
use crate::config::{self, Config, FilteredMail, PasswordsAt, Warning};
use crate::daemon::health;
use crate::delivery::smtp::{CredentialsError, parse_credentials};
use crate::mail::address::{Domain, Mailbox};
use crate::net::tls::{Acceptor, Identity, WebPki};
use crate::store::{self, Place, RelayDomain, Verification};

/// How long a filter may take to let us in.
const FILTER_PATIENCE: Duration = Duration::from_secs(3);

/// Findings with which the daemon does not start.
const NO_START: [&str; 2] = ["data_directory_missing", "no_database"];

/// How to answer.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads everything that the configuration at `path` names.
pub async fn run(arguments: &Arguments, path: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (config, mut findings) = check(load(path)?).await?;
    findings.extend(
        host::hidden_drop_folder(&config, path)
            .as_ref()
            .map(Finding::from),
    );
    let open = host::open_to_all(&config, path);
    findings.extend(open.into_iter().map(Finding::from));
    let (silent, of_dns) = tokio::join!(silent_filters(&config), dns::findings(&config));
    findings.extend(silent.into_iter().chain(of_dns));
    let keeps_from_start = findings.iter().any(|finding| NO_START.contains(&finding.code));
    answer(&config, findings, keeps_from_start).write(arguments.json, out)?;
    Ok(match keeps_from_start {
        true => Exit::Configuration,
        false => Exit::Done,
    })
}

/// Whether each filter takes connections.
async fn silent_filters(config: &Config) -> Vec<Finding> {
    let mut silent = Vec::new();
    for filter in &config.filtering.filters {
        let connected = timeout(FILTER_PATIENCE, filter.address.connect()).await;
        let why = match connected {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        let warning = Warning::FilterSilent(filter.name.clone(), why);
        silent.push(Finding {
            code: warning.code(),
            message: warning.to_string(),
        });
    }
    silent
}

fn answer(config: &Config, findings: Vec<Finding>, keeps_from_start: bool) -> Answer {
    let host = &config.server.hostname;
    let warnings = config
        .warnings()
        .into_iter()
        .chain(host::of_host(config))
        .map(|warning| Finding::from(&warning));
    let free = Free::of(&config.server.data_directory).ok();
    let of_disk = free
        .and_then(|free| health::room(free, (&config.storage).into()))
        .map(Finding::from);
    let findings: Vec<Finding> = warnings
        .chain(findings)
        .chain(of_disk)
        .chain(issued(config).into_iter().map(Finding::from))
        .collect();
    let mut text = match keeps_from_start {
        true => format!("The daemon of {host} does not start.\n"),
        false => format!("The configuration of {host} can be used.\n"),
    };
    text.extend(
        findings
            .iter()
            .map(|finding| format!("Look again: {}.\n", finding.message)),
    );
    let objects: Vec<Value> = findings
        .iter()
        .map(|finding| json!({ "code": finding.code, "message": finding.message }))
        .collect();
    Answer {
        text,
        json: json!({
            "result": if keeps_from_start { "refused" } else { "done" },
            "hostname": host.as_str(),
            "warnings": objects,
        }),
    }
}

/// The configuration, if it can be used, and what is worth a second look around it.
async fn check(config: Config) -> anyhow::Result<(Config, Vec<Finding>)> {
    let is_file = matches!(config.storage.database, config::Database::Sqlite);
    if is_file {
        Place::File(config.server.database()).demand_finished()?;
    }
    config::load_master_key(&config).context("the master key cannot be used")?;
    logs::demand(&config)?;
    host::demand_apart(&config)?;
    check_own_certificate(&config)?;
    for (certificate, key) in config.tls.pairs() {
        Acceptor::new(&Identity::load(certificate, key).context("[tls] names files that cannot be used")?)
            .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    }
    if let Some(path) = &config.outbound.root_certificates {
        WebPki::load(path).with_context(|| {
            format!(
                "{} has no root certificates (outbound.root_certificates)",
                path.display()
            )
        })?;
    }
    config
        .outbound
        .roots()
        .context("outbound.root_certificates or outbound.revocation_lists cannot be used")?;
    for path in config
        .outbound
        .transports
        .iter()
        .filter_map(|transport| transport.credentials.as_deref())
    {
        check_credentials(path).map_err(|why| UnusableCredentials {
            path: path.to_owned(),
            why,
        })?;
    }
    config.dns.resolver()?;
    config.filters(FilteredMail::Incoming)?;
    config.filters(FilteredMail::Submission)?;
    if let PasswordsAt::Dovecot(socket) = &config.accounts.authentication {
        let probed = Dovecot::new(socket.clone()).probe().await;
        probed.with_context(|| format!("{} cannot be used", socket.display()))?;
    }
    let mut findings = surroundings::findings(&config).await;
    let place = Place::File(config.server.database());
    if is_file && let Err(store::Error::NoDatabase(path)) = place.demand_there() {
        // Of a folder that is missing it was said already.
        if config.server.data_directory.is_dir() {
            findings.push(health::no_database(&path).into());
        }
        return Ok((config, findings));
    }
    let context = Context::open(config).await?;
    check_in_charge(&context).await?;
    findings.extend(surroundings::unserved(&context).await?);
    findings.extend(surroundings::without_keys(&context).await?);
    findings.extend(passing_through(&context).await?.iter().map(Finding::from));
    findings.extend(nobody_there(&context).await?.iter().map(Finding::from));
    findings.extend(idle_aliases(&context).await?.iter().map(Finding::from));
    Ok((context.config, findings))
}

/// The pair that was made here, if it was; else it is made at the start.
fn check_own_certificate(config: &Config) -> anyhow::Result<()> {
    let (made, _) = config.self_signed_pair();
    if !made.exists() {
        return Ok(());
    }
    for identity in [config.dmtp_identity(), config.smtp_identity()] {
        let identity = identity.context("the certificate cannot be used")?;
        Acceptor::new(&identity).context("the certificate cannot be used")?;
    }
    Ok(())
}

impl From<&Warning> for Finding {
    fn from(warning: &Warning) -> Self {
        Self {
            code: warning.code(),
            message: warning.to_string(),
        }
    }
}

/// What is odd about mail that only passes through.
async fn passing_through(context: &Context) -> anyhow::Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    for RelayDomain {
        name, verification, ..
    } in context.store.list_relay_domains().await?
    {
        match verification {
            Verification::None => warnings.push(Warning::RelayUnverified(name)),
            Verification::List if is_empty(context, &name).await? => {
                warnings.push(Warning::RelayListEmpty(name));
            }
            Verification::List | Verification::Callout => {}
        }
    }
    let is_served = context.store.first_domain().await?.is_some();
    if is_served && context.config.forwarding.srs && context.srs().domain().await?.is_none() {
        warnings.push(Warning::NoSrsDomain);
    }
    Ok(warnings)
}

async fn is_empty(context: &Context, relayed: &Domain) -> anyhow::Result<bool> {
    let first = context.store.list_relay_recipients(relayed, None, 1).await?;
    Ok(first.is_empty())
}

/// Who is named to get mail, and does not exist here.
async fn nobody_there(context: &Context) -> anyhow::Result<Vec<Warning>> {
    let config = &context.config;
    let named = [
        ("accounts.postmaster", &config.accounts.postmaster),
        ("local.fallback", &config.local.fallback),
    ];
    let accounts = context.accounts();
    let mut warnings = Vec::new();
    for (setting, address) in named {
        if let Some(address) = address
            && is_nobody(&accounts, address).await?
        {
            warnings.push(Warning::NobodyThere(setting, address.clone()));
        }
    }
    Ok(warnings)
}

/// Lines of the file of aliases that get nobody any mail; the first few of them.
async fn idle_aliases(context: &Context) -> anyhow::Result<Vec<Warning>> {
    let Some(path) = context.config.local.aliases_file() else {
        return Ok(Vec::new());
    };
    let accounts = context.accounts();
    // Whether the file can be read is told elsewhere.
    let Ok(loaded) = Loaded::read(&path, &context.config.host_names().origin) else {
        return Ok(Vec::new());
    };
    let idle = accounts.idle_aliases(&loaded).await?;
    Ok(idle.into_iter().take(10).map(Warning::Aliases).collect())
}

/// Whether the address is one of ours that nobody has.
async fn is_nobody(accounts: &Accounts, address: &Mailbox) -> Result<bool, accounts::Error> {
    match accounts.resolve(address).await {
        Ok(Resolution::Targets(_) | Resolution::NotLocal) => Ok(false),
        // That is a warning of its own.
        Err(accounts::Error::AliasesUnread) => Ok(false),
        Ok(Resolution::Unknown) | Err(accounts::Error::AliasLoop) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Every domain must have somebody who gets mail for its postmaster (RFC 5321 §4.5.1), and about abuse (RFC 2142).
pub async fn check_in_charge(context: &Context) -> anyhow::Result<()> {
    demand_somebody(context, nobodys(context).await?.into_iter().next()).await
}

/// The same of one domain.
pub async fn check_in_charge_of(context: &Context, domain: &Domain) -> anyhow::Result<()> {
    let mut nobodys = nobodys(context).await?.into_iter();
    let first = nobodys.find(|address| address.domain() == domain);
    demand_somebody(context, first).await
}

async fn demand_somebody(context: &Context, nobodys: Option<Mailbox>) -> anyhow::Result<()> {
    match nobodys {
        Some(address) => {
            let named = lost_postmaster(context, &context.accounts()).await?;
            Err(NobodyInCharge { address, named }.into())
        }
        None => Ok(()),
    }
}

/// Addresses of postmasters, and for news of abuse, whose mail nobody gets.
pub async fn nobodys(context: &Context) -> anyhow::Result<Vec<Mailbox>> {
    let accounts = context.accounts();
    let mut found = Vec::new();
    for domain in context.store.list_domains().await? {
        for local in ["postmaster", "abuse"] {
            let address = Mailbox::parse(&format!("{local}@{}", domain.name))?;
            if is_nobody(&accounts, &address).await? {
                found.push(address);
            }
        }
    }
    Ok(found)
}

/// The postmaster of the configuration, if there is nobody of that name.
async fn lost_postmaster(context: &Context, accounts: &Accounts) -> Result<Option<Mailbox>, accounts::Error> {
    match &context.config.accounts.postmaster {
        Some(named) => Ok(is_nobody(accounts, named).await?.then(|| named.clone())),
        None => Ok(None),
    }
}

/// Mail that must be taken would be refused.
#[derive(Debug, thiserror::Error)]
#[error("nobody gets mail for {address}: {}", advice(.named.as_ref()))]
pub struct NobodyInCharge {
    address: Mailbox,
    /// The postmaster of the configuration, if that is why.
    named: Option<Mailbox>,
}

fn advice(named: Option<&Mailbox>) -> String {
    match named {
        Some(named) => {
            format!(
                "`postmaster` in [accounts] names {named}, who has neither account nor alias here: add one"
            )
        }
        None => "add an account or alias of that name, or set `postmaster` in [accounts]".to_owned(),
    }
}

/// A file of `outbound.transports` that gives no name and password, or gives them to everybody.
#[derive(Debug, thiserror::Error)]
#[error("{}: not credentials", .path.display())]
pub struct UnusableCredentials {
    path: PathBuf,
    #[source]
    why: CredentialsTrouble,
}

#[derive(Debug, thiserror::Error)]
enum CredentialsTrouble {
    #[error("others can read it: run `chmod 600` on it")]
    Open,
    #[error(transparent)]
    File(#[from] CredentialsError),
}

/// Name and password for another host, which nobody else may read.
fn check_credentials(path: &Path) -> Result<(), CredentialsTrouble> {
    let metadata = std::fs::metadata(path).map_err(CredentialsError::from)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(CredentialsTrouble::Open);
    }
    let text = Secret::new(std::fs::read(path).map_err(CredentialsError::from)?);
    parse_credentials(text.expose())?;
    Ok(())
}
