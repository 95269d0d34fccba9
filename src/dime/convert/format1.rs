//! The mapping of D/MIME 1 (`dmime2.md` §16.5): one display chunk with the text, at most one attachment chunk with
//! everything around it.
//!
//! ```text
//! display     the body of the first text/plain leaf, or else of the first text leaf
//! attachment  DIME-Splice: OFFSET CRLF CRLF, then the body of the message without the display octets
//! ```

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest, Sha512};

use super::Error;
use super::front::{Front, read_front};
use super::header::{Canonical, append_common, find, restore, split_lines, trim};
use super::leaves::find_leaves;
use super::octets::Octets;
use crate::base::encoding::{base64, hex};
use crate::dime::dmime1::Content;
use crate::dime::dmime1::metadata::labelled;
use crate::dime::dmime1::padding::MAX_DATA;
use crate::dime::dmime2::headers::{check_common, check_other, is_allowed};

/// The display chunk of a message without text.
const NO_TEXT: &[u8] = b"(This message has no text part.)\r\n";
const SPLICE: &str = "DIME-Splice: ";
/// Octets that fill a line of 76 characters in base64.
pub(super) const LINE_OCTETS: usize = 57;

/// How content became a MIME message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By this mapping: the sender's body, octet for octet.
    Mapped,
    /// As a multipart message around chunks that other software made (rule F1).
    Foreign,
}

/// A MIME message made of content.
#[derive(Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Header block, empty line, body.
    pub mime: Vec<u8>,
    /// Which way it was made.
    pub how: How,
}

/// Shows no content.
impl std::fmt::Debug for Rebuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rebuilt")
            .field("how", &self.how)
            .field("size_bytes", &self.mime.len())
            .finish_non_exhaustive()
    }
}

/// What goes where, before anything is copied.
struct Plan {
    canonical: Canonical,
    body: Range<u64>,
    /// Which octets of the message the display chunk holds.
    shown: Option<Range<u64>>,
    /// The first lines of the attachment; `None` if nothing is left for one.
    splice: Option<String>,
}

pub(super) fn map(mime: &Bytes) -> Result<Content, Error> {
    let plan = plan(&mut &mime[..])?;
    let attachment = plan.splice.as_deref().map(|splice| {
        let (before, after) = plan.around();
        Bytes::from(
            [
                splice.as_bytes(),
                &mime[in_memory(&before)],
                &mime[in_memory(&after)],
            ]
            .concat(),
        )
    });
    let display = plan
        .shown
        .map_or(Bytes::from_static(NO_TEXT), |range| mime.slice(in_memory(&range)));
    Ok(Content {
        common_headers: plan.canonical.common.into(),
        other_headers: plan.canonical.other.into(),
        display: vec![display],
        attachments: attachment.into_iter().collect(),
    })
}

/// Whether a message can be mapped: rules C, and F2.
pub(super) fn check<S: Octets>(octets: &mut S) -> Result<(), Error>
where
    Error: From<S::Error>,
{
    plan(octets).map(drop)
}

/// Decides what goes where; refuses what does not fit.
fn plan<S: Octets>(octets: &mut S) -> Result<Plan, Error>
where
    Error: From<S::Error>,
{
    let Front { canonical, body } = read_front(octets)?;
    let block = restore(&canonical.common, &canonical.other);
    let shown = shown(octets, body.clone(), &block)?;
    let splice = splice(&body, shown.as_ref());
    let plan = Plan {
        canonical,
        body,
        shown,
        splice,
    };
    match plan.fits() {
        true => Ok(plan),
        false => Err(Error::TooLarge),
    }
}

impl Plan {
    /// What of the body stands before the display octets, and what after them.
    fn around(&self) -> (Range<u64>, Range<u64>) {
        let Range { start, end } = self.body;
        match &self.shown {
            Some(shown) => (start..shown.start, shown.end..end),
            None => (start..end, end..end),
        }
    }

    /// Rule F2 for all chunks.
    fn fits(&self) -> bool {
        let (before, after) = self.around();
        let display = self.shown.as_ref().map_or(NO_TEXT.len() as u64, size);
        let splice = self.splice.as_ref().map_or(0, String::len) as u64;
        let headers = [&self.canonical.common, &self.canonical.other].map(|data| data.len() as u64);
        [display, splice + size(&before) + size(&after)]
            .into_iter()
            .chain(headers)
            .all(|size| size <= MAX_DATA as u64)
    }
}

fn size(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// A range of octets that are in memory.
fn in_memory(range: &Range<u64>) -> Range<usize> {
    let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
    start..end
}

pub(super) fn rebuild(content: &Content) -> Rebuilt {
    match mapped(content) {
        Some(mime) => Rebuilt {
            mime,
            how: How::Mapped,
        },
        None => Rebuilt {
            mime: foreign(content),
            how: How::Foreign,
        },
    }
}

/// Which octets of the body the display chunk holds.
fn shown<S: Octets>(octets: &mut S, body: Range<u64>, block: &[u8]) -> Result<Option<Range<u64>>, S::Error> {
    let leaves = find_leaves(octets, body, block)?;
    let text = || leaves.iter().filter(|leaf| leaf.is_text && !leaf.body.is_empty());
    let leaf = text().find(|leaf| leaf.is_plain).or_else(|| text().next());
    Ok(leaf.map(|leaf| leaf.body.clone()))
}

/// The first lines of the attachment chunk; `None` if nothing is left for one.
fn splice(body: &Range<u64>, shown: Option<&Range<u64>>) -> Option<String> {
    let place = match shown {
        Some(shown) if shown == body => return None,
        Some(shown) => (shown.start - body.start).to_string(),
        None => "none".into(),
    };
    Some(format!("{SPLICE}{place}\r\n\r\n"))
}

/// The message this content was mapped from, unless one of the conditions of F1 holds.
fn mapped(content: &Content) -> Option<Vec<u8>> {
    if check_common(&content.common_headers).is_err() || check_other(&content.other_headers).is_err() {
        return None;
    }
    let [display] = content.display.as_slice() else {
        return None;
    };
    let (around, shown) = match content.attachments.as_slice() {
        [] => (&b""[..], Some(0..display.len())),
        [attachment] => spliced(attachment, display)?,
        _ => return None,
    };
    let mut mime = restore(&content.common_headers, &content.other_headers);
    let block_end = mime.len();
    mime.extend_from_slice(b"\r\n");
    let body_start = mime.len();
    let place = shown.as_ref().map_or(around.len(), |range| range.start);
    mime.extend_from_slice(&around[..place]);
    if shown.is_some() {
        mime.extend_from_slice(display);
    }
    mime.extend_from_slice(&around[place..]);
    is_canonical(content, &mime[body_start..], &mime[..block_end], shown).then_some(mime)
}

/// What stands around the display octets, and where those belong in the body; `None` if the first line is not ours.
fn spliced<'a>(attachment: &'a [u8], display: &[u8]) -> Option<(&'a [u8], Option<Range<usize>>)> {
    let rest = attachment.strip_prefix(SPLICE.as_bytes())?;
    let end = find(&rest[..rest.len().min(32)], b"\r\n\r\n")?;
    let (place, around) = (&rest[..end], &rest[end + 4..]);
    if place == b"none" {
        return (display == NO_TEXT).then_some((around, None));
    }
    let offset: usize = std::str::from_utf8(place).ok()?.parse().ok()?;
    let plain = offset.to_string().as_bytes() == place && offset <= around.len();
    plain.then(|| (around, Some(offset..offset + display.len())))
}

/// Whether mapping the rebuilt message gives the same chunks: otherwise two readers could see different texts.
fn is_canonical(content: &Content, mut body: &[u8], block: &[u8], claimed: Option<Range<usize>>) -> bool {
    let whole = 0..body.len() as u64;
    let Ok(found) = shown(&mut body, whole.clone(), block);
    let fits = content
        .display
        .iter()
        .chain(&content.attachments)
        .all(|data| data.len() <= MAX_DATA);
    let needs_attachment = found.as_ref() != Some(&whole);
    found.as_ref().map(in_memory) == claimed && fits && needs_attachment != content.attachments.is_empty()
}

/// A multipart message around the chunks of other software (F1).
fn foreign(content: &Content) -> Vec<u8> {
    let boundary = boundary(content);
    let mut mime = foreign_common(&content.common_headers);
    let head = format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n");
    mime.extend_from_slice(head.as_bytes());
    let mut part = |header: &str, data: &[u8]| {
        let head = format!("--{boundary}\r\nContent-Type: {header}\r\n\r\n");
        mime.extend_from_slice(head.as_bytes());
        append_base64(&mut mime, data);
    };
    for display in &content.display {
        part(
            "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64",
            display,
        );
    }
    for (number, attachment) in (1..).zip(&content.attachments) {
        part(&file(&format!("attachment-{number}.bin")), attachment);
    }
    part(&file("other-headers.txt"), &content.other_headers);
    mime.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    mime
}

fn file(name: &str) -> String {
    format!(
        "application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}\""
    )
}

fn boundary(content: &Content) -> String {
    let mut hash = Sha512::new();
    let headers = [&content.common_headers, &content.other_headers];
    for data in headers
        .into_iter()
        .chain(&content.display)
        .chain(&content.attachments)
    {
        hash.update(data);
    }
    format!("dime-{}", &hex(&hash.finalize())[..32])
}

/// The common headers read leniently and written in their order.
fn foreign_common(data: &[u8]) -> Vec<u8> {
    let mut values: [Option<Vec<u8>>; 6] = Default::default();
    for (place, value) in split_lines(data).filter_map(labelled) {
        values[place].get_or_insert_with(|| trim(sanitized(value).as_bytes()).to_vec());
    }
    let mut block = Vec::new();
    for (place, value) in values.iter().enumerate() {
        append_common(&mut block, place, value.as_deref().unwrap_or_default());
    }
    block
}

/// One `?` for each forbidden character and for each maximal piece of malformed UTF-8.
fn sanitized(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| if is_allowed(c) { c } else { '?' }));
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// Base64 in lines of 76 characters, each ending in CRLF.
pub(super) fn append_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() / 3 * 4 + data.len() / 28 + 8);
    for line in data.chunks(LINE_OCTETS) {
        out.extend_from_slice(base64(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Octets of such lines for so many octets of data.
pub(super) fn base64_lines_size(octets: u64) -> u64 {
    octets.div_ceil(3) * 4 + octets.div_ceil(LINE_OCTETS as u64) * 2
}
