//! The store in SQL, for every database: what is kept, and how.
//!
//! The statements are here, once. How a database is opened and locked, and what makes it durable, is in
//! [`sqlite`](super::sqlite) and [`postgres`](super::postgres); words that differ are in [`dialect`], and the rest of what differs is in [`database`].
//!
//! All writing goes through one task that groups what waits into one transaction ([`writer`]), so that one sync serves many
//! sessions. Reading has connections of its own ([`readers`]).

mod accounts;
mod aliases;
mod blocks;
mod body;
mod care;
mod claim;
mod clock;
mod connection;
mod database;
mod deposits;
mod dialect;
mod dkim;
mod domains;
mod drain;
mod greylist;
mod key_sets;
mod life_cycle;
mod message;
mod misread;
mod nodes;
mod numbers;
mod operate;
mod probe;
mod query;
mod queue_view;
mod readers;
mod relaying;
mod replay;
mod rewrap;
pub(super) mod ring;
mod seat;
mod settle;
mod signets;
mod spool;
mod sts;
mod writer;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use super::kept::signets::{CurrentSignet, KeptSignets, MOST_CHANGES};
use super::kept::{self, Kept, Mark, Row};
use super::sqlite::DatabaseFile;
use super::{Desk, Error, MasterKey, Tenure};
use crate::base::time::{Clock, Timestamp};
use crate::mail::address::Domain;
pub(super) use body::sweep_uncommitted;
pub use claim::CLAIM_QUERIES;
use claim::InDoubt;
pub(super) use connection::Connection;
pub(super) use database::Database;
pub use numbers::Numbers;
pub(super) use query::query;
use query::{query_as, query_scalar};
use readers::Readers;
pub(super) use writer::Work;
use writer::Writer;
pub use writer::WriterStats;

/// The store in a database. Cheap to clone.
#[derive(Clone)]
pub struct SqlStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    master: MasterKey,
    /// As it came from outside.
    opened_with: MasterKey,
    clock: Arc<dyn Clock>,
    writer: Writer,
    readers: Readers,
    kept: Kept,
    kept_signets: KeptSignets,
    changed: Notify,
    /// Milliseconds, to notice a clock that has been set back.
    last_claim_at: AtomicI64,
    /// How the clock stood to one that nobody can set when mail was claimed last.
    clock_offset_ms: AtomicI64,
    /// Milliseconds, until which the greylist takes whoever comes.
    greylist_open_until: AtomicI64,
    _file: Option<DatabaseFile>,
    /// What runs as long as this is open.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Under which it claims now.
    tenure: Mutex<Tenure>,
    desk: Mutex<Option<Arc<dyn Desk>>>,
    heart: OnceLock<AbortHandle>,
    in_doubt: InDoubt,
}

/// A database that has been opened, and a connection that writes.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) connection: Connection,
    /// What says that we have it open.
    pub(super) file: Option<DatabaseFile>,
    /// Whether a sync may have failed that nobody knows of.
    pub(super) is_doubtful: bool,
}

impl SqlStore {
    /// What is done with a database before it is used: [`Error::WrongMasterKey`] if it was made with another key. Who is alone
    /// with it sweeps it.
    pub(super) async fn prepare(
        connection: &mut Connection,
        master: &MasterKey,
        now: Timestamp,
        is_alone: bool,
    ) -> Result<MasterKey, Error> {
        let master = ring::complete(connection, master).await?;
        claim::forget_future_turns(connection, now).await?;
        if is_alone {
            body::sweep_uncommitted(connection).await?;
        }
        Ok(master)
    }

    pub(super) fn start(
        opened: Opened,
        master: MasterKey,
        opened_with: MasterKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let Opened {
            database,
            connection,
            file,
            is_doubtful,
        } = opened;
        let writer = Writer::start(connection, database.clone(), is_doubtful)?;
        Ok(Self {
            inner: Arc::new(Inner {
                master,
                opened_with,
                readers: Readers::new(database.clone()),
                writer,
                database,
                kept: Kept::default(),
                kept_signets: KeptSignets::default(),
                changed: Notify::new(),
                last_claim_at: AtomicI64::new(i64::MIN),
                clock_offset_ms: AtomicI64::new(clock.offset_ms()),
                greylist_open_until: AtomicI64::new(i64::MIN),
                clock,
                _file: file,
                tasks: Mutex::default(),
                tenure: Mutex::default(),
                desk: Mutex::default(),
                heart: OnceLock::new(),
                in_doubt: InDoubt::default(),
            }),
        })
    }

    /// Has a task run for as long as this is open, which says when something may be due.
    pub(super) fn keep<F>(&self, task: impl FnOnce(Box<dyn Fn() + Send + Sync>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = Arc::downgrade(&self.inner);
        let due = move || {
            if let Some(inner) = inner.upgrade() {
                inner.changed.notify_one();
            }
        };
        self.inner.add_task(task(Box::new(due)));
    }

    /// How much the writer has done since it was opened.
    pub fn writer_stats(&self) -> WriterStats {
        self.inner.writer.stats()
    }

    /// Finishes what was begun, and closes the database. Later calls fail.
    pub async fn close(&self) {
        for task in self.inner.end_tasks() {
            // It may have a connection, and that of the writer empties the log if it is the last one.
            task.await.unwrap_or_default();
        }
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// Sees to it that nothing is left of what was erased.
    async fn empty_log(&self) -> Result<(), Error> {
        // The writer has heard of every sync that has failed, and mends what that has left out before it begins anything.
        let synced = self.inner.writer.run(|_| Box::pin(async { Ok(()) }));
        self.inner.database.finish_erasing(synced).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl Inner {
    fn add_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks().push(tokio::spawn(task));
    }

    fn end_tasks(&self) -> Vec<JoinHandle<()>> {
        let tasks = std::mem::take(&mut *self.tasks());
        tasks.iter().for_each(JoinHandle::abort);
        if let Some(heart) = self.heart.get() {
            heart.abort();
        }
        tasks
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the clock stands to one that nobody can set, and by how much it was set since mail was claimed last, if it was.
    fn clock_set_by(&self) -> (i64, Option<i64>) {
        let offset_ms = self.clock.offset_ms();
        let before = self.clock_offset_ms.load(Ordering::Relaxed);
        (offset_ms, claim::clock_set_by(offset_ms - before))
    }

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
                    .fetch_one(self.readers.at_once())
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
                let changes: Vec<(i64, String)> = query_as(
                    "SELECT seq, name FROM signet_changes WHERE seq >= $1 ORDER BY seq DESC LIMIT $2",
                )
                .bind(asked.count)
                .bind(MOST_CHANGES)
                .fetch_all(self.readers.at_once())
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
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
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

impl std::fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlStore")
    }
}

/// Tells a taken name from other failures.
fn exists(error: sqlx::Error) -> Error {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => Error::Exists,
        _ => Error::Database(error),
    }
}
