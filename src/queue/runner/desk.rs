//! Mail that is begun as soon as it is accepted, where there is room and nobody waits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::{Kind, Place, Quick, Runner};
use crate::base::causes::Causes;
use crate::base::observe;
use crate::mail::address::Domain;
use crate::store::{Claim, Desk, Seat};

/// The desk of a runner, for as long as that is there.
pub(super) struct RunnersDesk(pub(super) Weak<Runner>);

impl Desk for RunnersDesk {
    fn reserve(&self, destination: &Domain, is_ours: bool) -> Option<Seat> {
        let runner = self.0.upgrade()?;
        if runner.is_closed.load(Ordering::SeqCst)
            || runner.pause.is_set()
            || runner.others_wait.load(Ordering::Relaxed)
        {
            return None;
        }
        let kind = runner.kind(destination, is_ours);
        if !runner.has_room(destination, kind) {
            return None;
        }
        let slot = Arc::clone(&runner.slots).try_acquire_owned().ok()?;
        let quick = Quick::new(Some(slot), &runner.quick[kind as usize], &runner.ended);
        let place = Place::take(&runner.windows, &runner.ended, destination);
        let leased_until = runner.clock.now().after(runner.lease);
        let begin = move |claim| runner.begin(claim, kind, quick, place);
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
    fn begin(&self, claim: Claim, kind: Kind, quick: Quick, place: Place) {
        if !self.is_closed.load(Ordering::SeqCst) {
            return self.spawn(claim, kind, quick, place);
        }
        let (store, now) = (Arc::clone(&self.store), self.clock.now());
        tokio::spawn(async move {
            if let Err(error) = store.give_back(claim.lease, now).await {
                // The next start gives it back.
                tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "cannot give back what was accepted last");
            }
        });
    }
}
