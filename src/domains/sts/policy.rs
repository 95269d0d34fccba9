//! The texts of MTA-STS: the TXT record and the policy (RFC 8461 §3.1, §3.2, §4.1).

use std::time::Duration;

use crate::base::encoding::hex;
use crate::crypto::hash::sha512;
use crate::mail::address::Domain;

/// Longest time that a policy is believed: a year, more or less (§3.2).
pub const MAX_AGE: Duration = Duration::from_secs(31_557_600);
/// Names that one policy may list.
pub const MAX_PATTERNS: usize = 256;
/// Of a digest in the id of a policy of ours; an id has 32 characters at most.
const ID_OCTETS: usize = 16;

/// Why a text is not a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not UTF-8, or a line without a colon.
    #[error("the policy is not lines of key and value")]
    Lines,
    /// The version is not `STSv1`.
    #[error("the policy's version is not STSv1")]
    Version,
    /// The mode is none of the three.
    #[error("the policy's mode is not enforce, testing or none")]
    Mode,
    /// The age is not a number of seconds.
    #[error("the policy's max_age is not a number of seconds")]
    MaxAge,
    /// A pattern is neither a host name nor one with `*.` before it, there is none, or there are too many.
    #[error("the policy's mx patterns are not host names")]
    Patterns,
}

/// What a domain says of the hosts that take its mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What follows from it.
    pub mode: Mode,
    /// How long it is to be believed; a year at most.
    pub max_age: Duration,
    /// The hosts.
    pub hosts: Vec<Pattern>,
}

/// What follows from a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Other hosts, and hosts without a verified certificate, get no mail.
    Enforce,
    /// Nothing changes; the domain tries things out.
    Testing,
    /// Nothing: the domain gives its policy up.
    None,
}

impl Mode {
    /// As the policy has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// A host, or all hosts one label below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    name: Domain,
    wildcard: bool,
}

/// As the policy has it.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

/// One host.
impl From<Domain> for Pattern {
    fn from(name: Domain) -> Self {
        Self {
            name,
            wildcard: false,
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or(Error::Patterns)
    }
}

/// The body of a policy file (§3.2), which [`Policy::parse`] reads.
impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "version: STSv1\r\nmode: {}\r\n", self.mode.name())?;
        for host in &self.hosts {
            write!(f, "mx: {host}\r\n")?;
        }
        write!(f, "max_age: {}\r\n", self.max_age.as_secs())
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = Domain::parse(name).ok()?;
        Some(Self { name, wildcard })
    }

    /// A wildcard stands for exactly one label (§4.1).
    fn matches(&self, host: &Domain) -> bool {
        match self.wildcard {
            false => *host == self.name,
            true => host
                .as_str()
                .split_once('.')
                .is_some_and(|(_, above)| above == self.name.as_str()),
        }
    }
}

impl Policy {
    /// What it takes in memory.
    pub(super) fn octets(&self) -> usize {
        let names: usize = self.hosts.iter().map(|host| host.name.as_str().len()).sum();
        size_of::<Self>() + size_of_val(self.hosts.as_slice()) + names
    }

    /// Reads the body of a policy file. Unknown keys are skipped, and of keys that may stand once the first counts.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let lines = lines(text)?;
        let first = |key| {
            lines
                .iter()
                .find(|(found, _)| *found == key)
                .map(|(_, value)| *value)
        };
        if first("version") != Some("STSv1") {
            return Err(Error::Version);
        }
        let mode = match first("mode") {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(Error::Mode),
        };
        let hosts = lines
            .iter()
            .filter(|(key, _)| *key == "mx")
            .map(|(_, value)| Pattern::parse(value));
        let hosts = hosts.collect::<Option<Vec<_>>>().ok_or(Error::Patterns)?;
        match hosts.len() {
            0 if mode != Mode::None => Err(Error::Patterns),
            0..=MAX_PATTERNS => Ok(Self {
                mode,
                max_age: first("max_age").and_then(max_age).ok_or(Error::MaxAge)?,
                hosts,
            }),
            _ => Err(Error::Patterns),
        }
    }

    /// The text of the TXT record at `_mta-sts` that announces the policy (§3.1). The id is made from the policy, so that it
    /// changes when, and only when, that does.
    pub fn announcement(&self) -> String {
        let digest = sha512(&[self.to_string().as_bytes()]);
        format!("v=STSv1; id={};", hex(&digest[..ID_OCTETS]))
    }

    /// Whether the policy lists the host.
    pub fn covers(&self, host: &Domain) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether mail may go to the host, as far as the policy is concerned.
    pub fn lets_through(&self, host: &Domain) -> bool {
        self.mode != Mode::Enforce || self.covers(host)
    }
}

fn lines(text: &[u8]) -> Result<Vec<(&str, &str)>, Error> {
    let text = std::str::from_utf8(text).map_err(|_| Error::Lines)?;
    let lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    let is_blank = |line: &&str| !line.trim_matches([' ', '\t']).is_empty();
    let pairs = lines.filter(is_blank).map(|line| {
        let (key, value) = line.split_once(':')?;
        Some((key, value.trim_matches([' ', '\t'])))
    });
    pairs.collect::<Option<Vec<_>>>().ok_or(Error::Lines)
}

/// Up to ten digits; more than a year is a year.
fn max_age(text: &str) -> Option<Duration> {
    let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let secs = text.parse().ok().filter(|_| is_number)?;
    Some(Duration::from_secs(secs).min(MAX_AGE))
}

/// The id in the TXT records at `_mta-sts`, if there is a policy: exactly one of them is of this version (§3.1).
pub fn announced(records: &[Vec<u8>]) -> Option<String> {
    let mut ours = records
        .iter()
        .filter_map(|record| std::str::from_utf8(record).ok())
        .filter(|text| is_ours(text));
    match (ours.next(), ours.next()) {
        (Some(text), None) => id(text),
        _ => None,
    }
}

fn is_ours(text: &str) -> bool {
    fields(text).next() == Some(("v", "STSv1")) && text.contains(';')
}

/// 1 to 32 letters and digits.
fn id(text: &str) -> Option<String> {
    let (_, id) = fields(text).find(|(key, _)| *key == "id")?;
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|field| field.trim_matches([' ', '\t']).split_once('='))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.plain.test\r\nmx: *.pool.plain.test\r\nmax_age: 604800\r\n";

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn a_policy_is_read_with_either_line_end_and_unknown_keys() {
        let expected = Policy {
            mode: Mode::Enforce,
            max_age: Duration::from_secs(604_800),
            hosts: vec![
                Pattern {
                    name: domain("mx.plain.test"),
                    wildcard: false,
                },
                Pattern {
                    name: domain("pool.plain.test"),
                    wildcard: true,
                },
            ],
        };
        for text in [
            POLICY.to_owned(),
            POLICY.replace("\r\n", "\n"),
            POLICY.trim_end().to_owned(),
            format!("{POLICY}later: maybe\r\nmode: none\r\nversion: STSv2\r\n"),
        ] {
            assert_eq!(Policy::parse(text.as_bytes()), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn neighbours_of_a_policy_are_refused() {
        for (from, to, error) in [
            ("STSv1", "STSv2", Error::Version),
            ("version: STSv1\r\n", "", Error::Version),
            ("enforce", "Enforce", Error::Mode),
            ("mode: enforce\r\n", "", Error::Mode),
            ("max_age: 604800", "max_age: -1", Error::MaxAge),
            ("max_age: 604800", "max_age: 12345678901", Error::MaxAge),
            ("max_age: 604800\r\n", "", Error::MaxAge),
            ("*.pool", "a.*.pool", Error::Patterns),
            (
                "mx: mx.plain.test\r\nmx: *.pool.plain.test\r\n",
                "",
                Error::Patterns,
            ),
            ("mode:", "mode", Error::Lines),
            ("enforce", "\u{fffd}", Error::Mode),
        ] {
            let text = POLICY.replace(from, to);
            assert_eq!(Policy::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(Policy::parse(b"version: STSv1\xff"), Err(Error::Lines));
        let many = POLICY.to_owned() + &"mx: a.test\r\n".repeat(MAX_PATTERNS);
        assert_eq!(Policy::parse(many.as_bytes()), Err(Error::Patterns));
    }

    #[test]
    fn a_policy_that_is_given_up_needs_no_hosts_and_a_year_is_the_most() {
        let none = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 9999999999\n").unwrap();
        assert_eq!((none.mode, none.max_age), (Mode::None, MAX_AGE));
        assert!(none.lets_through(&domain("anything.test")));
    }

    #[test]
    fn what_is_written_is_read_and_announced_under_an_id_of_its_own() {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        assert_eq!(policy.to_string(), POLICY);
        let id = |policy: &Policy| announced(&[policy.announcement().into_bytes()]).unwrap();
        assert_eq!((id(&policy).len(), id(&policy)), (32, id(&policy.clone())));
        let testing = Policy {
            mode: Mode::Testing,
            ..policy.clone()
        };
        assert_ne!(id(&policy), id(&testing));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        for (host, covered) in [
            ("mx.plain.test", true),
            ("MX.plain.TEST", true),
            ("a.pool.plain.test", true),
            ("a.b.pool.plain.test", false),
            ("pool.plain.test", false),
            ("mx2.plain.test", false),
            ("plain.test", false),
        ] {
            assert_eq!(policy.covers(&domain(host)), covered, "{host}");
        }
    }

    #[test]
    fn one_record_of_the_version_announces_a_policy() {
        let read = |records: &[&str]| {
            let records: Vec<Vec<u8>> = records.iter().map(|text| text.as_bytes().to_vec()).collect();
            announced(&records)
        };
        let id = || Some("20260101T000000".to_owned());
        assert_eq!(read(&["v=STSv1; id=20260101T000000;"]), id());
        assert_eq!(read(&["v=STSv1;id=20260101T000000"]), id());
        assert_eq!(
            read(&["v=spf1 -all", "v=STSv1; id=20260101T000000; more=x"]),
            id()
        );
        for none in [
            &["v=STSv1; id=1;", "v=STSv1; id=2;"][..],
            &["v=STSv2; id=1;"],
            &["id=1; v=STSv1;"],
            &["v=STSv1"],
            &["v=STSv1; id=;"],
            &["v=STSv1; id=a-b;"],
            &["v=STSv1; id=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;"],
            &[],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text: Vec<u8>) {
            let _ = Policy::parse(&text);
            let _ = announced(&[text]);
        }
    }
}
