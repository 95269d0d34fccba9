//! Whether the store can be used now.

use async_trait::async_trait;

use super::Error;

/// Tries the store.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Writes something that changes nothing, as durably as every message that is accepted, and reads.
    ///
    /// Errors: [`Error::NotDurable`] if the server does not sync any more.
    async fn probe(&self) -> Result<(), Error>;

    /// Whether what was written could not be brought from the log of SQLite into its database, by this process or another: the log has it
    /// until all that has the database open is ended, and grows.
    async fn keeps_log(&self) -> bool;
}
