//! Hosts that the operator names for the mail of some domains, in the place of those that DNS names: a smart host, or a
//! way of its own for a domain. They are for mail that goes by SMTP; what has to go as D/MIME never comes here.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::mail::address::{self, Domain};

/// For which recipients' domains a transport is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// All: `*`.
    All,
    /// Those below a domain: `*.example.org`.
    Below(Domain),
    /// One: `example.org`.
    Domain(Domain),
}

impl Pattern {
    /// Whether it is for that domain, and how narrow it is then: the narrowest counts.
    pub fn rank(&self, domain: &Domain) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::Below(above) => {
                let is_below = domain.parents().any(|parent| parent == *above);
                is_below.then_some(above.as_str().len())
            }
            Self::Domain(same) => (same == domain).then_some(usize::MAX),
        }
    }
}

impl FromStr for Pattern {
    type Err = address::Error;

    fn from_str(text: &str) -> Result<Self, address::Error> {
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::All),
            Some(above) => Domain::parse(above).map(Self::Below),
            None => Domain::parse(text).map(Self::Domain),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(above) => write!(f, "*.{above}"),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

/// Where a transport leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host whose addresses DNS knows. Its MX records do not count.
    Host(Domain),
    /// An address.
    Address(IpAddr),
}

impl FromStr for Endpoint {
    type Err = address::Error;

    fn from_str(text: &str) -> Result<Self, address::Error> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => Domain::parse(text).map(Self::Host),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The least protection of a connection. TLSA records of the host, proven by DNSSEC, count beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// TLS if offered.
    Opportunistic,
    /// TLS with any certificate.
    Encrypted,
    /// TLS with a certificate for the host's name under a root, or by TLSA records.
    Verified,
}

impl Protection {
    /// One word for logs and the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opportunistic => "opportunistic",
            Self::Encrypted => "encrypted",
            Self::Verified => "verified",
        }
    }
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// File with the name on the first line and the password on the second.
    pub credentials: PathBuf,
    /// The least protection under which it is done; `Opportunistic` lets it go in clear text.
    pub under: Protection,
}

/// A host for the mail of some domains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transport {
    /// Which domains.
    pub domains: Vec<Pattern>,
    /// Which host.
    pub host: Endpoint,
    /// Its port.
    pub port: u16,
    /// The least protection.
    pub tls: Protection,
    /// TLS comes before the first word of SMTP, as on port 465.
    pub tls_from_start: bool,
    /// Whether and how to log in.
    pub login: Option<Login>,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Endpoint::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// All transports that the operator names.
#[derive(Debug, Clone, Default)]
pub struct Transports(Arc<[Arc<Transport>]>);

impl Transports {
    /// In the order of the configuration.
    pub fn new(transports: Vec<Transport>) -> Self {
        Self(transports.into_iter().map(Arc::new).collect())
    }

    /// The one for a domain: the domain's own, then the one for the closest domain above, then the one for all.
    pub fn of(&self, domain: &Domain) -> Option<Arc<Transport>> {
        let rank = |transport: &Arc<Transport>| {
            let ranks = transport
                .domains
                .iter()
                .filter_map(|pattern| pattern.rank(domain));
            ranks.max().map(|rank| (rank, Arc::clone(transport)))
        };
        let ranked = self.0.iter().rev().filter_map(rank);
        ranked
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, transport)| transport)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn transport(host: &str, domains: &[&str]) -> Transport {
        Transport {
            domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
            host: host.parse().unwrap(),
            port: 25,
            tls: Protection::Verified,
            tls_from_start: false,
            login: None,
        }
    }

    #[test]
    fn the_narrowest_pattern_counts_and_of_equals_the_first() {
        let all = Transports::new(vec![
            transport("all.test", &["*"]),
            transport("below.test", &["*.test"]),
            transport("closer.test", &["*.a.test", "*.b.test"]),
            transport("own.test", &["x.a.test"]),
            transport("late.test", &["x.a.test", "*"]),
        ]);
        for (domain, host) in [
            ("example.org", "all.test"),
            ("test", "all.test"),
            ("a.test", "below.test"),
            ("y.a.test", "closer.test"),
            ("z.y.b.test", "closer.test"),
            ("x.a.test", "own.test"),
            ("xa.test", "below.test"),
        ] {
            let found = all.of(&domain.parse().unwrap()).unwrap();
            assert_eq!(found.host.to_string(), host, "{domain}");
        }
        assert!(Transports::default().of(&"a.test".parse().unwrap()).is_none());
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, shown) in [
            ("Smart.Example", "smart.example:25"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("2001:db8::1", "[2001:db8::1]:25"),
        ] {
            assert_eq!(transport(text, &["*"]).to_string(), shown);
        }
        assert!("no host".parse::<Endpoint>().is_err());
        assert!("*.".parse::<Pattern>().is_err());
    }
}
