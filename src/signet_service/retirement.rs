//! A domain leaves DIME in steps, so that nobody's mail waits for a record that is gone (`management-record.md` §7).
//!
//! | State | What the operator does | Next |
//! |---|---|---|
//! | announced | publishes the record with policy `experimental` and an expiry of one day | once DNS has it: expiring |
//! | expiring | nothing | a day after TTL and expiry of the record before it, when everybody has forgotten that: withdrawn |
//! | withdrawn | removes the record | once DNS has been without it for nine days: the domain is served without DIME |
//!
//! The domain takes sealed mail up to the end.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::base::observe;
use crate::base::time::{Clock, Timestamp};
use crate::dime::record::{ManagementRecord, Policy, Published, owner_name};
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Resolver};
use crate::store::{self, Retirement, RetirementState, Store};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The longest time for which a record is taken from a cache (`management-record.md` §7.2).
const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// For secondary name servers, and caches that keep records a little longer.
const GRACE: Duration = DAY;

/// From when DNS has no record: one may come from a cache for its TTL, which cannot be seen any more, and is then believed until
/// its expiry.
const RECORD_RUNS_OUT: Duration = Duration::from_secs((7 + 1 + 1) * 24 * 3600);

/// Takes domains out of DIME.
#[derive(Clone)]
pub struct Retiring {
    /// Where everything is.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Shows what is in DNS.
    pub resolver: Arc<dyn Resolver>,
}

/// What DNS has.
enum Seen {
    /// A record that everybody forgets soon, and its TTL. From a cache it is what is left of it.
    Short(Duration),
    /// Another record.
    Other,
    /// None.
    Nothing,
    /// That cannot be said now.
    Unknown,
}

impl Retiring {
    /// Begins, unless that has been done, and takes every step that can be taken now; `None` once the domain is out.
    ///
    /// Errors: [`Error::NotServed`], [`Error::RolloverUnderWay`].
    pub async fn retire(&self, domain: &Domain) -> Result<Option<Retirement>, Error> {
        if self.store.retirement(domain).await?.is_none() {
            let served = self.store.local_domain(domain).await?;
            if served.is_none_or(|served| served.dime.is_none()) {
                return Err(Error::NotServed);
            }
            if self.store.rollover(domain.as_str()).await?.is_some() {
                return Err(Error::RolloverUnderWay);
            }
            match self.store.begin_retirement(domain, self.clock.now()).await {
                Ok(()) => tell(domain, RetirementState::Announced.name()),
                Err(store::Error::Exists) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.advance(domain).await
    }

    /// At once, for a domain whose record was never published, so that nobody can remember it: whoever asks for this must know.
    ///
    /// Errors: [`Error::NotServed`], [`Error::RolloverUnderWay`], [`Error::RecordSeen`].
    pub async fn retire_unpublished(&self, domain: &Domain) -> Result<(), Error> {
        if !matches!(self.seen(domain).await, Seen::Nothing) {
            return Err(Error::RecordSeen);
        }
        let Some(begun) = self.retire(domain).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let (from, to) = (begun.state, RetirementState::Withdrawn);
        self.store
            .advance_retirement(domain, from, to, now, Some(now))
            .await?;
        self.store.finish_retirement(domain).await?;
        tell(domain, "done");
        Ok(())
    }

    /// Takes every step that can be taken now; `None` if the domain is not on its way out, or is out.
    pub async fn advance(&self, domain: &Domain) -> Result<Option<Retirement>, Error> {
        loop {
            let Some(before) = self.store.retirement(domain).await? else {
                return Ok(None);
            };
            self.step(&before).await?;
            let after = self.store.retirement(domain).await?;
            match &after {
                Some(after) if *after == before => return Ok(Some(before)),
                Some(after) if after.state != before.state => tell(domain, after.state.name()),
                Some(_) => {}
                None => tell(domain, "done"),
            }
        }
    }

    /// Takes all steps that are due. What fails for one domain is logged and does not stop the others.
    pub async fn pass(&self) -> Result<(), store::Error> {
        for retirement in self.store.retirements().await? {
            let domain = &retirement.name;
            match self.advance(domain).await {
                Ok(_) | Err(Error::Store(store::Error::Changed)) => {}
                Err(error) => {
                    tracing::error!(event = observe::KEY_ROLLOVER_FAILED, domain = %domain, %error,
                    "a step of a domain's way out of DIME failed; it is tried again");
                }
            }
        }
        Ok(())
    }

    async fn step(&self, now_at: &Retirement) -> Result<(), Error> {
        use RetirementState as S;
        let now = self.clock.now();
        let is_due = now_at.due_at.is_some_and(|due| due <= now);
        let domain = &now_at.name;
        let (to, wait) = match (now_at.state, self.seen(domain).await) {
            (S::Announced, Seen::Short(ttl)) => (S::Expiring, Some(self.pins_run_out(domain, ttl).await?)),
            (S::Announced, Seen::Nothing) => {
                (S::Expiring, Some(self.pins_run_out(domain, LONGEST_TTL).await?))
            }
            (S::Expiring, Seen::Other) => (S::Announced, None),
            (S::Expiring, Seen::Short(ttl)) => {
                // A cache that has asked again shows more of the TTL.
                let due_at = now_at.since.after(self.pins_run_out(domain, ttl).await?);
                if now_at.due_at.is_none_or(|due| due < due_at) {
                    return self.wait_until(now_at, due_at).await;
                }
                match is_due {
                    true => (S::Withdrawn, None),
                    false => return Ok(()),
                }
            }
            (S::Expiring, _) if is_due => (S::Withdrawn, None),
            (S::Withdrawn, Seen::Nothing) if is_due => {
                return Ok(self.store.finish_retirement(domain).await?);
            }
            (S::Withdrawn, Seen::Nothing) if now_at.due_at.is_none() => (S::Withdrawn, Some(RECORD_RUNS_OUT)),
            (S::Withdrawn, Seen::Short(_) | Seen::Other) if now_at.due_at.is_some() => (S::Withdrawn, None),
            _ => return Ok(()),
        };
        let due_at = wait.map(|wait| now.after(wait));
        let advanced = self
            .store
            .advance_retirement(domain, now_at.state, to, now, due_at);
        Ok(advanced.await?)
    }

    async fn wait_until(&self, now_at: &Retirement, due_at: Timestamp) -> Result<(), Error> {
        let (state, since) = (now_at.state, now_at.since);
        let advanced = self
            .store
            .advance_retirement(&now_at.name, state, state, since, Some(due_at));
        Ok(advanced.await?)
    }

    /// How long others may remember the record before the one that announces it: a cache gives it to them for its TTL, and they
    /// keep it until its expiry.
    async fn pins_run_out(&self, domain: &Domain, ttl: Duration) -> Result<Duration, Error> {
        let served = self.store.local_domain(domain).await?;
        let expiry = served
            .and_then(|served| served.dime)
            .and_then(|dime| dime.expiry_days);
        Ok(DAY * u32::from(expiry.unwrap_or(0)) + ttl.min(LONGEST_TTL) + GRACE)
    }

    async fn seen(&self, domain: &Domain) -> Seen {
        match self.resolver.txt(&owner_name(domain)).await {
            Lookup::Found { value, ttl, .. } => match Published::read(&value) {
                Published::Record(record) => of(&record, ttl),
                Published::Unusable(_) => Seen::Other,
                Published::Nothing => Seen::Nothing,
            },
            Lookup::Absent { .. } => Seen::Nothing,
            Lookup::Bogus | Lookup::Failed => Seen::Unknown,
        }
    }
}

fn of(record: &ManagementRecord, ttl: Duration) -> Seen {
    match (record.policy, record.expiry_days) {
        (Policy::Experimental, Some(1)) => Seen::Short(ttl),
        _ => Seen::Other,
    }
}

impl std::fmt::Debug for Retiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Retiring")
    }
}

fn tell(domain: &Domain, state: &'static str) {
    tracing::info!(event = observe::KEY_ROLLOVER, domain = %domain, whose = "domain", state,
        "a domain took a step on its way out of DIME");
}

#[cfg(test)]
mod tests;
