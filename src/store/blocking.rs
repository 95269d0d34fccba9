//! Bodies as `Read + Seek` and `Write`, for work on threads that may wait.
//!
//! For threads that may stand still: every octet that is not at hand blocks the thread until the store has answered. Anywhere
//! else, in [`here`], only what is at hand can be had. Failures of the store pass through as [`io::Error`]; [`store_error`]
//! brings them out again.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use super::{BodyWriter, Error, PIECE_BYTES, Store};
use crate::base::id::QueueId;

thread_local! {
    static STANCE: Cell<Stance> = const { Cell::new(Stance::Flowing) };
}

/// What the work on this thread may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// It is a task of the runtime, or not ours to say.
    Flowing,
    /// It is a step of a task, which must not wait.
    Here,
    /// It waits for the store, and nobody else for it.
    Waiting,
}

impl Stance {
    fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Back(Stance);
        impl Drop for Back {
            fn drop(&mut self) {
                STANCE.set(self.0);
            }
        }
        let _back = Back(STANCE.replace(self));
        work()
    }
}

/// Does a short piece of work where it is, in the midst of a task. Bodies that it reads or writes must be at hand: what would
/// have to be waited for fails.
pub fn here<T>(work: impl FnOnce() -> T) -> T {
    Stance::Here.during(work)
}

/// Whether this thread waits for what is asked of the store, so that it may as well do it itself.
pub(super) fn is_waiting() -> bool {
    STANCE.get() == Stance::Waiting
}

/// What the store answers, now or later.
fn wait<T>(runtime: &Handle, answer: impl Future<Output = Result<T, Error>>) -> io::Result<T> {
    let answered = match STANCE.get() {
        Stance::Here => answer.now_or_never().ok_or(io::ErrorKind::WouldBlock)?,
        Stance::Flowing | Stance::Waiting => Stance::Waiting.during(|| runtime.block_on(answer)),
    };
    answered.map_err(io::Error::other)
}

/// A body that can be had piece by piece.
#[async_trait]
pub trait Pieces: Send {
    /// Octets in all.
    fn size_bytes(&self) -> u64;
    /// Piece `index`, from 0; `None` after the last.
    async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error>;
}

#[async_trait]
impl Pieces for Box<dyn BodyWriter> {
    fn size_bytes(&self) -> u64 {
        self.as_ref().size_bytes()
    }

    async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        self.read_piece(index).await
    }
}

#[async_trait]
impl<P: Pieces + ?Sized> Pieces for &mut P {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        (**self).piece(index).await
    }
}

/// The body of a message in the spool.
pub struct StoredBody {
    /// Where it is.
    pub store: Arc<dyn Store>,
    /// Whose it is.
    pub message: QueueId,
    /// Octets in all.
    pub size_bytes: u64,
}

#[async_trait]
impl Pieces for StoredBody {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        self.store.read_piece(self.message, index).await
    }
}

/// Pieces kept at hand: who reads two places by turns, or across a border, fetches nothing twice.
const KEPT: usize = 2;

/// Reads a body at any place; holds at most two pieces.
pub struct Reader<P> {
    pieces: P,
    runtime: Handle,
    position: u64,
    /// The piece used last comes first.
    kept: Vec<(u32, Vec<u8>)>,
}

impl<P: Pieces> Reader<P> {
    /// At the first octet. Panics outside of a runtime.
    pub fn new(pieces: P) -> Self {
        Self::on(Handle::current(), pieces)
    }

    /// At the first octet, with the runtime that drives the store.
    pub fn on(runtime: Handle, pieces: P) -> Self {
        Self {
            pieces,
            runtime,
            position: 0,
            kept: Vec::new(),
        }
    }

    /// The body itself.
    pub fn into_inner(self) -> P {
        self.pieces
    }

    /// Has piece `index` come first among those kept.
    fn fetch(&mut self, index: u32) -> io::Result<()> {
        match self.kept.iter().position(|(kept, _)| *kept == index) {
            Some(place) => self.kept[..=place].rotate_right(1),
            None => {
                self.kept.truncate(KEPT - 1);
                let piece = wait(&self.runtime, self.pieces.piece(index))?
                    .ok_or_else(|| io::Error::other(Error::Unreadable("body piece")))?;
                self.kept.insert(0, (index, piece));
            }
        }
        Ok(())
    }
}

impl<P: Pieces> Read for Reader<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.pieces.size_bytes() || buffer.is_empty() {
            return Ok(0);
        }
        let beyond = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
        let index = u32::try_from(self.position / PIECE_BYTES as u64).map_err(beyond)?;
        let start = (self.position % PIECE_BYTES as u64) as usize;
        self.fetch(index)?;
        let rest = self.kept.first().and_then(|(_, piece)| piece.get(start..));
        let rest = rest.filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| io::Error::other(Error::Unreadable("body piece")))?;
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        self.position += read as u64;
        Ok(read)
    }
}

impl<P: Pieces> Seek for Reader<P> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.pieces.size_bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Appends to a body.
pub struct Appender<'a> {
    body: &'a mut dyn BodyWriter,
    runtime: Handle,
}

impl<'a> Appender<'a> {
    /// At the end of what was written so far. Panics outside of a runtime.
    pub fn new(body: &'a mut dyn BodyWriter) -> Self {
        Self::on(Handle::current(), body)
    }

    /// The same, with the runtime that drives the store.
    pub fn on(runtime: Handle, body: &'a mut dyn BodyWriter) -> Self {
        Self { body, runtime }
    }
}

impl Write for Appender<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        wait(&self.runtime, self.body.write(octets))?;
        Ok(octets.len())
    }

    /// Nothing is durable before the commit.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The failure of the store that an adapter passed through, if it was one.
pub fn store_error(error: io::Error) -> Result<Error, io::Error> {
    error.downcast()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A body that says whether this thread waits for it, at once or later.
    struct Body {
        is_at_hand: bool,
    }

    #[async_trait]
    impl Pieces for Body {
        fn size_bytes(&self) -> u64 {
            4
        }

        async fn piece(&mut self, _index: u32) -> Result<Option<Vec<u8>>, Error> {
            if !self.is_at_hand {
                tokio::task::yield_now().await;
            }
            let said = match is_waiting() {
                true => b"wait",
                false => b"here",
            };
            Ok(Some(said.to_vec()))
        }
    }

    fn read(is_at_hand: bool) -> io::Result<String> {
        io::read_to_string(Reader::new(Body { is_at_hand }))
    }

    #[tokio::test]
    async fn a_step_of_a_task_gets_what_is_at_hand_and_never_waits() {
        assert_eq!(here(|| read(true)).unwrap(), "here");
        let kind = here(|| read(false)).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock);
        assert!(!is_waiting());
    }

    #[tokio::test]
    async fn a_thread_that_may_stand_still_waits_and_the_store_is_told() {
        let work = || {
            let found = [true, false].map(|is_at_hand| read(is_at_hand).unwrap());
            (found, is_waiting())
        };
        let (found, still_waits) = tokio::task::spawn_blocking(work).await.unwrap();
        assert_eq!(found, ["wait", "wait"]);
        assert!(!still_waits);
    }
}
