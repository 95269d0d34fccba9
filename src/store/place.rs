//! Where everything is kept, and the clock that goes with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::postgres::Server;
use super::sqlite::{self, backup};
use super::{ClockRecords as _, Error, MasterKey, Numbers, SqlStore};
use crate::base::followed_clock::FollowedClock;
use crate::base::guarded_clock::GuardedClock;
use crate::base::time::Clock;

/// Which database.
#[derive(Debug)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// A database of PostgreSQL.
    Server(Server),
}

/// What is done with the file of SQLite alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileWork {
    /// Copying it.
    Backup,
    /// Making it from a copy.
    Restore,
    /// Replacing the master key.
    KeyChange,
}

impl fmt::Display for FileWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => {
                "a backup is made of the file of SQLite, and this installation keeps everything in PostgreSQL: use pg_dump or a base \
                 backup of the server, and keep the master key apart from it"
            }
            Self::Restore => {
                "a backup is restored into the file of SQLite, which this installation would not look at, because it keeps everything in \
                 PostgreSQL: restore the database there, with pg_restore or from a base backup of the server, and put the master key back"
            }
            Self::KeyChange => {
                "the master key is replaced in the file of SQLite alone: for an installation that keeps everything in PostgreSQL this is not \
                 there yet"
            }
        })
    }
}

/// [`Error::Unfinished`] if there is a copy that a restore was to make this database of.
fn demand_finished(database: &Path) -> Result<(), Error> {
    let copy = backup::unfinished(database);
    match copy.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::Unfinished(copy)),
        Err(error) => Err(Error::File(error)),
    }
}

/// Whether there is a log beside the place of a database, with something in it.
fn has_log(database: &Path) -> Result<bool, Error> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    match Path::new(&log).metadata() {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::File(error)),
    }
}

impl Place {
    /// That nothing half restored is in the place of a file: [`Error::Unfinished`].
    pub fn demand_finished(&self) -> Result<(), Error> {
        match self {
            Self::File(path) => demand_finished(path),
            Self::Server(_) => Ok(()),
        }
    }

    /// That there is a database, if it is a file: [`Error::NoDatabase`], [`Error::Unfinished`]. What a server has shows when it is
    /// opened.
    pub fn demand_there(&self) -> Result<(), Error> {
        self.demand_finished()?;
        let Self::File(path) = self else {
            return Ok(());
        };
        match path.metadata() {
            Ok(metadata) if metadata.len() > 0 => Ok(()),
            Ok(_) => Err(Error::NoDatabase(path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoDatabase(path.clone())),
            Err(error) => Err(Error::File(error)),
        }
    }

    /// That a database can be made, or is there already: [`Error::Unfinished`], and [`Error::NoDatabase`] where the log of one is left
    /// over that is not there any more. SQLite removes such a log, and what was acknowledged last may be in it alone.
    pub fn demand_room(&self) -> Result<(), Error> {
        match self.demand_there() {
            Err(Error::NoDatabase(path)) if has_log(&path)? => Err(Error::NoDatabase(path)),
            Err(Error::NoDatabase(_)) | Ok(()) => Ok(()),
            other => other,
        }
    }

    /// A file to be read for its numbers, which changes nothing and waits for nobody; `None` where it has to be opened for that, as
    /// a server, and a file whose schema is not that of this program.
    pub async fn numbers(&self) -> Option<Numbers> {
        match self {
            Self::File(path) => sqlite::numbers(path).await,
            Self::Server(_) => None,
        }
    }

    /// Opens it. The clock is that of this host for a file, and that of the server, so that all nodes have the same time, for a
    /// server; in either case it is watched, and compared with the last time that was trusted.
    ///
    /// Errors: as [`SqlStore::open`] and [`SqlStore::open_postgres`], and [`Error::Unfinished`].
    pub async fn open(self, master: MasterKey) -> Result<(SqlStore, Arc<GuardedClock>), Error> {
        self.open_as(master, false).await
    }

    /// The same, and nobody else may open it until this is dropped: [`Error::InUse`] if somebody has it open,
    /// [`Error::NotThere`] for a server.
    pub async fn open_alone(self, master: MasterKey) -> Result<(SqlStore, Arc<GuardedClock>), Error> {
        self.open_as(master, true).await
    }

    async fn open_as(self, master: MasterKey, alone: bool) -> Result<(SqlStore, Arc<GuardedClock>), Error> {
        let (store, guarded) = match self {
            Self::Server(_) if alone => return Err(Error::NotThere(FileWork::KeyChange)),
            Self::File(path) => {
                demand_finished(&path)?;
                let guarded = Arc::new(GuardedClock::system());
                let clock: Arc<dyn Clock> = Arc::clone(&guarded) as _;
                let store = match alone {
                    true => SqlStore::open_alone(&path, master, clock).await?,
                    false => SqlStore::open(&path, master, clock).await?,
                };
                (store, guarded)
            }
            Self::Server(server) => {
                let followed = Arc::new(FollowedClock::new(server.time().await?));
                let guarded = Arc::new(GuardedClock::watching(Box::new(Arc::clone(&followed))));
                let clock: Arc<dyn Clock> = Arc::clone(&guarded) as _;
                (
                    SqlStore::open_postgres(server, Some(followed), master, clock).await?,
                    guarded,
                )
            }
        };
        if let Some(record) = store.clock_record().await? {
            guarded.resume(record.trusted_at);
        }
        Ok((store, guarded))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => server.address.fmt(f),
        }
    }
}
