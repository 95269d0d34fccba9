//! Bodies on their way in.
//!
//! Pieces are durable before their message is; a list of such bodies, `incoming`, lets the next start find what
//! a kill left behind.

use std::sync::Arc;

use super::connection::Connection;
use super::query::{query, query_scalar};
use async_trait::async_trait;

use super::SqlStore;
use super::message::{SealedMessage, insert_piece, store_message};
use super::seat::small;
use super::writer::Durable;
use crate::base::id::QueueId;
use crate::base::secret::Secret;
use crate::store::sealed::MessageKey;
use crate::store::{
    BodyWriter, Committed, Error, Hold, NewMessage, PIECE_BYTES, ReplayEntry, SpooledBody, Trapped,
};

/// A body on its way in: full pieces are stored at once, the last one with the message.
pub(super) struct SpoolBody {
    store: SqlStore,
    key: Arc<MessageKey>,
    piece: Vec<u8>,
    pieces_stored: u32,
    size_bytes: u64,
    /// The pieces belong to a message, or to a [`SpooledBody`].
    handed_on: bool,
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

    async fn overwrite(&mut self, offset: u64, mut octets: &[u8]) -> Result<(), Error> {
        let end = offset.checked_add(octets.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(Error::Missing);
        }
        let mut number = u32::try_from(offset / PIECE_BYTES as u64).map_err(|_| Error::Missing)?;
        let mut start = (offset % PIECE_BYTES as u64) as usize;
        while !octets.is_empty() {
            let (here, rest) = octets.split_at(octets.len().min(PIECE_BYTES - start));
            self.patch(number, start, here).await?;
            (number, start, octets) = (number + 1, 0, rest);
        }
        Ok(())
    }

    async fn truncate(&mut self, size_bytes: u64) -> Result<(), Error> {
        if size_bytes > self.size_bytes {
            return Err(Error::Missing);
        }
        let number = u32::try_from(size_bytes / PIECE_BYTES as u64).map_err(|_| Error::Missing)?;
        let length = (size_bytes % PIECE_BYTES as u64) as usize;
        // The last piece is the one in memory, and may be full.
        if number < self.pieces_stored {
            self.piece = self.stored_piece(number).await?;
            self.drop_pieces(number).await?;
            self.pieces_stored = number;
            self.piece.truncate(length);
        } else if number == self.pieces_stored {
            self.piece.truncate(length);
        }
        self.size_bytes = size_bytes;
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn read_piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        match index.cmp(&self.pieces_stored) {
            std::cmp::Ordering::Less => self.stored_piece(index).await.map(Some),
            std::cmp::Ordering::Equal if !self.piece.is_empty() => Ok(Some(self.piece.clone())),
            _ => Ok(None),
        }
    }

    async fn commit(mut self: Box<Self>, message: NewMessage) -> Result<(), Error> {
        self.store_message(&message, |_, _| {}).await.map(drop)
    }

    async fn commit_held(
        mut self: Box<Self>,
        message: NewMessage,
        hold: Hold,
        entry: Option<ReplayEntry>,
    ) -> Result<Committed, Error> {
        let more = |sealed: &mut SealedMessage, key: &MessageKey| {
            sealed.hold(key, &hold);
            sealed.replay = entry;
        };
        self.store_message(&message, more).await
    }

    async fn commit_once(
        mut self: Box<Self>,
        message: NewMessage,
        entry: ReplayEntry,
    ) -> Result<Committed, Error> {
        self.store_message(&message, |sealed, _| sealed.replay = Some(entry))
            .await
    }

    async fn commit_trapped(
        mut self: Box<Self>,
        message: NewMessage,
        entry: ReplayEntry,
        trapped: Trapped,
    ) -> Result<Committed, Error> {
        let more = |sealed: &mut SealedMessage, _: &MessageKey| {
            sealed.replay = Some(entry);
            sealed.trapped = Some(trapped);
        };
        self.store_message(&message, more).await
    }

    fn finish(mut self: Box<Self>) -> SpooledBody {
        self.handed_on = true;
        let store = self.store.clone();
        SpooledBody::new(
            Arc::clone(&self.key),
            self.size_bytes,
            self.pieces_stored,
            std::mem::take(&mut self.piece),
            Box::new(move |message| store.discard(message)),
        )
    }
}

impl SpoolBody {
    /// An empty body for the message `id`, under a key of its own.
    pub(super) fn begin(store: SqlStore, id: QueueId) -> Self {
        Self {
            store,
            key: Arc::new(MessageKey::generate(id)),
            piece: Vec::new(),
            pieces_stored: 0,
            size_bytes: 0,
            handed_on: false,
        }
    }

    /// Stores the full piece that has gathered, outside any message. It is durable with the message at the latest, whose commit comes
    /// behind it.
    async fn store_piece(&mut self) -> Result<(), Error> {
        let number = self.pieces_stored;
        let sealed = self.key.seal_piece(number, &self.piece);
        let message = self.key.message().to_string();
        self.store
            .inner
            .write_as(Durable::Soon, move |db| {
                Box::pin(async move {
                    query("INSERT INTO incoming (message) VALUES ($1) ON CONFLICT DO NOTHING")
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

    /// Removes the stored pieces from `number` on. Without any, the body needs no place in the list of those without a message.
    async fn drop_pieces(&self, number: u32) -> Result<(), Error> {
        let message = self.key.message().to_string();
        self.store
            .inner
            .write(move |db| Box::pin(async move { drop_pieces(db, &message, number).await }))
            .await
    }

    async fn stored_piece(&self, number: u32) -> Result<Vec<u8>, Error> {
        let sealed: Option<Vec<u8>> =
            query_scalar("SELECT sealed FROM pieces WHERE message = $1 AND number = $2")
                .bind(self.key.message().to_string())
                .bind(number)
                .fetch_optional(&self.store.inner.readers)
                .await?;
        self.key
            .open_piece(number, &sealed.ok_or(Error::Unreadable("body piece"))?)
    }

    /// Overwrites octets of one piece, which reach not beyond its end.
    async fn patch(&mut self, number: u32, start: usize, octets: &[u8]) -> Result<(), Error> {
        let place = start..start + octets.len();
        if number == self.pieces_stored {
            let place = self.piece.get_mut(place).ok_or(Error::Missing)?;
            place.copy_from_slice(octets);
            return Ok(());
        }
        let mut piece = self.stored_piece(number).await?;
        let place = piece.get_mut(place).ok_or(Error::Unreadable("body piece"))?;
        place.copy_from_slice(octets);
        let sealed = self.key.seal_piece(number, &piece);
        let message = self.key.message().to_string();
        self.store
            .inner
            .write(move |db| Box::pin(async move { replace_piece(db, &message, number, &sealed).await }))
            .await
    }

    /// The whole body, if it is small.
    fn small_body(&self) -> Option<Secret<Vec<u8>>> {
        small(&self.piece).filter(|_| self.pieces_stored == 0)
    }

    async fn store_message(
        &mut self,
        message: &NewMessage,
        more: impl FnOnce(&mut SealedMessage, &MessageKey) + Send,
    ) -> Result<Committed, Error> {
        let master = &self.store.inner.master;
        let last = (self.pieces_stored, &self.piece[..]);
        let mut sealed = SealedMessage::seal(master, &self.key, message, self.size_bytes, last)?;
        more(&mut sealed, &self.key);
        let seated = match sealed.is_held() {
            true => None,
            false => self.store.seat(message, &mut sealed, self.small_body()).await,
        };
        let now = self.store.inner.certain(self.store.inner.clock.now());
        let committed = self
            .store
            .inner
            .write(move |db| Box::pin(async move { store_message(db, now, &sealed).await }))
            .await?;
        if committed == Committed::Stored {
            self.handed_on = true;
            match seated {
                Some(seated) => seated.begin(),
                None => self.store.inner.changed.notify_one(),
            }
        }
        Ok(committed)
    }
}

impl Drop for SpoolBody {
    fn drop(&mut self) {
        if !self.handed_on && self.pieces_stored > 0 {
            self.store.discard(self.key.message());
        }
    }
}

impl SqlStore {
    /// Gives back the room of a body that belongs to no message; should that fail, the next start does it.
    fn discard(&self, message: QueueId) {
        let message = message.to_string();
        self.inner
            .writer
            .run_unattended(move |db| Box::pin(async move { discard_pieces(db, &message).await }));
    }
}

async fn replace_piece(db: &mut Connection, message: &str, number: u32, sealed: &[u8]) -> Result<(), Error> {
    query("UPDATE pieces SET sealed = $1 WHERE message = $2 AND number = $3")
        .bind(sealed)
        .bind(message)
        .bind(number)
        .execute(db)
        .await?;
    Ok(())
}

async fn drop_pieces(db: &mut Connection, message: &str, number: u32) -> Result<(), Error> {
    query("DELETE FROM pieces WHERE message = $1 AND number >= $2")
        .bind(message)
        .bind(number)
        .execute(&mut *db)
        .await?;
    if number == 0 {
        query("DELETE FROM incoming WHERE message = $1")
            .bind(message)
            .execute(db)
            .await?;
    }
    Ok(())
}

/// The pieces stored so far now belong to a message. [`Error::Missing`] if they have been swept.
pub(super) async fn adopt_pieces(db: &mut Connection, message: &str) -> Result<(), Error> {
    let adopted = query("DELETE FROM incoming WHERE message = $1")
        .bind(message)
        .execute(db)
        .await?;
    match adopted.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Missing),
    }
}

async fn discard_pieces(db: &mut Connection, message: &str) -> Result<(), Error> {
    query("DELETE FROM pieces WHERE message IN (SELECT message FROM incoming WHERE message = $1)")
        .bind(message)
        .execute(&mut *db)
        .await?;
    query("DELETE FROM incoming WHERE message = $1")
        .bind(message)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes what was begun and never committed. Only for a process that is alone with the database.
pub(in crate::store) async fn sweep_uncommitted(db: &mut Connection) -> Result<(), Error> {
    query("DELETE FROM pieces WHERE message IN (SELECT message FROM incoming)")
        .execute(&mut *db)
        .await?;
    // Until here a kill changes nothing: the next start finds the list again.
    query("DELETE FROM incoming").execute(db).await?;
    Ok(())
}
