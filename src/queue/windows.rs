//! How many attempts are made for one destination at a time: few at first, more while its hosts answer, half as many each time
//! they do not. So a host that lets us wait holds a few places, and the others are left for everybody else.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::delivery::Contact;
use crate::mail::address::Domain;
use crate::store::Rooms;

/// Attempts at a time for a destination of which nothing is known.
const INITIAL: usize = 5;

/// Destinations remembered; beyond that those without an attempt under way are forgotten.
const MOST: usize = 1_000;

/// The windows of all destinations.
#[derive(Debug)]
pub struct Windows {
    largest: usize,
    known: Mutex<HashMap<Domain, Window>>,
}

#[derive(Debug)]
struct Window {
    under_way: usize,
    size: usize,
}

impl Windows {
    /// At most `largest` attempts for one destination.
    pub fn new(largest: usize) -> Self {
        Self {
            largest: largest.max(1),
            known: Mutex::default(),
        }
    }

    /// How many more may be started now.
    pub fn rooms(&self) -> Rooms {
        let known = self.locked();
        let room = |window: &Window| window.size.saturating_sub(window.under_way);
        Rooms {
            of: known
                .iter()
                .map(|(name, window)| (name.clone(), room(window)))
                .collect(),
            others: self.initial(),
        }
    }

    /// An attempt starts.
    pub fn begin(&self, destination: &Domain) {
        let initial = self.initial();
        let mut known = self.locked();
        if known.len() >= MOST {
            known.retain(|_, window| window.under_way > 0);
        }
        let window = known.entry(destination.clone()).or_insert(Window {
            under_way: 0,
            size: initial,
        });
        window.under_way += 1;
    }

    /// It has ended, and says whether somebody was there.
    pub fn end(&self, destination: &Domain, contact: Contact) {
        let (initial, largest) = (self.initial(), self.largest);
        let mut known = self.locked();
        let Some(window) = known.get_mut(destination) else {
            return;
        };
        window.under_way = window.under_way.saturating_sub(1);
        window.size = match contact {
            Contact::Unknown => window.size,
            Contact::Reached => (window.size + 1).min(largest),
            Contact::Unreachable => (window.size / 2).max(1),
        };
        // What was good is found out again soon; what was bad is not to be found out again by many at a time.
        if window.under_way == 0 && window.size >= initial {
            known.remove(destination);
        }
    }

    fn initial(&self) -> usize {
        INITIAL.min(self.largest)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Domain, Window>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name() -> Domain {
        "plain.test".parse().unwrap()
    }

    fn room(windows: &Windows) -> usize {
        windows.rooms().of(&name())
    }

    #[test]
    fn a_window_grows_with_answers_and_is_halved_without() {
        let windows = Windows::new(8);
        // One is always under way, as where there is much to do.
        windows.begin(&name());
        assert_eq!(room(&windows), 5 - 1);
        for (contact, size) in [
            (Contact::Reached, 6),
            (Contact::Reached, 7),
            (Contact::Reached, 8),
            (Contact::Reached, 8),
            (Contact::Unreachable, 4),
            (Contact::Unknown, 4),
            (Contact::Unreachable, 2),
            (Contact::Unreachable, 1),
            (Contact::Unreachable, 1),
            (Contact::Reached, 2),
        ] {
            windows.begin(&name());
            windows.end(&name(), contact);
            assert_eq!(room(&windows), size - 1, "{contact:?}");
        }
    }

    #[test]
    fn a_small_window_is_remembered_and_a_large_one_found_out_again() {
        let windows = Windows::new(20);
        for contact in [Contact::Unreachable, Contact::Unreachable] {
            windows.begin(&name());
            windows.end(&name(), contact);
        }
        assert_eq!(room(&windows), 1);
        for _ in 0..4 {
            windows.begin(&name());
            windows.end(&name(), Contact::Reached);
        }
        assert_eq!(room(&windows), 5);
        assert!(windows.locked().is_empty());
    }

    #[test]
    fn what_is_under_way_takes_room_and_others_have_theirs() {
        let windows = Windows::new(20);
        for left in [4, 3, 2, 1, 0] {
            windows.begin(&name());
            assert_eq!(room(&windows), left);
        }
        assert_eq!(windows.rooms().of(&"other.test".parse().unwrap()), 5);
        for _ in 0..5 {
            windows.end(&name(), Contact::Unknown);
        }
        assert!(windows.locked().is_empty(), "nothing is left to be remembered");
    }

    #[test]
    fn one_at_a_time_is_the_least() {
        let windows = Windows::new(0);
        assert_eq!(room(&windows), 1);
        windows.begin(&name());
        windows.end(&name(), Contact::Unreachable);
        assert_eq!(room(&windows), 1);
    }
}
