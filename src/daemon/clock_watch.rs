//! Watches the clock: keeps the last time that was trusted, tells when the time is in doubt, and hears when an operator confirms it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::base::guarded_clock::GuardedClock;
use crate::base::observe;
use crate::store::{self, Store};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Time between two notes of a clock that is trusted; far less than a jump.
const NOTED_EVERY: Duration = Duration::from_secs(600);

/// The clock and what is kept of it.
pub struct ClockWatch {
    clock: Arc<GuardedClock>,
    store: Arc<dyn Store>,
    confirmations: i64,
    /// What the store says, and since when.
    noted: Option<(bool, Instant)>,
}

impl ClockWatch {
    pub fn new(clock: Arc<GuardedClock>, store: Arc<dyn Store>) -> Self {
        Self {
            clock,
            store,
            confirmations: 0,
            noted: None,
        }
    }

    /// Looks at once and again and again, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        if let Ok(Some(record)) = self.store.clock_record().await {
            self.confirmations = record.confirmations;
        }
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(event = observe::CLOCK_FAILED, %error, "what is known of the clock cannot be kept");
            }
            if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    async fn look(&mut self) -> Result<(), store::Error> {
        if self.clock.look().is_some() {
            self.hear().await?;
        }
        let doubt = self.clock.look();
        let is_due = |(was_doubted, noted): (bool, Instant)| {
            was_doubted != doubt.is_some() || !was_doubted && noted.elapsed() >= NOTED_EVERY
        };
        if self.noted.is_none_or(is_due) {
            self.tell(doubt.map(|doubt| doubt.ahead_ms));
            self.store
                .note_clock(self.clock.trusted(), doubt.is_some())
                .await?;
            self.noted = Some((doubt.is_some(), Instant::now()));
        }
        Ok(())
    }

    /// Whether an operator has confirmed the time.
    async fn hear(&mut self) -> Result<(), store::Error> {
        let record = self.store.clock_record().await?;
        let confirmations = record.map_or(0, |record| record.confirmations);
        if confirmations != self.confirmations {
            self.confirmations = confirmations;
            self.clock.confirm();
        }
        Ok(())
    }

    fn tell(&self, ahead_ms: Option<i64>) {
        let was_doubted = self.noted.is_some_and(|(was_doubted, _)| was_doubted);
        match ahead_ms {
            Some(ahead_ms) => tracing::error!(
                event = observe::CLOCK_DOUBTED,
                ahead_secs = ahead_ms / 1000,
                "the clock has jumped: nothing expires, comes back for its age or is destroyed until the time is plausible again \
                 or `dimed clock confirm` says that it is right"
            ),
            None if was_doubted => {
                tracing::info!(event = observe::CLOCK_TRUSTED, "the time is trusted again")
            }
            None => {}
        }
    }
}
