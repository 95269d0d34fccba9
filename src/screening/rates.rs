//! How much one network, or one sender's domain, may bring.
//!
//! A domain's share is used by those messages alone that SPF lets the host send: anybody else could use it up in the domain's
//! name. What others bring counts for their network.

use std::time::{Duration, Instant};

use super::{Error, Why, for_now};
use crate::base::allowance::{Allowance, Reserved};
use crate::base::network::Network;
use crate::mail::address::Domain;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// So much; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Connections of one network within a minute.
    pub connections_per_minute: u32,
    /// Messages of one network within an hour.
    pub network_messages_per_hour: u32,
    /// Recipients of messages of one network within an hour.
    pub network_recipients_per_hour: u32,
    /// Messages of one domain within an hour.
    pub domain_messages_per_hour: u32,
    /// Recipients of messages of one domain within an hour.
    pub domain_recipients_per_hour: u32,
}

/// What everybody has used.
pub struct Rates {
    connections: Option<Allowance<Network>>,
    network: [Option<Allowance<Network>>; 2],
    domain: [Option<Allowance<Domain>>; 2],
}

/// What a message uses of the shares. It comes back unless the message is taken.
#[derive(Debug, Default)]
pub(super) struct Used {
    network: Reserved<Network>,
    domain: Reserved<Domain>,
    /// The message itself has been counted, and not only its recipients.
    is_begun: bool,
}

impl Used {
    pub(super) fn spend(self) {
        self.network.spend();
        self.domain.spend();
    }
}

impl Rates {
    pub(super) fn new(settings: &Settings) -> Self {
        let hourly = |most| Allowance::within(HOUR, most);
        Self {
            connections: Allowance::within(MINUTE, settings.connections_per_minute),
            network: [
                hourly(settings.network_messages_per_hour),
                hourly(settings.network_recipients_per_hour),
            ],
            domain: [
                Allowance::within(HOUR, settings.domain_messages_per_hour),
                Allowance::within(HOUR, settings.domain_recipients_per_hour),
            ],
        }
    }

    /// Whether a network may have another connection.
    pub(super) fn connect(&self, network: Network, now: Instant) -> bool {
        let connections = self.connections.as_ref();
        connections.is_none_or(|connections| connections.take(network, now).is_some())
    }

    /// Whether domains are limited.
    pub(super) fn count_domains(&self) -> bool {
        self.domain.iter().any(Option::is_some)
    }

    /// One more recipient of a message; with the first, the message. `domain` is one that is proven.
    pub(super) fn recipient(
        &self,
        used: &mut Used,
        network: Network,
        domain: Option<&Domain>,
        now: Instant,
    ) -> Result<(), Error> {
        let due = if used.is_begun { 1 } else { 0 };
        for share in &self.network[due..] {
            if !used.network.take(share.as_ref(), network, now) {
                return Err(for_now(Why::NetworkRate));
            }
        }
        for share in &self.domain[due..] {
            if let Some(domain) = domain
                && !used.domain.take(share.as_ref(), domain.clone(), now)
            {
                return Err(for_now(Why::DomainRate));
            }
        }
        used.is_begun = true;
        Ok(())
    }
}
