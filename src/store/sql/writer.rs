//! The one connection that writes: whatever waits goes into one transaction, and is answered after its commit.
//!
//! A job alone is not delayed: the transaction closes as soon as nothing more waits. While one transaction is being
//! synced the next one's jobs gather, so groups grow with load.
//!
//! What may be done twice need not be durable at once: a transaction of such jobs alone is not waited for by the disk. It is durable
//! after [`SOON`], or with the next one that is ([`Durable`]). What nobody waits for gathers until something else is written, so that
//! many such jobs change the same pages once.
//!
//! SQLite works, and syncs, on the thread that calls it. So there the writer has a thread of its own, and a job's statements cost
//! no change of threads.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
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
use crate::base::{metrics, observe};
use crate::store::Error;

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
    /// whole, it is emptied before anything is written.
    ///
    /// Errors: [`Error::File`] if there can be no thread for it.
    pub(super) fn start(
        connection: Connection,
        database: Database,
        is_doubtful: bool,
    ) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel(WAITING_JOBS);
        let counters = Arc::new(Counters::default());
        let mut task = Task::new(connection, database, Arc::clone(&counters))?;
        task.is_doubtful = is_doubtful;
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
    /// Whether the connection syncs at the end of each transaction. New ones do.
    syncs: bool,
    /// Whether something may not be synced.
    is_put_off: bool,
    /// Whether a sync has failed: what it was for may be missing on the disk, and with it all that stands behind it in the log, though
    /// later syncs succeed.
    is_doubtful: bool,
    /// Jobs that nobody waits for.
    gathered: VecDeque<Box<dyn Job>>,
    /// SQLite's log, from when the connection was opened: whoever opens it later does not hear of what failed before.
    log: Option<File>,
    /// The database, as it was when this began.
    file: Option<FileId>,
    counters: Arc<Counters>,
}

impl Task {
    fn new(connection: Connection, database: Database, counters: Arc<Counters>) -> Result<Self, Error> {
        Ok(Self {
            connection: Some(connection),
            not_before: None,
            log: database.open_log()?,
            file: database.file()?,
            database,
            syncs: true,
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
                Some(Message::Sync) => self.sync(),
                Some(Message::Close(closed)) => break Some(closed),
                None => break None,
            }
        };
        queue.close();
        self.do_gathered(&mut queue).await;
        self.sync();
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
        let mut connection = match self.begin(syncs).await {
            Ok(connection) => connection,
            Err(error) => return refuse_all(first, error, &mut self.gathered, queue),
        };
        let (finished, next) = run_jobs(&mut connection, first, syncs, &mut self.gathered, queue).await;
        self.connection = Some(connection);
        match finished {
            Ok(done) => self.commit(done, syncs).await,
            Err((done, error)) => self.fail(done, error).await,
        }
        next
    }

    /// Syncs what was put off. A transaction that was synced since says nothing: if it changed nothing, nothing was.
    fn sync(&mut self) {
        if !self.is_put_off {
            return;
        }
        match self.log.as_ref().map_or(Ok(()), File::sync_data) {
            Ok(()) => self.is_put_off = false,
            Err(error) => {
                tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "cannot sync what was written last");
                self.is_doubtful = true;
            }
        }
    }

    /// Has what may be missing in the log brought into the database, before anything is written that a power cut would take with it.
    async fn make_certain(&mut self) -> Result<(), Error> {
        if self.file != self.database.file()? {
            return Err(Error::NotDurable(
                "the database was removed or replaced".to_owned(),
            ));
        }
        if self.is_doubtful {
            self.database.finish_erasing().await?;
            self.is_doubtful = false;
        }
        Ok(())
    }

    /// The connection, in a new transaction.
    async fn begin(&mut self, syncs: bool) -> Result<Connection, Error> {
        self.make_certain().await?;
        if let Some(mut connection) = self.connection.take() {
            match begin(&self.database, &mut connection, (self.syncs, syncs)).await {
                Ok(()) => {
                    self.syncs = syncs;
                    return Ok(connection);
                }
                // Lost since the last transaction: nothing has been done in this one yet.
                Err(Error::Database(error)) if is_lost(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.open().await?;
        begin(&self.database, &mut connection, (true, syncs)).await?;
        self.log = self.database.open_log()?;
        self.syncs = syncs;
        Ok(connection)
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

    async fn commit(&mut self, done: Vec<Box<dyn Done>>, syncs: bool) {
        let begun = Instant::now();
        let committed = match &mut self.connection {
            Some(connection) => query("COMMIT").execute(connection).await.map(drop),
            None => Err(sqlx::Error::PoolClosed),
        };
        if let Err(error) = committed {
            self.is_doubtful = true;
            return self.fail(done, Arc::new(error)).await;
        }
        self.is_put_off |= !syncs;
        let jobs = done.iter().filter(|job| job.succeeded()).count();
        // The others, of which there are many, would hide how long the disk takes.
        if syncs {
            metrics::committed(begun.elapsed(), jobs);
        }
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        self.counters.jobs.fetch_add(jobs as u64, Ordering::Relaxed);
        for job in done {
            job.answer(Ok(()));
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

/// Begins a transaction that syncs at its end, or does not; the connection is as the last one left it.
async fn begin(
    database: &Database,
    connection: &mut Connection,
    (did_sync, syncs): (bool, bool),
) -> Result<(), Error> {
    if did_sync != syncs {
        database.set_syncing(connection, syncs).await?;
    }
    database.begin(connection).await
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

/// Runs jobs until nothing more waits, what comes has to be synced and this is not, the group is full, or the transaction itself
/// fails.
async fn run_jobs(
    connection: &mut Connection,
    first: Box<dyn Job>,
    syncs: bool,
    gathered: &mut VecDeque<Box<dyn Job>>,
    queue: &mut mpsc::Receiver<Message>,
) -> (Ran, Option<Message>) {
    let mut done = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next.take() {
        if let Err(error) = query("SAVEPOINT job").execute(&mut *connection).await {
            let error = Arc::new(error);
            job.refuse(Error::NotCommitted(Arc::clone(&error)));
            return (Err((done, error)), None);
        }
        // A panic ends its transaction, and its own caller hears of nothing; the writer goes on.
        let Ok(finished) = AssertUnwindSafe(job.run(connection)).catch_unwind().await else {
            return (Err((done, Arc::new(sqlx::Error::WorkerCrashed))), None);
        };
        let kept = finished.succeeded();
        done.push(finished);
        if let Err(error) = leave_savepoint(connection, kept).await {
            return (Err((done, Arc::new(error))), None);
        }
        if done.len() as u64 >= GROUP_JOBS {
            break;
        }
        next = gathered.pop_front();
        if next.is_some() {
            continue;
        }
        match queue.try_recv() {
            Ok(Message::Job(job, durable)) if syncs || durable != Durable::AtOnce => next = Some(job),
            Ok(other) => return (Ok(done), Some(other)),
            Err(_) => break,
        }
    }
    (Ok(done), None)
}

async fn leave_savepoint(connection: &mut Connection, keep: bool) -> Result<(), sqlx::Error> {
    if !keep {
        query("ROLLBACK TO job").execute(&mut *connection).await?;
    }
    query("RELEASE job").execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::query::{query, query_scalar};
    use super::*;
    use crate::store::sqlite::Options;

    /// A writer on a table that refers to itself, so that a commit can be made to fail.
    async fn writer(folder: &tempfile::TempDir) -> Writer {
        writer_opened_anew_with(folder, "FULL").await
    }

    async fn writer_opened_anew_with(folder: &tempfile::TempDir, synchronous: &'static str) -> Writer {
        let options = Options::new(&folder.path().join("x.db"))
            .pragma("journal_mode", "WAL")
            .pragma("foreign_keys", "ON");
        let mut connection = Connection::Sqlite(options.open().unwrap());
        query(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, \
             parent INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        let options = options.pragma("synchronous", synchronous);
        Writer::start(connection, Database::Sqlite(Arc::new(options)), false).unwrap()
    }

    /// A job that keeps the writer from going on until the answer is sent or dropped, so that what is handed in meanwhile shares
    /// its transaction.
    async fn hold(writer: &Writer) -> oneshot::Sender<()> {
        hold_as(writer, Durable::AtOnce).await
    }

    fn unanswered<F>(job: F) -> Box<dyn Job>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, ()> + Send + 'static,
    {
        let (answer, _) = oneshot::channel();
        Box::new(Pending { job, answer })
    }

    async fn hold_as(writer: &Writer, durable: Durable) -> oneshot::Sender<()> {
        let (go_on, held) = oneshot::channel::<()>();
        let (began, begun) = oneshot::channel();
        let job = unanswered(move |_| {
            Box::pin(async move {
                began.send(()).unwrap();
                held.await.unwrap_or_default();
                Ok(())
            })
        });
        writer
            .jobs
            .send(Message::Job(job, durable))
            .await
            .unwrap_or_default();
        begun.await.unwrap();
        go_on
    }

    async fn insert(writer: &Writer, id: i64, parent: Option<i64>) -> Result<(), Error> {
        insert_as(writer, Durable::AtOnce, id, parent).await
    }

    async fn insert_as(writer: &Writer, durable: Durable, id: i64, parent: Option<i64>) -> Result<(), Error> {
        writer
            .run_as(durable, move |db| {
                Box::pin(async move {
                    query("INSERT INTO t (id, parent) VALUES ($1, $2)")
                        .bind(id)
                        .bind(parent)
                        .execute(db)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn count(writer: &Writer) -> i64 {
        let rows = writer.run(|db| {
            Box::pin(async move { Ok(query_scalar("SELECT COUNT(*) FROM t").fetch_one(db).await?) })
        });
        rows.await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_opened_anew_is_not_used_if_its_settings_could_lose_mail() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer_opened_anew_with(&folder, "NORMAL").await;
        let orphan = insert(&writer, 2, Some(99)).await;
        assert!(matches!(orphan, Err(Error::NotCommitted(_))));
        match insert(&writer, 1, None).await {
            Err(Error::NotDurable(reason)) => assert!(reason.contains("synchronous=1"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_every_job_in_it_and_the_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer).await;
        let (first, orphan, third, ()) = tokio::join!(
            insert(&writer, 1, None),
            insert(&writer, 2, Some(99)),
            insert(&writer, 3, None),
            async { drop(held) }
        );
        for result in [first, orphan, third] {
            assert!(matches!(result, Err(Error::NotCommitted(_))));
        }
        assert_eq!(
            writer.stats(),
            WriterStats {
                transactions: 0,
                jobs: 0
            }
        );
        assert_eq!(count(&writer).await, 0);
        insert(&writer, 1, None).await.unwrap();
        assert_eq!(count(&writer).await, 1);
    }

    #[tokio::test]
    async fn a_job_that_fails_is_undone_alone() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let half = writer.run(|db| {
            Box::pin(async move {
                query("INSERT INTO t (id) VALUES (2)").execute(db).await?;
                Err::<(), _>(Error::LeaseLost)
            })
        });
        let held = hold(&writer).await;
        let (first, half, third, ()) =
            tokio::join!(insert(&writer, 1, None), half, insert(&writer, 3, None), async {
                drop(held);
            });
        assert!(first.is_ok() && third.is_ok());
        assert!(matches!(half, Err(Error::LeaseLost)));
        assert_eq!(
            writer.stats(),
            WriterStats {
                transactions: 1,
                jobs: 3
            }
        );
        assert_eq!(count(&writer).await, 2);
    }

    /// What SQLite was told while a job runs: 2 is to sync when it commits, 1 is not to.
    async fn syncing(writer: &Writer, durable: Durable) -> i64 {
        let asked = writer.run_as(durable, |db| {
            Box::pin(async move { Ok(query_scalar("PRAGMA synchronous").fetch_one(db).await?) })
        });
        asked.await.unwrap()
    }

    #[tokio::test]
    async fn only_what_may_be_done_twice_is_committed_without_a_sync() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        for _ in 0..3 {
            assert_eq!(syncing(&writer, Durable::Soon).await, 1);
            assert_eq!(syncing(&writer, Durable::AtOnce).await, 2);
            assert_eq!(syncing(&writer, Durable::AtOnce).await, 2);
        }
        // What must be synced does not join a transaction that is not.
        let held = hold_as(&writer, Durable::Soon).await;
        let (first, second, third, ()) = tokio::join!(
            syncing(&writer, Durable::Soon),
            syncing(&writer, Durable::AtOnce),
            syncing(&writer, Durable::Soon),
            async { drop(held) }
        );
        assert_eq!([first, second, third], [1, 2, 2]);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_shares_transactions_and_is_done_though_nothing_follows() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let all = (0..100).map(|id| insert_as(&writer, Durable::AtLeisure, id, None));
        for inserted in futures_util::future::join_all(all).await {
            inserted.unwrap();
        }
        let stats = writer.stats();
        assert!(stats.jobs == 100 && stats.transactions < 50, "{stats:?}");
        assert_eq!(syncing(&writer, Durable::AtLeisure).await, 1);
    }

    /// After a sync that failed, what was not synced may be missing on the disk, and all later parts of the log with it.
    #[tokio::test]
    async fn nothing_is_written_behind_what_may_be_missing_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(&folder.path().join("x.db")).pragma("journal_mode", "WAL");
        let options = options.pragma("foreign_keys", "ON").pragma("synchronous", "FULL");
        let mut connection = Connection::Sqlite(options.open().unwrap());
        for sql in [
            "CREATE TABLE t (id)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
        ] {
            query(sql).execute(&mut connection).await.unwrap();
        }
        let log = folder.path().join("x.db-wal");
        let length = || log.metadata().unwrap().len();
        assert!(length() > 0);
        let mut task = Task::new(connection, Database::Sqlite(Arc::new(options)), Arc::default()).unwrap();
        task.is_put_off = true;
        // A device that cannot be synced.
        task.log = Some(File::open("/dev/null").unwrap());
        task.sync();
        assert!(task.is_put_off && task.is_doubtful);
        let mut connection = task.begin(true).await.unwrap();
        assert_eq!(length(), 0);
        query("ROLLBACK").execute(&mut connection).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_that_is_not_where_it_was_is_written_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        insert(&writer, 1, None).await.unwrap();
        let (here, elsewhere) = (folder.path().join("x.db"), folder.path().join("y.db"));
        std::fs::copy(&here, &elsewhere).unwrap();
        std::fs::rename(&elsewhere, &here).unwrap();
        let refused = insert(&writer, 2, None).await;
        assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
        std::fs::remove_file(&here).unwrap();
        assert!(insert(&writer, 2, None).await.is_err());
    }

    fn fault() -> Result<(), Error> {
        panic!("a job")
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_its_transaction_and_the_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer).await;
        let panicking = writer.run(|_| Box::pin(async { fault() }));
        let (first, panicked, ()) = tokio::join!(insert(&writer, 1, None), panicking, async { drop(held) });
        assert!(first.is_err() && panicked.is_err());
        insert(&writer, 2, None).await.unwrap();
        assert_eq!(count(&writer).await, 1);
    }

    /// SQLite has no server to lose. What comes nearest is a transaction that is gone before its jobs are through, as after errors of
    /// the disk for which SQLite undoes it by itself. A connection to PostgreSQL is lost in `tests/integration/store/postgres.rs`.
    #[tokio::test]
    async fn a_transaction_that_is_lost_amid_its_jobs_fails_them_and_the_connection_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        insert(&writer, 1, None).await.unwrap();
        // What no other connection has.
        let mark = writer.run(|db| {
            Box::pin(async move {
                query("CREATE TEMP TABLE mark (id INTEGER)").execute(db).await?;
                Ok(())
            })
        });
        mark.await.unwrap();
        let is_marked = || {
            writer.run(|db| {
                Box::pin(async move {
                    let count: i64 = query_scalar("SELECT COUNT(*) FROM mark").fetch_one(db).await?;
                    Ok(count)
                })
            })
        };
        assert_eq!(is_marked().await.unwrap(), 0);
        let losing = writer.run(|db| {
            Box::pin(async move {
                query("INSERT INTO t (id) VALUES (3)").execute(&mut *db).await?;
                query("ROLLBACK").execute(db).await?;
                Ok(())
            })
        });
        let held = hold(&writer).await;
        let (second, lost, fourth, ()) = tokio::join!(
            insert(&writer, 2, None),
            losing,
            insert(&writer, 4, None),
            async {
                drop(held);
            }
        );
        for result in [second, lost] {
            assert!(matches!(result, Err(Error::NotCommitted(_))), "{result:?}");
        }
        fourth.unwrap();
        assert_eq!(count(&writer).await, 2);
        assert!(is_marked().await.is_err());
    }

    #[tokio::test]
    async fn closing_waits_for_what_was_handed_in_before() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let (inserted, ()) = tokio::join!(insert(&writer, 1, None), writer.close());
        inserted.unwrap();
        let late = insert(&writer, 2, None).await;
        assert!(matches!(late, Err(Error::Database(sqlx::Error::PoolClosed))));
    }
}
