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

/// Octets of text in chunk 33 or 34 at most: one chunk each (§15).
const MAX_HEADER_DATA: usize = 65_531;

/// What a message becomes in D/MIME 2; its body stays where it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Data of chunk 33.
    pub common_headers: Vec<u8>,
    /// Data of chunk 34; never empty.
    pub other_headers: Vec<u8>,
    /// All display records in document order, then all attachments.
    pub parts: Vec<MappedPart>,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Text: chunks of type 67.
    Display,
    /// Anything else: chunks of type 131.
    Attachment,
}

/// One record: its head, and where in the message the octets are that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedPart {
    /// Where it goes.
    pub kind: PartKind,
    /// Ordinal, count, lead and tail.
    pub head: [u8; 12],
    /// Octets of the message that was mapped, counted from its first.
    pub body: Range<u64>,
}

/// Shows sizes only.
impl std::fmt::Debug for Mapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped")
            .field("common_headers", &self.common_headers.len())
            .field("other_headers", &self.other_headers.len())
            .field("parts", &self.parts)
            .finish()
    }
}

pub(super) fn map<S: Octets>(octets: &mut S) -> Result<Mapped, Error>
where
    Error: From<S::Error>,
{
    let Front { canonical, body } = read_front(octets)?;
    if canonical.common.len().max(canonical.other.len()) > MAX_HEADER_DATA {
        return Err(Error::HeaderTooLarge);
    }
    let block = restore(&canonical.common, &canonical.other);
    let leaves = find_leaves(octets, body.clone(), &block)?;
    Ok(Mapped {
        common_headers: canonical.common,
        other_headers: canonical.other,
        parts: records(&leaves, &body)?,
    })
}

/// The records for all leaves, text first.
fn records(leaves: &[Leaf], body: &Range<u64>) -> Result<Vec<MappedPart>, Error> {
    let count = u16::try_from(leaves.len()).map_err(|_| Error::TooLarge)?;
    let mut start = body.start;
    let mut displays = Vec::new();
    let mut attachments = Vec::new();
    for (ordinal, leaf) in (0..count).zip(leaves) {
        let end = match ordinal + 1 == count {
            true => body.end,
            false => leaf.whole.end,
        };
        let head = head(ordinal, count, leaf.whole.start - start, end - leaf.whole.end)?;
        let (kind, list) = match leaf.is_text {
            true => (PartKind::Display, &mut displays),
            false => (PartKind::Attachment, &mut attachments),
        };
        list.push(MappedPart {
            kind,
            head,
            body: start..end,
        });
        start = end;
    }
    displays.append(&mut attachments);
    Ok(displays)
}

fn head(ordinal: u16, count: u16, lead: u64, tail: u64) -> Result<[u8; 12], Error> {
    let [lead, tail] = [lead, tail].map(|size| u32::try_from(size).map_err(|_| Error::TooLarge));
    let mut head = [0; 12];
    head[..2].copy_from_slice(&ordinal.to_be_bytes());
    head[2..4].copy_from_slice(&count.to_be_bytes());
    head[4..8].copy_from_slice(&lead?.to_be_bytes());
    head[8..].copy_from_slice(&tail?.to_be_bytes());
    Ok(head)
}
