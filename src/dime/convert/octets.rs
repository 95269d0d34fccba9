//! Octets that are looked at through a window: all at once in memory, or a piece at a time of what is too large for it.
//!
//! The search for leaves is written once over [`Octets`]; both kinds of source give the same answers.

use std::convert::Infallible;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use memchr::memmem::Finder;

/// What a source in pieces holds in memory.
const WINDOW: usize = 128 << 10;
/// The most octets that may be asked for in one piece.
pub(super) const MAX_WANTED: usize = WINDOW / 2;

/// A sequence of octets with random access.
pub(super) trait Octets {
    /// Why octets cannot be read.
    type Error;

    /// How many there are.
    fn size(&self) -> u64;

    /// Octets from `at` on: at least `wanted`, or all up to the end. `wanted` is at most [`MAX_WANTED`].
    fn window(&mut self, at: u64, wanted: usize) -> Result<&[u8], Self::Error>;

    /// The same without octets outside of `range`.
    fn clipped(&mut self, range: Range<u64>, wanted: usize) -> Result<&[u8], Self::Error> {
        let most = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let window = self.window(range.start, wanted.min(most))?;
        Ok(&window[..window.len().min(most)])
    }

    /// Whether `range` starts with `front`.
    fn starts_with(&mut self, range: Range<u64>, front: &[u8]) -> Result<bool, Self::Error> {
        Ok(self.clipped(range, front.len())?.starts_with(front))
    }

    /// The first place in `range` where the finder's needle lies as a whole.
    fn find(&mut self, range: Range<u64>, finder: &Finder<'_>) -> Result<Option<u64>, Self::Error> {
        let length = finder.needle().len();
        let mut at = range.start;
        loop {
            let window = self.clipped(at..range.end, length)?;
            if let Some(place) = finder.find(window) {
                return Ok(Some(at + place as u64));
            }
            if window.len() < length {
                return Ok(None);
            }
            at += (window.len() - length + 1) as u64;
        }
    }

    /// The first place in `range` with another octet than SP and HTAB; its end if there is none.
    fn skip_blanks(&mut self, range: Range<u64>) -> Result<u64, Self::Error> {
        let mut at = range.start;
        while at < range.end {
            let window = self.clipped(at..range.end, 1)?;
            let blanks = window
                .iter()
                .take_while(|octet| super::header::is_blank(**octet))
                .count();
            at += blanks as u64;
            if blanks < window.len() || window.is_empty() {
                break;
            }
        }
        Ok(at)
    }

    /// A copy of `range`, which the caller has bounded.
    fn copy(&mut self, range: Range<u64>) -> Result<Vec<u8>, Self::Error> {
        let mut copy = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let window = self.clipped(at..range.end, 1)?;
            if window.is_empty() {
                break;
            }
            copy.extend_from_slice(window);
            at += window.len() as u64;
        }
        Ok(copy)
    }
}

/// Everything is there, and nothing fails.
impl Octets for &[u8] {
    type Error = Infallible;

    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn window(&mut self, at: u64, _wanted: usize) -> Result<&[u8], Infallible> {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        Ok(&self[at..])
    }
}

/// A window that moves over a source, which is read again where the search goes back.
pub(super) struct Windowed<R> {
    source: R,
    /// Octets held at least, where there are as many.
    window: usize,
    size: u64,
    /// Where the octets of `held` stand in the source.
    start: u64,
    held: Vec<u8>,
}

impl<R: Read + Seek> Windowed<R> {
    /// A window over the whole of `source`, wherever it stands.
    pub fn new(source: R) -> io::Result<Self> {
        Self::of_size(source, WINDOW)
    }

    /// The same with a window of another size.
    pub fn of_size(mut source: R, window: usize) -> io::Result<Self> {
        Ok(Self {
            size: source.seek(SeekFrom::End(0))?,
            source,
            window,
            start: 0,
            held: Vec::new(),
        })
    }

    /// Moves the window to start at `at`, which is not beyond the end; what is held from there on is kept.
    fn move_to(&mut self, at: u64, wanted: usize) -> io::Result<()> {
        let kept = at
            .checked_sub(self.start)
            .and_then(|skipped| usize::try_from(skipped).ok())
            .filter(|skipped| *skipped <= self.held.len());
        self.held.drain(..kept.unwrap_or(self.held.len()));
        self.start = at;
        let from = at + self.held.len() as u64;
        let missing = self.window.max(wanted).saturating_sub(self.held.len());
        let fill = (self.size - from).min(missing as u64);
        self.source.seek(SeekFrom::Start(from))?;
        let read = self.source.by_ref().take(fill).read_to_end(&mut self.held)?;
        if (read as u64) < fill {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<R: Read + Seek> Octets for Windowed<R> {
    type Error = io::Error;

    fn size(&self) -> u64 {
        self.size
    }

    fn window(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let at = at.min(self.size);
        let wanted_end = at.saturating_add(wanted as u64).min(self.size);
        if at < self.start || wanted_end > self.start + self.held.len() as u64 {
            self.move_to(at, wanted)?;
        }
        let skipped = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.held.get(skipped..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use super::*;

    fn octets(count: usize) -> Vec<u8> {
        (0..count).map(|number| (number % 251) as u8).collect()
    }

    #[test]
    fn finds_across_the_edge_of_windows() {
        for place in [0, 1, WINDOW - 3, WINDOW - 2, WINDOW - 1, WINDOW, 3 * WINDOW + 7] {
            let mut text = vec![b'a'; 4 * WINDOW];
            text[place..place + 4].copy_from_slice(b"need");
            let mut windowed = Windowed::new(Cursor::new(&text)).unwrap();
            let size = windowed.size();
            let finder = Finder::new("need");
            assert_eq!(windowed.find(0..size, &finder).unwrap(), Some(place as u64));
            let up_to_last = 0..place as u64 + 3;
            assert_eq!(windowed.find(up_to_last, &finder).unwrap(), None, "{place}");
            let after_first = place as u64 + 1..size;
            assert_eq!(windowed.find(after_first, &finder).unwrap(), None, "{place}");
        }
    }

    #[test]
    fn goes_back_and_forth() {
        let text = octets(3 * WINDOW);
        let mut windowed = Windowed::new(Cursor::new(&text)).unwrap();
        for at in [0, 2 * WINDOW, WINDOW + 5, 5, 3 * WINDOW - 1, 3 * WINDOW] {
            let window = windowed.window(at as u64, MAX_WANTED).unwrap();
            assert!(window.len() >= MAX_WANTED.min(text.len() - at));
            assert!(text[at..].starts_with(window), "{at}");
            assert!(windowed.held.len() <= WINDOW);
        }
        assert_eq!(windowed.copy(7..2 * WINDOW as u64).unwrap(), text[7..2 * WINDOW]);
    }

    #[test]
    fn a_source_that_shrinks_is_an_error() {
        struct Shrunk(Cursor<Vec<u8>>);
        impl Read for Shrunk {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        impl Seek for Shrunk {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let mut windowed = Windowed::new(Shrunk(Cursor::new(octets(9)))).unwrap();
        let error = windowed.window(0, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
