//! Domains we serve, and pinned records of domains we have seen.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::dime::record::{Policy, SubdomainPolicy};
use crate::mail::address::Domain;

/// A domain we serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDomain {
    /// Its name.
    pub name: Domain,
    /// What its management record says; `None` for a domain without DIME.
    pub dime: Option<DimeSettings>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What goes into the management record of a domain of ours beside its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimeSettings {
    /// `pol`.
    pub policy: Policy,
    /// `sub`.
    pub subdomain_policy: SubdomainPolicy,
    /// `dx`: at least one host.
    pub delivery_hosts: Vec<Domain>,
    /// `exp`: days, 1–3650; `None` lets others forget the record at its TTL.
    pub expiry_days: Option<u16>,
}

/// The last acceptable management record of a remote domain (`management-record.md` §7.2, §7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whose.
    pub domain: Domain,
    /// The record's text as published.
    pub record: String,
    /// Whether DNSSEC vouched for it.
    pub secure: bool,
    /// When this domain was first seen with a record.
    pub first_seen_at: Timestamp,
    /// When it must be fetched again.
    pub refresh_at: Timestamp,
    /// When it must no longer be used.
    pub expires_at: Timestamp,
}

/// What came of removing a domain of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainRemoval {
    /// It is not served any more, and all keys that were kept of it are gone.
    Done,
    /// Nothing was changed: there are accounts and aliases in it.
    HasAddresses {
        /// Accounts.
        accounts: u64,
        /// Aliases.
        aliases: u64,
    },
    /// Nothing was changed: mail for so many of its recipients waits.
    MailWaits(u64),
    /// It is not served here.
    Missing,
}

/// Domains on disk.
#[async_trait]
pub trait Domains: Send + Sync {
    /// Adds a domain; [`Error::Exists`] if it is served already, or its mail is taken for another host.
    async fn add_domain(&self, domain: LocalDomain) -> Result<(), Error>;
    /// Gives DIME to a domain that has none; whether there was such a domain.
    async fn set_dime(&self, name: &Domain, dime: DimeSettings) -> Result<bool, Error>;
    /// The domain, if we serve it.
    async fn local_domain(&self, name: &Domain) -> Result<Option<LocalDomain>, Error>;
    /// All domains we serve, by name.
    async fn list_domains(&self) -> Result<Vec<LocalDomain>, Error>;
    /// The first of them.
    async fn first_domain(&self) -> Result<Option<LocalDomain>, Error>;
    /// Stops to serve a domain without addresses, and erases everything that is kept of it, private keys included. Its
    /// signets, and those that its users had, are taken out of service. [`Error::LogInUse`] as for an account.
    async fn remove_domain(&self, name: &Domain, now: Timestamp) -> Result<DomainRemoval, Error>;
    /// The pin of a remote domain; [`Error::Unreadable`] if it is not as we wrote it.
    async fn pin(&self, domain: &Domain) -> Result<Option<Pin>, Error>;
    /// Sets or replaces a pin.
    async fn set_pin(&self, pin: Pin) -> Result<(), Error>;
    /// Drops a pin, readable or not; whether there was one.
    async fn drop_pin(&self, domain: &Domain) -> Result<bool, Error>;
    /// Drops pins that expired before then, some hundred at most; how many.
    async fn drop_expired_pins(&self, before: Timestamp) -> Result<u64, Error>;
    /// Pins by domain, from behind `after` on, `limit` at most; `None` in place of one that is not as we wrote it.
    async fn list_pins(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<(Domain, Option<Pin>)>, Error>;
}
