//! Connections that read.
//!
//! Not sqlx's pool: that asks whether the connection is well before each query and again after it, which
//! makes three waits of one. Here a connection that failed, or whose query was given up, is closed instead.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::InterruptHandle;
use sqlx::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connection::{Connection, Fetch, Row, fetch_now, is_lost};
use super::database::Database;
use super::query::Query;
use crate::store::blocking::is_waiting;
use crate::store::sqlite::SqliteConnection;

/// How long a query waits for one of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// A few connections, opened when they are needed. The one used last is used first: it remembers the most.
pub(super) struct Readers {
    database: Database,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Opens nothing yet.
    pub(super) fn new(database: Database) -> Self {
        Self {
            permits: Semaphore::new(database.readers() as usize),
            database,
            idle: Mutex::default(),
        }
    }

    /// Waits for queries under way, then closes all. Later queries fail.
    pub(super) async fn close(&self) {
        // An error says that they are closed already.
        let all = self.permits.acquire_many(self.database.readers()).await;
        self.permits.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            // Nothing was written, so a failure to close loses nothing.
            connection.close().await.unwrap_or_default();
        }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let permit = timeout(PATIENCE, self.permits.acquire()).await;
        permit
            .map_err(|_| Error::PoolTimedOut)?
            .map_err(|_| Error::PoolClosed)
    }

    /// For rows that are found by their key, and few: that takes less than to hand it to another thread, so it is done at once.
    pub(super) fn at_once(&self) -> AtOnce<'_> {
        AtOnce(self)
    }

    /// Asks a connection for rows, `most` of them at most; once more on a new one if it turns out that it was lost since it was
    /// last used.
    async fn ask(&self, query: Query, most: usize, at_once: bool) -> Result<Vec<Row>, Error> {
        let _permit = self.permit().await?;
        let idle = self.idle().pop();
        if let Some(connection) = idle {
            match self.ask_one(connection, query.clone(), most, at_once).await {
                // Whoever has restarted has closed all of them.
                Err(error) if is_lost(&error) => self.idle().clear(),
                answer => return answer,
            }
        }
        let connection = self.database.open_reader().await?;
        self.ask_one(connection, query, most, at_once).await
    }

    /// Keeps the connection if it is well.
    async fn ask_one(
        &self,
        connection: Connection,
        query: Query,
        most: usize,
        at_once: bool,
    ) -> Result<Vec<Row>, Error> {
        let (connection, rows) = match connection {
            Connection::Sqlite(mut connection) if at_once || is_waiting() => {
                let rows = fetch_now(&mut connection, query, most)?;
                (Connection::Sqlite(connection), rows)
            }
            Connection::Sqlite(connection) => {
                let (connection, rows) = fetch_aside(connection, query, most).await?;
                (Connection::Sqlite(connection), rows)
            }
            mut connection => {
                let rows = match most {
                    1 => Vec::from_iter(connection.fetch_optional(query).await?),
                    _ => connection.fetch_all(query).await?,
                };
                (connection, rows)
            }
        };
        self.idle().push(connection);
        Ok(rows)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Fetch for &Readers {
    async fn fetch_all(self, query: Query) -> Result<Vec<Row>, Error> {
        self.ask(query, usize::MAX, false).await
    }

    async fn fetch_optional(self, query: Query) -> Result<Option<Row>, Error> {
        Ok(self.ask(query, 1, false).await?.pop())
    }
}

/// See [`Readers::at_once`].
pub(super) struct AtOnce<'a>(&'a Readers);

impl Fetch for AtOnce<'_> {
    async fn fetch_all(self, query: Query) -> Result<Vec<Row>, Error> {
        self.0.ask(query, usize::MAX, true).await
    }

    async fn fetch_optional(self, query: Query) -> Result<Option<Row>, Error> {
        Ok(self.0.ask(query, 1, true).await?.pop())
    }
}

/// Reads on a thread that may stand still. What nobody waits for any more is ended.
async fn fetch_aside(
    mut connection: SqliteConnection,
    query: Query,
    most: usize,
) -> Result<(SqliteConnection, Vec<Row>), Error> {
    let mut ended = Ended(Some(connection.interrupt_handle()));
    let reading = tokio::task::spawn_blocking(move || {
        let rows = fetch_now(&mut connection, query, most)?;
        Ok((connection, rows))
    });
    let read = reading.await.map_err(|_| Error::WorkerCrashed)?;
    ended.0 = None;
    read
}

/// Ends a statement that is given up.
struct Ended(Option<InterruptHandle>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::query::{query, query_as, query_scalar};
    use super::*;
    use crate::store::sqlite::Options;

    /// Readers of a database with the numbers from 1 to 3.
    async fn readers(folder: &tempfile::TempDir) -> Readers {
        let path = folder.path().join("x.db");
        let options = Options::new(&path);
        let mut connection = Connection::Sqlite(options.open().unwrap());
        for sql in ["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2), (3)"] {
            query(sql).execute(&mut connection).await.unwrap();
        }
        Readers::new(Database::Sqlite(std::sync::Arc::new(options)))
    }

    async fn numbers(readers: &Readers) -> Result<Vec<i64>, Error> {
        query_scalar("SELECT n FROM t ORDER BY n")
            .fetch_all(readers)
            .await
    }

    #[tokio::test]
    async fn rows_come_whole_and_the_connection_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(&folder).await;
        assert_eq!(numbers(&readers).await.unwrap(), [1, 2, 3]);
        let last: i64 = query_scalar("SELECT MAX(n) FROM t")
            .fetch_one(&readers)
            .await
            .unwrap();
        assert_eq!((last, readers.idle().len()), (3, 1));
    }

    #[tokio::test]
    async fn a_connection_that_failed_or_was_left_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(&folder).await;
        assert!(
            query_as::<(i64,)>("SELECT * FROM missing")
                .fetch_optional(&readers)
                .await
                .is_err()
        );
        assert_eq!(readers.idle().len(), 0);
        let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c WHERE n > 1000000";
        for _ in 0..readers.database.readers() + 1 {
            let given_up = timeout(
                Duration::from_millis(1),
                query_as::<(i64,)>(long).fetch_optional(&readers),
            );
            assert!(given_up.await.is_err());
        }
        assert_eq!(readers.idle().len(), 0);
        assert_eq!(numbers(&readers).await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn nothing_is_read_after_closing() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(&folder).await;
        numbers(&readers).await.unwrap();
        readers.close().await;
        readers.close().await;
        assert!(matches!(numbers(&readers).await, Err(Error::PoolClosed)));
        assert_eq!(readers.idle().len(), 0);
    }
}
