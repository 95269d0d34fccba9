//! Networks of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits. IPv4 addresses that come mapped into IPv6 are IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a network like 192.0.2.0/24, whose bits beyond the length are 0")]
pub struct Error;

impl Network {
    /// The addresses that have so many leading bits in common with this one.
    pub fn around(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    /// The network of that length that an address is in.
    pub fn of(address: IpAddr, bits: u8) -> Self {
        let zeros = |width: u32| width.saturating_sub(u32::from(bits));
        let start = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(zeros(32)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(zeros(128)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self::around(start, bits)
    }

    /// The network that this one is part of, with so many leading bits; itself if it is no smaller.
    pub fn within(&self, ipv4_bits: u8, ipv6_bits: u8) -> Self {
        let bits = if self.is_ipv4() { ipv4_bits } else { ipv6_bits };
        Self::of(self.address, bits.min(self.bits))
    }

    /// Whether every address of its kind is in it.
    pub fn is_everything(&self) -> bool {
        self.bits == 0
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let common = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => (ours.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(ours), IpAddr::V6(other)) => (ours.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        common >= u32::from(self.bits)
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match self.bits <= other.bits {
            true => self.contains(other.address),
            false => other.contains(self.address),
        }
    }

    /// How many leading bits its addresses have in common.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether its addresses are of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether none of its addresses is one on the internet: those of RFC 1918, RFC 6598 and RFC 4193, of the link and of the
    /// host.
    pub fn is_private(&self) -> bool {
        let within = |(address, bits): (IpAddr, u8)| {
            bits <= self.bits && Self::around(address, bits).contains(self.address)
        };
        let v4 = |octets: [u8; 4], bits| (IpAddr::from(octets), bits);
        let v6 = |first: u16, bits| (IpAddr::from([first, 0, 0, 0, 0, 0, 0, 0]), bits);
        [
            v4([10, 0, 0, 0], 8),
            v4([172, 16, 0, 0], 12),
            v4([192, 168, 0, 0], 16),
            v4([100, 64, 0, 0], 10),
            v4([169, 254, 0, 0], 16),
            v4([127, 0, 0, 0], 8),
            v6(0xfc00, 7),
            v6(0xfe80, 10),
            (IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1]), 128),
        ]
        .into_iter()
        .any(within)
    }

    /// Whether all bits beyond the leading ones are 0.
    fn is_start(&self) -> bool {
        let zeros = match self.address {
            IpAddr::V4(v4) => 32 - v4.to_bits().trailing_zeros(),
            IpAddr::V6(v6) => 128 - v6.to_bits().trailing_zeros(),
        };
        zeros <= u32::from(self.bits)
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| Error)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) if bits.bytes().all(|digit| digit.is_ascii_digit()) => {
                bits.parse().map_err(|_| Error)?
            }
            Some(_) => return Err(Error),
        };
        let network = Self { address, bits };
        let is_network = bits <= longest && network.is_start() && address.to_canonical() == address;
        is_network.then_some(network).ok_or(Error)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_are_in_networks_that_begin_like_them() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "2001:db8::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn the_network_of_an_address_has_no_bits_beyond_its_length() {
        for (address, bits, network) in [
            ("192.0.2.77", 24, "192.0.2.0/24"),
            ("::ffff:192.0.2.77", 24, "192.0.2.0/24"),
            ("192.0.2.77", 0, "0.0.0.0/0"),
            ("192.0.2.77", 32, "192.0.2.77/32"),
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::/64"),
            ("2001:db8::1", 0, "::/0"),
            ("2001:db8::1", 128, "2001:db8::1/128"),
        ] {
            let of = Network::of(address.parse().unwrap(), bits);
            assert_eq!(of, network.parse().unwrap(), "{address}/{bits}");
        }
    }

    #[test]
    fn a_network_is_part_of_a_larger_one() {
        for (network, around) in [
            ("192.0.2.0/24", "192.0.0.0/16"),
            ("2001:db8:1:2::/64", "2001:db8:1::/48"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.within(16, 48), around.parse().unwrap());
        }
    }

    #[test]
    fn networks_overlap_if_one_is_in_the_other() {
        for (one, other, expected) in [
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/28", "192.0.2.16", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("::/0", "192.0.2.7", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            let [one, other]: [Network; 2] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(one.overlaps(&other), expected, "{one} {other}");
            assert_eq!(other.overlaps(&one), expected, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "/",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.1/24",
            "192.0.2.0/+8",
            "192.0.2/24",
            "::/129",
            "2001:db8::1/64",
            "::ffff:192.0.2.0/120",
            "localhost",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(Error), "{bad:?}");
        }
    }
}
