//! Claims due recipients, has each attempted under its lease, and records what became of it.

mod desk;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pause::Pause;
use super::pulse::Pulse;
use super::windows::Destinations;
use crate::base::causes::Causes;
use crate::base::guarded_clock::boottime;
use crate::base::time::{Clock, Timestamp};
use crate::base::{metrics, observe};
use crate::delivery::Contact;
use crate::delivery::windows::HostAddress;
use crate::mail::address::Domain;
use crate::store::{Claim, Claimed, Error, FollowUp, Rooms, SettledState, Settlement, Store, Term};
use desk::RunnersDesk;

/// An attempt comes to its end when this part of its lease is left, so that it is still ours to settle.
const LEASE_MARGIN: u32 = 16;

/// An attempt that takes longer waits for somebody else, who must not keep other mail waiting, too.
const QUICK: Duration = Duration::from_secs(10);

/// The same for a destination that has not been reached lately: nobody knows whether there is anything to wait for.
const QUICK_UNPROVEN: Duration = Duration::from_secs(2);

/// Slow attempts at a time, for each quick one.
const SLOW_PER_QUICK: usize = 10;

/// While slow attempts take all there is, this part of the quick ones is left to mail for domains of ours by mail for others, and
/// the other way round; and of the slow ones, and those for others, to destinations that were reached lately by the rest.
const LEFT: usize = 4;

/// How long mail waits for a host without room when it cannot be remembered who stands behind it.
const CROWDED: Duration = Duration::from_secs(30);

/// The longest sleep between two looks at the queue.
const IDLE: Duration = Duration::from_secs(30);

/// The longest sleep while nothing new is begun.
const PAUSED: Duration = Duration::from_secs(1);

/// Results that are being recorded while the next attempts have taken the places of theirs.
const RECORDING: usize = 256;

/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Recording a result is tried until the lease runs out, with pauses that grow to so many times that.
const MOST_PAUSES: u32 = 5;

/// What an attempt leads to.
#[derive(Debug, Default)]
pub struct Settled {
    /// One for each claimed recipient.
    pub settlements: Vec<Settlement>,
    /// Bounces, sealed objects: stored in the same transaction.
    pub follow_ups: Vec<FollowUp>,
    /// What of the message cannot be read: then its recipients are set aside instead.
    pub unreadable: Option<&'static str>,
    /// Whether the other side was there.
    pub contact: Contact,
    /// The host that had no room, if that is why recipients were postponed.
    pub crowded: Option<HostAddress>,
}

/// When the time of an attempt is over.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For talking to other hosts: what they have said by then counts.
    pub talk: Instant,
    /// For everything but to conclude.
    pub work: Instant,
    /// For that, too.
    end: Instant,
    /// `talk` and `end` by the clock that goes on while the host sleeps.
    steady: [Duration; 2],
}

impl Times {
    /// Of an attempt that begins now, under a lease of that length.
    pub fn from_now(lease: Duration) -> Self {
        let (begun, steady) = (Instant::now(), boottime());
        let margin = lease / LEASE_MARGIN;
        let (talk, end) = (lease - margin, lease - margin / 4);
        Self {
            talk: begun + talk,
            work: begun + (lease - margin * 3 / 4),
            end: begun + end,
            steady: [steady + talk, steady + end],
        }
    }

    /// For talking to other hosts about what was claimed, and for giving it to anybody.
    pub fn talking(&self, claim: &Claim) -> Term {
        claim.tenure.term(self.talk, self.steady[0])
    }

    /// For all that is done about it.
    fn whole(&self, claim: &Claim) -> Term {
        claim.tenure.term(self.end, self.steady[1])
    }

    /// How long concluding may take.
    pub fn last_words(&self) -> Duration {
        self.end.saturating_duration_since(self.work)
    }
}

/// Makes one attempt for the recipients of a claim.
#[async_trait]
pub trait Attempt: Send + Sync {
    /// Tries to deliver. Never fails: every recipient gets a settlement. What is known when its time is over is settled as it is,
    /// and only what is not is deferred.
    async fn attempt(&self, claim: &Claim, times: Times) -> Settled;

    /// What to record when [`attempt`](Self::attempt) has panicked.
    async fn panicked(&self, claim: &Claim) -> Settled;

    /// No more attempts are made: ends what was kept open for them.
    async fn end(&self) {}
}

/// The runner of one process.
pub struct Runner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    attempt: Arc<dyn Attempt>,
    concurrency: usize,
    slots: Arc<Semaphore>,
    slow_slots: Arc<Semaphore>,
    /// Those of the slow ones that destinations may have that have not been reached lately.
    slow_unproven: Arc<Semaphore>,
    /// Attempts in quick slots, by kind.
    quick: [Arc<AtomicUsize>; 3],
    windows: Arc<Destinations>,
    /// Told when an attempt has ended or left its quick slot, for there may be room again.
    ended: Arc<Notify>,
    pause: Arc<Pause>,
    pulse: Arc<Pulse>,
    lease: Duration,
    recording: Arc<Semaphore>,
    /// Whether mail is known to wait for room: then it comes before what is accepted.
    others_wait: AtomicBool,
    /// Attempts, and those who have a seat for mail that is just coming in. Closed once nothing more is begun.
    tasks: TaskTracker,
}

impl Runner {
    /// At most `concurrency` attempts at a time, each for at most the time of a `lease`, and no more for one destination than
    /// its window has room for. Slow ones are counted apart, so that hosts that let us wait do not hold up mail for others.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        attempt: Arc<dyn Attempt>,
        concurrency: usize,
        windows: Destinations,
        lease: Duration,
    ) -> Self {
        Self {
            store,
            clock,
            attempt,
            concurrency,
            slots: Arc::new(Semaphore::new(concurrency)),
            slow_slots: Arc::new(Semaphore::new(slow(concurrency))),
            slow_unproven: Arc::new(Semaphore::new(slow_unproven(concurrency))),
            quick: Default::default(),
            windows: Arc::new(windows),
            ended: Arc::default(),
            pause: Arc::default(),
            pulse: Arc::default(),
            lease,
            recording: Arc::new(Semaphore::new(RECORDING)),
            others_wait: AtomicBool::new(true),
            tasks: TaskTracker::new(),
        }
    }

    /// Claims nothing while that is set.
    pub fn pausing(self, pause: Arc<Pause>) -> Self {
        Self { pause, ..self }
    }

    /// Shows there that it goes on.
    pub fn showing(self, pulse: Arc<Pulse>) -> Self {
        Self { pulse, ..self }
    }

    /// Works until `shutdown`, then waits for the attempts under way.
    ///
    /// A claim is never abandoned half-way: it would be nobody's until its lease ends.
    pub async fn run(self, shutdown: CancellationToken) {
        let runner = Arc::new(self);
        let desk = RunnersDesk(Arc::downgrade(&runner));
        runner.store.set_desk(Some(Arc::new(desk)));
        runner.work(shutdown).await;
    }

    async fn work(&self, shutdown: CancellationToken) {
        while let Some(slot) = self.pulse.while_waiting(self.free_slot(&shutdown)).await {
            let asked = boottime();
            match self.claim().await {
                Ok(claimed) => {
                    let left = Left::of(&claimed);
                    self.others_wait.store(left.has_more, Ordering::Relaxed);
                    self.start(claimed.claims, asked, slot);
                    shutdown.run_until_cancelled(self.rest(left)).await;
                }
                Err(error) => {
                    tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "cannot claim from the queue");
                    shutdown.run_until_cancelled(sleep(STORE_PAUSE)).await;
                }
            }
        }
        self.store.set_desk(None);
        self.tasks.close();
        self.pulse.while_waiting(self.tasks.wait()).await;
        self.attempt.end().await;
    }

    /// `None` when it is time to stop.
    async fn free_slot(&self, shutdown: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        let slot = shutdown
            .run_until_cancelled(Arc::clone(&self.slots).acquire_owned())
            .await?;
        slot.ok().filter(|_| !shutdown.is_cancelled())
    }

    async fn claim(&self) -> Result<Claimed, Error> {
        if self.pause.is_set() {
            return Ok(Claimed::default());
        }
        let now = self.clock.now();
        let limit = 1 + self.slots.available_permits();
        let rooms = self.rooms();
        self.store
            .claim_within(now, now.after(self.lease), limit, rooms)
            .await
    }

    /// Until something may be due, and there may be room for it.
    async fn rest(&self, left: Left) {
        if self.pause.is_set() {
            return self.pulse.while_waiting(sleep(PAUSED)).await;
        }
        let until = left.next_due.map(|due| due.since(self.clock.now()));
        let something = async {
            tokio::select! {
                () = sleep(until.map_or(IDLE, |until| until.min(IDLE))) => {}
                () = self.store.changed() => {}
                // Nothing waits for room otherwise.
                () = self.ended.notified(), if left.has_more => {}
            }
        };
        self.pulse.while_waiting(something).await;
    }

    fn start(&self, claims: Vec<Claim>, asked: Duration, first: OwnedSemaphorePermit) {
        let mut permit = Some(first);
        for claim in claims {
            let permit = permit
                .take()
                .or_else(|| Arc::clone(&self.slots).try_acquire_owned().ok());
            let kind = self.kind(&claim.destination, claim.is_ours);
            let quick = Quick::new(permit, &self.quick[kind as usize], &self.ended);
            let place = Place::take(&self.windows, &self.ended, &claim.destination);
            self.spawn((claim, asked), kind, quick, place);
        }
    }

    /// What there is room for.
    fn rooms(&self) -> Rooms {
        self.windows.set_short(self.is_short());
        let kinds = self.kinds();
        Rooms {
            ours: kinds.ours,
            elsewhere: kinds.elsewhere,
            unproven: kinds.unproven,
            reached: self.windows.proven(),
            ..self.windows.rooms()
        }
    }

    /// What there is room for of each kind. As long as all that are quick could still become slow ones, no kind holds up another.
    fn kinds(&self) -> Kinds {
        let [ours, proven, unproven] = self.quick.each_ref().map(|used| used.load(Ordering::Relaxed));
        // One slot alone is for everybody.
        let left = (self.concurrency / LEFT)
            .max(1)
            .min(self.concurrency.saturating_sub(1));
        let most = self.concurrency - left;
        // Those who have been reached lately do not wait for others to turn out to be slow.
        let most_unproven = match self.slow_unproven.available_permits() >= self.concurrency {
            true => most,
            false => most.saturating_sub(left),
        };
        let unproven_room = most_unproven.max(1).saturating_sub(unproven);
        match self.slow_slots.available_permits() >= self.concurrency {
            true => Kinds {
                ours: usize::MAX,
                elsewhere: usize::MAX,
                unproven: unproven_room,
            },
            false => Kinds {
                ours: most.saturating_sub(ours),
                elsewhere: most.saturating_sub(proven + unproven),
                unproven: unproven_room,
            },
        }
    }

    /// Whether half of what destinations may have that were not reached lately is in use, of quick slots or of slow ones: more
    /// than one attempt for each of them would leave too little for those of whom nothing is known yet.
    fn is_short(&self) -> bool {
        let quick = self.quick[Kind::Unproven as usize].load(Ordering::Relaxed);
        quick > self.concurrency / 2
            || self.slow_unproven.available_permits() < slow_unproven(self.concurrency) / 2
    }

    fn kind(&self, destination: &Domain, is_ours: bool) -> Kind {
        match is_ours {
            true => Kind::Ours,
            false if self.windows.is_proven(destination) => Kind::Proven,
            false => Kind::Unproven,
        }
    }

    /// Makes an attempt, in a quick slot at first. When it turns out to be slow, it leaves that one as soon as there is a slow
    /// one for it. The claim comes with when it was asked for, by the clock of [`boottime`].
    fn spawn(&self, (claim, asked): (Claim, Duration), kind: Kind, mut quick: Quick, mut place: Place) {
        let (whole_lease, slots) = (self.lease, Arc::clone(&self.slots));
        let (patience, unproven) = match kind {
            Kind::Unproven => (QUICK_UNPROVEN, Some(Arc::clone(&self.slow_unproven))),
            Kind::Ours | Kind::Proven => (QUICK, None),
        };
        let slow_slots = Arc::clone(&self.slow_slots);
        let recording = Arc::clone(&self.recording);
        let (store, attempt) = (Arc::clone(&self.store), Arc::clone(&self.attempt));
        let clock = Arc::clone(&self.clock);
        self.tasks.spawn(async move {
            quick.sit_down(slots).await;
            let lease = left_of(whole_lease, &claim, asked, clock.now());
            let lease_ends = Instant::now() + lease;
            let attempted = attempt_within(lease, attempt.as_ref(), &claim);
            let slow = slow_slot(unproven, slow_slots);
            let (attempted, slot) = in_a_slot(attempted, patience, quick, slow).await;
            let Some(mut settled) = attempted else {
                metrics::lease_lost();
                tracing::warn!(event = observe::QUEUE_LEASE_LOST, message.id = %claim.message, "an attempt did not end in time");
                return;
            };
            place.contact = settled.contact;
            place.stand_behind(&mut settled);
            // The next attempt begins meanwhile, unless so many results wait that something must be wrong with the store.
            let recorder = recording.try_acquire_owned();
            let held = recorder.is_err().then_some((place, slot));
            let books = Books {
                store: store.as_ref(),
                clock: clock.as_ref(),
            };
            books.settle(&claim, settled, lease_ends).await;
            drop((held, recorder));
        });
    }
}

/// What is left of a lease: we may have waited for a slot, or been stopped since it was asked for. Where others go by clocks of their
/// own, what it says counts, too; elsewhere leases are moved with the one clock if that is set.
fn left_of(whole: Duration, claim: &Claim, asked: Duration, now: Timestamp) -> Duration {
    let steady = whole.saturating_sub(boottime().saturating_sub(asked));
    match claim.tenure.is_watched() {
        true => steady.min(claim.leased_until.since(now)),
        false => steady,
    }
}

/// Does some work in a quick slot at first. What turns out to be slow leaves that one as soon as there is a slow one for it.
async fn in_a_slot<T>(
    work: impl Future<Output = T>,
    patience: Duration,
    quick: Quick,
    slow: impl Future<Output = Result<SlowSlot, AcquireError>>,
) -> (T, (Option<Quick>, Option<SlowSlot>)) {
    tokio::pin!(work);
    if let Ok(done) = timeout(patience, &mut work).await {
        return (done, (Some(quick), None));
    }
    let slow = tokio::select! {
        done = &mut work => return (done, (Some(quick), None)),
        slow = slow => slow,
    };
    // Nobody closes the semaphore; if it were, the attempt would go on where it is.
    let slot = match slow {
        Ok(slow) => {
            drop(quick);
            (None, Some(slow))
        }
        Err(_) => (Some(quick), None),
    };
    (work.await, slot)
}

/// What is left in the queue after something was claimed.
struct Left {
    has_more: bool,
    next_due: Option<Timestamp>,
}

impl Left {
    fn of(claimed: &Claimed) -> Self {
        Self {
            has_more: claimed.has_more,
            next_due: claimed.next_due,
        }
    }
}

/// How many attempts may be started of each kind.
struct Kinds {
    ours: usize,
    /// Of both kinds of others.
    elsewhere: usize,
    unproven: usize,
}

/// Whose mail an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A domain of ours.
    Ours,
    /// One of others that was reached lately.
    Proven,
    /// One that was not.
    Unproven,
}

fn slow(concurrency: usize) -> usize {
    concurrency.saturating_mul(SLOW_PER_QUICK)
}

fn slow_unproven(concurrency: usize) -> usize {
    slow(concurrency) - slow(concurrency) / LEFT
}

/// A slow slot, and a place among those of destinations that have not been reached lately.
type SlowSlot = (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit);

/// Whoever has one leaves a quick slot.
async fn slow_slot(unproven: Option<Arc<Semaphore>>, slow: Arc<Semaphore>) -> Result<SlowSlot, AcquireError> {
    let unproven = match unproven {
        Some(unproven) => Some(unproven.acquire_owned().await?),
        None => None,
    };
    Ok((unproven, slow.acquire_owned().await?))
}

/// One of the quick slots, or a wait for one; counted for its kind until it is dropped.
struct Quick {
    slot: Option<OwnedSemaphorePermit>,
    used: Arc<AtomicUsize>,
    ended: Arc<Notify>,
}

impl Quick {
    fn new(slot: Option<OwnedSemaphorePermit>, used: &Arc<AtomicUsize>, ended: &Arc<Notify>) -> Self {
        used.fetch_add(1, Ordering::Relaxed);
        Self {
            slot,
            used: Arc::clone(used),
            ended: Arc::clone(ended),
        }
    }

    /// While something is claimed, the desk may give away slots that were counted on: then one has to be waited for.
    async fn sit_down(&mut self, slots: Arc<Semaphore>) {
        if self.slot.is_none() {
            // Nobody closes the semaphore; if it were, what is leased would be begun all the same.
            self.slot = slots.acquire_owned().await.ok();
        }
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
        self.ended.notify_one();
    }
}

/// One of the attempts that a destination has room for, until it is dropped.
struct Place {
    windows: Arc<Destinations>,
    ended: Arc<Notify>,
    destination: Domain,
    contact: Contact,
}

impl Place {
    fn take(windows: &Arc<Destinations>, ended: &Arc<Notify>, destination: &Domain) -> Self {
        windows.begin(destination);
        Self {
            windows: Arc::clone(windows),
            ended: Arc::clone(ended),
            destination: destination.clone(),
            contact: Contact::Unknown,
        }
    }
}

impl Place {
    /// Where a host had no room, mail is due once it has; if that cannot be remembered, after a while.
    fn stand_behind(&self, settled: &mut Settled) {
        let Some(host) = settled.crowded else { return };
        if self.windows.put_behind(&self.destination, host) {
            return;
        }
        for settlement in &mut settled.settlements {
            if let SettledState::Postponed { due_at } = &mut settlement.state {
                *due_at = due_at.after(CROWDED);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.windows.end(&self.destination, self.contact);
        self.ended.notify_one();
    }
}

/// Where results are recorded, and by which time.
#[derive(Clone, Copy)]
struct Books<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
}

/// What came of an attempt; `None` if not even its end could be decided in time, or others have taken over. Then the lease runs out,
/// or has ended, and the attempt is repeated. One that panicked is repeated as after a deferral, and not at once, over and over.
async fn attempt_within(lease: Duration, attempt: &dyn Attempt, claim: &Claim) -> Option<Settled> {
    let times = Times::from_now(lease);
    // What attempts share is behind locks that are used whether or not somebody panicked with them.
    let attempted = AssertUnwindSafe(attempt.attempt(claim, times)).catch_unwind();
    if let Ok(settled) = times.whole(claim).during(attempted).await? {
        return Some(settled);
    }
    tracing::error!(event = observe::QUEUE_ATTEMPT_PANICKED, message.id = %claim.message, "an attempt ended by a fault of ours");
    let failed = AssertUnwindSafe(attempt.panicked(claim)).catch_unwind();
    timeout_at(times.end, failed).await.ok()?.ok()
}

impl Books<'_> {
    /// Records the result. If the store stays broken, the lease runs out and the attempt is repeated: a delivery may
    /// happen twice, and is never lost (RFC 5321 §6.1).
    async fn settle(self, claim: &Claim, settled: Settled, lease_ends: Instant) {
        for attempt in 1.. {
            let (settlements, follow_ups) = (settled.settlements.clone(), settled.follow_ups.clone());
            let recorded = match settled.unreadable {
                Some(what) => self.store.quarantine(claim.lease, what).await,
                None => self.store.settle(claim.lease, settlements, follow_ups).await,
            };
            match recorded {
                Ok(()) => return,
                Err(Error::LeaseLost) => return self.note_lost(claim),
                Err(error) => {
                    tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), attempt, "cannot record a result");
                    if Instant::now() >= lease_ends {
                        return;
                    }
                    sleep(STORE_PAUSE * MOST_PAUSES.min(attempt)).await;
                }
            }
        }
    }

    /// Nobody else takes up what is leased: as long as the lease can be counted on, it can only have been deleted.
    fn note_lost(self, claim: &Claim) {
        match claim.tenure.lasts() && self.clock.now() < claim.leased_until {
            true => tracing::warn!(
                event = observe::QUEUE_DELETED_AMID,
                message.id = %claim.message,
                "an operator deleted what was being tried; it may have arrived"
            ),
            false => {
                metrics::lease_lost();
                tracing::warn!(
                    event = observe::QUEUE_LEASE_LOST,
                    message.id = %claim.message,
                    "another runner took over"
                );
            }
        }
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
