//! What a message consists of, and into which chunks it is cut (`dmime2.md` §7).

use std::ops::Range;

use super::headers;
use super::layout::{
    ChunkType, HEADER_SIZE, MAX_CHUNKS, PAYLOAD_OVERHEAD, SIGNATURE_SIZE, keys_payload_size,
};
use super::padding::{self, MAX_DATA, PLAINTEXT_HEADER_SIZE, padme, run_chunks, run_total};
use super::record::{RECORD_HEAD_SIZE, RecordHead, check_ordinals};
use super::rule::Rule;
use super::seal::Error;
use crate::crypto::suite::hpke::Suite;

/// The data of a message, as the mapping of §16 gives it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Data of chunk 33.
    pub common_headers: Vec<u8>,
    /// Data of chunk 34; empty for none.
    pub other_headers: Vec<u8>,
    /// The records, in order of their ordinals.
    pub parts: Vec<Part>,
}

/// A record to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// [`ChunkType::Display`] or [`ChunkType::Attachment`].
    pub kind: ChunkType,
    /// Its place in the body.
    pub head: RecordHead,
    /// Which octets of the body source it has.
    pub body: Range<u64>,
}

impl Part {
    fn body_size(&self) -> u64 {
        self.body.end.saturating_sub(self.body.start)
    }

    /// Octets of the record, head included.
    fn data_size(&self) -> u64 {
        self.body_size().saturating_add(RECORD_HEAD_SIZE as u64)
    }
}

/// Shows no content.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} parts)", self.parts.len())
    }
}

/// Padded sizes: of both header chunks, and of each part as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// P of chunk 33.
    pub common_headers: u64,
    /// P of chunk 34, if there is one.
    pub other_headers: u64,
    /// S of every part, in the order of [`Content::parts`].
    pub parts: Vec<u64>,
}

impl Sizes {
    /// The default: the smallest Padmé sizes.
    pub fn of(content: &Content) -> Self {
        let header = |data: &[u8]| padme((data.len() + PLAINTEXT_HEADER_SIZE) as u64);
        // Far above what fits into the size field, which is refused before anything is written.
        let data = |part: &Part| part.data_size().min(1 << 40);
        Self {
            common_headers: header(&content.common_headers),
            other_headers: header(&content.other_headers),
            parts: content.parts.iter().map(|part| run_total(data(part))).collect(),
        }
    }
}

/// A chunk to be sealed.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub kind: ChunkType,
    /// P.
    pub plaintext: usize,
    pub data: Data<'a>,
    pub continues: bool,
}

/// Where the data of a chunk come from.
#[derive(Debug)]
pub(super) enum Data<'a> {
    Text(std::borrow::Cow<'a, [u8]>),
    /// A piece of a record; the first one starts with the head.
    Body {
        head: Head,
        range: Range<u64>,
    },
}

/// The record head, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head(Option<[u8; RECORD_HEAD_SIZE]>);

impl Head {
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |head| head)
    }
}

impl Data<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            // A piece is smaller than a chunk.
            Self::Body { head, range } => head.as_slice().len() + (range.end - range.start) as usize,
        }
    }
}

/// All chunks but chunk 2 and the signatures, in their order.
#[derive(Debug)]
pub(super) struct Plan<'a>(Vec<Planned<'a>>);

impl<'a> Plan<'a> {
    /// Checks the content (rules H and M) and cuts it.
    pub fn new(envelopes: [Vec<u8>; 2], content: &'a Content, sizes: &Sizes) -> Result<Self, Error> {
        check(content).map_err(Error::Content)?;
        let [four, five] = envelopes;
        let mut chunks = vec![
            text(
                ChunkType::OriginEnvelope,
                four,
                super::layout::ENVELOPE_SIZE as u64,
            )?,
            text(
                ChunkType::DestinationEnvelope,
                five,
                super::layout::ENVELOPE_SIZE as u64,
            )?,
            text(
                ChunkType::CommonHeaders,
                &content.common_headers[..],
                sizes.common_headers,
            )?,
        ];
        if !content.other_headers.is_empty() {
            chunks.push(text(
                ChunkType::OtherHeaders,
                &content.other_headers[..],
                sizes.other_headers,
            )?);
        }
        if sizes.parts.len() != content.parts.len() {
            return Err(Error::Sizes);
        }
        for kind in [ChunkType::Display, ChunkType::Attachment] {
            let parts = content.parts.iter().zip(&sizes.parts);
            for (part, total) in parts.filter(|(part, _)| part.kind == kind) {
                cut(part, *total, &mut chunks)?;
            }
        }
        Ok(Self(chunks))
    }

    pub fn chunks(&self) -> &[Planned<'a>] {
        &self.0
    }

    /// The size field: octets of all chunks.
    pub fn size(&self, suite: Suite) -> Result<u32, Error> {
        let of = |kind: ChunkType, plaintext: usize| kind.chunk_size(plaintext + PAYLOAD_OVERHEAD) as u64;
        let sealed: u64 = self.0.iter().map(|chunk| of(chunk.kind, chunk.plaintext)).sum();
        let size = sealed
            + ChunkType::Keys.chunk_size(keys_payload_size(suite)) as u64
            + of(ChunkType::AuthorSignature, SIGNATURE_SIZE)
            + of(ChunkType::OriginSignature, SIGNATURE_SIZE);
        match u32::try_from(size + HEADER_SIZE as u64) {
            Ok(whole) => Ok(whole - HEADER_SIZE as u32),
            Err(_) => Err(Error::TooLarge),
        }
    }
}

/// Rules H1–H3, M2, M3.
fn check(content: &Content) -> Result<(), Rule> {
    headers::check_common(&content.common_headers)?;
    if !content.other_headers.is_empty() {
        headers::check_other(&content.other_headers)?;
    }
    for part in &content.parts {
        super::rule::demand(part.kind.repeats() && part.body.start <= part.body.end, Rule::M1)?;
        part.head.check_hints(part.body_size())?;
    }
    let of = |kind| -> Vec<RecordHead> {
        let parts = content.parts.iter().filter(|part| part.kind == kind);
        parts.map(|part| part.head).collect()
    };
    check_ordinals(&of(ChunkType::Display), &of(ChunkType::Attachment))
}

fn text<'a>(
    kind: ChunkType,
    data: impl Into<std::borrow::Cow<'a, [u8]>>,
    padded: u64,
) -> Result<Planned<'a>, Error> {
    let data = data.into();
    if data.len() > MAX_DATA {
        return Err(Error::TooLarge);
    }
    let plaintext = usize::try_from(padded).map_err(|_| Error::Sizes)?;
    if !padding::is_bucket(plaintext) || data.len() + PLAINTEXT_HEADER_SIZE > plaintext {
        return Err(Error::Sizes);
    }
    Ok(Planned {
        kind,
        plaintext,
        data: Data::Text(data),
        continues: false,
    })
}

/// Cuts a record into the chunks of a run: data from the front, then padding only.
fn cut(part: &Part, total: u64, chunks: &mut Vec<Planned<'_>>) -> Result<(), Error> {
    let sizes = run_chunks(total);
    if chunks.len() + 3 + sizes.len() > MAX_CHUNKS {
        return Err(Error::TooLarge);
    }
    let last = sizes.len() - 1;
    let mut at = part.body.start;
    for (number, plaintext) in sizes.enumerate() {
        if !padding::is_bucket(plaintext) {
            return Err(Error::Sizes);
        }
        let head = Head((number == 0).then(|| part.head.encode()));
        let room = (plaintext - PLAINTEXT_HEADER_SIZE - head.as_slice().len()) as u64;
        let end = part.body.end.min(at.saturating_add(room));
        chunks.push(Planned {
            kind: part.kind,
            plaintext,
            data: Data::Body { head, range: at..end },
            continues: number != last,
        });
        at = end;
    }
    if at < part.body.end {
        Err(Error::Sizes)
    } else {
        Ok(())
    }
}
