//! SQLite: one file beside its write-ahead log, for one machine.
//!
//! # Durability
//!
//! The database runs in WAL mode with `synchronous=FULL`: `COMMIT` returns after the log has been synced, and only
//! then is anybody told that the work is done. Every connection that writes has its settings read back before it is used.
//! What is synced before what is a table in [`crate::store`].
//!
//! # Several processes
//!
//! The command line may open the file while the daemon runs. Whoever finds nobody else there sweeps away bodies
//! that were never committed; a lock file beside the database tells ([`file`]).

pub mod backup;
mod file;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, query_as, query_scalar};

use super::sql::{Connection, Database, Opened, SqlStore, Work, query};
use super::{Error, MasterKey};
use crate::base::time::Clock;
pub(super) use file::DatabaseFile;

/// The store in one file.
pub type SqliteStore = SqlStore;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that read, at most.
pub(super) const READERS: u32 = 4;

/// How often it is tried to cut the log off, and how long each try waits for those who use it.
const LOG_TRIES: usize = 4;
const LOG_WAIT: Duration = Duration::from_millis(1500);

impl SqlStore {
    /// Opens the SQLite database at `path`, which is created with mode 0600 if there is none, and brings its schema up to date.
    ///
    /// Errors: [`Error::Schema`] for a schema newer than this program, [`Error::NotDurable`] if SQLite does not confirm
    /// its settings, [`Error::WrongMasterKey`] if the database was made with another key, [`Error::File`] if the file
    /// cannot be created.
    pub async fn open(path: &Path, master: MasterKey, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_file(path, master, clock, DatabaseFile::take(path).await?).await
    }

    /// The same, and nobody else may open it until this is dropped: [`Error::InUse`] if somebody has it open.
    pub async fn open_alone(path: &Path, master: MasterKey, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_file(path, master, clock, DatabaseFile::take_alone(path).await?).await
    }

    async fn open_file(
        path: &Path,
        opened_with: MasterKey,
        clock: Arc<dyn Clock>,
        file: DatabaseFile,
    ) -> Result<Self, Error> {
        let options = connect_options(path);
        let mut connection = open_writer(&options).await?;
        // `run` on a connection makes this future impossible to send (rust-lang/rust#100013).
        MIGRATIONS
            .run_direct(None, &mut connection, false)
            .await
            .map_err(Error::Schema)?;
        let mut connection = Connection::Sqlite(connection);
        let is_alone = file.is_alone();
        let master = Self::prepare(&mut connection, &opened_with, clock.now(), is_alone).await?;
        let file = file.share().await?;
        let opened = Opened {
            database: Database::Sqlite(Arc::new(options)),
            connection,
            file: Some(file),
        };
        Ok(Self::start(opened, master, opened_with, clock))
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

/// Opens a connection that writes: [`Error::NotDurable`] if SQLite took other settings.
pub(super) async fn open_writer(options: &SqliteConnectOptions) -> Result<SqliteConnection, Error> {
    let mut connection = options.connect().await?;
    demand_durability(&mut connection).await?;
    Ok(connection)
}

/// Opens a connection that reads.
pub(super) async fn open_reader(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    options.clone().read_only(true).connect().await
}

async fn demand_durability(connection: &mut SqliteConnection) -> Result<(), Error> {
    let journal: String = query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let synchronous: i64 = query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await?;
    let foreign_keys: i64 = query_scalar("PRAGMA foreign_keys").fetch_one(connection).await?;
    match (journal.as_str(), synchronous, foreign_keys) {
        ("wal", 2, 1) => Ok(()),
        _ => Err(Error::NotDurable(format!(
            "journal_mode={journal} synchronous={synchronous} foreign_keys={foreign_keys}, \
             wanted wal, 2 (full), 1"
        ))),
    }
}

/// Does some work after which nothing is left of what it deletes, in pages that are freed neither. The log is to be emptied
/// once it is committed.
pub(super) async fn securely<T>(
    db: &mut Connection,
    work: impl for<'c> FnOnce(&'c mut Connection) -> Work<'c, T>,
) -> Result<T, Error> {
    query("PRAGMA secure_delete = ON").execute(db).await?;
    let done = work(&mut *db).await;
    query("PRAGMA secure_delete = FAST").execute(db).await?;
    done
}

/// Brings everything from the log into the database, and cuts the log off. Errors: [`Error::LogInUse`] if others used it
/// all the time.
pub(super) async fn empty_log(options: &SqliteConnectOptions) -> Result<(), Error> {
    let options = options.clone().busy_timeout(LOG_WAIT);
    let mut connection = open_writer(&options).await?;
    for _ in 0..LOG_TRIES {
        // Whether others were in the way, pages in the log, pages brought into the database.
        let (is_busy, ..): (bool, i64, i64) = query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut connection)
            .await?;
        if !is_busy {
            return Ok(());
        }
    }
    Err(Error::LogInUse)
}
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Judges a new database whose settings `change` has been at.
    async fn demand(change: fn(SqliteConnectOptions) -> SqliteConnectOptions) -> Result<(), Error> {
        let folder = tempfile::tempdir().unwrap();
        let options = change(connect_options(&folder.path().join("dimed.db")));
        open_writer(&options).await.map(drop)
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
