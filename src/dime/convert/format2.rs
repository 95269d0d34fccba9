//! The mapping of D/MIME 2 (`dmime2.md` §16.3): one record for each leaf, in which the octets of the body are named, not
//! copied.
//!
//! ```text
//! head  ordinal (2) | count (2) | lead (4) | tail (4), big-endian
//! body  from the end of the leaf before, or the start of the body, to the end of this one; the last to the end of the body
//! ```

use std::ops::Range;

use super::Error;
use super::front::{Front, read_front};
use super::header::restore;
use super::leaves::{Leaf, find_leaves};
use super::octets::Octets;
use crate::dime::dmime2::ChunkType;
use crate::dime::dmime2::padding::MAX_DATA;
use crate::dime::dmime2::record::RecordHead;
use crate::dime::dmime2::seal::{Content, Part};

pub(super) fn map<S: Octets>(octets: &mut S) -> Result<Content, Error>
where
    Error: From<S::Error>,
{
    let Front { canonical, body } = read_front(octets)?;
    if canonical.common.len().max(canonical.other.len()) > MAX_DATA {
        return Err(Error::HeaderTooLarge);
    }
    let block = restore(&canonical.common, &canonical.other);
    let leaves = find_leaves(octets, body.clone(), &block)?;
    Ok(Content {
        common_headers: canonical.common,
        other_headers: canonical.other,
        parts: records(&leaves, &body)?,
    })
}

/// One record for each leaf.
fn records(leaves: &[Leaf], body: &Range<u64>) -> Result<Vec<Part>, Error> {
    let count = u16::try_from(leaves.len()).map_err(|_| Error::TooLarge)?;
    let mut start = body.start;
    let mut parts = Vec::with_capacity(leaves.len());
    for (ordinal, leaf) in (0..count).zip(leaves) {
        let end = match ordinal + 1 == count {
            true => body.end,
            false => leaf.whole.end,
        };
        parts.push(Part {
            kind: match leaf.is_text {
                true => ChunkType::Display,
                false => ChunkType::Attachment,
            },
            head: RecordHead {
                ordinal,
                count,
                lead: size(leaf.whole.start - start)?,
                tail: size(end - leaf.whole.end)?,
            },
            body: start..end,
        });
        start = end;
    }
    Ok(parts)
}

fn size(octets: u64) -> Result<u32, Error> {
    u32::try_from(octets).map_err(|_| Error::TooLarge)
}
