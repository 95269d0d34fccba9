//! DMARC (RFC 9989): whether one of the proven domains is the author's, and what the author's domain wants otherwise.

use super::tags::{Tags, trimmed};
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Resolver};

/// Labels from which on a walk up the tree skips to this many less one (RFC 9989 §4.10).
const LONG_NAME: usize = 8;
/// TXT records looked at for each name.
const MAX_RECORDS: usize = 32;
/// Octets of a record that are looked at.
const MAX_RECORD: usize = 4096;
/// Octets of a name in DNS.
const MAX_NAME: usize = 253;

/// What is to become of mail that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing in particular.
    None,
    /// It is suspicious.
    Quarantine,
    /// It is not to be taken.
    Reject,
}

impl Policy {
    /// The word in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|policy| policy.name().eq_ignore_ascii_case(text))
    }

    /// While it is being tested, each is taken for the next weaker one (`t=y`).
    fn weakened(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }
}

/// Whether a domain is a public suffix, as far as its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublicSuffix {
    Yes,
    No,
    Unsaid,
}

/// A policy record (RFC 9989 §4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    /// None if any of the three is there and is no policy (§4.10.1).
    policy: Option<Policy>,
    subdomains: Option<Policy>,
    missing: Option<Policy>,
    strict_dkim: bool,
    strict_spf: bool,
    testing: bool,
    suffix: PublicSuffix,
    wants_reports: bool,
}

impl Record {
    /// Reads a record; `None` if it is not one of DMARC.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text.get(..MAX_RECORD).unwrap_or(text));
        let (version, _) = text.split_once(';').unwrap_or((&text, ""));
        let (name, version) = version.split_once('=')?;
        if trimmed(name) != "v" || trimmed(version) != "DMARC1" {
            return None;
        }
        let tags = Tags::parse_tolerantly(&text);
        let policy = |name| tags.value(name).and_then(Policy::parse);
        let wrong = |name| tags.value(name).is_some() && policy(name).is_none();
        let says = |name, value: &str| {
            tags.value(name)
                .is_some_and(|said| said.eq_ignore_ascii_case(value))
        };
        Some(Self {
            policy: policy("p").filter(|_| !wrong("sp") && !wrong("np")),
            subdomains: policy("sp"),
            missing: policy("np"),
            strict_dkim: says("adkim", "s"),
            strict_spf: says("aspf", "s"),
            testing: says("t", "y"),
            suffix: match tags.value("psd") {
                Some("y" | "Y") => PublicSuffix::Yes,
                Some("n" | "N") => PublicSuffix::No,
                _ => PublicSuffix::Unsaid,
            },
            wants_reports: tags.value("rua").is_some_and(|addresses| !addresses.is_empty()),
        })
    }
}

/// DNS does not answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Temporary;

/// What the author's domain published, found once for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    author: Domain,
    organization: Domain,
    /// What it wants, if anything is to be done at all.
    pub policy: Policy,
    strict_dkim: bool,
    strict_spf: bool,
}

/// What there is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// A policy.
    Published(Published),
    /// None, so DMARC says nothing.
    Nothing,
    /// DNS does not answer now.
    Failed,
}

/// How far a domain has been proven to answer for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By SPF.
    Spf,
    /// By DKIM.
    Dkim,
}

/// Looks for the policy of an author's domain.
pub async fn discover(resolver: &dyn Resolver, author: &Domain) -> Discovery {
    let Ok(walk) = walk(resolver, author).await else {
        return Discovery::Failed;
    };
    let organization = organization(&walk, author);
    let own = walk.iter().find(|(name, _)| name == author);
    let of_organization = walk.iter().find(|(name, _)| *name == organization);
    let Some((name, record)) = own.or(of_organization).or(walk.last()) else {
        return Discovery::Nothing;
    };
    let Ok(policy) = policy(resolver, author, name, record).await else {
        return Discovery::Failed;
    };
    match policy {
        None => Discovery::Nothing,
        Some(policy) => Discovery::Published(Published {
            author: author.clone(),
            organization,
            policy: if record.testing { policy.weakened() } else { policy },
            strict_dkim: record.strict_dkim,
            strict_spf: record.strict_spf,
        }),
    }
}

/// What a record wants for the author's domain. One without a policy is worth something only to those who send reports.
async fn policy(
    resolver: &dyn Resolver,
    author: &Domain,
    owner: &Domain,
    record: &Record,
) -> Result<Option<Policy>, Temporary> {
    let general = match (record.policy, record.wants_reports) {
        (Some(policy), _) => policy,
        (None, true) => return Ok(Some(Policy::None)),
        (None, false) => return Ok(None),
    };
    if author == owner {
        return Ok(Some(general));
    }
    let subdomains = record.subdomains.unwrap_or(general);
    let missing = record.missing.unwrap_or(subdomains);
    match missing == subdomains || exists(resolver, author).await? {
        true => Ok(Some(subdomains)),
        false => Ok(Some(missing)),
    }
}

/// Whether mail could go to a domain. Answers do not tell a name that does not exist from one with other records only.
async fn exists(resolver: &dyn Resolver, domain: &Domain) -> Result<bool, Temporary> {
    let (addresses, hosts) = tokio::join!(resolver.addresses(domain), resolver.mx(domain));
    match (addresses, hosts) {
        (Lookup::Found { .. }, _) | (_, Lookup::Found { .. }) => Ok(true),
        (Lookup::Absent { .. }, Lookup::Absent { .. }) => Ok(false),
        _ => Err(Temporary),
    }
}

impl Published {
    /// Whether a domain proven in that way is the author's, or of the same organization. `None` if DNS does not answer now.
    pub async fn is_aligned(&self, resolver: &dyn Resolver, domain: &Domain, proof: Proof) -> Option<bool> {
        let strict = match proof {
            Proof::Spf => self.strict_spf,
            Proof::Dkim => self.strict_dkim,
        };
        if *domain == self.author {
            return Some(true);
        }
        let below = |name: &Domain| {
            *name == self.organization || name.parents().any(|above| above == self.organization)
        };
        if strict || !below(domain) {
            return Some(false);
        }
        let walk = walk(resolver, domain).await.ok()?;
        Some(organization(&walk, domain) == self.organization)
    }
}

/// The records from a domain up the tree, the closest first (RFC 9989 §4.10).
async fn walk(resolver: &dyn Resolver, start: &Domain) -> Result<Vec<(Domain, Record)>, Temporary> {
    let mut found = Vec::new();
    for name in names(start) {
        if let Some(record) = record(resolver, &name).await? {
            let is_end = record.suffix != PublicSuffix::Unsaid;
            found.push((name, record));
            if is_end {
                break;
            }
        }
    }
    Ok(found)
}

/// At most eight names.
fn names(start: &Domain) -> impl Iterator<Item = Domain> {
    let labels = |name: &Domain| name.as_str().split('.').count();
    let is_long = labels(start) >= LONG_NAME;
    let above = start
        .parents()
        .filter(move |name| !is_long || labels(name) < LONG_NAME);
    std::iter::once(start.clone()).chain(above)
}

/// The one record at a name; several are none. A name that is too long to ask for has none: somebody could choose one below
/// any domain.
async fn record(resolver: &dyn Resolver, name: &Domain) -> Result<Option<Record>, Temporary> {
    let name = format!("_dmarc.{name}");
    if name.len() > MAX_NAME {
        return Ok(None);
    }
    let texts = match resolver.txt(&name).await {
        Lookup::Found { value, .. } => value,
        Lookup::Absent { .. } => return Ok(None),
        Lookup::Bogus | Lookup::Failed => return Err(Temporary),
    };
    let mut records = texts
        .iter()
        .take(MAX_RECORDS)
        .filter_map(|text| Record::parse(text));
    match (records.next(), records.next()) {
        (Some(record), None) => Ok(Some(record)),
        _ => Ok(None),
    }
}

/// RFC 9989 §4.10.2.
fn organization(walk: &[(Domain, Record)], start: &Domain) -> Domain {
    for (name, record) in walk {
        match record.suffix {
            PublicSuffix::No => return name.clone(),
            PublicSuffix::Yes if name != start => {
                let below = std::iter::once(start.clone()).chain(start.parents());
                return below
                    .take_while(|below| below != name)
                    .last()
                    .unwrap_or_else(|| start.clone());
            }
            _ => {}
        }
    }
    walk.last()
        .map_or_else(|| start.clone(), |(name, _)| name.clone())
}

/// What would be found at an author's own domain.
#[cfg(test)]
pub(super) fn discovered(author: &str, policy: &str) -> Discovery {
    #![allow(clippy::unwrap_used)]
    Discovery::Published(Published {
        author: author.parse().unwrap(),
        organization: author.parse().unwrap(),
        policy: Policy::parse(policy).unwrap(),
        strict_dkim: false,
        strict_spf: false,
    })
}

#[cfg(test)]
mod tests;
