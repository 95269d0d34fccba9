//! Something that is found out anew only so often, whoever asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What is found out takes this part of the time at most.
const SHARE: u32 = 20;

/// The last result, given again until it is old. Whoever comes while a new one is found out waits for it.
#[derive(Debug)]
pub struct Kept<T> {
    least: Duration,
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Kept<T> {
    /// Is old after that time at the earliest, and later if it takes long to find out.
    pub fn new(least: Duration) -> Self {
        Self {
            least,
            last: Mutex::new(None),
        }
    }

    /// The result.
    pub async fn get<F: Future<Output = T>>(&self, find: impl FnOnce() -> F) -> Arc<T> {
        let mut last = self.last.lock().await;
        let begun = Instant::now();
        if let Some((until, result)) = &*last
            && begun < *until
        {
            return Arc::clone(result);
        }
        let result = Arc::new(find().await);
        let ended = Instant::now();
        let until = ended + self.least.max((ended - begun) * SHARE);
        *last = Some((until, Arc::clone(&result)));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_found_out_less_often() {
        let kept = Kept::new(Duration::from_secs(5));
        let count = AtomicU32::new(0);
        let find = || async {
            sleep(Duration::from_secs(1)).await;
            count.fetch_add(1, Ordering::Relaxed)
        };
        assert_eq!(*kept.get(find).await, 0);
        advance(Duration::from_secs(19)).await;
        assert_eq!(*kept.get(find).await, 0);
        advance(Duration::from_secs(1)).await;
        assert_eq!(*kept.get(find).await, 1);
    }
}
