//! Bodies on their way in: written in pieces, read back, and adopted by a message.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::sealed::MessageKey;
use super::{Error, NewMessage, Trapped};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::crypto::hash::Sha512;
use crate::dime::dmime2::Replay;
use crate::mail::address::Domain;

/// Bodies are cut into pieces of at most this many octets, so that a large message costs bounded memory.
pub const PIECE_BYTES: usize = 256 * 1024;

/// How long after an object could last be taken it may come back (`dmime2.md` §12.3, B6), and a day.
const RETURNED_WITHIN: Duration = Duration::from_secs(16 * 24 * 60 * 60);

/// Remembers that an object was taken, in the transaction that stores what came of it.
///
/// Doing the two apart from each other would lose a message whose sender tries again after a crash between them
/// (`dmime.md` §17 W11, `dmime2.md` §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayEntry {
    /// Names role, domain and object; the caller hashes them together.
    pub key: [u8; 32],
    /// Tells two objects of the same id apart.
    pub digest: [u8; 16],
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// Why a message is held from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// One line, clean of control characters. Encrypted at rest.
    pub reason: String,
    /// When it is deleted if nobody has decided by then.
    pub until: Option<Timestamp>,
}

/// In which of its roles a domain of ours remembers an object of D/MIME 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It signed the object.
    Origin,
    /// It took the object.
    Destination,
    /// It took a return of the object, which it had signed.
    Returned,
}

impl Role {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Origin => b"origin",
            Self::Destination => b"destination",
            Self::Returned => b"returned",
        }
    }
}

impl ReplayEntry {
    /// What `domain` remembers of an object (`dmime2.md` §11, §12.3 B6).
    pub fn of(role: Role, domain: &Domain, replay: &Replay) -> Self {
        let name = domain.as_str().as_bytes();
        let digest = Sha512::of(&[role.name(), b"\0", name, b"\0", &replay.message_id.0]).finish();
        let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 32], &[]));
        Self {
            key: *key,
            digest: replay.digest,
            until: Timestamp(0).after(Duration::from_secs(replay.expires)),
        }
    }

    /// Beside what an origin remembers: that the author wants no report if the message comes back. Kept for as long as it may.
    pub fn untold(self) -> Self {
        let digest = Sha512::of(&[b"untold\0", &self.key]).finish();
        let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 32], &[]));
        Self {
            key: *key,
            until: self.until.after(RETURNED_WITHIN),
            ..self
        }
    }

    /// For an object of D/MIME 1 that `domain` signed as origin. Not the key of its arrival: both may be here.
    pub fn of_submission(token: [u8; 32], domain: &Domain, until: Timestamp) -> Self {
        let name = domain.as_str().as_bytes();
        let digest = Sha512::of(&[b"origin 1\0", name, b"\0", &token]).finish();
        let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 32], &[]));
        Self::of_whole(*key, until)
    }

    /// For an object whose `key` is a hash of all of it, so that no other object has that id.
    pub fn of_whole(key: [u8; 32], until: Timestamp) -> Self {
        Self {
            key,
            digest: [0; 16],
            until,
        }
    }
}

/// What became of a message that has a [`ReplayEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is stored, and its entry with it.
    Stored,
    /// The same object was stored before; nothing was changed, and the sender is answered as the first time.
    Duplicate,
    /// Another object of that id was stored before; nothing was changed.
    Conflict,
}

/// A body on its way in. Dropped without being committed it leaves nothing claimable; what it had written is swept,
/// by the next start if need be.
#[async_trait]
pub trait BodyWriter: Send + Sync {
    /// Appends octets.
    async fn write(&mut self, octets: &[u8]) -> Result<(), Error>;

    /// Puts other octets in the place of some that were written. [`Error::Missing`] if they reach beyond the end.
    async fn overwrite(&mut self, offset: u64, octets: &[u8]) -> Result<(), Error>;

    /// Drops what was written beyond the first `size_bytes` octets. [`Error::Missing`] if there are not as many.
    async fn truncate(&mut self, size_bytes: u64) -> Result<(), Error>;

    /// Octets written so far.
    fn size_bytes(&self) -> u64;

    /// Piece `index` of what was written so far, from 0; `None` after the last. All but the last have
    /// [`PIECE_BYTES`] octets.
    async fn read_piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error>;

    /// Makes message, recipients and body durable, in one transaction. When this returns, the `250` may be sent.
    async fn commit(self: Box<Self>, message: NewMessage) -> Result<(), Error>;

    /// As [`commit`](Self::commit), but all recipients are held, as if an operator had done so. The reason begins their history.
    /// With an entry, as [`commit_once`](Self::commit_once).
    async fn commit_held(
        self: Box<Self>,
        message: NewMessage,
        hold: Hold,
        entry: Option<ReplayEntry>,
    ) -> Result<Committed, Error>;

    /// As [`commit`](Self::commit), and remembers `entry` in the same transaction, unless it is remembered already.
    async fn commit_once(
        self: Box<Self>,
        message: NewMessage,
        entry: ReplayEntry,
    ) -> Result<Committed, Error>;

    /// As [`commit_once`](Self::commit_once) for mail to a trap: unless the message is a copy, its author is blocked in the
    /// same transaction.
    async fn commit_trapped(
        self: Box<Self>,
        message: NewMessage,
        entry: ReplayEntry,
        trapped: Trapped,
    ) -> Result<Committed, Error>;

    /// Ends the body here, to be adopted by a message in some later transaction.
    fn finish(self: Box<Self>) -> SpooledBody;
}

/// A finished body that belongs to no message yet. Cheap to clone, for another try; when the last clone is dropped
/// and no message has adopted it, it is swept.
#[derive(Clone)]
pub struct SpooledBody(Arc<Spooled>);

struct Spooled {
    key: Arc<MessageKey>,
    size_bytes: u64,
    pieces_stored: u32,
    last_piece: Bytes,
    adopted: AtomicBool,
    discard: Discard,
}

/// Removes the stored pieces of a body that nobody adopted.
pub(super) type Discard = Box<dyn Fn(QueueId) + Send + Sync>;

impl SpooledBody {
    /// Of `size_bytes` octets, all stored but `last_piece`.
    pub(super) fn new(
        key: Arc<MessageKey>,
        size_bytes: u64,
        pieces_stored: u32,
        last_piece: Vec<u8>,
        discard: Discard,
    ) -> Self {
        Self(Arc::new(Spooled {
            key,
            size_bytes,
            pieces_stored,
            last_piece: last_piece.into(),
            adopted: AtomicBool::new(false),
            discard,
        }))
    }

    /// The message that may adopt it.
    pub fn message(&self) -> QueueId {
        self.0.key.message()
    }

    /// Octets in all.
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    /// Octets of it in memory.
    pub fn held_bytes(&self) -> usize {
        self.0.last_piece.len()
    }

    pub(super) fn key(&self) -> &MessageKey {
        &self.0.key
    }

    pub(super) fn pieces_stored(&self) -> u32 {
        self.0.pieces_stored
    }

    pub(super) fn last_piece(&self) -> &[u8] {
        &self.0.last_piece
    }

    /// It belongs to a message now.
    pub(super) fn mark_adopted(&self) {
        self.0.adopted.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for SpooledBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpooledBody")
            .field("message", &self.message())
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if self.pieces_stored > 0 && !*self.adopted.get_mut() {
            (self.discard)(self.key.message());
        }
    }
}

/// The body of a message that is stored in one step.
#[derive(Debug, Clone)]
pub enum FollowUpBody {
    /// All of it, in memory.
    Whole(Bytes),
    /// In the spool already, under the id of its message.
    Spooled(SpooledBody),
}

impl FollowUpBody {
    /// Octets in all.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Whole(body) => body.len() as u64,
            Self::Spooled(body) => body.size_bytes(),
        }
    }

    /// All of it, if it is in memory.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(body) => Some(body),
            Self::Spooled(_) => None,
        }
    }

    /// Octets of it in memory.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Whole(body) => body.len(),
            Self::Spooled(body) => body.held_bytes(),
        }
    }
}

impl<B: Into<Bytes>> From<B> for FollowUpBody {
    fn from(body: B) -> Self {
        Self::Whole(body.into())
    }
}
