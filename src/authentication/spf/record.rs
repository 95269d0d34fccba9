//! SPF records as values (RFC 7208 §4.5, §5, §6, §12). Anything wrong anywhere makes the whole record unusable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Verdict;
use super::expand::DomainSpec;
use crate::base::network::Network;

/// Octets of a record that are read: more fits in no answer that DNS gives without TCP.
const MAX_RECORD: usize = 4096;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// In order.
    pub directives: Vec<Directive>,
    /// Whose record counts if none matches.
    pub redirect: Option<DomainSpec>,
}

/// A mechanism, and what it says when it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// What it says.
    pub verdict: Verdict,
    /// When.
    pub mechanism: Mechanism,
}

/// What matches; without a name it is about the domain itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Everything.
    All,
    /// What passes there.
    Include(DomainSpec),
    /// The addresses of a name.
    A(Option<DomainSpec>, Prefixes),
    /// The addresses of a domain's mail hosts.
    Mx(Option<DomainSpec>, Prefixes),
    /// The names of the client's address that are in a domain.
    Ptr(Option<DomainSpec>),
    /// A network.
    Ip(Network),
    /// Everything, if the name has an address.
    Exists(DomainSpec),
}

/// Leading bits that have to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// For IPv4.
    pub v4: u8,
    /// For IPv6.
    pub v6: u8,
}

impl Prefixes {
    /// The network of an address.
    pub fn around(self, address: IpAddr) -> Network {
        let bits = match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        };
        Network::around(address, bits)
    }
}

/// Whether a TXT record is one of SPF, right or wrong.
pub fn is_record(text: &[u8]) -> bool {
    let Some((version, rest)) = text.split_at_checked(b"v=spf1".len()) else {
        return false;
    };
    version.eq_ignore_ascii_case(b"v=spf1") && rest.first().is_none_or(|octet| *octet == b' ')
}

impl Record {
    /// Reads a record; `None` if anything in it is wrong.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if !is_record(text) || text.len() > MAX_RECORD || !text.is_ascii() {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut record = Self {
            directives: Vec::new(),
            redirect: None,
        };
        let mut seen_explanation = false;
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            match modifier(term) {
                Some(("redirect", value)) if record.redirect.is_none() => {
                    record.redirect = Some(DomainSpec::parse(value)?);
                }
                Some(("exp", value)) if !seen_explanation => {
                    DomainSpec::parse(value)?;
                    seen_explanation = true;
                }
                Some(("redirect" | "exp", _)) => return None,
                Some((_, value)) => is_macro_string(value).then_some(())?,
                None => record.directives.push(Directive::parse(term)?),
            }
        }
        Some(record)
    }
}

/// Name and value of `name=value`; names in lower case as far as they are known.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let mut chars = name.chars();
    let is_name = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let mut known = ["redirect", "exp"].into_iter();
    let known = known.find(|known| known.eq_ignore_ascii_case(name));
    is_name.then_some((known.unwrap_or(name), value))
}

/// An unknown modifier's value needs no top label, but its macros must be macros.
fn is_macro_string(value: &str) -> bool {
    value.is_empty() || DomainSpec::parse(&format!("{value}.x.org")).is_some()
}

impl Directive {
    fn parse(term: &str) -> Option<Self> {
        let (verdict, term) = match term.split_at_checked(1)? {
            ("+", rest) => (Verdict::Pass, rest),
            ("-", rest) => (Verdict::Fail, rest),
            ("~", rest) => (Verdict::SoftFail, rest),
            ("?", rest) => (Verdict::Neutral, rest),
            _ => (Verdict::Pass, term),
        };
        Some(Self {
            verdict,
            mechanism: Mechanism::parse(term)?,
        })
    }
}

impl Mechanism {
    fn parse(term: &str) -> Option<Self> {
        let end = term.find([':', '/']).unwrap_or(term.len());
        let (name, argument) = term.split_at(end);
        match name.to_ascii_lowercase().as_str() {
            "all" if argument.is_empty() => Some(Self::All),
            "include" => Some(Self::Include(DomainSpec::parse(argument.strip_prefix(':')?)?)),
            "exists" => Some(Self::Exists(DomainSpec::parse(argument.strip_prefix(':')?)?)),
            "a" => located(argument).map(|(name, prefixes)| Self::A(name, prefixes)),
            "mx" => located(argument).map(|(name, prefixes)| Self::Mx(name, prefixes)),
            "ptr" => match argument {
                "" => Some(Self::Ptr(None)),
                _ => DomainSpec::parse(argument.strip_prefix(':')?).map(|name| Self::Ptr(Some(name))),
            },
            "ip4" => network::<Ipv4Addr>(argument.strip_prefix(':')?, 32),
            "ip6" => network::<Ipv6Addr>(argument.strip_prefix(':')?, 128),
            _ => None,
        }
    }
}

/// `[:domain-spec][/prefix][//prefix]`. A slash that no number follows is part of the name.
fn located(argument: &str) -> Option<(Option<DomainSpec>, Prefixes)> {
    let is_number = |(_, digits): &(&str, &str)| digits.bytes().all(|octet| octet.is_ascii_digit());
    let (argument, v6) = match argument.rsplit_once("//").filter(is_number) {
        Some((rest, digits)) => (rest, prefix(digits, 128)?),
        None => (argument, 128),
    };
    let (name, v4) = match argument.rsplit_once('/').filter(is_number) {
        Some((rest, digits)) => (rest, prefix(digits, 32)?),
        None => (argument, 32),
    };
    let name = match name {
        "" => None,
        name => Some(DomainSpec::parse(name.strip_prefix(':')?)?),
    };
    Some((name, Prefixes { v4, v6 }))
}

fn network<A: std::str::FromStr + Into<IpAddr>>(argument: &str, most: u8) -> Option<Mechanism> {
    let (address, prefix) = match argument.split_once('/') {
        Some((address, digits)) => (address, prefix(digits, most)?),
        None => (argument, most),
    };
    let address = address.parse::<A>().ok()?.into();
    Some(Mechanism::Ip(Network::around(address, prefix)))
}

fn prefix(digits: &str, most: u8) -> Option<u8> {
    let plain = digits == "0" || !digits.starts_with('0');
    let digits = digits
        .bytes()
        .all(|octet| octet.is_ascii_digit())
        .then_some(digits)?;
    digits.parse().ok().filter(|prefix| plain && *prefix <= most)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_of_the_rfc_are_read() {
        for text in [
            "v=spf1",
            "V=SPF1 -ALL",
            "v=spf1 +mx a:colo.example.com/28 -all",
            "v=spf1  a  mx/24//64 ptr:example.org ~all ",
            "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all",
            "v=spf1 exists:%{ir}.%{l1r+-}._spf.%{d} -all",
            "v=spf1 a:%{l/}.example.org a:%{d}//64",
            "v=spf1 redirect=_spf.example.com exp=explain._spf.%{d}",
            "v=spf1 moo.cow-far_out=man:dog/cat -all",
            "v=spf1 unknown= include:_spf.example.com",
            "v=spf1 a:foo:bar/baz.example.com mx:foo//bar.example.com/24//64",
            "v=spf1 a:%{d}/24 a:%{l1r/}/0//0 mx//0",
            "v=spf1 a:macro%%percent%_%_space%-url-space.example.com -all",
            "v=spf1 all -all",
            "v=spf1 include:o.spf.example.com. ~all",
            "v=spf1 ip6:::ffff:192.0.2.1/128 ip4:0.0.0.0/0",
        ] {
            assert!(Record::parse(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn one_fault_anywhere_makes_a_record_unusable() {
        for text in [
            "v=spf1 a b",
            "v=spf1 -all:x",
            "v=spf1 --all",
            "v=spf1 include",
            "v=spf1 include:",
            "v=spf1 exists",
            "v=spf1 ip4:300.0.2.1",
            "v=spf1 ip4:192.0.2",
            "v=spf1 ip4:192.0.2.1/33",
            "v=spf1 ip4:192.0.2.1/",
            "v=spf1 ip4:192.0.2.1/08",
            "v=spf1 ip4:2001:db8::1",
            "v=spf1 ip6:192.0.2.1",
            "v=spf1 ip6:2001:db8::1/129",
            "v=spf1 a/33",
            "v=spf1 a//129",
            "v=spf1 a/24/64",
            "v=spf1 a:%{x}",
            "v=spf1 foo:bar",
            "v=spf1 redirect=a.test redirect=b.test",
            "v=spf1 redirect=",
            "v=spf1 exp=%{x}.test",
            "v=spf1 x=%{",
            "v=spf1 =x",
            "v=spf1\ta",
            "v=spf1 a/24//",
            "v=spf1 a//24/64",
            "v=spf1 a:/24",
            "v=spf1 a:museum.",
            "v=spf1 a:example.com:8080",
            "v=spf1 a:111.222.33.44",
            "v=spf1 mx:abc.123",
            "v=spf1 include:a.example.com/24",
            "v=spf1 ptr/0",
            "v=spf1 -all.",
            "v=spf1 ip4:192.0.2.1//32",
            "v=spf1 ip4:192.0.2.1:8080",
            "v=spf1 ip6:fe80::1%eth0",
            "v=spf1 ip6::CAFE::BABE",
            "v=spf1 ip6:[2001:db8::1]",
            "v=spf1 exists:%(ir).example.com",
            "v=spf1 moo.cow/far_out=man:dog/cat",
            "v=spf1 1up=foo",
            "v=spf1 exp=-all",
            "v=spf1 redirect:a.example.com",
            "v=spf1 a:foo.example.com\0",
            "v=spf10 a",
            "v=spf1 \u{e9}",
        ] {
            assert_eq!(Record::parse(text.as_bytes()), None, "{text}");
        }
        let long = format!("v=spf1 {}", "a ".repeat(3000));
        assert_eq!(Record::parse(long.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn no_record_makes_the_parser_panic(terms in "[-+~?a-z:=/%{}0-9._ \u{e9}]{0,60}") {
            let record = format!("v=spf1 {terms}");
            let _ = Record::parse(record.as_bytes());
        }
    }

    #[test]
    fn an_address_is_in_networks_of_its_family_only() {
        let is_in = |argument: &str, address: &str| match Mechanism::parse(argument).unwrap() {
            Mechanism::Ip(network) => network.contains(address.parse().unwrap()),
            other => panic!("{other:?}"),
        };
        assert!(is_in("ip4:192.0.2.0/24", "192.0.2.255"));
        assert!(!is_in("ip4:192.0.2.0/24", "192.0.3.0"));
        assert!(is_in("ip4:0.0.0.0/0", "192.0.3.0"));
        assert!(!is_in("ip6:::/0", "192.0.3.0"));
        assert!(!is_in("ip4:0.0.0.0/0", "2001:db8::1"));
        assert!(is_in("ip6:2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!is_in("ip6:2001:db8::1", "2001:db8::2"));
    }
}
