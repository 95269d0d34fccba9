//! `[relay]`: for whom mail goes on that is neither from nor for users of ours, and `[forwarding]`: how aliases pass it on.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use super::sections::{optional_text, texts};
use crate::authentication::srs;
use crate::base::network::Network;
use crate::mail::address::Domain;

/// `[relay]`: hosts that need not log in, and domains whose mail we take for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relay {
    /// Networks whose hosts send to anybody without a login, on the ports for other hosts. Default none.
    #[serde(with = "texts")]
    pub networks: Vec<Network>,
    /// Messages that one of these networks may send within an hour; 0 for no limit. Default 10000.
    pub messages_per_hour: u32,
    /// Recipients to whom one of them may send within an hour; 0 for no limit. Default 100000.
    pub recipients_per_hour: u32,
    /// Age at which mail for a relay domain is returned. Seconds, default 864000 (10 days).
    pub lifetime_secs: NonZeroU64,
    /// How long the next host's word that a recipient exists counts before it is asked again. Seconds, default 86400.
    pub callout_refresh_secs: NonZeroU64,
    /// How long it counts while the host cannot be asked. Seconds, default 2678400 (31 days).
    pub callout_keep_secs: NonZeroU64,
    /// How long its word that there is no such recipient counts. Seconds, default 3600.
    pub callout_refused_secs: NonZeroU64,
    /// Longest time for one question. Seconds, default 20.
    pub callout_timeout_secs: NonZeroU64,
    /// What becomes of mail for a recipient of whom nothing is known while the host cannot be reached. Default `defer`.
    pub when_unreachable: WhenUnreachable,
}

impl Default for Relay {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            networks: Vec::new(),
            messages_per_hour: 10_000,
            recipients_per_hour: 100_000,
            lifetime_secs: const { NonZeroU64::new(10 * DAY).unwrap() },
            callout_refresh_secs: const { NonZeroU64::new(DAY).unwrap() },
            callout_keep_secs: const { NonZeroU64::new(31 * DAY).unwrap() },
            callout_refused_secs: const { NonZeroU64::new(3600).unwrap() },
            callout_timeout_secs: const { NonZeroU64::new(20).unwrap() },
            when_unreachable: WhenUnreachable::Defer,
        }
    }
}

/// What becomes of mail for recipients that cannot be verified now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUnreachable {
    /// The sender keeps it and tries again.
    Defer,
    /// It is taken, and comes back if there is no such recipient.
    Accept,
}

impl Relay {
    /// Whoever is on the internet is not to send as one of us.
    pub(super) fn check(&self) -> Result<(), Error> {
        let too_wide = self.networks.iter().find(|network| match network.is_ipv4() {
            _ if network.is_private() => false,
            true => network.bits() < 8,
            false => network.bits() < 16,
        });
        too_wide.map_or(Ok(()), |network| Err(Error::OpenRelay(*network)))
    }

    /// Networks that are larger than what one organization usually has.
    pub(super) fn wide(&self) -> impl Iterator<Item = Network> {
        let is_wide = |network: &Network| match network.is_ipv4() {
            _ if network.is_private() => false,
            true => network.bits() < 24,
            false => network.bits() < 48,
        };
        self.networks.iter().copied().filter(is_wide)
    }

    /// How long mail for relay domains is tried.
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_secs.get())
    }
}

/// `[forwarding]`: how mail goes on that an alias leads to another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forwarding {
    /// Whether its reverse-path is rewritten to one of ours (SRS), because SPF of the sender's domain does not name this host.
    /// Default `true`.
    pub srs: bool,
    /// The domain of such reverse-paths: one that is served here, and takes mail by SMTP. Default: the one that the host name
    /// is in, or else the first that will do.
    #[serde(with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            srs: true,
            domain: None,
        }
    }
}

impl From<&super::Config> for srs::Settings {
    fn from(config: &super::Config) -> Self {
        Self {
            rewrites: config.forwarding.srs,
            domain: config.forwarding.domain.clone(),
            host: config.server.hostname.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crate::config::{Config, Warning};

    fn read(networks: &str) -> Result<Config, String> {
        let text = format!("[server]\nhostname = \"mx.example\"\n[relay]\nnetworks = [{networks}]\n");
        Config::parse(&text, Path::new("x")).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_becomes_an_open_relay_by_a_network() {
        for wide in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "8.0.0.0/7",
            "::/0",
            "2000::/3",
            "2000::/15",
        ] {
            let refused = read(&format!("\"192.0.2.1\", \"{wide}\"")).unwrap_err();
            assert!(
                refused.starts_with(&format!("relay.networks has {wide}, ")),
                "{refused}"
            );
        }
        for mistaken in ["192.0.2.1/24", "::ffff:192.0.2.0/120", "localhost"] {
            assert!(read(&format!("\"{mistaken}\"")).is_err(), "{mistaken}");
        }
    }

    #[test]
    fn wide_networks_of_the_internet_are_worth_a_second_look() {
        for (network, warns) in [
            ("192.0.2.0/24", false),
            ("192.0.2.0/23", true),
            ("2001:db8::/48", false),
            ("2001:db8::/32", true),
            ("10.0.0.0/8", false),
            ("127.0.0.0/8", false),
            ("fc00::/7", false),
            ("fe80::/10", false),
            ("172.16.0.0/12", false),
            ("172.0.0.0/11", true),
        ] {
            let config = read(&format!("\"{network}\"")).unwrap();
            let expected: Vec<Warning> = warns
                .then(|| Warning::WideNetwork(network.parse().unwrap()))
                .into_iter()
                .collect();
            assert_eq!(config.warnings(), expected, "{network}");
        }
    }
}
