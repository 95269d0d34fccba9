//! The object: layout and structure, rules B1 and B2.

use std::fmt;
use std::ops::Range;

use super::{HASHED, HEADER_SIZE, LABEL, MAGIC, SIGNATURE_SIZE, SIZE_END, VERSION, WHOLE};
use crate::base::bytes::Reader;
use crate::crypto::ed25519::Signature;
use crate::crypto::hash::sha512;
use crate::crypto::suite::hpke::Suite;
use crate::dime::dmime2::layout::{CHUNK_HEADER_SIZE, ChunkType, MAX_CHUNKS};
use crate::dime::dmime2::outline::Limits;
use crate::dime::dmime2::rule::{Error, Refused, Rule, demand};
use crate::dime::dmime2::skeleton::{Skeleton, chunk_hash};
use crate::dime::dmime2::time::{MessageId, Replay, Seen};

/// How much of the original comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// What nobody can do without: chunks 2, 4, 5, 225, 255.
    Envelope = 1,
    /// The headers too.
    Headers = 2,
    /// The text too.
    Display = 3,
    /// Everything.
    Full = 4,
}

impl Scope {
    /// All four, ascending.
    pub const ALL: [Self; 4] = [Self::Envelope, Self::Headers, Self::Display, Self::Full];

    /// The scope of a number.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| *scope as u8 == id)
    }

    /// Whether chunks of this type come back whole.
    pub fn has(self, kind: ChunkType) -> bool {
        match kind {
            ChunkType::CommonHeaders | ChunkType::OtherHeaders => self >= Self::Headers,
            ChunkType::Display => self >= Self::Display,
            ChunkType::Attachment => self >= Self::Full,
            _ => true,
        }
    }
}

/// Why delivery failed: subject and detail of RFC 3463; the class is always 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Such as 1, addressing.
    pub subject: u8,
    /// Such as 1, no such mailbox.
    pub detail: u8,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "5.{}.{}", self.subject, self.detail)
    }
}

/// A well-formed returned message. Nothing in it is to be trusted yet.
pub struct Returned {
    octets: Vec<u8>,
    skeleton: Skeleton,
    reported: u64,
    scope: Scope,
    status: Status,
    whole: Vec<WholeChunk>,
}

/// Where a whole chunk lies in the object.
#[derive(Debug, Clone)]
pub(super) struct WholeChunk {
    pub index: u32,
    pub kind: ChunkType,
    pub range: Range<usize>,
}

impl Returned {
    /// Reads an object: rules B1 and B2.
    pub fn decode(octets: Vec<u8>, limits: &Limits) -> Result<Self, Error> {
        if octets.len() as u64 > limits.size {
            return Err(Error::TooLarge);
        }
        let body_end = octets.len().checked_sub(SIGNATURE_SIZE).ok_or(Rule::B1)?;
        let header: &[u8; HEADER_SIZE] = octets[..body_end].first_chunk().ok_or(Rule::B1)?;
        let header = Header::read(header, octets.len())?;
        let (hashes, whole) = entries(&octets[..body_end], header.suite, header.count)?;
        check_whole(&whole, header.scope, header.count)?;
        let kept = whole.iter().filter(|chunk| Skeleton::keeps(chunk.kind));
        let kept = kept.map(|chunk| (chunk.kind, octets[chunk.range.clone()].to_vec()));
        let skeleton = Skeleton::new(header.suite, hashes, kept.collect()).map_err(|_| Rule::B2)?;
        Ok(Self {
            skeleton,
            reported: header.reported,
            scope: header.scope,
            status: header.status,
            whole,
            octets,
        })
    }

    /// When the destination gave up, unix seconds.
    pub fn reported(&self) -> u64 {
        self.reported
    }

    /// How much came back.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Why it came back.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Which message it was.
    pub fn message_id(&self) -> MessageId {
        self.skeleton.message_id()
    }

    /// When the author sealed it, unix seconds.
    pub fn created(&self) -> u64 {
        self.skeleton.created()
    }

    /// Types of the chunks that came back whole, in their order.
    pub fn types(&self) -> impl Iterator<Item = ChunkType> + '_ {
        self.whole.iter().map(|chunk| chunk.kind)
    }

    /// The whole object, to be passed on unchanged.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What to remember of it, so that only one return of a message counts (B6).
    pub fn replay(&self) -> Replay {
        let mut replay = Replay::new(self.message_id(), sha512(&[&self.octets]), self.created());
        replay.expires = replay.expires.saturating_add(super::RETURN_SECS);
        replay
    }

    /// Rule B6: judges the object by the digest of the first return of the same message.
    pub fn judge(&self, seen: Option<&[u8; 16]>) -> Result<Seen, Refused> {
        self.replay().judge(seen).map_err(|_| Rule::B6.into())
    }

    pub(super) fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// The content chunks that came back.
    pub(super) fn content(&self) -> impl Iterator<Item = (&WholeChunk, &[u8])> {
        let content = self.whole.iter().filter(|chunk| !Skeleton::keeps(chunk.kind));
        content.map(|chunk| (chunk, &self.octets[chunk.range.clone()]))
    }

    /// What the destination signed, and its signature.
    pub(super) fn signed(&self) -> (Vec<u8>, Signature) {
        let (body, signature) = self
            .octets
            .split_last_chunk::<SIGNATURE_SIZE>()
            .unwrap_or((&[], &[0; SIGNATURE_SIZE]));
        ([LABEL, body].concat(), Signature(*signature))
    }
}

/// Shows nothing that tells which message it was.
impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Returned({:?}, {})", self.scope, self.status)
    }
}

/// The fixed fields.
struct Header {
    suite: Suite,
    reported: u64,
    scope: Scope,
    status: Status,
    count: usize,
}

impl Header {
    fn read(header: &[u8; HEADER_SIZE], whole_size: usize) -> Result<Self, Rule> {
        let [
            m0,
            m1,
            version,
            suite,
            s0,
            s1,
            s2,
            s3,
            reported @ ..,
            scope,
            class,
            subject,
            detail,
            n0,
            n1,
            n2,
            n3,
        ] = *header;
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let count = u32::from_be_bytes([n0, n1, n2, n3]);
        let fits = [m0, m1] == MAGIC.to_be_bytes()
            && version == VERSION
            && size as usize == whole_size - SIZE_END
            && class == 5
            && (7..=MAX_CHUNKS as u32).contains(&count);
        demand(fits, Rule::B1)?;
        Ok(Self {
            suite: Suite::from_id(suite).ok_or(Rule::B1)?,
            reported: u64::from_be_bytes(reported),
            scope: Scope::from_id(scope).ok_or(Rule::B1)?,
            status: Status { subject, detail },
            count: count as usize,
        })
    }
}

/// Reads exactly `count` entries from `body`, which starts with the header.
fn entries(body: &[u8], suite: Suite, count: usize) -> Result<(Vec<[u8; 64]>, Vec<WholeChunk>), Rule> {
    let mut reader = Reader::new(&body[HEADER_SIZE..]);
    let (mut hashes, mut whole) = (Vec::with_capacity(count), Vec::new());
    for index in 0..count as u32 {
        match reader.u8().map_err(|_| Rule::B1)? {
            HASHED => hashes.push(reader.array().map_err(|_| Rule::B1)?),
            WHOLE => {
                let start = body.len() - reader.remaining();
                let (kind, size) = chunk_size(&body[start..], suite)?;
                let chunk = reader.take(size).map_err(|_| Rule::B2)?;
                hashes.push(chunk_hash(suite, index, chunk));
                whole.push(WholeChunk {
                    index,
                    kind,
                    range: start..start + size,
                });
            }
            _ => return Err(Rule::B1),
        }
    }
    reader.finish().map_err(|_| Rule::B1)?;
    Ok((hashes, whole))
}

/// Type and size of the chunk at the front: P5, P6, P10, P12 as rule B2.
fn chunk_size(octets: &[u8], suite: Suite) -> Result<(ChunkType, usize), Rule> {
    let header: &[u8; CHUNK_HEADER_SIZE] = octets.first_chunk().ok_or(Rule::B2)?;
    let [id, a, b, c] = *header;
    let kind = ChunkType::from_id(id).ok_or(Rule::B2)?;
    let payload_size = u32::from_be_bytes([0, a, b, c]) as usize;
    kind.check_payload_size(suite, payload_size)
        .map_err(|_| Rule::B2)?;
    Ok((kind, kind.chunk_size(payload_size)))
}

/// Rule B2: the five chunks at their places, ascending types, and none beyond the scope.
fn check_whole(whole: &[WholeChunk], scope: Scope, count: usize) -> Result<(), Rule> {
    let last = count as u32 - 1;
    let is_at = |index, kind| {
        whole
            .iter()
            .any(|chunk| chunk.index == index && chunk.kind == kind)
    };
    let complete = is_at(0, ChunkType::Keys)
        && is_at(1, ChunkType::OriginEnvelope)
        && is_at(2, ChunkType::DestinationEnvelope)
        && is_at(last - 1, ChunkType::AuthorSignature)
        && is_at(last, ChunkType::OriginSignature);
    let ascends = whole
        .windows(2)
        .all(|pair| pair[0].kind < pair[1].kind || pair[0].kind == pair[1].kind && pair[1].kind.repeats());
    let allowed = whole.iter().all(|chunk| scope.has(chunk.kind));
    demand(complete && ascends && allowed, Rule::B2)
}
