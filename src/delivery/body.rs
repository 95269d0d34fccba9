//! The body of a message in the spool, piece by piece or whole.

use std::sync::Arc;

use async_trait::async_trait;

use crate::base::id::QueueId;
use crate::dime::convert::delivery::{Judge, Safe, Sender};
use crate::store::blocking::StoredBody;
use crate::store::{Error, Pieces, Store};

/// Reads a body from its beginning.
pub struct Body {
    store: Arc<dyn Store>,
    message: QueueId,
    size_bytes: u64,
    next: u32,
    unreadable: Option<&'static str>,
    safe: Option<Safe>,
    sender: Option<Sender>,
}

impl Body {
    /// Starts at the first piece of the body, which has `size_bytes` octets.
    pub fn new(store: Arc<dyn Store>, message: QueueId, size_bytes: u64) -> Self {
        Self {
            store,
            message,
            size_bytes,
            next: 0,
            unreadable: None,
            safe: None,
            sender: None,
        }
    }

    /// From now on gives the message in a form that may go by DATA (`dmime2.md` §17), and says how large that is. For
    /// mail that was opened here: its body may hold anything.
    pub async fn make_safe(&mut self) -> Result<u64, Error> {
        self.safe = None;
        self.rewind();
        let mut judge = Judge::default();
        while let Some(piece) = self.next().await? {
            judge.push(&piece);
        }
        let size_bytes = self.safe.insert(judge.finish()).size_bytes();
        self.rewind();
        Ok(size_bytes)
    }

    /// Gives the message as it is stored again.
    pub fn as_stored(&mut self) {
        self.safe = None;
        self.rewind();
    }

    /// Goes back to the first piece, for another host.
    pub fn rewind(&mut self) {
        self.next = 0;
        self.sender = self.safe.as_ref().map(Safe::sender);
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let piece = self.read().await?;
        Ok(match (&mut self.sender, piece) {
            (None, piece) => piece,
            (Some(sender), Some(piece)) => Some(sender.push(&piece)),
            (Some(_), None) => self.sender.take().map(Sender::finish),
        })
    }

    /// The next piece as it is stored.
    async fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let piece = self.store.read_piece(self.message, self.next).await;
        if let Err(Error::Unreadable(what)) = &piece {
            self.unreadable = Some(what);
        }
        self.next += 1;
        piece
    }

    /// What of the message was found not to be readable, if anything was: trying again will not help.
    pub fn unreadable(&self) -> Option<&'static str> {
        self.unreadable
    }

    /// Everything at once, for what cannot be done in pieces: a D/MIME 1 message is signed as a whole.
    pub async fn whole(&mut self) -> Result<Vec<u8>, Error> {
        self.rewind();
        let mut octets = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or(0));
        while let Some(piece) = self.next().await? {
            octets.extend_from_slice(&piece);
        }
        Ok(octets)
    }

    /// The same body for work on a thread that may wait.
    pub fn stored(&self) -> StoredBody {
        StoredBody {
            store: Arc::clone(&self.store),
            message: self.message,
            size_bytes: self.size_bytes,
        }
    }
}

#[async_trait]
impl Pieces for Body {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        self.next = index;
        self.read().await
    }
}
