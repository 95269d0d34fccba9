//! The way to other hosts, and what they see of this one.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::authentication::iprev::{self, Verdict};
use crate::config::{Config, Transport};
use crate::daemon::health::Finding;
use crate::domains::{MailHosts, mail_hosts};
use crate::mail::address::Domain;
use crate::net::connect::Outgoing;
use crate::net::dns::{Lookup, Resolver};
use crate::routing::transport::{Endpoint, Pattern};

/// How long the way out may take to be found open.
const PATIENCE: Duration = Duration::from_secs(40);
/// The same for one address, in place of the time that mail has.
const PATIENCE_OF_ADDRESS: Duration = Duration::from_secs(8);
/// How long a host may take for its greeting (RFC 5321 §4.5.3.2.1 allows for five minutes).
const GREETING: Duration = Duration::from_secs(20);
/// Addresses tried.
const MAX_ADDRESSES: usize = 4;

/// Whose mail hosts are to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Nobody's.
    Nobody,
    /// That domain's.
    Domain(Domain),
}

impl std::str::FromStr for Reach {
    type Err = <Domain as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nobody),
            name => name.parse().map(Self::Domain),
        }
    }
}

/// Who is connected to, to see whether the way out is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nobody.
    Nobody,
    /// Nobody, because nobody has been named.
    Unnamed,
    /// The mail hosts of a domain, on that port.
    MailHosts(Domain, u16),
    /// The host that takes all mail of ours.
    NextHop(Transport),
}

impl Target {
    /// Whom the operator names, in the command or for all mail: we choose nobody.
    pub fn of(config: &Config, reach: Option<Reach>) -> Self {
        let mut transports = config.outbound.transports.iter();
        let all = transports.find(|transport| transport.domains.contains(&Pattern::All));
        match (reach, all) {
            (Some(Reach::Nobody), _) => Self::Nobody,
            (Some(Reach::Domain(domain)), _) => Self::MailHosts(domain, config.outbound.smtp_port.get()),
            (None, Some(transport)) => Self::NextHop(transport.clone()),
            (None, None) => Self::Unnamed,
        }
    }

    /// Where that is, if there is somebody.
    fn place(&self) -> Option<(String, u16)> {
        match self {
            Self::Nobody | Self::Unnamed => None,
            Self::MailHosts(domain, port) => Some((format!("the mail hosts of {domain}"), *port)),
            Self::NextHop(next) => Some((next.host.to_string(), next.port.get())),
        }
    }

    /// For programs.
    pub fn object(&self) -> Value {
        let object = |(whom, port)| json!({ "whom": whom, "port": port });
        self.place().map_or(Value::Null, object)
    }

    /// Whether someone there says something; an error if nobody knows where they are.
    async fn is_there(&self, config: &Config, resolver: &dyn Resolver) -> Result<bool, ()> {
        let (addresses, port, says_something) = match self {
            Self::Nobody | Self::Unnamed => return Ok(true),
            Self::MailHosts(domain, port) => (of_mail_hosts(resolver, domain).await?, *port, true),
            // Where TLS comes first, nothing is said before it.
            Self::NextHop(next) => {
                let addresses = of_endpoint(resolver, &next.host).await;
                (addresses, next.port.get(), !next.tls_from_start)
            }
        };
        if addresses.is_empty() {
            return Err(());
        }
        let outgoing = Outgoing {
            timeout: PATIENCE_OF_ADDRESS,
            ..(&config.outbound).into()
        };
        let connected = outgoing.connect(&addresses, port, MAX_ADDRESSES).await;
        let Ok(mut tcp) = connected else { return Ok(false) };
        Ok(!says_something || greets(&mut tcp).await)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some((whom, port)) => write!(f, "a connection to {whom} on port {port} was tried"),
            None => f.write_str("nobody was connected to"),
        }
    }
}

/// Everything about other hosts.
pub async fn findings(config: &Config, resolver: &dyn Resolver, target: &Target) -> Vec<Finding> {
    let (way_out, names) = tokio::join!(way_out(config, resolver, target), names(config, resolver));
    way_out.into_iter().chain(names).collect()
}

/// Many networks let nobody but their own mail hosts use port 25.
async fn way_out(config: &Config, resolver: &dyn Resolver, target: &Target) -> Option<Finding> {
    let Some((whom, port)) = target.place() else {
        let untried = Finding::risky(
            "way_out_untried",
            "it was not tried whether other hosts can be reached",
            "many networks let nobody but their own mail hosts use port 25, and then mail to other domains waits",
            "name a domain whose mail hosts are connected to, with --reach",
        );
        return (*target == Target::Unnamed).then_some(untried);
    };
    match timeout(PATIENCE, target.is_there(config, resolver)).await {
        Ok(Ok(true)) => None,
        Ok(Ok(false)) | Err(_) => Some(Finding::wrong(
            "way_out_closed",
            format!("{whom} cannot be reached on port {port}"),
            "mail to other domains waits, and comes back in the end",
            "ask whoever runs the network to open the port for this host, or name a smart host (outbound.transports)",
        )),
        Ok(Err(())) => Some(Finding::unknown(
            "way_out_unknown",
            format!("the addresses of {whom} cannot be looked up"),
            "it is not known whether other hosts can be reached",
            "try again later, or name another domain with --reach",
        )),
    }
}

/// Addresses of a domain's mail hosts.
async fn of_mail_hosts(resolver: &dyn Resolver, domain: &Domain) -> Result<Vec<IpAddr>, ()> {
    let found = mail_hosts(resolver, domain, &[], &mut rand::make_rng::<rand::rngs::StdRng>()).await;
    let MailHosts::Hosts { hosts, .. } = found else {
        return Err(());
    };
    let mut addresses = Vec::new();
    for host in hosts.iter().take(MAX_ADDRESSES) {
        if let Lookup::Found { value, .. } = resolver.addresses(host).await {
            addresses.extend(value);
        }
    }
    Ok(addresses)
}

async fn of_endpoint(resolver: &dyn Resolver, host: &Endpoint) -> Vec<IpAddr> {
    match host {
        Endpoint::Address(address) => vec![*address],
        Endpoint::Host(host) => match resolver.addresses(host).await {
            Lookup::Found { value, .. } => value,
            _ => Vec::new(),
        },
    }
}

/// Whatever is said: a host that turns us away is there.
async fn greets(tcp: &mut TcpStream) -> bool {
    let mut start = [0; 3];
    let read = timeout(GREETING, tcp.read_exact(&mut start)).await;
    matches!(read, Ok(Ok(_))) && start.iter().all(u8::is_ascii_digit)
}

/// Whether the addresses of this host have names that lead back to them.
async fn names(config: &Config, resolver: &dyn Resolver) -> Vec<Finding> {
    let host = config.helo();
    let addresses = match (config.outbound.source_address, resolver.addresses(host).await) {
        (Some(source), _) => vec![source],
        (None, Lookup::Found { value, .. }) => value,
        // That its name has no address is among what DNS should say of each domain.
        (None, _) => return Vec::new(),
    };
    let mut found = Vec::new();
    for address in addresses {
        found.extend(name_of(resolver, address, host).await);
    }
    found
}

async fn name_of(resolver: &dyn Resolver, address: IpAddr, host: &Domain) -> Option<Finding> {
    const WHY: &str = "many hosts refuse mail from addresses without a name that leads back to them";
    let advice = format!(
        "ask whoever the address is from for a PTR record with {host}, and give {host} the address {address}"
    );
    let reverse = iprev::check(resolver, address).await;
    match (reverse.verdict, reverse.name) {
        (Verdict::Pass, Some(name)) if name == *host => None,
        (Verdict::Pass, name) => Some(Finding::risky(
            "reverse_other_name",
            format!(
                "{address} is called {} in DNS, and greets as {host}",
                name.map_or_else(String::new, |name| name.to_string())
            ),
            "some hosts think less of mail from such an address",
            advice,
        )),
        (Verdict::Fail, _) => Some(Finding::wrong(
            "reverse_unconfirmed",
            format!("the name that {address} has in DNS does not lead back to it"),
            WHY,
            advice,
        )),
        (Verdict::PermError, _) => Some(Finding::wrong(
            "reverse_missing",
            format!("{address} has no name in DNS"),
            WHY,
            advice,
        )),
        (Verdict::TempError, _) => Some(Finding::unknown(
            "reverse_unknown",
            format!("the name of {address} cannot be looked up"),
            WHY,
            "try again later",
        )),
    }
}
