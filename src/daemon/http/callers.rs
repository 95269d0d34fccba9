//! Who is connected to the ports for HTTP, and how long each may say nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Connections that have asked for nothing yet, at most: the one that has been there longest makes room for another. There are
/// half as many as [`super::CONNECTIONS`], so that those who ask always find a place.
const MOST_SILENT: usize = super::CONNECTIONS / 2;

/// How long an answer may take that is being given while the daemon stops.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// All connections of some ports.
#[derive(Debug)]
pub struct Callers {
    silent: Mutex<Silent>,
    stop: CancellationToken,
}

/// By number; the oldest has the lowest.
#[derive(Debug, Default)]
struct Silent {
    next: u64,
    by_number: BTreeMap<u64, CancellationToken>,
}

impl Callers {
    /// Until `stop`.
    pub fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            silent: Mutex::default(),
            stop,
        })
    }

    /// One more, who has said nothing yet.
    pub fn enter(&self) -> Caller<'_> {
        let mut silent = self.silent();
        if silent.by_number.len() >= MOST_SILENT
            && let Some((_, longest)) = silent.by_number.pop_first()
        {
            longest.cancel();
        }
        let (number, away) = (silent.next, CancellationToken::new());
        silent.next += 1;
        silent.by_number.insert(number, away.clone());
        Caller {
            callers: self,
            number,
            away,
            has_asked: AtomicBool::new(false),
        }
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection; it has gone when dropped.
#[derive(Debug)]
pub struct Caller<'a> {
    callers: &'a Callers,
    number: u64,
    away: CancellationToken,
    has_asked: AtomicBool,
}

impl Caller<'_> {
    /// A request has come.
    pub fn asks(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
        self.leave();
    }

    /// Waits until there is no more time: for one who says nothing, as soon as others need the place or the daemon stops.
    pub async fn sent_away(&self) {
        tokio::select! {
            () = self.away.cancelled() => {}
            () = self.callers.stop.cancelled() => {
                if self.has_asked.load(Ordering::Relaxed) {
                    sleep(LAST_ANSWER).await;
                }
            }
        }
    }

    fn leave(&self) {
        self.callers.silent().by_number.remove(&self.number);
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_makes_room_and_who_has_asked_stays() {
        let callers = Callers::new(CancellationToken::new());
        let asking = callers.enter();
        let longest = callers.enter();
        let gone = callers.enter();
        let mut others: Vec<_> = (3..MOST_SILENT).map(|_| callers.enter()).collect();
        asking.asks();
        drop(gone);
        others.push(callers.enter());
        others.push(callers.enter());
        assert!(!longest.away.is_cancelled());
        others.push(callers.enter());
        longest.sent_away().await;
        let sent_away = |caller: &Caller<'_>| caller.away.is_cancelled();
        assert!(!sent_away(&asking) && !others.iter().any(sent_away));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_nobody_is_waited_for_but_for_an_answer() {
        let stop = CancellationToken::new();
        let callers = Callers::new(stop.clone());
        let (silent, asking) = (callers.enter(), callers.enter());
        asking.asks();
        stop.cancel();
        let begun = tokio::time::Instant::now();
        silent.sent_away().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        asking.sent_away().await;
        assert!(begun.elapsed() >= LAST_ANSWER);
    }
}
