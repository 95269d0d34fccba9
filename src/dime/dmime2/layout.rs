//! Header, chunk types and sizes (`dmime2.md` §5).
//!
//! ```text
//! object  = magic(2) version(1) suite(1) size(4) chunk*
//! chunk   = type(1) payload_size(3) payload slot(48)*
//! payload = commitment(32) ciphertext(P) tag(16)          all but chunk 2
//! ```

use super::padding;
use super::rule::{Refused, Rule, demand};
use crate::crypto::suite::hpke::Suite;

/// First two octets of a message.
pub const MAGIC: u16 = 1984;
/// The only version.
pub const VERSION: u8 = 1;
/// Magic, version, suite and size.
pub const HEADER_SIZE: usize = 8;
/// Type and payload size in front of a chunk.
pub const CHUNK_HEADER_SIZE: usize = 4;
/// One actor's copy of a content key.
pub const SLOT_SIZE: usize = 48;
/// The commitment to the content key.
pub const COMMITMENT_SIZE: usize = 32;
/// Commitment and tag around a ciphertext.
pub const PAYLOAD_OVERHEAD: usize = COMMITMENT_SIZE + 16;
/// Most chunks of a message (P9).
pub const MAX_CHUNKS: usize = 4096;
/// The largest chunk; all that a reader holds of the content.
pub const MAX_CHUNK_SIZE: usize = 65_684;
/// Plaintext size of both envelope chunks.
pub const ENVELOPE_SIZE: usize = 768;
/// Plaintext size of both signature chunks.
pub const SIGNATURE_SIZE: usize = 256;
/// Index of the first content chunk.
pub(super) const FIRST_CONTENT: u32 = 3;

/// The four parties of a message, in the order of slots and encapsulations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Actor {
    /// Who wrote it.
    Author = 0,
    /// The author's organization.
    Origin = 1,
    /// The recipient's organization.
    Destination = 2,
    /// Who it is for.
    Recipient = 3,
}

impl Actor {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Author, Self::Origin, Self::Destination, Self::Recipient];
}

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChunkType {
    /// Time of sealing and the four encapsulations, in the clear.
    Keys = 2,
    /// What the origin learns.
    OriginEnvelope = 4,
    /// What the destination learns.
    DestinationEnvelope = 5,
    /// Date, To, CC, From, Organization, Subject.
    CommonHeaders = 33,
    /// All other header fields.
    OtherHeaders = 34,
    /// Text.
    Display = 67,
    /// Everything else.
    Attachment = 131,
    /// The author's signature.
    AuthorSignature = 225,
    /// The origin's signature.
    OriginSignature = 255,
}

impl ChunkType {
    /// Every type in the order in which they stand.
    pub const ALL: [Self; 9] = [
        Self::Keys,
        Self::OriginEnvelope,
        Self::DestinationEnvelope,
        Self::CommonHeaders,
        Self::OtherHeaders,
        Self::Display,
        Self::Attachment,
        Self::AuthorSignature,
        Self::OriginSignature,
    ];

    /// The type of a number; every other number is an error (P6).
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// Its number on the wire.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Whether several may follow each other: chunks of display and attachment parts.
    pub fn repeats(self) -> bool {
        matches!(self, Self::Display | Self::Attachment)
    }

    /// Who has a slot, in the order of the slots.
    pub fn readers(self) -> &'static [Actor] {
        use Actor::*;
        match self {
            Self::Keys => &[],
            Self::OriginEnvelope | Self::AuthorSignature => &[Author, Origin, Recipient],
            Self::DestinationEnvelope => &[Author, Destination, Recipient],
            Self::OriginSignature => &Actor::ALL,
            _ => &[Author, Recipient],
        }
    }

    /// Octets of a whole chunk with so many octets of payload.
    pub fn chunk_size(self, payload_size: usize) -> usize {
        CHUNK_HEADER_SIZE + payload_size + SLOT_SIZE * self.readers().len()
    }

    /// Checks the payload size: P10 for chunk 2, P12 for all others.
    pub(super) fn check_payload_size(self, suite: Suite, payload_size: usize) -> Result<(), Rule> {
        if self == Self::Keys {
            return demand(payload_size == keys_payload_size(suite), Rule::P10);
        }
        let plaintext = payload_size.checked_sub(PAYLOAD_OVERHEAD).ok_or(Rule::P12)?;
        let fits = match self {
            Self::OriginEnvelope | Self::DestinationEnvelope => plaintext == ENVELOPE_SIZE,
            Self::AuthorSignature | Self::OriginSignature => plaintext == SIGNATURE_SIZE,
            _ => padding::is_bucket(plaintext),
        };
        demand(fits, Rule::P12)
    }
}

/// Payload size of chunk 2: 136 or 4488.
pub fn keys_payload_size(suite: Suite) -> usize {
    8 + 4 * suite.encapsulation_size()
}

/// Octets 0–3 of a message, which all keys and hashes are bound to.
pub(super) fn prefix(suite: Suite) -> [u8; 4] {
    let [high, low] = MAGIC.to_be_bytes();
    [high, low, VERSION, suite.id()]
}

/// Where the size stands in the header.
pub(super) const SIZE_OFFSET: u64 = 4;

/// Reads the header up to the size: rules P1–P3.
pub(super) fn read_header(header: &[u8; HEADER_SIZE]) -> Result<(Suite, u32), Refused> {
    let [m0, m1, version, suite, size @ ..] = *header;
    demand([m0, m1] == MAGIC.to_be_bytes(), Rule::P1.at(0))?;
    demand(version == VERSION, Rule::P2.at(2))?;
    let suite = Suite::from_id(suite).ok_or(Rule::P3.at(3))?;
    Ok((suite, u32::from_be_bytes(size)))
}

/// The four octets in front of a chunk.
pub(super) fn chunk_header(kind: ChunkType, payload_size: usize) -> [u8; CHUNK_HEADER_SIZE] {
    // Payloads have at most 65 584 octets.
    let [_, a, b, c] = (payload_size as u32).to_be_bytes();
    [kind.id(), a, b, c]
}

/// A whole chunk as octets, with its parts by name. The sizes have been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkRef<'a> {
    pub kind: ChunkType,
    octets: &'a [u8],
}

impl<'a> ChunkRef<'a> {
    /// `octets` is a complete chunk of this type with at least 48 octets of payload.
    pub fn new(kind: ChunkType, octets: &'a [u8]) -> Self {
        Self { kind, octets }
    }

    pub fn octets(self) -> &'a [u8] {
        self.octets
    }

    /// Where the slots begin.
    fn slots_start(self) -> usize {
        slots_start(self.kind, self.octets.len())
    }

    /// The slot of an actor; `None` if the type has none for it.
    pub fn slot(self, actor: Actor) -> Option<&'a [u8; SLOT_SIZE]> {
        let place = self.kind.readers().iter().position(|reader| *reader == actor)?;
        let start = self.slots_start() + place * SLOT_SIZE;
        self.octets.get(start..)?.first_chunk()
    }

    pub fn commitment(self) -> &'a [u8] {
        &self.octets[CHUNK_HEADER_SIZE..CHUNK_HEADER_SIZE + COMMITMENT_SIZE]
    }

    /// Ciphertext and tag: what is zero in a blank chunk.
    pub fn sealed(self) -> &'a [u8] {
        &self.octets[sealed_range(self.kind, self.octets.len())]
    }
}

/// Where ciphertext and tag of a chunk lie.
pub(super) fn sealed_range(kind: ChunkType, chunk_size: usize) -> std::ops::Range<usize> {
    CHUNK_HEADER_SIZE + COMMITMENT_SIZE..slots_start(kind, chunk_size)
}

fn slots_start(kind: ChunkType, chunk_size: usize) -> usize {
    chunk_size - SLOT_SIZE * kind.readers().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The table of §5.2.
    #[test]
    fn chunk_sizes_are_those_of_the_chapter() {
        let size = |kind: ChunkType, plaintext| kind.chunk_size(plaintext + PAYLOAD_OVERHEAD);
        assert_eq!(ChunkType::Keys.chunk_size(keys_payload_size(Suite::X25519)), 140);
        assert_eq!(ChunkType::Keys.chunk_size(keys_payload_size(Suite::XWing)), 4492);
        assert_eq!(size(ChunkType::OriginEnvelope, 768), 964);
        assert_eq!(size(ChunkType::DestinationEnvelope, 768), 964);
        assert_eq!(size(ChunkType::Display, 256), 404);
        assert_eq!(size(ChunkType::AuthorSignature, 256), 452);
        assert_eq!(size(ChunkType::OriginSignature, 256), 500);
        assert_eq!(size(ChunkType::Attachment, 65_536), MAX_CHUNK_SIZE);
    }

    #[test]
    fn headers_are_read_by_rule() {
        let good = [0x07, 0xc0, 1, 2, 0, 0, 1, 0];
        assert_eq!(read_header(&good), Ok((Suite::XWing, 256)));
        for (place, value, rule) in [
            (1, 0x37, Rule::P1),
            (2, 2, Rule::P2),
            (3, 0, Rule::P3),
            (3, 3, Rule::P3),
        ] {
            let mut header = good;
            header[place] = value;
            assert_eq!(
                read_header(&header),
                Err(rule.at(place as u64 & !1 | u64::from(place == 3)))
            );
        }
        assert_eq!(chunk_header(ChunkType::Display, 0x130), [67, 0, 1, 0x30]);
    }

    #[test]
    fn payload_sizes_have_their_rules() {
        let check = |kind: ChunkType, size| kind.check_payload_size(Suite::X25519, size);
        assert_eq!(check(ChunkType::Keys, 136), Ok(()));
        assert_eq!(check(ChunkType::Keys, 137), Err(Rule::P10));
        assert_eq!(check(ChunkType::OriginEnvelope, 816), Ok(()));
        assert_eq!(check(ChunkType::OriginEnvelope, 1072), Err(Rule::P12));
        assert_eq!(check(ChunkType::Display, 47), Err(Rule::P12));
        assert_eq!(check(ChunkType::Display, 304), Ok(()));
        assert_eq!(check(ChunkType::Display, 65_585), Err(Rule::P12));
    }
}
