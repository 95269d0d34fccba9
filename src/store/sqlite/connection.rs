//! A connection to SQLite.
//!
//! Its calls return when SQLite is done, without another thread in between: a commit syncs meanwhile, unless it is the writer's. So
//! whoever must not stand still calls from a thread that may ([`writer`](crate::store::sql), [`readers`](crate::store::sql)).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, InterruptHandle, OpenFlags, ffi};
use sqlx::error::{DatabaseError, ErrorKind};

/// Statements that a connection remembers.
const STATEMENTS: usize = 256;

/// How a database is opened.
#[derive(Debug, Clone)]
pub(in crate::store) struct Options {
    path: PathBuf,
    is_read_only: bool,
    is_immutable: bool,
    leaves_log: bool,
    busy_timeout: Duration,
    pragmas: Vec<(&'static str, &'static str)>,
}

impl Options {
    /// A file that is there.
    pub(in crate::store) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            is_read_only: false,
            is_immutable: false,
            leaves_log: false,
            busy_timeout: Duration::from_secs(5),
            pragmas: Vec::new(),
        }
    }

    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    /// Where what is committed stands until it is brought into the database.
    pub(in crate::store) fn log(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        path.into()
    }

    pub(in crate::store) fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Nobody changes it, and it has no log: nothing is made beside it to read it.
    pub(in crate::store) fn immutable(mut self) -> Self {
        self.is_immutable = true;
        self
    }

    /// Whoever closes the last connection does not bring the log into the database, unless told to:
    /// [`empty_log_on_close`](SqliteConnection::empty_log_on_close).
    pub(in crate::store) fn leave_log(mut self) -> Self {
        self.leaves_log = true;
        self
    }

    /// How long to wait for another connection that writes.
    pub(in crate::store) fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// A setting of the connection. The last of a name holds.
    pub(in crate::store) fn pragma(mut self, name: &'static str, value: &'static str) -> Self {
        self.pragmas.retain(|(other, _)| *other != name);
        self.pragmas.push((name, value));
        self
    }

    pub(in crate::store) fn open(&self) -> Result<SqliteConnection, sqlx::Error> {
        let access = match self.is_read_only {
            true => OpenFlags::SQLITE_OPEN_READ_ONLY,
            false => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        // No two threads use it at a time: that would not compile.
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = match self.is_immutable {
            true => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                rusqlite::Connection::open_with_flags(immutable_uri(&self.path), flags)
            }
            false => rusqlite::Connection::open_with_flags(&self.path, flags),
        };
        let connection = opened.map_err(fault)?;
        connection.busy_timeout(self.busy_timeout).map_err(fault)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        for (setting, value) in [
            // Else SQLite prepares a statement again whenever a value differs that its plan might depend on.
            (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
            (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, self.leaves_log),
        ] {
            connection.set_db_config(setting, value).map_err(fault)?;
        }
        let mut opened = SqliteConnection(connection);
        for (name, value) in &self.pragmas {
            // What a connection that only reads may not set, whoever writes has set.
            if !self.is_read_only {
                opened.fetch(&format!("PRAGMA {name} = {value}"), Vec::new(), usize::MAX)?;
            }
        }
        Ok(opened)
    }
}

/// SQLite takes that option in no other way.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for octet in path.as_os_str().as_bytes() {
        match octet {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*octet)),
            octet if octet.is_ascii_alphanumeric() => uri.push(char::from(*octet)),
            octet => uri += &format!("%{octet:02X}"),
        }
    }
    uri + "?immutable=1"
}

/// A connection. What is open of a transaction is rolled back when it is dropped.
#[derive(Debug)]
pub(in crate::store) struct SqliteConnection(rusqlite::Connection);

impl SqliteConnection {
    /// Runs one statement to its end. `$1` stands for the first value. Returns how many rows it has changed.
    pub(in crate::store) fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, sqlx::Error> {
        self.fetch(sql, values, usize::MAX)?;
        Ok(self.0.changes())
    }

    /// The rows that a statement returns, `most` of them at most.
    pub(in crate::store) fn fetch(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        most: usize,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut statement = self.0.prepare_cached(sql).map_err(fault)?;
        bind(&mut statement, values)?;
        rows(&mut statement, most).map_err(fault)
    }

    /// Ends what it is doing when asked from another thread.
    pub(in crate::store) fn interrupt_handle(&self) -> InterruptHandle {
        self.0.get_interrupt_handle()
    }

    /// From now on closing it, as the last that has the database open, brings the log into that, and removes it. Whoever wants that knows
    /// that all of the log is on the disk.
    pub(in crate::store) fn empty_log_on_close(&mut self) -> Result<(), sqlx::Error> {
        let setting = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.0.set_db_config(setting, false).map(drop).map_err(fault)
    }

    pub(in crate::store) fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().map_err(|(_, error)| fault(error))
    }
}

/// Gives each placeholder its value. SQLite counts `$1` and the like in the order in which they appear.
fn bind(statement: &mut CachedStatement<'_>, mut values: Vec<Value>) -> Result<(), sqlx::Error> {
    let places: Vec<Option<usize>> = (1..=statement.parameter_count())
        .map(|index| {
            let number: usize = statement.parameter_name(index)?.get(1..)?.parse().ok()?;
            number.checked_sub(1)
        })
        .collect();
    for (index, place) in (1..).zip(places) {
        let value = place.and_then(|place| values.get_mut(place));
        let value = value.ok_or_else(|| protocol(format!("a placeholder without a value: {index}")))?;
        // A name that is used twice is one placeholder, so no value is wanted twice.
        let value = std::mem::replace(value, Value::Null);
        statement.raw_bind_parameter(index, value).map_err(fault)?;
    }
    Ok(())
}

fn rows(statement: &mut CachedStatement<'_>, most: usize) -> Result<Vec<SqliteRow>, rusqlite::Error> {
    let columns = statement.column_count();
    let mut names: Option<Arc<[String]>> = None;
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if found.len() == most {
            break;
        }
        let names = names.get_or_insert_with(|| {
            let names = row.as_ref().column_names();
            names.into_iter().map(str::to_owned).collect()
        });
        let values = (0..columns)
            .map(|column| row.get(column))
            .collect::<Result<_, _>>()?;
        found.push(SqliteRow {
            names: Arc::clone(names),
            values,
        });
    }
    Ok(found)
}

/// A row, read.
#[derive(Debug)]
pub(in crate::store) struct SqliteRow {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl SqliteRow {
    /// The value of a column.
    pub(in crate::store) fn at(&self, index: usize) -> Result<&Value, sqlx::Error> {
        let len = self.values.len();
        let missing = || sqlx::Error::ColumnIndexOutOfBounds { index, len };
        self.values.get(index).ok_or_else(missing)
    }

    /// The value of the column with that name.
    pub(in crate::store) fn named(&self, name: &str) -> Result<&Value, sqlx::Error> {
        let missing = || sqlx::Error::ColumnNotFound(name.to_owned());
        let index = self.names.iter().position(|other| other == name);
        self.at(index.ok_or_else(missing)?)
    }
}

/// What SQLite says, in the words of its other driver.
#[derive(Debug)]
struct Fault {
    code: i32,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl StdError for Fault {}

impl DatabaseError for Fault {
    fn message(&self) -> &str {
        &self.message
    }

    /// The extended result code.
    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => ErrorKind::UniqueViolation,
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::ForeignKeyViolation,
            ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::NotNullViolation,
            ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }
}

fn fault(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(cause, message) => sqlx::Error::Database(Box::new(Fault {
            code: cause.extended_code,
            message: message.unwrap_or_else(|| cause.to_string()),
        })),
        error => sqlx::Error::AnyDriverError(Box::new(error)),
    }
}

fn protocol(text: String) -> sqlx::Error {
    sqlx::Error::Encode(text.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn opened(folder: &tempfile::TempDir) -> SqliteConnection {
        let mut connection = Options::new(&folder.path().join("x.db")).open().unwrap();
        let sql = "CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT)";
        connection.execute(sql, Vec::new()).unwrap();
        connection
    }

    #[test]
    fn placeholders_are_counted_by_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = opened(&folder);
        let values = vec![Value::Text("two".into()), Value::Integer(2)];
        let sql = "INSERT INTO t (n, s) VALUES ($2, $1) ON CONFLICT (n) DO UPDATE SET s = $1, n = $2";
        assert_eq!(connection.execute(sql, values).unwrap(), 1);
        let rows = connection
            .fetch("SELECT s, n AS number FROM t", Vec::new(), 9)
            .unwrap();
        assert_eq!(*rows[0].at(0).unwrap(), Value::Text("two".into()));
        assert_eq!(*rows[0].named("number").unwrap(), Value::Integer(2));
        assert!(rows[0].at(2).is_err() && rows[0].named("m").is_err());
        assert!(
            connection
                .execute("INSERT INTO t (n) VALUES ($3)", vec![Value::Null])
                .is_err()
        );
    }

    #[test]
    fn what_nobody_changes_is_read_without_anything_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a ?immutable=0#%41é.db");
        let options = Options::new(&path).pragma("journal_mode", "WAL");
        let mut connection = options.open().unwrap();
        for sql in ["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (7)"] {
            connection.execute(sql, Vec::new()).unwrap();
        }
        connection.close().unwrap();
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names(), 1, "the log is gone");
        let mut connection = options.read_only().immutable().open().unwrap();
        let rows = connection.fetch("SELECT n FROM t", Vec::new(), 9).unwrap();
        assert_eq!(*rows[0].at(0).unwrap(), Value::Integer(7));
        assert_eq!(names(), 1);
        assert!(connection.execute("DELETE FROM t", Vec::new()).is_err());
    }

    #[test]
    fn a_log_is_left_by_whoever_closes_the_last_connection_but_is_not_told_to_empty_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(&folder.path().join("x.db"))
            .pragma("journal_mode", "WAL")
            .leave_log();
        let mut connection = options.open().unwrap();
        let sql = "CREATE TABLE t (n INTEGER)";
        connection.execute(sql, Vec::new()).unwrap();
        connection.close().unwrap();
        let log = std::fs::read(options.log()).unwrap();
        assert!(!log.is_empty());
        for is_told in [false, true] {
            let mut connection = options.open().unwrap();
            connection.fetch("SELECT n FROM t", Vec::new(), 1).unwrap();
            if is_told {
                connection.empty_log_on_close().unwrap();
            }
            connection.close().unwrap();
            let left = std::fs::read(options.log()).ok();
            assert_eq!(left.as_ref(), Some(&log).filter(|_| !is_told));
        }
    }

    /// Nobody has to tell it.
    #[test]
    fn a_log_is_left_by_whoever_only_reads() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(&folder.path().join("x.db")).pragma("journal_mode", "WAL");
        let mut connection = options.open().unwrap();
        let sql = "CREATE TABLE t (n INTEGER)";
        connection.execute(sql, Vec::new()).unwrap();
        let mut reader = options.clone().read_only().open().unwrap();
        reader.fetch("SELECT n FROM t", Vec::new(), 1).unwrap();
        connection.close().unwrap();
        let log = std::fs::read(options.log()).unwrap();
        reader.close().unwrap();
        assert!(!log.is_empty());
        assert_eq!(std::fs::read(options.log()).unwrap(), log);
    }

    #[test]
    fn faults_are_told_as_the_other_driver_tells_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = opened(&folder);
        let insert = |connection: &mut SqliteConnection| {
            connection.execute("INSERT INTO t (n) VALUES (1)", Vec::new())
        };
        insert(&mut connection).unwrap();
        let taken = insert(&mut connection).unwrap_err();
        assert!(taken.as_database_error().unwrap().is_unique_violation());
        let missing = connection.fetch("SELECT * FROM u", Vec::new(), 1).unwrap_err();
        let said = missing.to_string();
        assert_eq!(said, "error returned from database: (code: 1) no such table: u");
    }
}
