//! How the TLS towards one MX host has to be (RFC 7672, RFC 8461, RFC 8689).

use std::fmt;

use super::SmtpTls;
use super::transport::Protection;
use crate::mail::address::Domain;
use crate::mail::demand::TlsDemand;
use crate::net::dane::Dane;
use crate::net::dns::{Lookup, Proof, Tlsa};

/// What is known of one MX host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// How far the list that names the host is proven.
    pub list: Proof,
    /// What its TLSA records are.
    pub tlsa: TlsaFinding,
    /// What the domain's MTA-STS policy says of it.
    pub sts: Sts,
    /// What the route asks for.
    pub wanted: SmtpTls,
    /// What the author demands.
    pub demand: TlsDemand,
    /// The operator names the host and demands this of it; then the list is as good as proven, and no policy of the
    /// recipient's domain is about it.
    pub transport: Option<Protection>,
}

/// What asking for a host's TLSA records has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsaFinding {
    /// Nobody asked: the list of hosts, or the host's address, is not proven, so no record would count.
    NotAsked,
    /// Proven records, of which some can be used.
    Usable(Dane),
    /// Proven records, of which none can be used.
    Unusable,
    /// None that are proven.
    Absent,
    /// DNSSEC validation failed.
    Bogus,
    /// No usable answer, which is no absence.
    Failed,
}

impl TlsaFinding {
    /// Gives an answer its meaning; the names are those of [`Dane::new`].
    pub fn read(answer: Lookup<Vec<Tlsa>>, names: Vec<Domain>) -> Self {
        match answer {
            Lookup::Found {
                value,
                proof: Proof::Secure,
                ..
            } => Dane::new(&value, names).map_or(Self::Unusable, Self::Usable),
            Lookup::Found {
                proof: Proof::Insecure,
                ..
            }
            | Lookup::Absent { .. } => Self::Absent,
            Lookup::Bogus => Self::Bogus,
            Lookup::Failed => Self::Failed,
        }
    }
}

/// What a domain's MTA-STS policy says of a host (RFC 8461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sts {
    /// There is no policy, or one that asks for nothing.
    None,
    /// A policy on trial, which changes nothing.
    Testing,
    /// The host is one of those that the policy names.
    Covered,
    /// It is not.
    NotCovered,
}

/// How the TLS has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostTls {
    /// With a certificate that TLSA records stand for, or no mail.
    Dane(Dane),
    /// With a certificate for the host's name under a root, or no mail.
    Pkix,
    /// With any certificate, or no mail.
    Encrypted,
    /// As [`Pkix`](Self::Pkix) if that can be had, or else as [`Encrypted`](Self::Encrypted).
    PkixOrEncrypted,
    /// As [`Pkix`](Self::Pkix) if that can be had, or else as below.
    PkixIfPossible,
    /// As the host offers.
    Opportunistic,
    /// Not at all: this host gets no mail now.
    Refused,
}

impl HostTls {
    /// One word for logs and the command line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dane(_) => "dane",
            Self::Pkix => "pkix",
            Self::Encrypted => "encrypted",
            Self::PkixOrEncrypted => "pkix_or_encrypted",
            Self::PkixIfPossible => "pkix_if_possible",
            Self::Opportunistic => "opportunistic",
            Self::Refused => "refused",
        }
    }
}

/// The fact and the rule behind a decision about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostReason {
    /// There are TLSA records.
    Dane,
    /// There are TLSA records, and none can be used.
    DaneUnusable,
    /// The TLSA records do not validate.
    TlsaBogus,
    /// The TLSA records could not be looked up.
    TlsaFailed,
    /// The domain's MTA-STS policy names the host.
    StsCovered,
    /// The domain's MTA-STS policy does not name the host.
    StsNotCovered,
    /// The author requires verified TLS.
    Required,
    /// The author requires verified TLS, and nothing proves that the host is the domain's.
    RequiredUnproven,
    /// The author waives protection.
    Waived,
    /// The domain's management record asks for verified TLS where it can be had.
    Record,
    /// The operator names the host, and how it is protected.
    Transport,
    /// Nothing is asked for.
    NoPolicy,
}

impl HostReason {
    /// A name that never changes once released.
    pub fn code(self) -> &'static str {
        match self {
            Self::Dane => "dane",
            Self::DaneUnusable => "dane_unusable",
            Self::TlsaBogus => "dane_bogus",
            Self::TlsaFailed => "dane_lookup_failed",
            Self::StsCovered => "mta_sts",
            Self::StsNotCovered => "mta_sts_not_covered",
            Self::Required => "requiretls",
            Self::RequiredUnproven => "requiretls_unproven",
            Self::Waived => "tls_not_required",
            Self::Record => "dime_policy",
            Self::Transport => "transport",
            Self::NoPolicy => "no_policy",
        }
    }
}

impl fmt::Display for HostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dane => "TLSA records, proven by DNSSEC, say which certificate the host has",
            Self::DaneUnusable => "TLSA records, proven by DNSSEC, demand TLS, and none says anything of the certificate that can be used",
            Self::TlsaBogus => "the host's TLSA records fail DNSSEC validation",
            Self::TlsaFailed => "the host's TLSA records could not be looked up, which is no absence",
            Self::StsCovered => "the domain's MTA-STS policy demands a verified certificate",
            Self::StsNotCovered => "the domain's MTA-STS policy does not name the host",
            Self::Required => "the author requires verified TLS (REQUIRETLS)",
            Self::RequiredUnproven => "the author requires verified TLS (REQUIRETLS), and neither DNSSEC nor MTA-STS says that the host is the domain's",
            Self::Waived => "the author lets policies about TLS be ignored (TLS-Required: No)",
            Self::Record => "the domain's management record asks for a verified certificate where there is one",
            Self::Transport => "the configuration names the host and says how it is to be protected",
            Self::NoPolicy => "nothing demands TLS",
        })
    }
}

/// How the TLS has to be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDecision {
    /// How.
    pub tls: HostTls,
    /// Why.
    pub reason: HostReason,
}

/// Decides for one MX host. The same facts always give the same decision.
///
/// DANE outranks MTA-STS (RFC 8461 §2); TLSA records that say nothing of the certificate leave that to MTA-STS.
pub fn decide_host(facts: &HostFacts) -> HostDecision {
    if let Some(least) = facts.transport {
        return by_transport(facts, least);
    }
    match facts.demand {
        TlsDemand::Waived => decision(HostTls::Opportunistic, HostReason::Waived),
        TlsDemand::Policy => by_policy(facts),
        TlsDemand::Required => required(facts, by_policy(facts)),
    }
}

/// For a host that the operator names. TLSA records of the host and the recipient's management record can ask for more than the
/// operator does, and never for less; that an author waives protection is said of policies, and not of the operator's word.
fn by_transport(facts: &HostFacts, least: Protection) -> HostDecision {
    use HostTls as T;
    let asked = match facts.demand {
        TlsDemand::Waived => decision(T::Opportunistic, HostReason::Waived),
        TlsDemand::Policy | TlsDemand::Required => by_policy(facts),
    };
    match (&asked.tls, least, facts.demand) {
        (T::Refused | T::Dane(_) | T::Pkix, _, _) => asked,
        (_, Protection::Verified, _) => decision(T::Pkix, HostReason::Transport),
        (_, _, TlsDemand::Required) => decision(T::Pkix, HostReason::Required),
        (T::PkixIfPossible, Protection::Encrypted, _) => decision(T::PkixOrEncrypted, HostReason::Transport),
        (_, Protection::Encrypted, _) => decision(T::Encrypted, HostReason::Transport),
        (T::Opportunistic, Protection::Opportunistic, _) => decision(T::Opportunistic, HostReason::Transport),
        (_, Protection::Opportunistic, _) => asked,
    }
}

fn by_policy(facts: &HostFacts) -> HostDecision {
    match (&facts.tlsa, facts.sts) {
        (TlsaFinding::Usable(dane), _) => decision(HostTls::Dane(dane.clone()), HostReason::Dane),
        (TlsaFinding::Bogus, _) => decision(HostTls::Refused, HostReason::TlsaBogus),
        (TlsaFinding::Failed, _) => decision(HostTls::Refused, HostReason::TlsaFailed),
        (_, Sts::NotCovered) => decision(HostTls::Refused, HostReason::StsNotCovered),
        (_, Sts::Covered) => decision(HostTls::Pkix, HostReason::StsCovered),
        (TlsaFinding::Unusable, _) => decision(HostTls::Encrypted, HostReason::DaneUnusable),
        (TlsaFinding::NotAsked | TlsaFinding::Absent, Sts::None | Sts::Testing) => match facts.wanted {
            SmtpTls::VerifiedIfPossible => decision(HostTls::PkixIfPossible, HostReason::Record),
            SmtpTls::Opportunistic => decision(HostTls::Opportunistic, HostReason::NoPolicy),
        },
    }
}

/// RFC 8689 §4.2.1: DNSSEC or MTA-STS must say that the host is the domain's, and its certificate must be verified.
fn required(facts: &HostFacts, decided: HostDecision) -> HostDecision {
    let proven = facts.list == Proof::Secure || facts.sts == Sts::Covered;
    match decided.tls {
        HostTls::Refused => decided,
        _ if !proven => decision(HostTls::Refused, HostReason::RequiredUnproven),
        HostTls::Dane(_) | HostTls::Pkix => decided,
        HostTls::Encrypted | HostTls::PkixOrEncrypted | HostTls::PkixIfPossible | HostTls::Opportunistic => {
            decision(HostTls::Pkix, HostReason::Required)
        }
    }
}

fn decision(tls: HostTls, reason: HostReason) -> HostDecision {
    HostDecision { tls, reason }
}
