//! What can be read of a database beside everybody who writes into it, without its master key, and without changing anything.

use std::fmt;

use super::database::Database;
use super::drain;
use super::query::query_scalar;
use super::queue_view;
use super::readers::Readers;
use crate::base::time::Timestamp;
use crate::store::{Drain, Error, QueueStats};

/// A database that is only read, for its numbers.
pub struct Numbers {
    database: Database,
    readers: Readers,
}

impl Numbers {
    /// Opens nothing yet.
    pub(in crate::store) fn new(database: Database) -> Self {
        Self {
            readers: Readers::new(database.clone()),
            database,
        }
    }

    /// The last step that its schema has taken.
    pub(in crate::store) async fn schema(&self) -> Result<Option<i64>, Error> {
        let last = query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success");
        Ok(last.fetch_one(&self.readers).await?)
    }

    /// The queue as it is now, with the domains that most recipients are in, so many at most.
    pub async fn queue_stats(&self, now: Timestamp, largest: usize) -> Result<QueueStats, Error> {
        queue_view::stats(&self.readers, now, largest).await
    }

    /// What is drained.
    pub async fn drains(&self) -> Result<Vec<Drain>, Error> {
        drain::drains(&self.readers).await
    }

    /// See [`Probe::keeps_log`](crate::store::Probe::keeps_log).
    pub fn keeps_log(&self) -> bool {
        self.database.keeps_log()
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}
