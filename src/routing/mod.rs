//! Facts about one recipient domain in, one route and its reason out (`management-record.md` §9.3). Pure.
//!
//! [`decide`] says whether a message goes as D/MIME, by SMTP, or waits; for SMTP [`decide_host`] then says of each MX host
//! how its TLS has to be: DANE before MTA-STS before whatever the host offers. A test holds these tables to the code.
#![doc = include_str!("table.md")]

mod host;
mod reason;
pub mod transport;

pub use host::{HostDecision, HostFacts, HostReason, HostTls, Sts, TlsaFinding, decide_host};
pub use reason::{Basis, Reason};
pub use transport::{Transport, Transports};

use std::sync::Arc;

use crate::dime::record::{ManagementRecord, Policy, SubdomainPolicy};
use crate::dime::selection::Hold;
use crate::domains::{DomainFacts, PinnedRecord, RecordLookup, Standing, Unpublished};
use crate::mail::demand::Demand;
use crate::net::dns::Proof;

/// What the attempt to use DMTP has brought so far (§9.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DmtpFinding {
    /// Nobody has asked for the recipient's signet yet.
    #[default]
    NotAsked,
    /// The certificate was accepted and the recipient's signet is valid.
    SignetValid,
    /// A DX host said, inside verified TLS, that the recipient has no signet.
    NoSuchSignet,
    /// No host could be reached, none answered in time, or the answer was 4xx.
    Unreachable,
    /// No host showed an acceptable certificate.
    CertificateRejected,
    /// The record is not proven, and the domain's MTA-STS policy, which counts for SMTP, covers none of the hosts.
    NotCovered,
    /// The signet is forged, belongs to another name, its key is not in the record, or no chain of custody leads to it from
    /// the one seen before.
    SignetInvalid,
    /// The message itself was refused for good.
    MessageRefused,
    /// It has no author of ours in whose name it could be sealed: a report, or mail passed on.
    NoAuthor,
    /// Its author is ours and keeps the private keys elsewhere, so only they can seal.
    KeysElsewhere,
    /// Signets were had, and their key sets forbid to send now, in any way (`dmime2.md` §4).
    Held(Hold),
    /// Signets were had, and others would not believe what is sealed in the name of the author's domain, which is ours: they do
    /// not find its record.
    OwnRecord(Unpublished),
}

/// What the closest domain above, by a record that DNSSEC vouches for, says of the domains below it (§8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParentPolicy {
    /// Its policy.
    pub policy: Policy,
    /// Whether that governs domains below it.
    pub subdomains: SubdomainPolicy,
}

/// Where the operator lets mail fall back to SMTP after a failure that lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowances {
    /// The record could not be looked up.
    pub smtp_after_failed_lookup: bool,
    /// An experimental domain's certificate was rejected.
    pub smtp_after_rejected_certificate: bool,
}

/// Everything a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// We serve the recipient's domain ourselves.
    pub local: bool,
    /// The policy of the domain of ours in whose name the message goes, if it has DIME; bounces have none.
    pub sender_policy: Option<Policy>,
    /// What the author demands.
    pub demand: Demand,
    /// The recipient domain's record and pin.
    pub domain: DomainFacts,
    /// What a domain above it says, if the operator lets that count.
    pub parent: Option<ParentPolicy>,
    /// What DMTP has brought; in a domain of ours, the signet of a recipient whose keys are elsewhere.
    pub finding: DmtpFinding,
    /// Whether the failure has lasted for the configured time.
    pub failing_for_long: bool,
    /// What the operator allows then.
    pub allowances: Allowances,
    /// The host that the operator names for the domain.
    pub transport: Option<Arc<Transport>>,
}

/// How well the SMTP connection must be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SmtpTls {
    /// TLS if offered, any certificate.
    Opportunistic,
    /// TLS with a verified certificate if at all possible.
    VerifiedIfPossible,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To an account of ours.
    Local,
    /// As D/MIME over DMTP.
    Dmtp {
        /// The record to act on.
        record: ManagementRecord,
        /// How far it is proven; `Insecure` is opportunistic protection only and never shown as authenticated.
        proof: Proof,
    },
    /// As MIME over SMTP.
    Smtp {
        /// Protection asked for.
        tls: SmtpTls,
        /// To this host, in the place of those that DNS names.
        transport: Option<Arc<Transport>>,
    },
    /// Nowhere now; try again, and bounce at the end of the queue's patience.
    Defer,
    /// Back to the sender.
    Bounce,
}

impl Route {
    /// One word for logs, metrics and the command line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Dmtp { .. } => "dmtp",
            Self::Smtp { .. } => "smtp",
            Self::Defer => "defer",
            Self::Bounce => "bounce",
        }
    }
}

/// A route and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Where to.
    pub route: Route,
    /// Why there.
    pub reason: Reason,
}

/// Decides for one recipient. The same facts always give the same decision.
pub fn decide(facts: &Facts) -> Decision {
    if facts.local {
        return match facts.finding {
            DmtpFinding::SignetValid => decision(Route::Local, Reason::LocalSealed),
            DmtpFinding::Held(hold) => decision(Route::Defer, Reason::LocalHeld(hold)),
            _ => decision(Route::Local, Reason::LocalDomain),
        };
    }
    let decided = by_transport(facts, below_parent(facts, by_record(facts)));
    let instead_of = decided.reason.code();
    match decided.route {
        Route::Smtp { .. } if facts.demand.dime => {
            without_smtp(&decided.reason, Reason::SenderDemandsDime { instead_of })
        }
        Route::Smtp { .. } if facts.sender_policy == Some(Policy::Strict) => {
            without_smtp(&decided.reason, Reason::SenderIsStrict { instead_of })
        }
        _ => decided,
    }
}

/// Names the operator's host for mail that goes by SMTP. Whether it does is decided before, and without it.
fn by_transport(facts: &Facts, decided: Decision) -> Decision {
    match decided.route {
        Route::Smtp { tls, .. } => Decision {
            route: Route::Smtp {
                tls,
                transport: facts.transport.clone(),
            },
            reason: decided.reason,
        },
        _ => decided,
    }
}

/// What becomes of mail that SMTP is not allowed for: it waits if DMTP may be had later.
fn without_smtp(reason: &Reason, forbidden: Reason) -> Decision {
    use DmtpFinding as F;
    let passing = match reason {
        Reason::Dime { finding, .. } => {
            matches!(finding, F::Unreachable | F::CertificateRejected | F::NotCovered)
        }
        Reason::LookupFailedForLong => true,
        _ => false,
    };
    decision(if passing { Route::Defer } else { Route::Bounce }, forbidden)
}

/// The table of §8, which only ever makes a domain's own rules stronger: a domain without a record is no DIME domain,
/// but where the one above forbids SMTP, SMTP stays forbidden.
fn below_parent(facts: &Facts, decided: Decision) -> Decision {
    let has_record = matches!(decided.reason, Reason::Dime { .. });
    let governs = |parent: &ParentPolicy| match parent.subdomains {
        SubdomainPolicy::Strict => true,
        SubdomainPolicy::Relaxed => !has_record,
        SubdomainPolicy::Explicit => false,
    };
    let governed_by = facts.parent.filter(governs).map(|parent| parent.policy);
    match (&decided.route, governed_by) {
        (Route::Smtp { .. }, Some(Policy::Strict)) => without_smtp(
            &decided.reason,
            Reason::ParentIsStrict {
                instead_of: decided.reason.code(),
            },
        ),
        (Route::Smtp { .. }, Some(Policy::Mixed)) => smtp(SmtpTls::VerifiedIfPossible, decided.reason),
        _ => decided,
    }
}

/// The table of §9.3.
fn by_record(facts: &Facts) -> Decision {
    use RecordLookup as L;
    let domain = &facts.domain;
    match (&domain.lookup, &domain.pin) {
        (
            L::Found {
                record,
                proof: Proof::Secure,
            },
            _,
        ) => by_finding(facts, record, Proof::Secure, Basis::Secure, record.policy),
        (L::Found { .. }, _) => match domain.standing() {
            Standing::Dime(record, proof) => {
                by_finding(facts, &record, proof, Basis::Insecure, record.policy)
            }
            Standing::Plain | Standing::Unknown => decision(Route::Defer, Reason::KeysConflict),
        },
        (L::Bogus, _) => decision(Route::Defer, Reason::RecordBogus),
        (L::Unparsable { .. }, None) => decision(Route::Defer, Reason::RecordUnparsable),
        (L::Unparsable { .. }, Some(pin)) => by_pin(facts, pin, Basis::PinnedThoughUnparsable),
        (L::Absent(Proof::Secure), _) => smtp(SmtpTls::Opportunistic, Reason::ProvenAbsent),
        (L::Absent(Proof::Insecure), Some(pin)) => by_pin(facts, pin, Basis::PinnedThoughAbsent),
        (L::Absent(Proof::Insecure), None) => smtp(SmtpTls::Opportunistic, Reason::Absent),
        (L::Failed, Some(pin)) => by_pin(facts, pin, Basis::PinnedThoughFailed),
        (L::Failed, None) if facts.failing_for_long && facts.allowances.smtp_after_failed_lookup => {
            smtp(SmtpTls::Opportunistic, Reason::LookupFailedForLong)
        }
        (L::Failed, None) => decision(Route::Defer, Reason::LookupFailed),
    }
}

fn by_pin(facts: &Facts, pin: &PinnedRecord, basis: Basis) -> Decision {
    by_finding(facts, &pin.record, pin.proof, basis, pin.record.policy)
}

/// The table of §9.3.1, with the policy that counts.
fn by_finding(
    facts: &Facts,
    record: &ManagementRecord,
    proof: Proof,
    basis: Basis,
    policy: Policy,
) -> Decision {
    use DmtpFinding as F;
    use Policy::{Experimental, Mixed, Strict};
    let finding = facts.finding;
    let may_fall_back = facts.failing_for_long && facts.allowances.smtp_after_rejected_certificate;
    let route = match (finding, policy) {
        (F::NotAsked | F::SignetValid, _) => Route::Dmtp {
            record: ManagementRecord {
                policy,
                ..record.clone()
            },
            proof,
        },
        (F::NoSuchSignet, Strict) => Route::Bounce,
        (F::NoAuthor, Strict) => Route::Bounce,
        (F::NoSuchSignet | F::NoAuthor, Mixed) => by_smtp(SmtpTls::VerifiedIfPossible),
        (F::NoSuchSignet | F::NoAuthor | F::Unreachable | F::NotCovered, Experimental) => {
            by_smtp(SmtpTls::Opportunistic)
        }
        (F::Unreachable | F::NotCovered, Mixed | Strict) => Route::Defer,
        (F::CertificateRejected, Experimental) if may_fall_back => by_smtp(SmtpTls::Opportunistic),
        (F::CertificateRejected | F::SignetInvalid | F::Held(_) | F::OwnRecord(_), _) => Route::Defer,
        (F::MessageRefused | F::KeysElsewhere, _) => Route::Bounce,
    };
    decision(
        route,
        Reason::Dime {
            basis,
            policy,
            finding,
        },
    )
}

fn smtp(tls: SmtpTls, reason: Reason) -> Decision {
    decision(by_smtp(tls), reason)
}

fn by_smtp(tls: SmtpTls) -> Route {
    Route::Smtp { tls, transport: None }
}

fn decision(route: Route, reason: Reason) -> Decision {
    Decision { route, reason }
}

#[cfg(test)]
mod tests;
