//! D/MIME 1 messages (`dmime.md`).
//!
//! [`Message::parse`] checks structure and nothing else. What a message says becomes usable step by step, and each
//! step is a type of its own: [`seal`] makes the author's form; [`origin`] reads its envelope, checks and signs it;
//! [`destination`] reads its envelope and checks the origin's signatures; [`open`] gives recipient and author the
//! content. After parsing, every failure is the same [`Refused`], but to tools that ask for the [`Fault`](fault::Fault).

pub mod chunk;
mod content;
pub mod destination;
pub mod envelope;
pub mod fault;
pub mod inspect;
pub mod keyslot;
pub mod metadata;
pub mod open;
pub mod origin;
pub mod padding;
mod payload;
mod reading;
pub mod seal;
pub mod signature;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tracing;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use self::chunk::{Actor, Chunk, ChunkType, EPHEMERAL_SIZE, HEADER_SIZE, KEYSLOT_SIZE};
pub use self::content::Content;
use crate::base::bytes::{self as base_bytes, Reader};
use crate::crypto::suite::secp256k1_aes256::PublicKey;

/// First two octets of a message.
pub const MAGIC: u16 = 1847;
/// Magic and size in front of the chunks.
pub const MESSAGE_HEADER_SIZE: usize = 6;

/// What a message may cost; checked before anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message in octets, tracing included.
    pub size: usize,
    /// Most chunks; the format itself needs eleven.
    pub chunks: usize,
}

impl Default for Limits {
    /// 64 MiB and 64 chunks.
    fn default() -> Self {
        Self {
            size: 64 << 20,
            chunks: 64,
        }
    }
}

/// Why octets are not a message (`dmime.md` §14.2 V1–V11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More octets or chunks than the caller allows.
    #[error("the message exceeds the limits")]
    TooLarge,
    /// Octets are missing.
    #[error("the message ends early")]
    Truncated,
    /// Neither a message nor tracing followed by one.
    #[error("not a D/MIME message")]
    Magic,
    /// Tracing without content.
    #[error("empty tracing")]
    EmptyTracing,
    /// The size in the header is not the number of octets that follow.
    #[error("the message's size field is wrong")]
    Size,
    /// A chunk type that the format does not have.
    #[error("unknown chunk type {0}")]
    UnknownType(u8),
    /// A chunk that stands behind a later one, or twice.
    #[error("chunk {} is out of place", .0.id())]
    Order(ChunkType),
    /// A payload of impossible size.
    #[error("the payload of chunk {} has an impossible size", .0.id())]
    PayloadSize(ChunkType),
    /// The message's public key is not a point on the curve.
    #[error("the ephemeral key is not usable")]
    EphemeralKey,
    /// A chunk that every message has.
    #[error("chunk {} is missing", .0.id())]
    Missing(ChunkType),
}

impl From<base_bytes::Error> for Error {
    fn from(_: base_bytes::Error) -> Self {
        Self::Truncated
    }
}

/// An error of reading a message, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Misread {
    /// What is wrong.
    pub error: Error,
    /// Octet, counted from the start of the object, tracing included.
    pub offset: usize,
    /// Index of the chunk, from 0.
    pub chunk: Option<usize>,
}

impl Misread {
    fn at(offset: usize, error: Error) -> Self {
        let chunk = None;
        Self { error, offset, chunk }
    }
}

/// The one answer to everything that fails after parsing; it does not say what (`dmime.md` §17 W1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be opened or verified")]
pub struct Refused;

/// A message with sound structure. Nothing in it has been decrypted or verified. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Everything, tracing included.
    whole: Bytes,
    /// From the message's header on.
    untraced: Bytes,
    chunks: Arc<[Chunk]>,
    ephemeral: PublicKey,
}

impl Message {
    /// Reads a message strictly: known chunks in ascending order, all that are required, nothing before or after.
    ///
    /// Errors: the first rule of `dmime.md` §14.2 that is broken. The octets are shared, not copied.
    pub fn parse(octets: impl Into<Bytes>, limits: &Limits) -> Result<Self, Error> {
        Self::read(octets, limits).map_err(|misread| misread.error)
    }

    /// As [`parse`](Self::parse), with the place of what is wrong.
    pub fn read(octets: impl Into<Bytes>, limits: &Limits) -> Result<Self, Misread> {
        let whole = octets.into();
        if whole.len() > limits.size {
            return Err(Misread::at(limits.size, Error::TooLarge));
        }
        let start = tracing::length(&whole).map_err(|error| Misread::at(0, error))?;
        let untraced = whole.slice(start..);
        let behind = |misread: Misread| Misread {
            offset: start + misread.offset,
            ..misread
        };
        check_header(&untraced).map_err(behind)?;
        let chunks = locate(&untraced, limits).map_err(behind)?;
        check_required(&chunks).map_err(|error| Misread::at(whole.len(), error))?;
        let ephemeral = ephemeral(&untraced, &chunks).map_err(behind)?;
        Ok(Self {
            whole,
            untraced,
            chunks: chunks.into(),
            ephemeral,
        })
    }

    /// The octets that were parsed.
    pub fn encode(&self) -> Bytes {
        self.whole.clone()
    }

    /// The message without tracing: what is sent on (`dmime.md` §13.2 step 9).
    pub fn without_tracing(&self) -> Bytes {
        self.untraced.clone()
    }

    /// What some hop put in front of the message, in clear and covered by no signature.
    pub fn tracing(&self) -> Option<&[u8]> {
        let length = self.whole.len() - self.untraced.len();
        self.whole.get(tracing::HEADER_SIZE..length)
    }

    /// Where each chunk lies, counted from the message's header.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The public key made for this message alone; it names the message to every observer.
    pub fn ephemeral_key(&self) -> &PublicKey {
        &self.ephemeral
    }

    /// All octets of a chunk, as signatures and hashes cover them.
    pub fn chunk_octets(&self, chunk: &Chunk) -> &[u8] {
        &self.untraced[chunk.range()]
    }

    /// A name for this message that its replays share: a hash over ephemeral key and chunk 226.
    ///
    /// The first 32 octets of SHA-512. Whoever has accepted the message remembers it (`dmime.md` §17 W11).
    pub fn replay_token(&self) -> ReplayToken {
        signature::replay_token(self)
    }

    /// The payload of a chunk as transmitted.
    pub fn payload(&self, chunk: &Chunk) -> &[u8] {
        &self.untraced[chunk.payload_range()]
    }

    /// The keyslot of an actor as transmitted; `None` if the actor may not read this chunk.
    pub fn keyslot(&self, chunk: &Chunk, actor: Actor) -> Option<&[u8; KEYSLOT_SIZE]> {
        self.untraced[chunk.keyslot_range(actor)?].first_chunk()
    }

    /// The first chunk of a type.
    pub fn find(&self, kind: ChunkType) -> Option<&Chunk> {
        self.chunks.iter().find(|chunk| chunk.kind == kind)
    }

    /// All chunks of a type, in order.
    pub fn all(&self, kind: ChunkType) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().filter(move |chunk| chunk.kind == kind)
    }

    /// All chunks whose type is below `kind`: the input of every outer signature but the tree (`dmime.md` §10).
    pub fn octets_before(&self, kind: ChunkType) -> &[u8] {
        let end = self
            .chunks
            .iter()
            .find(|chunk| chunk.kind >= kind)
            .map_or(self.untraced.len(), |chunk| chunk.start);
        &self.untraced[MESSAGE_HEADER_SIZE..end]
    }
}

/// Shows sizes only.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("size_bytes", &self.whole.len())
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

/// See [`Message::replay_token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplayToken(pub [u8; 32]);

fn check_header(untraced: &[u8]) -> Result<(), Misread> {
    let mut reader = Reader::new(untraced);
    let short = |error: base_bytes::Error| Misread::at(untraced.len(), error.into());
    if reader.u16().map_err(short)? != MAGIC {
        return Err(Misread::at(0, Error::Magic));
    }
    let size = reader.u32().map_err(short)?;
    if usize::try_from(size) == Ok(reader.remaining()) {
        Ok(())
    } else {
        Err(Misread::at(2, Error::Size))
    }
}

fn locate(untraced: &[u8], limits: &Limits) -> Result<Vec<Chunk>, Misread> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut start = MESSAGE_HEADER_SIZE;
    while start < untraced.len() {
        let here = |error| Misread {
            error,
            offset: start,
            chunk: Some(chunks.len()),
        };
        if chunks.len() == limits.chunks {
            return Err(here(Error::TooLarge));
        }
        let chunk = chunk_at(untraced, start).map_err(here)?;
        if chunks
            .last()
            .is_some_and(|last| !may_follow(last.kind, chunk.kind))
        {
            return Err(here(Error::Order(chunk.kind)));
        }
        start = chunk.range().end;
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn may_follow(last: ChunkType, next: ChunkType) -> bool {
    next > last || (next == last && next.repeats())
}

fn chunk_at(untraced: &[u8], start: usize) -> Result<Chunk, Error> {
    let mut reader = Reader::new(&untraced[start..]);
    let id = reader.u8()?;
    let kind = ChunkType::from_id(id).ok_or(Error::UnknownType(id))?;
    let payload_size = reader.u24()? as usize;
    if !kind.accepts_size(payload_size) {
        return Err(Error::PayloadSize(kind));
    }
    let chunk = Chunk {
        kind,
        start,
        payload_size,
    };
    reader.take(chunk.range().len() - HEADER_SIZE)?;
    Ok(chunk)
}

fn check_required(chunks: &[Chunk]) -> Result<(), Error> {
    ChunkType::REQUIRED
        .into_iter()
        .find(|&kind| !chunks.iter().any(|chunk| chunk.kind == kind))
        .map_or(Ok(()), |kind| Err(Error::Missing(kind)))
}

fn ephemeral(untraced: &[u8], chunks: &[Chunk]) -> Result<PublicKey, Misread> {
    let missing = Misread::at(untraced.len(), Error::Missing(ChunkType::Ephemeral));
    let first = chunks.first().ok_or(missing)?;
    let unusable = Misread {
        error: Error::EphemeralKey,
        offset: first.payload_range().start,
        chunk: Some(0),
    };
    let payload: Option<&[u8; EPHEMERAL_SIZE]> = untraced[first.payload_range()].first_chunk();
    PublicKey::from_compressed(payload.ok_or(unusable)?).map_err(|_| unusable)
}
