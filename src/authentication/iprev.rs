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

/// Looks up the names of an address, and the addresses of these.
pub async fn check(resolver: &dyn Resolver, address: IpAddr) -> Verdict {
    let address = address.to_canonical();
    let checking = async {
        match resolver.names(address).await {
            Lookup::Found { value, .. } => leads_back(resolver, &value, address).await,
            Lookup::Absent { .. } => Verdict::PermError,
            Lookup::Bogus | Lookup::Failed => Verdict::TempError,
        }
    };
    timeout(PATIENCE, checking).await.unwrap_or(Verdict::TempError)
}

async fn leads_back(resolver: &dyn Resolver, names: &[Domain], address: IpAddr) -> Verdict {
    let family = Family::of(address);
    let asked = names.iter().take(MAX_NAMES);
    let found = join_all(asked.map(|name| resolver.addresses_at(name.as_str(), family))).await;
    let has = |lookup: &Lookup<Vec<IpAddr>>| matches!(lookup, Lookup::Found { value, .. } if value.contains(&address));
    let is_open = |lookup: &Lookup<Vec<IpAddr>>| matches!(lookup, Lookup::Bogus | Lookup::Failed);
    match (found.iter().any(has), found.iter().any(is_open)) {
        (true, _) => Verdict::Pass,
        (false, true) => Verdict::TempError,
        (false, false) => Verdict::Fail,
    }
}
