//! Lines on their way to one output, and the thread that writes them: whoever logs waits for no disk and no reader.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

/// Octets of lines that wait at most; more are lost, and counted.
const MOST: usize = 4 * 1024 * 1024;

/// The pause after something was written, in which lines gather: a busy daemon does not wake the thread for each.
const PAUSE: Duration = Duration::from_millis(5);

/// Room that is kept for the next lines.
const KEPT: usize = 64 * 1024;

/// Takes lines, in their order.
#[derive(Debug)]
pub struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    more: Condvar,
    /// Everything has been written.
    empty: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines for which there was no room, after those above.
    lost: u64,
    is_idle: bool,
    is_closed: bool,
}

/// What is written at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Whole lines.
    pub lines: Vec<u8>,
    /// How many are lost that would follow these.
    pub lost: u64,
}

impl Queue {
    /// Starts the thread, which has `write` write whatever there is, until the queue is dropped.
    ///
    /// Errors: if there can be no other thread.
    pub fn start(mut write: impl FnMut(&Batch) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut batch = Batch::default();
            while writer.next(&mut batch) {
                write(&batch);
                writer.pause();
            }
        })?;
        Ok(Self(shared))
    }

    /// Has a line written, if there is room for it.
    pub fn put(&self, line: &[u8]) {
        self.0.put(line, MOST);
    }

    /// Has a line written that must not be lost. For few: there is always room.
    pub fn put_surely(&self, line: &[u8]) {
        self.0.put(line, usize::MAX);
    }

    /// Waits for so long until everything is written.
    pub fn flush(&self, patience: Duration) {
        let waiting = self.0.lock();
        let is_busy = |waiting: &mut Waiting| !waiting.is_idle;
        // Whoever does not wait any longer has lost what is still there.
        drop(self.0.empty.wait_timeout_while(waiting, patience, is_busy));
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.more.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8], most: usize) {
        let mut waiting = self.lock();
        if waiting.lines.len().saturating_add(line.len()) > most {
            waiting.lost += 1;
            return;
        }
        waiting.lines.extend_from_slice(line);
        // A writer that is at work looks again by itself.
        let is_to_be_woken = std::mem::take(&mut waiting.is_idle);
        drop(waiting);
        if is_to_be_woken {
            self.more.notify_one();
        }
    }

    /// Lets lines gather, unless there will be no more.
    fn pause(&self) {
        let waiting = self.lock();
        drop(
            self.more
                .wait_timeout_while(waiting, PAUSE, |waiting| !waiting.is_closed),
        );
    }

    /// Waits for what is to be written next; false if there will be nothing more.
    fn next(&self, batch: &mut Batch) -> bool {
        batch.lines.clear();
        batch.lines.shrink_to(KEPT);
        let mut waiting = self.lock();
        while waiting.lines.is_empty() && waiting.lost == 0 {
            if waiting.is_closed {
                return false;
            }
            waiting.is_idle = true;
            self.empty.notify_all();
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut waiting.lines, &mut batch.lines);
        batch.lost = std::mem::take(&mut waiting.lost);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    /// Nothing takes so long.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What is written, and how much was lost before it.
    type Written = (Vec<u8>, u64);

    /// A queue whose writer waits for a word before each batch, and shows what it got.
    fn queue() -> (Queue, mpsc::Sender<()>, mpsc::Receiver<Written>) {
        let (word, words) = mpsc::channel();
        let (shown, seen) = mpsc::channel();
        let queue = Queue::start(move |batch| {
            shown.send((batch.lines.clone(), batch.lost)).unwrap();
            // Nobody is left at the end of a test.
            let _ = words.recv();
        });
        (queue.unwrap(), word, seen)
    }

    #[test]
    fn nobody_waits_for_the_writer_and_lines_keep_their_order() {
        let (queue, word, seen) = queue();
        queue.put(b"one\n");
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (b"one\n".to_vec(), 0));
        // It stands still.
        queue.put(b"two\n");
        queue.put(b"three\n");
        queue.flush(Duration::from_millis(1));
        word.send(()).unwrap();
        assert_eq!(
            seen.recv_timeout(PATIENCE).unwrap(),
            (b"two\nthree\n".to_vec(), 0)
        );
        word.send(()).unwrap();
        queue.flush(PATIENCE);
        assert!(queue.0.lock().is_idle);
    }

    #[test]
    fn what_has_no_room_is_counted_and_nothing_else_is_lost() {
        let (queue, word, seen) = queue();
        queue.put(b"one\n");
        seen.recv_timeout(PATIENCE).unwrap();
        let long = [&[b'x'; 999][..], b"\n"].concat();
        let fit = MOST / long.len();
        for _ in 0..fit + 7 {
            queue.put(&long);
        }
        queue.put_surely(b"a word about the log\n");
        word.send(()).unwrap();
        let (lines, lost) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((lines.len(), lost), (fit * long.len() + 21, 7));
        assert!(lines.ends_with(b"\na word about the log\n"));
        // Then there is room again.
        queue.put(b"two\n");
        word.send(()).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (b"two\n".to_vec(), 0));
    }

    #[test]
    fn the_thread_ends_with_the_queue_and_writes_what_is_there_before() {
        let (queue, word, seen) = queue();
        queue.put(b"one\n");
        seen.recv_timeout(PATIENCE).unwrap();
        queue.put(b"two\n");
        drop(queue);
        word.send(()).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, b"two\n");
        drop(word);
        assert!(seen.recv_timeout(PATIENCE).is_err(), "the thread has ended");
    }
}
