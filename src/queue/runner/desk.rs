//! Mail that is begun as soon as it is accepted, where there is room and nobody waits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Kind, Place, Quick, Runner};
use crate::base::causes::Causes;
use crate::base::guarded_clock::boottime;
use crate::base::observe;
use crate::mail::address::Domain;
use crate::store::{Claim, Desk, Seat};

/// The desk of a runner, for as long as that is there.
pub(super) struct RunnersDesk(pub(super) Weak<Runner>);

impl Desk for RunnersDesk {
    fn reserve(&self, destination: &Domain, is_ours: bool) -> Option<Seat> {
        let runner = self.0.upgrade()?;
        // First: whoever closes waits for those who have it by then, and all others see that it is closed.
        let seated = runner.tasks.token();
        if runner.tasks.is_closed() || runner.pause.is_set() || runner.others_wait.load(Ordering::Relaxed) {
            return None;
        }
        let kind = runner.kind(destination, is_ours);
        if !runner.has_room(destination, kind) {
            return None;
        }
        let slot = Arc::clone(&runner.slots).try_acquire_owned().ok()?;
        let quick = Quick::new(Some(slot), &runner.quick[kind as usize], &runner.ended);
        let place = Place::take(&runner.windows, &runner.ended, destination);
        let asked = boottime();
        let leased_until = runner.clock.now().after(runner.lease);
        let begin = move |claim| {
            runner.begin((claim, asked), kind, quick, place);
            drop(seated);
        };
        Some(Seat::new(leased_until, Box::new(begin)))
    }
}

impl Runner {
    /// As [`rooms`](Self::rooms) has it, for one destination.
    fn has_room(&self, destination: &Domain, kind: Kind) -> bool {
        self.windows.set_short(self.is_short());
        let rooms = self.kinds();
        let of_kind = match kind {
            Kind::Ours => rooms.ours,
            Kind::Proven => rooms.elsewhere,
            Kind::Unproven => rooms.elsewhere.min(rooms.unproven),
        };
        of_kind > 0 && self.windows.room(destination) > 0
    }

    /// Begins what was accepted just now, unless it is too late for that.
    fn begin(&self, (claim, asked): (Claim, Duration), kind: Kind, quick: Quick, place: Place) {
        if !self.tasks.is_closed() {
            return self.spawn((claim, asked), kind, quick, place);
        }
        let (store, now) = (Arc::clone(&self.store), self.clock.now());
        self.tasks.spawn(async move {
            if let Err(error) = store.give_back(claim.lease, now).await {
                // The next start gives it back.
                tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "cannot give back what was accepted last");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use async_trait::async_trait;
    use tokio::time::{sleep, timeout};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::queue::runner::fixtures::{Bed, LEASE, NOW, message};
    use crate::queue::runner::{Attempt, Settled, Times};
    use crate::store::Spool as _;

    const PATIENCE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(1);

    /// Nothing is attempted here.
    struct Idle;

    #[async_trait]
    impl Attempt for Idle {
        async fn attempt(&self, _claim: &Claim, _times: Times) -> Settled {
            Settled::default()
        }

        async fn panicked(&self, _claim: &Claim) -> Settled {
            Settled::default()
        }
    }

    /// What was reserved before the runner closed is begun afterwards.
    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_closes_waits_for_seats_and_no_lease_is_left() {
        let Bed { store, runner, .. } = &Bed::new(Arc::new(Idle)).await;
        let stop = CancellationToken::new();
        let (own, stopped) = (Arc::clone(runner), stop.clone());
        let mut working = tokio::spawn(async move { own.work(stopped).await });
        let desk = RunnersDesk(Arc::downgrade(runner));
        let destination: Domain = "hismail.test".parse().unwrap();
        // There is none until it has looked whether others wait.
        let reserving = async {
            loop {
                match desk.reserve(&destination, false) {
                    Some(seat) => return seat,
                    None => sleep(MOMENT).await,
                }
            }
        };
        let seat = timeout(PATIENCE, reserving).await.unwrap();
        stop.cancel();
        let closing = async {
            while !runner.tasks.is_closed() {
                sleep(MOMENT).await;
            }
        };
        timeout(PATIENCE, closing).await.unwrap();
        assert!(desk.reserve(&destination, false).is_none());
        assert!(timeout(MOMENT * 200, &mut working).await.is_err());

        store.enqueue(message("hismail.test")).await.unwrap();
        let mut claims = store.claim(NOW, NOW.after(LEASE), 1).await.unwrap();
        seat.begin(claims.remove(0));
        timeout(PATIENCE, working).await.unwrap().unwrap();
        let again = store.claim(NOW, NOW.after(LEASE), 1).await.unwrap();
        assert_eq!(again[0].recipients[0].attempts, 0);
    }
}
