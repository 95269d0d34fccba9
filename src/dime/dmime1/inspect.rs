//! What a private key can read of a message, found out by decrypting.
//!
//! For showing who learns what (`dmime.md` §1). Nothing is verified: readable does not mean true.

use std::fmt;

use bytes::Bytes;

use super::chunk::{Actor, Chunk, ChunkType};
use super::envelope::{DestinationEnvelope, OriginEnvelope};
use super::metadata::CommonHeaders;
use super::reading::Access;
use super::{Content, Message};
use crate::crypto::suite::secp256k1_aes256::SecretKey;

/// The standard chunks that opened, in wire order. Signature chunks are not tried: what they give looks random
/// whether the key is right or wrong.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Readable {
    chunks: Vec<(ChunkType, Bytes)>,
}

/// Tries `key` on every keyslot of every standard chunk.
pub fn readable(message: &Message, key: &SecretKey) -> Readable {
    let accesses = Actor::ALL.map(|actor| Access::new(message, actor, key));
    let opened = |chunk: &Chunk| {
        accesses
            .iter()
            .find_map(|access| access.reading(message).plain(chunk)?.into_data().ok())
    };
    let standard = message
        .chunks()
        .iter()
        .filter(|chunk| chunk.kind.payload() == super::chunk::Payload::Standard);
    Readable {
        chunks: standard
            .filter_map(|chunk| Some((chunk.kind, opened(chunk)?)))
            .collect(),
    }
}

impl Readable {
    /// The types of the chunks that opened.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkType> {
        self.chunks.iter().map(|(kind, _)| *kind)
    }

    /// Author and destination.
    pub fn origin_envelope(&self) -> Option<OriginEnvelope> {
        OriginEnvelope::decode(self.data(ChunkType::Origin)?)
    }

    /// Recipient and origin.
    pub fn destination_envelope(&self) -> Option<DestinationEnvelope> {
        DestinationEnvelope::decode(self.data(ChunkType::Destination)?)
    }

    /// Date, To, CC, From, Organization, Subject.
    pub fn common_headers(&self) -> Option<CommonHeaders> {
        CommonHeaders::decode(self.data(ChunkType::CommonHeaders)?).ok()
    }

    /// All headers, display chunks and attachments, as far as they opened.
    pub fn content(&self) -> Content {
        let all = |wanted| {
            let chunks = self.chunks.iter().filter(move |(kind, _)| *kind == wanted);
            chunks.map(|(_, data)| data.clone())
        };
        let first = |wanted| all(wanted).next().unwrap_or_default();
        Content {
            common_headers: first(ChunkType::CommonHeaders),
            other_headers: first(ChunkType::OtherHeaders),
            display: all(ChunkType::Display).collect(),
            attachments: all(ChunkType::Attachment).collect(),
        }
    }

    /// The first display chunk.
    pub fn body(&self) -> Option<&[u8]> {
        self.data(ChunkType::Display)
    }

    fn data(&self, kind: ChunkType) -> Option<&[u8]> {
        let (_, data) = self.chunks.iter().find(|(opened, _)| *opened == kind)?;
        Some(data)
    }
}

/// Shows types only.
impl fmt::Debug for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.chunks()).finish()
    }
}
