//! What of the errors of a database passes by itself.

use std::borrow::Cow;

use sqlx::migrate::MigrateError;

use super::Error;

/// A role or a database that is not there, or a wrong password.
const REFUSED: [&str; 3] = ["28000", "28P01", "3D000"];

/// A transaction that may not write: at a standby, or where somebody has set it so.
const READ_ONLY: &str = "25006";

/// Classes of what passes while a schema is brought up to date: connections, transactions that were in each other's way, want of
/// resources, objects in use, a server that is stopped, and errors of its system.
const PASSING: [&str; 6] = ["08", "40", "53", "55", "57", "58"];

/// Primary result codes of SQLite: somebody else writes.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
/// A disk that cannot be read or written, or is full.
const IO: i32 = 10;
const FULL: i32 = 13;
/// What is in the file is not, or not all, a database.
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;

impl Error {
    /// Whether the file of SQLite is damaged, or is something else.
    pub fn is_damaged(&self) -> bool {
        matches!(self.sqlite_code(), Some(CORRUPT | NOT_A_DATABASE))
    }

    /// Whether somebody else kept the file of SQLite for longer than is waited for.
    pub fn is_locked(&self) -> bool {
        matches!(self.sqlite_code(), Some(BUSY | LOCKED))
    }

    /// Whether there was no room on the disk of the file of SQLite.
    pub(super) fn is_full(&self) -> bool {
        self.sqlite_code() == Some(FULL)
    }

    /// The primary result code, if SQLite has failed.
    fn sqlite_code(&self) -> Option<i32> {
        let error: &sqlx::Error = match self {
            Self::Database(error) => error,
            Self::NotCommitted(error) => error.as_ref(),
            Self::Schema(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => error,
            _ => return None,
        };
        let code = error.as_database_error()?.code()?;
        // Those of PostgreSQL have five digits or letters, and extended ones of SQLite have fewer.
        let code: i32 = code.parse().ok().filter(|_| code.len() < 5)?;
        Some(code & 0xff)
    }

    /// Whether the database may be of use later though nobody changes a configuration. A server can stop to take writes, or to sync
    /// them, at any time, and begin again.
    pub fn may_pass(&self) -> bool {
        match self {
            _ if self.is_damaged() => false,
            _ if self.is_locked() || matches!(self.sqlite_code(), Some(IO | FULL)) => true,
            Self::Database(error) => sqlstate(error).is_none_or(|state| !REFUSED.contains(&&*state)),
            Self::Schema(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                while_migrating(error)
            }
            Self::NotCommitted(_) | Self::NotDurable(_) => true,
            _ => false,
        }
    }
}

impl Error {
    /// Whether there is nobody any more who works on the database.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::PoolClosed))
    }
}

/// A statement that is refused for what it says will be refused again.
fn while_migrating(error: &sqlx::Error) -> bool {
    if error.as_database_error().is_none() {
        return true;
    }
    sqlstate(error)
        .is_some_and(|state| state == READ_ONLY || PASSING.iter().any(|class| state.starts_with(class)))
}

/// What a server of PostgreSQL calls it; SQLite has other numbers.
fn sqlstate(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    let code = error.as_database_error()?.code()?;
    (code.len() == 5).then_some(code)
}
