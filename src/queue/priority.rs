//! Whose turn comes first among mail for one destination. Pure.
//!
//! Mail is claimed in the order in which it became due. What people wait for is counted as due for a little longer than reports, mail
//! for many and large mail. So it overtakes them when there is more than can be sent at once, and nobody waits for longer than
//! that because of it.

use std::time::Duration;

use crate::base::time::Timestamp;
use crate::mail::address::ReversePath;
use crate::store::AHEAD;

/// Recipients from which on a message is one for many.
const MANY: usize = 50;

/// Octets from which on a message is large.
const LARGE: u64 = 1 << 20;

/// The last priority, which is due when it comes.
const LAST: u8 = 2;

/// How much earlier each priority is due than the one behind it.
const STEP: Duration = Duration::from_secs(AHEAD.as_secs() / LAST as u64);

/// The priority of a new message; 0 comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// One behind the others for a report or mail for many, and one for large mail.
    pub fn of(reverse_path: &ReversePath, recipients: usize, size_bytes: u64) -> Self {
        let nobody_waits = reverse_path.is_null() || recipients >= MANY;
        Self(u8::from(nobody_waits) + u8::from(size_bytes >= LARGE))
    }

    /// When a message is due that is to be sent at once.
    pub fn due(self, now: Timestamp) -> Timestamp {
        now.before(STEP * u32::from(LAST - self.0.min(LAST)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_people_wait_for_comes_first_and_nobody_waits_long_for_it() {
        let alice = ReversePath(Some("alice@hermail.test".parse().unwrap()));
        let now = Timestamp(1_800_000_000_000);
        for (path, recipients, size, secs) in [
            (&alice, 1, 4096, 120),
            (&alice, MANY - 1, LARGE - 1, 120),
            (&alice, 1, LARGE, 60),
            (&alice, MANY, 4096, 60),
            (&ReversePath::NULL, 1, 4096, 60),
            (&ReversePath::NULL, 1, LARGE, 0),
        ] {
            let due = Priority::of(path, recipients, size).due(now);
            assert_eq!(due, now.before(Duration::from_secs(secs)), "{recipients} {size}");
        }
    }
}
