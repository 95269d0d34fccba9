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
use super::header::{
    Canonical, append_common, canonicalize, find, is_allowed_char, is_canonical_common, is_canonical_other,
    restore, split, split_lines, trim,
};
use super::leaves::find_leaves;
use crate::base::encoding::{base64, hex};
use crate::dime::dmime1::Content;
use crate::dime::dmime1::metadata::labelled;
use crate::dime::dmime1::padding::MAX_DATA;

/// The display chunk of a message without text.
const NO_TEXT: &[u8] = b"(This message has no text part.)\r\n";
const SPLICE: &[u8] = b"DIME-Splice: ";
const LINE_SIZE: usize = 76;

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

pub(super) fn map(mime: &Bytes) -> Result<Content, Error> {
    let (header_end, body_start) = split(mime);
    let Canonical { common, other } = canonicalize(&mime[..header_end])?;
    let body = mime.slice(body_start..);
    let shown = shown(&body, &restore(&common, &other));
    let attachment = attachment(&body, shown.as_ref());
    let display = shown.map_or(Bytes::from_static(NO_TEXT), |range| body.slice(range));
    let fits = |data: &[u8]| data.len() <= MAX_DATA;
    if !(fits(&common) && fits(&other) && fits(&display) && attachment.iter().all(|data| fits(data))) {
        return Err(Error::TooLarge);
    }
    Ok(Content {
        common_headers: common.into(),
        other_headers: other.into(),
        display: vec![display],
        attachments: attachment.into_iter().map(Bytes::from).collect(),
    })
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
fn shown(body: &[u8], block: &[u8]) -> Option<Range<usize>> {
    let leaves = find_leaves(body, block);
    let text = || leaves.iter().filter(|leaf| leaf.is_text && !leaf.body.is_empty());
    let leaf = text().find(|leaf| leaf.is_plain).or_else(|| text().next())?;
    Some(leaf.body.clone())
}

/// The attachment chunk for a body of which `shown` is in the display chunk; `None` if nothing is left.
fn attachment(body: &[u8], shown: Option<&Range<usize>>) -> Option<Vec<u8>> {
    let (place, before, after) = match shown {
        Some(range) if *range == (0..body.len()) => return None,
        Some(range) => (range.start.to_string(), &body[..range.start], &body[range.end..]),
        None => ("none".into(), body, &body[..0]),
    };
    Some([SPLICE, place.as_bytes(), b"\r\n\r\n", before, after].concat())
}

/// The message this content was mapped from, unless one of the conditions of F1 holds.
fn mapped(content: &Content) -> Option<Vec<u8>> {
    if !is_canonical_common(&content.common_headers) || !is_canonical_other(&content.other_headers) {
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
    let rest = attachment.strip_prefix(SPLICE)?;
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
fn is_canonical(content: &Content, body: &[u8], block: &[u8], claimed: Option<Range<usize>>) -> bool {
    let found = shown(body, block);
    let fits = content
        .display
        .iter()
        .chain(&content.attachments)
        .all(|data| data.len() <= MAX_DATA);
    let same_count = attachment_is_needed(body, found.as_ref()) != content.attachments.is_empty();
    found == claimed && fits && same_count
}

fn attachment_is_needed(body: &[u8], shown: Option<&Range<usize>>) -> bool {
    shown != Some(&(0..body.len()))
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
        text.extend(
            chunk
                .valid()
                .chars()
                .map(|c| if is_allowed_char(c) { c } else { '?' }),
        );
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// Base64 in lines of 76 characters, each ending in CRLF.
pub(super) fn append_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() / 3 * 4 + data.len() / 28 + 8);
    for line in data.chunks(LINE_SIZE / 4 * 3) {
        out.extend_from_slice(base64(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
