//! What we know of a remote domain: its management record, how well proven, and for how long.
//!
//! A record once seen is pinned until it expires (`management-record.md` §7.2, §7.4). Pins are kept in the store;
//! what an absence said is kept in memory for a minute, and a failure is not kept at all.
//!
//! Of domains of ours we know whether others find their records ([`Domains::unpublished`]).

mod dx;
mod hosts;
mod own;
mod pinning;
pub mod sts;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{info, warn};

use crate::base::observe;
use crate::base::time::{Clock, Timestamp};
use crate::dime::record::{self, ManagementRecord, Published};
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Proof, Resolver};
use crate::store;

pub use dx::{Admission, Anybody, DxConnector, DxPorts, DxSession, DxSessions, Error as DxError};
pub use hosts::{DeliveryHosts, DxAttempt, MailHosts, Reach, delivery_hosts, mail_hosts};
pub use own::Unpublished;

/// Why nothing can be said about a domain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed; try later.
    #[error("the pinned records cannot be reached")]
    Store(#[from] store::Error),
}

/// Bounds on how long records are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A smaller TTL counts as this much; 60 s (§7.2). A TTL of zero stays zero.
    pub ttl_floor: Duration,
    /// A larger TTL counts as this much; 7 days.
    pub ttl_ceiling: Duration,
    /// How long a pin without proof lasts at most; 30 days. Deviation from §7.2, which knows no such bound: whoever forges
    /// one answer could keep mail for a domain waiting for ten years.
    pub unproven_ceiling: Duration,
    /// How long an absence is remembered.
    pub absence_ttl: Duration,
    /// For how many domains an absence is remembered.
    pub absences: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ttl_floor: Duration::from_secs(60),
            ttl_ceiling: Duration::from_secs(7 * 24 * 3600),
            unproven_ceiling: Duration::from_secs(30 * 24 * 3600),
            absence_ttl: Duration::from_secs(60),
            absences: 4096,
        }
    }
}

/// What asking for a domain's management record brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordLookup {
    /// A record.
    Found {
        /// The record.
        record: ManagementRecord,
        /// How far it is proven.
        proof: Proof,
    },
    /// There is something at the name that was meant to be a record, but it is not one valid record.
    Unparsable {
        /// What is wrong; `None` if there is more than one text.
        error: Option<record::Error>,
    },
    /// There is no record; perhaps other texts, which a wildcard or an alias has brought there.
    Absent(Proof),
    /// DNSSEC validation failed.
    Bogus,
    /// No usable answer.
    Failed,
}

/// An earlier record that has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedRecord {
    /// The record.
    pub record: ManagementRecord,
    /// How far it was proven when it was seen.
    pub proof: Proof,
    /// When the domain was first seen with a record.
    pub first_seen_at: Timestamp,
    /// When it must no longer be used.
    pub expires_at: Timestamp,
}

/// The facts about one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainFacts {
    /// What DNS says, or said within the record's TTL.
    pub lookup: RecordLookup,
    /// What was pinned before this lookup, unless it has expired or was withdrawn with proof.
    pub pin: Option<PinnedRecord>,
    /// Whether `lookup` was remembered rather than asked for now.
    pub remembered: bool,
}

/// Which record, if any, mail and signets of a domain are to be judged by (`management-record.md` §9.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// This one: what DNS has now, or what is pinned while DNS does not say otherwise with proof. What is not proven counts
    /// only as far as the pin lets it.
    Dime(Cow<'a, ManagementRecord>, Proof),
    /// The domain is not a DIME domain.
    Plain,
    /// Nothing can be said now.
    Unknown,
}

impl DomainFacts {
    /// The record that counts.
    pub fn standing(&self) -> Standing<'_> {
        use RecordLookup as L;
        let pinned = self
            .pin
            .as_ref()
            .map(|pin| Standing::Dime(Cow::Borrowed(&pin.record), pin.proof));
        match &self.lookup {
            L::Found { record, proof } => match (proof, &self.pin) {
                (Proof::Secure, _) | (Proof::Insecure, None) => Standing::Dime(Cow::Borrowed(record), *proof),
                (Proof::Insecure, Some(pin)) => pinning::restrained(record, pin)
                    .map_or(Standing::Unknown, |record| {
                        Standing::Dime(Cow::Owned(record), *proof)
                    }),
            },
            L::Absent(Proof::Secure) => Standing::Plain,
            L::Absent(Proof::Insecure) => pinned.unwrap_or(Standing::Plain),
            L::Unparsable { .. } | L::Failed => pinned.unwrap_or(Standing::Unknown),
            L::Bogus => Standing::Unknown,
        }
    }

    /// Whether an unproven record has keys that the proven pin does not have: they do not count (§7.4).
    pub fn keys_ignored(&self) -> bool {
        match (&self.lookup, &self.pin) {
            (
                RecordLookup::Found {
                    record,
                    proof: Proof::Insecure,
                },
                Some(pin),
            ) => {
                let known = |key| pin.record.primary_keys.contains(key);
                pin.proof == Proof::Secure && !record.primary_keys.iter().all(known)
            }
            _ => false,
        }
    }

    /// Whether an unproven record has no key in common with the pinned one: it must not be used (§7.4).
    pub fn keys_conflict(&self) -> bool {
        match (&self.lookup, &self.pin) {
            (
                RecordLookup::Found {
                    record,
                    proof: Proof::Insecure,
                },
                Some(pin),
            ) => !record.shares_key_with(&pin.record),
            _ => false,
        }
    }
}

/// Looks domains up, and remembers.
pub struct Domains {
    resolver: Arc<dyn Resolver>,
    store: Arc<dyn store::Domains>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    absences: Mutex<HashMap<Domain, (Timestamp, Proof)>>,
    own: own::OwnRecords,
}

impl Domains {
    /// Asks `resolver` and keeps pins in `store`.
    pub fn new(
        resolver: Arc<dyn Resolver>,
        store: Arc<dyn store::Domains>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        Self {
            resolver,
            store,
            clock,
            limits,
            absences: Mutex::new(HashMap::new()),
            own: own::OwnRecords::default(),
        }
    }

    /// Everything known about a domain's management record, asking DNS where memory does not do.
    ///
    /// A pin is set, replaced or dropped on the way, by the rules of §7.2 and §7.4.
    pub async fn facts(&self, domain: &Domain) -> Result<DomainFacts, Error> {
        let now = self.clock.now();
        let stored = self.store.pin(domain).await?;
        let fresh = stored
            .as_ref()
            .is_some_and(|pin| pinning::is_fresh(pin, &self.limits, now));
        let certain = self.clock.certain(now);
        let pin = stored.as_ref().and_then(|pin| pinning::usable(pin, certain));
        if let Some(facts) = self.remembered(domain, now, fresh, pin.clone()) {
            return Ok(facts);
        }
        let (lookup, ttl) = look_up(self.resolver.as_ref(), domain).await;
        self.keep(domain, &lookup, pin.as_ref(), ttl, now).await?;
        let withdrawn = lookup == RecordLookup::Absent(Proof::Secure);
        let facts = DomainFacts {
            lookup,
            pin: pin.filter(|_| !withdrawn),
            remembered: false,
        };
        self.report(domain, &facts);
        Ok(facts)
    }

    /// What memory says, if it is fresh enough.
    fn remembered(
        &self,
        domain: &Domain,
        now: Timestamp,
        fresh: bool,
        pin: Option<PinnedRecord>,
    ) -> Option<DomainFacts> {
        let lookup = match &pin {
            Some(pin) if fresh => RecordLookup::Found {
                record: pin.record.clone(),
                proof: pin.proof,
            },
            _ => RecordLookup::Absent(self.remembered_absence(domain, now)?),
        };
        Some(DomainFacts {
            lookup,
            pin,
            remembered: true,
        })
    }

    fn remembered_absence(&self, domain: &Domain, now: Timestamp) -> Option<Proof> {
        let absences = self
            .absences
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (until, proof) = absences.get(domain)?;
        (now < *until).then_some(*proof)
    }

    fn remember_absence(&self, domain: &Domain, proof: Proof, now: Timestamp) {
        let mut absences = self
            .absences
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if absences.len() >= self.limits.absences {
            absences.retain(|_, (until, _)| now < *until);
        }
        if absences.len() < self.limits.absences {
            absences.insert(domain.clone(), (now.after(self.limits.absence_ttl), proof));
        }
    }

    /// Brings the pin, or the memory of an absence, up to date.
    async fn keep(
        &self,
        domain: &Domain,
        lookup: &RecordLookup,
        pin: Option<&PinnedRecord>,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<(), Error> {
        match lookup {
            RecordLookup::Found { record, proof } => {
                let life = pinning::Life::of(record, *proof, ttl, &self.limits);
                if let Some(pin) = pinning::replacement(domain, record, *proof, pin, life, now) {
                    self.store.set_pin(pin).await?;
                }
                if pin.is_some_and(|pin| changes_keys(record, *proof, pin)) {
                    info!(event = observe::DOMAIN_KEYS_CHANGED, domain = %domain, proof = ?proof,
                        "the management record has other keys than before, and they are accepted");
                }
            }
            RecordLookup::Absent(proof) => {
                self.remember_absence(domain, *proof, now);
                if *proof == Proof::Secure && pin.is_some() {
                    self.store.drop_pin(domain).await?;
                    info!(event = observe::DOMAIN_WITHDRAWN, domain = %domain,
                        "DNSSEC proves that the domain has withdrawn its management record; the pin is dropped");
                }
            }
            RecordLookup::Unparsable { .. } | RecordLookup::Bogus | RecordLookup::Failed => {}
        }
        Ok(())
    }

    /// Tells the operator what a person should look at.
    fn report(&self, domain: &Domain, facts: &DomainFacts) {
        if facts.keys_conflict() {
            warn!(event = observe::DOMAIN_KEYS_CONFLICT, domain = %domain,
                "an unproven management record has none of the pinned keys and is not used");
        } else if facts.keys_ignored() {
            warn!(event = observe::DOMAIN_KEYS_IGNORED, domain = %domain,
                "an unproven management record has keys that the proven one before it did not have; they are not used");
        }
        if facts.lookup == RecordLookup::Bogus {
            warn!(event = observe::DOMAIN_BOGUS, domain = %domain,
                "the management record fails DNSSEC validation");
        }
    }
}

/// Whether accepted keys differ from those before.
fn changes_keys(record: &ManagementRecord, proof: Proof, pin: &PinnedRecord) -> bool {
    let accepted =
        proof == Proof::Secure || (pin.proof == Proof::Insecure && record.shares_key_with(&pin.record));
    accepted && record.primary_keys != pin.record.primary_keys
}

/// Asks DNS for a domain's management record, and for how long the answer may be kept. Nothing is remembered.
pub async fn look_up(resolver: &dyn Resolver, domain: &Domain) -> (RecordLookup, Duration) {
    let answer = resolver.txt(&record::owner_name(domain)).await;
    let ttl = match &answer {
        Lookup::Found { ttl, .. } => *ttl,
        _ => Duration::ZERO,
    };
    (read(answer), ttl)
}

/// Gives an answer its meaning.
fn read(answer: Lookup<Vec<Vec<u8>>>) -> RecordLookup {
    match answer {
        Lookup::Found { value, proof, .. } => match Published::read(&value) {
            Published::Record(record) => RecordLookup::Found { record, proof },
            Published::Unusable(error) => RecordLookup::Unparsable { error },
            Published::Nothing => RecordLookup::Absent(proof),
        },
        Lookup::Absent { proof } => RecordLookup::Absent(proof),
        Lookup::Bogus => RecordLookup::Bogus,
        Lookup::Failed => RecordLookup::Failed,
    }
}

#[cfg(test)]
mod tests;
