//! A clock that follows another one, which is asked from time to time: several hosts that follow the same go alike.
//!
//! In between it goes on by a steady clock, so that nothing changes when the time of day of this host is set.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::guarded_clock::{Steady, boottime};
use super::time::{Clock, Timestamp};

/// See the module's documentation.
pub struct FollowedClock {
    steady: Steady,
    heard: Mutex<Heard>,
}

/// What the other clock said, and the steady one then.
#[derive(Debug, Clone, Copy)]
struct Heard {
    theirs: Timestamp,
    steady: Duration,
}

impl FollowedClock {
    /// Goes on from what the other clock says now.
    pub fn new(theirs: Timestamp) -> Self {
        Self::with_steady(theirs, Box::new(boottime))
    }

    fn with_steady(theirs: Timestamp, steady: Steady) -> Self {
        let heard = Mutex::new(Heard {
            theirs,
            steady: steady(),
        });
        Self { steady, heard }
    }

    /// What the other clock says now.
    pub fn hear(&self, theirs: Timestamp) {
        let steady = (self.steady)();
        *self.heard() = Heard { theirs, steady };
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for FollowedClock {
    fn now(&self) -> Timestamp {
        let heard = *self.heard();
        heard.theirs.after((self.steady)().saturating_sub(heard.steady))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn it_says_what_the_other_one_would_say() {
        let steady = Arc::new(AtomicU64::new(500));
        let read = Arc::clone(&steady);
        let clock = FollowedClock::with_steady(
            Timestamp(1_000_000),
            Box::new(move || Duration::from_millis(read.load(Ordering::Relaxed))),
        );
        assert_eq!(clock.now(), Timestamp(1_000_000));
        steady.store(750, Ordering::Relaxed);
        assert_eq!(clock.now(), Timestamp(1_000_250));
        clock.hear(Timestamp(999_000));
        assert_eq!(clock.now(), Timestamp(999_000));
        steady.store(760, Ordering::Relaxed);
        assert_eq!(clock.now(), Timestamp(999_010));
    }
}
