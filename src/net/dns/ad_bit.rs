//! Trusting the AD bit of a validating resolver on the same machine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{DnsResponse, Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::net::NetError;

use super::answer::{self, Ask, Step};
use super::upstream::{UDP_PAYLOAD_OCTETS, Upstream};
use super::{Lookup, Mx, Proof, Resolver, Servers};
use crate::mail::address::Domain;

/// A server that is not on loopback, or none: its AD bit could be anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the AD bit is believed only of name servers on loopback")]
pub struct NotLoopback;

/// Leaves validation to a resolver on loopback and believes its AD bit (RFC 6840 §5.8).
///
/// SERVFAIL is told apart by asking again without validation: an answer then means that validation failed.
#[derive(Debug, Clone)]
pub struct AdBitResolver {
    servers: Arc<Servers>,
}

impl AdBitResolver {
    /// [`NotLoopback`] unless every server is on loopback.
    pub fn new(servers: Servers) -> Result<Self, NotLoopback> {
        let local = servers.addresses.iter().all(|server| server.ip().is_loopback());
        match local && !servers.addresses.is_empty() {
            true => Ok(Self {
                servers: Arc::new(servers),
            }),
            false => Err(NotLoopback),
        }
    }

    async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        checking_disabled: bool,
    ) -> Result<DnsResponse, NetError> {
        let mut message = Message::query();
        message.add_query(Query::query(name.clone(), kind));
        message.metadata.authentic_data = true;
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD_OCTETS);
        message.set_edns(edns);
        Upstream::new(self.servers.clone(), checking_disabled)
            .ask(message)
            .await
    }
}

#[async_trait]
impl Ask for AdBitResolver {
    async fn step(&self, name: &Name, kind: RecordType) -> Step {
        let Ok(response) = self.ask(name, kind, false).await else {
            return match self.ask(name, kind, true).await {
                Ok(_) => Step::Bogus,
                Err(_) => Step::Failed,
            };
        };
        let proof = match response.metadata.authentic_data {
            true => Proof::Secure,
            false => Proof::Insecure,
        };
        let records = response.into_message().answers;
        match records.is_empty() {
            true => Step::Absent(proof),
            false => Step::Records { records, proof },
        }
    }

    fn total_timeout(&self) -> Duration {
        self.servers.total_timeout
    }
}

#[async_trait]
impl Resolver for AdBitResolver {
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        answer::txt(self, name).await
    }

    async fn mx(&self, domain: &Domain) -> Lookup<Vec<Mx>> {
        answer::mx(self, domain).await
    }

    async fn addresses(&self, host: &Domain) -> Lookup<Vec<std::net::IpAddr>> {
        answer::addresses(self, host).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_beyond_loopback_are_refused() {
        let with = |addresses: &[&str]| {
            let parsed = addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect();
            AdBitResolver::new(Servers::new(parsed)).map(|_| ())
        };
        assert_eq!(with(&["127.0.0.1:53", "[::1]:53"]), Ok(()));
        assert_eq!(with(&["127.0.0.1:53", "192.0.2.1:53"]), Err(NotLoopback));
        assert_eq!(with(&[]), Err(NotLoopback));
    }
}
