//! A bound on finding out who is here by asking for signets (`dmtp.md` §11 no. 6).
//!
//! Only questions that end in "no such signet" count: whoever asks for people who are here learns nothing new. A network
//! that has used up its share is refused before anything is looked up, so that the refusal tells nothing either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::base::allowance::{Allowance, Use};

/// Time in which a used-up share comes back.
const SPAN: Duration = Duration::from_secs(3600);

/// Counts unsuccessful questions by network.
#[derive(Debug)]
pub struct Enumeration(Allowance<IpAddr>);

impl Enumeration {
    /// So many unsuccessful questions within an hour.
    pub fn new(per_hour: u32) -> Self {
        Self(Allowance::new(per_hour, SPAN / per_hour.max(1)))
    }

    /// Leave for somebody at that address to ask for a user; to be given back if there is a signet.
    pub fn ask(&self, peer: IpAddr, now: Instant) -> Option<Use<IpAddr>> {
        self.0.take(network(peer), now)
    }
}

/// IPv4, also mapped: the /24; IPv6: the /48, which is what one site has.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_its_share_and_gets_it_back_over_the_hour() {
        let (limit, start) = (Enumeration::new(3), Instant::now());
        let missed = |peer: &str, secs: u64| limit.ask(ip(peer), start + Duration::from_secs(secs)).is_some();
        assert!((0..3).all(|_| missed("192.0.2.1", 0)));
        assert!(!missed("::ffff:192.0.2.200", 1199), "a neighbour");
        assert!(missed("198.51.100.1", 0));
        assert!(missed("192.0.2.1", 1200) && !missed("192.0.2.1", 1200));
    }

    #[test]
    fn whoever_is_here_can_be_asked_for_without_end() {
        let (limit, now) = (Enumeration::new(1), Instant::now());
        for _ in 0..10 {
            limit.ask(ip("192.0.2.1"), now).unwrap().give_back();
        }
    }

    #[test]
    fn a_site_of_ipv6_is_one_network() {
        assert_eq!(network(ip("2001:db8:1:2::3")), ip("2001:db8:1::"));
        assert_eq!(network(ip("2001:db8:2::")), ip("2001:db8:2::"));
    }
}
