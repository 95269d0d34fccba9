//! Lists in DNS of hosts and domains that are known for something (RFC 5782).
//!
//! An answer counts if it is in 127.0.0.0/8 and among those that the list's entry names: others come from a list that is no
//! more, or from a resolver that makes up answers. `127.255.255.*` is how operators of lists refuse questions, for instance of
//! public resolvers. A list that has whom none may have (RFC 5782 §5), or refuses, is left alone until it passes its test, which
//! [`Screening::test_lists`](super::Screening::test_lists) makes every so often. One that lacks whom all have keeps nobody out, and
//! is told of only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Action, PATIENCE};
use crate::base::observe;
use crate::mail::address::Domain;
use crate::net::dns::{Family, Lookup, Resolver};

/// How long a list is left alone that cannot be used, and one believed that can, unless it is tested before.
const JUDGED_FOR: Duration = Duration::from_secs(3600);

/// Octets of a list's reason that are passed on.
const MAX_REASON: usize = 160;

/// Time to say why.
const REASON_PATIENCE: Duration = Duration::from_secs(3);

/// What every list of addresses has, and none may have (RFC 5782 §5); in IPv6 mapped into it.
const ALWAYS_LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEVER_LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// The same of lists of domains, of which `test` is in all.
const NEVER_LISTED_DOMAIN: &str = "invalid";

/// Octets of a zone at most: the nibbles of an IPv6 address go before it.
pub const MAX_ZONE: usize = 253 - 64;

/// What a list is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The host's address.
    Address,
    /// The domain of the reverse-path.
    SenderDomain,
}

/// What follows from being listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The list knows nothing but good of those in it, and no other list or measure but rates counts.
    Allow,
    /// What is done.
    Act(Action),
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Below which names it is found. Some hold a secret of whoever may ask.
    pub zone: Domain,
    /// What others know it by.
    pub name: Domain,
    /// What is in it.
    pub of: Subject,
    /// Answers that count.
    pub answers: Vec<Answers>,
    /// What follows.
    pub verdict: Verdict,
}

/// IPv4 addresses by their octets, each a number or a range: `127.0.0.2-11`, `127.0.0-255.1-3`. Below 127 alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers([RangeInclusive<u8>; 4]);

/// Not a pattern of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of a list, which begins with 127, like 127.0.0.2, 127.0.0.2-11 or 127.0.0-255.1-3")]
pub struct NoAnswers;

impl Answers {
    /// Whatever says "listed" in some list. 127.0.0.1 and 127.255.255.* are errors in all that are known to us.
    pub fn usual() -> Self {
        Self([127..=127, 0..=0, 0..=254, 2..=254])
    }

    fn contain(&self, answer: Ipv4Addr) -> bool {
        let mut octets = self.0.iter().zip(answer.octets());
        octets.all(|(range, octet)| range.contains(&octet))
    }
}

impl FromStr for Answers {
    type Err = NoAnswers;

    fn from_str(text: &str) -> Result<Self, NoAnswers> {
        let ranges: Vec<_> = text.split('.').filter_map(range).collect();
        let count = text.split('.').count();
        let ranges = <[_; 4]>::try_from(ranges).map_err(|_| NoAnswers)?;
        match count == 4 && ranges[0] == (127..=127) {
            true => Ok(Self(ranges)),
            false => Err(NoAnswers),
        }
    }
}

fn range(text: &str) -> Option<RangeInclusive<u8>> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| text.parse::<u8>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let dot = if place > 0 { "." } else { "" };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{dot}{first}")?,
                (first, last) => write!(f, "{dot}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Which list, by the name that others know.
    pub name: Domain,
    /// Of whom.
    pub of: Subject,
    /// Its answer.
    pub answer: Ipv4Addr,
    /// What follows.
    pub verdict: Verdict,
    /// Why, in its words: printable ASCII, 160 octets at most. Asked for where somebody will read it.
    pub reason: Option<String>,
}

/// What the test of a list shows (RFC 5782 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tested {
    /// It has whom all have, and not whom none may have.
    Passed,
    /// It has whom none may have: it may have everybody.
    HasEverybody,
    /// It refuses to be asked.
    Refuses,
    /// It lacks whom all have: it may be no more.
    LacksTestEntry,
    /// It does not answer.
    Unanswered,
}

impl Tested {
    /// A sentence about a list, without its subject and end.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passes its test",
            Self::HasEverybody => "has whom no list may have, as if everybody were in it",
            Self::Refuses => "refuses questions",
            Self::LacksTestEntry => "lacks whom every list has, as if it were no more",
            Self::Unanswered => "does not answer",
        }
    }
}

/// Asks a list for whom all have, and for whom none may have.
pub async fn test(resolver: &dyn Resolver, list: &List) -> Tested {
    let (has, never): (Vec<String>, Vec<String>) = match list.of {
        Subject::Address => {
            let both = |v4: Ipv4Addr| vec![reversed(v4.into()), reversed(v4.to_ipv6_mapped().into())];
            (both(ALWAYS_LISTED), both(NEVER_LISTED))
        }
        Subject::SenderDomain => (vec!["test".into()], vec![NEVER_LISTED_DOMAIN.into()]),
    };
    let ask = |names: Vec<String>| {
        let names = names.into_iter().map(|name| format!("{name}.{}", list.zone));
        join_all(names.map(|name| async move { answers(resolver, &name).await }))
    };
    let (has, never) = tokio::join!(ask(has), ask(never));
    let answered = |answers: &[Option<Vec<Ipv4Addr>>]| answers.iter().any(Option::is_some);
    let all =
        |answers: Vec<Option<Vec<Ipv4Addr>>>| answers.into_iter().flatten().flatten().collect::<Vec<_>>();
    let is_answered = answered(&never) && answered(&has);
    let (has, never) = (all(has), all(never));
    match () {
        () if has.iter().chain(&never).any(refuses) => Tested::Refuses,
        () if !never.is_empty() => Tested::HasEverybody,
        () if !is_answered => Tested::Unanswered,
        () if has.is_empty() => Tested::LacksTestEntry,
        () => Tested::Passed,
    }
}

/// All lists, and which can be used.
pub(super) struct Lists(Vec<Kept>);

struct Kept {
    list: List,
    /// Whether it can be used, and when that was found out.
    usable: Mutex<Option<(Instant, bool)>>,
    /// What its last test showed.
    tested: Mutex<Option<Tested>>,
}

impl Lists {
    pub(super) fn new(lists: Vec<List>) -> Self {
        let kept = |list| Kept {
            list,
            usable: Mutex::default(),
            tested: Mutex::default(),
        };
        Self(lists.into_iter().map(kept).collect())
    }

    /// Lists that have a host.
    pub(super) async fn of_address(&self, resolver: &dyn Resolver, address: IpAddr) -> Vec<Listing> {
        let names = (reversed(address), reversed(never_listed(address)));
        self.asked(resolver, Subject::Address, &names.0, &names.1).await
    }

    /// Lists that have a domain.
    pub(super) async fn of_domain(&self, resolver: &dyn Resolver, domain: &Domain) -> Vec<Listing> {
        self.asked(
            resolver,
            Subject::SenderDomain,
            domain.as_str(),
            NEVER_LISTED_DOMAIN,
        )
        .await
    }

    /// Tests all of them.
    pub(super) async fn test(&self, resolver: &dyn Resolver) {
        join_all(self.0.iter().map(|kept| kept.test(resolver))).await;
    }

    /// `never` is what no list has. What is not answered in time is not listed.
    async fn asked(&self, resolver: &dyn Resolver, of: Subject, name: &str, never: &str) -> Vec<Listing> {
        let lists = self.0.iter().filter(|kept| kept.list.of == of);
        let answers = join_all(lists.map(|kept| kept.ask(resolver, name, never))).await;
        answers.into_iter().flatten().collect()
    }
}

impl Kept {
    async fn ask(&self, resolver: &dyn Resolver, name: &str, never: &str) -> Option<Listing> {
        if self.is_usable() == Some(false) {
            return None;
        }
        let zone = &self.list.zone;
        let name = format!("{name}.{zone}");
        let answers = answers(resolver, &name).await?;
        if answers.iter().any(refuses) {
            self.note(Tested::Refuses);
            return None;
        }
        let counts = |answer: &Ipv4Addr| self.list.answers.iter().any(|answers| answers.contain(*answer));
        let answer = answers.into_iter().find(counts)?;
        if self.is_usable().is_none()
            && let Some(listed) = self::answers(resolver, &format!("{never}.{zone}")).await
        {
            self.note(match listed.is_empty() {
                true => Tested::Passed,
                false => Tested::HasEverybody,
            });
        }
        if self.is_usable() == Some(false) {
            return None;
        }
        Some(Listing {
            name: self.list.name.clone(),
            of: self.list.of,
            answer,
            verdict: self.list.verdict,
            reason: match self.list.verdict {
                Verdict::Act(Action::Defer | Action::Reject) => reason(resolver, &name).await,
                _ => None,
            },
        })
    }

    fn is_usable(&self) -> Option<bool> {
        let usable = self.usable.lock().unwrap_or_else(PoisonError::into_inner);
        usable
            .filter(|(at, _)| at.elapsed() < JUDGED_FOR)
            .map(|(_, usable)| usable)
    }

    /// Every new result is told once.
    async fn test(&self, resolver: &dyn Resolver) {
        let tested = test(resolver, &self.list).await;
        self.note(tested);
        let before = self
            .tested
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(tested);
        let is_odd = matches!(tested, Tested::LacksTestEntry | Tested::Unanswered);
        if is_odd && before != Some(tested) {
            let words = tested.words();
            tracing::warn!(
                event = observe::SCREENING_LIST_ODD,
                list = %self.list.name,
                "a list in DNS {words}; it is asked all the same"
            );
        }
    }

    /// What is known of a list now. A change is told.
    fn note(&self, tested: Tested) {
        let usable = match tested {
            Tested::Passed | Tested::LacksTestEntry => true,
            Tested::HasEverybody | Tested::Refuses => false,
            Tested::Unanswered => return,
        };
        let mut kept = self.usable.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.replace((Instant::now(), usable)).map(|(_, usable)| usable);
        drop(kept);
        match (before, usable) {
            (Some(true) | None, false) => {
                let words = tested.words();
                tracing::warn!(
                    event = observe::SCREENING_LIST_UNUSABLE,
                    list = %self.list.name,
                    "a list in DNS {words}; it is left alone until it passes its test"
                );
            }
            (Some(false), true) => tracing::info!(
                event = observe::SCREENING_LIST_USED,
                list = %self.list.name,
                "a list in DNS passes its test, and is asked again"
            ),
            (Some(true) | None, true) | (Some(false), false) => {}
        }
    }
}

/// Answers below 127; `None` without a reply in time.
async fn answers(resolver: &dyn Resolver, name: &str) -> Option<Vec<Ipv4Addr>> {
    let value = match timeout(PATIENCE, resolver.addresses_at(name, Family::V4)).await {
        Ok(Lookup::Found { value, .. }) => value,
        Ok(Lookup::Absent { .. }) => Vec::new(),
        Ok(Lookup::Bogus | Lookup::Failed) | Err(_) => return None,
    };
    let of_list = |address: IpAddr| match address {
        IpAddr::V4(v4) => Some(v4).filter(|v4| v4.octets()[0] == 127),
        IpAddr::V6(_) => None,
    };
    Some(value.into_iter().filter_map(of_list).collect())
}

fn refuses(answer: &Ipv4Addr) -> bool {
    answer.octets()[..3] == [127, 255, 255]
}

async fn reason(resolver: &dyn Resolver, name: &str) -> Option<String> {
    let Ok(Lookup::Found { value, .. }) = timeout(REASON_PATIENCE, resolver.txt(name)).await else {
        return None;
    };
    let text = value.into_iter().next()?;
    let printable = |octet: u8| match octet {
        b' '..=b'~' => char::from(octet),
        _ => '?',
    };
    let text: String = text.into_iter().take(MAX_REASON).map(printable).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The labels under which lists have an address (RFC 5782 §2.1, §2.4).
fn reversed(address: IpAddr) -> String {
    let labels: Vec<String> = match address {
        IpAddr::V4(v4) => v4.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let nibbles = octets.iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    labels.join(".")
}

/// What no list of addresses of that kind has (RFC 5782 §5).
fn never_listed(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => NEVER_LISTED.into(),
        IpAddr::V6(_) => NEVER_LISTED.to_ipv6_mapped().into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_are_named_by_octets_and_ranges() {
        for (pattern, inside, outside) in [
            ("127.0.0.2", "127.0.0.2", "127.0.0.3"),
            ("127.0.0.2-11", "127.0.0.11", "127.0.0.12"),
            ("127.0.0-255.1-3", "127.0.9.2", "127.0.9.0"),
        ] {
            let answers: Answers = pattern.parse().unwrap();
            assert!(answers.contain(inside.parse().unwrap()), "{pattern} {inside}");
            assert!(!answers.contain(outside.parse().unwrap()), "{pattern} {outside}");
            assert_eq!(answers.to_string(), pattern);
        }
        for error in ["127.0.0.1", "127.255.255.254", "127.0.1.255", "127.1.0.2"] {
            assert!(!Answers::usual().contain(error.parse().unwrap()), "{error}");
        }
        assert!(Answers::usual().contain(Ipv4Addr::new(127, 0, 1, 2)));
    }

    #[test]
    fn what_names_no_answers_is_refused() {
        for bad in [
            "",
            "127.0.0",
            "127.0.0.2.3",
            "127.0.0.256",
            "127.0.0.5-2",
            "127.0.0.+2",
            "127.0.0.2-",
            "127.0.0.a",
            "128.0.0.2",
            "0-127.0.0.2",
            "127..0.2",
        ] {
            assert_eq!(bad.parse::<Answers>(), Err(NoAnswers), "{bad}");
        }
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        assert_eq!(reversed("192.0.2.99".parse().unwrap()), "99.2.0.192");
        assert_eq!(
            reversed("2001:db8:1:2:3:4:567:89ab".parse().unwrap()),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"
        );
        let never = reversed(never_listed("2001:db8::1".parse().unwrap()));
        assert_eq!(never, format!("1.0.0.0.0.0.f.7.f.f.f.f{}", ".0".repeat(20)));
    }
}
