//! Whether others find the record of a domain of ours. What is sealed in its name is refused by whoever does not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Domains, RecordLookup, look_up};
use crate::base::observe;
use crate::crypto::ed25519::VerifyingKey;
use crate::mail::address::Domain;

/// How long a record that was seen is relied on at least, and at most, whatever its TTL.
const SEEN_AT_LEAST: Duration = Duration::from_secs(60);
const SEEN_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// How soon it is looked for again where it was not seen. Somebody may be about to publish it, and much mail may wait for it.
const AGAIN_IN: Duration = Duration::from_secs(5);

/// Why others would not believe what is sealed in the name of a domain of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unpublished {
    /// There is no record.
    Missing,
    /// What is there has not the primary key that signs now, or is not one valid record.
    WithoutKey,
    /// It was not seen since the daemon started, and cannot be looked up now.
    Unknown,
}

impl Unpublished {
    /// A name that never changes once released.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "dime_own_record_missing",
            Self::WithoutKey => "dime_own_record_without_key",
            Self::Unknown => "dime_own_record_unknown",
        }
    }

    /// For people: what is the matter with the record of that domain.
    pub fn of(self, domain: &str) -> String {
        let what = match self {
            Self::Missing => "is not published",
            Self::WithoutKey => "is published without the key in use",
            Self::Unknown => "could not be looked up",
        };
        format!("the management record of {domain} {what}")
    }
}

/// What was seen last of one domain.
#[derive(Debug, Clone, Copy)]
struct Seen {
    key: VerifyingKey,
    found: Option<Unpublished>,
    until: Instant,
}

/// What was seen of our domains' records. There are no more than domains that have DIME here.
#[derive(Debug, Default)]
pub(super) struct OwnRecords(Mutex<HashMap<Domain, Seen>>);

impl OwnRecords {
    fn last(&self, domain: &Domain, key: &VerifyingKey) -> Option<Seen> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(domain).filter(|seen| seen.key == *key).copied()
    }

    /// Takes note of an answer. One that says nothing leaves it at what was seen before.
    fn note(
        &self,
        domain: &Domain,
        key: &VerifyingKey,
        (lookup, ttl): (&RecordLookup, Duration),
    ) -> Option<Unpublished> {
        use RecordLookup as L;
        let before = self.last(domain, key);
        let was_there = before.is_some_and(|seen| seen.found.is_none());
        let found = match lookup {
            L::Found { record, .. } if record.primary_keys.contains(key) => None,
            L::Found { .. } | L::Unparsable { .. } => Some(Unpublished::WithoutKey),
            L::Absent(_) => Some(Unpublished::Missing),
            L::Bogus | L::Failed => (!was_there).then_some(Unpublished::Unknown),
        };
        let relied_on = match (lookup, found) {
            (L::Found { .. }, None) => ttl.clamp(SEEN_AT_LEAST, SEEN_AT_MOST),
            _ => AGAIN_IN,
        };
        let seen = Seen {
            key: *key,
            found,
            until: Instant::now() + relied_on,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(domain.clone(), seen);
        drop(all);
        tell(domain, before.map(|seen| seen.found), found);
        found
    }
}

impl Domains {
    /// Why others would not believe what is sealed now in the name of a domain of ours, whose signet is over `key`; `None` if its
    /// record was seen with that key.
    ///
    /// It is looked for again when its TTL has passed. A lookup that fails takes nothing back.
    pub async fn unpublished(&self, domain: &Domain, key: &VerifyingKey) -> Option<Unpublished> {
        if let Some(seen) = self.own.last(domain, key)
            && Instant::now() < seen.until
        {
            return seen.found;
        }
        let (lookup, ttl) = look_up(self.resolver.as_ref(), domain).await;
        self.own.note(domain, key, (&lookup, ttl))
    }
}

/// Only what is new. That a record is where it should be is no news at first.
fn tell(domain: &Domain, before: Option<Option<Unpublished>>, found: Option<Unpublished>) {
    match (before, found) {
        (Some(Some(_)), None) => {
            info!(event = observe::DOMAIN_OWN_RECORD_SEEN, domain = %domain,
                "the management record of a domain of ours is published, and its mail goes out sealed");
        }
        (before, Some(why)) if before != Some(found) => {
            warn!(event = observe::DOMAIN_OWN_RECORD_MISSING, domain = %domain, reason = why.code(),
                "{}: what would be sealed in its name waits", why.of(domain.as_str()));
        }
        _ => {}
    }
}
