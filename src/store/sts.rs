//! MTA-STS policies of remote domains, kept until they expire (RFC 8461 §5.1).

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// A policy as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StsEntry {
    /// Whose.
    pub domain: Domain,
    /// The id that DNS had then.
    pub id: String,
    /// The text.
    pub policy: String,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// When it must no longer be used.
    pub expires_at: Timestamp,
}

/// Policies on disk.
#[async_trait]
pub trait StsPolicies: Send + Sync {
    /// The policy of a domain, also one that has expired. A row that is not as it was written is no policy.
    async fn sts_policy(&self, domain: &Domain) -> Result<Option<StsEntry>, Error>;
    /// Policies that expire after `after` and are as old as `age`, or have at most half of their life before them. Those that
    /// expire first come first, `limit` at most.
    async fn ageing_sts_policies(
        &self,
        now: Timestamp,
        after: Timestamp,
        age: Duration,
        limit: usize,
    ) -> Result<Vec<StsEntry>, Error>;
    /// Sets or replaces a policy, and drops those that had expired when it was fetched.
    async fn set_sts_policy(&self, entry: StsEntry) -> Result<(), Error>;
}
