//! DNS with its proof: every answer says whether DNSSEC vouches for it (DESIGN.md §8).

mod ad_bit;
mod anchors;
mod answer;
mod denial;
mod dname;
mod name_servers;
#[cfg(test)]
pub mod scripted;
mod self_test;
mod upstream;
mod validating;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;

use crate::mail::address::Domain;

pub use ad_bit::{AdBitResolver, NotLoopback};
pub use anchors::{AnchorError, TrustAnchors};
pub use name_servers::NameServers;
pub use self_test::SelfTest;
pub use validating::HickoryResolver;

/// How far an answer, or an absence, is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// DNSSEC signatures chain to a configured trust anchor.
    Secure,
    /// The zone is proven to be unsigned.
    Insecure,
}

/// The outcome of one question. A failure is never an absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// There is an answer.
    Found {
        /// The records.
        value: T,
        /// How long it may be kept.
        ttl: Duration,
        /// How far it is proven.
        proof: Proof,
    },
    /// The name, or the type at the name, does not exist.
    Absent {
        /// `Secure` if NSEC or NSEC3 records prove it.
        proof: Proof,
    },
    /// DNSSEC validation failed: somebody interferes, or the zone is broken.
    Bogus,
    /// No usable answer: timeout, SERVFAIL, refused, indeterminate.
    Failed,
}

impl<T> Lookup<T> {
    /// How far it is proven, in one word.
    pub fn proof_word(&self) -> &'static str {
        match self {
            Self::Found { proof, .. } | Self::Absent { proof } => match proof {
                Proof::Secure => "secure",
                Proof::Insecure => "insecure",
            },
            Self::Bogus => "bogus",
            Self::Failed => "failed",
        }
    }
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The mail host; `None` is the null MX (RFC 7505).
    pub host: Option<Domain>,
}

/// One SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among equal priorities.
    pub weight: u16,
    /// Where the service listens.
    pub port: u16,
    /// The host; `None`, a single dot, says that there is no such service.
    pub target: Option<Domain>,
}

/// One TLSA record (RFC 6698 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// Certificate usage: 2 is DANE-TA, 3 is DANE-EE.
    pub usage: u8,
    /// 0 is the whole certificate, 1 its public key.
    pub selector: u8,
    /// 0 is the thing itself, 1 its SHA-256, 2 its SHA-512.
    pub matching: u8,
    /// What must match.
    pub data: Vec<u8>,
}

/// Where a host is, and under which name it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A and AAAA records; at least one.
    pub addresses: Vec<IpAddr>,
    /// The name at the end of all aliases; the host's own if it is none.
    pub canonical: Domain,
    /// How far the first step is proven: the alias, or the addresses if there is none (RFC 7672 §2.2.2).
    pub first: Proof,
}

/// A kind of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// The one that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Asks DNS. Implementations bound every wait.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// TXT records at `name`, each with its character-strings joined. `name` may start with an underscore label.
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>>;
    /// MX records, in the order received.
    async fn mx(&self, domain: &Domain) -> Lookup<Vec<Mx>>;
    /// A and AAAA records.
    async fn addresses(&self, host: &Domain) -> Lookup<Vec<IpAddr>>;
    /// Records of one family at a name that need not be a host's, such as `_spf.example.org`: any printable ASCII, dots between
    /// labels. Asks nobody unless implemented.
    async fn addresses_at(&self, _name: &str, _family: Family) -> Lookup<Vec<IpAddr>> {
        Lookup::Failed
    }
    /// PTR records of an address: names that it says it has. Asks nobody unless implemented.
    async fn names(&self, _address: IpAddr) -> Lookup<Vec<Domain>> {
        Lookup::Failed
    }
    /// A and AAAA records, with what DANE needs to know of aliases.
    async fn host(&self, host: &Domain) -> Lookup<Host>;
    /// SRV records at a name such as `_submission._tcp.example.org`, in the order received.
    async fn srv(&self, name: &str) -> Lookup<Vec<Srv>>;
    /// TLSA records at a name such as `_25._tcp.mx.example.org`.
    async fn tlsa(&self, name: &str) -> Lookup<Vec<Tlsa>>;
    /// Whether the name servers allow to prove anything at all.
    async fn self_test(&self) -> SelfTest;
}

/// Which name servers to ask, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Asked in this order; the next one is asked when one fails.
    pub addresses: Vec<SocketAddr>,
    /// How long to wait for one reply.
    pub reply_timeout: Duration,
    /// How often the whole list is gone through.
    pub rounds: u32,
    /// How long one question may take with everything that it entails.
    pub total_timeout: Duration,
}

impl Servers {
    /// Two rounds of two seconds, ten seconds in all.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            reply_timeout: Duration::from_secs(2),
            rounds: 2,
            total_timeout: Duration::from_secs(10),
        }
    }
}
