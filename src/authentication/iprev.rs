//! Whether an address has a name that leads back to it (RFC 8601 §3, "iprev").

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::mail::address::Domain;
use crate::net::dns::{Family, Lookup, Resolver};

/// Names of one address that are looked up.
const MAX_NAMES: usize = 10;
/// Time for everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What DNS says of an address (RFC 8601 §2.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One of its names has the address.
    Pass,
    /// It has names, and none of them has the address.
    Fail,
    /// DNS does not answer now.
    TempError,
    /// It has no name.
    PermError,
}

impl Verdict {
    /// The word of RFC 8601.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What DNS says of an address, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverse {
    /// Whether one of its names leads back.
    pub verdict: Verdict,
    /// That name, or else the first that it has, which anybody can have written there.
    pub name: Option<Domain>,
}

impl Reverse {
    /// Nothing is known for now.
    pub const UNANSWERED: Self = Self {
        verdict: Verdict::TempError,
        name: None,
    };

    /// The name that leads back.
    pub fn confirmed(&self) -> Option<&Domain> {
        self.name.as_ref().filter(|_| self.verdict == Verdict::Pass)
    }
}

/// Looks up the names of an address, and the addresses of these.
pub async fn check(resolver: &dyn Resolver, address: IpAddr) -> Reverse {
    let address = address.to_canonical();
    let checking = async {
        match resolver.names(address).await {
            Lookup::Found { value, .. } => leading_back(resolver, value, address).await,
            Lookup::Absent { .. } => Reverse {
                verdict: Verdict::PermError,
                name: None,
            },
            Lookup::Bogus | Lookup::Failed => Reverse::UNANSWERED,
        }
    };
    timeout(PATIENCE, checking).await.unwrap_or(Reverse::UNANSWERED)
}

async fn leading_back(resolver: &dyn Resolver, mut names: Vec<Domain>, address: IpAddr) -> Reverse {
    names.truncate(MAX_NAMES);
    let family = Family::of(address);
    let asked = names
        .iter()
        .map(|name| resolver.addresses_at(name.as_str(), family));
    let found = join_all(asked).await;
    let has = |lookup: &Lookup<Vec<IpAddr>>| matches!(lookup, Lookup::Found { value, .. } if value.contains(&address));
    let is_open = |lookup: &Lookup<Vec<IpAddr>>| matches!(lookup, Lookup::Bogus | Lookup::Failed);
    let confirmed = found.iter().position(has);
    let verdict = match (confirmed, found.iter().any(is_open)) {
        (Some(_), _) => Verdict::Pass,
        (None, true) => Verdict::TempError,
        (None, false) => Verdict::Fail,
    };
    Reverse {
        verdict,
        name: names.into_iter().nth(confirmed.unwrap_or(0)),
    }
}
