//! Messages on their way in, and the spool's surface; what happens to them later is in the files beside this one.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as, query_scalar};

use super::{Inner, SqliteStore, claim, operate, settle};
use crate::base::id::{LeaseToken, QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::store::sealed::{ClearColumns, MasterKey, MessageKey};
use crate::store::{
    AttemptEntry, BodyWriter, Claim, Content, Error, FollowUp, NewMessage, PIECE_BYTES, QuarantinedEntry,
    QueueEntry, QueuePosition, Selection, Settlement, Spool,
};

#[async_trait]
impl Spool for SqliteStore {
    async fn begin(&self, id: QueueId) -> Result<Box<dyn BodyWriter>, Error> {
        Ok(Box::new(SpoolBody {
            store: self.clone(),
            key: MessageKey::generate(id),
            piece: Vec::new(),
            pieces_stored: 0,
            size_bytes: 0,
            committed: false,
        }))
    }

    async fn enqueue(&self, message: FollowUp) -> Result<(), Error> {
        let sealed = SealedMessage::whole(&self.inner.master, message)?;
        self.inner
            .write(move |db| Box::pin(async move { insert_message(db, &sealed).await }))
            .await?;
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn claim(
        &self,
        now: Timestamp,
        leased_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Claim>, Error> {
        let master = self.inner.master.clone();
        let set_back = self.inner.last_claim_at.swap(now.0, Ordering::Relaxed) > now.0;
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    if set_back {
                        claim::forget_future_turns(db, now).await?;
                    }
                    claim::claim(db, &master, now, leased_until, limit).await
                })
            })
            .await
    }

    async fn read_piece(&self, message: QueueId, index: u32) -> Result<Option<Vec<u8>>, Error> {
        let row: Option<(Vec<u8>, i64, Option<Vec<u8>>)> = query_as(
            "SELECT m.wrapped_key, m.size_bytes, p.sealed FROM messages m \
             LEFT JOIN pieces p ON p.message = m.id AND p.number = ? WHERE m.id = ?",
        )
        .bind(index)
        .bind(message.to_string())
        .fetch_optional(&self.inner.readers)
        .await?;
        let (wrapped_key, size_bytes, sealed) = row.ok_or(Error::Missing)?;
        if i64::from(index) >= pieces_in(size_bytes) {
            return Ok(None);
        }
        let sealed = sealed.ok_or(Error::Unreadable("body piece"))?;
        let key = self.inner.master.unwrap(message, &wrapped_key)?;
        key.open_piece(index, &sealed).map(Some)
    }

    async fn settle(
        &self,
        lease: LeaseToken,
        settlements: Vec<Settlement>,
        follow_ups: Vec<FollowUp>,
    ) -> Result<(), Error> {
        let master = self.inner.master.clone();
        let now = self.inner.clock.now();
        let sealed = follow_ups
            .into_iter()
            .map(|message| SealedMessage::whole(&master, message))
            .collect::<Result<Vec<_>, _>>()?;
        self.inner
            .write(move |db| {
                Box::pin(async move {
                    settle::settle(db, &master, lease, now, &settlements).await?;
                    for message in &sealed {
                        insert_message(db, message).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        // A deferred recipient changes when the runner has to wake, too.
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn give_back(&self, lease: LeaseToken, now: Timestamp) -> Result<(), Error> {
        self.inner
            .write(move |db| Box::pin(settle::give_back(db, lease, now)))
            .await?;
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn release_leases(&self, now: Timestamp) -> Result<u64, Error> {
        let freed = self
            .inner
            .write(move |db| Box::pin(operate::release_leases(db, now)))
            .await?;
        self.inner.changed.notify_one();
        Ok(freed)
    }

    async fn extend_lease(&self, lease: LeaseToken, leased_until: Timestamp) -> Result<(), Error> {
        self.inner
            .write(move |db| Box::pin(settle::extend_lease(db, lease, leased_until)))
            .await
    }

    async fn quarantine(&self, lease: LeaseToken, reason: &str) -> Result<(), Error> {
        let reason = reason.to_owned();
        self.inner
            .write(move |db| Box::pin(async move { settle::quarantine(db, lease, &reason).await }))
            .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let turn: Option<i64> = query_scalar("SELECT MIN(turn_at) FROM lanes")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(turn.map(Timestamp))
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    async fn list(&self, after: Option<QueuePosition>, limit: usize) -> Result<Vec<QueueEntry>, Error> {
        operate::list(&self.inner, after, limit).await
    }

    async fn quarantined(&self, limit: usize) -> Result<Vec<QuarantinedEntry>, Error> {
        operate::quarantined(&self.inner, limit).await
    }

    async fn attempts(&self, recipient: RecipientId) -> Result<Vec<AttemptEntry>, Error> {
        operate::attempts(&self.inner, recipient).await
    }

    async fn hold(&self, selection: Selection) -> Result<u64, Error> {
        self.inner
            .write(move |db| Box::pin(async move { operate::hold(db, &selection).await }))
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

    async fn delete(&self, selection: Selection) -> Result<u64, Error> {
        self.inner
            .write(move |db| Box::pin(async move { operate::delete(db, &selection).await }))
            .await
    }

    async fn remember_once(&self, token: [u8; 32], now: Timestamp, until: Timestamp) -> Result<bool, Error> {
        self.inner
            .write(move |db| Box::pin(remember_token(db, token, now, until)))
            .await
    }
}

/// A body on its way in: full pieces are stored at once, the last one with the message.
struct SpoolBody {
    store: SqliteStore,
    key: MessageKey,
    piece: Vec<u8>,
    pieces_stored: u32,
    size_bytes: u64,
    committed: bool,
}

#[async_trait]
impl BodyWriter for SpoolBody {
    async fn write(&mut self, mut octets: &[u8]) -> Result<(), Error> {
        while !octets.is_empty() {
            if self.piece.len() == PIECE_BYTES {
                self.store_piece().await?;
            }
            let room = PIECE_BYTES - self.piece.len();
            let (fitting, rest) = octets.split_at(room.min(octets.len()));
            self.piece.extend_from_slice(fitting);
            self.size_bytes += fitting.len() as u64;
            octets = rest;
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn commit(mut self: Box<Self>, message: NewMessage) -> Result<(), Error> {
        self.finish(message, None).await.map(drop)
    }

    async fn commit_once(
        mut self: Box<Self>,
        message: NewMessage,
        token: [u8; 32],
        until: Timestamp,
    ) -> Result<bool, Error> {
        self.finish(message, Some((token, until))).await
    }
}

impl SpoolBody {
    /// Stores the full piece that has gathered, outside any message.
    async fn store_piece(&mut self) -> Result<(), Error> {
        let number = self.pieces_stored;
        let sealed = self.key.seal_piece(number, &self.piece);
        let message = self.key.message().to_string();
        self.store
            .inner
            .write(move |db| {
                Box::pin(async move {
                    query("INSERT INTO incoming (message) VALUES (?) ON CONFLICT DO NOTHING")
                        .bind(&message)
                        .execute(&mut *db)
                        .await?;
                    insert_piece(db, &message, number, &sealed).await
                })
            })
            .await?;
        self.piece.clear();
        self.pieces_stored += 1;
        Ok(())
    }

    async fn finish(
        &mut self,
        message: NewMessage,
        replay: Option<([u8; 32], Timestamp)>,
    ) -> Result<bool, Error> {
        if message.id != self.key.message() {
            return Err(Error::Missing);
        }
        let master = &self.store.inner.master;
        let last = (self.pieces_stored, std::mem::take(&mut self.piece));
        let sealed = SealedMessage::seal(master, &self.key, message, self.size_bytes, last)?;
        let in_parts = self.pieces_stored > 0;
        let now = self.store.inner.clock.now();
        let first_time = self
            .store
            .inner
            .write(move |db| {
                Box::pin(async move {
                    if let Some((token, until)) = replay
                        && !remember_token(db, token, now, until).await?
                    {
                        return Ok(false);
                    }
                    if in_parts {
                        adopt_pieces(db, &sealed.id).await?;
                    }
                    insert_message(db, &sealed).await?;
                    Ok(true)
                })
            })
            .await?;
        self.committed = first_time;
        if first_time {
            self.store.inner.changed.notify_one();
        }
        Ok(first_time)
    }
}

impl Drop for SpoolBody {
    /// Gives back the room; should that fail, the next start does it.
    fn drop(&mut self) {
        if self.committed || self.pieces_stored == 0 {
            return;
        }
        let message = self.key.message().to_string();
        self.store
            .inner
            .writer
            .run_unattended(move |db| Box::pin(async move { discard_pieces(db, &message).await }));
    }
}

/// A message as its rows will be; sealed before the writer sees it, so that encryption runs on all cores.
pub(super) struct SealedMessage {
    id: String,
    wrapped_key: Vec<u8>,
    envelope: Vec<u8>,
    beside: ClearColumns,
    due_at: Timestamp,
    recipients: Vec<SealedRecipient>,
    /// Pieces not stored yet, with their numbers.
    pieces: Vec<(u32, Vec<u8>)>,
}

struct SealedRecipient {
    id: String,
    destination: String,
    forward_path: Vec<u8>,
}

impl SealedMessage {
    /// Seals a message whose body is at hand.
    pub(super) fn whole(master: &MasterKey, message: FollowUp) -> Result<Self, Error> {
        let FollowUp { message, body } = message;
        let key = MessageKey::generate(message.id);
        let mut sealed = Self::seal(master, &key, message, body.len() as u64, (0, Vec::new()))?;
        sealed.pieces = (0..)
            .zip(body.chunks(PIECE_BYTES))
            .map(|(number, piece)| (number, key.seal_piece(number, piece)))
            .collect();
        Ok(sealed)
    }

    fn seal(
        master: &MasterKey,
        key: &MessageKey,
        message: NewMessage,
        size_bytes: u64,
        (number, piece): (u32, Vec<u8>),
    ) -> Result<Self, Error> {
        if message.recipients.is_empty() {
            return Err(Error::Missing);
        }
        let beside = ClearColumns {
            content: message.content,
            size_bytes,
            accepted_at: message.accepted_at,
        };
        let last = (!piece.is_empty()).then(|| (number, key.seal_piece(number, &piece)));
        Ok(Self {
            id: message.id.to_string(),
            wrapped_key: master.wrap(key),
            envelope: key.seal_envelope(&message.envelope, &beside),
            beside,
            due_at: message.due_at,
            recipients: seal_recipients(key, &message),
            pieces: last.into_iter().collect(),
        })
    }
}

fn seal_recipients(key: &MessageKey, message: &NewMessage) -> Vec<SealedRecipient> {
    let seal = |path| {
        let id = RecipientId::random(&mut rand::rng());
        (id, key.seal_forward_path(id, path))
    };
    message
        .recipients
        .iter()
        .map(|path| (path, seal(path)))
        .map(|(path, (id, forward_path))| SealedRecipient {
            id: id.to_string(),
            destination: path.domain().to_string(),
            forward_path,
        })
        .collect()
}

/// Writes all rows of a message. [`Error::Exists`] if its id is taken.
pub(super) async fn insert_message(db: &mut SqliteConnection, message: &SealedMessage) -> Result<(), Error> {
    query(
        "INSERT INTO messages (id, wrapped_key, envelope, content, size_bytes, accepted_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&message.id)
    .bind(&message.wrapped_key)
    .bind(&message.envelope)
    .bind(content_number(message.beside.content))
    .bind(i64::try_from(message.beside.size_bytes).unwrap_or(i64::MAX))
    .bind(message.beside.accepted_at.0)
    .execute(&mut *db)
    .await
    .map_err(super::exists)?;
    for (number, sealed) in &message.pieces {
        insert_piece(db, &message.id, *number, sealed).await?;
    }
    insert_recipients(db, message).await
}

async fn insert_recipients(db: &mut SqliteConnection, message: &SealedMessage) -> Result<(), Error> {
    let mut destinations: Vec<&str> = Vec::new();
    for recipient in &message.recipients {
        query(
            "INSERT INTO recipients (id, message, destination, forward_path, due_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&recipient.id)
        .bind(&message.id)
        .bind(&recipient.destination)
        .bind(&recipient.forward_path)
        .bind(message.due_at.0)
        .execute(&mut *db)
        .await?;
        destinations.push(&recipient.destination);
    }
    destinations.sort_unstable();
    destinations.dedup();
    for destination in destinations {
        claim::bring_lane_forward(db, destination, message.due_at).await?;
    }
    Ok(())
}

async fn insert_piece(
    db: &mut SqliteConnection,
    message: &str,
    number: u32,
    sealed: &[u8],
) -> Result<(), Error> {
    query("INSERT INTO pieces (message, number, sealed) VALUES (?, ?, ?)")
        .bind(message)
        .bind(number)
        .bind(sealed)
        .execute(db)
        .await
        .map_err(super::exists)?;
    Ok(())
}

/// The pieces stored so far now belong to a message. [`Error::Missing`] if they have been swept.
async fn adopt_pieces(db: &mut SqliteConnection, message: &str) -> Result<(), Error> {
    let adopted = query("DELETE FROM incoming WHERE message = ?")
        .bind(message)
        .execute(db)
        .await?;
    match adopted.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Missing),
    }
}

async fn discard_pieces(db: &mut SqliteConnection, message: &str) -> Result<(), Error> {
    query("DELETE FROM pieces WHERE message IN (SELECT message FROM incoming WHERE message = ?)")
        .bind(message)
        .execute(&mut *db)
        .await?;
    query("DELETE FROM incoming WHERE message = ?")
        .bind(message)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes what was begun and never committed. Only for a process that is alone with the database.
pub(super) async fn sweep_uncommitted(db: &mut SqliteConnection) -> Result<(), Error> {
    query("DELETE FROM pieces WHERE message IN (SELECT message FROM incoming)")
        .execute(&mut *db)
        .await?;
    // Until here a kill changes nothing: the next start finds the list again.
    query("DELETE FROM incoming").execute(db).await?;
    Ok(())
}

/// Expired tokens that one call clears away; more than it adds, so they cannot pile up.
const EXPIRED_TOKENS_PER_CALL: i64 = 16;

async fn remember_token(
    db: &mut SqliteConnection,
    token: [u8; 32],
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Error> {
    query(
        "DELETE FROM replay_tokens WHERE token = ?1 AND expires_at <= ?2 OR token IN \
         (SELECT token FROM replay_tokens WHERE expires_at <= ?2 ORDER BY expires_at LIMIT ?3)",
    )
    .bind(&token[..])
    .bind(now.0)
    .bind(EXPIRED_TOKENS_PER_CALL)
    .execute(&mut *db)
    .await?;
    let added = query("INSERT INTO replay_tokens (token, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(&token[..])
        .bind(until.0)
        .execute(db)
        .await?;
    Ok(added.rows_affected() == 1)
}

/// Number of pieces of a body of that size.
fn pieces_in(size_bytes: i64) -> i64 {
    size_bytes.unsigned_abs().div_ceil(PIECE_BYTES as u64) as i64
}

/// How a kind of content is stored.
fn content_number(content: Content) -> i64 {
    match content {
        Content::Mime => 1,
        Content::Dmime1 => 2,
    }
}

/// Reads the stored kind back.
pub(super) fn content_from(number: i64) -> Result<Content, Error> {
    match number {
        1 => Ok(Content::Mime),
        2 => Ok(Content::Dmime1),
        _ => Err(Error::Unreadable("content")),
    }
}

/// The columns of a message that stay in clear, as read.
pub(super) fn clear_columns(content: i64, size_bytes: i64, accepted_at: i64) -> Result<ClearColumns, Error> {
    Ok(ClearColumns {
        content: content_from(content)?,
        size_bytes: u64::try_from(size_bytes).map_err(|_| Error::Unreadable("size"))?,
        accepted_at: Timestamp(accepted_at),
    })
}

impl Inner {
    /// See [`super::writer::Writer::run`].
    pub(super) async fn write<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> super::writer::Work<'c, T> + Send + 'static,
    {
        self.writer.run(job).await
    }
}
