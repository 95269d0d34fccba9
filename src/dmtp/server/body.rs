//! The octets of a message on their way in: the object, then an empty line (`dmtp.md` §8).

use crate::base::machine::Wait;
use crate::dmtp::framing::{self, Framing};

/// One transfer.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    /// Measures the whole transfer.
    pub(super) started: Wait,
}

/// What the front of the input is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// That many octets of the object, at least one.
    Octets(usize),
    /// That many octets of the empty line: the transfer is complete.
    End(usize),
    /// Nothing to be decided yet.
    Partial,
}

/// Why the transfer failed; the stream cannot be read on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The object is larger than we take.
    TooLarge,
    /// Octets and announced size do not fit together.
    Damaged,
}

impl Body {
    /// `limit` bounds an object whose size was not announced.
    pub(super) fn new(size: Option<u64>, limit: u64) -> Self {
        Self {
            framing: Framing::new(size, limit),
            started: Wait::default(),
        }
    }

    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece, Fault> {
        if self.framing.is_complete() {
            return empty_line(input);
        }
        match self.framing.take(input) {
            Ok(0) => Ok(Piece::Partial),
            Ok(count) => Ok(Piece::Octets(count)),
            Err(framing::Error::TooLarge(_)) => Err(Fault::TooLarge),
            Err(_) => Err(Fault::Damaged),
        }
    }
}

/// Anything else behind the object means that its size was wrong.
fn empty_line(input: &[u8]) -> Result<Piece, Fault> {
    match input {
        [b'\n', ..] => Ok(Piece::End(1)),
        [b'\r', b'\n', ..] => Ok(Piece::End(2)),
        [] | [b'\r'] => Ok(Piece::Partial),
        _ => Err(Fault::Damaged),
    }
}
