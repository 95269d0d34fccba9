//! The front of a message: its header block, brought to the canonical form, and where its body stands.

use std::ops::Range;

use super::header::{Canonical, canonicalize};
use super::leaves::split;
use super::octets::Octets;
use super::{Error, MAX_HEADER_BLOCK};

/// A message of which the header block has been read.
pub(super) struct Front {
    pub canonical: Canonical,
    /// Where the body stands in the message.
    pub body: Range<u64>,
}

/// Reads a header block of bounded length (§16.1, §16.2).
pub(super) fn read_front<S: Octets>(octets: &mut S) -> Result<Front, Error>
where
    Error: From<S::Error>,
{
    let size = octets.size();
    let looked_at = size.min(MAX_HEADER_BLOCK as u64 + 4);
    let (header_end, body_start) = split(octets, 0..looked_at)?;
    if header_end > MAX_HEADER_BLOCK as u64 {
        return Err(Error::HeaderTooLarge);
    }
    let block = octets.copy(0..header_end)?;
    Ok(Front {
        canonical: canonicalize(&block)?,
        body: body_start..size,
    })
}
