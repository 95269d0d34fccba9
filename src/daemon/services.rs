//! Everything the daemon's parts share, built from the configuration.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::callout::Callouts;
use super::dns_watch::DnsWatch;
use super::reload::{Base, Identities, parts};
use super::session::logins::Refusals;
use super::{Error, alias_watch};
use crate::abuse::{Gate, Sending};
use crate::accounts::{Accounts, HostNames};
use crate::authentication::{Keys, Srs};
use crate::base::allowance::Allowance;
use crate::base::budget::Budget;
use crate::base::guarded_clock::GuardedClock;
use crate::base::space::Space;
use crate::base::time::Clock;
use crate::config::{self, Config, Outbound, TrapMail};
use crate::delivery::dmtp::DmtpDelivery;
use crate::delivery::local::{LocalDelivery, Mailboxes};
use crate::delivery::maildir::Maildirs;
use crate::delivery::smtp::{self, Connectors, SmtpDelivery};
use crate::delivery::windows::Hosts;
use crate::domains::sts::MtaSts;
use crate::domains::{Domains, DxConnector, DxPorts, DxSessions, Limits};
use crate::filters::Filter;
use crate::mail::address::Domain;
use crate::net::dns::Resolver;
use crate::net::tls::{Acceptor, Connector};
use crate::queue::attempt::Mailer;
use crate::queue::names::Names;
use crate::queue::observer::Observer;
use crate::queue::outages::Outages;
use crate::queue::pause::Pause;
use crate::queue::plan::Planner;
use crate::queue::signing::Signing;
use crate::screening::Screening;
use crate::signet_service::{Chains, Desk, Directory, Enumeration, Published};
use crate::store::{MasterKey, Store, StsPolicies};

/// Signets asked for in a row for one peer none of whose messages has verified, and how soon it may have another one.
/// Peers decide which domain is asked, and others shall not be asked on behalf of just anybody (`dmime2.md` §10.3 step 6).
const INQUIRIES: u32 = 20;
const INQUIRY_REGAINED_IN: Duration = Duration::from_secs(10);

/// Reports taken in a row for one sender behind a rewritten reverse-path, and how soon another one is. Everybody who gets mail
/// under such a path can send to it.
const REPORTS: u32 = 50;
const REPORT_REGAINED_IN: Duration = Duration::from_secs(600);

/// Objects checked or opened at the same time for each processor: some wait for the disk.
const CHECKS_PER_PROCESSOR: usize = 4;

/// What sessions and attempts work with. A copy shares everything but the configuration.
#[derive(Clone)]
pub struct Services {
    /// The configuration file.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The same, which notices when it jumps.
    pub guarded_clock: Arc<GuardedClock>,
    /// Room for what comes in.
    pub space: Arc<Space>,
    /// An operator wants nothing new to be begun.
    pub pause: Arc<Pause>,
    /// Everything on disk.
    pub store: Arc<dyn Store>,
    /// DNS.
    pub resolver: Arc<dyn Resolver>,
    /// What its name servers were found to be.
    pub dns_watch: Arc<DnsWatch>,
    /// Others' domains.
    pub domains: Arc<Domains>,
    /// The names of this host.
    pub host: Arc<HostNames>,
    /// Our users.
    pub accounts: Arc<Accounts>,
    /// Our signets.
    pub published: Arc<Published>,
    /// What anybody may ask of them.
    pub desk: Desk,
    /// Who may leave messages by DMTP once it is proven who they are.
    pub gate: Arc<Gate>,
    /// Who asks for too many users.
    pub enumeration: Arc<Enumeration>,
    /// Anybody's signets.
    pub directory: Arc<Directory>,
    /// Sessions with others' delivery hosts.
    pub dx: Arc<DxConnector>,
    /// Sessions with others' mail hosts.
    pub smtp: Arc<SmtpDelivery>,
    /// Rewrites reverse-paths of what aliases pass on, and reads those that come back.
    pub srs: Arc<Srs>,
    /// Reports for senders behind rewritten reverse-paths, by sender, folded.
    pub reports: Allowance<String>,
    /// Asks next hosts of relay domains for recipients.
    pub callouts: Arc<Callouts>,
    /// Our certificate for SMTP and submission.
    pub smtp_tls: Acceptor,
    /// Our certificate for DMTP.
    pub dmtp_tls: Acceptor,
    /// What these two show.
    pub identities: Identities,
    /// Names for which `STARTTLS <host>` is answered.
    pub hosts: Vec<Domain>,
    /// Memory for messages that come in and are held whole. Peers can use it up, so the queue has its own.
    pub arrivals: Budget,
    /// Turns in checking and opening what comes in over DMTP.
    pub checks: Arc<Semaphore>,
    /// Signets that others are asked for on behalf of peers who have not proven who they are, by peer.
    pub inquiries: Allowance<IpAddr>,
    /// Logins refused, by peer.
    pub refused_logins: Refusals,
    /// Memory for messages of the queue that are held whole.
    pub budget: Budget,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// The mailboxes of our users.
    pub maildirs: Arc<Maildirs>,
    /// The same, with the mailbox server.
    pub mailboxes: Arc<Mailboxes>,
    /// How much each of our users may send.
    pub sending: Sending,
    /// What hosts are measured by that have not logged in.
    pub screening: Arc<Screening>,
    /// How much each network may send whose hosts need not log in.
    pub sending_of_networks: Sending,
    /// Keys that sign the mail of our domains.
    pub dkim: Arc<Keys>,
    /// Who is asked about mail.
    pub filters: Arc<Filters>,
}

/// Filters by the mail that they are asked about.
pub struct Filters {
    /// From other hosts.
    pub incoming: Vec<Filter>,
    /// From our users, and from hosts that may send as they do.
    pub submission: Vec<Filter>,
}

fn checks_at_once() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    CHECKS_PER_PROCESSOR * processors
}

impl Services {
    /// Opens the store and loads keys and certificates.
    pub async fn open(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        let place = config.place()?;
        // First: the master key may be in the backup. Nothing is made here: where the database is missing, its disk may not be
        // mounted, and an empty one would refuse and return everybody's mail.
        place.demand_there()?;
        let master_key = MasterKey::new(config::load_master_key(&config)?);
        let (store, guarded) = place.open(master_key).await?;
        let clock: Arc<dyn Clock> = Arc::clone(&guarded) as _;
        let store: Arc<dyn Store> = Arc::new(store);
        let Planner {
            domains,
            directory,
            published,
            ..
        } = planner(&config, &store, &clock)?;
        let dx = Arc::clone(&directory.dx);
        let resolver = Arc::clone(&dx.resolver);
        let dkim = Keys::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&resolver));
        let base = Base {
            store: &store,
            clock: &clock,
        };
        let screening = base.screening(&config, &resolver);
        let host = Arc::new(config.host_names());
        alias_watch::look(&host);
        let accounts = base.accounts(&config, &host);
        let filters = Filters::of(&config)?;
        let smtp = Arc::new(SmtpDelivery {
            resolver: Arc::clone(&resolver),
            sts: Arc::clone(&dx.sts),
            outgoing: (&config.outbound).into(),
            connectors: Connectors::new(dx.roots.as_ref())?,
            hello: config.helo().clone(),
            ours: config.names(),
            listeners: config.listen.for_mail(),
            port: config.outbound.smtp_port.get(),
            sessions: smtp::sessions(),
            hosts: Arc::new(Hosts::new(config.queue.per_destination.get())),
        });
        let maildirs = Arc::new(config.maildirs());
        let identities = Identities::at_start(&config)?;
        Ok(Self {
            filters,
            srs: base.srs(&config),
            reports: Allowance::new(REPORTS, REPORT_REGAINED_IN),
            callouts: base.callouts(&config, &smtp),
            smtp,
            guarded_clock: guarded,
            space: Arc::new(config.space()),
            pause: Arc::default(),
            dns_watch: Arc::default(),
            desk: Desk {
                published: Arc::clone(&published),
                accounts: Arc::clone(&accounts),
            },
            gate: base.gate(&config),
            enumeration: parts::enumeration(&config),
            accounts,
            host,
            smtp_tls: identities.smtp.acceptor.clone(),
            dmtp_tls: identities.dmtp.acceptor.clone(),
            identities,
            hosts: parts::hosts(store.as_ref()).await?,
            arrivals: parts::budget(&config),
            checks: Arc::new(Semaphore::new(checks_at_once())),
            inquiries: Allowance::new(INQUIRIES, INQUIRY_REGAINED_IN),
            refused_logins: parts::refusals(&config),
            budget: parts::budget(&config),
            directory,
            mailboxes: Arc::new(config.mailboxes(Arc::clone(&maildirs))),
            maildirs,
            sending: parts::sending(&config),
            sending_of_networks: parts::sending_of_networks(&config),
            config,
            clock,
            store,
            resolver,
            domains,
            published,
            dx,
            observer,
            dkim: Arc::new(dkim),
            screening,
        })
    }

    /// What finds each recipient's way.
    pub fn planner(&self) -> Planner {
        Planner {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            domains: Arc::clone(&self.domains),
            directory: Arc::clone(&self.directory),
            published: Arc::clone(&self.published),
            policy: (&self.config.dmime).into(),
            settings: (&self.config.routing).into(),
            transports: self.config.transports(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// What writes addresses for the log.
    pub fn names(&self) -> Names {
        self.config.log.names(self.store.as_ref())
    }

    /// What makes the queue's attempts.
    pub fn mailer(&self) -> Mailer {
        Mailer {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            planner: self.planner(),
            local: LocalDelivery {
                accounts: Arc::clone(&self.accounts),
                srs: Arc::clone(&self.srs),
                mailboxes: Arc::clone(&self.mailboxes),
                keeps_trap_mail: self.config.abuse.trap_mail == TrapMail::Keep,
            },
            smtp: Arc::clone(&self.smtp),
            srs: Arc::clone(&self.srs),
            relay_lifetime: self.config.relay.lifetime(),
            signing: Signing {
                keys: Arc::clone(&self.dkim),
                resolver: Arc::clone(&self.resolver),
                host: self.config.server.hostname.clone(),
                arc: self.config.authentication.arc,
            },
            dmtp: DmtpDelivery {
                dx: Arc::clone(&self.dx),
                hosts: Arc::clone(&self.smtp.hosts),
            },
            schedules: self.config.queue.schedules(),
            host: self.config.server.hostname.clone(),
            budget: self.budget.clone(),
            names: self.names(),
            outages: Outages::default(),
            observer: Arc::clone(&self.observer),
        }
    }
}

/// What finds each recipient's way, without the rest of a daemon.
pub fn planner(config: &Config, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Result<Planner, Error> {
    let resolver = config.dns.resolver()?;
    let domains = Arc::new(Domains::new(
        Arc::clone(&resolver),
        Arc::clone(store) as Arc<dyn crate::store::Domains>,
        Arc::clone(clock),
        Limits::default(),
    ));
    let published = Published::new(Arc::clone(store), Arc::clone(clock));
    let published = Arc::new(published.with_times((&config.dmime).into()));
    let policies = Arc::clone(store) as Arc<dyn StsPolicies>;
    let dx = Arc::new(dx_connector(&config.outbound, resolver, Some(policies), clock)?);
    let directory = Directory {
        published: Arc::clone(&published),
        store: Arc::clone(store),
        domains: Arc::clone(&domains),
        dx,
        clock: Arc::clone(clock),
        chains: Chains::default(),
    };
    Ok(Planner {
        store: Arc::clone(store),
        host: Arc::new(config.host_names()),
        domains,
        directory: Arc::new(directory),
        published,
        policy: (&config.dmime).into(),
        settings: (&config.routing).into(),
        transports: config.transports(),
        clock: Arc::clone(clock),
    })
}

/// What opens sessions with delivery hosts. It needs no store, but without one no MTA-STS policy is kept.
pub fn dx_connector(
    outbound: &Outbound,
    resolver: Arc<dyn Resolver>,
    policies: Option<Arc<dyn StsPolicies>>,
    clock: &Arc<dyn Clock>,
) -> Result<DxConnector, Error> {
    let roots = outbound.roots()?;
    let web = outbound.https(&resolver, roots.as_ref())?;
    let sts = MtaSts::new(Arc::clone(&resolver), policies, Arc::clone(clock), Arc::new(web));
    Ok(DxConnector {
        resolver,
        clock: Arc::clone(clock),
        outgoing: outbound.into(),
        connector: Connector::new()?,
        sts: Arc::new(sts),
        // A machine without root certificates can still use records that DNSSEC vouches for.
        roots,
        ports: DxPorts {
            single: outbound.dmtp_port.get(),
            dual: outbound.smtp_port.get(),
            dual_fallback: outbound.submission_port.get(),
        },
        sessions: DxSessions::default(),
    })
}
