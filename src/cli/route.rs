//! `dimed route …`.

mod fate;
mod hosts;
mod report;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use rand::rngs::StdRng;
use tokio::time::timeout;

use super::Exit;
use super::context::Context;
use crate::accounts::{self, Resolution, Target};
use crate::base::secret::Secret;
use crate::base::time::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon;
use crate::delivery::smtp::{
    Common, CredentialsError, MAX_HOSTS, NoAddress, elsewhere, find, parse_credentials, to_address,
};
use crate::domains::sts::StsFacts;
use crate::domains::{self, MailHosts};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::demand::{Demand, TlsDemand};
use crate::net::connect::Outgoing;
use crate::net::dns::{Proof, Resolver};
use crate::queue::parties::Sender;
use crate::queue::plan::{Planner, dime_form};
use crate::routing::transport::Endpoint;
use crate::routing::{Decision, DmtpFinding, Reason, Route, Transport, decide};
use crate::store::{LocalDomain, Source};
use fate::Fate;
use hosts::Mail;
use report::{Hosts, Report};

/// How long the host that the operator names may take to be reached.
const PROBED_FOR: Duration = Duration::from_secs(5);

/// Addresses of it that are tried.
const PROBED_ADDRESSES: usize = 4;

/// Commands about the way that mail takes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look up what is known of a recipient's domain, and say which way mail would take and why. Sends nothing.
    ///
    /// By SMTP, every mail host is named with what DANE and MTA-STS demand of its TLS, or the host that the configuration
    /// names for the domain, which is connected to. For addresses here it says where the mail is put.
    ///
    /// A DIME domain is asked for its signet and the recipient's. What their key sets say is remembered, as it is when mail
    /// is sent; the format that follows is part of the answer. So is whether others find the management record of the author's domain:
    /// mail that would be sealed waits for it.
    ///
    /// Exits with 75 if mail would wait, and with 1 if it would be refused or returned.
    Explain {
        /// The recipient.
        address: Mailbox,
        /// The author. Without it nobody in particular writes, from the first of our domains that has DIME.
        #[arg(long, value_name = "ADDRESS")]
        from: Option<Mailbox>,
        /// What the author demands.
        #[arg(long, value_enum)]
        demand: Option<Demanded>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// What an author can demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Demanded {
    /// D/MIME or nothing: `DIME-Required: Yes`.
    Dime,
    /// Verified TLS all the way: REQUIRETLS.
    Requiretls,
    /// That policies about TLS be ignored: `TLS-Required: No`.
    NoTlsPolicy,
}

impl From<Demanded> for Demand {
    fn from(demanded: Demanded) -> Self {
        let tls = |tls| Self { dime: false, tls };
        match demanded {
            Demanded::Dime => Self {
                dime: true,
                tls: TlsDemand::Policy,
            },
            Demanded::Requiretls => tls(TlsDemand::Required),
            Demanded::NoTlsPolicy => tls(TlsDemand::Waived),
        }
    }
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Command::Explain {
        address,
        from,
        demand,
        json,
    } = command;
    let demand = demand.map(Demand::from).unwrap_or_default();
    let context = Context::open(config).await?;
    let report = match context.accounts().resolve(&address).await {
        Ok(Resolution::NotLocal) => remote(&context, address, from, demand).await?,
        Ok(Resolution::Unknown) | Err(accounts::Error::AliasLoop) => Report::local(address, false),
        Ok(Resolution::Targets(targets)) => {
            let sealed = here(&context, &targets, from).await?;
            let report = Report::local(address, true);
            let decision = sealed.unwrap_or(report.decision);
            let places = targets.iter().map(|target| place(&context.config, target));
            Report {
                decision,
                places: places.collect(),
                ..report
            }
        }
        Err(error) => return Err(error.into()),
    };
    match json {
        true => writeln!(out, "{}", report.object())?,
        false => out.write_all(report.text().as_bytes())?,
    }
    Ok(Fate::of(&report).exit())
}

/// Where mail for somebody behind an address of ours goes in the end.
fn place(config: &Config, target: &Target) -> String {
    match target {
        Target::Remote(mailbox) => format!("sent on to {mailbox}"),
        Target::Local(account) => match config.delivery.server_of(account.address.domain()) {
            Some(server) => format!("by LMTP to {server}, for {}", account.address),
            None => {
                let folder = config.maildirs().folder(&account.address);
                format!("into the Maildir {}, of {}", folder.display(), account.address)
            }
        },
    }
}

/// Why the host that the operator names would not take mail now. It is connected to, and nothing is said to it.
async fn trouble_with(context: &Context, transport: &Transport, mail: Option<&Mail>) -> Option<String> {
    if let Some(login) = &transport.login {
        let text = tokio::fs::read(&login.credentials).await.map(Secret::new);
        let read = text.map_err(CredentialsError::from);
        if let Err(why) = read.and_then(|text| parse_credentials(text.expose())) {
            return Some(format!("{} {why}", login.credentials.display()));
        }
    }
    let way = mail?.ways.iter().find_map(|(_, way)| way.as_ref().ok())?;
    let outgoing = Outgoing::from(&context.config.outbound);
    let connected = outgoing.connect(&way.addresses, transport.port, PROBED_ADDRESSES);
    match timeout(PROBED_FOR, connected).await {
        Ok(Ok(_)) => None,
        Ok(Err(why)) => Some(format!("{} cannot be reached: {why}", transport.host)),
        Err(_) => Some(format!(
            "{} cannot be reached within {PROBED_FOR:?}",
            transport.host
        )),
    }
}

/// Of several accounts, the first that mail is sealed for or waits for.
async fn here(
    context: &Context,
    targets: &[Target],
    from: Option<Mailbox>,
) -> anyhow::Result<Option<Decision>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let planner = daemon::planner(&context.config, &context.store, &clock)?;
    let source = from.map_or(Source::Local, Source::Submission);
    for target in targets {
        if let Target::Local(account) = target {
            let decision = planner.explain_local(&account.address, &source).await?;
            if decision.reason != Reason::LocalDomain {
                return Ok(Some(decision));
            }
        }
    }
    Ok(None)
}

async fn remote(
    context: &Context,
    address: Mailbox,
    from: Option<Mailbox>,
    demand: Demand,
) -> anyhow::Result<Report> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let planner = daemon::planner(&context.config, &context.store, &clock)?;
    let source = from.clone().map_or(Source::Local, Source::Submission);
    let mut facts = planner.facts(address.domain(), &source).await?;
    facts.demand = demand;
    let (mut parties, mut trouble) = (None, None);
    if matches!(decide(&facts).route, Route::Dmtp { .. })
        && let Some(sender) = sender(context, &planner, from).await?
    {
        let asked = planner.ask(&dime_form(&address), &sender).await;
        facts.finding = asked.finding;
        parties = asked.found.map(|(_, _, parties)| parties);
        trouble = match asked.finding {
            DmtpFinding::OwnRecord(why) => Some(why.of(sender.domain.as_str())),
            _ => asked.trouble.map(|error| error.to_string()),
        };
    }
    let decision = decide(&facts);
    let resolver = planner.directory.dx.resolver.as_ref();
    let hosts = hosts(resolver, &context.config.names(), &address, &decision).await;
    let mail = mail(
        context,
        &planner,
        address.domain(),
        &hosts,
        (&decision, demand.tls),
    )
    .await?;
    if let Hosts::Operators(transport) = &hosts {
        trouble = trouble_with(context, transport, mail.as_ref()).await;
    }
    let is_relayed = context.store.relay_domain(address.domain()).await?.is_some();
    Ok(Report {
        address,
        is_relayed,
        known: None,
        places: Vec::new(),
        facts: Some(facts.domain),
        parent: facts.parent,
        hosts,
        mail,
        parties,
        trouble,
        decision,
    })
}

/// What is known of the sender's side; `None` if no domain of ours has DIME, or not the author's.
async fn sender(
    context: &Context,
    planner: &Planner,
    from: Option<Mailbox>,
) -> anyhow::Result<Option<Sender>> {
    let domains = context.store.list_domains().await?;
    let ours = |domain: &&LocalDomain| {
        let asked = from.as_ref().is_none_or(|from| *from.domain() == domain.name);
        asked && domain.dime.is_some()
    };
    let Some(domain) = domains.iter().find(ours) else {
        return Ok(None);
    };
    let Some(organization) = planner.published.organization(&domain.name).await? else {
        return Ok(None);
    };
    let author = match &from {
        Some(from) => planner.published.user(from).await?,
        None => None,
    };
    let author = from.as_ref().zip(author.as_ref().map(|user| &user.signet));
    Ok(Some(planner.sender(&organization.signet, author).await?))
}

/// How each of the hosts would be sent to by SMTP; nothing is connected to but the web server of an MTA-STS policy.
async fn mail(
    context: &Context,
    planner: &Planner,
    destination: &Domain,
    hosts: &Hosts,
    (decision, demand): (&Decision, TlsDemand),
) -> anyhow::Result<Option<Mail>> {
    let Route::Smtp { tls, transport } = &decision.route else {
        return Ok(None);
    };
    let dx = &planner.directory.dx;
    let listeners = context.config.listen.for_mail();
    let common = |list, sts| Common {
        destination,
        list,
        sts,
        wanted: *tls,
        demand,
        port: context.config.outbound.smtp_port.get(),
        transport: None,
    };
    match (hosts, transport) {
        (_, Some(transport)) => {
            let sts = StsFacts::none();
            let common = Common {
                port: transport.port,
                transport: Some(transport),
                ..common(Proof::Secure, &sts)
            };
            let way = match &transport.host {
                Endpoint::Host(host) => find(dx.resolver.as_ref(), host, &common).await,
                Endpoint::Address(address) => Ok(to_address(*address, &common)),
            };
            let way = way.and_then(|way| elsewhere(way, &listeners, common.port));
            let ways = vec![(transport.host.to_string(), way)];
            Ok(Some(Mail { sts: None, ways }))
        }
        (Hosts::Mail(MailHosts::Hosts { hosts, proof }), None) => {
            let sts = dx.sts.facts(destination).await?;
            let common = common(*proof, &sts);
            let mut ways = Vec::new();
            for host in hosts.iter().take(MAX_HOSTS) {
                let way = find(dx.resolver.as_ref(), host, &common).await;
                let way = way.and_then(|way| elsewhere(way, &listeners, common.port));
                let is_ours = matches!(way, Err(NoAddress::Ours));
                ways.push((host.to_string(), way));
                // Those that the domain likes less are not tried.
                if is_ours {
                    break;
                }
            }
            Ok(Some(Mail { sts: Some(sts), ways }))
        }
        _ => Ok(None),
    }
}

async fn hosts(resolver: &dyn Resolver, ours: &[Domain], address: &Mailbox, decision: &Decision) -> Hosts {
    let mut rng: StdRng = rand::make_rng();
    match &decision.route {
        Route::Dmtp { record, .. } => {
            let hosts = domains::delivery_hosts(resolver, record, address.domain(), &mut rng);
            Hosts::Delivery(hosts.await)
        }
        Route::Smtp {
            transport: Some(transport),
            ..
        } => Hosts::Operators(Arc::clone(transport)),
        Route::Smtp { .. } => {
            Hosts::Mail(domains::mail_hosts(resolver, address.domain(), ours, &mut rng).await)
        }
        _ => Hosts::None,
    }
}
