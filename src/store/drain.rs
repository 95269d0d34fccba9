//! Nodes that are to take nothing new, for maintenance, and what they say of themselves.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// How often a node says that it is there.
pub const NODE_SPEAKS_EVERY: Duration = Duration::from_secs(60);

/// A node that has said nothing for so long does not run, or does not reach the database.
pub const NODE_SILENT_AFTER: Duration = Duration::from_secs(150);

/// A node of which nothing has been heard for so long is forgotten.
pub const NODE_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// A node that is to take no mail in and begin no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Its host name; `None` for every node of the database.
    pub node: Option<Domain>,
    /// Since when.
    pub since: Timestamp,
}

/// What a node has last said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its host name.
    pub name: Domain,
    /// When it said this.
    pub seen_at: Timestamp,
    /// When it was stopped, unless it runs.
    pub stopped_at: Option<Timestamp>,
    /// It takes nothing new: [`Drain::since`] of the newest drain that it heeds.
    pub drained_since: Option<Timestamp>,
}

/// What an operator wants of nodes, and what nodes answer.
#[async_trait]
pub trait Drains: Send + Sync {
    /// All of them.
    async fn drains(&self) -> Result<Vec<Drain>, Error>;
    /// Whether that node is to take nothing new: since when, by the newest drain that is for it.
    async fn drained_since(&self, node: &Domain) -> Result<Option<Timestamp>, Error>;
    /// A node, or every one, is to take nothing new. It finds out by itself. Returns since when: earlier than `now`, if that was
    /// wanted already.
    async fn begin_drain(&self, node: Option<&Domain>, now: Timestamp) -> Result<Timestamp, Error>;
    /// It is no more, or none is. Returns how many are ended; what is said of every node is not ended by naming one.
    async fn end_drain(&self, node: Option<&Domain>) -> Result<u64, Error>;
    /// A node speaks of itself. Those that have been silent for [`NODE_FORGOTTEN_AFTER`] are forgotten.
    async fn report_node(&self, node: &NodeReport) -> Result<(), Error>;
    /// The nodes that have worked with this database, by name.
    async fn node_reports(&self) -> Result<Vec<NodeReport>, Error>;
}
