//! `dimed signet fetch`: asks the domain that a signet belongs to, without a daemon or a store.

mod custody;
mod error;
mod findings;
mod report;

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use self::findings::Findings;
use crate::base::time::{Clock, SystemClock};
use crate::cli::answer::check_output;
use crate::cli::exit::told;
use crate::cli::files::{FileName, Outputs};
use crate::cli::{Exit, Misuse, load};
use crate::config::{self, Dns, Outbound, Validation};
use crate::daemon;
use crate::dime::fingerprint::AnyFingerprint;
use crate::dime::signet::Kind;
use crate::dmtp::name::Name;
use crate::domains::DxConnector;
use crate::net::tls::WebPki;

pub use error::Error;

/// Fetch a signet from the domain that it belongs to, and verify it.
///
/// The domain's management record is looked up in DNS, one of its delivery hosts is asked over DMTP,
/// and everything is verified on the way: the record by DNSSEC, as far as its zone is signed; the
/// host's certificate by the record; the organization's signet by a key in the record; a user's by
/// the organization's; both for the name that was asked for. Hosts are tried in this order: those in
/// the record (dx), on the port for DMTP alone; if it has none, the first three mail hosts (MX), on
/// that port and then on the SMTP port; last, the domain itself.
///
/// No daemon, no database and, without --config, no configuration is needed. With one, its name
/// servers, ports, roots and revocation lists are the defaults. Nothing is remembered: --from says
/// what you had before, and then the present signet must follow from it. Of a user, the signing key
/// is the same, or the chain of custody (HIST) leads to it, each key signed by the one before; of a
/// domain, the primary key is the same, or DNSSEC proves the record that has the new one.
///
/// What was found out is told with its proof, and behind it stands the signet, armored, so that
/// other commands can read the answer. With --out, the signet goes there.
///
/// Exit codes: 0 valid; 1 not valid, or no such signet, and the name of the error says why; 2 usage;
/// 75 the domain cannot be asked now.
///
/// Examples:
///
///     dimed signet fetch example.org
///     dimed signet fetch bob@example.org --out bob.signet --org-out example.org.signet
///     dimed signet fetch bob@example.org --from bob.signet --history --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Fetch {
    /// The domain or address.
    name: Name,
    /// The signet with that fingerprint (crypto or full), in the place of the current one.
    #[arg(long, value_name = "B64", value_parser = fingerprint, conflicts_with_all = ["from", "history"])]
    fingerprint: Option<AnyFingerprint>,
    /// A signet of the same name from before; - is standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<FileName>,
    /// Show every signet of the user, or every one since --from, and check each link of the chain of custody.
    #[arg(long)]
    history: bool,
    /// Where to write the signet; - is standard output, and then nothing else is written there.
    #[arg(long, short, value_name = "FILE")]
    out: Option<FileName>,
    /// Where to write the signet of the organization, too.
    #[arg(long, value_name = "FILE")]
    org_out: Option<FileName>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ways: Ways,
}

/// Whom to ask, and whom to believe.
#[derive(Debug, Args)]
struct Ways {
    /// Name server to ask, as address and port; may be repeated. Answers are validated here. [default: those of
    /// the system]
    #[arg(long, value_name = "ADDRESS")]
    server: Vec<SocketAddr>,
    /// File with DNSKEY or DS records that DNSSEC signatures must chain to. [default: those of the root]
    #[arg(long, value_name = "FILE")]
    trust_anchors: Option<PathBuf>,
    /// PEM file with root certificates, for hosts that no proven record vouches for. [default: those of the
    /// system]
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// Port of delivery hosts for DMTP alone. [default: 26]
    #[arg(long, value_name = "PORT")]
    port: Option<NonZeroU16>,
    /// Port of mail hosts where SMTP is spoken, too. [default: 25]
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<NonZeroU16>,
}

fn fingerprint(text: &str) -> Result<AnyFingerprint, String> {
    AnyFingerprint::parse(text).map_err(|_| "not a fingerprint: 86 characters of base64".to_owned())
}

/// Fetches; the configuration is read if `config` is not where it is looked for when nothing is said.
pub async fn run(fetch: &Fetch, config: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    fetch.check(json)?;
    let before = fetch
        .from
        .as_ref()
        .map(|file| custody::Before::read(file, &fetch.name));
    let before = before.transpose()?;
    let dx = fetch.ways.connector(config)?;
    let mut findings = Findings::new(fetch.name.clone());
    let asked = findings.collect(&dx, fetch, before.as_ref()).await;
    let exit = asked.as_ref().map_or_else(Error::exit, |()| Exit::Done);
    if exit == Exit::Done {
        fetch.write(&findings, out)?;
    }
    if fetch.speaks(exit) {
        report::answer(&findings, asked.err().as_ref(), fetch.out.as_ref()).write(json, out)?;
    }
    Ok(exit)
}

impl Fetch {
    fn check(&self, json: bool) -> anyhow::Result<()> {
        if self.history && self.name.address().is_none() {
            let text = "only a user has a chain of custody: --history goes with an address";
            return Err(Misuse(text.into()).into());
        }
        if self.name.address().is_none() && self.org_out.is_some() {
            return Err(Misuse("the signet of a domain is written with --out".into()).into());
        }
        let outputs = || [&self.out, &self.org_out].into_iter().flatten();
        for file in outputs() {
            check_output(json, file)?;
            // What cannot be written need not be fetched.
            file.check_output(self.force)?;
        }
        match outputs().filter(|file| file.is_standard()).count() {
            0 | 1 => Ok(()),
            _ => Err(Misuse("two signets cannot share standard output".into()).into()),
        }
    }

    /// A signet on standard output is alone there; a failure is told anyway.
    fn speaks(&self, exit: Exit) -> bool {
        let mut outputs = [&self.out, &self.org_out].into_iter().flatten();
        exit != Exit::Done || !outputs.any(FileName::is_standard)
    }

    fn write(&self, findings: &Findings, out: &mut dyn Write) -> anyhow::Result<()> {
        let files = [
            (&self.out, findings.asked_for()),
            (&self.org_out, findings.signet(Kind::Organization)),
        ];
        let mut outputs = Outputs::new(self.force);
        for (file, signet) in files {
            if let (Some(file), Some(signet)) = (file, signet) {
                outputs = outputs.public(file, signet.to_armor().as_bytes());
            }
        }
        Ok(outputs.write(out)?)
    }
}

/// A file that an option names.
fn unusable(option: &str, error: anyhow::Error) -> anyhow::Error {
    Misuse(format!("{option}: {}", told(&error))).into()
}

impl Ways {
    fn connector(&self, config: &Path) -> anyhow::Result<DxConnector> {
        let (mut dns, mut outbound) = match config == Path::new(config::DEFAULT_PATH) {
            true => (Dns::default(), Outbound::default()),
            false => {
                let config = load(config)?;
                (config.dns, config.outbound)
            }
        };
        if !self.server.is_empty() {
            dns.servers.clone_from(&self.server);
            dns.validation = Validation::Dnssec;
        }
        if self.trust_anchors.is_some() {
            dns.trust_anchors.clone_from(&self.trust_anchors);
        }
        if self.roots.is_some() {
            outbound.root_certificates.clone_from(&self.roots);
        }
        outbound.dmtp_port = self.port.unwrap_or(outbound.dmtp_port);
        outbound.smtp_port = self.smtp_port.unwrap_or(outbound.smtp_port);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let resolver = dns.resolver().map_err(|error| match self.trust_anchors {
            Some(_) => unusable("--trust-anchors", error.into()),
            None => error.into(),
        })?;
        if let Some(path) = &self.roots {
            WebPki::load(path).map_err(|error| unusable("--roots", error.into()))?;
        }
        Ok(daemon::dx_connector(&outbound, resolver, None, &clock)?)
    }
}
