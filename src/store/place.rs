//! Where everything is kept, and the clock that goes with it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::postgres::Server;
use super::{ClockRecords as _, Error, MasterKey, SqlStore};
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

impl Place {
    /// Opens it. The clock is that of this host for a file, and that of the server, so that all nodes have the same time, for a
    /// server; in either case it is watched, and compared with the last time that was trusted.
    ///
    /// Errors: as [`SqlStore::open`] and [`SqlStore::open_postgres`].
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
            Self::Server(_) if alone => return Err(Error::NotThere),
            Self::File(path) => {
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
