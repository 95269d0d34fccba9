//! One pass over a message: rules P, the hash of every chunk, and the five chunks that everything else hangs on.

use std::io::{self, Read};
use std::sync::Arc;

use super::layout::{
    CHUNK_HEADER_SIZE, ChunkType, HEADER_SIZE, MAX_CHUNK_SIZE, MAX_CHUNKS, SIZE_OFFSET, prefix, read_header,
};
use super::rule::{Error, Refused, Rule, demand};
use super::skeleton::{Skeleton, missing};
use super::{MessageId, Replay};
use crate::crypto::hash::Sha512;
use crate::crypto::suite::hpke::Suite;

/// What a message may cost; checked before anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest object in octets, header included.
    pub size: u64,
}

impl Default for Limits {
    /// 64 MiB.
    fn default() -> Self {
        Self { size: 64 << 20 }
    }
}

/// A well-formed message, without its content: about 80 octets per chunk. Cheap to clone.
///
/// Nothing in it is to be trusted yet. [`Submission`](super::origin::Submission), [`Arrival`](super::destination::Arrival)
/// and [`Reading`](super::reader::Reading) are what the four actors make of it.
#[derive(Debug, Clone)]
pub struct Outline(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    skeleton: Skeleton,
    chunks: Vec<ChunkEntry>,
    size: u64,
}

/// Where a chunk lies in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// What it holds.
    pub kind: ChunkType,
    /// Place of its first octet, counted from the start of the object.
    pub offset: u64,
    /// Its octets, slots included.
    pub size: usize,
}

impl Outline {
    /// Reads the whole of `source`, which must hold one object and nothing else. Memory is one chunk and the outline.
    ///
    /// Errors: [`Error::TooLarge`] before anything but the header is read, [`Error::Refused`] by a rule P, [`Error::Io`].
    pub fn read(source: impl Read, limits: &Limits) -> Result<Self, Error> {
        let mut scan = Scan::start(source, limits)?;
        while scan.left > 0 {
            scan.chunk()?;
        }
        scan.finish()
    }

    /// The suite of all four encapsulations.
    pub fn suite(&self) -> Suite {
        self.skeleton().suite()
    }

    /// When the author sealed it, in unix seconds.
    pub fn created(&self) -> u64 {
        self.skeleton().created()
    }

    /// Which message it is.
    pub fn message_id(&self) -> MessageId {
        self.skeleton().message_id()
    }

    /// Octets of the whole object.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The chunks in their order.
    pub fn chunks(&self) -> &[ChunkEntry] {
        &self.0.chunks
    }

    /// Whether no origin has signed yet: ciphertext and tag of chunk 255 are zero.
    pub fn is_blank(&self) -> bool {
        self.skeleton().is_blank()
    }

    /// What replay caches remember of this object (§11).
    pub fn replay(&self) -> Replay {
        self.skeleton().replay()
    }

    pub(super) fn skeleton(&self) -> &Skeleton {
        &self.0.skeleton
    }

    /// Entries of the content chunks with their indices.
    pub(super) fn content(&self) -> impl Iterator<Item = (u32, ChunkEntry)> + '_ {
        let content = super::layout::FIRST_CONTENT as usize..self.0.chunks.len() - 2;
        content.map(|index| (index as u32, self.0.chunks[index]))
    }
}

/// The pass itself.
struct Scan<R> {
    source: R,
    prefix: [u8; 4],
    suite: Suite,
    /// Octets of chunks not read yet.
    left: u64,
    offset: u64,
    chunks: Vec<ChunkEntry>,
    hashes: Vec<[u8; 64]>,
    kept: Vec<(ChunkType, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl<R: Read> Scan<R> {
    fn start(mut source: R, limits: &Limits) -> Result<Self, Error> {
        let mut header = [0u8; HEADER_SIZE];
        read_exactly(&mut source, &mut header, || Rule::P1.at(0))?;
        let (suite, size) = read_header(&header)?;
        if HEADER_SIZE as u64 + u64::from(size) > limits.size {
            return Err(Error::TooLarge);
        }
        Ok(Self {
            source,
            prefix: prefix(suite),
            suite,
            left: u64::from(size),
            offset: HEADER_SIZE as u64,
            chunks: Vec::with_capacity(16),
            hashes: Vec::with_capacity(16),
            kept: Vec::with_capacity(5),
            buffer: Vec::new(),
        })
    }

    /// Reads one chunk: rules P5–P7, P9, P10, P12.
    fn chunk(&mut self) -> Result<(), Error> {
        if self.left < CHUNK_HEADER_SIZE as u64 {
            return Err(self.cut());
        }
        let mut header = [0u8; CHUNK_HEADER_SIZE];
        read_exactly(&mut self.source, &mut header, wrong_size)?;
        let [id, a, b, c] = header;
        let here = |rule: Rule| self.here(rule).of_type(id);
        let kind = ChunkType::from_id(id).ok_or_else(|| here(Rule::P6))?;
        let payload_size = u32::from_be_bytes([0, a, b, c]) as usize;
        let size = kind.chunk_size(payload_size);
        if self.left < size as u64 {
            self.left -= CHUNK_HEADER_SIZE as u64;
            return Err(self.cut());
        }
        self.check_order(kind).map_err(here)?;
        demand(self.chunks.len() < MAX_CHUNKS, Rule::P9).map_err(here)?;
        kind.check_payload_size(self.suite, payload_size).map_err(here)?;
        self.take(kind, header, size)
    }

    /// A rule that the chunk at hand breaks.
    fn here(&self, rule: Rule) -> Refused {
        rule.at(self.offset).of_chunk(self.chunks.len() as u32)
    }

    fn check_order(&self, kind: ChunkType) -> Result<(), Rule> {
        let follows = match self.chunks.last() {
            Some(last) => last.kind < kind || last.kind == kind && kind.repeats(),
            None => true,
        };
        demand(follows, Rule::P7)
    }

    /// Hashes the chunk, and keeps it if it is one of the five. Its size has been checked.
    fn take(&mut self, kind: ChunkType, header: [u8; CHUNK_HEADER_SIZE], size: usize) -> Result<(), Error> {
        debug_assert!(size <= MAX_CHUNK_SIZE);
        self.buffer.resize(size, 0);
        self.buffer[..CHUNK_HEADER_SIZE].copy_from_slice(&header);
        read_exactly(
            &mut self.source,
            &mut self.buffer[CHUNK_HEADER_SIZE..],
            wrong_size,
        )?;
        let index = self.chunks.len() as u32;
        let mut hasher: Sha512 = super::derivation::chunk_hasher(self.prefix, index);
        hasher.update(&self.buffer);
        self.hashes.push(hasher.finish());
        if Skeleton::keeps(kind) {
            self.kept.push((kind, self.buffer.clone()));
        }
        self.chunks.push(ChunkEntry {
            kind,
            offset: self.offset,
            size,
        });
        self.offset += size as u64;
        self.left -= size as u64;
        Ok(())
    }

    /// A chunk does not fit into the object: P5, unless the source has not as many octets as the size says (P4).
    fn cut(&mut self) -> Error {
        let left = self.left;
        let rest = io::copy(&mut self.source.by_ref().take(left), &mut io::sink());
        let over = rest.and_then(|read| Ok((read, self.at_end()?)));
        match over {
            Ok((read, true)) if read == left => self.here(Rule::P5).into(),
            Ok(_) => wrong_size().into(),
            Err(error) => error.into(),
        }
    }

    fn at_end(&mut self) -> io::Result<bool> {
        let mut octet = [0u8; 1];
        loop {
            match self.source.read(&mut octet) {
                Ok(count) => return Ok(count == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Nothing follows (P4), nothing is missing (P8), and the encapsulations are acceptable (P11).
    fn finish(mut self) -> Result<Outline, Error> {
        if !self.at_end()? {
            return Err(wrong_size().into());
        }
        let has = |wanted| self.chunks.iter().any(|chunk| chunk.kind == wanted);
        demand(has(ChunkType::CommonHeaders), missing(ChunkType::CommonHeaders))?;
        demand(
            has(ChunkType::Display) || has(ChunkType::Attachment),
            missing(ChunkType::Display),
        )?;
        let skeleton = Skeleton::new(self.suite, self.hashes, self.kept)?;
        Ok(Outline(Arc::new(Parts {
            skeleton,
            chunks: self.chunks,
            size: self.offset,
        })))
    }
}

/// The size is not that of what follows.
fn wrong_size() -> Refused {
    Rule::P4.at(SIZE_OFFSET)
}

/// Fills `target`; an early end is `short`.
fn read_exactly(source: &mut impl Read, target: &mut [u8], short: fn() -> Refused) -> Result<(), Error> {
    match source.read_exact(target) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(short().into()),
        other => Ok(other?),
    }
}
