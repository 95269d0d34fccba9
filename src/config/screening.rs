//! `[screening]`: what hosts are measured by that bring mail by SMTP.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sections::{optional_text, text, texts};
use super::{Config, Error};
use crate::base::network::Network;
use crate::mail::address::Domain;
use crate::screening::lists::{self, Answers, MAX_ZONE};
use crate::screening::names;
use crate::screening::{self, Action, RateSettings};
use crate::store::GreylistTerms;

const HOUR: u64 = 3600;

/// `[screening]`: what hosts are measured by that bring mail by SMTP, when they name a recipient. Everything is off by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Screening {
    /// Networks of hosts that are not measured, for instance of our secondary mail hosts. Default none; this machine never is.
    #[serde(with = "texts")]
    pub exempt: Vec<Network>,
    /// Leading bits that make a network of an IPv4 address, for greylisting and rates. Default 24.
    pub ipv4_bits: u8,
    /// The same of an IPv6 address. Default 64.
    pub ipv6_bits: u8,
    /// What follows when EHLO has no full host name, ours, a domain of ours, or an address that is not the host's. Default `off`.
    pub false_hello: Consequence,
    /// What follows when the name in EHLO has neither addresses nor mail hosts. Default `off`.
    pub unknown_hello: Consequence,
    /// What follows when the domain in MAIL FROM has neither mail hosts nor addresses, or says that it takes no mail.
    /// Default `off`.
    pub unknown_sender: Consequence,
    /// What follows when the address has no name in DNS. Default `off`.
    pub no_reverse: Consequence,
    /// What follows when it has none whose addresses it is among. Default `off`.
    pub unconfirmed_reverse: Consequence,
    /// Lists in DNS. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<List>,
    /// Whether who comes for the first time is asked to come again. Default `false`.
    pub greylist: bool,
    /// How long they have to wait. Seconds, default 300.
    pub greylist_wait_secs: NonZeroU64,
    /// How soon they must have come again. Hours, default 48.
    pub greylist_retry_hours: NonZeroU16,
    /// How long they are known after their last message. Days, default 36.
    pub greylist_days: NonZeroU16,
    /// After how many that have come again a whole network has no more to wait; 0 for never. Default 5.
    pub greylist_network_after: u32,
    /// Whether senders whom SPF lets send from where they do need not come again. Default `false`.
    pub greylist_passes_spf: bool,
    /// Connections to `listen.smtp` that one network may open within a minute; 0 for no limit. Default 0.
    pub network_connections_per_minute: u32,
    /// Messages that one network may bring within an hour; 0 for no limit. Default 0.
    pub network_messages_per_hour: u32,
    /// The same of recipients. Default 0.
    pub network_recipients_per_hour: u32,
    /// Messages that may come within an hour from one domain whose SPF they pass; 0 for no limit. Default 0.
    pub domain_messages_per_hour: u32,
    /// The same of recipients. Default 0.
    pub domain_recipients_per_hour: u32,
}

impl Default for Screening {
    fn default() -> Self {
        Self {
            exempt: Vec::new(),
            ipv4_bits: 24,
            ipv6_bits: 64,
            false_hello: Consequence::Off,
            unknown_hello: Consequence::Off,
            unknown_sender: Consequence::Off,
            no_reverse: Consequence::Off,
            unconfirmed_reverse: Consequence::Off,
            lists: Vec::new(),
            greylist: false,
            greylist_wait_secs: const { NonZeroU64::new(300).unwrap() },
            greylist_retry_hours: const { NonZeroU16::new(48).unwrap() },
            greylist_days: const { NonZeroU16::new(36).unwrap() },
            greylist_network_after: 5,
            greylist_passes_spf: false,
            network_connections_per_minute: 0,
            network_messages_per_hour: 0,
            network_recipients_per_hour: 0,
            domain_messages_per_hour: 0,
            domain_recipients_per_hour: 0,
        }
    }
}

/// What follows from something that speaks against a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consequence {
    /// It is not looked for.
    #[default]
    Off,
    /// A field of the message says it.
    Mark,
    /// The message is put off.
    Defer,
    /// The message is refused; put off where DNS does not answer.
    Reject,
}

impl From<Consequence> for Action {
    fn from(consequence: Consequence) -> Self {
        match consequence {
            Consequence::Off => Self::Off,
            Consequence::Mark => Self::Mark,
            Consequence::Defer => Self::Defer,
            Consequence::Reject => Self::Reject,
        }
    }
}

/// A list in DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawList")]
pub struct List {
    /// Below which name it is found.
    #[serde(with = "text")]
    pub zone: Domain,
    /// What replies, fields and the log call it. Default: the zone, which must not hold a key then.
    #[serde(with = "text")]
    pub name: Domain,
    /// What is in it. Default `address`.
    pub of: Listed,
    /// Answers that count. Default `127.0.0-254.2-254`.
    #[serde(with = "texts")]
    pub answers: Vec<Answers>,
    /// What follows.
    pub action: ListAction,
}

/// What a list is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listed {
    /// The host's address.
    #[default]
    Address,
    /// The domain of the reverse-path.
    SenderDomain,
}

/// What follows from being listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListAction {
    /// The host is measured by its rate alone.
    Allow,
    /// A field of the message says it.
    Mark,
    /// The message is put off.
    Defer,
    /// The message is refused.
    Reject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    #[serde(with = "text")]
    zone: Domain,
    #[serde(default, with = "optional_text")]
    name: Option<Domain>,
    #[serde(default)]
    of: Listed,
    #[serde(default = "usual_answers", with = "texts")]
    answers: Vec<Answers>,
    action: ListAction,
}

fn usual_answers() -> Vec<Answers> {
    vec![Answers::usual()]
}

impl TryFrom<RawList> for List {
    type Error = &'static str;

    fn try_from(raw: RawList) -> Result<Self, Self::Error> {
        if raw.of == Listed::SenderDomain && raw.action == ListAction::Allow {
            return Err("anybody can name a domain: a list of senders' domains cannot `allow`");
        }
        if raw.answers.is_empty() {
            return Err("a list whose `answers` are none has nobody: leave `answers` out, or the list");
        }
        if raw.zone.as_str().len() > MAX_ZONE {
            return Err("`zone` is so long that no IPv6 address fits before it");
        }
        Ok(Self {
            name: raw.name.unwrap_or_else(|| raw.zone.clone()),
            zone: raw.zone,
            of: raw.of,
            answers: raw.answers,
            action: raw.action,
        })
    }
}

impl From<&List> for lists::List {
    fn from(list: &List) -> Self {
        Self {
            zone: list.zone.clone(),
            name: list.name.clone(),
            of: match list.of {
                Listed::Address => lists::Subject::Address,
                Listed::SenderDomain => lists::Subject::SenderDomain,
            },
            answers: list.answers.clone(),
            verdict: match list.action {
                ListAction::Allow => lists::Verdict::Allow,
                ListAction::Mark => lists::Verdict::Act(Action::Mark),
                ListAction::Defer => lists::Verdict::Act(Action::Defer),
                ListAction::Reject => lists::Verdict::Act(Action::Reject),
            },
        }
    }
}

impl Screening {
    /// Errors: [`Error::NoNetwork`], [`Error::GreylistedForever`].
    pub(super) fn check(&self) -> Result<(), Error> {
        for (key, bits, most) in [
            ("ipv4_bits", self.ipv4_bits, 32),
            ("ipv6_bits", self.ipv6_bits, 128),
        ] {
            if !(1..=most).contains(&bits) {
                return Err(Error::NoNetwork { key, most });
            }
        }
        let terms = self.greylist_terms();
        match terms.wait < terms.retry_within {
            true => Ok(()),
            false => Err(Error::GreylistedForever),
        }
    }

    fn greylist_terms(&self) -> GreylistTerms {
        GreylistTerms {
            wait: Duration::from_secs(self.greylist_wait_secs.get()),
            retry_within: Duration::from_secs(HOUR * u64::from(self.greylist_retry_hours.get())),
            proven_for: Duration::from_secs(24 * HOUR * u64::from(self.greylist_days.get())),
            network_after: self.greylist_network_after,
        }
    }
}

impl Config {
    /// How hosts are measured.
    pub fn screening(&self) -> screening::Settings {
        let screening = &self.screening;
        screening::Settings {
            own_names: vec![self.server.hostname.clone(), self.helo().clone()],
            exempt: screening.exempt.clone(),
            ipv4_bits: screening.ipv4_bits,
            ipv6_bits: screening.ipv6_bits,
            names: names::Settings {
                false_hello: screening.false_hello.into(),
                unknown_hello: screening.unknown_hello.into(),
                unknown_sender: screening.unknown_sender.into(),
                no_reverse: screening.no_reverse.into(),
                unconfirmed_reverse: screening.unconfirmed_reverse.into(),
            },
            lists: screening.lists.iter().map(Into::into).collect(),
            greylist: screening.greylist.then(|| screening.greylist_terms()),
            greylist_passes_spf: screening.greylist_passes_spf,
            rates: RateSettings {
                connections_per_minute: screening.network_connections_per_minute,
                network_messages_per_hour: screening.network_messages_per_hour,
                network_recipients_per_hour: screening.network_recipients_per_hour,
                domain_messages_per_hour: screening.domain_messages_per_hour,
                domain_recipients_per_hour: screening.domain_recipients_per_hour,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Screening, String> {
        let text = format!("[server]\nhostname = \"mx.example\"\n[screening]\n{text}");
        let read = Config::parse(&text, Path::new("x"));
        read.map(|config| config.screening)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_asked_about_addresses_and_counts_what_lists_usually_say() {
        let lists = "lists = [{ zone = \"BL.example\", action = \"reject\" }]\n";
        let list = List {
            zone: "bl.example".parse().unwrap(),
            name: "bl.example".parse().unwrap(),
            of: Listed::Address,
            answers: vec!["127.0.0-254.2-254".parse().unwrap()],
            action: ListAction::Reject,
        };
        assert_eq!(read(lists).unwrap().lists, [list]);
        assert_eq!(read("").unwrap(), Screening::default());
    }

    #[test]
    fn what_could_not_work_is_refused() {
        let list = |more: &str| format!("lists = [{{ {more} }}]\n");
        for (text, why) in [
            (
                list("zone = \"no name\", action = \"reject\""),
                "`no name` is not a domain name",
            ),
            (
                list("zone = \"bl.example\", action = \"drop\""),
                "`screening.lists` is \"drop\", and must be ",
            ),
            (
                list("zone = \"bl.example\""),
                "`screening.lists.action` is missing",
            ),
            (
                list("zone = \"bl.example\", action = \"mark\", answers = [\"10.0.0.2\"]"),
                "`10.0.0.2`: not an answer of a list",
            ),
            (
                list("zone = \"bl.example\", action = \"mark\", answers = []"),
                "has nobody",
            ),
            (
                list("zone = \"dbl.example\", action = \"allow\", of = \"sender-domain\""),
                "anybody can name a domain",
            ),
            (
                list(&format!(
                    "zone = \"{}e\", action = \"mark\"",
                    "abcdefgh.".repeat(21)
                )),
                "so long that no IPv6 address fits",
            ),
            ("ipv4_bits = 33\n".into(), "screening.ipv4_bits is from 1 to 32"),
            ("ipv6_bits = 0\n".into(), "screening.ipv6_bits is from 1 to 128"),
            (
                "greylist_wait_secs = 3600\ngreylist_retry_hours = 1\n".into(),
                "nobody could come again in time",
            ),
            (
                "false_hello = \"yes\"\n".into(),
                "`screening.false_hello` is \"yes\", and must be ",
            ),
            (
                "exempt = [\"192.0.2.1/24\"]\n".into(),
                "not an address or a network",
            ),
        ] {
            let refused = read(&text).unwrap_err();
            assert!(refused.contains(why), "{text}{refused}");
        }
    }
}
