//! The object: layout and structure, rules B1 and B2.

use std::fmt;
use std::ops::Range;

use super::{HASHED, HEADER_SIZE, LABEL, MAGIC, SIGNATURE_SIZE, SIZE_END, VERSION, WHOLE};
use crate::base::bytes::Reader;
use crate::crypto::ed25519::Signature;
use crate::crypto::hash::sha512;
use crate::crypto::suite::hpke::Suite;
use crate::dime::dmime2::layout::{CHUNK_HEADER_SIZE, ChunkType, MAX_CHUNKS};
use crate::dime::dmime2::outline::{ChunkEntry, Limits};
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

impl WholeChunk {
    fn breaks_b2(&self) -> Refused {
        let refused = Rule::B2.at(self.range.start as u64);
        refused.of_chunk(self.index).of_type(self.kind.id())
    }
}

impl Returned {
    /// Reads an object: rules B1 and B2.
    pub fn decode(octets: Vec<u8>, limits: &Limits) -> Result<Self, Error> {
        if octets.len() as u64 > limits.size {
            return Err(Error::TooLarge);
        }
        let short = Rule::B1.at(octets.len() as u64);
        let body_end = octets.len().checked_sub(SIGNATURE_SIZE).ok_or(short)?;
        let header: &[u8; HEADER_SIZE] = octets[..body_end].first_chunk().ok_or(short)?;
        let header = Header::read(header, octets.len())?;
        let (hashes, whole) = entries(&octets[..body_end], header.suite, header.count)?;
        check_whole(&whole, header.scope, header.count)?;
        let kept = whole.iter().filter(|chunk| Skeleton::keeps(chunk.kind));
        let kept = kept.map(|chunk| (chunk.kind, octets[chunk.range.clone()].to_vec()));
        // The first chunk is whole, as `check_whole` has found, so all that can be wrong is an encapsulation in it.
        let skeleton =
            Skeleton::new(header.suite, hashes, kept.collect()).map_err(|_| whole[0].breaks_b2())?;
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

    /// The chunks that came back whole, in their order, with their indices in the message; places are those in this object.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, ChunkEntry)> + '_ {
        self.whole.iter().map(|chunk| {
            let entry = ChunkEntry {
                kind: chunk.kind,
                offset: chunk.range.start as u64,
                size: chunk.range.len(),
            };
            (chunk.index, entry)
        })
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

    /// Where the signature of the destination stands.
    pub(super) fn signature_offset(&self) -> u64 {
        (self.octets.len() - SIGNATURE_SIZE) as u64
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
    fn read(header: &[u8; HEADER_SIZE], whole_size: usize) -> Result<Self, Refused> {
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
        demand([m0, m1] == MAGIC.to_be_bytes(), Rule::B1.at(0))?;
        demand(version == VERSION, Rule::B1.at(2))?;
        let suite = Suite::from_id(suite).ok_or(Rule::B1.at(3))?;
        demand(size as usize == whole_size - SIZE_END, Rule::B1.at(4))?;
        let scope = Scope::from_id(scope).ok_or(Rule::B1.at(16))?;
        demand(class == 5, Rule::B1.at(17))?;
        demand((7..=MAX_CHUNKS as u32).contains(&count), Rule::B1.at(20))?;
        Ok(Self {
            suite,
            reported: u64::from_be_bytes(reported),
            scope,
            status: Status { subject, detail },
            count: count as usize,
        })
    }
}

/// Reads exactly `count` entries from `body`, which starts with the header.
fn entries(body: &[u8], suite: Suite, count: usize) -> Result<(Vec<[u8; 64]>, Vec<WholeChunk>), Refused> {
    let mut reader = Reader::new(&body[HEADER_SIZE..]);
    let (mut hashes, mut whole) = (Vec::with_capacity(count), Vec::new());
    for index in 0..count as u32 {
        let entry = body.len() - reader.remaining();
        let broken = |rule: Rule| rule.at(entry as u64).of_chunk(index);
        match reader.u8().map_err(|_| broken(Rule::B1))? {
            HASHED => hashes.push(reader.array().map_err(|_| broken(Rule::B1))?),
            WHOLE => {
                let start = entry + 1;
                let (kind, size) = chunk_size(&body[start..], suite).map_err(broken)?;
                let chunk = reader.take(size).map_err(|_| broken(Rule::B2))?;
                hashes.push(chunk_hash(suite, index, chunk));
                whole.push(WholeChunk {
                    index,
                    kind,
                    range: start..start + size,
                });
            }
            _ => return Err(broken(Rule::B1)),
        }
    }
    let end = body.len() - reader.remaining();
    reader.finish().map_err(|_| Rule::B1.at(end as u64))?;
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
fn check_whole(whole: &[WholeChunk], scope: Scope, count: usize) -> Result<(), Refused> {
    let last = count as u32 - 1;
    for (index, kind) in [
        (0, ChunkType::Keys),
        (1, ChunkType::OriginEnvelope),
        (2, ChunkType::DestinationEnvelope),
        (last - 1, ChunkType::AuthorSignature),
        (last, ChunkType::OriginSignature),
    ] {
        let is_there = |chunk: &WholeChunk| chunk.index == index && chunk.kind == kind;
        let missing = Rule::B2.in_chunk(index).of_type(kind.id());
        demand(whole.iter().any(is_there), missing)?;
    }
    for pair in whole.windows(2) {
        let (before, after) = (pair[0].kind, pair[1].kind);
        let ascends = before < after || before == after && after.repeats();
        demand(ascends, pair[1].breaks_b2())?;
    }
    match whole.iter().find(|chunk| !scope.has(chunk.kind)) {
        Some(beyond) => Err(beyond.breaks_b2()),
        None => Ok(()),
    }
}
