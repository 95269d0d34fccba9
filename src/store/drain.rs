//! Nodes that are to take nothing new, for maintenance.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// A node that takes no mail in and begins no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Its host name; `None` for every node of the database.
    pub node: Option<Domain>,
    /// Since when.
    pub since: Timestamp,
}

/// What an operator wants of nodes.
#[async_trait]
pub trait Drains: Send + Sync {
    /// All of them.
    async fn drains(&self) -> Result<Vec<Drain>, Error>;
    /// Whether that node is to take nothing new.
    async fn is_drained(&self, node: &Domain) -> Result<bool, Error>;
    /// A node, or every one, is to take nothing new. It finds out by itself.
    async fn begin_drain(&self, node: Option<&Domain>, now: Timestamp) -> Result<(), Error>;
    /// It is no more, or none is. Returns how many are ended; what is said of every node is not ended by naming one.
    async fn end_drain(&self, node: Option<&Domain>) -> Result<u64, Error>;
}
