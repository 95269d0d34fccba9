//! The task that has the connection: it does what it is handed, and what is due.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::job::{Done, Job};
use super::syncs::{Committed, Syncs, Unsynced};
use super::transaction::Transaction;
use super::{Counters, Durable, GATHERED, LEISURE, Message, SOON};
use crate::base::causes::Causes;
use crate::base::observe;
use crate::store::Error;
use crate::store::sql::connection::{Connection, is_lost};
use crate::store::sql::database::{Database, FileId};
use crate::store::sql::query::{query, query_as};
use crate::store::sqlite::{doubtful_pages, tell_no_room};

/// The pause before a connection that could not be opened is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// After how long it is tried again by itself to have on the disk what is not there.
const RETRY: Duration = Duration::from_secs(5);

/// Transactions after which it is looked how long the log has become.
const LOOK_AFTER: u32 = 16;

/// Pages in the log from which on they are brought into the database: 16 MiB. A page that many transactions change is so less often.
const LONG_LOG: i64 = 4000;

pub(super) struct Task {
    /// `None` after a failure that leaves its state unknown.
    connection: Option<Connection>,
    /// When it may be opened anew.
    not_before: Option<Instant>,
    pub(super) database: Database,
    /// Whether the connection leaves it to us to sync. New ones do not.
    leaves_syncs: bool,
    /// Those of SQLite's log.
    pub(super) syncs: Option<Syncs>,
    /// When what is committed and may not be synced is to be, if there is any.
    pub(super) sync_at: Option<Instant>,
    /// Whether a sync has failed, perhaps one that nobody here has heard of: what it was for may be missing on the disk, and with it all
    /// that stands behind it in the log, though later syncs succeed.
    pub(super) is_doubtful: bool,
    /// Whose syncs those were. They are answered once the log is mended, or cannot be.
    unsynced: Vec<Unsynced>,
    /// Jobs that nobody waits for.
    gathered: VecDeque<Box<dyn Job>>,
    /// When they are to be done.
    gathered_until: Option<Instant>,
    /// SQLite's log, from when the connection was opened: whoever opens it later does not hear of what failed before.
    pub(super) log: Option<Arc<File>>,
    /// Transactions since it was looked how long it is.
    transactions: u32,
    /// Reads what was in the log when that could not be brought into the database, so that the log is not begun anew: what SQLite takes for
    /// brought over may be missing there, and the next start takes it from the log again (`sqlite/log.rs`).
    pub(super) pin: Option<Connection>,
    /// Whether the log must be pinned: nothing is written before it is.
    pub(super) must_pin: bool,
    /// Whether pages may be read wrongly since then: nothing is written that would rest on them.
    doubts_pages: bool,
    /// Wakes this when a sync has failed, or something is due.
    pub(super) wake: Arc<Notify>,
    /// When it is going to be woken.
    alarm: Option<Instant>,
    /// The database, as it was when this began.
    file: Option<FileId>,
    pub(super) counters: Arc<Counters>,
}

/// What comes next.
pub(super) enum Step {
    Job(Box<dyn Job>, Durable),
    /// What has gathered is due.
    Gathered,
    /// What was put off is due.
    Sync,
    /// A sync has failed.
    Failure,
    Close(Option<oneshot::Sender<()>>),
}

impl Step {
    fn of(message: Option<Message>) -> Self {
        match message {
            Some(Message::Job(job, durable)) => Self::Job(job, durable),
            Some(Message::Close(closed)) => Self::Close(Some(closed)),
            None => Self::Close(None),
        }
    }
}

impl Task {
    pub(super) fn new(connection: Connection, database: Database) -> Result<Self, Error> {
        let counters = Arc::<Counters>::default();
        let wake = Arc::<Notify>::default();
        let syncs = match database {
            Database::Sqlite(_) => {
                let syncs = Syncs::start(Arc::clone(&counters), Arc::clone(&wake));
                Some(syncs.map_err(Error::File)?)
            }
            Database::Postgres(_) => None,
        };
        Ok(Self {
            connection: Some(connection),
            not_before: None,
            log: database.open_log()?.map(Arc::new),
            transactions: 0,
            pin: None,
            must_pin: false,
            doubts_pages: false,
            wake,
            alarm: None,
            file: database.file()?,
            database,
            leaves_syncs: false,
            syncs,
            sync_at: None,
            is_doubtful: false,
            unsynced: Vec::new(),
            gathered: VecDeque::new(),
            gathered_until: None,
            counters,
        })
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let wake = Arc::clone(&self.wake);
        let mut next = None;
        let closed = loop {
            let step = match next.take() {
                Some(message) => Step::of(Some(message)),
                None => self.step(&mut queue, &wake).await,
            };
            match step {
                Step::Job(job, Durable::AtLeisure) if self.gathered.len() < GATHERED => {
                    self.gathered_until
                        .get_or_insert_with(|| Instant::now() + LEISURE);
                    self.gathered.push_back(job);
                }
                Step::Job(job, durable) => next = self.group(job, durable, &mut queue).await,
                Step::Gathered => next = self.do_gathered(&mut queue).await,
                Step::Sync => self.sync().await,
                // Whoever comes next hears of what fails here, too.
                Step::Failure => self.mend().await.unwrap_or_default(),
                Step::Close(closed) => break closed,
            }
        };
        queue.close();
        self.do_gathered(&mut queue).await;
        self.end().await;
        if let Some(closed) = closed {
            closed.send(()).unwrap_or_default();
        }
    }

    /// Waits for what comes next. What is due comes before what waits, so that it is not put off for ever.
    pub(super) async fn step(&mut self, queue: &mut mpsc::Receiver<Message>, wake: &Notify) -> Step {
        loop {
            self.heed_failure();
            if !self.unsynced.is_empty() {
                return Step::Failure;
            }
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if is_due(self.gathered_until) {
                return Step::Gathered;
            }
            if is_due(self.sync_at) {
                return Step::Sync;
            }
            match queue.try_recv() {
                Ok(message) => return Step::of(Some(message)),
                Err(TryRecvError::Disconnected) => return Step::Close(None),
                Err(TryRecvError::Empty) => {}
            }
            let due = [self.gathered_until, self.sync_at].into_iter().flatten().min();
            if let Some(due) = due {
                self.set_alarm(due, now);
            }
            tokio::select! {
                biased;
                message = queue.recv() => return Step::of(message),
                () = wake.notified() => {}
            }
        }
    }

    /// Has this woken then, unless it is woken before, and sets the alarm again.
    fn set_alarm(&mut self, due: Instant, now: Instant) {
        if self.alarm.is_some_and(|alarm| now < alarm && alarm <= due) {
            return;
        }
        self.alarm = Some(due);
        let wake = Arc::clone(&self.wake);
        // A timer of this thread's own would not outlive the runtime.
        tokio::spawn(async move {
            sleep_until(due).await;
            wake.notify_one();
        });
    }

    async fn do_gathered(&mut self, queue: &mut mpsc::Receiver<Message>) -> Option<Message> {
        self.gathered_until = None;
        let first = self.gathered.pop_front()?;
        let next = self.group(first, Durable::Soon, queue).await;
        if !self.gathered.is_empty() {
            self.gathered_until = Some(Instant::now() + LEISURE);
        }
        next
    }

    /// One transaction: `first`, what has gathered, and whatever waits behind it, as far as it is to be as durable. Returns what does
    /// not belong to it, if that came up.
    pub(super) async fn group(
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
        self.keep_log_short().await;
        next
    }

    /// Syncs what was put off.
    pub(super) async fn sync(&mut self) {
        // Of a fault one of two would hear.
        self.hear().await;
        if !self.is_doubtful && self.sync_at.is_some() {
            match self.log.as_ref().map_or(Ok(()), |log| log.sync_data()) {
                Ok(()) => self.sync_at = None,
                Err(error) => {
                    tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "cannot sync what was written last");
                    self.is_doubtful = true;
                }
            }
        }
        // What fails here is told, and tried again.
        self.mend().await.unwrap_or_default();
    }

    /// Nothing more comes: what is committed is made durable, as far as that can be done, and the connection closed.
    pub(super) async fn end(&mut self) {
        self.hear().await;
        // A doubt alone is left to whoever writes next.
        if !self.is_doubtful || self.sync_at.is_some() || !self.unsynced.is_empty() {
            // Others may have written since the last one.
            self.sync_at.get_or_insert_with(Instant::now);
            self.sync().await;
        }
        self.pin = None;
        if !self.is_doubtful
            && !self.must_pin
            && !self.database.keeps_log()
            && let Some(connection) = &mut self.connection
        {
            self.database.empty_log_on_close(connection);
        }
        self.close().await;
    }

    /// Closes the connection. What is open of a transaction is rolled back, so a failure to close loses nothing.
    async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await.unwrap_or_default();
        }
    }

    /// Brings the log into the database once it is long. SQLite does not do that by itself: it would not say that it failed, and might take
    /// from the log what is missing there.
    async fn keep_log_short(&mut self) {
        self.transactions += 1;
        if self.transactions < LOOK_AFTER || self.log.is_none() || self.must_pin {
            return;
        }
        self.transactions = 0;
        if !self.is_log_long().await {
            return;
        }
        self.hear().await;
        if self.sync_at.is_some() {
            self.sync().await;
        }
        let Some(connection) = self.connection.as_mut().filter(|_| !self.is_doubtful) else {
            return;
        };
        let brought = query("PRAGMA wal_checkpoint(PASSIVE)").execute(connection).await;
        match brought.map_err(Error::Database) {
            Ok(_) => {}
            // Whatever was written before is written once more then.
            Err(error) if error.is_full() => tell_no_room(&error),
            Err(error) => {
                tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error),
                    "cannot bring what was written into the database: the log grows until all that uses it is ended and started again");
                self.keep_log().await;
            }
        }
    }

    /// Keeps the log if another process could not bring it into the database.
    async fn heed_note(&mut self) {
        // Without a connection nothing can be found out, and the next one comes soon.
        if !self.must_pin && self.connection.is_some() && self.database.keeps_log() {
            tracing::error!(
                event = observe::QUEUE_STORE_FAILED,
                error = "another process could not bring what was written into the database",
                "the log grows until all that uses it is ended and started again"
            );
            self.keep_log().await;
        }
    }

    /// Sees to it that the log stays as it is, for what was brought into the database may be missing there.
    pub(super) async fn keep_log(&mut self) {
        self.must_pin = true;
        self.counters.keeps_log.store(true, Ordering::Relaxed);
        if let Err(error) = self.database.note_kept_log() {
            tracing::warn!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "other processes cannot be told to keep the log");
        }
        let found = self.look_at_log().await;
        self.doubts_pages = found.is_none_or(|(_, brought)| brought > 0);
        // Whoever comes next hears of what fails here, too.
        self.pin_log().await.unwrap_or_default();
    }

    /// Whether there is much in it that has not been brought into the database.
    async fn is_log_long(&mut self) -> bool {
        let found = self.look_at_log().await;
        found.is_some_and(|(pages, brought)| pages >= LONG_LOG && brought < pages)
    }

    /// Pages in the log, and how many of them SQLite counts as brought into the database; `None` if there is nobody to ask.
    async fn look_at_log(&mut self) -> Option<(i64, i64)> {
        let connection = self.connection.as_mut()?;
        // What comes first is whether others were in the way.
        let found = query_as::<(i64, i64, i64)>("PRAGMA wal_checkpoint(NOOP)").fetch_optional(connection);
        let (_, pages, brought) = found.await.ok().flatten()?;
        Some((pages, brought))
    }

    async fn pin_log(&mut self) -> Result<(), Error> {
        if self.must_pin && self.pin.is_none() {
            self.pin = Some(self.database.pin().await?);
        }
        Ok(())
    }

    /// Waits for the sync that is under way.
    async fn hear(&mut self) {
        if let Some(syncs) = &mut self.syncs {
            syncs.over().await;
        }
        self.heed_failure();
    }

    /// Takes down whose sync has failed, if one has.
    fn heed_failure(&mut self) {
        if let Some(unsynced) = self.syncs.as_mut().and_then(Syncs::take_failure) {
            self.is_doubtful = true;
            self.unsynced.push(unsynced);
        }
    }

    /// Has what may be missing in the log written there again, before anything is put behind it that a power cut would take with it. Then
    /// what was committed is durable, and whoever waits for that is answered; if it fails, they are told that it is not.
    pub(super) async fn mend(&mut self) -> Result<(), Error> {
        if !self.is_doubtful {
            return Ok(());
        }
        match self.mend_log().await {
            Ok(()) => {
                self.is_doubtful = false;
                self.sync_at = None;
                // SQLite has the log open, too, and would hear of the failure when it brings that into the database.
                self.close().await;
                let answer = |unsynced: Unsynced| unsynced.answer(&self.counters);
                self.unsynced.drain(..).for_each(answer);
                Ok(())
            }
            Err(error) => {
                tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "cannot write the log of the database again");
                self.sync_at = Some(Instant::now() + RETRY);
                self.unsynced.drain(..).for_each(Unsynced::doubt);
                Err(error)
            }
        }
    }

    async fn mend_log(&mut self) -> Result<(), Error> {
        self.demand_same_file()?;
        self.database.mend_log().await
    }

    fn demand_same_file(&self) -> Result<(), Error> {
        let is_same = self.file == self.database.file()?;
        let why = || Error::NotDurable("the database was removed or replaced".to_owned());
        is_same.then_some(()).ok_or_else(why)
    }

    /// The connection, in a new transaction.
    pub(super) async fn begin(&mut self) -> Result<Connection, Error> {
        self.demand_same_file()?;
        self.heed_failure();
        self.heed_note().await;
        self.mend().await?;
        if self.doubts_pages {
            return Err(doubtful_pages());
        }
        self.pin_log().await?;
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
        self.renew_log()?;
        self.mend().await?;
        self.begin_on(&mut connection).await?;
        Ok(connection)
    }

    /// Keeps the log that is open if it is still the one: whoever opens it now does not hear of what has failed. Of another one it is not
    /// known whether something has.
    pub(super) fn renew_log(&mut self) -> Result<(), Error> {
        let Some(found) = self.database.open_log()? else {
            return Ok(());
        };
        let id = id_of(&found).map_err(Error::File)?;
        let is_it = |log: &Arc<File>| id_of(log).is_ok_and(|other| other == id);
        let is_same = self.log.as_ref().is_some_and(is_it);
        if !is_same {
            self.log = Some(Arc::new(found));
            self.is_doubtful = true;
        }
        Ok(())
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
        if syncs {
            self.hear().await;
            if self.is_doubtful {
                return self.undo(jobs).await;
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
                self.sync_at = None;
            }
            _ => {
                if !syncs {
                    self.sync_at.get_or_insert_with(|| Instant::now() + SOON);
                }
                committed.answer(&self.counters, syncs);
            }
        }
    }

    /// What was written before could not be synced: nothing is put behind it before that is mended. The connection is as good as it was.
    async fn undo(&mut self, jobs: Vec<Box<dyn Done>>) {
        let error = io::Error::other("what was written before could not be synced");
        let error = Arc::new(sqlx::Error::Io(error));
        let rolled_back = match &mut self.connection {
            Some(connection) => query("ROLLBACK").execute(connection).await.map(drop),
            None => Ok(()),
        };
        if rolled_back.is_err() {
            return self.fail(jobs, error).await;
        }
        for job in jobs {
            job.answer(Err(Error::NotCommitted(Arc::clone(&error))));
        }
        // Whoever comes next hears of what fails here, too.
        self.mend().await.unwrap_or_default();
    }

    /// Nothing of this transaction is kept. The connection is replaced, whatever state it is in.
    async fn fail(&mut self, done: Vec<Box<dyn Done>>, error: Arc<sqlx::Error>) {
        self.close().await;
        for job in done {
            job.answer(Err(Error::NotCommitted(Arc::clone(&error))));
        }
        // Others may wait for a sync that has failed.
        if !self.unsynced.is_empty() {
            self.mend().await.unwrap_or_default();
        }
    }
}

fn id_of(file: &File) -> io::Result<FileId> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
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
            Ok(closing @ Message::Close(_)) => return Some(closing),
            Err(_) => return None,
        }
    }
}
