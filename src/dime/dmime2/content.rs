//! The content of a verified message: one pass checks all of it, a second one writes it (`dmime2.md` §10.4 step 9).
//!
//! Nothing leaves before every chunk has opened and every rule K, H and M holds, and no pass holds more than one chunk.

use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};

use zeroize::Zeroizing;

use super::headers;
use super::layout::ChunkType;
use super::outline::ChunkEntry;
use super::padding::Plain;
use super::reader::Verified;
use super::record::{RECORD_HEAD_SIZE, RecordHead, check_ordinals};
use super::rule::{Error, Rule};
use super::runs::{Record, Runs};

/// A message whose content has been checked as a whole.
pub struct Opened {
    verified: Verified,
    /// Data of chunk 33.
    pub common_headers: Vec<u8>,
    /// Data of chunk 34; empty if there is none.
    pub other_headers: Vec<u8>,
    records: Vec<Record>,
}

impl Verified {
    /// Opens all of the content and checks it: rules K2–K8, H1–H3, M1–M3. One pass.
    ///
    /// `source` holds the object that the outline was read from, from position 0 on.
    pub fn open(self, source: impl Read + Seek) -> Result<Opened, Error> {
        let mut chunks = Chunks::new(&self, source);
        let (mut common, mut other, mut runs) = (Vec::new(), Vec::new(), Runs::default());
        for (index, entry) in self.outline().content() {
            let plain = chunks.open(index, entry)?;
            let broken = |rule: Rule| rule.in_chunk(index).of_type(entry.kind.id());
            match entry.kind {
                ChunkType::CommonHeaders => {
                    headers::check_common(plain.data).map_err(broken)?;
                    common = plain.data.to_vec();
                }
                ChunkType::OtherHeaders => {
                    headers::check_other(plain.data).map_err(broken)?;
                    other = plain.data.to_vec();
                }
                kind => runs.push(index, kind, plain).map_err(broken)?,
            }
        }
        let mut records = runs.finish()?;
        check_all(&records)?;
        records.sort_by_key(|record| record.head.ordinal);
        Ok(Opened {
            verified: self,
            common_headers: common,
            other_headers: other,
            records,
        })
    }
}

/// Rule M2 for all records of a message.
pub(super) fn check_all(records: &[Record]) -> Result<(), Rule> {
    let of = |kind| -> Vec<RecordHead> {
        let records = records.iter().filter(|record| record.kind == kind);
        records.map(|record| record.head).collect()
    };
    check_ordinals(&of(ChunkType::Display), &of(ChunkType::Attachment))
}

impl Opened {
    /// The message that was opened, with its verified names.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The records in order of their ordinals.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Octets of the joined body.
    pub fn body_size(&self) -> u64 {
        self.records.iter().map(|record| record.size).sum()
    }

    /// Decrypts again and writes the octets of all records in order of their ordinals, which is the body (§16.3).
    pub fn write_body(&self, mut source: impl Read + Seek, mut out: impl Write) -> Result<(), Error> {
        for record in &self.records {
            self.write_record(record, &mut source, &mut out)?;
        }
        Ok(())
    }

    /// As [`write_body`](Self::write_body) for one of [`records`](Self::records).
    pub fn write_record(
        &self,
        record: &Record,
        source: impl Read + Seek,
        mut out: impl Write,
    ) -> Result<(), Error> {
        let mut chunks = Chunks::new(&self.verified, source);
        let mut head = RECORD_HEAD_SIZE;
        for index in record.chunks() {
            let entry = self.verified.outline().chunks()[index as usize];
            let plain = chunks.open(index, entry)?;
            // Only a source that changed since it was checked has fewer octets in the first chunk.
            out.write_all(plain.data.get(head..).ok_or(Rule::M1)?)?;
            head = 0;
        }
        Ok(())
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} records)", self.records.len())
    }
}

/// Reads and opens chunks of a source one at a time.
///
/// They are not hashed again. A chunk that opens was made by the author for its place in this message: nobody else but
/// the reader knows the key of the reader's slot, and all keys are bound to the envelope. So a source that has changed
/// since the outline was read breaks a rule K, unless the author itself changed it, who could have signed that as well.
struct Chunks<'a, R> {
    verified: &'a Verified,
    source: R,
    /// Where the source stands, if known.
    position: Option<u64>,
    buffer: Zeroizing<Vec<u8>>,
}

impl<'a, R: Read + Seek> Chunks<'a, R> {
    fn new(verified: &'a Verified, source: R) -> Self {
        Self {
            verified,
            source,
            position: None,
            buffer: Zeroizing::new(Vec::new()),
        }
    }

    fn open(&mut self, index: u32, entry: ChunkEntry) -> Result<Plain<'_>, Error> {
        if self.position != Some(entry.offset) {
            self.source.seek(SeekFrom::Start(entry.offset))?;
        }
        self.position = None;
        self.buffer.resize(entry.size, 0);
        self.source.read_exact(&mut self.buffer)?;
        self.position = Some(entry.offset + entry.size as u64);
        let skeleton = self.verified.outline().skeleton();
        let access = self.verified.access();
        Ok(access.open(skeleton, entry.kind, index, &mut self.buffer)?)
    }
}
