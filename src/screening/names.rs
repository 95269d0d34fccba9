//! What a host calls itself, what DNS calls it, and whose mail it says it brings.
//!
//! RFC 5321 §4.1.4 forbids to refuse a host because its name in EHLO does not lead to its address, and nothing here does: a name
//! is held to be one, to exist, and not to be ours, host or domain. An address literal says the address itself, and must be it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::time::timeout;

use super::{Action, PATIENCE};
use crate::authentication::iprev;
use crate::mail::address::{Domain, ReversePath};
use crate::net::dns::{Lookup, Resolver};

/// What follows from each fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// [`Fault::FalseHello`].
    pub false_hello: Action,
    /// [`Fault::UnknownHello`].
    pub unknown_hello: Action,
    /// [`Fault::UnknownSender`] and [`Fault::NullMxSender`].
    pub unknown_sender: Action,
    /// [`Fault::NoReverse`].
    pub no_reverse: Action,
    /// [`Fault::UnconfirmedReverse`].
    pub unconfirmed_reverse: Action,
}

/// What can be wrong with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The name in EHLO is none, is ours, or is another address than the host's.
    FalseHello,
    /// The name in EHLO has neither addresses nor mail hosts.
    UnknownHello,
    /// That could not be found out now.
    HelloUnanswered,
    /// The domain of the reverse-path has neither mail hosts nor addresses.
    UnknownSender,
    /// It says that it takes no mail (RFC 7505 §4.2).
    NullMxSender,
    /// That could not be found out now.
    SenderUnanswered,
    /// The address has no name.
    NoReverse,
    /// None of its names has the address.
    UnconfirmedReverse,
    /// That could not be found out now.
    ReverseUnanswered,
}

impl Fault {
    /// One word for logs and fields.
    pub fn word(self) -> &'static str {
        match self {
            Self::FalseHello => "hello_false",
            Self::UnknownHello => "hello_unknown",
            Self::HelloUnanswered => "hello_temperror",
            Self::UnknownSender => "sender_unknown",
            Self::NullMxSender => "sender_nullmx",
            Self::SenderUnanswered => "sender_temperror",
            Self::NoReverse => "reverse_missing",
            Self::UnconfirmedReverse => "reverse_unconfirmed",
            Self::ReverseUnanswered => "reverse_temperror",
        }
    }
}

/// What is said about names.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) faults: Vec<(Fault, Action)>,
    /// Of reverse DNS, if it was looked up.
    pub(super) reverse: Option<iprev::Verdict>,
}

impl Settings {
    /// Whether what reverse DNS says has consequences.
    pub(super) fn ask_for_reverse(&self) -> bool {
        self.no_reverse.max(self.unconfirmed_reverse) > Action::Off
    }

    /// Looks up what there is to be known. `reverse` finds out what reverse DNS says, if that is asked for.
    pub(super) async fn check(
        &self,
        resolver: &dyn Resolver,
        peer: IpAddr,
        hello: &str,
        own: &[Domain],
        reverse: impl Future<Output = Option<iprev::Verdict>>,
    ) -> Found {
        let (of_hello, reverse) = tokio::join!(self.check_hello(resolver, peer, hello, own), reverse);
        let of_reverse = reverse.and_then(|verdict| self.fault_of(verdict));
        let faults = of_hello.into_iter().chain(of_reverse);
        Found {
            faults: faults.filter(|(_, action)| *action > Action::Off).collect(),
            reverse,
        }
    }

    async fn check_hello(
        &self,
        resolver: &dyn Resolver,
        peer: IpAddr,
        hello: &str,
        own: &[Domain],
    ) -> Option<(Fault, Action)> {
        let name = match claim(hello, peer) {
            Claim::Name(name) if !own.contains(&name) => name,
            Claim::Literal => return None,
            _ => return Some((Fault::FalseHello, self.false_hello)),
        };
        if self.unknown_hello == Action::Off {
            return None;
        }
        let known = timeout(PATIENCE, exists(resolver, &name)).await;
        match known.ok().flatten() {
            Some(true) => None,
            Some(false) => Some((Fault::UnknownHello, self.unknown_hello)),
            None => Some((Fault::HelloUnanswered, self.unknown_hello.min(Action::Defer))),
        }
    }

    /// Whether a report could be sent to the reverse-path. Nobody is behind the null one.
    pub(super) async fn check_sender(
        &self,
        resolver: &dyn Resolver,
        path: &ReversePath,
    ) -> Option<(Fault, Action)> {
        let sender = path.0.as_ref().filter(|_| self.unknown_sender > Action::Off)?;
        let asking = timeout(PATIENCE, fault_of_sender(resolver, sender.domain()));
        let fault = asking.await.unwrap_or(Some(Fault::SenderUnanswered))?;
        let action = match fault {
            Fault::SenderUnanswered => self.unknown_sender.min(Action::Defer),
            _ => self.unknown_sender,
        };
        Some((fault, action))
    }

    /// A host without a name has none that leads back either.
    fn fault_of(&self, verdict: iprev::Verdict) -> Option<(Fault, Action)> {
        let either = self.no_reverse.max(self.unconfirmed_reverse);
        match verdict {
            iprev::Verdict::Pass => None,
            iprev::Verdict::Fail => Some((Fault::UnconfirmedReverse, self.unconfirmed_reverse)),
            iprev::Verdict::PermError => Some((Fault::NoReverse, either)),
            iprev::Verdict::TempError => Some((Fault::ReverseUnanswered, either.min(Action::Defer))),
        }
    }
}

/// The full name that a host gives in EHLO, if it does.
pub(super) fn claimed(hello: &str, peer: IpAddr) -> Option<Domain> {
    match claim(hello, peer) {
        Claim::Name(name) => Some(name),
        Claim::Literal | Claim::False => None,
    }
}

/// What the argument of EHLO is.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// A host's full name.
    Name(Domain),
    /// The host's own address.
    Literal,
    /// Nothing that a host may say (RFC 5321 §2.3.5, §4.1.3).
    False,
}

fn claim(hello: &str, peer: IpAddr) -> Claim {
    if let Some(literal) = hello.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match literal_address(literal) == Some(peer) {
            true => Claim::Literal,
            false => Claim::False,
        };
    }
    let name = hello.strip_suffix('.').unwrap_or(hello);
    match Domain::parse(name) {
        Ok(domain) if domain.as_str().contains('.') => Claim::Name(domain),
        _ => Claim::False,
    }
}

fn literal_address(literal: &str) -> Option<IpAddr> {
    match literal.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPv6:") => rest
            .parse::<Ipv6Addr>()
            .ok()
            .map(|v6| IpAddr::V6(v6).to_canonical()),
        _ => literal.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Whether a name has addresses or mail hosts; `None` if DNS does not answer.
async fn exists(resolver: &dyn Resolver, name: &Domain) -> Option<bool> {
    let (addresses, hosts) = tokio::join!(resolver.addresses(name), resolver.mx(name));
    match (addresses, hosts) {
        (Lookup::Found { .. }, _) | (_, Lookup::Found { .. }) => Some(true),
        (Lookup::Absent { .. }, Lookup::Absent { .. }) => Some(false),
        _ => None,
    }
}

async fn fault_of_sender(resolver: &dyn Resolver, domain: &Domain) -> Option<Fault> {
    match resolver.mx(domain).await {
        Lookup::Found { value, .. } => {
            let is_null = value.iter().all(|mx| mx.host.is_none());
            is_null.then_some(Fault::NullMxSender)
        }
        Lookup::Absent { .. } => match resolver.addresses(domain).await {
            Lookup::Found { .. } => None,
            Lookup::Absent { .. } => Some(Fault::UnknownSender),
            Lookup::Bogus | Lookup::Failed => Some(Fault::SenderUnanswered),
        },
        Lookup::Bogus | Lookup::Failed => Some(Fault::SenderUnanswered),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_host_says_its_full_name_or_its_own_address() {
        let claimed = |hello: &str, peer: &str| claim(hello, peer.parse().unwrap());
        let name = |text: &str| Claim::Name(text.parse().unwrap());
        for (hello, peer, expected) in [
            ("mx.plain.test", "192.0.2.1", name("mx.plain.test")),
            ("MX.Plain.Test.", "192.0.2.1", name("mx.plain.test")),
            ("[192.0.2.1]", "192.0.2.1", Claim::Literal),
            ("[192.0.2.2]", "192.0.2.1", Claim::False),
            ("[IPv6:2001:db8::1]", "2001:db8::1", Claim::Literal),
            ("[ipv6:2001:DB8:0:0::1]", "2001:db8::1", Claim::Literal),
            ("[IPv6:2001:db8::2]", "2001:db8::1", Claim::False),
            ("[2001:db8::1]", "2001:db8::1", Claim::False),
            ("192.0.2.1", "192.0.2.1", Claim::False),
            ("localhost", "192.0.2.1", Claim::False),
            ("a..b", "192.0.2.1", Claim::False),
            ("a_b.test", "192.0.2.1", Claim::False),
            ("[", "192.0.2.1", Claim::False),
            ("[]", "192.0.2.1", Claim::False),
            (".", "192.0.2.1", Claim::False),
        ] {
            assert_eq!(claimed(hello, peer), expected, "{hello} from {peer}");
        }
    }
}
