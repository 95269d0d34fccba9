//! The way to other hosts, and what they see of this one.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::authentication::iprev::{self, Verdict};
use crate::config::Config;
use crate::daemon::health::Finding;
use crate::domains::{MailHosts, mail_hosts};
use crate::mail::address::Domain;
use crate::net::connect::Outgoing;
use crate::net::dns::{Lookup, Resolver};

/// How long the way out may take to be found open.
const PATIENCE: Duration = Duration::from_secs(40);
/// The same for one address, in place of the time that mail has.
const PATIENCE_OF_ADDRESS: Duration = Duration::from_secs(8);
/// How long a host may take for its greeting (RFC 5321 §4.5.3.2.1 allows for five minutes).
const GREETING: Duration = Duration::from_secs(20);
/// Addresses tried.
const MAX_ADDRESSES: usize = 4;

/// Whose mail hosts are connected to.
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

/// Everything about other hosts.
pub async fn findings(config: &Config, resolver: &dyn Resolver, reach: &Reach) -> Vec<Finding> {
    let (way_out, names) = tokio::join!(way_out(config, resolver, reach), names(config, resolver));
    way_out.into_iter().chain(names).collect()
}

/// Many networks let nobody but their own mail hosts use port 25.
async fn way_out(config: &Config, resolver: &dyn Resolver, reach: &Reach) -> Option<Finding> {
    let Reach::Domain(domain) = reach else { return None };
    let port = config.outbound.smtp_port.get();
    let found = timeout(PATIENCE, greeted(config, resolver, domain)).await;
    match found.unwrap_or(Ok(false)) {
        Ok(true) => None,
        Ok(false) => Some(Finding::wrong(
            "way_out_closed",
            format!("no mail host of {domain} can be reached on port {port}"),
            "mail to other domains waits, and comes back in the end",
            "ask whoever runs the network to open the port for this host, or name a smart host (outbound.transports)",
        )),
        Err(()) => Some(Finding::unknown(
            "way_out_unknown",
            format!("the mail hosts of {domain} cannot be looked up"),
            "it is not known whether other hosts can be reached",
            "try again later, or name another domain with --reach",
        )),
    }
}

/// Whether one of the hosts says something, as mail hosts do first.
async fn greeted(config: &Config, resolver: &dyn Resolver, domain: &Domain) -> Result<bool, ()> {
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
    if addresses.is_empty() {
        return Err(());
    }
    let outgoing = Outgoing {
        timeout: PATIENCE_OF_ADDRESS,
        ..(&config.outbound).into()
    };
    let port = config.outbound.smtp_port.get();
    let connected = outgoing.connect(&addresses, port, MAX_ADDRESSES).await;
    let Ok(mut tcp) = connected else { return Ok(false) };
    Ok(greets(&mut tcp).await)
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
