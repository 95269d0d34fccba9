//! A clock that notices when it jumps, so that nothing is ended or destroyed because of a time that may be wrong.
//!
//! The time of day is compared with a steady clock, and at the start with the last time that an earlier run trusted. It is in doubt
//! once they differ by more than an hour, in either direction, and is trusted again
//!
//! - as soon as they agree again within an hour;
//! - if it is ahead, after a day in which it went on steadily: a machine may have been off, or asleep, for long;
//! - when an operator confirms it.
//!
//! While the time is in doubt, no time after the last trusted one, nor after the one at which this was noticed, is certain to have
//! come ([`Clock::certain`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::time::{Clock, SystemClock, Timestamp};

/// A larger difference is a jump.
pub const JUMP: Duration = Duration::from_secs(3600);

/// How long a clock that is ahead must go on steadily.
pub const PROBATION: Duration = Duration::from_secs(24 * 3600);

/// A clock that moves forward evenly, from any point.
pub type Steady = Box<dyn Fn() -> Duration + Send + Sync>;

/// The steady clock of the operating system, which goes on while the machine sleeps.
pub fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

/// The time of day, watched.
pub struct GuardedClock {
    wall: Box<dyn Clock>,
    steady: Steady,
    state: Mutex<State>,
}

struct State {
    /// What both clocks said when the time was last trusted.
    trusted: Instant,
    doubt: Option<Doubt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instant {
    wall: Timestamp,
    steady: Duration,
}

/// Why the time is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Milliseconds that the time of day is ahead of what the steady clock makes it; negative if it is behind.
    pub ahead_ms: i64,
    /// What both clocks said when this was noticed.
    noticed: Instant,
}

impl GuardedClock {
    /// The clocks of the operating system.
    pub fn system() -> Self {
        Self::watching(Box::new(SystemClock))
    }

    /// Watches `wall` by the steady clock of the operating system.
    pub fn watching(wall: Box<dyn Clock>) -> Self {
        Self::new(wall, Box::new(boottime))
    }

    /// Watches `wall`, which is trusted now.
    pub fn new(wall: Box<dyn Clock>, steady: Steady) -> Self {
        let trusted = Instant {
            wall: wall.now(),
            steady: steady(),
        };
        Self {
            wall,
            steady,
            state: Mutex::new(State { trusted, doubt: None }),
        }
    }

    /// Compares the time with the last one that an earlier run trusted.
    pub fn resume(&self, trusted: Timestamp) {
        let steady = (self.steady)();
        self.state().trusted = Instant {
            wall: trusted,
            steady,
        };
        self.look();
    }

    /// Trusts the time as it is.
    pub fn confirm(&self) {
        let trusted = self.read();
        *self.state() = State { trusted, doubt: None };
    }

    /// Compares both clocks; what is wrong with the time, if anything is.
    pub fn look(&self) -> Option<Doubt> {
        let now = self.read();
        let mut state = self.state();
        state.see(now);
        state.doubt
    }

    /// The last time that was trusted.
    pub fn trusted(&self) -> Timestamp {
        self.state().trusted.wall
    }

    fn read(&self) -> Instant {
        Instant {
            wall: self.wall.now(),
            steady: (self.steady)(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for GuardedClock {
    fn now(&self) -> Timestamp {
        self.wall.now()
    }

    fn certain(&self, time: Timestamp) -> Timestamp {
        match self.look() {
            None => time,
            // What was accepted since does not age either.
            Some(doubt) => time.min(self.trusted()).min(doubt.noticed.wall),
        }
    }

    fn offset_ms(&self) -> i64 {
        let now = self.read();
        let steady_ms = i64::try_from(now.steady.as_millis()).unwrap_or(i64::MAX);
        now.wall.0.saturating_sub(steady_ms)
    }
}

impl State {
    fn see(&mut self, now: Instant) {
        let expected = self
            .trusted
            .wall
            .after(now.steady.saturating_sub(self.trusted.steady));
        let ahead_ms = now.wall.0.saturating_sub(expected.0);
        let is_over =
            |doubt: Doubt| ahead_ms > 0 && now.steady.saturating_sub(doubt.noticed.steady) >= PROBATION;
        match self.doubt {
            _ if !is_jump(ahead_ms) => *self = Self::trusting(now),
            Some(doubt) if is_jump(ahead_ms.saturating_sub(doubt.ahead_ms)) => {
                self.doubt_since(now, ahead_ms)
            }
            Some(doubt) if is_over(doubt) => *self = Self::trusting(now),
            Some(_) => {}
            None => self.doubt_since(now, ahead_ms),
        }
    }

    fn trusting(now: Instant) -> Self {
        Self {
            trusted: now,
            doubt: None,
        }
    }

    fn doubt_since(&mut self, now: Instant, ahead_ms: i64) {
        self.doubt = Some(Doubt {
            ahead_ms,
            noticed: now,
        });
    }
}

fn is_jump(ms: i64) -> bool {
    u128::from(ms.unsigned_abs()) > JUMP.as_millis()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const START: Timestamp = Timestamp(1_800_000_000_000);

    /// Both clocks, moved by hand.
    #[derive(Default)]
    struct Hands {
        wall_ms: Mutex<i64>,
        steady: Mutex<Duration>,
    }

    impl Clock for Arc<Hands> {
        fn now(&self) -> Timestamp {
            Timestamp(START.0 + *self.wall_ms.lock().unwrap())
        }
    }

    impl Hands {
        fn pass(&self, span: Duration) {
            self.jump(i64::try_from(span.as_millis()).unwrap());
            *self.steady.lock().unwrap() += span;
        }

        fn jump(&self, ms: i64) {
            *self.wall_ms.lock().unwrap() += ms;
        }
    }

    fn clock() -> (Arc<Hands>, GuardedClock) {
        let hands = Arc::<Hands>::default();
        let steady = Arc::clone(&hands);
        let steady = move || *steady.steady.lock().unwrap();
        let clock = GuardedClock::new(Box::new(Arc::clone(&hands)), Box::new(steady));
        (hands, clock)
    }

    fn hours(count: i64) -> i64 {
        count * 3_600_000
    }

    #[test]
    fn the_offset_changes_when_the_clock_is_set_and_then_alone() {
        let (hands, clock) = clock();
        let offset = clock.offset_ms();
        hands.pass(HOUR * 30);
        assert_eq!(clock.offset_ms(), offset);
        hands.jump(-1);
        assert_eq!(clock.offset_ms(), offset - 1);
    }

    #[test]
    fn a_clock_that_goes_evenly_or_is_corrected_a_little_is_trusted() {
        let (hands, clock) = clock();
        for _ in 0..100 {
            hands.pass(HOUR * 30);
            hands.jump(hours(1));
            assert_eq!(clock.look(), None);
            hands.pass(MINUTE);
            hands.jump(-hours(1));
            assert_eq!(clock.look(), None);
        }
        assert_eq!(clock.certain(Timestamp(7)), Timestamp(7));
        assert_eq!(clock.trusted(), clock.now());
    }

    #[test]
    fn after_a_jump_either_way_nothing_later_than_the_last_trusted_time_is_certain() {
        for jump in [hours(1) + 1, hours(24 * 400), -hours(1) - 1, -hours(24 * 400)] {
            let (hands, clock) = clock();
            hands.pass(HOUR);
            assert_eq!(clock.look(), None);
            let trusted = clock.now();
            hands.pass(MINUTE);
            hands.jump(jump);
            assert_eq!(clock.certain(clock.now()), clock.now().min(trusted), "{jump}");
            assert_eq!(clock.look().unwrap().ahead_ms, jump);
            assert_eq!(clock.certain(Timestamp(7)), Timestamp(7));
            assert_eq!(clock.trusted(), trusted);
            let noticed = clock.now();
            hands.pass(HOUR * 5);
            assert_eq!(clock.certain(clock.now()), noticed.min(trusted), "{jump}");
        }
    }

    #[test]
    fn a_clock_that_comes_back_is_trusted_at_once() {
        let (hands, clock) = clock();
        hands.jump(hours(5));
        assert!(clock.look().is_some());
        hands.pass(HOUR);
        hands.jump(-hours(5));
        assert_eq!(clock.look(), None);
        assert_eq!(clock.certain(clock.now()), clock.now());
    }

    #[test]
    fn a_clock_that_is_ahead_is_trusted_after_a_steady_day_and_one_that_is_behind_never() {
        for (jump, trusted) in [(hours(100), true), (-hours(100), false)] {
            let (hands, clock) = clock();
            hands.jump(jump);
            assert!(clock.look().is_some());
            hands.pass(PROBATION - MINUTE);
            assert!(clock.look().is_some());
            hands.pass(MINUTE);
            assert_eq!(clock.look().is_none(), trusted);
        }
    }

    #[test]
    fn another_jump_begins_another_day() {
        let (hands, clock) = clock();
        hands.jump(hours(100));
        assert!(clock.look().is_some());
        hands.pass(PROBATION - MINUTE);
        hands.jump(hours(2));
        assert!(clock.look().is_some());
        hands.pass(PROBATION - MINUTE);
        assert!(clock.look().is_some());
        hands.pass(MINUTE);
        assert_eq!(clock.look(), None);
    }

    #[test]
    fn an_earlier_run_is_gone_by_at_the_start() {
        for (away, trusted) in [(30 * 60_000, true), (hours(2), false), (-hours(2), false)] {
            let (_, clock) = clock();
            let last = Timestamp(START.0 - away);
            clock.resume(last);
            assert_eq!(clock.look().is_none(), trusted, "{away}");
            let certain = if trusted { START } else { START.min(last) };
            assert_eq!(clock.certain(START), certain);
        }
    }

    #[test]
    fn what_an_operator_confirms_is_trusted() {
        for jump in [hours(100), -hours(100)] {
            let (hands, clock) = clock();
            hands.jump(jump);
            assert!(clock.look().is_some());
            clock.confirm();
            assert_eq!(clock.look(), None);
            assert_eq!(clock.trusted(), clock.now());
        }
    }
}
