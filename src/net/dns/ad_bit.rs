//! Trusting the AD bit of a validating resolver on the same machine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{DnsResponse, Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::net::{DnsError, NetError};

use super::answer::{self, Ask, Step};
use super::upstream::{UDP_PAYLOAD_OCTETS, Upstream};
use super::{Family, Host, Lookup, Mx, Proof, Resolver, SelfTest, Servers, Srv, Tlsa};
use crate::mail::address::Domain;

/// A server that is not on loopback, or none: its AD bit could be anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the AD bit is believed only of name servers on loopback")]
pub struct NotLoopback;

/// Leaves validation to a resolver on loopback and believes its AD bit (RFC 6840 §5.8).
///
/// SERVFAIL is told apart by asking again, without validation and with it.
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

    /// Tells data that fail validation from those that cannot be had: the former are there without validation, and still not
    /// with it, so that a fault that has just ended is not taken for a forgery.
    async fn after_failure(&self, name: &Name, kind: RecordType) -> Step {
        if self.ask(name, kind, true).await.is_err() {
            return Step::Failed;
        }
        match self.ask(name, kind, false).await {
            Ok(response) => read(response),
            Err(error) if is_server_failure(&error) => Step::Bogus,
            Err(_) => Step::Failed,
        }
    }
}

fn read(response: DnsResponse) -> Step {
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

fn is_server_failure(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))
    )
}

#[async_trait]
impl Ask for AdBitResolver {
    async fn step(&self, name: &Name, kind: RecordType) -> Step {
        match self.ask(name, kind, false).await {
            Ok(response) => read(response),
            Err(error) if is_server_failure(&error) => self.after_failure(name, kind).await,
            Err(_) => Step::Failed,
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

    async fn addresses_at(&self, name: &str, family: Family) -> Lookup<Vec<std::net::IpAddr>> {
        answer::addresses_at(self, name, family).await
    }

    async fn names(&self, address: std::net::IpAddr) -> Lookup<Vec<Domain>> {
        answer::names(self, address).await
    }

    async fn host(&self, host: &Domain) -> Lookup<Host> {
        answer::located_host(self, host).await
    }

    async fn srv(&self, name: &str) -> Lookup<Vec<Srv>> {
        answer::srv(self, name).await
    }

    async fn tlsa(&self, name: &str) -> Lookup<Vec<Tlsa>> {
        answer::tlsa(self, name).await
    }

    /// The root is signed, so an answer about it without the AD bit shows that nothing is validated.
    async fn self_test(&self) -> SelfTest {
        match self.step(&Name::root(), RecordType::SOA).await {
            Step::Records {
                proof: Proof::Secure, ..
            } => SelfTest::Passed,
            Step::Records { .. } => SelfTest::NotValidating,
            Step::Bogus => SelfTest::WrongAnchor,
            Step::Absent(_) | Step::Failed => SelfTest::Unreachable,
        }
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
