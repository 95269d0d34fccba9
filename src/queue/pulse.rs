//! Shows whether the runner goes on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Time between two beats of somebody who waits.
const EVERY: Duration = Duration::from_secs(1);

/// Less than this is no sign of anything: somebody who waits may be late with a beat.
const LEAST: Duration = Duration::from_secs(3);

/// When the runner last went on, or waited for something that it may wait for.
#[derive(Debug)]
pub struct Pulse(Mutex<Instant>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pulse {
    /// It went on just now.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago it last went on.
    pub fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether it has stood still for so long, or for as long as it takes to notice.
    pub fn has_stopped(&self, patience: Duration) -> bool {
        self.age() > patience.max(LEAST)
    }

    /// Waits for what may take any time: for mail, for a turn, for the end of an attempt.
    pub async fn while_waiting<F: Future>(&self, waiting: F) -> F::Output {
        tokio::pin!(waiting);
        loop {
            self.beat();
            if let Ok(done) = timeout(EVERY, &mut waiting).await {
                self.beat();
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_lives_and_whoever_is_stuck_does_not() {
        let pulse = Pulse::default();
        let waiting = pulse.while_waiting(sleep(Duration::from_secs(3600)));
        let looking = async {
            sleep(Duration::from_secs(1800)).await;
            pulse.age()
        };
        let ((), age) = tokio::join!(waiting, looking);
        assert!(age <= EVERY, "{age:?}");
        sleep(Duration::from_secs(60)).await;
        assert!(pulse.age() >= Duration::from_secs(60));
        pulse.beat();
        assert_eq!(pulse.age(), Duration::ZERO);
    }

    /// As where a service manager waits for a second in all.
    #[tokio::test(start_paused = true)]
    async fn whoever_waits_lives_however_short_the_patience() {
        let patience = EVERY / 2;
        let pulse = Pulse::default();
        let waiting = pulse.while_waiting(sleep(Duration::from_secs(60)));
        let looking = async {
            for _ in 0..590 {
                sleep(Duration::from_millis(100)).await;
                assert!(!pulse.has_stopped(patience), "{:?}", pulse.age());
            }
        };
        tokio::join!(waiting, looking);
        sleep(LEAST + EVERY).await;
        assert!(pulse.has_stopped(patience));
        assert!(!pulse.has_stopped(LEAST * 2));
    }
}
