//! What there is to know of an MX host before it is connected to, and how its TLS has to be.

use std::net::{IpAddr, SocketAddr};

use crate::domains::sts::{Mode, StsFacts};
use crate::mail::address::Domain;
use crate::mail::demand::TlsDemand;
use crate::net::connect::leads_to;
use crate::net::dns::{Host, Lookup, Proof, Resolver, Tlsa};
use crate::routing::transport::Transport;
use crate::routing::{HostDecision, HostFacts, SmtpTls, Sts, TlsaFinding, decide_host};

/// What all hosts of a domain have in common.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// The recipients' domain.
    pub destination: &'a Domain,
    /// How far the list of hosts is proven.
    pub list: Proof,
    /// The domain's MTA-STS policy.
    pub sts: &'a StsFacts,
    /// What the route asks for.
    pub wanted: SmtpTls,
    /// What the author demands.
    pub demand: TlsDemand,
    /// Where hosts listen.
    pub port: u16,
    /// What the operator says of the host.
    pub transport: Option<&'a Transport>,
}

/// The way to one host.
#[derive(Debug, Clone)]
pub struct Way {
    /// Its name, or its address if it has none.
    pub host: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How far they are proven.
    pub address_proof: Proof,
    /// What the decision rests on.
    pub facts: HostFacts,
    /// How the TLS has to be.
    pub decision: HostDecision,
}

/// Why a host has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// There are none.
    #[error("does not exist")]
    Absent,
    /// DNSSEC validation failed.
    #[error("fails DNSSEC validation")]
    Bogus,
    /// No usable answer.
    #[error("cannot be looked up")]
    Failed,
    /// It has only those at which this host listens, and mail would come back.
    #[error("is that of this host")]
    Ours,
}

/// Finds out the way to a host.
pub async fn find(resolver: &dyn Resolver, host: &Domain, common: &Common<'_>) -> Result<Way, NoAddress> {
    let (found, address_proof) = match resolver.host(host).await {
        Lookup::Found { value, proof, .. } => (value, proof),
        Lookup::Absent { .. } => return Err(NoAddress::Absent),
        Lookup::Bogus => return Err(NoAddress::Bogus),
        Lookup::Failed => return Err(NoAddress::Failed),
    };
    let facts = HostFacts {
        list: common.list,
        tlsa: tlsa(resolver, host, &found, address_proof, common).await,
        sts: sts(common.sts, host),
        wanted: common.wanted,
        demand: common.demand,
        transport: common.transport.map(|transport| transport.tls),
    };
    Ok(Way {
        host: host.to_string(),
        addresses: found.addresses,
        address_proof,
        decision: decide_host(&facts),
        facts,
    })
}

/// The way to an address that the operator names. It has no name, so nothing in DNS says anything of it.
pub fn to_address(address: IpAddr, common: &Common<'_>) -> Way {
    let facts = HostFacts {
        list: common.list,
        tlsa: TlsaFinding::NotAsked,
        sts: Sts::None,
        wanted: common.wanted,
        demand: common.demand,
        transport: common.transport.map(|transport| transport.tls),
    };
    Way {
        host: address.to_string(),
        addresses: vec![address],
        address_proof: Proof::Insecure,
        decision: decide_host(&facts),
        facts,
    }
}

/// The way without addresses at which this host listens itself ([`NoAddress::Ours`] if there are no others).
pub fn elsewhere(way: Way, listeners: &[SocketAddr], port: u16) -> Result<Way, NoAddress> {
    let is_ours = |address: &IpAddr| leads_to(listeners, SocketAddr::new(*address, port));
    let (ours, addresses): (Vec<_>, Vec<_>) = way.addresses.iter().copied().partition(is_ours);
    match addresses.is_empty() && !ours.is_empty() {
        true => Err(NoAddress::Ours),
        false => Ok(Way { addresses, ..way }),
    }
}

fn sts(facts: &StsFacts, host: &Domain) -> Sts {
    match &facts.policy {
        None => Sts::None,
        Some(policy) => match (policy.mode, policy.covers(host)) {
            (Mode::Enforce, true) => Sts::Covered,
            (Mode::Enforce, false) => Sts::NotCovered,
            (Mode::Testing, _) => Sts::Testing,
            (Mode::None, _) => Sts::None,
        },
    }
}

/// Asks for TLSA records at the names of RFC 7672 §2.2.2: at the end of proven aliases first, then at the host's own name.
async fn tlsa(
    resolver: &dyn Resolver,
    host: &Domain,
    found: &Host,
    address_proof: Proof,
    common: &Common<'_>,
) -> TlsaFinding {
    if common.list != Proof::Secure || common.demand == TlsDemand::Waived {
        return TlsaFinding::NotAsked;
    }
    // An operator who names a host does not let it pass for the recipients' domain.
    let destination = common.transport.is_none().then_some(common.destination);
    for base in base_domains(host, found, address_proof) {
        match resolver.tlsa(&format!("_{}._tcp.{base}", common.port)).await {
            absent if is_absent(&absent) => {}
            answer => return TlsaFinding::read(answer, names(base, host, destination)),
        }
    }
    match (address_proof, found.first) {
        (Proof::Insecure, Proof::Insecure) => TlsaFinding::NotAsked,
        _ => TlsaFinding::Absent,
    }
}

/// Where TLSA records may stand. An alias that is proven, but leads to a zone that is not, leaves the host's own name.
fn base_domains<'a>(host: &'a Domain, found: &'a Host, address_proof: Proof) -> Vec<&'a Domain> {
    let is_alias = found.canonical != *host;
    match (address_proof, is_alias, found.first) {
        (Proof::Secure, true, _) => vec![&found.canonical, host],
        (Proof::Secure, false, _) | (Proof::Insecure, true, Proof::Secure) => vec![host],
        (Proof::Insecure, _, _) => Vec::new(),
    }
}

/// Records that are not proven are as good as none.
fn is_absent(answer: &Lookup<Vec<Tlsa>>) -> bool {
    matches!(
        answer,
        Lookup::Absent { .. }
            | Lookup::Found {
                proof: Proof::Insecure,
                ..
            }
    )
}

/// The TLSA base domain, the host's own name, and, as the list of hosts is proven, the domain (RFC 7672 §3.2.2).
fn names(base: &Domain, host: &Domain, destination: Option<&Domain>) -> Vec<Domain> {
    let mut names = vec![base.clone()];
    for name in [Some(host), destination].into_iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn tlsa_records_are_looked_for_where_names_are_proven() {
        use Proof::{Insecure, Secure};
        let host = domain("mx.plain.test");
        let rows: [(&str, Proof, Proof, &[&str]); 6] = [
            ("mx.plain.test", Secure, Secure, &["mx.plain.test"]),
            ("mx.plain.test", Insecure, Insecure, &[]),
            ("big.test", Secure, Secure, &["big.test", "mx.plain.test"]),
            ("big.test", Insecure, Secure, &["mx.plain.test"]),
            ("big.test", Insecure, Insecure, &[]),
            ("mx.plain.test", Insecure, Secure, &[]),
        ];
        for (canonical, addresses, first, expected) in rows {
            let found = Host {
                addresses: Vec::new(),
                canonical: domain(canonical),
                first,
            };
            let bases: Vec<&str> = base_domains(&host, &found, addresses)
                .into_iter()
                .map(Domain::as_str)
                .collect();
            assert_eq!(bases, expected, "{canonical} {addresses:?} {first:?}");
        }
    }

    #[test]
    fn a_certificate_may_have_the_names_of_host_and_domain() {
        let named = names(
            &domain("big.test"),
            &domain("mx.plain.test"),
            Some(&domain("plain.test")),
        );
        assert_eq!(named, ["big.test", "mx.plain.test", "plain.test"].map(domain));
        let named = names(
            &domain("plain.test"),
            &domain("plain.test"),
            Some(&domain("plain.test")),
        );
        assert_eq!(named, [domain("plain.test")]);
    }

    #[test]
    fn no_way_leads_to_where_this_host_listens() {
        let to = |addresses: &[&str]| Way {
            host: "mx.plain.test".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            address_proof: Proof::Insecure,
            facts: facts(),
            decision: decide_host(&facts()),
        };
        let listeners: [SocketAddr; 1] = ["192.0.2.1:25".parse().unwrap()];
        let left = |addresses: &[&str], port| {
            let way = elsewhere(to(addresses), &listeners, port);
            way.map(|way| way.addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(left(&["192.0.2.1"], 25), Err(NoAddress::Ours));
        assert_eq!(left(&["192.0.2.1", "192.0.2.2"], 25).unwrap(), ["192.0.2.2"]);
        assert_eq!(left(&["192.0.2.1"], 26).unwrap(), ["192.0.2.1"]);
        assert!(left(&[], 25).unwrap().is_empty());
    }

    fn facts() -> HostFacts {
        HostFacts {
            list: Proof::Insecure,
            tlsa: TlsaFinding::NotAsked,
            sts: Sts::None,
            wanted: SmtpTls::Opportunistic,
            demand: TlsDemand::Policy,
            transport: None,
        }
    }

    #[test]
    fn unproven_records_are_no_records() {
        let found = |proof| Lookup::Found {
            value: Vec::new(),
            ttl: Duration::ZERO,
            proof,
        };
        assert!(is_absent(&found(Proof::Insecure)));
        assert!(!is_absent(&found(Proof::Secure)));
        assert!(!is_absent(&Lookup::Bogus));
        assert!(!is_absent(&Lookup::Failed));
    }
}
