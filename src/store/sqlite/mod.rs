//! SQLite: one file beside its write-ahead log, for one machine.
//!
//! # Durability
//!
//! The database runs in WAL mode with `synchronous=FULL`: `COMMIT` returns after the log has been synced, and only
//! then is anybody told that the work is done. Every connection that writes has its settings read back before it is used.
//! What is synced before what is a table in [`crate::store`]. All writing goes through one task that groups what waits into one
//! transaction (`writer`), so that one sync serves many sessions. Reading has connections of its own.
//!
//! # Several processes
//!
//! The command line may open the file while the daemon runs. Whoever finds nobody else there sweeps away bodies
//! that were never committed; a lock file beside the database tells ([`file`]).

mod accounts;
mod aliases;
mod blocks;
mod body;
mod claim;
mod clock;
mod deposits;
mod dkim;
mod domains;
mod drain;
mod file;
mod greylist;
mod key_sets;
mod life_cycle;
mod message;
mod operate;
mod queue_view;
mod readers;
mod relaying;
mod replay;
mod settle;
mod signets;
mod spool;
mod sts;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, query, query_as, query_scalar};
use tokio::sync::Notify;

use super::kept::signets::{CurrentSignet, KeptSignets, MOST_CHANGES};
use super::kept::{self, Kept, Mark, Row};
use super::{Error, MasterKey};
use crate::base::time::{Clock, Timestamp};
use crate::mail::address::Domain;
pub use claim::CLAIM_QUERIES;
use file::DatabaseFile;
use readers::Readers;
use writer::Writer;
pub use writer::WriterStats;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The store in one SQLite file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    master: MasterKey,
    clock: Arc<dyn Clock>,
    writer: Writer,
    readers: Readers,
    kept: Kept,
    kept_signets: KeptSignets,
    changed: Notify,
    /// Milliseconds, to notice a clock that has been set back.
    last_claim_at: AtomicI64,
    /// Milliseconds, until which the greylist takes whoever comes.
    greylist_open_until: AtomicI64,
    _file: DatabaseFile,
}

impl SqliteStore {
    /// Opens the database at `path`, which is created with mode 0600 if there is none, and brings its schema up to date.
    ///
    /// Errors: [`Error::Schema`] for a schema newer than this program, [`Error::NotDurable`] if SQLite does not confirm
    /// its settings, [`Error::WrongMasterKey`] if the database was made with another key, [`Error::File`] if the file
    /// cannot be created.
    pub async fn open(path: &Path, master: MasterKey, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let file = DatabaseFile::take(path).await?;
        let options = connect_options(path);
        let mut connection = writer::open(&options).await?;
        // `run` on a connection makes this future impossible to send (rust-lang/rust#100013).
        MIGRATIONS
            .run_direct(None, &mut connection, false)
            .await
            .map_err(Error::Schema)?;
        check_master_key(&mut connection, &master).await?;
        claim::forget_future_turns(&mut connection, clock.now()).await?;
        if file.is_alone() {
            body::sweep_uncommitted(&mut connection).await?;
        }
        let file = file.share().await?;
        Ok(Self {
            inner: Arc::new(Inner {
                master,
                clock,
                readers: Readers::new(options.clone()),
                writer: Writer::start(connection, options),
                kept: Kept::default(),
                kept_signets: KeptSignets::default(),
                changed: Notify::new(),
                last_claim_at: AtomicI64::new(i64::MIN),
                greylist_open_until: AtomicI64::new(i64::MIN),
                _file: file,
            }),
        })
    }

    /// How much the writer has done since it was opened.
    pub fn writer_stats(&self) -> WriterStats {
        self.inner.writer.stats()
    }

    /// Finishes what was begun, and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }
}

impl Inner {
    /// That time, as far as it is certain to have come.
    fn certain(&self, time: Timestamp) -> Timestamp {
        self.clock.certain(time)
    }

    /// The row of a domain: kept, or else read and then kept.
    async fn kept_row<R: Row>(
        &self,
        domain: &Domain,
        read: impl Future<Output = Result<Option<R>, Error>>,
    ) -> Result<Option<R>, Error> {
        let mark = self.mark().await?;
        if let Some(row) = self.kept.row(mark, domain) {
            return Ok(row);
        }
        let row = read.await?;
        self.kept.keep(mark, domain, row.as_ref());
        Ok(row)
    }

    /// The state that kept rows must belong to.
    async fn mark(&self) -> Result<Mark, Error> {
        let now = Instant::now();
        match self.kept.mark(now) {
            Ok(mark) => Ok(mark),
            Err(own) => {
                let count = query_scalar("SELECT count FROM changes")
                    .fetch_one(&self.readers)
                    .await?;
                Ok(self.kept.looked(own, count, now))
            }
        }
    }

    /// The current signet of a folded name: kept, or else read and then kept.
    async fn kept_signet(&self, name: &str) -> Result<Option<Arc<CurrentSignet>>, Error> {
        let mark = self.signets_mark().await?;
        if let Some(signet) = self.kept_signets.row(mark, name) {
            return Ok(Some(signet));
        }
        let signet = signets::read_current(&self.readers, name).await?.map(Arc::new);
        if let Some(signet) = &signet {
            self.kept_signets.keep(mark, name, signet);
        }
        Ok(signet)
    }

    /// The state that kept signets must belong to.
    async fn signets_mark(&self) -> Result<Mark, Error> {
        let now = Instant::now();
        match self.kept_signets.mark(now) {
            Ok(mark) => Ok(mark),
            Err(asked) => {
                let changes: Vec<(i64, String)> =
                    query_as("SELECT seq, name FROM signet_changes WHERE seq >= ? ORDER BY seq DESC LIMIT ?")
                        .bind(asked.count)
                        .bind(MOST_CHANGES)
                        .fetch_all(&self.readers)
                        .await?;
                Ok(self.kept_signets.looked(asked, &changes, now))
            }
        }
    }

    /// As [`write`](Self::write), for what changes signets, and what an operator changes in other tables of which rows are kept. Returns when no process
    /// uses the old rows any more, so that a command that is done has taken effect.
    async fn change_kept<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> writer::Work<'c, T> + Send + 'static,
    {
        let done = self.write(job).await;
        self.kept.forget();
        self.kept_signets.changed();
        if done.is_ok() {
            tokio::time::sleep(kept::UNSEEN).await;
        }
        done
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // Deleted keys are overwritten in the pages that stay in use.
        .pragma("secure_delete", "fast")
        .disable_statement_logging()
}

async fn check_master_key(connection: &mut SqliteConnection, master: &MasterKey) -> Result<(), Error> {
    query("INSERT INTO master_key_check (id, sealed) VALUES (1, ?) ON CONFLICT DO NOTHING")
        .bind(master.seal_check())
        .execute(&mut *connection)
        .await?;
    let sealed: Vec<u8> = query_scalar("SELECT sealed FROM master_key_check")
        .fetch_one(connection)
        .await?;
    match master.opens_check(&sealed) {
        true => Ok(()),
        false => Err(Error::WrongMasterKey),
    }
}

/// Tells a taken name from other failures.
fn exists(error: sqlx::Error) -> Error {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => Error::Exists,
        _ => Error::Database(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Judges a new database whose settings `change` has been at.
    async fn demand(change: fn(SqliteConnectOptions) -> SqliteConnectOptions) -> Result<(), Error> {
        let folder = tempfile::tempdir().unwrap();
        let options = change(connect_options(&folder.path().join("dimed.db")));
        writer::open(&options).await.map(drop)
    }

    #[tokio::test]
    async fn settings_that_could_lose_mail_are_refused() {
        type Change = fn(SqliteConnectOptions) -> SqliteConnectOptions;
        let weak: [(Change, &str); 4] = [
            (|o| o.synchronous(SqliteSynchronous::Normal), "synchronous=1"),
            (|o| o.synchronous(SqliteSynchronous::Off), "synchronous=0"),
            (|o| o.foreign_keys(false), "foreign_keys=0"),
            (
                |o| o.journal_mode(SqliteJournalMode::Memory),
                "journal_mode=memory",
            ),
        ];
        for (change, named) in weak {
            match demand(change).await {
                Err(Error::NotDurable(reason)) => assert!(reason.contains(named), "{reason}"),
                other => panic!("{named}: {other:?}"),
            }
        }
        assert!(demand(|unchanged| unchanged).await.is_ok());
    }
}
