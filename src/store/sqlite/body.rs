//! Bodies on their way in.
//!
//! Pieces are durable before their message is; a list of such bodies, `incoming`, lets the next start find what
//! a kill left behind.

use async_trait::async_trait;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;

use super::message::{SealedMessage, insert_message, insert_piece};
use super::{SqliteStore, spool};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::store::sealed::MessageKey;
use crate::store::{BodyWriter, Error, NewMessage, PIECE_BYTES};

/// A body on its way in: full pieces are stored at once, the last one with the message.
pub(super) struct SpoolBody {
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
    /// An empty body for the message `id`, under a key of its own.
    pub(super) fn begin(store: SqliteStore, id: QueueId) -> Self {
        Self {
            store,
            key: MessageKey::generate(id),
            piece: Vec::new(),
            pieces_stored: 0,
            size_bytes: 0,
            committed: false,
        }
    }

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
                        && !spool::remember_token(db, token, now, until).await?
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
