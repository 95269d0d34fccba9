//! Connections that read.
//!
//! Not sqlx's pool: that asks the connection's thread whether it is well before each query and again after it, which
//! makes three waits of one. Here a connection that failed, or whose query was given up, is closed instead.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteConnection, SqliteQueryResult, SqliteRow, SqliteStatement,
    SqliteTypeInfo,
};
use sqlx::{ConnectOptions, Connection, Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How many there are at most.
const READERS: u32 = 4;

/// How long a query waits for one of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// A few connections, opened when they are needed. The one used last is used first: it remembers the most.
pub(super) struct Readers {
    options: SqliteConnectOptions,
    permits: Semaphore,
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    /// Opens nothing yet.
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options: options.read_only(true),
            permits: Semaphore::new(READERS as usize),
            idle: Mutex::default(),
        }
    }

    /// How they are opened.
    pub(super) fn options(&self) -> &SqliteConnectOptions {
        &self.options
    }

    /// Waits for queries under way, then closes all. Later queries fail.
    pub(super) async fn close(&self) {
        // An error says that they are closed already.
        let all = self.permits.acquire_many(READERS).await;
        self.permits.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            // Nothing was written, so a failure to close loses nothing.
            connection.close().await.unwrap_or_default();
        }
    }

    async fn take(&self) -> Result<(SemaphorePermit<'_>, SqliteConnection), Error> {
        let permit = timeout(PATIENCE, self.permits.acquire()).await;
        let permit = permit
            .map_err(|_| Error::PoolTimedOut)?
            .map_err(|_| Error::PoolClosed)?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok((permit, connection))
    }

    fn give_back(&self, connection: SqliteConnection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

type Step = Either<SqliteQueryResult, SqliteRow>;

impl<'c> Executor<'c> for &'c Readers {
    type Database = Sqlite;

    /// Answers are gathered before the first is given out, so that a slow consumer holds no connection.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let all = async move {
            let (_permit, mut connection) = self.take().await?;
            let steps: Vec<Step> = connection.fetch_many(query).try_collect().await?;
            self.give_back(connection);
            Ok::<_, Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        Box::pin(async move {
            let (_permit, mut connection) = self.take().await?;
            let row = connection.fetch_optional(query).await?;
            self.give_back(connection);
            Ok(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let (_permit, mut connection) = self.take().await?;
            let statement = connection.prepare_with(sql, parameters).await?;
            self.give_back(connection);
            Ok(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Sqlite>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let (_permit, mut connection) = self.take().await?;
            let description = connection.describe(sql).await?;
            self.give_back(connection);
            Ok(description)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{query, query_scalar};

    use super::*;

    /// Readers of a database with the numbers from 1 to 3.
    async fn readers(folder: &tempfile::TempDir) -> Readers {
        let path = folder.path().join("x.db");
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        for sql in ["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2), (3)"] {
            query(sql).execute(&mut connection).await.unwrap();
        }
        Readers::new(options)
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
            query("SELECT * FROM missing")
                .fetch_optional(&readers)
                .await
                .is_err()
        );
        assert_eq!(readers.idle().len(), 0);
        let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c WHERE n > 1000000";
        for _ in 0..READERS + 1 {
            let given_up = timeout(Duration::from_millis(1), query(long).fetch_optional(&readers));
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
