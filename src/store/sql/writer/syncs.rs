//! Syncs of SQLite's log, on a thread of their own: the jobs of the next transaction are done meanwhile.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{Counters, Done};
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

    /// What was committed may be missing after a power cut.
    fn doubt(self, error: &Arc<sqlx::Error>) {
        for job in self.jobs {
            job.answer(Err(Error::NotCommitted(Arc::clone(error))));
        }
    }
}

struct Request {
    log: Arc<File>,
    committed: Committed,
    over: oneshot::Sender<bool>,
}

/// One sync at a time, and what has become of the last one.
pub(super) struct Syncs {
    requests: mpsc::Sender<Request>,
    under_way: Option<oneshot::Receiver<bool>>,
    has_failed: bool,
}

impl Syncs {
    /// Starts the thread, which ends with this.
    ///
    /// Errors: if there can be no other thread.
    pub(super) fn start(counters: Arc<Counters>) -> io::Result<Self> {
        Self::start_with(counters, File::sync_data)
    }

    /// The same with another way to sync.
    pub(super) fn start_with(
        counters: Arc<Counters>,
        sync: impl Fn(&File) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, requested) = mpsc::channel::<Request>();
        thread::Builder::new().name("store-sync".to_owned()).spawn(move || {
            for request in requested {
                let synced = sync(&request.log);
                // The next transaction is committed while this one's jobs are answered. If nobody waits, the writer has ended.
                request.over.send(synced.is_ok()).unwrap_or_default();
                match synced {
                    Ok(()) => request.committed.answer(&counters, true),
                    Err(error) => {
                        tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "cannot sync what was written last");
                        request.committed.doubt(&Arc::new(sqlx::Error::Io(error)));
                    }
                }
            }
        })?;
        Ok(Self {
            requests,
            under_way: None,
            has_failed: false,
        })
    }

    /// Has the log synced, and then the jobs answered. Nothing else may be under way.
    pub(super) fn begin(&mut self, log: Arc<File>, committed: Committed) {
        let (over, under_way) = oneshot::channel();
        self.under_way = Some(under_way);
        let request = Request { log, committed, over };
        if let Err(mpsc::SendError(request)) = self.requests.send(request) {
            // Whoever waits for the end of this sync is told that it failed, since nobody says anything else.
            request.committed.doubt(&Arc::new(sqlx::Error::WorkerCrashed));
        }
    }

    /// Waits until none is under way.
    pub(super) async fn over(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            let is_synced = under_way.await.unwrap_or(false);
            self.has_failed |= !is_synced;
            self.under_way = None;
        }
    }

    pub(super) fn are_over(&self) -> bool {
        self.under_way.is_none()
    }

    /// Whether one has failed of which that was not said before.
    pub(super) fn take_failure(&mut self) -> bool {
        match self.under_way.as_mut().map(oneshot::Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => {}
            Some(said) => {
                self.has_failed |= said != Ok(true);
                self.under_way = None;
            }
        }
        std::mem::take(&mut self.has_failed)
    }
}
