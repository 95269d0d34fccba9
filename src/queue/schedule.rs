//! When a deferred recipient is tried again, and when patience ends. Pure.

use std::time::Duration;

use crate::mail::address::Domain;
use crate::routing::transport::Pattern;

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

/// What an attempt failed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No host could be found or reached, or none went on answering.
    Unreachable,
    /// A host said no for now.
    Refused,
    /// Something else: keys, mailboxes of ours, or a fault.
    Other,
}

/// What is different about some destinations, or after some kind of trouble. What is not said is as usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which destinations.
    pub domains: Vec<Pattern>,
    /// After which trouble; `None` for any.
    pub after: Option<Trouble>,
    /// See [`Schedule::first`].
    pub first: Option<Duration>,
    /// See [`Schedule::longest`].
    pub longest: Option<Duration>,
    /// See [`Schedule::lifetime`].
    pub lifetime: Option<Duration>,
}

/// The usual schedule and what the operator says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedules {
    /// For all that no rule is for.
    pub usual: Schedule,
    /// In any order.
    pub rules: Vec<Rule>,
}

impl Schedules {
    /// No wait is longer, whatever the destination and the trouble.
    pub fn longest_wait(&self) -> Duration {
        let ruled = self.rules.iter().filter_map(|rule| rule.longest);
        let longest = ruled.fold(self.usual.longest, Duration::max);
        longest.saturating_add(longest / 8)
    }

    /// Of the rules that apply the narrowest counts; of those as narrow, the one that names the trouble, and the first.
    pub fn of(&self, destination: &Domain, trouble: Trouble) -> Schedule {
        let applies = |rule: &&Rule| rule.after.is_none_or(|after| after == trouble);
        let ranked = self.rules.iter().filter(applies).filter_map(|rule| {
            let rank = rule
                .domains
                .iter()
                .filter_map(|domain| domain.rank(destination))
                .max()?;
            Some(((rank, rule.after.is_some()), rule))
        });
        // Of equal ones, `max_by_key` has the last.
        let ranked: Vec<_> = ranked.collect();
        let Some((_, rule)) = ranked.into_iter().rev().max_by_key(|(rank, _)| *rank) else {
            return self.usual;
        };
        Schedule {
            first: rule.first.unwrap_or(self.usual.first),
            longest: rule.longest.unwrap_or(self.usual.longest),
            lifetime: rule.lifetime.unwrap_or(self.usual.lifetime),
            delay_warning: self.usual.delay_warning,
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
    fn the_narrowest_rule_counts_and_of_those_the_one_that_names_the_trouble() {
        let secs = Duration::from_secs;
        let rule = |domain: &str, after, first| Rule {
            domains: domain.parse().into_iter().collect(),
            after,
            first: Some(secs(first)),
            longest: None,
            lifetime: None,
        };
        let schedules = Schedules {
            usual: Schedule::default(),
            rules: vec![
                rule("*", Some(Trouble::Refused), 1),
                rule("*.plain.test", None, 2),
                rule("mail.plain.test", None, 3),
                rule("mail.plain.test", Some(Trouble::Unreachable), 4),
                rule("mail.plain.test", Some(Trouble::Unreachable), 5),
            ],
        };
        let first = |domain: &str, trouble| {
            let domain = Domain::parse(domain).unwrap_or_else(|error| panic!("{error}"));
            schedules.of(&domain, trouble).first
        };
        for (domain, trouble, expected) in [
            ("other.test", Trouble::Refused, 1),
            ("other.test", Trouble::Unreachable, 300),
            ("plain.test", Trouble::Other, 300),
            ("mx.plain.test", Trouble::Refused, 2),
            ("mail.plain.test", Trouble::Refused, 3),
            ("mail.plain.test", Trouble::Unreachable, 4),
        ] {
            assert_eq!(first(domain, trouble), secs(expected), "{domain} {trouble:?}");
        }
        let usual = Schedules::default();
        let domain = Domain::parse("other.test").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(usual.of(&domain, Trouble::Other), Schedule::default());
    }

    #[test]
    fn no_wait_is_longer_than_the_longest_of_all_rules_and_its_spread() {
        let rule = |longest| Rule {
            domains: Vec::new(),
            after: None,
            first: None,
            longest,
            lifetime: None,
        };
        let schedules = |rules| Schedules {
            usual: Schedule::default(),
            rules,
        };
        let spread = |hours: u32| HOUR * hours + HOUR * hours / 8;
        assert_eq!(Schedules::default().longest_wait(), spread(4));
        assert_eq!(
            schedules(vec![rule(None), rule(Some(HOUR))]).longest_wait(),
            spread(4)
        );
        let slow = schedules(vec![rule(Some(HOUR * 24)), rule(None)]);
        assert_eq!(slow.longest_wait(), spread(24));
        let for_ever = schedules(vec![rule(Some(Duration::MAX))]);
        assert_eq!(for_ever.longest_wait(), Duration::MAX);
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
