//! What private keys can read of a message, found out by decrypting.
//!
//! For showing who learns what (`dmime2.md` §18). Nothing is verified: readable does not mean true.

use std::collections::BTreeMap;
use std::fmt;

use super::access::{Access, Candidate};
use super::envelope::{DestinationEnvelope, OriginEnvelope};
use super::layout::{Actor, ChunkType};
use super::outline::{ChunkEntry, Limits, Outline};
use super::record::{RECORD_HEAD_SIZE, RecordHead};
use super::rule::Error;

/// The data of every chunk that opened, by its index. Signature chunks are left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Readable {
    chunks: BTreeMap<usize, (ChunkType, Vec<u8>, bool)>,
}

/// Tries the keys on every slot of every chunk, in each of the four roles.
///
/// `object` is the whole message. Errors: it is no message of sound structure.
pub fn readable(object: &[u8], keys: &[Candidate]) -> Result<Readable, Error> {
    let limits = Limits {
        size: object.len() as u64,
    };
    let outline = Outline::read(object, &limits)?;
    let mut readable = Readable::default();
    for actor in [Actor::Author, Actor::Origin, Actor::Destination, Actor::Recipient] {
        if let Ok(access) = Access::find(outline.skeleton(), actor, keys) {
            readable.add_all(&outline, object, &access);
        }
    }
    Ok(readable)
}

impl Readable {
    fn add_all(&mut self, outline: &Outline, object: &[u8], access: &Access) {
        for (index, entry) in outline.chunks().iter().enumerate() {
            let is_content =
                entry.kind != ChunkType::AuthorSignature && entry.kind != ChunkType::OriginSignature;
            if is_content && let Some(opened) = open(outline, object, access, index, *entry) {
                self.chunks.insert(index, opened);
            }
        }
    }

    /// Author and destination.
    pub fn origin_envelope(&self) -> Option<OriginEnvelope> {
        OriginEnvelope::decode(self.data(ChunkType::OriginEnvelope)?).ok()
    }

    /// Recipient and origin.
    pub fn destination_envelope(&self) -> Option<DestinationEnvelope> {
        DestinationEnvelope::decode(self.data(ChunkType::DestinationEnvelope)?).ok()
    }

    /// The lines of chunk 33.
    pub fn common_headers(&self) -> Option<&[u8]> {
        self.data(ChunkType::CommonHeaders)
    }

    /// The octets of all records that opened, in the order of their ordinals; `None` if none did.
    pub fn body(&self) -> Option<Vec<u8>> {
        let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
        let mut goes_on = false;
        for (kind, data, continues) in self.chunks.values() {
            match kind {
                ChunkType::Display | ChunkType::Attachment if goes_on => {
                    records.last_mut()?.1.extend_from_slice(data);
                }
                ChunkType::Display | ChunkType::Attachment => {
                    let head = RecordHead::decode(data).ok()?;
                    records.push((head.ordinal, data[RECORD_HEAD_SIZE..].to_vec()));
                }
                _ => continue,
            }
            goes_on = *continues;
        }
        records.sort_by_key(|(ordinal, _)| *ordinal);
        let pieces: Vec<Vec<u8>> = records.into_iter().map(|(_, octets)| octets).collect();
        (!pieces.is_empty()).then(|| pieces.concat())
    }

    fn data(&self, wanted: ChunkType) -> Option<&[u8]> {
        let mut of_kind = self.chunks.values().filter(|(kind, ..)| *kind == wanted);
        of_kind.next().map(|(_, data, _)| data.as_slice())
    }
}

fn open(
    outline: &Outline,
    object: &[u8],
    access: &Access,
    index: usize,
    entry: ChunkEntry,
) -> Option<(ChunkType, Vec<u8>, bool)> {
    let start = usize::try_from(entry.offset).ok()?;
    let mut chunk = object.get(start..start.checked_add(entry.size)?)?.to_vec();
    let index = u32::try_from(index).ok()?;
    let plain = access
        .open(outline.skeleton(), entry.kind, index, &mut chunk)
        .ok()?;
    Some((entry.kind, plain.data.to_vec(), plain.continues))
}

/// Shows types only.
impl fmt::Debug for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.chunks.values().map(|(kind, ..)| kind);
        f.debug_list().entries(kinds).finish()
    }
}
