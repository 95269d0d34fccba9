//! What a configuration may well say, and most do not mean.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::mta_sts::Publication;
use super::{Config, List, Schedule};
use crate::base::network::Network;
use crate::mail::address::{Domain, Mailbox};
use crate::net::service::Service;

/// Silence after which a node may be taken for dead should outlast what a server or a network hesitates now and then.
const LEAST_TAKEOVER_SECS: u64 = 20;

/// Something that can be meant, and is worth a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A policy is announced that only another web server can serve.
    PolicyNotServed,
    /// HTTP in the clear can be reached from elsewhere.
    HttpInTheOpen(SocketAddr),
    /// Everybody can watch over this host.
    OperationsInTheOpen(SocketAddr),
    /// The file of aliases has targets that are not for us to reach, or cannot be used at all.
    Aliases(String),
    /// Others could take mail out of the drop folder.
    DropFolder(String),
    /// Whoever connects may say whose connection it is.
    EverybodyIsProxy(Network),
    /// Mail goes to a filter in the clear, over a network.
    FilterInTheOpen(String),
    /// Nobody listens where a filter should be.
    FilterSilent(String, String),
    /// Mail that this host sends to itself by mistake is trusted.
    OursTrusted(Network, IpAddr),
    /// A proxy is among the hosts that may send without a login.
    ProxyTrusted(Network, Network),
    /// More hosts than one organization has may send without a login.
    WideNetwork(Network),
    /// Mail is taken for recipients of another host who may not exist.
    RelayUnverified(Domain),
    /// Mail is taken for nobody.
    RelayListEmpty(Domain),
    /// Waits between attempts cannot grow.
    RetriesShrink,
    /// A node may be taken for dead that is only slow.
    TakeoverTooSoon,
    /// One of `queue.schedules` does.
    ScheduleShrinks,
    /// Nobody is told of a delay before the mail comes back.
    DelayToldTooLate,
    /// A list is asked twice about the same.
    ListAskedTwice(Domain),
    /// A setting names somebody here who has neither account nor alias.
    NobodyThere(&'static str, Mailbox),
    /// Nothing could come back to a rewritten reverse-path.
    NoSrsDomain,
}

impl Warning {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PolicyNotServed => "mta_sts_not_served",
            Self::HttpInTheOpen(_) => "http_not_loopback",
            Self::OperationsInTheOpen(_) => "operations_not_loopback",
            Self::Aliases(_) => "aliases",
            Self::DropFolder(_) => "drop_folder",
            Self::EverybodyIsProxy(_) => "proxies_everybody",
            Self::FilterInTheOpen(_) => "filter_not_loopback",
            Self::FilterSilent(..) => "filter_silent",
            Self::OursTrusted(..) => "relay_network_ours",
            Self::ProxyTrusted(..) => "relay_network_proxy",
            Self::WideNetwork(_) => "relay_network_wide",
            Self::RelayUnverified(_) => "relay_unverified",
            Self::RelayListEmpty(_) => "relay_list_empty",
            Self::RetriesShrink => "queue_retry_max",
            Self::TakeoverTooSoon => "queue_takeover",
            Self::ScheduleShrinks => "queue_schedule_retry_max",
            Self::DelayToldTooLate => "queue_delay_warning",
            Self::ListAskedTwice(_) => "screening_list_twice",
            Self::NobodyThere(..) => "nobody_there",
            Self::NoSrsDomain => "forwarding_no_domain",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PolicyNotServed => f.write_str(
                "[mta_sts] has a policy, and without listen.http the daemon does not serve it: a web server must have a copy",
            ),
            Self::OperationsInTheOpen(address) => write!(
                f,
                "listen.operations has {address}, which others reach: whoever connects there sees the domains and the queue of this \
                 host; name an address of loopback, or let a firewall keep everybody out but those who watch over it"
            ),
            Self::HttpInTheOpen(address) => write!(
                f,
                "listen.http has {address}, which others reach: it speaks HTTP in the clear, for a web server on this host"
            ),
            Self::Aliases(text) | Self::DropFolder(text) => f.write_str(text),
            Self::EverybodyIsProxy(network) => write!(
                f,
                "listen.proxies has {network}, so whoever reaches listen.proxied may claim any client address: name the \
                 addresses of the proxies alone"
            ),
            Self::FilterInTheOpen(name) => write!(
                f,
                "the filter {name} is on another host: mail, envelopes and its password go there in the clear"
            ),
            Self::FilterSilent(name, why) => write!(
                f,
                "the filter {name} cannot be reached ({why}); until it can be, `unavailable` says what happens to mail"
            ),
            Self::OursTrusted(network, address) => write!(
                f,
                "relay.networks has {network}, in which {address} is this host: mail that it sends to itself by mistake would be \
                 taken for anybody; name the other hosts alone"
            ),
            Self::ProxyTrusted(network, proxies) => write!(
                f,
                "relay.networks has {network}, in which there are proxies of listen.proxies ({proxies}): what a proxy passes on to \
                 a port that is not in listen.proxied is taken from everybody for anybody"
            ),
            Self::WideNetwork(network) => write!(
                f,
                "relay.networks has {network}, which is more than one organization usually has: each of its hosts may send to \
                 anybody without a login"
            ),
            Self::RelayUnverified(domain) => write!(
                f,
                "NOBODY VERIFIES the recipients of {domain}: mail for made-up addresses is taken and reported to made-up senders \
                 (backscatter), for which other hosts block this one; `dimed domain recipients verify {domain} callout` asks \
                 its host"
            ),
            Self::RelayListEmpty(domain) => write!(
                f,
                "the list of recipients of {domain} is empty, so all mail for it is refused: `dimed domain recipients import` \
                 fills it"
            ),
            Self::RetriesShrink => f.write_str(
                "queue.retry_max_secs is less than queue.retry_first_secs, so that the wait between attempts never grows",
            ),
            Self::TakeoverTooSoon => write!(
                f,
                "queue.takeover_secs is less than {LEAST_TAKEOVER_SECS}: nodes that are only slow may be taken for dead, and lose \
                 what they had begun"
            ),
            Self::ScheduleShrinks => f.write_str(
                "queue.schedules has an entry whose longest wait is less than its first, so that the wait between attempts never \
                 grows",
            ),
            Self::DelayToldTooLate => f.write_str(
                "queue.delay_warning_secs is more than queue.lifetime_secs, so that mail comes back before anybody is told of \
                 a delay",
            ),
            Self::ListAskedTwice(name) => write!(
                f,
                "screening.lists asks {name} about the same twice: take one of the two out"
            ),
            Self::NobodyThere(setting, address) => write!(
                f,
                "{setting} names {address}, who has neither account nor alias here: add one, or name somebody else"
            ),
            Self::NoSrsDomain => f.write_str(
                "forwarding.srs is on, and forwarding.domain, or every domain here, is not served or takes no mail by SMTP: what \
                 aliases pass on keeps its reverse-path, and SPF fails elsewhere",
            ),
        }
    }
}

impl Config {
    /// What is worth a second look.
    pub fn warnings(&self) -> Vec<Warning> {
        let http = &self.listen.http;
        let unserved = self.mta_sts.mode != Publication::Off && http.is_empty();
        let open = http.iter().filter(|address| !address.ip().is_loopback());
        let open = open.map(|address| Warning::HttpInTheOpen(*address));
        let watched = self.listen.operations.iter();
        let watched = watched.filter(|address| !address.ip().is_loopback());
        let open = open.chain(watched.map(|address| Warning::OperationsInTheOpen(*address)));
        let proxies = self
            .listen
            .proxies
            .iter()
            .filter(|network| network.is_everything());
        let everybody = proxies.map(|network| Warning::EverybodyIsProxy(*network));
        let exposed = self
            .filtering
            .filters
            .iter()
            .filter(|filter| match &filter.address {
                Service::Tcp(address) => !address.ip().is_loopback(),
                Service::Unix(_) => false,
            });
        let exposed = exposed.map(|filter| Warning::FilterInTheOpen(filter.name.clone()));
        unserved
            .then_some(Warning::PolicyNotServed)
            .into_iter()
            .chain(open)
            .chain(everybody)
            .chain(exposed)
            .chain(self.trusts())
            .chain(self.relay.wide().map(Warning::WideNetwork))
            .chain(self.odd_times())
            .chain(asked_twice(&self.screening.lists).map(Warning::ListAskedTwice))
            .collect()
    }

    /// Hosts that are trusted and are no others. That programs of this host send through the loopback is meant.
    fn trusts(&self) -> impl Iterator<Item = Warning> {
        let (listen, networks) = (&self.listen, &self.relay.networks);
        let addresses = listen.smtp.iter().map(|address| address.ip().to_canonical());
        let ours: BTreeSet<IpAddr> = addresses.filter(|address| !address.is_loopback()).collect();
        let of_ours = ours.into_iter().flat_map(move |address| {
            let holding = networks.iter().filter(move |network| network.contains(address));
            holding.map(move |network| Warning::OursTrusted(*network, address))
        });
        let of_proxies = listen.proxies.iter().flat_map(move |proxies| {
            let shared = networks.iter().filter(move |network| network.overlaps(proxies));
            shared.map(move |network| Warning::ProxyTrusted(*network, *proxies))
        });
        of_ours.chain(of_proxies)
    }

    fn odd_times(&self) -> impl Iterator<Item = Warning> {
        let queue = &self.queue;
        let shrink = (queue.retry_max_secs < queue.retry_first_secs).then_some(Warning::RetriesShrink);
        let late =
            (queue.delay_warning_secs > queue.lifetime_secs.get()).then_some(Warning::DelayToldTooLate);
        let soon = (queue.takeover_secs.get() < LEAST_TAKEOVER_SECS).then_some(Warning::TakeoverTooSoon);
        let longest = |entry: &Schedule| entry.retry_max_secs.unwrap_or(queue.retry_max_secs);
        let first = |entry: &Schedule| entry.retry_first_secs.unwrap_or(queue.retry_first_secs);
        let shrinks = |entry: &Schedule| longest(entry) < first(entry);
        let odd = queue
            .schedules
            .iter()
            .any(shrinks)
            .then_some(Warning::ScheduleShrinks);
        shrink.into_iter().chain(late).chain(soon).chain(odd)
    }
}

/// Names of lists that one before asks as well. Answers of a list may well be told apart by several entries.
fn asked_twice(lists: &[List]) -> impl Iterator<Item = Domain> {
    let again = lists.iter().enumerate().filter(move |(index, list)| {
        let mut before = lists.iter().take(*index);
        before.any(|before| ask_the_same(before, list))
    });
    again.map(|(_, list)| list.name.clone())
}

fn ask_the_same(one: &List, other: &List) -> bool {
    one.zone == other.zone
        && one.of == other.of
        && one.answers.iter().any(|answers| other.answers.contains(answers))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        let text = format!("[server]\nhostname = \"mx.example\"\n{text}");
        let config = Config::parse(&text, Path::new("x")).unwrap();
        config.warnings().iter().map(Warning::code).collect()
    }

    #[test]
    fn what_is_worth_a_second_look_is_told() {
        for (text, expected) in [
            ("", &[][..]),
            ("[mta_sts]\nmode = \"testing\"\n", &["mta_sts_not_served"]),
            (
                "[mta_sts]\nmode = \"testing\"\n[listen]\nhttp = [\"127.0.0.1:80\", \"[::1]:80\"]\n",
                &[],
            ),
            (
                "[listen]\nhttp = [\"[::1]:80\", \"192.0.2.1:80\"]\n",
                &["http_not_loopback"],
            ),
            ("[listen]\nhttp = [\"0.0.0.0:80\"]\n", &["http_not_loopback"]),
            ("[listen]\noperations = [\"[::1]:80\"]\n", &[]),
            (
                "[listen]\noperations = [\"192.0.2.1:80\"]\n",
                &["operations_not_loopback"],
            ),
            (
                "[listen]\nsmtp = [\"0.0.0.0:25\"]\nproxied = [\"0.0.0.0:25\"]\nproxies = [\"0.0.0.0/0\", \"::1\"]\n",
                &["proxies_everybody"],
            ),
            (
                "[[filtering.filters]]\nname = \"a\"\nprotocol = \"milter\"\naddress = \"192.0.2.1:80\"\n",
                &["filter_not_loopback"],
            ),
            (
                "[[filtering.filters]]\nname = \"a\"\nprotocol = \"milter\"\naddress = \"unix:/run/a\"\n",
                &[],
            ),
            (
                "[listen]\nsmtp = [\"192.0.2.1:0\"]\ndmtp = [\"192.0.2.1:0\"]\n",
                &[],
            ),
            (
                "[listen]\nsmtp = [\"192.0.2.1:25\", \"192.0.2.1:2525\"]\n[relay]\nnetworks = [\"192.0.2.0/24\"]\n",
                &["relay_network_ours"],
            ),
            (
                "[listen]\nsmtp = [\"127.0.0.1:25\", \"[::]:25\"]\n[relay]\nnetworks = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\n",
                &[],
            ),
            (
                "[listen]\nsmtp = [\"[::]:25\"]\nproxied = [\"[::]:25\"]\nproxies = [\"192.0.2.0/28\"]\n\
                 [relay]\nnetworks = [\"192.0.2.7\", \"192.0.2.16\"]\n",
                &["relay_network_proxy"],
            ),
            ("[queue]\nretry_max_secs = 299\n", &["queue_retry_max"]),
            ("[queue]\ntakeover_secs = 19\n", &["queue_takeover"]),
            ("[queue]\ntakeover_secs = 20\n", &[]),
            ("[queue]\nretry_max_secs = 300\n", &[]),
            (
                "[[queue.schedules]]\ndomains = [\"*\"]\nretry_max_secs = 299\n",
                &["queue_schedule_retry_max"],
            ),
            (
                "[[queue.schedules]]\ndomains = [\"*\"]\nretry_first_secs = 14400\n",
                &[],
            ),
            ("[queue]\nlifetime_secs = 14399\n", &["queue_delay_warning"]),
            ("[queue]\nlifetime_secs = 60\ndelay_warning_secs = 0\n", &[]),
            (
                "[screening]\nlists = [{ zone = \"a.test\", action = \"mark\" }, { zone = \"A.test\", action = \"reject\" }]\n",
                &["screening_list_twice"],
            ),
            (
                "[screening]\nlists = [{ zone = \"a.test\", answers = [\"127.0.0.2\"], action = \"mark\" }, \
                 { zone = \"a.test\", answers = [\"127.0.0.3\"], action = \"reject\" }]\n",
                &[],
            ),
        ] {
            assert_eq!(codes(text), expected, "{text}");
        }
    }
}
