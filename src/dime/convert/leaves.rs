//! Finds the leaves of a MIME body (`dmime2.md` §16.4).
//!
//! Deterministic, so that writers agree, and the same for a body in memory and one that is read in pieces. Each level of
//! nesting looks at the octets of its multiparts once, so the work is at most depth × size; memory is the boundaries of one
//! path down the tree and the leaves found.
//!
//! Of a part's header block, however long, only the first [`MAX_PART_HEADER`] octets are read, as if it ended there: a type
//! that stands further down is not seen, and the part counts as text/plain. That may change which leaves there are;
//! joining is concatenation and does not depend on it.

use std::ops::Range;

use memchr::memmem::Finder;

use super::media::Entity;
use super::octets::{MAX_WANTED, Octets};

/// More leaves than this, and the root is the only one.
pub(super) const MAX_LEAVES: usize = 512;
/// A multipart this deep is a leaf.
const MAX_DEPTH: usize = 8;
/// Octets of a part's header block that are read.
pub(super) const MAX_PART_HEADER: usize = MAX_WANTED;

/// One leaf; ranges are within the octets that were searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The part: its own header block, empty line and content. Of the root, whose header is the outer one, just the body.
    pub whole: Range<u64>,
    /// The part's own content.
    pub body: Range<u64>,
    /// Text that is not an attachment.
    pub is_text: bool,
    /// Whether the type is exactly text/plain.
    pub is_plain: bool,
}

/// The leaves of `body` in document order; `block` is the outer header block. At least one, at most 512.
pub(super) fn find_leaves<S: Octets>(
    octets: &mut S,
    body: Range<u64>,
    block: &[u8],
) -> Result<Vec<Leaf>, S::Error> {
    let root = Found {
        whole: body.clone(),
        body,
        entity: Entity::of(block),
    };
    let alone = root.leaf();
    let mut search = Search {
        octets,
        leaves: Vec::new(),
    };
    search.visit(root, 0)?;
    Ok(match search.leaves.len() {
        0..=MAX_LEAVES => search.leaves,
        _ => vec![alone],
    })
}

struct Search<'a, S> {
    octets: &'a mut S,
    leaves: Vec<Leaf>,
}

/// An entity that was found and not looked into.
struct Found {
    whole: Range<u64>,
    body: Range<u64>,
    entity: Entity,
}

impl Found {
    fn leaf(&self) -> Leaf {
        Leaf {
            whole: self.whole.clone(),
            body: self.body.clone(),
            is_text: self.entity.is_text,
            is_plain: self.entity.is_plain,
        }
    }
}

impl<S: Octets> Search<'_, S> {
    /// Adds the leaves of an entity; stops once there are too many.
    fn visit(&mut self, found: Found, depth: usize) -> Result<(), S::Error> {
        let before = self.leaves.len();
        if let Some(boundary) = found.entity.boundary.as_ref().filter(|_| depth < MAX_DEPTH) {
            let mut parts = Parts::new(found.body.clone(), boundary);
            while let Some(part) = parts.next(self.octets)? {
                let part = self.part(part)?;
                self.visit(part, depth + 1)?;
                if self.leaves.len() > MAX_LEAVES {
                    return Ok(());
                }
            }
        }
        if self.leaves.len() == before {
            self.leaves.push(found.leaf());
        }
        Ok(())
    }

    /// Separates header and body of a part as those of a message (§16.1), and reads the header.
    fn part(&mut self, whole: Range<u64>) -> Result<Found, S::Error> {
        let (header_end, body_start) = split(self.octets, whole.clone())?;
        let header = whole.start..header_end.min(whole.start + MAX_PART_HEADER as u64);
        let entity = Entity::of(self.octets.clipped(header, MAX_PART_HEADER)?);
        Ok(Found {
            body: body_start..whole.end,
            whole,
            entity,
        })
    }
}

/// Where the header block of an entity ends, line end of its last field included, and where its body starts.
pub(super) fn split<S: Octets>(octets: &mut S, whole: Range<u64>) -> Result<(u64, u64), S::Error> {
    if octets.starts_with(whole.clone(), b"\r\n")? {
        return Ok((whole.start, whole.start + 2));
    }
    let end = octets.find(whole.clone(), &Finder::new(b"\r\n\r\n"))?;
    Ok(end.map_or((whole.end, whole.end), |end| (end + 2, end + 4)))
}

/// The parts between the delimiter lines of a multipart, found one after the other.
struct Parts {
    range: Range<u64>,
    /// For CRLF `--` boundary.
    finder: Finder<'static>,
    /// Where the next line is looked for; nothing before the start of the range has been looked at.
    at: Option<u64>,
    /// Where the part begins whose end is not known.
    open: Option<u64>,
    closed: bool,
}

/// A delimiter line: from its dashes to behind its line end.
struct Delimiter {
    start: u64,
    end: u64,
    closes: bool,
}

impl Parts {
    fn new(range: Range<u64>, boundary: &[u8]) -> Self {
        Self {
            range,
            finder: Finder::new(&[b"\r\n--", boundary].concat()).into_owned(),
            at: None,
            open: None,
            closed: false,
        }
    }

    fn next<S: Octets>(&mut self, octets: &mut S) -> Result<Option<Range<u64>>, S::Error> {
        while !self.closed {
            let Some(delimiter) = self.delimiter(octets)? else {
                self.closed = true;
                return Ok(self.open.take().map(|start| start..self.range.end));
            };
            // The line end before the delimiter belongs to it.
            let part = self
                .open
                .take()
                .map(|start| start..start.max(delimiter.start.saturating_sub(2)));
            self.closed = delimiter.closes;
            self.open = Some(delimiter.end);
            if part.is_some() {
                return Ok(part);
            }
        }
        Ok(None)
    }

    fn delimiter<S: Octets>(&mut self, octets: &mut S) -> Result<Option<Delimiter>, S::Error> {
        while let Some(start) = self.candidate(octets)? {
            if let Some(delimiter) = self.delimiter_at(start, octets)? {
                return Ok(Some(delimiter));
            }
        }
        Ok(None)
    }

    /// The start of the next line that starts like a delimiter line.
    fn candidate<S: Octets>(&mut self, octets: &mut S) -> Result<Option<u64>, S::Error> {
        let at = match self.at {
            Some(at) => at,
            None => {
                self.at = Some(self.range.start);
                if octets.starts_with(self.range.clone(), &self.finder.needle()[2..])? {
                    return Ok(Some(self.range.start));
                }
                self.range.start
            }
        };
        let found = octets.find(at..self.range.end, &self.finder)?;
        let start = found.map(|line_end| line_end + 2);
        self.at = start.or(Some(self.range.end));
        Ok(start)
    }

    /// Reads the line at `start`, which starts like a delimiter line.
    fn delimiter_at<S: Octets>(&self, start: u64, octets: &mut S) -> Result<Option<Delimiter>, S::Error> {
        let end = self.range.end;
        let mut at = start + self.finder.needle().len() as u64 - 2;
        let closes = octets.starts_with(at..end, b"--")?;
        at = octets.skip_blanks(at + if closes { 2 } else { 0 }..end)?;
        let ends = at == end || octets.starts_with(at..end, b"\r\n")?;
        Ok(ends.then(|| Delimiter {
            start,
            end: (at + 2).min(end),
            closes,
        }))
    }
}
