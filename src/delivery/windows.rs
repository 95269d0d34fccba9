//! How many attempts are made at a time for one destination, or at one host: few at first, more while it answers, half as many
//! each time it does not. So a host that lets us wait holds a few places, and the others are left for everybody else. What has grown
//! is remembered until the next attempts have been claimed, and a while more.
//!
//! Hosts that let us wait may be many. While there are few places left at all, those who have not answered lately have one each.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::Contact;

/// Attempts at a time for somebody of whom nothing is known.
const INITIAL: usize = 5;

/// The same while places are short.
const FEW: usize = 1;

/// Windows remembered; beyond that those without an attempt under way are forgotten.
const MOST: usize = 1_000;

/// How long it is remembered that more may be tried for somebody than at first, once nothing is under way.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Whoever answered not longer ago has proven to be there.
const LATELY: Duration = Duration::from_secs(24 * 3600);

/// Those who did, remembered; beyond that the one whose answer is the oldest is forgotten.
const MOST_REACHED: usize = 1_000;

/// The windows of all destinations, or of all hosts.
#[derive(Debug)]
pub struct Windows<K> {
    largest: usize,
    is_short: AtomicBool,
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    windows: HashMap<K, Window>,
    /// When they last answered. Whoever did not the last time is not among them.
    reached: HashMap<K, Instant>,
}

#[derive(Debug)]
struct Window {
    under_way: usize,
    size: usize,
    /// When the last one ended, or else the first began.
    ended: Instant,
}

impl Window {
    /// What was good is found out again soon; what was bad is not to be found out again by many at a time.
    fn is_forgotten(&self, first: usize, now: Instant) -> bool {
        let is_over = self.size == first || now.saturating_duration_since(self.ended) > REMEMBERED;
        self.under_way == 0 && self.size >= first && is_over
    }
}

impl<K: Eq + Hash + Clone> Windows<K> {
    /// At most `largest` attempts each.
    pub fn new(largest: usize) -> Self {
        Self {
            largest: largest.max(1),
            is_short: AtomicBool::new(false),
            known: Mutex::new(Known {
                windows: HashMap::new(),
                reached: HashMap::new(),
            }),
        }
    }

    /// Places are short from now on, or no longer.
    pub fn set_short(&self, is_short: bool) {
        self.is_short.store(is_short, Ordering::Relaxed);
    }

    /// How many more may be started now, for each of which something is known.
    pub fn rooms(&self) -> HashMap<K, usize> {
        let mut known = self.locked();
        known.forget(self.first(), Instant::now());
        let proven = known.reached.keys().map(|name| (name.clone(), self.first()));
        let mut rooms: HashMap<K, usize> = match self.is_short() {
            true => proven.collect(),
            false => HashMap::new(),
        };
        let windows = known.windows.iter();
        rooms.extend(windows.map(|(name, window)| (name.clone(), self.room_in(&known, name, window))));
        rooms
    }

    /// How many more may be started now. Nobody known has the [initial](Self::initial) room.
    pub fn room(&self, name: &K) -> Option<usize> {
        let mut known = self.locked();
        known.forget_one(name, self.first());
        let window = known.windows.get(name)?;
        Some(self.room_in(&known, name, window))
    }

    /// Those who have answered lately.
    pub fn reached(&self) -> HashSet<K> {
        let mut known = self.locked();
        let now = Instant::now();
        known.reached.retain(|_, at| is_lately(*at, now));
        known.reached.keys().cloned().collect()
    }

    /// Whether somebody has.
    pub fn is_reached(&self, name: &K) -> bool {
        let reached = self.locked().reached.get(name).copied();
        reached.is_some_and(|at| is_lately(at, Instant::now()))
    }

    fn room_in(&self, known: &Known<K>, name: &K, window: &Window) -> usize {
        let is_proven = known.reached.contains_key(name);
        let size = match self.is_short() && !is_proven {
            true => window.size.min(FEW),
            false => window.size,
        };
        size.saturating_sub(window.under_way)
    }

    /// An attempt starts.
    pub fn begin(&self, name: &K) {
        self.begin_in(&mut self.locked(), name);
    }

    /// An attempt starts, if there is room for it.
    pub fn try_begin(&self, name: &K) -> bool {
        let mut known = self.locked();
        known.forget_one(name, self.first());
        let window = known.windows.get(name);
        let has_room = window.is_none_or(|window| self.room_in(&known, name, window) > 0);
        if has_room {
            self.begin_in(&mut known, name);
        }
        has_room
    }

    fn begin_in(&self, known: &mut Known<K>, name: &K) {
        known.forget_one(name, self.first());
        let windows = &mut known.windows;
        if windows.len() >= MOST {
            windows.retain(|_, window| window.under_way > 0);
        }
        let window = windows.entry(name.clone()).or_insert(Window {
            under_way: 0,
            size: self.first(),
            ended: Instant::now(),
        });
        window.under_way += 1;
    }

    /// It has ended, and says whether somebody was there.
    pub fn end(&self, name: &K, contact: Contact) {
        let (initial, largest) = (self.first(), self.largest);
        let mut known = self.locked();
        known.note(name, contact);
        let Some(window) = known.windows.get_mut(name) else {
            return;
        };
        window.under_way = window.under_way.saturating_sub(1);
        window.size = match contact {
            Contact::Unknown => window.size,
            Contact::Reached => (window.size + 1).min(largest),
            Contact::Unreachable | Contact::Busy => (window.size / 2).max(1),
        };
        window.ended = Instant::now();
        known.forget_one(name, initial);
    }

    /// Attempts at a time for somebody of whom nothing is known.
    pub fn initial(&self) -> usize {
        match self.is_short() {
            true => FEW,
            false => self.first(),
        }
    }

    /// The same while there are places enough.
    fn first(&self) -> usize {
        INITIAL.min(self.largest)
    }

    fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    fn locked(&self) -> MutexGuard<'_, Known<K>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<K: Eq + Hash + Clone> Known<K> {
    fn forget(&mut self, first: usize, now: Instant) {
        self.windows.retain(|_, window| !window.is_forgotten(first, now));
    }

    fn forget_one(&mut self, name: &K, first: usize) {
        let window = self.windows.get(name);
        if window.is_some_and(|window| window.is_forgotten(first, Instant::now())) {
            self.windows.remove(name);
        }
    }

    /// Somebody was there, or not.
    fn note(&mut self, name: &K, contact: Contact) {
        match contact {
            Contact::Unknown => {}
            Contact::Unreachable => {
                self.reached.remove(name);
            }
            Contact::Reached | Contact::Busy => {
                if self.reached.len() >= MOST_REACHED && !self.reached.contains_key(name) {
                    let oldest = self.reached.iter().min_by_key(|(_, at)| **at);
                    if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                        self.reached.remove(&oldest);
                    }
                }
                self.reached.insert(name.clone(), Instant::now());
            }
        }
    }
}

fn is_lately(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < LATELY
}

/// Who sends to whom through one host: names of many domains may lead to it.
pub type Hosts = Windows<HostAddress>;

/// The address of a host; of IPv6 the network, in which a host has as many as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostAddress(IpAddr);

impl From<IpAddr> for HostAddress {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

/// One of the attempts that a host has room for, until it is dropped.
#[derive(Debug)]
pub struct Place {
    hosts: Arc<Hosts>,
    host: HostAddress,
    /// Whether the host was there.
    pub contact: Contact,
}

impl Place {
    /// `None` if there is no room.
    pub fn take(hosts: &Arc<Hosts>, host: HostAddress) -> Option<Self> {
        hosts.try_begin(&host).then(|| Self {
            hosts: Arc::clone(hosts),
            host,
            contact: Contact::Unknown,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hosts.end(&self.host, self.contact);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::address::Domain;

    fn name() -> Domain {
        "plain.test".parse().unwrap()
    }

    fn room(windows: &Windows<Domain>) -> usize {
        windows.room(&name()).unwrap_or(windows.initial())
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
            (Contact::Busy, 2),
            (Contact::Reached, 3),
            (Contact::Reached, 4),
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
        assert!(windows.locked().windows.is_empty());
    }

    #[test]
    fn a_large_window_lasts_from_one_claim_to_the_next() {
        let windows = Windows::new(20);
        for _ in 0..3 {
            windows.begin(&name());
            windows.end(&name(), Contact::Reached);
        }
        assert_eq!((room(&windows), windows.rooms()[&name()]), (8, 8));
        let later = Instant::now() + REMEMBERED * 2;
        windows.locked().forget(windows.first(), later);
        assert_eq!(room(&windows), windows.initial());
    }

    #[test]
    fn while_places_are_short_whoever_has_not_answered_has_one() {
        let windows = Windows::new(20);
        let (proven, fresh) = (name(), "fresh.test".parse().unwrap());
        windows.begin(&proven);
        windows.end(&proven, Contact::Reached);
        windows.begin(&fresh);
        windows.set_short(true);
        assert_eq!((windows.initial(), windows.rooms()[&proven]), (1, 6));
        assert!(!windows.try_begin(&fresh), "as many as it may have");
        for _ in 0..6 {
            assert!(windows.try_begin(&proven));
        }
        assert!(!windows.try_begin(&proven));
        assert_eq!(windows.reached(), [proven.clone()].into());
        // It does not answer any more.
        windows.end(&proven, Contact::Unreachable);
        assert_eq!(windows.reached(), HashSet::new());
        assert_eq!((windows.room(&proven), windows.room(&fresh)), (Some(0), Some(0)));
        windows.set_short(false);
        assert_eq!(windows.room(&fresh), Some(4));
    }

    #[test]
    fn of_those_who_answered_no_more_are_remembered_than_there_is_room_for() {
        let windows = Windows::new(20);
        for number in 0..=MOST_REACHED {
            windows.begin(&number);
            windows.end(&number, Contact::Reached);
        }
        let reached = windows.reached();
        assert_eq!(reached.len(), MOST_REACHED);
        assert!(!reached.contains(&0) && reached.contains(&MOST_REACHED));
    }

    #[test]
    fn what_is_under_way_takes_room_and_others_have_theirs() {
        let windows = Windows::new(20);
        for left in [4, 3, 2, 1, 0] {
            windows.begin(&name());
            assert_eq!(room(&windows), left);
        }
        assert!(!windows.try_begin(&name()));
        assert_eq!(windows.room(&"other.test".parse().unwrap()), None);
        for _ in 0..5 {
            windows.end(&name(), Contact::Unknown);
        }
        assert!(
            windows.locked().windows.is_empty(),
            "nothing is left to be remembered"
        );
    }

    #[test]
    fn one_at_a_time_is_the_least() {
        let windows = Windows::new(0);
        assert_eq!(room(&windows), 1);
        windows.begin(&name());
        windows.end(&name(), Contact::Unreachable);
        assert_eq!(room(&windows), 1);
    }
    #[test]
    fn a_host_has_a_network_of_ipv6_to_itself_and_gives_places_back() {
        let host = |text: &str| HostAddress::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:0:0:2"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
        let hosts = Arc::new(Hosts::new(1));
        let place = Place::take(&hosts, host("192.0.2.1")).unwrap();
        assert!(Place::take(&hosts, host("192.0.2.1")).is_none());
        assert!(Place::take(&hosts, host("192.0.2.2")).is_some());
        drop(place);
        assert!(Place::take(&hosts, host("192.0.2.1")).is_some());
    }
}
