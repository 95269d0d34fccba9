//! The function check_host() of RFC 7208 §4, within its limits on work.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::Verdict;
use super::expand::DomainSpec;
use super::record::{Mechanism, Prefixes, Record, is_record};
use crate::mail::address::Domain;
use crate::net::dns::{Family, Lookup, Resolver};

/// Terms that ask DNS, in all records together (§4.6.4).
const MAX_LOOKUPS: u32 = 10;
/// Questions that may find nothing (§4.6.4).
const MAX_VOID: u32 = 2;
/// Mail hosts of one `mx` (§4.6.4).
const MAX_MAIL_HOSTS: usize = 10;
/// Names of one address (§4.6.4).
const MAX_NAMES: usize = 10;
/// Time for everything (§4.6.4).
const PATIENCE: Duration = Duration::from_secs(20);

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its address; an IPv4 address as such.
    pub address: IpAddr,
    /// What it calls itself.
    pub hello: &'a str,
    /// In whose name.
    pub identity: Identity<'a>,
}

/// What is checked (§2.3, §2.4).
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// The name in EHLO.
    Hello(&'a Domain),
    /// The reverse-path.
    MailFrom {
        /// Its local-part.
        local: &'a str,
        /// Its domain.
        domain: &'a Domain,
    },
}

impl Identity<'_> {
    fn domain(&self) -> &Domain {
        match self {
            Self::Hello(domain) | Self::MailFrom { domain, .. } => domain,
        }
    }
}

impl Client<'_> {
    /// Local-part and domain of the sender; a host is its own postmaster.
    pub(super) fn sender(&self) -> (String, String) {
        let local = match self.identity {
            Identity::Hello(_) => "postmaster",
            Identity::MailFrom { local, .. } => local,
        };
        (local.to_owned(), self.identity.domain().to_string())
    }
}

/// Whether the domain lets the host send.
pub async fn check(resolver: &dyn Resolver, client: &Client<'_>) -> Verdict {
    let domain = client.identity.domain().as_str();
    if !domain.contains('.') {
        return Verdict::None;
    }
    let mut evaluation = Evaluation {
        resolver,
        client,
        lookups: 0,
        void: 0,
    };
    let checked = timeout(PATIENCE, evaluation.host(domain.to_owned())).await;
    checked.map_or(Verdict::TempError, |checked| {
        checked.unwrap_or_else(Verdict::from)
    })
}

/// Why an evaluation ends before its time.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Temporary,
    Permanent,
}

impl From<Stop> for Verdict {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Temporary => Self::TempError,
            Stop::Permanent => Self::PermError,
        }
    }
}

struct Evaluation<'a> {
    resolver: &'a dyn Resolver,
    client: &'a Client<'a>,
    lookups: u32,
    void: u32,
}

impl<'a> Evaluation<'a> {
    /// check_host() for a domain.
    fn host<'s>(&'s mut self, domain: String) -> BoxFuture<'s, Result<Verdict, Stop>>
    where
        'a: 's,
    {
        async move {
            let Some(record) = self.record(&domain).await? else {
                return Ok(Verdict::None);
            };
            for directive in &record.directives {
                if self.matches(&directive.mechanism, &domain).await? {
                    return Ok(directive.verdict);
                }
            }
            let Some(redirect) = &record.redirect else {
                return Ok(Verdict::Neutral);
            };
            self.count_lookup()?;
            match self.host(redirect.expand(self.client, &domain)).await? {
                Verdict::None => Err(Stop::Permanent),
                verdict => Ok(verdict),
            }
        }
        .boxed()
    }

    /// The one record of a domain.
    async fn record(&mut self, domain: &str) -> Result<Option<Record>, Stop> {
        if !is_name(domain) {
            return Ok(None);
        }
        let texts = match self.resolver.txt(domain).await {
            Lookup::Found { value, .. } => value,
            Lookup::Absent { .. } => return Ok(None),
            Lookup::Bogus | Lookup::Failed => return Err(Stop::Temporary),
        };
        let mut records = texts.iter().filter(|text| is_record(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(text), None) => Record::parse(text).map(Some).ok_or(Stop::Permanent),
            _ => Err(Stop::Permanent),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip(network) => Ok(network.contains(self.client.address)),
            Mechanism::Ptr(name) => {
                self.count_lookup()?;
                let name = self.target(name.as_ref(), domain);
                self.is_named_in(&name).await
            }
            Mechanism::Include(name) => self.include(name, domain).await,
            Mechanism::Exists(name) => {
                self.count_lookup()?;
                let name = name.expand(self.client, domain);
                let addresses = self.addresses(&name, Family::V4).await?;
                Ok(!addresses.is_empty())
            }
            Mechanism::A(name, prefixes) => {
                self.count_lookup()?;
                let name = self.target(name.as_ref(), domain);
                self.is_at(&name, *prefixes).await
            }
            Mechanism::Mx(name, prefixes) => {
                self.count_lookup()?;
                let name = self.target(name.as_ref(), domain);
                self.is_mail_host(&name, *prefixes).await
            }
        }
    }

    async fn include(&mut self, name: &DomainSpec, domain: &str) -> Result<bool, Stop> {
        self.count_lookup()?;
        match self.host(name.expand(self.client, domain)).await? {
            Verdict::Pass => Ok(true),
            Verdict::None | Verdict::PermError => Err(Stop::Permanent),
            Verdict::TempError => Err(Stop::Temporary),
            Verdict::Fail | Verdict::SoftFail | Verdict::Neutral => Ok(false),
        }
    }

    fn target(&self, name: Option<&DomainSpec>, domain: &str) -> String {
        name.map_or_else(|| domain.to_owned(), |name| name.expand(self.client, domain))
    }

    async fn is_at(&mut self, name: &str, prefixes: Prefixes) -> Result<bool, Stop> {
        let client = self.client.address;
        let addresses = self.addresses(name, Family::of(client)).await?;
        let near = |address: IpAddr| prefixes.around(address).contains(client);
        Ok(addresses.into_iter().any(near))
    }

    async fn is_mail_host(&mut self, name: &str, prefixes: Prefixes) -> Result<bool, Stop> {
        let Ok(domain) = name.parse::<Domain>() else {
            return self.count_void().map(|()| false);
        };
        let hosts = match self.resolver.mx(&domain).await {
            Lookup::Found { value, .. } => value,
            Lookup::Absent { .. } => return self.count_void().map(|()| false),
            Lookup::Bogus | Lookup::Failed => return Err(Stop::Temporary),
        };
        if hosts.len() > MAX_MAIL_HOSTS {
            return Err(Stop::Permanent);
        }
        for host in hosts.into_iter().filter_map(|mx| mx.host) {
            if self.is_at(host.as_str(), prefixes).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a name of the client's address, which leads back to it, is in a domain. What DNS does not answer is no match
    /// (§5.5).
    async fn is_named_in(&mut self, name: &str) -> Result<bool, Stop> {
        let names = match self.resolver.names(self.client.address).await {
            Lookup::Found { value, .. } => value,
            Lookup::Absent { .. } => return self.count_void().map(|()| false),
            Lookup::Bogus | Lookup::Failed => return Ok(false),
        };
        let name = name.to_ascii_lowercase();
        let is_in = |host: &Domain| {
            let above = host.as_str().strip_suffix(name.as_str());
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        };
        for host in names.iter().take(MAX_NAMES).filter(|host| is_in(host)) {
            if let Lookup::Found { value, .. } = self.resolver.addresses(host).await
                && value.contains(&self.client.address)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The addresses of a name; none is a void look-up. The other family has no say, neither in what is found nor in a failure.
    async fn addresses(&mut self, name: &str, family: Family) -> Result<Vec<IpAddr>, Stop> {
        if !is_name(name) {
            return self.count_void().map(|()| Vec::new());
        }
        match self.resolver.addresses_at(name, family).await {
            Lookup::Found { value, .. } => Ok(value),
            Lookup::Absent { .. } => self.count_void().map(|()| Vec::new()),
            Lookup::Bogus | Lookup::Failed => Err(Stop::Temporary),
        }
    }

    fn count_lookup(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        match self.lookups > MAX_LOOKUPS {
            true => Err(Stop::Permanent),
            false => Ok(()),
        }
    }

    fn count_void(&mut self) -> Result<(), Stop> {
        self.void += 1;
        match self.void > MAX_VOID {
            true => Err(Stop::Permanent),
            false => Ok(()),
        }
    }
}

/// Whether DNS can be asked: other names cannot exist. A local-part brings more than letters and digits into a name.
fn is_name(name: &str) -> bool {
    let is_printable = |octet: u8| (b' '..=b'~').contains(&octet);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_printable);
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}
