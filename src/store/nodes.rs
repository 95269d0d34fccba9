//! Processes that claim from one database, and take over from each other.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// Who works on the queue.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Begins to work on it, on that host, at `now`. Once at most.
    ///
    /// If the database has only one process that works on it, whoever held leases is gone: they end. Returns of how many recipients.
    /// If it has several, others may take over what this one has leased when it has been silent for `silence`; see
    /// [`Tenure`](super::Tenure).
    async fn join(&self, host: &Domain, silence: Duration, now: Timestamp) -> Result<u64, Error>;

    /// Ends that: this process claims nothing any more, and others need not find out. What is still leased is taken over as if it
    /// had fallen silent, for it may still be at work on it. If there is one process alone, the log is brought into the database
    /// instead, unless somebody reads it.
    async fn leave(&self) -> Result<(), Error>;
}
