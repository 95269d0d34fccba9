//! Where to connect to, for SMTP (RFC 5321 §5.1, RFC 7505) and for DMTP (`dmtp.md` §9.1).

use rand::Rng;
use rand::seq::SliceRandom;

use crate::dime::record::ManagementRecord;
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Mx, Proof, Resolver};

/// MX hosts that are tried for DMTP.
const DMTP_MX_HOSTS: usize = 3;

/// The hosts that take mail for a domain by SMTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailHosts {
    /// In the order to be tried; never empty.
    Hosts {
        /// Host names, of equal preference in random order.
        hosts: Vec<Domain>,
        /// How far the list is proven.
        proof: Proof,
    },
    /// The best of them is this host, and what others are for is to send here (RFC 5321 §5.1).
    OnlyOurs,
    /// The domain says that it takes no mail (RFC 7505).
    NullMx,
    /// There is neither an MX nor an address.
    Nowhere,
    /// DNSSEC validation failed.
    Bogus,
    /// No usable answer; try later.
    Failed,
}

/// How to speak to a DX host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// DMTP alone, TLS from the first byte; port 26.
    Single,
    /// STARTTLS with a mode on the SMTP port; port 25.
    Dual,
}

/// One thing to try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DxAttempt {
    /// The host, also the name to ask the certificate for.
    pub host: Domain,
    /// The way in.
    pub reach: Reach,
}

/// The hosts that take D/MIME for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryHosts {
    /// In the order to be tried; never empty.
    Attempts(Vec<DxAttempt>),
    /// The record names no host and the domain says that it takes no mail (RFC 7505).
    NullMx,
    /// DNSSEC validation of the MX records failed.
    Bogus,
    /// The MX records could not be had; try later.
    Failed,
}

/// The SMTP hosts of a domain: its MX records, or itself if it has none but has an address. If
/// `ours`, the names of this host, are among them, only those count that the domain likes better: from the others mail would
/// come back here.
pub async fn mail_hosts<R: Rng + Send + ?Sized>(
    resolver: &dyn Resolver,
    domain: &Domain,
    ours: &[Domain],
    rng: &mut R,
) -> MailHosts {
    match resolver.mx(domain).await {
        Lookup::Found { value, proof, .. } => in_order(value, proof, ours, rng),
        Lookup::Absent { .. } if ours.contains(domain) => MailHosts::OnlyOurs,
        Lookup::Absent { proof } => implicit_host(resolver, domain, proof).await,
        Lookup::Bogus => MailHosts::Bogus,
        Lookup::Failed => MailHosts::Failed,
    }
}

/// The DX hosts of a domain: those of its record and no others; without any there, the first three MX hosts
/// in single and then dual mode, and last the domain itself.
pub async fn delivery_hosts<R: Rng + Send + ?Sized>(
    resolver: &dyn Resolver,
    record: &ManagementRecord,
    domain: &Domain,
    rng: &mut R,
) -> DeliveryHosts {
    if !record.delivery_hosts.is_empty() {
        let single = |host: &Domain| attempt(host, Reach::Single);
        return DeliveryHosts::Attempts(record.delivery_hosts.iter().map(single).collect());
    }
    match resolver.mx(domain).await {
        Lookup::Found { value, proof, .. } => match in_order(value, proof, &[], rng) {
            MailHosts::Hosts { hosts, .. } => DeliveryHosts::Attempts(by_mx(&hosts, domain)),
            _ => DeliveryHosts::NullMx,
        },
        Lookup::Absent { .. } => DeliveryHosts::Attempts(by_mx(&[], domain)),
        Lookup::Bogus => DeliveryHosts::Bogus,
        Lookup::Failed => DeliveryHosts::Failed,
    }
}

/// The domain itself as its mail host (RFC 5321 §5.1). Proven no better than the absence of MX records.
async fn implicit_host(resolver: &dyn Resolver, domain: &Domain, absence: Proof) -> MailHosts {
    match resolver.addresses(domain).await {
        Lookup::Found { proof, .. } => MailHosts::Hosts {
            hosts: vec![domain.clone()],
            proof: weaker(absence, proof),
        },
        Lookup::Absent { .. } => MailHosts::Nowhere,
        Lookup::Bogus => MailHosts::Bogus,
        Lookup::Failed => MailHosts::Failed,
    }
}

/// Sorts by preference, shuffling equals. A null MX beside others is a mistake and ignored (RFC 7505 §3).
fn in_order<R: Rng + ?Sized>(mut records: Vec<Mx>, proof: Proof, ours: &[Domain], rng: &mut R) -> MailHosts {
    let is_ours = |mx: &&Mx| mx.host.as_ref().is_some_and(|host| ours.contains(host));
    let best_of_ours = records.iter().filter(is_ours).map(|mx| mx.preference).min();
    records.retain(|mx| best_of_ours.is_none_or(|best| mx.preference < best));
    records.shuffle(rng);
    records.sort_by_key(|mx| mx.preference);
    let mut hosts: Vec<Domain> = Vec::new();
    for host in records.into_iter().filter_map(|mx| mx.host) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    match hosts.is_empty() {
        true if best_of_ours.is_some() => MailHosts::OnlyOurs,
        true => MailHosts::NullMx,
        false => MailHosts::Hosts { hosts, proof },
    }
}

fn by_mx(hosts: &[Domain], domain: &Domain) -> Vec<DxAttempt> {
    let mut attempts: Vec<DxAttempt> = hosts
        .iter()
        .take(DMTP_MX_HOSTS)
        .flat_map(|host| [attempt(host, Reach::Single), attempt(host, Reach::Dual)])
        .collect();
    let last = attempt(domain, Reach::Single);
    if !attempts.contains(&last) {
        attempts.push(last);
    }
    attempts
}

fn attempt(host: &Domain, reach: Reach) -> DxAttempt {
    DxAttempt {
        host: host.clone(),
        reach,
    }
}

fn weaker(a: Proof, b: Proof) -> Proof {
    match (a, b) {
        (Proof::Secure, Proof::Secure) => Proof::Secure,
        _ => Proof::Insecure,
    }
}
