//! Lines of the log on standard error, whether or not they can be written there.

use std::io::{self, ErrorKind, StderrLock, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::observe;

static OF_STANDARD_ERROR: Lost = Lost {
    lines: AtomicU64::new(0),
    is_torn: AtomicBool::new(false),
};

/// What takes the next line.
pub fn line() -> Line<StderrLock<'static>> {
    Line {
        out: io::stderr().lock(),
        lost: &OF_STANDARD_ERROR,
        tell,
    }
}

/// Itself a line of the log.
fn tell(lost: u64) {
    tracing::warn!(
        event = observe::LOG_RESUMED,
        lost,
        "the log can be written again; lines of it are lost"
    );
}

/// What could not be written.
struct Lost {
    lines: AtomicU64,
    /// The last line that was begun has no end.
    is_torn: AtomicBool,
}

/// Takes one line. If the disk is full or nobody reads any more, the line is lost, and nobody else has to care: mail goes on.
/// Once lines can be written again, one says how many are lost.
pub struct Line<W> {
    out: W,
    lost: &'static Lost,
    tell: fn(u64),
}

impl<W: Write> Line<W> {
    fn end_torn(&mut self) -> bool {
        if !self.lost.is_torn.load(Ordering::Relaxed) {
            return true;
        }
        let has_ended = self.put(b"\n");
        self.lost.is_torn.store(!has_ended, Ordering::Relaxed);
        has_ended
    }

    /// Writes as much of it as can be; whether that is all.
    fn put(&mut self, octets: &[u8]) -> bool {
        let mut rest = octets;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => break,
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if !rest.is_empty() && rest.len() < octets.len() {
            self.lost.is_torn.store(true, Ordering::Relaxed);
        }
        rest.is_empty()
    }
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !(self.end_torn() && self.put(line)) {
            self.lost.lines.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        match self.lost.lines.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => (self.tell)(lost),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// So much room, and what is there.
    #[derive(Default)]
    struct Disk {
        room: usize,
        there: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let count = octets.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.there.extend_from_slice(&octets[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once() {
        static LOST: Lost = Lost {
            lines: AtomicU64::new(0),
            is_torn: AtomicBool::new(false),
        };
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let mut disk = Disk {
            room: 8,
            ..Disk::default()
        };
        let log = |disk: &mut Disk, text: &str| {
            let mut line = Line {
                out: disk,
                lost: &LOST,
                tell: |lost| {
                    TOLD.fetch_add(lost, Ordering::Relaxed);
                },
            };
            assert_eq!(line.write(text.as_bytes()).unwrap(), text.len());
        };
        log(&mut disk, "one\n");
        log(&mut disk, "a long one\n");
        log(&mut disk, "none\n");
        assert_eq!(TOLD.load(Ordering::Relaxed), 0);
        disk.room = 100;
        log(&mut disk, "again\n");
        assert_eq!(TOLD.load(Ordering::Relaxed), 2);
        log(&mut disk, "more\n");
        assert_eq!(TOLD.load(Ordering::Relaxed), 2);
        assert_eq!(disk.there, b"one\na lo\nagain\nmore\n");
    }
}
