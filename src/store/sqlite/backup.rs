//! A backup: a copy of the database in one file, with what else an installation needs beside it.
//!
//! The copy is made by `VACUUM INTO`, in one read transaction, so it is as the database was at one moment, and nobody who writes
//! waits for it. What comes along is in two tables that no other database has; restoring drops them.

use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, query, query_as, query_scalar};

use super::{MIGRATIONS, Options};
use crate::base::time::Timestamp;
use crate::crypto::at_rest::Key;
use crate::store::sql::{Connection, ring, sweep_uncommitted};
use crate::store::{Error, MasterKey};

/// Why restored mail is held; `queue list --reason` finds it.
pub const RESTORED: &str = "restored from a backup";

/// What SQLite says of a file that is something else.
const NOT_A_DATABASE: i32 = 26;

/// What it says of one that is damaged, by the first octet of its codes: there is no such table, it is malformed, a rule does not hold,
/// it is something else.
const DAMAGED: [i32; 4] = [1, 11, 19, NOT_A_DATABASE];

/// What it says of one that ends too early.
const SHORT_READ: i32 = 522;

/// What SQLite puts beside a database.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// What of that belongs to its content.
const LOGS: [&str; 2] = ["-journal", "-wal"];

/// What a backup has beside the database.
#[derive(Debug, Default)]
pub struct Beside {
    /// The master key, unless it was left out.
    pub master_key: Option<Key>,
    /// Files below the data directory, by name.
    pub files: Vec<(String, Vec<u8>)>,
}

/// What becomes of a restored database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Recipients that are held now.
    pub held: u64,
}

/// Where a backup becomes a database, which gets its name last. As long as this is there, there is no installation.
pub fn unfinished(database: &Path) -> PathBuf {
    database.with_extension("restored")
}

/// Takes away a copy with all that SQLite has put beside it; the copy itself goes last.
pub fn remove(copy: &Path) -> io::Result<()> {
    remove_beside(copy)?;
    remove_file(copy)
}

/// Takes away what SQLite has put beside a copy. Nobody may have it open.
pub fn remove_beside(copy: &Path) -> io::Result<()> {
    for end in BESIDE {
        let mut name = copy.as_os_str().to_owned();
        name.push(end);
        remove_file(Path::new(&name))?;
    }
    Ok(())
}

/// Copies what SQLite has put beside a database and what belongs to its content, for a copy of it. Nobody may have it open.
pub fn copy_beside(database: &Path, copy: &Path) -> io::Result<()> {
    for end in LOGS {
        let (mut from, mut to) = (database.as_os_str().to_owned(), copy.as_os_str().to_owned());
        from.push(end);
        to.push(end);
        match std::fs::copy(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied?),
        }
    }
    Ok(())
}

/// Sees to it that a file is not there.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Completes a copy, which is empty otherwise of what is beside it. It is synced.
pub async fn complete(copy: &Path, beside: &Beside, now: Timestamp) -> Result<(), Error> {
    let mut db = open(copy).await?;
    let mut transaction = db.begin().await?;
    for sql in [
        "CREATE TABLE backup (id INTEGER PRIMARY KEY CHECK (id = 1), made_at INTEGER NOT NULL, master_key BLOB)",
        "CREATE TABLE backup_files (name TEXT PRIMARY KEY, octets BLOB NOT NULL)",
    ] {
        query(sql).execute(&mut *transaction).await?;
    }
    query("INSERT INTO backup (id, made_at, master_key) VALUES (1, $1, $2)")
        .bind(now.0)
        .bind(beside.master_key.as_ref().map(|key| key.expose().to_vec()))
        .execute(&mut *transaction)
        .await?;
    for (name, octets) in &beside.files {
        query("INSERT INTO backup_files (name, octets) VALUES ($1, $2)")
            .bind(name)
            .bind(octets)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    db.close().await?;
    Ok(())
}

/// What is beside the database in a backup. Errors: [`Error::Missing`] if it is no backup, [`Error::Unreadable`] if it is damaged,
/// [`Error::Schema`] if it is newer than this program.
pub async fn read(copy: &Path) -> Result<Beside, Error> {
    look(copy, "backup").await.map_err(damaged)
}

/// The same of a database as it was left, too, beside which there is nothing. What SQLite has put beside it must be beside the copy.
pub async fn read_any(copy: &Path) -> Result<Beside, Error> {
    look(copy, "master_key_check").await.map_err(damaged)
}

/// The master key in a backup, if it has one. The file is read where it is: nothing of it is copied, and what is damaged in it
/// elsewhere, or newer than this program, does not matter.
///
/// Errors: [`Error::Missing`] if it is no backup, [`Error::Unreadable`] if the key cannot be read.
pub async fn read_master_key(file: &Path) -> Result<Option<Key>, Error> {
    let key = look_for_key(file).await;
    key.map_err(|error| damaged(no_database(error)))
}

async fn look_for_key(file: &Path) -> Result<Option<Key>, Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .disable_statement_logging();
    let mut db = options.connect().await?;
    if !has(&mut db, "backup").await? {
        return Err(Error::Missing);
    }
    let key = master_key(&mut db).await?;
    db.close().await?;
    Ok(key)
}

async fn master_key(db: &mut SqliteConnection) -> Result<Option<Key>, Error> {
    let key: Option<Vec<u8>> = query_scalar("SELECT master_key FROM backup")
        .fetch_one(db)
        .await?;
    let key = key.map(|octets| <[u8; 32]>::try_from(octets).map(Key::from_bytes));
    key.transpose().map_err(|_| Error::Unreadable("master key"))
}

/// [`Error::Missing`] for what is said of a file that is something else.
fn no_database(error: Error) -> Error {
    match code(&error) {
        Some(NOT_A_DATABASE) => Error::Missing,
        _ => error,
    }
}

/// `demanded` is a table that must be there.
async fn look(copy: &Path, demanded: &str) -> Result<Beside, Error> {
    let mut db = open(copy).await.map_err(no_database)?;
    if !has(&mut db, demanded).await.map_err(no_database)? {
        return Err(Error::Missing);
    }
    let found: Vec<String> = query_scalar("PRAGMA integrity_check(1)")
        .fetch_all(&mut db)
        .await?;
    if found != ["ok"] {
        return Err(Error::Unreadable("backup"));
    }
    // Forward only, and refused if it is newer.
    MIGRATIONS
        .run_direct(None, &mut db, false)
        .await
        .map_err(Error::Schema)?;
    if !has(&mut db, "backup").await? {
        db.close().await?;
        return Ok(Beside::default());
    }
    let master_key = master_key(&mut db).await?;
    let files = query_as("SELECT name, octets FROM backup_files ORDER BY name")
        .fetch_all(&mut db)
        .await?;
    db.close().await?;
    Ok(Beside { master_key, files })
}

async fn has(db: &mut SqliteConnection, table: &str) -> Result<bool, Error> {
    let found: i64 = query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE name = $1")
        .bind(table)
        .fetch_one(db)
        .await?;
    Ok(found > 0)
}

/// Makes a copy of a backup the database of an installation: all mail that waits is held, so that nothing that went out after the
/// backup goes out again unasked. [`Error::WrongMasterKey`] if it was made with another key, [`Error::Unreadable`] if it is damaged.
pub async fn adopt(copy: &Path, master: &MasterKey) -> Result<Restored, Error> {
    take(copy, master).await.map_err(damaged)
}

async fn take(copy: &Path, master: &MasterKey) -> Result<Restored, Error> {
    claim(copy, master).await?;
    let mut db = open(copy).await?;
    let restored = hold(&mut db).await?;
    finish(db).await?;
    Ok(restored)
}

/// The same without the master key: what was encrypted under it is gone, and what is not stays.
pub async fn adopt_without_key(copy: &Path, master: &MasterKey) -> Result<(), Error> {
    drop_sealed(copy, master).await.map_err(damaged)
}

async fn drop_sealed(copy: &Path, master: &MasterKey) -> Result<(), Error> {
    let mut db = open(copy).await?;
    for sql in SEALED {
        query(*sql).execute(&mut db).await?;
    }
    db.close().await?;
    claim(copy, master).await?;
    finish(open(copy).await?).await
}

/// Demands that the key is that of the copy, which becomes that of a copy without one; sweeps away bodies that were on their way in, which
/// were never acknowledged.
async fn claim(copy: &Path, master: &MasterKey) -> Result<(), Error> {
    let options = Options::new(copy)
        .pragma("journal_mode", "DELETE")
        .pragma("synchronous", "FULL")
        .pragma("foreign_keys", "ON")
        .pragma("secure_delete", "ON");
    let mut db = Connection::Sqlite(options.open()?);
    ring::complete(&mut db, master).await?;
    sweep_uncommitted(&mut db).await?;
    db.close().await?;
    Ok(())
}

/// What nobody can open without the key.
const SEALED: &[&str] = &[
    "DELETE FROM master_key_check",
    "DELETE FROM master_key_ring",
    "DELETE FROM pieces",
    "DELETE FROM incoming",
    "DELETE FROM messages",
    "DELETE FROM lanes",
    "UPDATE signets SET private_keys = NULL",
    "DELETE FROM remote_signets",
    "DELETE FROM kem_keys",
    "DELETE FROM key_set_pins",
    "DELETE FROM custody_pins",
    "DELETE FROM rollovers",
    "DELETE FROM key_deposits",
    "DELETE FROM dkim_keys",
    "DELETE FROM srs_paths",
    "DELETE FROM callouts",
    "DELETE FROM greylist",
    "DELETE FROM greylist_networks",
    "DELETE FROM pins",
    "DELETE FROM sts_policies",
];

async fn hold(db: &mut SqliteConnection) -> Result<Restored, Error> {
    let held = query(
        "UPDATE recipients SET state = 'held', due_at = NULL, lease = NULL, leased_until = NULL, fault = $1 \
         WHERE state = 'waiting'",
    )
    .bind(RESTORED)
    .execute(&mut *db)
    .await?;
    for sql in [
        "UPDATE recipients SET lease = NULL, leased_until = NULL WHERE lease IS NOT NULL",
        "DELETE FROM lanes",
    ] {
        query(sql).execute(&mut *db).await?;
    }
    Ok(Restored {
        held: held.rows_affected(),
    })
}

/// Leaves nothing of what is only in a backup, the master key above all.
async fn finish(mut db: SqliteConnection) -> Result<(), Error> {
    for sql in [
        "DROP TABLE IF EXISTS backup",
        "DROP TABLE IF EXISTS backup_files",
        "VACUUM",
    ] {
        query(sql).execute(&mut db).await?;
    }
    db.close().await?;
    Ok(())
}

/// The code of SQLite.
fn code(error: &Error) -> Option<i32> {
    match error {
        Error::Database(sqlx::Error::Database(said)) => said.code()?.parse().ok(),
        _ => None,
    }
}

/// [`Error::Unreadable`] for what is said of a file that is damaged.
fn damaged(error: Error) -> Error {
    let is_damaged = match (&error, code(&error)) {
        (Error::Database(sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }), _) => true,
        (_, Some(code)) => code == SHORT_READ || DAMAGED.contains(&(code & 0xff)),
        _ => false,
    };
    match is_damaged {
        true => Error::Unreadable("backup"),
        false => error,
    }
}

/// A file of its own, which nobody else has open.
async fn open(copy: &Path) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "on")
        .disable_statement_logging();
    Ok(options.connect().await?)
}
