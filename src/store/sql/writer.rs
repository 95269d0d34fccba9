//! The one connection that writes: whatever waits goes into one transaction, and is answered after its commit.
//!
//! A job alone is not delayed: the transaction closes as soon as nothing more waits. While one transaction is being
//! synced the next one's jobs are done, and it is committed once that is over, so groups grow with load.
//!
//! What may be done twice need not be durable at once: a transaction of such jobs alone is not waited for by the disk. It is durable
//! after [`SOON`], or with the next one that is ([`Durable`]). What nobody waits for gathers until something else is written, so that
//! many such jobs change the same pages once.
//!
//! SQLite works on the thread that calls it. So there the writer has a thread of its own, and a job's statements cost no change of
//! threads. SQLite itself does not sync when it commits: the writer does, on another thread ([`syncs`]). What a sync was for that has
//! failed is answered once the log was written again and synced, or else that it may be missing ([`task`]). The writer brings the log into
//! the database, too, once it is long and all of it is synced. Where that fails, the log is kept until all that has the database open is
//! ended.

mod job;
mod syncs;
mod task;
mod transaction;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::database::Database;
use crate::store::Error;
use job::{Job, Pending};
use task::Task;

/// What one job does with the connection.
pub(in crate::store) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Jobs that may wait; more wait for room.
const WAITING_JOBS: usize = 1024;

/// After how long what may be done twice is synced: as long as a power cut may make it happen again.
const SOON: Duration = Duration::from_millis(100);

/// How long what nobody waits for is put off, at most.
const LEISURE: Duration = Duration::from_millis(10);

/// Jobs that gather; more are done at once.
const GATHERED: usize = GROUP_JOBS as usize / 2;

/// Jobs in one transaction. Bounds how long the first of them waits for the last.
const GROUP_JOBS: u64 = 256;

/// What the writer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterStats {
    /// Transactions committed: each is one sync at most.
    pub transactions: u64,
    /// Jobs in them.
    pub jobs: u64,
}

/// When the work of a job has to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// Before the job is answered.
    AtOnce,
    /// Soon: a kill does not undo it, and after a power cut the work is done again.
    Soon,
    /// The same, and nobody minds if the job begins [`LEISURE`] later.
    AtLeisure,
}

/// Hands jobs to the writing task.
pub(super) struct Writer {
    jobs: mpsc::Sender<Message>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    transactions: AtomicU64,
    jobs: AtomicU64,
    /// Whether the log of SQLite is kept, because it could not be brought into the database.
    keeps_log: AtomicBool,
}

enum Message {
    Job(Box<dyn Job>, Durable),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the task on an open connection; `database` opens another one should that fail. If it is doubtful whether the log is
    /// whole, it is mended before anything is written.
    ///
    /// Errors: [`Error::File`] if there can be no thread for it.
    pub(super) fn start(
        connection: Connection,
        database: Database,
        is_doubtful: bool,
    ) -> Result<Self, Error> {
        let mut task = Task::new(connection, database)?;
        task.is_doubtful = is_doubtful;
        Self::of(task)
    }

    fn of(task: Task) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel(WAITING_JOBS);
        let counters = Arc::clone(&task.counters);
        match task.database {
            Database::Sqlite(_) => {
                let runtime = Handle::current();
                thread::Builder::new()
                    .name("store-writer".to_owned())
                    .spawn(move || runtime.block_on(task.run(queue)))
                    .map_err(Error::File)?;
            }
            Database::Postgres(_) => drop(tokio::spawn(task.run(queue))),
        }
        Ok(Self { jobs, counters })
    }

    /// Runs `job` in a transaction that it may share with others. Returns once that is durable.
    ///
    /// A job that fails changes nothing, and does not disturb the others.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        self.run_as(Durable::AtOnce, job).await
    }

    /// The same for work that need not be durable before it is answered.
    pub(super) async fn run_as<T, F>(&self, durable: Durable, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Message::Job(Box::new(Pending { job, answer }), durable);
        let closed = || Error::Database(sqlx::Error::PoolClosed);
        self.jobs.send(job).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// As [`run`](Self::run) for work that nobody waits for and that may be left undone when there is no room.
    pub(super) fn run_unattended<F>(&self, job: F)
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, ()> + Send + 'static,
    {
        let (answer, _) = oneshot::channel();
        let job = Message::Job(Box::new(Pending { job, answer }), Durable::AtOnce);
        drop(self.jobs.try_send(job));
    }

    /// Waits for what was handed in before, then closes the connection.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.jobs.send(Message::Close(answer)).await.is_ok() {
            // A dropped answer means that the task has ended already.
            answered.await.unwrap_or_default();
        }
    }

    pub(super) fn stats(&self) -> WriterStats {
        WriterStats {
            transactions: self.counters.transactions.load(Ordering::Relaxed),
            jobs: self.counters.jobs.load(Ordering::Relaxed),
        }
    }

    /// Whether the log of SQLite is kept until all that has the database open is ended.
    pub(super) fn keeps_log(&self) -> bool {
        self.counters.keeps_log.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
