//! Says that we live as long as mail can go on: the queue's runner goes round, and the store's writer answers.
//!
//! A daemon of which one stands still takes mail and delivers none, or refuses all of it, and nobody would notice. The service
//! manager kills it when it hears nothing for the time of its watchdog, and starts another.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Supervisor;
use crate::base::observe;
use crate::queue::pulse::Pulse;
use crate::store::Store;

/// What has to go on, and who is told.
pub struct Watchdog {
    pub supervisor: Arc<Supervisor>,
    pub pulse: Arc<Pulse>,
    pub store: Arc<dyn Store>,
}

impl Watchdog {
    /// Gives signs of life often enough for a manager that waits for `whole`, until `stop`.
    pub async fn run(self, whole: Duration, stop: CancellationToken) {
        let half = whole / 2;
        let mut last = None;
        loop {
            let stalled = stop.run_until_cancelled(self.stalled(half)).await;
            let Some(stalled) = stalled else { return };
            match stalled {
                None => self.supervisor.alive(),
                Some(what) if last != stalled => tracing::error!(
                    event = observe::DAEMON_STALLED,
                    what,
                    "no sign of life is given, because something stands still"
                ),
                Some(_) => {}
            }
            last = stalled;
            // With the time that the writer may take, two signs are less than the whole apart.
            if stop.run_until_cancelled(sleep(half / 2)).await.is_none() {
                return;
            }
        }
    }

    /// What has stood still for that long. A writer that says that it cannot write has answered: another process would hear the
    /// same. One that is not there has not.
    async fn stalled(&self, half: Duration) -> Option<&'static str> {
        if self.pulse.has_stopped(half) {
            return Some("queue");
        }
        // It has its turn in the writer and changes nothing: nobody has that name.
        let written = self.store.forget_custody_pin("");
        let has_answered = timeout(half, written)
            .await
            .is_ok_and(|answer| !answer.is_err_and(|error| error.is_closed()));
        (!has_answered).then_some("store")
    }
}
