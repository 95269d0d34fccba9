//! What each database does in its own way beside the words of its SQL: opening connections, beginning to write, erasing.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::connection::Connection;
use super::query::{query, query_as};
use super::writer::Work;
use crate::store::postgres::{self, Server};
use crate::store::{Error, sqlite};

/// How a database is reached. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store) enum Database {
    Sqlite(Arc<sqlite::Options>),
    Postgres(Arc<Server>),
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// The lock of PostgreSQL that whoever writes into a store has: nobody else of our database takes locks of that kind.
const WRITERS: i64 = 0x64_696d_6564;

/// Takes the lock, and says whether what is committed from now on is durable.
const LOCK: &str = "SELECT pg_advisory_xact_lock($1) IS NULL, current_setting('fsync') = 'on' \
     AND current_setting('full_page_writes') = 'on' AND current_setting('synchronous_commit') = 'on'";

impl Database {
    /// Opens a connection that writes, and reads the settings back that every `250` relies on: [`Error::NotDurable`] if the
    /// database has others.
    pub(super) async fn open_writer(&self) -> Result<Connection, Error> {
        match self {
            Self::Sqlite(options) => sqlite::open_writer(options).map(Connection::Sqlite),
            Self::Postgres(server) => server.connect_to_write().await.map(Connection::Postgres),
        }
    }

    /// Opens a connection that reads.
    pub(super) async fn open_reader(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::Sqlite(options) => options
                .as_ref()
                .clone()
                .read_only()
                .open()
                .map(Connection::Sqlite),
            Self::Postgres(server) => server.connect_to_read().await.map(Connection::Postgres),
        }
    }

    /// Connections that read, at most.
    pub(super) fn readers(&self) -> u32 {
        match self {
            Self::Sqlite(_) => sqlite::READERS,
            Self::Postgres(_) => postgres::READERS,
        }
    }

    /// Begins a transaction that nobody else writes beside. [`Error::NotDurable`] if the server does not sync any more.
    pub(in crate::store) async fn begin(&self, connection: &mut Connection) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) => {
                query("BEGIN IMMEDIATE").execute(connection).await?;
                Ok(())
            }
            Self::Postgres(_) => {
                query("BEGIN").execute(connection).await?;
                let (_, is_durable): (bool, bool) =
                    query_as(LOCK).bind(WRITERS).fetch_one(connection).await?;
                let why = || Error::NotDurable("fsync or full_page_writes was turned off".to_owned());
                is_durable.then_some(()).ok_or_else(why)
            }
        }
    }

    /// From now on whoever commits with that connection syncs the log by himself. PostgreSQL always does.
    pub(super) async fn leave_syncs(&self, connection: &mut Connection) -> Result<(), Error> {
        if let Self::Sqlite(_) = self {
            query("PRAGMA synchronous = NORMAL").execute(connection).await?;
        }
        Ok(())
    }

    /// From now on closing that connection empties the log, if nobody else has the database open: for whoever knows that all of the log
    /// is on the disk.
    pub(super) fn empty_log_on_close(&self, connection: &mut Connection) {
        if let Connection::Sqlite(connection) = connection {
            // If that fails, the log is left, as by everybody else.
            connection.empty_log_on_close().unwrap_or_default();
        }
    }

    /// A connection that reads the database as it is now, and goes on doing so.
    pub(super) async fn pin(&self) -> Result<Connection, Error> {
        let mut connection = self.open_reader().await?;
        query("BEGIN").execute(&mut connection).await?;
        query_as::<(i64,)>("SELECT COUNT(*) FROM sqlite_schema")
            .fetch_one(&mut connection)
            .await?;
        Ok(connection)
    }

    /// Tells others that the log of a file must stay as it is: what was brought from it into that may be missing on the disk.
    pub(super) fn note_kept_log(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(options) => sqlite::note_kept_log(options.path()).map_err(Error::File),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Whether somebody has noted that.
    pub(super) fn keeps_log(&self) -> bool {
        match self {
            Self::Sqlite(options) => sqlite::keeps_log(options.path()),
            Self::Postgres(_) => false,
        }
    }

    /// The log of a file, which is there as long as somebody has that open.
    pub(super) fn open_log(&self) -> Result<Option<File>, Error> {
        match self {
            Self::Sqlite(options) => File::open(options.log()).map(Some).map_err(Error::File),
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Which file it is.
    pub(super) fn file(&self) -> Result<Option<FileId>, Error> {
        match self {
            Self::Sqlite(options) => {
                let file = options.path().metadata().map_err(Error::File)?;
                Ok(Some((file.dev(), file.ino())))
            }
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Whether others may be at work on what is stored.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Has all that was committed on the disk, after a sync that failed: [`Error::NotDurable`] if something of it is lost.
    pub(super) async fn mend_log(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(options) => sqlite::mend_log(options).await,
            // It does so by itself, and what fails there ends it.
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Sees to it that nothing is left of what was erased. What was committed before is on the disk once `synced` is over. Errors:
    /// [`Error::LogInUse`] if that has to be tried again.
    pub(super) async fn finish_erasing(
        &self,
        synced: impl Future<Output = Result<(), Error>> + Send,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(options) => sqlite::empty_log(options, synced).await,
            // Nobody can see to it there.
            Self::Postgres(_) => Ok(()),
        }
    }
}

/// Does some work after which nothing is left of what it deletes, once [`Database::finish_erasing`] is done after its commit.
pub(super) async fn securely<T>(
    db: &mut Connection,
    work: impl for<'c> FnOnce(&'c mut Connection) -> Work<'c, T>,
) -> Result<T, Error> {
    match db {
        Connection::Sqlite(_) => sqlite::securely(db, work).await,
        // Nothing that a statement says changes what PostgreSQL leaves behind.
        Connection::Postgres(_) => work(db).await,
    }
}
