//! SQLite: one file beside its write-ahead log, for one machine.
//!
//! # Durability
//!
//! The database runs in WAL mode. Every connection that writes has its settings read back before it is used: with `synchronous=FULL`,
//! `COMMIT` syncs the log. The store's writer goes on with `synchronous=NORMAL`, with which it does not: the writer syncs the log after
//! `COMMIT` by itself, and only then is anybody told that the work is done.
//! What is synced before what is a table in [`crate::store`].
//!
//! # Threads
//!
//! SQLite is called on the thread that wants something of it, not through a driver's thread: writing has a thread of its own,
//! reading happens where standing still harms nobody. sqlx brings the schema up to date, and reads and writes backups.
//!
//! # Several processes
//!
//! The command line may open the file while the daemon runs. Whoever finds nobody else there sweeps away bodies
//! that were never committed; a lock file beside the database tells ([`file`]).
//!
//! Of a sync that failed, Linux tells each file that was open then, once: whoever opens the log later hears nothing of it. So a process that
//! finds others there writes the log again before it writes anything into it (`log`), which takes as long as 16 MiB take, or however long the
//! log has become.
//!
//! # Who brings the log into the database
//!
//! Nobody who does not know that all of the log is on the disk: what a sync has left out may be read wrongly, and after a power cut the
//! database would be ahead of its log. Those who could:
//!
//! - **The writer**, once the log is long. It has had the log open since it began, so it hears of each failure, and it syncs before.
//! - **`empty_log`**, when something was erased, and when a daemon ends. The writer of the process syncs before, and mends what others
//!   have left out; of what fails from then on the connection hears that brings the log over, for it was opened before that.
//! - **`empty_log` at a start**, of whoever is alone with the database, and has written the log again before.
//! - **SQLite, when the last connection is closed**, which may be that of a command whose daemon was killed. Ours do not let it
//!   (`Options::leave_log`), so the log is left to whoever comes next, is alone then, and writes it again. But the writer does, if it
//!   knows of no failure after one more sync; one that has begun beside others, and has written nothing, does not know.
//! - **A connection that only reads** cannot.
//! - **sqlx**, with its own connection for the schema: that is not the last one, for ours is open as long as it is.

pub mod backup;
mod connection;
mod file;
mod log;
mod watch;

use std::future::ready;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::sql::{Connection, Database, Numbers, Opened, SqlStore, Work, query};
use super::{Error, MasterKey};
use crate::base::causes::Causes;
use crate::base::observe;
use crate::base::time::{Clock, Timestamp};
pub(in crate::store) use connection::{Options, SqliteConnection, SqliteRow};
pub(super) use file::{DatabaseFile, keeps_log, note_kept_log};
pub(super) use log::{doubtful_pages, mend as mend_log};

/// The store in one file.
pub type SqliteStore = SqlStore;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that read, at most.
pub(super) const READERS: u32 = 4;

/// How long it is tried to cut the log off, and how long each try waits for those who read or write.
const LOG_PATIENCE: Duration = Duration::from_secs(6);
const LOG_WAIT: Duration = Duration::from_millis(1500);

/// The pause after a try. Whoever else brings the log into the database is not waited for by SQLite itself.
const LOG_PAUSE: Duration = Duration::from_millis(20);

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
        let options = options(path);
        let mut connection = open_writer(&options)?;
        let is_alone = file.is_alone();
        // A sync of those before us may have failed: nothing may be written behind what is missing then. Where others are at work, that is
        // left to the writer, if nothing is written before.
        if is_alone || is_behind(&mut connection, clock.now()) {
            mend_log(&options).await?;
        }
        if is_alone && keeps_log(path) {
            log::demand_begun_anew(&mut connection)?;
            file.forget_kept_log()?;
        }
        migrate(path).await?;
        if is_alone {
            // Mended above, and ours are the only ones that have written since.
            match empty_log(&options, ready(Ok(()))).await {
                Err(Error::LogInUse) => {}
                Err(error) if error.is_full() => tell_no_room(&error),
                emptied => emptied?,
            }
        }
        let mut connection = Connection::Sqlite(connection);
        let master = Self::prepare(&mut connection, &opened_with, clock.now(), is_alone).await?;
        let file = file.share().await?;
        let watched = options.clone().read_only().busy_timeout(Duration::ZERO);
        let opened = Opened {
            database: Database::Sqlite(Arc::new(options)),
            connection,
            file: Some(file),
            // Nor do we hear of one that another process has heard of, and not mended yet.
            is_doubtful: !is_alone,
        };
        let store = Self::start(opened, master, opened_with, clock)?;
        store.keep(|due| watch::run(watched, due));
        Ok(store)
    }
}

/// A database that is only read, if its schema is that of this program. One on a disk that nobody can write to may be without a log.
pub(super) async fn numbers(path: &Path) -> Option<Numbers> {
    let options = match is_unchanging(path) {
        true => options(path).immutable(),
        false => options(path),
    };
    let numbers = Numbers::new(Database::Sqlite(Arc::new(options)));
    let found = numbers.schema().await.ok()?;
    (found == newest_step()).then_some(numbers)
}

/// The last step of the schema of this program.
fn newest_step() -> Option<i64> {
    MIGRATIONS.iter().map(|step| step.version).max()
}

/// Whether something is going to be written before there is a writer: steps of the schema, and turns of a clock that was ahead.
fn is_behind(connection: &mut SqliteConnection, now: Timestamp) -> bool {
    let step = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";
    let turns = "SELECT COUNT(*) FROM lanes WHERE served_at > $1";
    number(connection, step, Vec::new()) != newest_step()
        || number(connection, turns, vec![Value::Integer(now.0)]) != Some(0)
}

/// The number that a statement returns; `None` if it does not.
fn number(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Option<i64> {
    let rows = connection.fetch(sql, values, 1).ok()?;
    match rows.first()?.at(0).ok()? {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

/// Whether nobody can write to it here, and nothing is in its log.
fn is_unchanging(path: &Path) -> bool {
    let is_read_only = |found: StatVfs| found.f_flag.contains(StatVfsMountFlags::RDONLY);
    let log = Options::new(path).log();
    let is_empty = log.metadata().map_or(true, |log| log.len() == 0);
    is_empty && statvfs(path).is_ok_and(is_read_only)
}

/// Brings the schema up to date.
async fn migrate(path: &Path) -> Result<(), Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("synchronous", "FULL")
        .pragma("secure_delete", "fast")
        // Of a log in which something may be missing, nothing is brought into the database.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    // `run` on a connection makes this future impossible to send (rust-lang/rust#100013).
    let migrated = MIGRATIONS.run_direct(None, &mut connection, false).await;
    // In any case before the connection of whoever calls: the last one that is closed would empty the log, if it were of sqlx.
    let closed = connection.close().await;
    migrated.map_err(Error::Schema)?;
    closed.map_err(Error::Database)
}

fn options(path: &Path) -> Options {
    Options::new(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_mode", "WAL")
        .pragma("synchronous", "FULL")
        .pragma("foreign_keys", "ON")
        // See above, who brings the log into the database.
        .pragma("wal_autocheckpoint", "0")
        .leave_log()
        // What has grown while somebody read is given back.
        .pragma("journal_size_limit", "16777216")
        // What a job may have to undo stays in memory: a few pages.
        .pragma("temp_store", "MEMORY")
        // Deleted keys are overwritten in the pages that stay in use.
        .pragma("secure_delete", "FAST")
}

/// Opens a connection that writes: [`Error::NotDurable`] if SQLite took other settings.
pub(super) fn open_writer(options: &Options) -> Result<SqliteConnection, Error> {
    let mut connection = options.open()?;
    demand_durability(&mut connection)?;
    Ok(connection)
}

fn demand_durability(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut setting = |name: &str| -> Result<Value, Error> {
        let rows = connection.fetch(&format!("PRAGMA {name}"), Vec::new(), 1)?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        Ok(row.at(0)?.clone())
    };
    let journal = setting("journal_mode")?;
    let synchronous = setting("synchronous")?;
    let foreign_keys = setting("foreign_keys")?;
    let is_wal = journal == Value::Text("wal".to_owned());
    match (is_wal, &synchronous, &foreign_keys) {
        (true, Value::Integer(2), Value::Integer(1)) => Ok(()),
        _ => Err(Error::NotDurable(format!(
            "journal_mode={} synchronous={} foreign_keys={}, wanted wal, 2 (full), 1",
            shown(&journal),
            shown(&synchronous),
            shown(&foreign_keys)
        ))),
    }
}

fn shown(setting: &Value) -> String {
    match setting {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
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

/// Brings everything from the log into the database, and cuts the log off, once `synced` is over: then all that was committed before is
/// on the disk. Errors: that of `synced`, and [`Error::LogInUse`] if others used the log all the time, or it must be kept.
pub(super) async fn empty_log(
    options: &Options,
    synced: impl Future<Output = Result<(), Error>> + Send,
) -> Result<(), Error> {
    let (path, options) = (options.path().to_owned(), options.clone().busy_timeout(LOG_WAIT));
    // Before that, so that it hears of each sync of the log that fails afterwards.
    let connection = aside(move || open_writer(&options)).await?;
    synced.await?;
    if keeps_log(&path) {
        return Err(Error::LogInUse);
    }
    let emptied = aside(move || truncate_log(connection)).await;
    if let Err(error @ Error::Database(_)) = &emptied
        && !error.is_full()
    {
        // Without the note, whoever fails next leaves one.
        note_kept_log(&path).unwrap_or_default();
    }
    emptied
}

/// What is in the log stays there, and is tried again.
pub(super) fn tell_no_room(error: &Error) {
    tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(error),
        "no room to bring what was written into the database: the log grows until there is");
}

fn truncate_log(mut connection: SqliteConnection) -> Result<(), Error> {
    let until = Instant::now() + LOG_PATIENCE;
    loop {
        // Whether others were in the way, pages in the log, pages brought into the database.
        let rows = connection.fetch("PRAGMA wal_checkpoint(TRUNCATE)", Vec::new(), 1)?;
        let is_busy = rows.first().ok_or(sqlx::Error::RowNotFound)?.at(0)?;
        if *is_busy == Value::Integer(0) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::LogInUse);
        }
        thread::sleep(LOG_PAUSE);
    }
}

/// On a thread that may stand still.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).map_err(Error::File)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::base::time::SystemClock;
    use crate::crypto::at_rest::Key;
    use crate::store::{ClockRecords as _, Probe as _};

    async fn open(path: &Path) -> Result<SqlStore, Error> {
        let master = MasterKey::new(Key::from_bytes([1; 32]));
        SqlStore::open(path, master, Arc::new(SystemClock)).await
    }

    /// After a power cut SQLite would take the log only up to there.
    #[tokio::test]
    async fn no_step_of_the_schema_is_written_behind_what_is_missing_in_the_log() {
        for is_alone in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("dimed.db");
            let options = options(&path);
            let mut before_us = open_writer(&options).unwrap();
            before_us.execute("CREATE TABLE t (id)", Vec::new()).unwrap();
            // The system has dropped what it could not write.
            let whole = std::fs::read(options.log()).unwrap();
            let log = std::fs::File::options().write(true).open(options.log()).unwrap();
            let at = whole.len() - 2_000;
            log.write_all_at(&[!whole[at]], at as u64).unwrap();
            let left = std::fs::read(options.log()).unwrap();
            let mut other = None;
            if !is_alone {
                let file = DatabaseFile::take(&path).await.unwrap();
                other = Some(file.share().await.unwrap());
            }
            let refused = open(&path).await;
            assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
            assert_eq!(std::fs::read(options.log()).unwrap(), left, "{is_alone}");
            drop(other);
        }
    }

    /// What that would bring into the database may not be on the disk, or stay there.
    #[tokio::test]
    async fn a_log_is_not_emptied_if_it_cannot_be_synced_before_or_must_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder.path().join("dimed.db"));
        let mut connection = open_writer(&options).unwrap();
        connection.execute("CREATE TABLE t (id)", Vec::new()).unwrap();
        let log = std::fs::read(options.log()).unwrap();
        let refused = empty_log(&options, ready(Err(Error::LeaseLost))).await;
        assert!(matches!(refused, Err(Error::LeaseLost)), "{refused:?}");
        note_kept_log(options.path()).unwrap();
        let refused = empty_log(&options, ready(Ok(()))).await;
        assert!(matches!(refused, Err(Error::LogInUse)), "{refused:?}");
        assert_eq!(std::fs::read(options.log()).unwrap(), log);
        let file = DatabaseFile::take(options.path()).await.unwrap();
        file.forget_kept_log().unwrap();
        empty_log(&options, ready(Ok(()))).await.unwrap();
        assert_eq!(options.log().metadata().unwrap().len(), 0);
    }

    /// Somebody who takes no lock has it open all the time: SQLite goes on taking for written what may not be.
    #[tokio::test]
    async fn a_database_whose_log_had_to_be_kept_is_used_once_all_of_it_is_read_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dimed.db");
        open(&path).await.unwrap().close().await;
        let mut reader = open_writer(&options(&path)).unwrap();
        for sql in ["CREATE TABLE t (id)", "PRAGMA wal_checkpoint(PASSIVE)"] {
            reader.execute(sql, Vec::new()).unwrap();
        }
        note_kept_log(&path).unwrap();
        let refused = open(&path).await;
        assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
        assert!(keeps_log(&path));
        reader.close().unwrap();
        let store = open(&path).await.unwrap();
        assert!(!keeps_log(&path));
        store.probe().await.unwrap();
    }

    /// A command that its daemon dies beside has not heard of what failed there.
    #[tokio::test]
    async fn whoever_does_not_know_that_all_of_the_log_is_on_the_disk_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dimed.db");
        let log = options(&path).log();
        let (daemon, command) = (open(&path).await.unwrap(), open(&path).await.unwrap());
        daemon.probe().await.unwrap();
        daemon.close().await;
        let left = std::fs::read(&log).unwrap();
        assert!(!left.is_empty());
        command.clock_record().await.unwrap();
        command.close().await;
        assert_eq!(std::fs::read(&log).unwrap(), left);
        drop((daemon, command));
        let next = open(&path).await.unwrap();
        next.probe().await.unwrap();
        next.close().await;
        assert!(!log.exists());
    }

    /// Judges a new database with one setting changed.
    fn demand(name: &'static str, value: &'static str) -> Result<(), Error> {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder.path().join("dimed.db")).pragma(name, value);
        open_writer(&options).map(drop)
    }

    #[test]
    fn settings_that_could_lose_mail_are_refused() {
        for (name, value, told) in [
            ("synchronous", "NORMAL", "synchronous=1"),
            ("synchronous", "OFF", "synchronous=0"),
            ("foreign_keys", "OFF", "foreign_keys=0"),
            ("journal_mode", "MEMORY", "journal_mode=memory"),
        ] {
            match demand(name, value) {
                Err(Error::NotDurable(reason)) => assert!(reason.contains(told), "{reason}"),
                other => panic!("{told}: {other:?}"),
            }
        }
        assert!(demand("synchronous", "FULL").is_ok());
    }
}
