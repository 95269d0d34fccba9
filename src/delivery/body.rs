//! The body of a message in the spool, piece by piece or whole.

use std::sync::Arc;

use crate::base::id::QueueId;
use crate::store::{Error, Store};

/// Reads a body from its beginning.
pub struct Body {
    store: Arc<dyn Store>,
    message: QueueId,
    next: u32,
    unreadable: Option<&'static str>,
}

impl Body {
    /// Starts at the first piece.
    pub fn new(store: Arc<dyn Store>, message: QueueId) -> Self {
        Self {
            store,
            message,
            next: 0,
            unreadable: None,
        }
    }

    /// Goes back to the first piece, for another host.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
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
    pub async fn whole(&mut self, size_bytes: u64) -> Result<Vec<u8>, Error> {
        self.rewind();
        let mut octets = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
        while let Some(piece) = self.next().await? {
            octets.extend_from_slice(&piece);
        }
        Ok(octets)
    }
}
