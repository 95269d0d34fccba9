#![allow(clippy::unwrap_used)]

use tokio::task::yield_now;

use super::fixtures::{Bed, LEASE, NOW, message};
use super::*;
use crate::store::{Desk as _, Spool as _};

const PATIENCE: Duration = Duration::from_secs(60);

/// Attempts that last until they are let go.
struct Waiting {
    begun: AtomicUsize,
    end: Semaphore,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            begun: AtomicUsize::new(0),
            end: Semaphore::new(0),
        }
    }
}

impl Waiting {
    async fn until_begun(&self, count: usize) {
        let begun = async {
            while self.begun.load(Ordering::SeqCst) < count {
                yield_now().await;
            }
        };
        timeout(PATIENCE, begun).await.unwrap();
    }
}

#[async_trait]
impl Attempt for Waiting {
    async fn attempt(&self, claim: &Claim, _times: Times) -> Settled {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.end.acquire().await.unwrap().forget();
        let delivered = |recipient: &crate::store::ClaimedRecipient| Settlement {
            recipient: recipient.id,
            state: SettledState::Delivered,
            note: String::new(),
            instead: Vec::new(),
        };
        Settled {
            settlements: claim.recipients.iter().map(delivered).collect(),
            ..Settled::default()
        }
    }

    async fn panicked(&self, _claim: &Claim) -> Settled {
        Settled::default()
    }
}

#[tokio::test]
async fn what_is_claimed_waits_for_a_slot_that_the_desk_has_given_away_meanwhile() {
    let waiting = Arc::new(Waiting::default());
    let Bed { store, runner, .. } = &Bed::new(Arc::clone(&waiting) as _).await;
    for domain in ["plain.test", "elsewhere.test"] {
        store.enqueue(message(domain)).await.unwrap();
    }
    let first = Arc::clone(&runner.slots).acquire_owned().await.unwrap();
    // There are two slots, so two are claimed, and meanwhile something comes in.
    let claims = store.claim(NOW, NOW.after(LEASE), 2).await.unwrap();
    assert_eq!(claims.len(), 2);
    runner.others_wait.store(false, Ordering::Relaxed);
    let desk = RunnersDesk(Arc::downgrade(runner));
    let seat = desk.reserve(&"hismail.test".parse().unwrap(), false).unwrap();
    runner.start(claims, boottime(), first);
    waiting.until_begun(1).await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(waiting.begun.load(Ordering::SeqCst), 1);
    drop(seat);
    waiting.until_begun(2).await;
    waiting.end.add_permits(2);
    runner.tasks.close();
    timeout(PATIENCE, runner.tasks.wait()).await.unwrap();
    assert_eq!(runner.slots.available_permits(), 2);
    assert_eq!(store.next_due().await.unwrap(), None);
}

/// Leases are moved with the clock; by that of now, this one would be over.
#[tokio::test]
async fn what_is_claimed_is_begun_though_the_clock_is_set_forward_meanwhile() {
    let waiting = Arc::new(Waiting::default());
    let Bed {
        clock, store, runner, ..
    } = &Bed::new(Arc::clone(&waiting) as _).await;
    store.enqueue(message("plain.test")).await.unwrap();
    let first = Arc::clone(&runner.slots).acquire_owned().await.unwrap();
    let asked = boottime();
    let claims = store.claim(NOW, NOW.after(LEASE), 1).await.unwrap();
    clock.advance(LEASE * 6);
    runner.start(claims, asked, first);
    waiting.until_begun(1).await;
    waiting.end.add_permits(1);
    runner.tasks.close();
    timeout(PATIENCE, runner.tasks.wait()).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), None);
}
