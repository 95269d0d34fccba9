//! What each of many parties may cost before it has shown who it is: so much at once, and a little more as time passes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Parties remembered at most. Beyond that all are forgotten, which only forgives.
const MAX_PARTIES: usize = 10_000;

/// Allows every party `most` uses, and one more for each `regained_in` that has passed.
#[derive(Debug, Clone)]
pub struct Allowance<K> {
    most: u32,
    regained_in: Duration,
    parties: Arc<Mutex<HashMap<K, Used>>>,
}

#[derive(Debug)]
struct Used {
    count: u32,
    /// From when on the next one is regained.
    since: Instant,
}

/// One use. It stays used unless it is given back.
#[derive(Debug)]
#[must_use]
pub struct Use<K: Hash + Eq> {
    party: K,
    amount: u32,
    allowance: Allowance<K>,
}

impl<K: Hash + Eq + Clone> Allowance<K> {
    /// `most` at once; `regained_in` is more than nothing.
    pub fn new(most: u32, regained_in: Duration) -> Self {
        Self {
            most,
            regained_in,
            parties: Arc::default(),
        }
    }

    /// So many within every span; `None`, which is no limit, for 0.
    pub fn within(span: Duration, most: u32) -> Option<Self> {
        (most > 0).then(|| Self::new(most, span / most))
    }

    /// One use, if the party has one left.
    pub fn take(&self, party: K, now: Instant) -> Option<Use<K>> {
        self.take_many(party, 1, now)
    }

    /// `amount` uses at once, if the party has one left: what is more than it has, it has to wait for afterwards.
    pub fn take_many(&self, party: K, amount: u32, now: Instant) -> Option<Use<K>> {
        let mut parties = self.parties();
        if parties.len() >= MAX_PARTIES && !parties.contains_key(&party) {
            parties.retain(|_, used| !used.is_regained(self.regained_in, now));
            if parties.len() >= MAX_PARTIES {
                parties.clear();
            }
        }
        let used = parties
            .entry(party.clone())
            .or_insert(Used { count: 0, since: now });
        used.regain(self.regained_in, now);
        if used.count >= self.most {
            return None;
        }
        used.count = used.count.saturating_add(amount);
        drop(parties);
        Some(Use {
            party,
            amount,
            allowance: self.clone(),
        })
    }

    fn parties(&self) -> MutexGuard<'_, HashMap<K, Used>> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Use<K> {
    /// It was for somebody who is known now.
    pub fn give_back(self) {
        let mut parties = self.allowance.parties();
        if let Some(used) = parties.get_mut(&self.party) {
            used.count = used.count.saturating_sub(self.amount);
        }
    }
}

/// Uses of something that has not happened yet. They come back unless it does.
#[derive(Debug)]
pub struct Reserved<K: Hash + Eq + Clone>(Vec<Use<K>>);

impl<K: Hash + Eq + Clone> Reserved<K> {
    /// One more use, if the party has one left; where there is no limit, always.
    pub fn take(&mut self, share: Option<&Allowance<K>>, party: K, now: Instant) -> bool {
        let Some(share) = share else {
            return true;
        };
        let taken = share.take(party, now);
        let is_left = taken.is_some();
        self.0.extend(taken);
        is_left
    }

    /// It has happened.
    pub fn spend(mut self) {
        self.0.clear();
    }
}

impl<K: Hash + Eq + Clone> Default for Reserved<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Hash + Eq + Clone> Drop for Reserved<K> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Use::give_back);
    }
}

impl Used {
    fn regained(&self, regained_in: Duration, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        u32::try_from(passed / regained_in.as_nanos().max(1)).unwrap_or(u32::MAX)
    }

    fn is_regained(&self, regained_in: Duration, now: Instant) -> bool {
        self.regained(regained_in, now) >= self.count
    }

    fn regain(&mut self, regained_in: Duration, now: Instant) {
        let regained = self.regained(regained_in, now);
        if regained >= self.count {
            (self.count, self.since) = (0, now);
        } else {
            self.count -= regained;
            self.since += regained_in * regained;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    #[test]
    fn each_party_has_its_own_and_regains_one_at_a_time() {
        let (allowance, start) = (Allowance::new(2, EVERY), Instant::now());
        let may = |party: &'static str, secs: u64| {
            let now = start + Duration::from_secs(secs);
            allowance.take(party, now).is_some()
        };
        assert_eq!([may("a", 0), may("a", 1), may("a", 9)], [true, true, false]);
        assert!(may("b", 9));
        assert_eq!([may("a", 10), may("a", 19), may("a", 20)], [true, false, true]);
        // Never more than at the start, however long nothing happens.
        assert_eq!([may("a", 900), may("a", 900), may("a", 900)], [true, true, false]);
    }

    #[test]
    fn more_than_there_is_left_is_lent_once() {
        let (allowance, start) = (Allowance::new(2, EVERY), Instant::now());
        let may = |amount: u32, secs: u64| {
            let now = start + Duration::from_secs(secs);
            allowance.take_many((), amount, now).is_some()
        };
        assert!(may(5, 0) && !may(1, 0), "five of two");
        assert!(!may(1, 39) && may(1, 40), "one is left when four have come back");
    }

    #[test]
    fn what_is_given_back_can_be_used_again() {
        let (allowance, now) = (Allowance::new(1, EVERY), Instant::now());
        for _ in 0..3 {
            allowance.take((), now).unwrap().give_back();
        }
        let _used = allowance.take((), now).unwrap();
        assert!(allowance.take((), now).is_none());
    }

    #[test]
    fn parties_beyond_counting_cost_no_memory() {
        let (allowance, now) = (Allowance::new(1, EVERY), Instant::now());
        for party in 0..=MAX_PARTIES {
            assert!(allowance.take(party, now).is_some());
        }
        assert_eq!(allowance.parties().len(), 1);
    }
}
