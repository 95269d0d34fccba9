//! When a deferred recipient is tried again, and when patience ends. Pure.

use std::time::Duration;

/// Waits double from the first to the longest; an attempt is made when the lifetime ends, and none after it.
///
/// Source: RFC 5321 §4.5.4.1, which asks for at least four to five days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Wait after the first attempt.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Age at which a message is returned.
    pub lifetime: Duration,
    /// Age at which its sender is told of the delay, once; `None` for never.
    pub delay_warning: Option<Duration>,
}

impl Default for Schedule {
    /// 5 minutes, 4 hours, 5 days, 4 hours.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5 * 60),
            longest: Duration::from_secs(4 * 60 * 60),
            lifetime: Duration::from_secs(5 * 24 * 60 * 60),
            delay_warning: Some(Duration::from_secs(4 * 60 * 60)),
        }
    }
}

/// What follows a failed attempt that may yet succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again.
    Retry {
        /// After this wait.
        after: Duration,
        /// The sender is due to be told of the delay, unless that was done before.
        warn: bool,
    },
    /// The lifetime is over.
    GiveUp,
}

impl Schedule {
    /// Decides for a recipient with `attempts` made so far, this one included, of a message of that `age`.
    ///
    /// `jitter` is any number; the whole range of it spreads the wait evenly from 7/8 to 9/8, so that what failed
    /// together does not come back together.
    pub fn next(&self, attempts: u32, age: Duration, jitter: u16) -> Next {
        if age >= self.lifetime {
            return Next::GiveUp;
        }
        Next::Retry {
            after: spread(self.wait(attempts), jitter).min(self.lifetime - age),
            warn: self.delay_warning.is_some_and(|warning| age >= warning),
        }
    }

    /// The wait after `attempts` attempts, before it is spread.
    fn wait(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1);
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// 7/8 of the wait, and up to 2/8 more.
fn spread(wait: Duration, jitter: u16) -> Duration {
    let eighth = wait / 8;
    wait - eighth + (eighth * 2 / u32::from(u16::MAX)) * u32::from(jitter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    /// The wait in the middle of its range, in whole seconds.
    fn wait_secs(attempts: u32) -> u64 {
        match Schedule::default().next(attempts, Duration::ZERO, u16::MAX / 2) {
            Next::Retry { after, .. } => after.as_secs_f64().round() as u64,
            Next::GiveUp => panic!("the message is new"),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = [1, 2, 3, 4, 5, 6, 7, 40, u32::MAX].map(wait_secs).to_vec();
        assert_eq!(waits, [300, 600, 1200, 2400, 4800, 9600, 14400, 14400, 14400]);
    }

    #[test]
    fn jitter_spreads_by_an_eighth_either_way() {
        let schedule = Schedule::default();
        let after = |jitter| match schedule.next(7, Duration::ZERO, jitter) {
            Next::Retry { after, .. } => after,
            Next::GiveUp => panic!("the message is new"),
        };
        assert_eq!(after(0), 4 * HOUR - 30 * MINUTE);
        assert_eq!(after(u16::MAX).as_secs_f64().round(), 16200.0);
    }

    #[test]
    fn the_last_attempt_is_made_when_the_lifetime_ends() {
        let schedule = Schedule::default();
        let almost = schedule.lifetime - MINUTE;
        let last = Next::Retry {
            after: MINUTE,
            warn: true,
        };
        assert_eq!(schedule.next(30, almost, 0), last);
        assert_eq!(schedule.next(31, schedule.lifetime, 0), Next::GiveUp);
        assert_eq!(schedule.next(1, schedule.lifetime + HOUR, 0), Next::GiveUp);
    }

    #[test]
    fn a_delay_is_worth_a_warning_from_its_age_on() {
        let warns = |schedule: Schedule, age| match schedule.next(3, age, 0) {
            Next::Retry { warn, .. } => warn,
            Next::GiveUp => panic!("within the lifetime"),
        };
        let schedule = Schedule::default();
        assert!(!warns(schedule, 4 * HOUR - MINUTE));
        assert!(warns(schedule, 4 * HOUR));
        let silent = Schedule {
            delay_warning: None,
            ..schedule
        };
        assert!(!warns(silent, 100 * HOUR));
    }

    proptest! {
        #[test]
        fn no_wait_is_too_short_too_long_or_past_the_lifetime(attempts: u32, age_secs in 0u64..432_000, jitter: u16) {
            let schedule = Schedule::default();
            let age = Duration::from_secs(age_secs);
            let Next::Retry { after, .. } = schedule.next(attempts, age, jitter) else {
                return Err(TestCaseError::fail("within the lifetime"));
            };
            prop_assert!(age + after <= schedule.lifetime);
            prop_assert!(after <= schedule.longest * 9 / 8);
            prop_assert!(after >= schedule.first * 7 / 8 || age + after == schedule.lifetime);
        }
    }
}
