//! Messages that are leased as they are stored, for whoever begins them at once ([`Desk`](crate::store::Desk)).

use std::sync::PoisonError;

use super::claim::{GROUP_RECIPIENTS, SMALL_BODY};
use super::message::{Lease, SealedMessage};
use super::{SqlStore, settle};
use crate::base::id::LeaseToken;
use crate::base::secret::Secret;
use crate::store::{Claim, Domains as _, NewMessage, Seat};

/// A message that is to be begun once it is stored. Whoever gives up waiting for that gives back its lease, which would be nobody's.
pub(super) struct Seated {
    store: SqlStore,
    taken: Option<(Seat, Claim)>,
}

impl Seated {
    pub(super) fn begin(mut self) {
        if let Some((seat, claim)) = self.taken.take() {
            seat.begin(claim);
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some((_, claim)) = self.taken.take() {
            let (lease, now) = (claim.lease, self.store.inner.clock.now());
            let writer = &self.store.inner.writer;
            writer.run_unattended(move |db| Box::pin(settle::give_back(db, lease, now)));
            // The claim comes behind it.
            self.store.inner.changed.notify_one();
        }
    }
}

impl SqlStore {
    /// Has a message leased as it is stored, if somebody has room to work on it at once.
    pub(super) async fn seat(
        &self,
        message: &NewMessage,
        sealed: &mut SealedMessage,
        body: Option<Secret<Vec<u8>>>,
    ) -> Option<Seated> {
        let desk = self
            .inner
            .desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let (first, others) = message.recipients.split_first()?;
        let destination = first.path.domain();
        let is_one_group = others.iter().all(|other| other.path.domain() == destination)
            && message.recipients.len() as i64 <= GROUP_RECIPIENTS;
        if !is_one_group || message.due_at > self.inner.clock.now() {
            return None;
        }
        // Whoever cannot tell leaves it to the queue.
        let is_ours = self.local_domain(destination).await.ok()?.is_some();
        // The next claim moves all leases as the clock was moved: one by the clock of now would be over at once, or too late.
        if self.inner.clock_set_by().1.is_some() {
            return None;
        }
        let seat = desk.reserve(destination, is_ours)?;
        let lease = Lease {
            token: LeaseToken::random(&mut rand::rng()),
            until: seat.leased_until(),
        };
        let claim = sealed.leased(lease, message, (destination, is_ours), self.inner.tenure(), body);
        Some(Seated {
            store: self.clone(),
            taken: Some((seat, claim)),
        })
    }
}

/// A body that is handed on with its message, for it is small.
pub(super) fn small(body: &[u8]) -> Option<Secret<Vec<u8>>> {
    let is_small = body.len() as u64 <= SMALL_BODY.unsigned_abs();
    is_small.then(|| Secret::new(body.to_vec()))
}
