//! The part of a message that all checks hang on: the hash of every chunk, and five chunks whole.
//!
//! A message and a returned message give the same skeleton, so that signatures are verified in one way.

use std::ops::Range;

use super::derivation::{self, Hash, Place, author_input, blank_hash, envelope_hash, origin_input};
use super::layout::{Actor, CHUNK_HEADER_SIZE, ChunkRef, ChunkType, HEADER_SIZE, prefix};
use super::rule::{Refused, Rule, demand};
use super::{MessageId, Replay};
use crate::crypto::hash::Sha512;
use crate::crypto::suite::hpke::{Suite, is_acceptable};

/// See the module. Sizes and types are checked (P6–P8, P10–P12), nothing else.
#[derive(Debug)]
pub(super) struct Skeleton {
    suite: Suite,
    hashes: Vec<Hash>,
    /// ENV.
    envelope: Hash,
    keys: Vec<u8>,
    origin_envelope: Vec<u8>,
    destination_envelope: Vec<u8>,
    author_signature: Vec<u8>,
    origin_signature: Vec<u8>,
}

impl Skeleton {
    /// Whether chunks of this type are kept whole.
    pub fn keeps(kind: ChunkType) -> bool {
        use ChunkType::*;
        matches!(
            kind,
            Keys | OriginEnvelope | DestinationEnvelope | AuthorSignature | OriginSignature
        )
    }

    /// `hashes` are all H(i); `kept` are the five chunks in their order: P8 if one is missing, P11 for the encapsulations.
    pub fn new(suite: Suite, hashes: Vec<Hash>, kept: Vec<(ChunkType, Vec<u8>)>) -> Result<Self, Refused> {
        let mut kept = kept.into_iter();
        let mut next = |wanted| match kept.next() {
            Some((kind, octets)) if kind == wanted => Ok(octets),
            _ => Err(missing(wanted)),
        };
        let skeleton = Self {
            suite,
            envelope: envelope_hash(prefix(suite), hashes.get(..3).ok_or(Rule::P8)?),
            hashes,
            keys: next(ChunkType::Keys)?,
            origin_envelope: next(ChunkType::OriginEnvelope)?,
            destination_envelope: next(ChunkType::DestinationEnvelope)?,
            author_signature: next(ChunkType::AuthorSignature)?,
            origin_signature: next(ChunkType::OriginSignature)?,
        };
        for actor in Actor::ALL {
            let place = HEADER_SIZE + skeleton.encapsulation_range(actor).start;
            let refused = Rule::P11
                .at(place as u64)
                .of_chunk(0)
                .of_type(ChunkType::Keys.id());
            demand(is_acceptable(skeleton.encapsulation(actor)), refused)?;
        }
        Ok(skeleton)
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub fn prefix(&self) -> [u8; 4] {
        prefix(self.suite)
    }

    /// Unix seconds.
    pub fn created(&self) -> u64 {
        let created = self.keys[CHUNK_HEADER_SIZE..].first_chunk().copied();
        // The payload of chunk 2 has 136 or 4488 octets.
        created.map(u64::from_be_bytes).unwrap_or_default()
    }

    pub fn encapsulation(&self, actor: Actor) -> &[u8] {
        &self.keys[self.encapsulation_range(actor)]
    }

    /// In chunk 2.
    fn encapsulation_range(&self, actor: Actor) -> Range<usize> {
        let size = self.suite.encapsulation_size();
        let start = CHUNK_HEADER_SIZE + 8 + actor as usize * size;
        start..start + size
    }

    pub fn message_id(&self) -> MessageId {
        MessageId(self.hashes[0])
    }

    /// Number of chunks.
    pub fn count(&self) -> u32 {
        self.hashes.len() as u32
    }

    /// Every H(i).
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The chunk of a type that is kept, and its index.
    pub fn chunk(&self, kind: ChunkType) -> Option<(u32, ChunkRef<'_>)> {
        let last = self.count() - 1;
        let (index, octets) = match kind {
            ChunkType::Keys => (0, &self.keys),
            ChunkType::OriginEnvelope => (1, &self.origin_envelope),
            ChunkType::DestinationEnvelope => (2, &self.destination_envelope),
            ChunkType::AuthorSignature => (last - 1, &self.author_signature),
            ChunkType::OriginSignature => (last, &self.origin_signature),
            _ => return None,
        };
        Some((index, ChunkRef::new(kind, octets)))
    }

    /// A rule that one of these chunks breaks.
    pub fn in_chunk(&self, kind: ChunkType, rule: Rule) -> Refused {
        let refused = Refused::from(rule).of_type(kind.id());
        match self.chunk(kind) {
            Some((index, _)) => refused.of_chunk(index),
            None => refused,
        }
    }

    /// What the keys of a chunk are bound to.
    pub fn place(&self, kind: ChunkType, index: u32) -> Place<'_> {
        Place {
            prefix: self.prefix(),
            kind,
            index,
            message_id: &self.hashes[0],
            envelope: &self.envelope,
        }
    }

    pub fn is_blank(&self) -> bool {
        let last = ChunkRef::new(ChunkType::OriginSignature, &self.origin_signature);
        last.sealed().iter().all(|octet| *octet == 0)
    }

    /// What the author signs: the same before and after both signature chunks are filled.
    pub fn author_input(&self) -> Vec<u8> {
        let made = &self.hashes[..self.hashes.len() - 2];
        author_input(self.prefix(), made, &self.blank_hashes())
    }

    /// What the origin signs.
    pub fn origin_input(&self) -> Vec<u8> {
        let made = &self.hashes[..self.hashes.len() - 1];
        origin_input(self.prefix(), made, &self.blank_hashes()[1])
    }

    /// HB of both signature chunks.
    fn blank_hashes(&self) -> [Hash; 2] {
        let last = self.count() - 1;
        let of = |index, kind, octets| blank_hash(self.prefix(), index, ChunkRef::new(kind, octets));
        [
            of(last - 1, ChunkType::AuthorSignature, &self.author_signature),
            of(last, ChunkType::OriginSignature, &self.origin_signature),
        ]
    }

    /// The digest is over all chunk hashes, which together stand for every octet of the object.
    pub fn replay(&self) -> Replay {
        let mut hasher = Sha512::of(&[&self.prefix()]);
        for hash in &self.hashes {
            hasher.update(hash);
        }
        Replay::new(self.message_id(), hasher.finish(), self.created())
    }
}

/// Rule P8, of the type that is missing.
pub(super) fn missing(kind: ChunkType) -> Refused {
    Refused::from(Rule::P8).of_type(kind.id())
}

/// H(i) of a whole chunk of a message of this suite.
pub(super) fn chunk_hash(suite: Suite, index: u32, chunk: &[u8]) -> Hash {
    derivation::chunk_hash(prefix(suite), index, chunk)
}
