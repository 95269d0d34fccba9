//! Finds the leaves of a MIME body (`dmime2.md` §16.4).
//!
//! Deterministic, so that writers agree; bounded in depth and number, and linear in the size at each level.

use std::ops::Range;

use super::header::{find, first_value, is_blank, moved, split};

/// More leaves than this, and the root is the only one.
const MAX_LEAVES: usize = 512;
/// A multipart this deep is a leaf.
const MAX_DEPTH: usize = 8;
const MAX_BOUNDARY: usize = 70;

/// One leaf; ranges are within the body of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The part's own content.
    pub body: Range<usize>,
    /// Text that is not an attachment.
    pub is_text: bool,
    /// Whether the type is exactly text/plain.
    pub is_plain: bool,
}

/// The leaves of `body` in document order; `block` is the outer header block. At least one.
pub(super) fn find_leaves(body: &[u8], block: &[u8]) -> Vec<Leaf> {
    let mut search = Search {
        body,
        found: Vec::new(),
    };
    search.visit(0..body.len(), block, 0);
    if search.found.is_empty() || search.found.len() > MAX_LEAVES {
        return vec![leaf(0..body.len(), block)];
    }
    search.found
}

struct Search<'a> {
    body: &'a [u8],
    found: Vec<Leaf>,
}

impl Search<'_> {
    /// Adds the leaves of an entity; stops adding once there are too many.
    fn visit(&mut self, range: Range<usize>, block: &[u8], depth: usize) {
        let before = self.found.len();
        if let Some(boundary) = usable_boundary(block).filter(|_| depth < MAX_DEPTH) {
            let room = MAX_LEAVES + 1 - before.min(MAX_LEAVES + 1);
            for part in parts(self.body, range.clone(), &boundary, room) {
                if self.found.len() > MAX_LEAVES {
                    return;
                }
                let octets = &self.body[part.clone()];
                let (header_end, body_start) = split(octets);
                let inner = moved(body_start..octets.len(), part.start);
                self.visit(inner, &octets[..header_end], depth + 1);
            }
        }
        if self.found.len() == before {
            self.found.push(leaf(range, block));
        }
    }
}

fn leaf(body: Range<usize>, block: &[u8]) -> Leaf {
    let media_type = media_type(block);
    let is_text = media_type.starts_with("text/") && !is_attachment(block);
    Leaf {
        body,
        is_text,
        is_plain: media_type == "text/plain",
    }
}

/// The media type in lower case: text/plain without a field, application/octet-stream for a malformed one.
fn media_type(block: &[u8]) -> String {
    let Some(value) = first_value(block, "Content-Type") else {
        return "text/plain".into();
    };
    let (main, rest) = token(&value);
    let sub = rest.strip_prefix(b"/").map_or(&b""[..], |rest| token(rest).0);
    if main.is_empty() || sub.is_empty() {
        return "application/octet-stream".into();
    }
    let text = |octets| String::from_utf8_lossy(octets).to_ascii_lowercase();
    format!("{}/{}", text(main), text(sub))
}

fn is_attachment(block: &[u8]) -> bool {
    first_value(block, "Content-Disposition")
        .is_some_and(|value| token(&value).0.eq_ignore_ascii_case(b"attachment"))
}

/// The boundary of a multipart, if it has a usable one.
fn usable_boundary(block: &[u8]) -> Option<Vec<u8>> {
    if !media_type(block).starts_with("multipart/") {
        return None;
    }
    let value = first_value(block, "Content-Type")?;
    let boundary = boundary_parameter(&value)?;
    let usable = (1..=MAX_BOUNDARY).contains(&boundary.len()) && boundary.last() != Some(&b' ');
    usable.then_some(boundary)
}

/// The first `; boundary=` followed by a token or a quoted string, whatever stands before it.
fn boundary_parameter(value: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"boundary=";
    let places = value.iter().enumerate().filter(|(_, octet)| **octet == b';');
    places.map(|(place, _)| &value[place + 1..]).find_map(|rest| {
        let blanks = rest.iter().take_while(|octet| is_blank(**octet)).count();
        let (name, rest) = rest[blanks..].split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        match rest.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted),
            None => Some(token(rest).0.to_vec()).filter(|token| !token.is_empty()),
        }
    })
}

/// The content up to the closing quote, escapes removed.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let mut octets = quoted.iter();
    loop {
        match octets.next()? {
            b'"' => return Some(content),
            b'\\' => content.push(*octets.next()?),
            other => content.push(*other),
        }
    }
}

/// The longest token at the front (RFC 2045 §5.1), and the rest.
fn token(octets: &[u8]) -> (&[u8], &[u8]) {
    let length = octets
        .iter()
        .take_while(|octet| matches!(octet, 0x21..=0x7e) && !b"()<>@,;:\\\"/[]?=".contains(octet))
        .count();
    octets.split_at(length)
}

/// The parts between delimiter lines, at most `room` of them.
fn parts(body: &[u8], range: Range<usize>, boundary: &[u8], room: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    for delimiter in delimiters(body, range.clone(), boundary) {
        if let Some(start) = open.take() {
            parts.push(start..start.max(delimiter.start.saturating_sub(2)));
        }
        if delimiter.closes || parts.len() == room {
            return parts;
        }
        open = Some(delimiter.end);
    }
    parts.extend(open.map(|start| start..range.end));
    parts
}

struct Delimiter {
    start: usize,
    end: usize,
    closes: bool,
}

fn delimiters(body: &[u8], range: Range<usize>, boundary: &[u8]) -> impl Iterator<Item = Delimiter> {
    let mut next = Some(range.start);
    std::iter::from_fn(move || {
        while let Some(start) = next {
            next = find(&body[start..range.end], b"\r\n").map(|place| start + place + 2);
            if let Some(delimiter) = delimiter_at(body, start, range.end, boundary) {
                return Some(delimiter);
            }
        }
        None
    })
}

/// Reads the line at `start` as a delimiter line.
fn delimiter_at(body: &[u8], start: usize, end: usize, boundary: &[u8]) -> Option<Delimiter> {
    let rest = body[start..end].strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, closes) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let blanks = rest.iter().take_while(|octet| is_blank(**octet)).count();
    let rest = &rest[blanks..];
    let line_end = match rest {
        [] => 0,
        [b'\r', b'\n', ..] => 2,
        _ => return None,
    };
    Some(Delimiter {
        start,
        end: end - rest.len() + line_end,
        closes,
    })
}
