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
    pub fn is_watched(&self) -> bool {
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
        self.shared.state.borrow().lasts(self.now())
    }

    /// For work on something that is leased, which ends then by the clock of timers, or at `steady` by that of [`boottime`].
    pub fn term(&self, until: Instant, steady: Duration) -> Term {
        Term {
            tenure: self.clone(),
            until,
            steady,
        }
    }

    fn now(&self) -> Duration {
        (self.shared.steady)()
    }

    fn is_over(&self) -> bool {
        self.shared.state.borrow().is_over
    }
}

/// How long something that is leased may be worked on, and finished.
///
/// Timers stand still while the host sleeps, and leases run out meanwhile: so the end is known by two clocks.
#[derive(Debug, Clone)]
pub struct Term {
    tenure: Tenure,
    until: Instant,
    steady: Duration,
}

impl Term {
    /// When it ends, for timers.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether what is leased is ours, beyond doubt.
    pub fn lasts(&self) -> bool {
        !self.is_out() && self.tenure.lasts()
    }

    fn is_out(&self) -> bool {
        self.tenure.now() >= self.steady || Instant::now() >= self.until
    }

    /// The same, to be asked right before what cannot be taken back. Waits while it is in doubt.
    pub async fn is_ours(&self) -> bool {
        if self.lasts() {
            return true;
        }
        let mut state = self.tenure.shared.state.subscribe();
        while !(self.is_out() || self.tenure.is_over()) {
            if self.tenure.lasts() {
                return true;
            }
            let is_known = |state: &State| state.is_over || state.lasts(self.tenure.now());
            if timeout_at(self.until, state.wait_for(is_known)).await.is_err() {
                return false;
            }
        }
        false
    }

    /// Does `work` as long as this lasts; else it is dropped, and `None` is returned.
    ///
    /// The clocks are read each time before the work goes on, so that a process that was stopped does not go on with what is
    /// no longer its own. While it is not known whether it still is, the work stands still, and goes on once it is known.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.until, self.work(work)).await.ok().flatten()
    }

    async fn work<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let state = &self.tenure.shared.state;
        let [mut over, mut renewed] = [state.subscribe(), state.subscribe()];
        loop {
            let step = poll_fn(|context| match self.lasts() {
                true => work.as_mut().poll(context).map(Some),
                false => Poll::Ready(None),
            });
            tokio::select! {
                biased;
                _ = over.wait_for(|state| state.is_over) => return None,
                done = step => if done.is_some() { return done },
            }
            if self.is_out() {
                return None;
            }
            let is_known = |state: &State| state.is_over || state.lasts(self.tenure.now());
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

    const LEASE: Duration = Duration::from_secs(1_800);

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
            let end = Instant::now() + LEASE;
            let work = tokio::spawn(async move {
                let work = async {
                    while heard.recv().await.is_some() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    "done"
                };
                own.term(end, LEASE).during(work).await
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
        let term = || tenure.term(Instant::now() + Duration::from_secs(5), Duration::MAX);
        let late = term();
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(late.during(std::future::ready(())).await, None);
        assert_eq!(term().during(std::future::ready(())).await, Some(()));
        assert_eq!(term().during(std::future::pending::<()>()).await, None);
    }

    /// The host sleeps, and the lease runs out meanwhile.
    #[tokio::test(start_paused = true)]
    async fn work_ends_by_the_steady_clock_though_timers_stood_still() {
        let bed = Bed::new();
        bed.tenure.renew(LEASE * 2);
        assert_eq!(bed.step().await, 1);
        bed.seconds.store(LEASE.as_secs(), Ordering::Relaxed);
        assert_eq!(bed.step().await, 1);
        assert!(bed.work.is_finished());
        assert_eq!(bed.result().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_taken_back_waits_while_it_is_in_doubt() {
        let bed = Bed::new();
        let term = bed.tenure.term(Instant::now() + LEASE, LEASE);
        assert!(term.is_ours().await);
        bed.seconds.store(45, Ordering::Relaxed);
        let asked = term.clone();
        let answer = tokio::spawn(async move { asked.is_ours().await });
        bed.settle().await;
        assert!(!answer.is_finished());
        bed.tenure.renew(LEASE * 2);
        assert!(answer.await.unwrap());
        bed.seconds.store(LEASE.as_secs() - 1, Ordering::Relaxed);
        assert!(term.is_ours().await);
        bed.seconds.store(LEASE.as_secs(), Ordering::Relaxed);
        assert!(!term.is_ours().await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_taken_back_is_not_done_once_others_have_taken_over() {
        let bed = Bed::new();
        let term = bed.tenure.term(Instant::now() + LEASE, LEASE);
        bed.seconds.store(45, Ordering::Relaxed);
        let asked = term.clone();
        let answer = tokio::spawn(async move { asked.is_ours().await });
        bed.settle().await;
        bed.tenure.end();
        assert!(!answer.await.unwrap());
        assert!(!term.is_ours().await);
    }
}
