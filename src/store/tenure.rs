//! How long a process may count on what it has leased.
//!
//! Where several share a database, the others take over the work of one that they have not heard of for long, before its leases run
//! out. It need not be dead. So whoever has not been heard of goes by its own clock, and holds still before others can
//! think so: see [`postgres`](super::postgres#taking-over).

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::base::guarded_clock::{Steady, boottime};
use crate::base::id::NodeId;

/// See the module's documentation. Clones are of the same tenure.
#[derive(Clone)]
pub struct Tenure {
    node: NodeId,
    shared: Arc<Shared>,
}

struct Shared {
    /// Goes on while the process is stopped and while the host sleeps.
    steady: Steady,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// By the steady clock. `None` where nobody else takes over before a lease runs out.
    until: Option<Duration>,
    is_over: bool,
}

impl State {
    fn lasts(self, now: Duration) -> bool {
        !self.is_over && self.until.is_none_or(|until| now < until)
    }
}

/// One that others do not watch.
impl Default for Tenure {
    fn default() -> Self {
        Self::new(None, Box::new(boottime))
    }
}

impl Tenure {
    /// One that lasts until then by the clock of [`boottime`], unless it is renewed.
    pub(super) fn until(until: Duration) -> Self {
        Self::new(Some(until), Box::new(boottime))
    }

    fn new(until: Option<Duration>, steady: Steady) -> Self {
        let state = State {
            until,
            is_over: false,
        };
        let shared = Shared {
            steady,
            state: watch::Sender::new(state),
        };
        Self {
            node: NodeId::random(&mut rand::rng()),
            shared: Arc::new(shared),
        }
    }

    /// Whose leases these are.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether others watch this process.
    pub(super) fn is_watched(&self) -> bool {
        self.shared.state.borrow().until.is_some()
    }

    /// Others have heard of it, and leave it alone until then.
    pub(super) fn renew(&self, until: Duration) {
        self.shared.state.send_modify(|state| state.until = Some(until));
    }

    /// Others have taken over. Whether that is news.
    pub(super) fn end(&self) -> bool {
        let state = &self.shared.state;
        state.send_if_modified(|state| !std::mem::replace(&mut state.is_over, true))
    }

    /// Whether nobody else can have taken over.
    pub fn lasts(&self) -> bool {
        self.shared.state.borrow().lasts((self.shared.steady)())
    }

    /// Does `work` as long as this lasts and `end` has not come; else it is dropped, and `None` is returned.
    ///
    /// Both clocks are read each time before the work goes on, so that a process that was stopped does not go on with what is
    /// no longer its own. While it is not known whether it still is, the work stands still, and goes on once it is known.
    pub async fn during<T>(&self, end: Instant, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(end, self.work(end, work)).await.ok().flatten()
    }

    async fn work<T>(&self, end: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let [mut over, mut renewed] = [self.shared.state.subscribe(), self.shared.state.subscribe()];
        loop {
            let step = poll_fn(|context| match self.lasts() && Instant::now() < end {
                true => work.as_mut().poll(context).map(Some),
                false => Poll::Ready(None),
            });
            tokio::select! {
                biased;
                _ = over.wait_for(|state| state.is_over) => return None,
                done = step => if done.is_some() { return done },
            }
            if Instant::now() >= end {
                return None;
            }
            let is_known = |state: &State| state.is_over || state.lasts((self.shared.steady)());
            // The sender is ours.
            let _ = renewed.wait_for(is_known).await;
        }
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenure").field(&self.node).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::mpsc;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// A tenure that lasts for 45 seconds, its clock, and work that takes a step for each word it is sent.
    struct Bed {
        tenure: Tenure,
        seconds: Arc<AtomicU64>,
        words: mpsc::UnboundedSender<()>,
        steps: Arc<AtomicU64>,
        work: JoinHandle<Option<&'static str>>,
    }

    impl Bed {
        fn new() -> Self {
            let (seconds, steps) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
            let (words, mut heard) = mpsc::unbounded_channel();
            let read = Arc::clone(&seconds);
            let steady = Box::new(move || Duration::from_secs(read.load(Ordering::Relaxed)));
            let tenure = Tenure::new(Some(Duration::from_secs(45)), steady);
            let (own, counted) = (tenure.clone(), Arc::clone(&steps));
            let end = Instant::now() + Duration::from_secs(1_800);
            let work = tokio::spawn(async move {
                let work = async {
                    while heard.recv().await.is_some() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    "done"
                };
                own.during(end, work).await
            });
            Self {
                tenure,
                seconds,
                words,
                steps,
                work,
            }
        }

        /// Steps taken once everybody has had a turn after another word.
        async fn step(&self) -> u64 {
            self.words.send(()).unwrap();
            self.settle().await
        }

        async fn settle(&self) -> u64 {
            for _ in 0..10 {
                yield_now().await;
            }
            self.steps.load(Ordering::Relaxed)
        }

        async fn result(self) -> Option<&'static str> {
            drop(self.words);
            self.work.await.unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_stands_still_while_it_is_in_doubt_and_goes_on_when_it_is_renewed() {
        let bed = Bed::new();
        assert_eq!(bed.step().await, 1);
        bed.seconds.store(45, Ordering::Relaxed);
        assert!(!bed.tenure.lasts());
        assert_eq!(bed.step().await, 1);
        bed.tenure.renew(Duration::from_secs(90));
        assert_eq!(bed.settle().await, 2);
        assert_eq!(bed.result().await, Some("done"));
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_dropped_when_others_have_taken_over_though_it_could_go_on() {
        let bed = Bed::new();
        assert_eq!(bed.step().await, 1);
        bed.seconds.store(100, Ordering::Relaxed);
        assert_eq!(bed.step().await, 1);
        bed.tenure.end();
        // What was learned later about another tenure changes nothing.
        bed.tenure.renew(Duration::from_secs(200));
        assert_eq!(bed.settle().await, 1);
        assert!(bed.work.is_finished());
        assert_eq!(bed.work.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn work_does_not_go_on_after_its_end_though_it_could() {
        let tenure = Tenure::default();
        let end = Instant::now() + Duration::from_secs(5);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(tenure.during(end, std::future::ready(())).await, None);
        let end = Instant::now() + Duration::from_secs(5);
        assert_eq!(tenure.during(end, std::future::ready(())).await, Some(()));
        assert_eq!(tenure.during(end, std::future::pending::<()>()).await, None);
    }
}
