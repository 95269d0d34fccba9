//! When a record replaces a pinned one, and how long it lasts (`management-record.md` §7.2, §7.4).

use std::time::Duration;

use super::{Limits, PinnedRecord};
use crate::base::time::Timestamp;
use crate::dime::record::ManagementRecord;
use crate::mail::address::Domain;
use crate::net::dns::Proof;
use crate::store::Pin;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A stored pin as a value, unless it has expired or does not parse any more.
pub(super) fn usable(pin: &Pin, now: Timestamp) -> Option<PinnedRecord> {
    if now >= pin.expires_at {
        return None;
    }
    let record = ManagementRecord::parse_kept(&pin.record).ok()?;
    Some(PinnedRecord {
        record,
        proof: if pin.secure {
            Proof::Secure
        } else {
            Proof::Insecure
        },
        first_seen_at: pin.first_seen_at,
        expires_at: pin.expires_at,
    })
}

/// Whether a stored pin stands for what DNS says without asking. One that would for longer than any TTL lasts was written
/// before the clock was set back.
pub(super) fn is_fresh(pin: &Pin, limits: &Limits, now: Timestamp) -> bool {
    now < pin.refresh_at && pin.refresh_at <= now.after(limits.ttl_ceiling)
}

/// How long a record is relied on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// Until it is fetched again.
    ttl: Duration,
    /// Until it must not be used any more.
    expiry: Duration,
}

impl Life {
    /// What the record and its TTL say, within our bounds.
    pub(super) fn of(record: &ManagementRecord, proof: Proof, ttl: Duration, limits: &Limits) -> Self {
        let ttl = bounded_ttl(ttl, limits);
        let expiry = record.expiry_days.map_or(ttl, |days| DAY * u32::from(days));
        let expiry = match proof {
            Proof::Secure => expiry,
            Proof::Insecure => expiry.min(limits.unproven_ceiling),
        };
        Self { ttl, expiry }
    }
}

/// The TTL within our bounds. Zero stays zero: such a record serves one delivery.
fn bounded_ttl(ttl: Duration, limits: &Limits) -> Duration {
    match ttl.is_zero() {
        true => ttl,
        false => ttl.clamp(limits.ttl_floor, limits.ttl_ceiling),
    }
}

/// The pin to be stored after `record` was seen, if any.
///
/// A secure record always replaces; that of the same keys was seen when it was first proven. An insecure one replaces nothing that is secure, and nothing that it shares no
/// key with; where it may replace, it neither weakens the policy nor moves the expiry.
pub(super) fn replacement(
    domain: &Domain,
    record: &ManagementRecord,
    proof: Proof,
    pin: Option<&PinnedRecord>,
    life: Life,
    now: Timestamp,
) -> Option<Pin> {
    let proven_before = pin.filter(|pin| pin.proof == Proof::Secure && record.shares_key_with(&pin.record));
    let fresh = Pin {
        domain: domain.clone(),
        record: record.render_kept().ok()?,
        secure: proof == Proof::Secure,
        first_seen_at: proven_before.map_or(now, |pin| pin.first_seen_at),
        refresh_at: now.after(life.ttl),
        expires_at: now.after(life.expiry),
    };
    match (proof, pin) {
        (Proof::Secure, _) | (Proof::Insecure, None) => Some(fresh),
        (Proof::Insecure, Some(pin))
            if pin.proof == Proof::Secure || !record.shares_key_with(&pin.record) =>
        {
            None
        }
        (Proof::Insecure, Some(pin)) => Some(Pin {
            record: strengthened(record, pin).render_kept().ok()?,
            first_seen_at: pin.first_seen_at,
            expires_at: pin.expires_at,
            ..fresh
        }),
    }
}

/// What an unproven record may be used for while another one is pinned (§7.4, §9.3); `None` if they share no key.
///
/// It never weakens the policy. Against a proven pin only the keys count that both have, since whoever forges the new record
/// can add keys to it but not sign with ours; and it takes away neither the demand that certificates be signed nor, where
/// there is none, the hosts.
pub(super) fn restrained(record: &ManagementRecord, pin: &PinnedRecord) -> Option<ManagementRecord> {
    if !record.shares_key_with(&pin.record) {
        return None;
    }
    let mut restrained = strengthened(record, pin);
    if pin.proof == Proof::Secure {
        let pinned = &pin.record;
        restrained
            .primary_keys
            .retain(|key| pinned.primary_keys.contains(key));
        if restrained.tls_signatures.is_empty() {
            restrained.tls_signatures.clone_from(&pinned.tls_signatures);
        }
        if restrained.tls_signatures.is_empty() {
            restrained.delivery_hosts.clone_from(&pinned.delivery_hosts);
        }
    }
    Some(restrained)
}

/// The record with the stronger of both policies.
fn strengthened(record: &ManagementRecord, pin: &PinnedRecord) -> ManagementRecord {
    ManagementRecord {
        policy: record.policy.max(pin.record.policy),
        ..record.clone()
    }
}
