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
//! threads. SQLite itself does not sync when it commits: the writer does, on another thread ([`syncs`]).

mod syncs;

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, is_lost};
use super::database::{Database, FileId};
use super::query::query;
use crate::base::observe;
use crate::store::Error;
use syncs::{Committed, Syncs};

/// What one job does with the connection.
pub(in crate::store) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Jobs that may wait; more wait for room.
const WAITING_JOBS: usize = 1024;

/// The pause before a connection that could not be opened is tried again.
const PAUSE: Duration = Duration::from_millis(500);

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
    /// Whether somebody sees to it that what was put off is synced, and that what has gathered is done.
    sync_awaited: Arc<AtomicBool>,
    leisure_awaited: Arc<AtomicBool>,
}

#[derive(Default)]
struct Counters {
    transactions: AtomicU64,
    jobs: AtomicU64,
}

enum Message {
    Job(Box<dyn Job>, Durable),
    /// What has gathered is to be done now.
    Gathered,
    /// What was put off is to be durable now.
    Sync,
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
        Ok(Self {
            jobs,
            counters,
            sync_awaited: Arc::default(),
            leisure_awaited: Arc::default(),
        })
    }

    /// Runs `job` in a transaction that it may share with others. Returns once that is durable.
    ///
    /// A job that fails changes nothing, and does not disturb the others.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        self.run_durably(Durable::AtOnce, job).await
    }

    /// The same for work that need not be durable before it is answered.
    pub(super) async fn run_as<T, F>(&self, durable: Durable, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        let done = self.run_durably(durable, job).await;
        if durable != Durable::AtOnce {
            self.remind(SOON, &self.sync_awaited, Message::Sync);
        }
        done
    }

    /// Has the writer told something after a while, if it is not going to be told anyway.
    fn remind(&self, after: Duration, awaited: &Arc<AtomicBool>, message: Message) {
        if awaited.swap(true, Ordering::SeqCst) {
            return;
        }
        let (jobs, awaited) = (self.jobs.clone(), Arc::clone(awaited));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            awaited.store(false, Ordering::SeqCst);
            // Whoever has closed it has done it.
            jobs.send(message).await.unwrap_or_default();
        });
    }

    async fn run_durably<T, F>(&self, durable: Durable, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Message::Job(Box::new(Pending { job, answer }), durable);
        let closed = || Error::Database(sqlx::Error::PoolClosed);
        self.jobs.send(job).await.map_err(|_| closed())?;
        if durable == Durable::AtLeisure {
            // Not before: a word that comes ahead of the job would leave it waiting.
            self.remind(LEISURE, &self.leisure_awaited, Message::Gathered);
        }
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
}

/// A job whose result type only its caller knows.
trait Job: Send {
    /// Does the work; its caller hears of it through [`Done`].
    fn run<'c>(self: Box<Self>, connection: &'c mut Connection) -> DoneFuture<'c>;
    /// Answers without having run.
    fn refuse(self: Box<Self>, error: Error);
}

type DoneFuture<'c> = Pin<Box<dyn Future<Output = Box<dyn Done>> + Send + 'c>>;

/// A finished job, whose caller is still waiting.
trait Done: Send {
    /// Whether its changes are to be kept.
    fn succeeded(&self) -> bool;
    /// Answers: with the job's own result, or the error of the transaction.
    fn answer(self: Box<Self>, transaction: Result<(), Error>);
}

struct Pending<F, T> {
    job: F,
    answer: oneshot::Sender<Result<T, Error>>,
}

struct Finished<T> {
    result: Result<T, Error>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Pending<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send,
{
    fn run<'c>(self: Box<Self>, connection: &'c mut Connection) -> DoneFuture<'c> {
        let Self { job, answer } = *self;
        let work = job(connection);
        Box::pin(async move {
            let result = work.await;
            Box::new(Finished { result, answer }) as Box<dyn Done>
        })
    }

    fn refuse(self: Box<Self>, error: Error) {
        // If nobody listens any more, the caller was cancelled.
        drop(self.answer.send(Err(error)));
    }
}

impl<T: Send> Done for Finished<T> {
    fn succeeded(&self) -> bool {
        self.result.is_ok()
    }

    fn answer(self: Box<Self>, transaction: Result<(), Error>) {
        let result = transaction.and(self.result);
        // As above.
        drop(self.answer.send(result));
    }
}

struct Task {
    /// `None` after a failure that leaves its state unknown.
    connection: Option<Connection>,
    /// When it may be opened anew.
    not_before: Option<Instant>,
    database: Database,
    /// Whether the connection leaves it to us to sync. New ones do not.
    leaves_syncs: bool,
    /// Those of SQLite's log.
    syncs: Option<Syncs>,
    /// Whether something may not be synced.
    is_put_off: bool,
    /// Whether a sync has failed: what it was for may be missing on the disk, and with it all that stands behind it in the log, though
    /// later syncs succeed.
    is_doubtful: bool,
    /// Jobs that nobody waits for.
    gathered: VecDeque<Box<dyn Job>>,
    /// SQLite's log, from when the connection was opened: whoever opens it later does not hear of what failed before.
    log: Option<Arc<File>>,
    /// The database, as it was when this began.
    file: Option<FileId>,
    counters: Arc<Counters>,
}

impl Task {
    fn new(connection: Connection, database: Database) -> Result<Self, Error> {
        let counters = Arc::<Counters>::default();
        let syncs = match database {
            Database::Sqlite(_) => Some(Syncs::start(Arc::clone(&counters)).map_err(Error::File)?),
            Database::Postgres(_) => None,
        };
        Ok(Self {
            connection: Some(connection),
            not_before: None,
            log: database.open_log()?.map(Arc::new),
            file: database.file()?,
            database,
            leaves_syncs: false,
            syncs,
            is_put_off: false,
            is_doubtful: false,
            gathered: VecDeque::new(),
            counters,
        })
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut next = None;
        let closed = loop {
            let message = match next.take() {
                Some(message) => Some(message),
                None => queue.recv().await,
            };
            match message {
                Some(Message::Job(job, Durable::AtLeisure)) if self.gathered.len() < GATHERED => {
                    self.gathered.push_back(job);
                }
                Some(Message::Job(job, durable)) => next = self.group(job, durable, &mut queue).await,
                Some(Message::Gathered) => next = self.do_gathered(&mut queue).await,
                Some(Message::Sync) => self.sync().await,
                Some(Message::Close(closed)) => break Some(closed),
                None => break None,
            }
        };
        queue.close();
        self.do_gathered(&mut queue).await;
        self.sync().await;
        if let Some(connection) = self.connection {
            // All transactions are over, so a failure to close loses nothing.
            connection.close().await.unwrap_or_default();
        }
        if let Some(closed) = closed {
            closed.send(()).unwrap_or_default();
        }
    }

    async fn do_gathered(&mut self, queue: &mut mpsc::Receiver<Message>) -> Option<Message> {
        let first = self.gathered.pop_front()?;
        self.group(first, Durable::Soon, queue).await
    }

    /// One transaction: `first`, what has gathered, and whatever waits behind it, as far as it is to be as durable. Returns what does
    /// not belong to it, if that came up.
    async fn group(
        &mut self,
        first: Box<dyn Job>,
        durable: Durable,
        queue: &mut mpsc::Receiver<Message>,
    ) -> Option<Message> {
        let syncs = durable == Durable::AtOnce || self.database.is_shared();
        let mut connection = match self.begin().await {
            Ok(connection) => connection,
            Err(error) => return refuse_all(first, error, &mut self.gathered, queue),
        };
        let transaction = Transaction {
            connection: &mut connection,
            gathered: &mut self.gathered,
            queue,
            syncs,
            under_way: self.syncs.as_mut().filter(|_| syncs),
        };
        let (ran, next) = transaction.run_jobs(first).await;
        self.connection = Some(connection);
        match ran {
            Ok(done) => self.commit(done, syncs).await,
            Err((done, error)) => self.fail(done, error).await,
        }
        next
    }

    /// Syncs what was put off.
    async fn sync(&mut self) {
        if let Some(syncs) = &mut self.syncs {
            // Of a fault one of two would hear.
            syncs.over().await;
            self.is_doubtful |= syncs.take_failure();
        }
        if !self.is_put_off {
            return;
        }
        match self.log.as_ref().map_or(Ok(()), |log| log.sync_data()) {
            Ok(()) => self.is_put_off = false,
            Err(error) => {
                tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "cannot sync what was written last");
                self.is_doubtful = true;
            }
        }
    }

    /// Has what may be missing in the log written there again, and then brought into the database, before anything is put behind it that a
    /// power cut would take with it.
    async fn make_certain(&mut self) -> Result<(), Error> {
        if self.file != self.database.file()? {
            return Err(Error::NotDurable(
                "the database was removed or replaced".to_owned(),
            ));
        }
        self.is_doubtful |= self.syncs.as_mut().is_some_and(Syncs::take_failure);
        if self.is_doubtful {
            self.database.mend_log().await?;
            self.database.finish_erasing().await?;
            self.is_doubtful = false;
        }
        Ok(())
    }

    /// The connection, in a new transaction.
    async fn begin(&mut self) -> Result<Connection, Error> {
        self.make_certain().await?;
        if let Some(mut connection) = self.connection.take() {
            match self.begin_on(&mut connection).await {
                Ok(()) => return Ok(connection),
                // Lost since the last transaction: nothing has been done in this one yet.
                Err(Error::Database(error)) if is_lost(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.open().await?;
        self.leaves_syncs = false;
        self.begin_on(&mut connection).await?;
        self.log = self.database.open_log()?.map(Arc::new);
        Ok(connection)
    }

    async fn begin_on(&mut self, connection: &mut Connection) -> Result<(), Error> {
        if !self.leaves_syncs {
            self.database.leave_syncs(connection).await?;
            self.leaves_syncs = true;
        }
        self.database.begin(connection).await
    }

    /// Whoever is not there is not tried too often.
    async fn open(&mut self) -> Result<Connection, Error> {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return Err(Error::Database(sqlx::Error::PoolTimedOut));
        }
        let opened = self.database.open_writer().await;
        self.not_before = match &opened {
            Err(Error::Database(_)) => Some(Instant::now() + PAUSE),
            _ => None,
        };
        opened
    }

    async fn commit(&mut self, jobs: Vec<Box<dyn Done>>, syncs: bool) {
        if syncs && let Some(under_way) = &mut self.syncs {
            under_way.over().await;
            if under_way.take_failure() {
                self.is_doubtful = true;
                let error = io::Error::other("what was written before could not be synced");
                return self.fail(jobs, Arc::new(sqlx::Error::Io(error))).await;
            }
        }
        let begun = Instant::now();
        let committed = match &mut self.connection {
            Some(connection) => query("COMMIT").execute(connection).await.map(drop),
            None => Err(sqlx::Error::PoolClosed),
        };
        if let Err(error) = committed {
            self.is_doubtful = true;
            return self.fail(jobs, Arc::new(error)).await;
        }
        let committed = Committed { jobs, begun };
        match (&mut self.syncs, &self.log) {
            (Some(under_way), Some(log)) if syncs => {
                under_way.begin(Arc::clone(log), committed);
                // It is for everything before, too.
                self.is_put_off = false;
            }
            _ => {
                self.is_put_off |= !syncs;
                committed.answer(&self.counters, syncs);
            }
        }
    }

    /// Nothing of this transaction is kept. The connection is replaced, whatever state it is in.
    async fn fail(&mut self, done: Vec<Box<dyn Done>>, error: Arc<sqlx::Error>) {
        if let Some(connection) = self.connection.take() {
            // Closing rolls back what is open.
            connection.close().await.unwrap_or_default();
        }
        for job in done {
            job.answer(Err(Error::NotCommitted(Arc::clone(&error))));
        }
    }
}

/// What waits would only wait longer for what is not there. Returns the request to close, if one came up.
fn refuse_all(
    first: Box<dyn Job>,
    error: Error,
    gathered: &mut VecDeque<Box<dyn Job>>,
    queue: &mut mpsc::Receiver<Message>,
) -> Option<Message> {
    let shared = match error {
        Error::Database(error) => {
            let error = Arc::new(error);
            first.refuse(Error::NotCommitted(Arc::clone(&error)));
            error
        }
        error => {
            first.refuse(error);
            Arc::new(sqlx::Error::PoolTimedOut)
        }
    };
    let refuse = |job: Box<dyn Job>| job.refuse(Error::NotCommitted(Arc::clone(&shared)));
    gathered.drain(..).for_each(refuse);
    loop {
        match queue.try_recv() {
            Ok(Message::Job(job, _)) => refuse(job),
            Ok(Message::Sync | Message::Gathered) => {}
            Ok(closing @ Message::Close(_)) => return Some(closing),
            Err(_) => return None,
        }
    }
}

type Ran = Result<Vec<Box<dyn Done>>, (Vec<Box<dyn Done>>, Arc<sqlx::Error>)>;

/// A transaction that is open, and where its jobs come from.
struct Transaction<'a> {
    connection: &'a mut Connection,
    gathered: &'a mut VecDeque<Box<dyn Job>>,
    queue: &'a mut mpsc::Receiver<Message>,
    /// Whether it is synced.
    syncs: bool,
    /// Then it is not committed before these are over.
    under_way: Option<&'a mut Syncs>,
}

impl Transaction<'_> {
    /// Runs jobs until nothing more waits, what comes has to be synced and this is not, the group is full, or the transaction itself
    /// fails.
    async fn run_jobs(mut self, first: Box<dyn Job>) -> (Ran, Option<Message>) {
        let mut done = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            if let Err(error) = self.run(job, &mut done).await {
                return (Err((done, error)), None);
            }
            if done.len() as u64 >= GROUP_JOBS {
                break;
            }
            next = self.gathered.pop_front();
            if next.is_some() {
                continue;
            }
            match self.next_message().await {
                Some(Message::Job(job, durable)) if self.syncs || durable != Durable::AtOnce => {
                    next = Some(job)
                }
                Some(other) => return (Ok(done), Some(other)),
                None => break,
            }
        }
        (Ok(done), None)
    }

    /// What waits, or comes until the syncs are over.
    async fn next_message(&mut self) -> Option<Message> {
        if let Ok(message) = self.queue.try_recv() {
            return Some(message);
        }
        let under_way = self.under_way.as_mut().filter(|syncs| !syncs.are_over())?;
        tokio::select! {
            biased;
            () = under_way.over() => None,
            message = self.queue.recv() => message,
        }
    }

    /// Errors: those of the transaction.
    async fn run(
        &mut self,
        job: Box<dyn Job>,
        done: &mut Vec<Box<dyn Done>>,
    ) -> Result<(), Arc<sqlx::Error>> {
        if let Err(error) = query("SAVEPOINT job").execute(&mut *self.connection).await {
            let error = Arc::new(error);
            job.refuse(Error::NotCommitted(Arc::clone(&error)));
            return Err(error);
        }
        // A panic ends its transaction, and its own caller hears of nothing; the writer goes on.
        let ran = AssertUnwindSafe(job.run(self.connection)).catch_unwind().await;
        let finished = ran.map_err(|_| Arc::new(sqlx::Error::WorkerCrashed))?;
        let kept = finished.succeeded();
        done.push(finished);
        leave_savepoint(self.connection, kept).await.map_err(Arc::new)
    }
}

async fn leave_savepoint(connection: &mut Connection, keep: bool) -> Result<(), sqlx::Error> {
    if !keep {
        query("ROLLBACK TO job").execute(&mut *connection).await?;
    }
    query("RELEASE job").execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
