//! For which destinations attempts may be started: each has a window, and so have the hosts that mail for many of them goes to.
//!
//! Which host that is turns out in an attempt. Where it has no room, the attempt ends with nothing done, and it is remembered
//! that the destination stands behind that host, so that its mail is not claimed again before there is room.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::delivery::Contact;
use crate::delivery::windows::{HostAddress, Hosts, Windows};
use crate::mail::address::Domain;
use crate::store::Rooms;

/// Destinations of which it is remembered behind which host they stand.
const MOST_BEHIND: usize = 10_000;

/// The windows of all destinations and next hops.
#[derive(Debug)]
pub struct Destinations {
    windows: Windows<Domain>,
    hosts: Arc<Hosts>,
    behind: Mutex<HashMap<Domain, HostAddress>>,
}

impl Destinations {
    /// At most `largest` attempts for one destination; the deliveries know of the hosts.
    pub fn new(largest: usize, hosts: Arc<Hosts>) -> Self {
        Self {
            windows: Windows::new(largest),
            hosts,
            behind: Mutex::default(),
        }
    }

    /// How many more attempts may be started now, whatever kind of destination it is.
    pub fn rooms(&self) -> Rooms {
        let mut behind = self.locked();
        // Of a host that nothing is known of any more, there is nothing to remember.
        behind.retain(|_, host| self.hosts.room(host).is_some());
        let mut rooms = Rooms {
            of: self.windows.rooms(),
            others: self.windows.initial(),
            ..Rooms::unbounded()
        };
        let mut places = HashMap::new();
        for (destination, host) in behind.iter() {
            let place = *places.entry(*host).or_insert_with(|| {
                rooms.hops.push(self.hosts.room(host).unwrap_or(usize::MAX));
                rooms.hops.len() - 1
            });
            rooms.behind.insert(destination.clone(), place);
        }
        rooms
    }

    /// How many more attempts may be started now for one destination.
    pub fn room(&self, destination: &Domain) -> usize {
        let own = self
            .windows
            .room(destination)
            .unwrap_or_else(|| self.windows.initial());
        let hop = self
            .locked()
            .get(destination)
            .and_then(|host| self.hosts.room(host));
        own.min(hop.unwrap_or(usize::MAX))
    }

    /// Places are short from now on, or no longer: see [`Windows::set_short`].
    pub fn set_short(&self, is_short: bool) {
        self.windows.set_short(is_short);
        self.hosts.set_short(is_short);
    }

    /// Whether the destination was reached lately.
    pub fn is_proven(&self, destination: &Domain) -> bool {
        self.windows.is_reached(destination)
    }

    /// All those that were.
    pub fn proven(&self) -> HashSet<Domain> {
        self.windows.reached()
    }

    /// An attempt starts.
    pub fn begin(&self, destination: &Domain) {
        self.windows.begin(destination);
    }

    /// It has ended, and says whether somebody was there.
    pub fn end(&self, destination: &Domain, contact: Contact) {
        self.windows.end(destination, contact);
    }

    /// Mail for the destination goes to a host that has no room. False if that cannot be remembered.
    pub fn put_behind(&self, destination: &Domain, host: HostAddress) -> bool {
        let mut behind = self.locked();
        let is_known = behind.contains_key(destination);
        if is_known || behind.len() < MOST_BEHIND {
            behind.insert(destination.clone(), host);
            return true;
        }
        false
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Domain, HostAddress>> {
        self.behind
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::IpAddr;

    use super::*;
    use crate::delivery::windows::Place;

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn destinations_behind_one_host_share_its_room() {
        let hosts = Arc::new(Hosts::new(20));
        let host = HostAddress::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let destinations = Destinations::new(20, Arc::clone(&hosts));
        let mut places: Vec<_> = (0..5).map(|_| Place::take(&hosts, host).unwrap()).collect();
        let [a, b, other] = ["a.test", "b.test", "other.test"].map(name);
        assert!(destinations.put_behind(&a, host) && destinations.put_behind(&b, host));
        let rooms = destinations.rooms();
        assert_eq!([&a, &b, &other].map(|name| rooms.of(name)), [0, 0, 5]);
        assert_eq!(rooms.closed().count(), 2);
        places.truncate(3);
        let mut rooms = destinations.rooms();
        assert_eq!(rooms.of(&a), 2);
        rooms.take(&a, 1);
        assert_eq!([&a, &b, &other].map(|name| rooms.of(name)), [1, 1, 5]);
        rooms.take(&b, 1);
        assert_eq!(rooms.closed().count(), 2);
        // The host is forgotten, and with it who stands behind it.
        places.clear();
        assert_eq!(destinations.rooms().of(&a), 5);
        assert!(destinations.locked().is_empty());
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let hosts = Arc::new(Hosts::new(20));
        let host = HostAddress::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let destinations = Destinations::new(20, hosts);
        for number in 0..MOST_BEHIND {
            assert!(destinations.put_behind(&name(&format!("d{number}.test")), host));
        }
        assert!(!destinations.put_behind(&name("one-more.test"), host));
        assert!(destinations.put_behind(&name("d0.test"), host));
    }
}
