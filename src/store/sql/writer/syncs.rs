//! Syncs of SQLite's log, on a thread of their own: the jobs of the next transaction are done meanwhile.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::sync::Notify;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use super::Counters;
use super::job::Done;
use crate::base::{metrics, observe};
use crate::store::Error;

/// A transaction that was committed, and whose jobs have not been answered yet.
pub(super) struct Committed {
    pub(super) jobs: Vec<Box<dyn Done>>,
    /// When its commit began.
    pub(super) begun: Instant,
}

impl Committed {
    /// Answers, now that it is as durable as it has to be.
    pub(super) fn answer(self, counters: &Counters, was_synced: bool) {
        let count = self.jobs.iter().filter(|job| job.succeeded()).count();
        // The others, of which there are many, would hide how long the disk takes.
        if was_synced {
            metrics::committed(self.begun.elapsed(), count);
        }
        counters.transactions.fetch_add(1, Ordering::Relaxed);
        counters.jobs.fetch_add(count as u64, Ordering::Relaxed);
        for job in self.jobs {
            job.answer(Ok(()));
        }
    }
}

/// What was committed, and may be missing after a power cut: nobody has been told anything of it.
pub(super) struct Unsynced {
    committed: Committed,
    error: Arc<sqlx::Error>,
}

impl Unsynced {
    fn new(committed: Committed, error: io::Error) -> Self {
        let error = Arc::new(sqlx::Error::Io(error));
        Self { committed, error }
    }

    /// Answers, now that it was made durable in another way.
    pub(super) fn answer(self, counters: &Counters) {
        self.committed.answer(counters, true);
    }

    /// Answers that it may be missing.
    pub(super) fn doubt(self) {
        for job in self.committed.jobs {
            job.answer(Err(Error::NotCommitted(Arc::clone(&self.error))));
        }
    }
}

type Synced = Result<(), Unsynced>;

struct Request {
    log: Arc<File>,
    committed: Committed,
    over: oneshot::Sender<Synced>,
}

/// One sync at a time, and what has become of the last one.
pub(super) struct Syncs {
    requests: mpsc::Sender<Request>,
    under_way: Option<oneshot::Receiver<Synced>>,
    failed: Option<Unsynced>,
    /// Told of each that fails, for nobody may be waiting for it.
    failure: Arc<Notify>,
}

impl Syncs {
    /// Starts the thread, which ends with this. `failure` is told of each sync that fails.
    ///
    /// Errors: if there can be no other thread.
    pub(super) fn start(counters: Arc<Counters>, failure: Arc<Notify>) -> io::Result<Self> {
        Self::start_with(counters, failure, File::sync_data)
    }

    /// The same with another way to sync.
    pub(super) fn start_with(
        counters: Arc<Counters>,
        failure: Arc<Notify>,
        sync: impl Fn(&File) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, requested) = mpsc::channel::<Request>();
        let told = Arc::clone(&failure);
        thread::Builder::new().name("store-sync".to_owned()).spawn(move || {
            for Request { log, committed, over } in requested {
                match sync_with(&sync, &log) {
                    Ok(()) => {
                        // The next transaction is committed while this one's jobs are answered. If nobody waits, the writer has ended.
                        drop(over.send(Ok(())));
                        committed.answer(&counters, true);
                    }
                    Err(error) => {
                        tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "cannot sync what was written last");
                        // The writer mends the log, and answers.
                        drop(over.send(Err(Unsynced::new(committed, error))));
                        told.notify_one();
                    }
                }
            }
        })?;
        Ok(Self {
            requests,
            under_way: None,
            failed: None,
            failure,
        })
    }

    /// Has the log synced, and then the jobs answered. Nothing else may be under way.
    pub(super) fn begin(&mut self, log: Arc<File>, committed: Committed) {
        let (over, under_way) = oneshot::channel();
        let request = Request { log, committed, over };
        match self.requests.send(request) {
            Ok(()) => self.under_way = Some(under_way),
            Err(mpsc::SendError(request)) => {
                let error = io::Error::other("the thread that syncs has ended");
                tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "cannot sync what was written last");
                self.failed = Some(Unsynced::new(request.committed, error));
                self.failure.notify_one();
            }
        }
    }

    /// Waits until none is under way.
    pub(super) async fn over(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            let synced = under_way.await.unwrap_or_else(|_| Err(unheard_of()));
            self.note(synced);
        }
    }

    pub(super) fn are_over(&self) -> bool {
        self.under_way.is_none()
    }

    /// What one that has failed was for, once.
    pub(super) fn take_failure(&mut self) -> Option<Unsynced> {
        match self.under_way.as_mut().map(oneshot::Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => {}
            Some(Ok(synced)) => self.note(synced),
            Some(Err(TryRecvError::Closed)) => self.note(Err(unheard_of())),
        }
        self.failed.take()
    }

    fn note(&mut self, synced: Synced) {
        self.under_way = None;
        if let Err(unsynced) = synced {
            self.failed = Some(unsynced);
        }
    }
}

/// A fault of ours is like one of the disk: what was to be synced may not be, and the thread goes on.
fn sync_with(sync: impl Fn(&File) -> io::Result<()>, log: &File) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(|| sync(log)))
        .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs has panicked")))
}

/// Whose thread has ended amid it: its jobs have heard of that.
fn unheard_of() -> Unsynced {
    let committed = Committed {
        jobs: Vec::new(),
        begun: Instant::now(),
    };
    Unsynced::new(committed, io::Error::other("the thread that syncs has ended"))
}
