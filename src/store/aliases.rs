//! Aliases: addresses of ours that lead to others, here or elsewhere.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};

/// One target of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasTarget {
    /// The alias, folded.
    pub alias: Mailbox,
    /// Where it leads.
    pub target: Mailbox,
}

/// Aliases on disk, found without regard to case.
#[async_trait]
pub trait Aliases: Send + Sync {
    /// Adds a target to an alias; [`Error::Exists`] if the alias has it already, or is an account's address.
    async fn add_alias(&self, alias: &Mailbox, target: &Mailbox) -> Result<(), Error>;
    /// Where an alias leads, by address; empty if there is none.
    async fn alias_targets(&self, alias: &Mailbox) -> Result<Vec<Mailbox>, Error>;
    /// Targets of all aliases, of one domain or of all, by alias and target, from behind `after` on, `limit` at most.
    async fn list_aliases(
        &self,
        domain: Option<&Domain>,
        after: Option<&AliasTarget>,
        limit: u32,
    ) -> Result<Vec<AliasTarget>, Error>;
    /// Removes one target of an alias, or all; how many there were. With the last one, the signet that the alias has of its
    /// own goes out of service, and its private keys are erased. [`Error::LogInUse`] as for an account.
    async fn remove_alias(
        &self,
        alias: &Mailbox,
        target: Option<&Mailbox>,
        now: Timestamp,
    ) -> Result<u64, Error>;
}
