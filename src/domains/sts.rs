//! MTA-STS: which hosts may take a domain's mail, and that they show a verified certificate (RFC 8461).
//!
//! A policy once seen is kept in the store until it expires, whatever DNS and the web server say meanwhile; a new id in
//! DNS, or a day, has it fetched again, when there is mail for the domain or in the background: whoever keeps us from
//! a policy must do so for as long as it lives (§10.2). What was found out is remembered for five minutes, failures too.

mod policy;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::base::observe;
use crate::base::recent::Recent;
use crate::base::time::{Clock, Timestamp};
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Resolver};
use crate::net::https::{self, HttpsClient};
use crate::store::{self, StsEntry};

pub use policy::{Error as PolicyError, MAX_AGE, MAX_PATTERNS, Mode, Pattern, Policy};

/// Octets of a policy at most (§3.2).
const MAX_OCTETS: usize = 64 * 1024;
/// Where a policy is, at `mta-sts` of a domain.
pub const PATH: &str = "/.well-known/mta-sts.txt";
/// How long what was found out is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Memory for that. Others decide how many domains there are, and how long their policies.
const REMEMBERED_OCTETS: usize = 8 << 20;
/// Age at which a policy is fetched again though its id is the same; half its life if that is less.
const REFRESH_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Policies that one pass refreshes at most, and how many at the same time.
const PER_PASS: usize = 200;
const AT_ONCE: usize = 4;

/// Where policies come from.
#[async_trait]
pub trait PolicySource: Send + Sync {
    /// The text of a domain's policy.
    async fn fetch(&self, domain: &Domain) -> Result<Bytes, https::Error>;
}

#[async_trait]
impl PolicySource for HttpsClient {
    async fn fetch(&self, domain: &Domain) -> Result<Bytes, https::Error> {
        let host =
            Domain::parse(&format!("mta-sts.{domain}")).map_err(|_| https::Error::Address(domain.clone()))?;
        self.text(&host, PATH, MAX_OCTETS).await
    }
}

/// What is known of a domain's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StsFacts {
    /// What DNS says.
    pub announced: Announced,
    /// The policy that counts, if any does.
    pub policy: Option<Arc<Policy>>,
    /// Where that comes from, or why there is none.
    pub origin: Origin,
}

/// What DNS says of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// There is one, of this id.
    Id(String),
    /// There is none.
    No,
    /// Nothing, for the lookup failed or does not validate.
    Unknown,
}

/// Where a policy comes from, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// There is no policy.
    None,
    /// Fetched just now.
    Fetched,
    /// Kept from before.
    Kept,
    /// It could not be fetched, in these words; if there is one it was kept from before.
    FetchFailed(String),
}

impl StsFacts {
    /// Of a domain that has no policy.
    pub fn none() -> Self {
        Self {
            announced: Announced::No,
            policy: None,
            origin: Origin::None,
        }
    }

    /// What its texts take in memory.
    fn octets(&self) -> usize {
        let id = match &self.announced {
            Announced::Id(id) => id.len(),
            Announced::No | Announced::Unknown => 0,
        };
        let why = match &self.origin {
            Origin::FetchFailed(why) => why.len(),
            Origin::None | Origin::Fetched | Origin::Kept => 0,
        };
        id + why + self.policy.as_ref().map_or(0, |policy| policy.octets())
    }
}

/// Finds policies, and remembers.
pub struct MtaSts {
    resolver: Arc<dyn Resolver>,
    store: Option<Arc<dyn store::StsPolicies>>,
    clock: Arc<dyn Clock>,
    source: Arc<dyn PolicySource>,
    /// What was found out, and until when it counts.
    remembered: Mutex<Recent<Domain, (Timestamp, StsFacts)>>,
    /// Policies that expire until then have had their turn in being refreshed.
    place: Mutex<Timestamp>,
}

/// A policy with what is known of its keeping.
struct Kept {
    policy: Arc<Policy>,
    id: String,
    fetched_at: Timestamp,
}

impl MtaSts {
    /// Asks `resolver` and `source`, and keeps policies in `store`; without one, for as long as this value lives.
    pub fn new(
        resolver: Arc<dyn Resolver>,
        store: Option<Arc<dyn store::StsPolicies>>,
        clock: Arc<dyn Clock>,
        source: Arc<dyn PolicySource>,
    ) -> Self {
        Self {
            resolver,
            store,
            clock,
            source,
            remembered: Mutex::new(Recent::new(REMEMBERED_OCTETS)),
            place: Mutex::new(Timestamp(0)),
        }
    }

    /// What a domain's policy is.
    pub async fn facts(&self, domain: &Domain) -> Result<StsFacts, store::Error> {
        let now = self.clock.now();
        match self.remembered(domain, now) {
            Some(facts) => Ok(facts),
            None => self.look_up(domain, now).await,
        }
    }

    /// Refreshes policies that are a day old or in the second half of their life, and reports what stands in the way (§3.3).
    /// If there are many, each call goes on where the last one ended. Meant to be called every hour or so.
    pub async fn refresh(&self) -> Result<(), store::Error> {
        let now = self.clock.now();
        let Some(store) = &self.store else { return Ok(()) };
        let after = self.place().max(now);
        let ageing = store
            .ageing_sts_policies(now, after, REFRESH_AFTER, PER_PASS)
            .await?;
        let last = ageing.last().filter(|_| ageing.len() == PER_PASS);
        *self.place() = last.map_or(now, |entry| entry.expires_at);
        let refreshed = stream::iter(ageing).map(|entry| async move {
            let facts = self.look_up(&entry.domain, now).await?;
            report(&entry.domain, &facts);
            Ok(())
        });
        refreshed.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn look_up(&self, domain: &Domain, now: Timestamp) -> Result<StsFacts, store::Error> {
        let stored = match &self.store {
            Some(store) => store.sts_policy(domain).await?,
            None => None,
        };
        let certain = self.clock.certain(now);
        let kept = stored.filter(|entry| certain < entry.expires_at).and_then(kept);
        let announced = match self.resolver.txt(&format!("_mta-sts.{domain}")).await {
            Lookup::Found { value, .. } => policy::announced(&value).map_or(Announced::No, Announced::Id),
            Lookup::Absent { .. } => Announced::No,
            Lookup::Bogus | Lookup::Failed => Announced::Unknown,
        };
        let facts = self.settle(domain, announced, kept, now).await?;
        self.remember(domain, &facts, now);
        Ok(facts)
    }

    async fn settle(
        &self,
        domain: &Domain,
        announced: Announced,
        kept: Option<Kept>,
        now: Timestamp,
    ) -> Result<StsFacts, store::Error> {
        let (policy, origin) = match (&announced, kept) {
            (Announced::Id(id), kept) if kept.as_ref().is_none_or(|kept| kept.is_stale(id, now)) => {
                match self.fetch(domain).await {
                    Ok((policy, text)) => {
                        self.keep(domain, id, &policy, text, now).await?;
                        (Some(Arc::new(policy)), Origin::Fetched)
                    }
                    Err(why) => (kept.map(|kept| kept.policy), Origin::FetchFailed(why)),
                }
            }
            (_, Some(kept)) => (Some(kept.policy), Origin::Kept),
            (_, None) => (None, Origin::None),
        };
        Ok(StsFacts {
            announced,
            policy: policy.filter(|policy| policy.mode != Mode::None),
            origin,
        })
    }

    /// The policy and its text, or why there is none.
    async fn fetch(&self, domain: &Domain) -> Result<(Policy, String), String> {
        let text = self
            .source
            .fetch(domain)
            .await
            .map_err(|error| error.to_string())?;
        let policy = Policy::parse(&text).map_err(|error| error.to_string())?;
        // A policy that was read is UTF-8.
        Ok((policy, String::from_utf8_lossy(&text).into_owned()))
    }

    async fn keep(
        &self,
        domain: &Domain,
        id: &str,
        policy: &Policy,
        text: String,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let Some(store) = &self.store else { return Ok(()) };
        store
            .set_sts_policy(StsEntry {
                domain: domain.clone(),
                id: id.to_owned(),
                policy: text,
                fetched_at: now,
                expires_at: now.after(policy.max_age),
            })
            .await
    }

    fn place(&self) -> MutexGuard<'_, Timestamp> {
        self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn remembered(&self, domain: &Domain, now: Timestamp) -> Option<StsFacts> {
        let mut memory = self.memory();
        let (until, facts) = memory.get(domain)?;
        (now < *until).then(|| facts.clone())
    }

    fn remember(&self, domain: &Domain, facts: &StsFacts, now: Timestamp) {
        let max_age = facts.policy.as_ref().map_or(REMEMBERED, |policy| policy.max_age);
        let until = now.after(REMEMBERED.min(max_age));
        let octets = size_of::<(Domain, Timestamp, StsFacts)>() + domain.as_str().len() + facts.octets();
        self.memory()
            .insert(domain.clone(), (until, facts.clone()), octets);
    }

    fn memory(&self) -> MutexGuard<'_, Recent<Domain, (Timestamp, StsFacts)>> {
        self.remembered
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Kept {
    /// Whether the policy is to be fetched again; also if it was fetched before the clock was set back.
    fn is_stale(&self, id: &str, now: Timestamp) -> bool {
        let refresh_after = REFRESH_AFTER.min(self.policy.max_age / 2);
        let fresh = self.fetched_at..self.fetched_at.after(refresh_after);
        self.id != id || !fresh.contains(&now)
    }
}

/// Logs that a policy in force could not be refreshed. A domain that announces none any more lets its policy run out.
fn report(domain: &Domain, facts: &StsFacts) {
    let reason = match (&facts.policy, &facts.origin, &facts.announced) {
        (Some(_), Origin::FetchFailed(why), _) => why.as_str(),
        (Some(_), _, Announced::Unknown) => "the record at _mta-sts cannot be had",
        _ => return,
    };
    tracing::warn!(
        event = observe::STS_REFRESH_FAILED,
        %domain,
        reason,
        "the MTA-STS policy could not be refreshed; the one that is known counts until it expires"
    );
}

fn kept(entry: StsEntry) -> Option<Kept> {
    Some(Kept {
        policy: Arc::new(Policy::parse(entry.policy.as_bytes()).ok()?),
        id: entry.id,
        fetched_at: entry.fetched_at,
    })
}

#[cfg(test)]
mod tests;
