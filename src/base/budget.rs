//! A bound on the memory for what must be held whole. D/MIME 1 objects are checked, sealed and opened as one piece.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget, in octets.
const UNIT: u64 = 64 * 1024;

/// A bound on what everybody together holds.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: u32,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
}

impl Share {
    /// Makes the share that large, if so much is free now; else it stays as it is. It never becomes smaller.
    pub fn grow_to(&mut self, octets: u64) -> bool {
        let held = self.permit.num_permits() as u64;
        let Some(missing) = u64::from(units(octets)).checked_sub(held) else {
            return true;
        };
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        match Arc::clone(self.permit.semaphore()).try_acquire_many_owned(missing) {
            Ok(more) => {
                self.permit.merge(more);
                true
            }
            Err(_) => false,
        }
    }
}

impl Budget {
    /// At most `octets` in all.
    pub fn new(octets: u64) -> Self {
        let total = units(octets);
        Self {
            free: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// A share of that many octets, if it is free now.
    pub fn take(&self, octets: u64) -> Option<Share> {
        let permit = Arc::clone(&self.free)
            .try_acquire_many_owned(units(octets))
            .ok()?;
        Some(Share { permit })
    }

    /// A share of that many octets, as soon as it is free. More than the whole budget is the whole budget.
    pub async fn wait_for(&self, octets: u64) -> Option<Share> {
        let wanted = units(octets).min(self.total);
        let permit = Arc::clone(&self.free).acquire_many_owned(wanted).await.ok()?;
        Some(Share { permit })
    }
}

fn units(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_come_back() {
        let budget = Budget::new(3 * UNIT);
        let share = budget.take(2 * UNIT + 1);
        assert!(share.is_some());
        assert!(budget.take(1).is_none());
        drop(share);
        assert!(budget.take(3 * UNIT).is_some());
    }

    #[test]
    fn shares_grow_with_what_they_are_for() {
        let budget = Budget::new(3 * UNIT);
        let mut share = budget.take(0).unwrap();
        let other = budget.take(UNIT).unwrap();
        assert!(share.grow_to(UNIT) && share.grow_to(2 * UNIT) && share.grow_to(1));
        assert!(!share.grow_to(2 * UNIT + 1), "the rest is taken");
        drop(other);
        assert!(share.grow_to(3 * UNIT));
        assert!(budget.take(1).is_none());
        drop(share);
        assert!(budget.take(3 * UNIT).is_some());
    }
}
