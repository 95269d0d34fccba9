//! What hosts that bring mail by SMTP are measured by, before anything of it is taken: lists in DNS, their names, whether they
//! come again, and how much they bring. All of it is off unless configured.
//!
//! | What | Known from | Errors of DNS |
//! |---|---|---|
//! | lists in DNS ([`lists`], RFC 5782) | the address, the reverse-path's domain | count as not listed |
//! | names ([`names`]) | EHLO, reverse DNS, the reverse-path's domain | put off at most |
//! | greylisting ([`crate::store::Greylist`]) | network, reverse-path, recipient | |
//! | rates (`rates`) | network; domain of the reverse-path where SPF passes | the network counts alone |
//!
//! It is judged at RCPT, so that `postmaster` and `abuse` of every domain get mail from everybody (RFC 5321 §4.5.1, RFC
//! 2142), and whoever is refused can ask why. Nothing is looked up before somebody here is named. Never measured are hosts on this
//! machine, those in `exempt` networks, and whoever has logged in; peers who speak DMTP prove who they are, and [`crate::abuse`]
//! holds for them.
//!
//! Of the lists, one that allows comes first: its hosts are measured by their rate alone.

pub mod lists;
mod mark;
pub mod names;
mod rates;
mod visit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::authentication::spf;
use crate::base::network::Network;
use crate::base::time::Clock;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::net::dns::Resolver;
use crate::store::{self, Attempt, GreylistTerms, Greylisted, Store};

pub use lists::{Answers, List, Subject};
use lists::{Listing, Lists};
use names::Fault;
use rates::Rates;
pub use visit::{Measured, Visit};

/// Time for one question to DNS, or all of SPF or reverse DNS.
const PATIENCE: Duration = Duration::from_secs(10);

/// Local-parts that everybody may write to, in every domain.
const ALWAYS_OPEN: [&str; 2] = ["postmaster", "abuse"];

/// What follows from what was found; the later is the stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Action {
    /// It is not looked for.
    #[default]
    Off,
    /// A field of the message says it.
    Mark,
    /// The message is put off.
    Defer,
    /// The message is refused.
    Reject,
}

/// How hosts are measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What only we may call ourselves.
    pub own_names: Vec<Domain>,
    /// Networks of hosts that are not measured.
    pub exempt: Vec<Network>,
    /// Leading bits that make a network of an IPv4 address.
    pub ipv4_bits: u8,
    /// The same of an IPv6 address.
    pub ipv6_bits: u8,
    /// What follows from names.
    pub names: names::Settings,
    /// Lists in DNS.
    pub lists: Vec<List>,
    /// Who comes for the first time is asked to come again.
    pub greylist: Option<GreylistTerms>,
    /// Whether senders whom SPF lets send from where they do need not.
    pub greylist_passes_spf: bool,
    /// How much one network or domain may bring.
    pub rates: rates::Settings,
}

pub use rates::Settings as RateSettings;

/// Why a recipient is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whether it may be tried again.
    pub for_now: bool,
    /// What speaks against it.
    pub why: Why,
}

/// What speaks against a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A list in DNS.
    Listed(Listing),
    /// The host's name, or the sender's.
    Name(Fault),
    /// It comes for the first time; so long it has to wait.
    Greylisted(Duration),
    /// The network has brought its share of messages or recipients within the hour.
    NetworkRate,
    /// The sender's domain has.
    DomainRate,
}

impl Why {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Listed(_) => "listed",
            Self::Name(fault) => fault.word(),
            Self::Greylisted(_) => "greylisted",
            Self::NetworkRate => "network_rate",
            Self::DomainRate => "domain_rate",
        }
    }
}

/// Why a recipient is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of what was found.
    #[error("refused: {}", .0.why.word())]
    Refused(Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Measures hosts; one for all sessions.
pub struct Screening {
    settings: Settings,
    lists: Lists,
    resolver: Arc<dyn Resolver>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rates: Rates,
}

impl Screening {
    /// Rates are counted in memory, and forgotten with it.
    pub fn new(
        settings: Settings,
        resolver: Arc<dyn Resolver>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            lists: Lists::new(settings.lists.clone()),
            rates: Rates::new(&settings.rates),
            settings,
            resolver,
            store,
            clock,
        }
    }

    /// Tests whether lists in DNS can be used. What changes is told.
    pub async fn test_lists(&self) {
        self.lists.test(self.resolver.as_ref()).await;
    }

    /// Whether the network of an address may have another connection; it counts.
    pub fn may_connect(&self, peer: IpAddr, now: Instant) -> bool {
        !self.measures(peer) || self.rates.connect(self.network(peer), now)
    }

    /// What is to be known of a host that connects from there; `None` if it is not measured.
    pub fn visit(self: &Arc<Self>, peer: IpAddr) -> Option<Visit> {
        let is_measured = self.measures(peer);
        is_measured.then(|| Visit::new(Arc::clone(self), peer.to_canonical()))
    }

    fn measures(&self, peer: IpAddr) -> bool {
        let is_exempt = |network: &Network| network.contains(peer);
        !peer.to_canonical().is_loopback() && !self.settings.exempt.iter().any(is_exempt)
    }

    fn network(&self, peer: IpAddr) -> Network {
        let bits = match peer.to_canonical() {
            IpAddr::V4(_) => self.settings.ipv4_bits,
            IpAddr::V6(_) => self.settings.ipv6_bits,
        };
        Network::of(peer, bits)
    }

    /// Whether SPF lets the host send for the domain of the reverse-path.
    async fn passes_spf(&self, peer: IpAddr, hello: &str, path: &ReversePath) -> bool {
        let Some(sender) = &path.0 else {
            return false;
        };
        let client = spf::Client {
            address: peer,
            hello,
            identity: spf::Identity::MailFrom {
                local: sender.local(),
                domain: sender.domain(),
            },
        };
        let checking = spf::check(self.resolver.as_ref(), &client);
        matches!(timeout(PATIENCE, checking).await, Ok(spf::Verdict::Pass))
    }

    async fn greylist(
        &self,
        terms: &GreylistTerms,
        peer: IpAddr,
        path: &ReversePath,
        recipient: &Mailbox,
    ) -> Result<(), Error> {
        let attempt = Attempt {
            network: self.network(peer),
            reverse_path: path.clone(),
            recipient: recipient.clone(),
        };
        match self.store.greylist(&attempt, terms, self.clock.now()).await? {
            Greylisted::Pass => Ok(()),
            Greylisted::Wait(rest) => Err(for_now(Why::Greylisted(rest))),
        }
    }
}

fn for_now(why: Why) -> Error {
    Error::Refused(Refused { for_now: true, why })
}

/// Whether everybody may write to an address.
fn is_always_open(recipient: &Mailbox) -> bool {
    ALWAYS_OPEN
        .iter()
        .any(|local| recipient.local().eq_ignore_ascii_case(local))
}
