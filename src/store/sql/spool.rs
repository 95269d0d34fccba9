//! The spool's surface; the work is done in the files beside this one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::connection::Connection;
use super::query::{query_as, query_scalar};
use async_trait::async_trait;

use super::body::SpoolBody;
use super::claim::{Claimant, InDoubt};
use super::message::{SealedMessage, pieces_in, store_message};
use super::misread::unreadable;
use super::seat::{Seated, small};
use super::writer::{Durable, Work};
use super::{Inner, SqlStore, claim, nodes, operate, settle};
use crate::base::id::{LeaseToken, QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::store::{
    AttemptEntry, BodyWriter, Changed, Claimed, Committed, Desk, Error, FollowUp, FollowUpBody,
    QuarantinedEntry, QueueEntry, QueuePosition, ReplayEntry, Rooms, Selection, Settlement, Spool,
};

/// How long to wait before claiming again while this node is not known to the others.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// Longer pieces, which may have to come from many places of the disk, are read where nobody waits for it.
const READ_AT_ONCE: i64 = 32 << 10;

#[async_trait]
impl Spool for SqlStore {
    async fn begin(&self, id: QueueId) -> Result<Box<dyn BodyWriter>, Error> {
        Ok(Box::new(SpoolBody::begin(self.clone(), id)))
    }

    async fn enqueue(&self, message: FollowUp) -> Result<(), Error> {
        let now = self.inner.certain(self.inner.clock.now());
        let sealed = [SealedMessage::follow_up(&self.inner.master, &message)?];
        let stored = self
            .inner
            .write(move |db| Box::pin(async move { store_follow_ups(db, now, &sealed).await }))
            .await?;
        self.stored(&[message], &stored);
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn claim_within(
        &self,
        now: Timestamp,
        leased_until: Timestamp,
        limit: usize,
        rooms: Rooms,
    ) -> Result<Claimed, Error> {
        let claimant = Arc::new(Claimant {
            master: self.inner.master.clone(),
            tenure: self.inner.tenure(),
            drawn: InDoubt::default(),
        });
        let (own, in_doubt) = (Arc::clone(&claimant), self.inner.in_doubt.take());
        let is_earlier = self.inner.last_claim_at.swap(now.0, Ordering::Relaxed) > now.0;
        let (offset_ms, set_by) = self.inner.clock_set_by();
        let is_shared = self.inner.database.is_shared();
        let doubted = in_doubt.clone();
        let claimed = self
            .inner
            .write_as(Durable::Soon, move |db| {
                Box::pin(async move {
                    match set_by {
                        // What others have leased, they have by clocks of their own.
                        Some(set_by) if !is_shared => claim::follow_clock(db, now, set_by).await?,
                        _ if is_earlier => claim::forget_future_turns(db, now).await?,
                        _ => {}
                    }
                    if !nodes::is_known(db, &own.tenure).await? {
                        // Others would not find out that these leases are those of nobody.
                        return Ok(Claimed {
                            has_more: true,
                            next_due: Some(now.after(UNKNOWN_PAUSE)),
                            ..Claimed::default()
                        });
                    }
                    settle::give_back_all(db, &doubted, now).await?;
                    claim::claim(db, &own, (now, leased_until), limit, rooms).await
                })
            })
            .await;
        match (&claimed, set_by) {
            (Ok(_), Some(_)) => self.inner.clock_offset_ms.store(offset_ms, Ordering::Relaxed),
            (Ok(_), None) => {}
            (Err(_), _) => {
                self.inner.in_doubt.add(in_doubt);
                self.inner.in_doubt.add(claimant.drawn.take());
            }
        }
        claimed
    }

    fn set_desk(&self, desk: Option<Arc<dyn Desk>>) {
        if !self.inner.database.is_shared() {
            *self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner) = desk;
        }
    }

    async fn read_piece(&self, message: QueueId, index: u32) -> Result<Option<Vec<u8>>, Error> {
        let row: Option<(Vec<u8>, i64, Option<i64>, Option<Vec<u8>>)> = query_as(
            "SELECT m.wrapped_key, m.size_bytes, CAST(length(p.sealed) AS BIGINT), \
             CASE WHEN length(p.sealed) <= $1 THEN p.sealed END FROM messages m \
             LEFT JOIN pieces p ON p.message = m.id AND p.number = $2 WHERE m.id = $3",
        )
        .bind(READ_AT_ONCE)
        .bind(index)
        .bind(message.to_string())
        .fetch_optional(self.inner.readers.at_once())
        .await
        .map_err(unreadable("body piece"))?;
        let (wrapped_key, size_bytes, length, short) = row.ok_or(Error::Missing)?;
        if i64::from(index) >= pieces_in(size_bytes) {
            return Ok(None);
        }
        let sealed = match (short, length) {
            (None, Some(_)) => self.long_piece(message, index).await?,
            (short, _) => short,
        };
        let sealed = sealed.ok_or(Error::Unreadable("body piece"))?;
        let key = self.inner.master.unwrap(message, &wrapped_key)?;
        key.open_piece(index, &sealed).map(Some)
    }

    async fn ticket(&self, message: QueueId) -> Result<Option<Vec<u8>>, Error> {
        let row: Option<(Vec<u8>, Vec<u8>)> = query_as(
            "SELECT m.wrapped_key, t.sealed FROM messages m JOIN tickets t ON t.message = m.id WHERE m.id = $1",
        )
        .bind(message.to_string())
        .fetch_optional(self.inner.readers.at_once())
        .await?;
        let Some((wrapped_key, sealed)) = row else {
            return Ok(None);
        };
        let key = self.inner.master.unwrap(message, &wrapped_key)?;
        key.open_ticket(&sealed).map(Some)
    }

    async fn remembers(&self, entry: ReplayEntry) -> Result<bool, Error> {
        let remembered = query_scalar("SELECT EXISTS (SELECT 1 FROM replay_entries WHERE entry = $1)")
            .bind(&entry.key[..])
            .fetch_one(self.inner.readers.at_once())
            .await?;
        Ok(remembered)
    }

    async fn settle(
        &self,
        lease: LeaseToken,
        settlements: Vec<Settlement>,
        follow_ups: Vec<FollowUp>,
    ) -> Result<(), Error> {
        let master = self.inner.master.clone();
        let now = self.inner.clock.now();
        let certain = self.inner.certain(now);
        let mut sealed = follow_ups
            .iter()
            .map(|message| SealedMessage::follow_up(&master, message))
            .collect::<Result<Vec<_>, _>>()?;
        let seated = self.seat_all(&follow_ups, &mut sealed).await;
        // What follows from an outcome goes out after that is durable.
        let durable = match sealed.is_empty() {
            true => Durable::AtLeisure,
            false => Durable::AtOnce,
        };
        let leaves_work = settlements.iter().any(|one| one.state.leaves_work());
        let stored = self
            .inner
            .write_as(durable, move |db| {
                Box::pin(async move {
                    settle::settle(db, &master, lease, now, &settlements).await?;
                    store_follow_ups(db, certain, &sealed).await
                })
            })
            .await?;
        self.stored(&follow_ups, &stored);
        // A deferred recipient changes when the runner has to wake.
        if leaves_work || seated.iter().any(Option::is_none) {
            self.inner.changed.notify_one();
        }
        begin(seated, &stored);
        Ok(())
    }

    async fn give_back(&self, lease: LeaseToken, now: Timestamp) -> Result<(), Error> {
        self.inner
            .write_as(Durable::Soon, move |db| {
                Box::pin(settle::give_back(db, lease, now))
            })
            .await?;
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn quarantine(&self, lease: LeaseToken, reason: &str) -> Result<(), Error> {
        let reason = reason.to_owned();
        self.inner
            .write(move |db| Box::pin(async move { settle::quarantine(db, lease, &reason).await }))
            .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        self.inner
            .write(|db| Box::pin(async move { claim::next_turn(db, &Rooms::unbounded()).await }))
            .await
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    async fn list(&self, after: Option<QueuePosition>, limit: usize) -> Result<Vec<QueueEntry>, Error> {
        operate::list(&self.inner, after, limit).await
    }

    async fn entries(&self, message: QueueId) -> Result<Vec<QueueEntry>, Error> {
        operate::entries(&self.inner, message).await
    }

    async fn quarantined(&self, limit: usize) -> Result<Vec<QuarantinedEntry>, Error> {
        operate::quarantined(&self.inner, limit).await
    }

    async fn attempts(&self, recipient: RecipientId) -> Result<Vec<AttemptEntry>, Error> {
        operate::attempts(&self.inner, recipient).await
    }

    async fn hold(&self, selection: Selection, now: Timestamp) -> Result<Changed, Error> {
        self.inner
            .write(move |db| Box::pin(async move { operate::hold(db, &selection, now).await }))
            .await
    }

    async fn release(&self, selection: Selection, now: Timestamp) -> Result<u64, Error> {
        let released = self
            .inner
            .write(move |db| Box::pin(async move { operate::release(db, &selection, now).await }))
            .await?;
        self.inner.changed.notify_one();
        Ok(released)
    }

    async fn retry(&self, selection: Selection, now: Timestamp) -> Result<u64, Error> {
        let moved = self
            .inner
            .write(move |db| Box::pin(async move { operate::retry(db, &selection, now).await }))
            .await?;
        self.inner.changed.notify_one();
        Ok(moved)
    }

    async fn bring_forward(&self, longest: Duration, now: Timestamp) -> Result<u64, Error> {
        let latest = now.after(longest);
        let moved = self
            .inner
            .write(move |db| Box::pin(claim::bring_forward(db, now, latest)))
            .await?;
        if moved > 0 {
            self.inner.changed.notify_one();
        }
        Ok(moved)
    }

    async fn expire_held(&self, now: Timestamp, limit: usize) -> Result<u64, Error> {
        self.inner
            .write(move |db| Box::pin(async move { operate::expire_held(db, now, limit).await }))
            .await
    }

    async fn delete(&self, selection: Selection, now: Timestamp) -> Result<Changed, Error> {
        self.inner
            .write(move |db| Box::pin(async move { operate::delete(db, &selection, now).await }))
            .await
    }

    async fn condemn(&self, selection: Selection, now: Timestamp) -> Result<Changed, Error> {
        let condemned = self
            .inner
            .write(move |db| Box::pin(async move { operate::condemn(db, &selection, now).await }))
            .await?;
        self.inner.changed.notify_one();
        Ok(condemned)
    }
}

/// What became of each. [`Error::Conflict`] if one of them clashes with what was taken before.
async fn store_follow_ups(
    db: &mut Connection,
    now: Timestamp,
    messages: &[SealedMessage],
) -> Result<Vec<Committed>, Error> {
    let mut stored = Vec::with_capacity(messages.len());
    for message in messages {
        match store_message(db, now, message).await? {
            Committed::Conflict => return Err(Error::Conflict),
            committed => stored.push(committed),
        }
    }
    Ok(stored)
}

/// Begins what was stored.
fn begin(seated: Vec<Option<Seated>>, committed: &[Committed]) {
    for (seated, committed) in seated.into_iter().zip(committed) {
        match (seated, committed) {
            (Some(seated), Committed::Stored) => seated.begin(),
            // Its seat is given back.
            (seated, _) => drop(seated),
        }
    }
}

impl SqlStore {
    /// Has messages leased as they are stored, as far as somebody has room to work on them at once.
    async fn seat_all(&self, follow_ups: &[FollowUp], sealed: &mut [SealedMessage]) -> Vec<Option<Seated>> {
        let mut seated = Vec::with_capacity(follow_ups.len());
        for (follow_up, sealed) in follow_ups.iter().zip(sealed) {
            let body = match &follow_up.body {
                FollowUpBody::Whole(body) => small(body),
                FollowUpBody::Spooled(_) => None,
            };
            seated.push(self.seat(&follow_up.message, sealed, body).await);
        }
        seated
    }

    async fn long_piece(&self, message: QueueId, index: u32) -> Result<Option<Vec<u8>>, Error> {
        query_scalar("SELECT sealed FROM pieces WHERE message = $1 AND number = $2")
            .bind(message.to_string())
            .bind(index)
            .fetch_optional(&self.inner.readers)
            .await
            .map_err(unreadable("body piece"))
    }

    /// Follow-ups are durable: their bodies are no longer theirs to sweep.
    fn stored(&self, follow_ups: &[FollowUp], committed: &[Committed]) {
        for (follow_up, committed) in follow_ups.iter().zip(committed) {
            if let (FollowUpBody::Spooled(body), Committed::Stored) = (&follow_up.body, committed) {
                body.mark_adopted();
            }
        }
    }
}

impl Inner {
    /// See [`super::writer::Writer::run`].
    pub(super) async fn write<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        self.writer.run(job).await
    }

    /// See [`super::writer::Writer::run_as`].
    pub(super) async fn write_as<T, F>(&self, durable: Durable, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        self.writer.run_as(durable, job).await
    }
}
