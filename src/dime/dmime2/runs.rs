//! Display and attachment chunks put together to records (`dmime2.md` §7, §16.3): rules K8, M1 and M3.

use std::ops::Range;

use super::layout::ChunkType;
use super::padding::{MAX_DATA, Plain};
use super::record::{RECORD_HEAD_SIZE, RecordHead};
use super::rule::{Refused, Rule, demand};

/// One part of a message: a run of chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// [`ChunkType::Display`] or [`ChunkType::Attachment`].
    pub kind: ChunkType,
    /// Its place in the body.
    pub head: RecordHead,
    /// Octets behind the head.
    pub size: u64,
    first: u32,
    end: u32,
}

impl Record {
    /// Indices of its chunks.
    pub fn chunks(&self) -> Range<u32> {
        self.first..self.end
    }
}

/// Takes the chunks of both types in their order.
#[derive(Debug, Default)]
pub(super) struct Runs {
    done: Vec<Record>,
    open: Option<Run>,
}

#[derive(Debug)]
struct Run {
    record: Record,
    /// A chunk was not full of data, so no more may come.
    is_ended: bool,
}

impl Runs {
    /// Adds the next chunk, opened.
    pub fn push(&mut self, index: u32, kind: ChunkType, plain: Plain<'_>) -> Result<(), Rule> {
        let mut run = match self.open.take() {
            Some(run) => run.continued(kind, plain)?,
            None => Run::start(index, kind, plain)?,
        };
        run.record.end = index + 1;
        run.is_ended |= plain.data.len() < MAX_DATA;
        if plain.continues {
            self.open = Some(run);
        } else {
            run.record.head.check_hints(run.record.size)?;
            self.done.push(run.record);
        }
        Ok(())
    }

    /// All records, none of them cut off.
    pub fn finish(self) -> Result<Vec<Record>, Refused> {
        match self.open {
            None => Ok(self.done),
            Some(run) => Err(Rule::K8
                .in_chunk(run.record.end - 1)
                .of_type(run.record.kind.id())),
        }
    }
}

impl Run {
    /// The head is in the first chunk: if that is not full, no more data follow.
    fn start(index: u32, kind: ChunkType, plain: Plain<'_>) -> Result<Self, Rule> {
        Ok(Self {
            record: Record {
                kind,
                head: RecordHead::decode(plain.data)?,
                size: (plain.data.len() - RECORD_HEAD_SIZE) as u64,
                first: index,
                end: index,
            },
            is_ended: false,
        })
    }

    fn continued(mut self, kind: ChunkType, plain: Plain<'_>) -> Result<Self, Rule> {
        let fits = self.record.kind == kind && (!self.is_ended || plain.data.is_empty());
        demand(fits, Rule::K8)?;
        self.record.size += plain.data.len() as u64;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plain(data: &[u8], continues: bool) -> Plain<'_> {
        Plain { data, continues }
    }

    fn runs(chunks: &[(ChunkType, usize, bool)]) -> Result<Vec<(u64, Range<u32>)>, Rule> {
        // Ordinal 0 of 1.
        let mut data = vec![0; MAX_DATA];
        data[3] = 1;
        let mut runs = Runs::default();
        for (index, (kind, n, continues)) in chunks.iter().enumerate() {
            runs.push(index as u32, *kind, plain(&data[..*n], *continues))?;
        }
        let records = runs.finish().map_err(|refused| refused.rule())?;
        Ok(records
            .iter()
            .map(|record| (record.size, record.chunks()))
            .collect())
    }

    #[test]
    fn a_run_is_one_record() {
        use ChunkType::{Attachment, Display};
        let whole = runs(&[
            (Display, MAX_DATA, true),
            (Display, 5, true),
            (Display, 0, false),
            (Attachment, 12, false),
        ]);
        assert_eq!(whole.unwrap(), [(MAX_DATA as u64 - 12 + 5, 0..3), (0, 3..4)]);
    }

    #[test]
    fn faults_of_a_run_have_their_rules() {
        use ChunkType::{Attachment, Display};
        let unterminated = runs(&[(Display, MAX_DATA, true)]);
        assert_eq!(unterminated, Err(Rule::K8));
        let across_types = runs(&[(Display, MAX_DATA, true), (Attachment, 20, false)]);
        assert_eq!(across_types, Err(Rule::K8));
        let data_after_end = runs(&[(Display, 20, true), (Display, 1, false)]);
        assert_eq!(data_after_end, Err(Rule::K8));
        assert_eq!(runs(&[(Display, 11, false)]), Err(Rule::M1));
    }
}
