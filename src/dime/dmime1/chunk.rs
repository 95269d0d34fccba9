//! Chunk types and where the parts of a chunk lie (`dmime.md` §3, §4).

use std::ops::Range;

/// Type octet and three octets of payload size.
pub const HEADER_SIZE: usize = 4;
/// One keyslot.
pub const KEYSLOT_SIZE: usize = 64;
/// The payload of chunk 2: a compressed secp256k1 point.
pub const EPHEMERAL_SIZE: usize = 33;
/// The payload of a signature chunk.
pub const SIGNATURE_SIZE: usize = 64;
/// The shortest standard payload that holds an octet of data in whole cipher blocks.
pub const MIN_STANDARD_SIZE: usize = 80;
/// The longest standard payload: the last multiple of 16 that three octets can name.
pub const MAX_STANDARD_SIZE: usize = 0xFF_FFF0;

/// Those who may hold a keyslot, in the order of the slots (`dmime.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The account that wrote the message.
    Author,
    /// The author's organization.
    Origin,
    /// The recipient's organization.
    Destination,
    /// The account the message is for.
    Recipient,
}

impl Actor {
    /// All four, in slot order.
    pub const ALL: [Self; 4] = [Self::Author, Self::Origin, Self::Destination, Self::Recipient];
}

/// What a payload holds (`dmime.md` §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A public key in clear, no keyslots.
    Ephemeral,
    /// Signed, padded and encrypted data.
    Standard,
    /// An encrypted signature.
    Signature,
}

/// The twelve chunk types of the format; any other type makes a message unreadable (`dmime.md` §4, M9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChunkType {
    /// The message's public key.
    Ephemeral = 2,
    /// Author and destination, for the origin.
    Origin = 4,
    /// Recipient and origin, for the destination.
    Destination = 5,
    /// Date, To, CC, From, Organization, Subject.
    CommonHeaders = 33,
    /// Every other header field.
    OtherHeaders = 34,
    /// Content to show; may repeat.
    Display = 67,
    /// Further content; may repeat.
    Attachment = 131,
    /// The author's signature over hashes of chunks.
    TreeSignature = 225,
    /// The author's signature over everything before it.
    AuthorSignature = 226,
    /// The origin's signature up to the metadata.
    MetadataBounce = 248,
    /// The origin's signature up to the display content.
    DisplayBounce = 249,
    /// The origin's signature over everything before it.
    OriginSignature = 255,
}

impl ChunkType {
    /// All types, ascending, which is their order in a message.
    pub const ALL: [Self; 12] = [
        Self::Ephemeral,
        Self::Origin,
        Self::Destination,
        Self::CommonHeaders,
        Self::OtherHeaders,
        Self::Display,
        Self::Attachment,
        Self::TreeSignature,
        Self::AuthorSignature,
        Self::MetadataBounce,
        Self::DisplayBounce,
        Self::OriginSignature,
    ];

    /// Those without which a message is not one (`dmime.md` §14.2 V11).
    pub const REQUIRED: [Self; 8] = [
        Self::Ephemeral,
        Self::Origin,
        Self::Destination,
        Self::CommonHeaders,
        Self::OtherHeaders,
        Self::TreeSignature,
        Self::AuthorSignature,
        Self::OriginSignature,
    ];

    /// The type with this id; `None` for the ids the format leaves empty, and for type 3, which no reader takes.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// The octet on the wire.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Whether several chunks of this type may stand one after the other.
    pub fn repeats(self) -> bool {
        matches!(self, Self::Display | Self::Attachment)
    }

    /// What the payload holds.
    pub fn payload(self) -> Payload {
        match self {
            Self::Ephemeral => Payload::Ephemeral,
            Self::TreeSignature
            | Self::AuthorSignature
            | Self::MetadataBounce
            | Self::DisplayBounce
            | Self::OriginSignature => Payload::Signature,
            _ => Payload::Standard,
        }
    }

    /// Who has a keyslot, in slot order.
    pub fn readers(self) -> &'static [Actor] {
        use Actor::{Author, Destination, Origin, Recipient};
        match self {
            Self::Ephemeral => &[],
            Self::Origin | Self::TreeSignature | Self::AuthorSignature => &[Author, Origin, Recipient],
            Self::Destination => &[Author, Destination, Recipient],
            Self::CommonHeaders | Self::OtherHeaders | Self::Display | Self::Attachment => {
                &[Author, Recipient]
            }
            Self::MetadataBounce | Self::DisplayBounce | Self::OriginSignature => {
                &[Author, Origin, Destination, Recipient]
            }
        }
    }

    /// Whether a payload of this type can have this size (`dmime.md` §14.2 V8, V9, V10).
    pub fn accepts_size(self, size: usize) -> bool {
        match self.payload() {
            Payload::Ephemeral => size == EPHEMERAL_SIZE,
            Payload::Signature => size == SIGNATURE_SIZE,
            Payload::Standard => size >= MIN_STANDARD_SIZE && size.is_multiple_of(16),
        }
    }
}

/// Where one chunk lies: offsets count from the 6-octet message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// What it is.
    pub kind: ChunkType,
    /// Where its type octet is.
    pub start: usize,
    /// How long its payload is.
    pub payload_size: usize,
}

impl Chunk {
    /// Header, payload and keyslots.
    pub fn range(&self) -> Range<usize> {
        self.start..self.payload_range().end + KEYSLOT_SIZE * self.kind.readers().len()
    }

    /// The payload alone.
    pub fn payload_range(&self) -> Range<usize> {
        let start = self.start + HEADER_SIZE;
        start..start + self.payload_size
    }

    /// The keyslot of an actor; `None` if the actor may not read this chunk.
    pub fn keyslot_range(&self, actor: Actor) -> Option<Range<usize>> {
        let place = self.kind.readers().iter().position(|&reader| reader == actor)?;
        let start = self.payload_range().end + KEYSLOT_SIZE * place;
        Some(start..start + KEYSLOT_SIZE)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_ascend_and_name_their_type() {
        assert!(ChunkType::ALL.is_sorted_by(|a, b| a.id() < b.id()));
        for id in 0..=255 {
            let listed = [2, 4, 5, 33, 34, 67, 131, 225, 226, 248, 249, 255].contains(&id);
            assert_eq!(ChunkType::from_id(id).map(ChunkType::id), listed.then_some(id));
        }
    }

    #[test]
    fn slots_follow_the_payload_without_gaps() {
        let chunk = Chunk {
            kind: ChunkType::Destination,
            start: 100,
            payload_size: 352,
        };
        assert_eq!(chunk.payload_range(), 104..456);
        assert_eq!(chunk.keyslot_range(Actor::Author), Some(456..520));
        assert_eq!(chunk.keyslot_range(Actor::Origin), None);
        assert_eq!(chunk.keyslot_range(Actor::Destination), Some(520..584));
        assert_eq!(chunk.keyslot_range(Actor::Recipient), Some(584..648));
        assert_eq!(chunk.range(), 100..648);
    }

    #[test]
    fn sizes_of_payloads_are_strict() {
        for (kind, good, bad) in [
            (ChunkType::Ephemeral, vec![33], vec![0, 32, 34]),
            (ChunkType::OriginSignature, vec![64], vec![0, 48, 80]),
            (
                ChunkType::Display,
                vec![80, 96, 256],
                vec![0, 16, 64, 79, 81, 257],
            ),
        ] {
            assert!(good.into_iter().all(|size| kind.accepts_size(size)));
            assert!(!bad.into_iter().any(|size| kind.accepts_size(size)));
        }
    }
}
