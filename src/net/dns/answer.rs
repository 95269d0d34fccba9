//! From the answer about one name to the answers of [`Resolver`](super::Resolver): aliases and values.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout;

use super::{Family, Host, Lookup, Mx, Proof, Srv, Tlsa};
use crate::base::metrics;
use crate::mail::address::Domain;

/// Aliases that are followed in a row.
const MAX_ALIASES: usize = 8;

/// What is known about one name and type, before aliases are followed.
pub(super) enum Step {
    /// Records of the type asked for, or a CNAME.
    Records { records: Vec<Record>, proof: Proof },
    /// Neither.
    Absent(Proof),
    /// Validation failed.
    Bogus,
    /// No usable answer.
    Failed,
}

/// Asks about one name and type.
#[async_trait]
pub(super) trait Ask: Sync {
    /// One step.
    async fn step(&self, name: &Name, kind: RecordType) -> Step;
    /// How long a whole lookup may take.
    fn total_timeout(&self) -> Duration;
}

pub(super) async fn txt(asker: &impl Ask, name: &str) -> Lookup<Vec<Vec<u8>>> {
    let Some(name) = absolute(name) else {
        return Lookup::Failed;
    };
    lookup(asker, name, RecordType::TXT, |data| match data {
        RData::TXT(txt) => Some(txt.txt_data.concat()),
        _ => None,
    })
    .await
}

pub(super) async fn mx(asker: &impl Ask, domain: &Domain) -> Lookup<Vec<Mx>> {
    let Some(name) = absolute(domain.as_str()) else {
        return Lookup::Failed;
    };
    lookup(asker, name, RecordType::MX, |data| match data {
        RData::MX(mx) => Some(Mx {
            preference: mx.preference,
            host: host(&mx.exchange)?,
        }),
        _ => None,
    })
    .await
}

pub(super) async fn srv(asker: &impl Ask, name: &str) -> Lookup<Vec<Srv>> {
    let Some(name) = absolute(name) else {
        return Lookup::Failed;
    };
    lookup(asker, name, RecordType::SRV, |data| match data {
        RData::SRV(srv) => Some(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: host(&srv.target)?,
        }),
        _ => None,
    })
    .await
}

pub(super) async fn tlsa(asker: &impl Ask, name: &str) -> Lookup<Vec<Tlsa>> {
    let Some(name) = absolute(name) else {
        return Lookup::Failed;
    };
    lookup(asker, name, RecordType::TLSA, |data| match data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => None,
    })
    .await
}

/// A and AAAA records, of whichever family there are any.
pub(super) async fn addresses(asker: &impl Ask, host: &Domain) -> Lookup<Vec<IpAddr>> {
    match absolute(host.as_str()) {
        Some(name) => both_families(asker, name).await.0,
        None => Lookup::Failed,
    }
}

/// Those of one family, at a name that need not be a host's.
pub(super) async fn addresses_at(asker: &impl Ask, name: &str, family: Family) -> Lookup<Vec<IpAddr>> {
    match (absolute(name), family) {
        (None, _) => Lookup::Failed,
        (Some(name), Family::V4) => lookup(asker, name, RecordType::A, v4).await,
        (Some(name), Family::V6) => lookup(asker, name, RecordType::AAAA, v6).await,
    }
}

/// PTR records; what is no host name is left out.
pub(super) async fn names(asker: &impl Ask, address: IpAddr) -> Lookup<Vec<Domain>> {
    lookup(asker, Name::from(address), RecordType::PTR, |data| match data {
        RData::PTR(name) => host(&name.0)?,
        _ => None,
    })
    .await
}

/// The same, with the name at which the addresses stand.
pub(super) async fn located_host(asker: &impl Ask, host: &Domain) -> Lookup<Host> {
    let Some(name) = absolute(host.as_str()) else {
        return Lookup::Failed;
    };
    let (addresses, trails) = both_families(asker, name).await;
    match addresses {
        Lookup::Found { value, ttl, proof } => Lookup::Found {
            value: located(host, value, &trails),
            ttl,
            proof,
        },
        Lookup::Absent { proof } => Lookup::Absent { proof },
        Lookup::Bogus => Lookup::Bogus,
        Lookup::Failed => Lookup::Failed,
    }
}

/// Families that lead to different names lead to none: the host is known by its own.
fn located(host: &Domain, addresses: Vec<IpAddr>, trails: &[Trail]) -> Host {
    let one = trails
        .first()
        .filter(|one| trails.iter().all(|other| other.name == one.name));
    let canonical = one.and_then(|trail| Domain::parse(trail.name.to_ascii().trim_end_matches('.')).ok());
    Host {
        addresses,
        canonical: canonical.unwrap_or_else(|| host.clone()),
        first: trails
            .iter()
            .fold(Proof::Secure, |proof, trail| weaker(proof, trail.first)),
    }
}

/// Both families at once, and where the aliases of those that were found led. One family that is there makes up for the
/// other's failure; it never makes an absence.
async fn both_families(asker: &impl Ask, name: Name) -> (Lookup<Vec<IpAddr>>, Vec<Trail>) {
    let v6 = trailed(asker, name.clone(), RecordType::AAAA, v6);
    let v4 = trailed(asker, name, RecordType::A, v4);
    let ((v6, trail6), (v4, trail4)) = tokio::join!(v6, v4);
    (either(v6, v4), trail6.into_iter().chain(trail4).collect())
}

fn v4(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    }
}

fn v6(data: &RData) -> Option<IpAddr> {
    match data {
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

fn either(first: Lookup<Vec<IpAddr>>, second: Lookup<Vec<IpAddr>>) -> Lookup<Vec<IpAddr>> {
    use Lookup as L;
    match (first, second) {
        (
            L::Found {
                mut value,
                ttl,
                proof,
            },
            L::Found {
                value: more,
                ttl: other_ttl,
                proof: other,
            },
        ) => {
            value.extend(more);
            L::Found {
                value,
                ttl: ttl.min(other_ttl),
                proof: weaker(proof, other),
            }
        }
        (found @ L::Found { .. }, _) | (_, found @ L::Found { .. }) => found,
        (L::Bogus, _) | (_, L::Bogus) => L::Bogus,
        (L::Failed, _) | (_, L::Failed) => L::Failed,
        (L::Absent { proof }, L::Absent { proof: other }) => L::Absent {
            proof: weaker(proof, other),
        },
    }
}

/// A fully qualified name; `None` if it is not a name at all. Labels are taken as they are (RFC 2181 §11): those of SPF may be
/// local-parts.
fn absolute(text: &str) -> Option<Name> {
    let is_printable = |octet: u8| (b' '..=b'~').contains(&octet);
    if !text.bytes().all(is_printable) {
        return None;
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    Name::from_labels(text.split('.').map(str::as_bytes)).ok()
}

/// The outer `None` for what is no host, such as an address in place of a name; the inner one for the root, which stands for
/// "none".
fn host(name: &Name) -> Option<Option<Domain>> {
    if name.is_root() {
        return Some(None);
    }
    let text = name.to_ascii();
    Domain::parse(text.trim_end_matches('.')).ok().map(Some)
}

/// Where aliases led.
struct Trail {
    /// The name at the end of them.
    name: Name,
    /// How far the first step is proven.
    first: Proof,
}

/// Follows aliases to the values; the whole is proven no better than its weakest step.
async fn lookup<T>(
    asker: &impl Ask,
    name: Name,
    kind: RecordType,
    value: impl Fn(&RData) -> Option<T>,
) -> Lookup<Vec<T>> {
    trailed(asker, name, kind, value).await.0
}

/// The same, with the way to what was found.
async fn trailed<T>(
    asker: &impl Ask,
    name: Name,
    kind: RecordType,
    value: impl Fn(&RData) -> Option<T>,
) -> (Lookup<Vec<T>>, Option<Trail>) {
    let work = follow(asker, name, kind, value);
    let found = timeout(asker.total_timeout(), work).await;
    let found = found.unwrap_or((Lookup::Failed, None));
    metrics::dns_asked(found.0.proof_word());
    found
}

async fn follow<T>(
    asker: &impl Ask,
    mut name: Name,
    kind: RecordType,
    value: impl Fn(&RData) -> Option<T>,
) -> (Lookup<Vec<T>>, Option<Trail>) {
    let mut so_far = Proof::Secure;
    let mut first = None;
    let mut ttl = Duration::MAX;
    for _ in 0..=MAX_ALIASES {
        let (records, proof) = match asker.step(&name, kind).await {
            Step::Records { records, proof } => (records, weaker(so_far, proof)),
            Step::Absent(proof) => {
                let proof = weaker(so_far, proof);
                return (Lookup::Absent { proof }, None);
            }
            Step::Bogus => return (Lookup::Bogus, None),
            Step::Failed => return (Lookup::Failed, None),
        };
        so_far = proof;
        let first = *first.get_or_insert(proof);
        ttl = ttl.min(shortest(&records));
        if records.iter().any(|record| record.record_type() == kind) {
            let found = found(&records, value, ttl, proof);
            let trail = matches!(found, Lookup::Found { .. }).then_some(Trail { name, first });
            return (found, trail);
        }
        match records.iter().find_map(alias) {
            Some(target) => name = target,
            None => return (Lookup::Failed, None),
        }
    }
    (Lookup::Failed, None)
}

/// Records of which none can be used are a failure: they are not absent.
fn found<T>(
    records: &[Record],
    value: impl Fn(&RData) -> Option<T>,
    ttl: Duration,
    proof: Proof,
) -> Lookup<Vec<T>> {
    let value: Vec<T> = records.iter().filter_map(|record| value(&record.data)).collect();
    match value.is_empty() {
        true => Lookup::Failed,
        false => Lookup::Found { value, ttl, proof },
    }
}

fn alias(record: &Record) -> Option<Name> {
    match &record.data {
        RData::CNAME(target) => Some(target.0.clone()),
        _ => None,
    }
}

fn shortest(records: &[Record]) -> Duration {
    let shortest = records.iter().map(|record| record.ttl).min();
    Duration::from_secs(u64::from(shortest.unwrap_or(0)))
}

pub(super) fn weaker(a: Proof, b: Proof) -> Proof {
    match (a, b) {
        (Proof::Secure, Proof::Secure) => Proof::Secure,
        _ => Proof::Insecure,
    }
}
