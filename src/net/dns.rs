//! DNS with its proof: every answer says whether DNSSEC vouches for it (DESIGN.md §8).

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::mail::address::Domain;

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

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The mail host; `None` is the null MX (RFC 7505).
    pub host: Option<Domain>,
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
}
