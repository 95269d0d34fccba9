//! DNS as tests want it: what a script does not say cannot be looked up.

use std::net::IpAddr;

use async_trait::async_trait;

use super::{Host, Lookup, Mx, Resolver, SelfTest, Srv, Tlsa};
use crate::mail::address::Domain;

/// What a test answers.
pub trait Script: Send + Sync {
    /// TXT records at that name.
    fn texts(&self, name: &str) -> Lookup<Vec<Vec<u8>>>;
    /// MX records.
    fn hosts(&self) -> Lookup<Vec<Mx>> {
        Lookup::Failed
    }
    /// Addresses of every host.
    fn addresses(&self) -> Lookup<Vec<IpAddr>> {
        Lookup::Failed
    }
}

#[async_trait]
impl<S: Script> Resolver for S {
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        self.texts(name)
    }
    async fn mx(&self, _: &Domain) -> Lookup<Vec<Mx>> {
        self.hosts()
    }
    async fn addresses(&self, _: &Domain) -> Lookup<Vec<IpAddr>> {
        Script::addresses(self)
    }
    async fn host(&self, _: &Domain) -> Lookup<Host> {
        Lookup::Failed
    }
    async fn srv(&self, _: &str) -> Lookup<Vec<Srv>> {
        Lookup::Failed
    }
    async fn tlsa(&self, _: &str) -> Lookup<Vec<Tlsa>> {
        Lookup::Failed
    }
    async fn self_test(&self) -> SelfTest {
        SelfTest::Passed
    }
}
