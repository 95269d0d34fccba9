//! A message for a host that cannot take it as it is: content of eight bits, or lines that are too long, go in an encoding
//! of MIME (RFC 6152 §3, RFC 2045 §6). Parts that need nothing stay as they are, octet for octet.

use super::headers::{self, Field};
use crate::base::encoding::{base64, base64_decode};

/// The longest line of a message, without its line end (RFC 5322 §2.1.1).
pub const MAX_LINE: usize = 998;

/// Parts inside parts inside parts: more is no mail.
const MAX_DEPTH: usize = 20;

/// What a part is that does not say so.
const TEXT: &str = "text/plain";
const MESSAGE: &str = "message/rfc822";

/// Columns of an encoded line, and octets that fill one in base64.
const COLUMNS: usize = 76;
const LINE_OCTETS: usize = COLUMNS / 4 * 3;

/// What the next host cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Octets above 127, nor lines of more than [`MAX_LINE`] octets.
    SevenBit,
    /// Lines of more than [`MAX_LINE`] octets.
    Lines,
}

/// Why a message cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A header is no text of seven bits, and nothing can be encoded there without knowing what it means.
    #[error("a header field has octets above 127")]
    Header,
    /// What is signed or encrypted would be something else afterwards.
    #[error("a part that is signed or encrypted has octets above 127")]
    Sealed,
    /// A type of MIME that may not be encoded, an encoding that is not kept to, or too much inside each other.
    #[error("a part has octets above 127 where none may be")]
    Structure,
}

/// Converts a whole message; its lines end in CRLF.
///
/// Lines that are too long stay where they cannot be broken up. Errors: see [`Error`], for octets above 127 alone.
pub fn convert(message: &[u8], limit: Limit) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8);
    Converter { limit }.entity(message, Place::Top, &mut out)?;
    Ok(out)
}

/// Whether any header of the message or of a part in it, however deep, has octets above 127: such mail is for hosts with
/// SMTPUTF8 alone (RFC 6532 §3).
pub fn has_international_headers(message: &[u8]) -> bool {
    entity_has_international_headers(message, TEXT, 0)
}

fn entity_has_international_headers(entity: &[u8], default: &str, depth: usize) -> bool {
    let split = headers::split(entity);
    if !split.block.is_ascii() || (depth > MAX_DEPTH && !split.rest.is_ascii()) {
        return true;
    }
    if split.rest.is_ascii() {
        return false;
    }
    let kind = Kind::of(split.block, default);
    let inside = |entity: &[u8], default| entity_has_international_headers(entity, default, depth + 1);
    match kind.boundary() {
        Some(boundary) => Pieces::of(after_blank(split.rest), &boundary).any(|piece| match piece {
            Piece::Part(part) => inside(part, kind.default_of_parts()),
            Piece::Around(_) | Piece::Delimiter(_) => false,
        }),
        None if kind.media == MESSAGE || kind.media == "message/global" => {
            inside(after_blank(split.rest), TEXT)
        }
        None => false,
    }
}

/// The body behind a header block: without the empty line, if there is one.
fn after_blank(rest: &[u8]) -> &[u8] {
    rest.strip_prefix(b"\r\n").unwrap_or(rest)
}

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// The message in a `message/rfc822`, so many levels down.
    Message(usize),
    /// A part, so many levels down.
    Part(usize),
    /// A part of a digest, so many levels down: a message if it says nothing of its type (RFC 2046 §5.1.5).
    PartOfDigest(usize),
}

impl Place {
    fn depth(self) -> usize {
        match self {
            Self::Top => 0,
            Self::Message(depth) | Self::Part(depth) | Self::PartOfDigest(depth) => depth,
        }
    }

    /// The type of what says nothing of it.
    fn default(self) -> &'static str {
        match self {
            Self::PartOfDigest(_) => MESSAGE,
            Self::Top | Self::Message(_) | Self::Part(_) => TEXT,
        }
    }
}

struct Converter {
    limit: Limit,
}

impl Converter {
    /// Whether these octets must not go as they are.
    fn is_too_much(&self, octets: &[u8]) -> bool {
        (self.limit == Limit::SevenBit && !octets.is_ascii()) || has_long_line(octets)
    }

    /// A refusal if there are octets above 127 that have to go, and else the octets as they are.
    fn as_is(&self, octets: &[u8], error: Error, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.limit == Limit::SevenBit && !octets.is_ascii() {
            return Err(error);
        }
        out.extend_from_slice(octets);
        Ok(())
    }

    fn entity(&self, entity: &[u8], place: Place, out: &mut Vec<u8>) -> Result<(), Error> {
        let split = headers::split(entity);
        let body = after_blank(split.rest);
        if !self.is_too_much(body) {
            return self.as_is(entity, Error::Header, out);
        }
        if self.limit == Limit::SevenBit && !split.block.is_ascii() {
            return Err(Error::Header);
        }
        if place.depth() > MAX_DEPTH {
            return self.as_is(entity, Error::Structure, out);
        }
        let kind = Kind::of(split.block, place.default());
        match kind.media.as_str() {
            "multipart/signed" | "multipart/encrypted" => self.as_is(entity, Error::Sealed, out),
            media if media.starts_with("multipart/") => match kind.boundary() {
                Some(boundary) => {
                    self.composite_header(split.block, out);
                    let inside = match kind.default_of_parts() {
                        MESSAGE => Place::PartOfDigest(place.depth() + 1),
                        _ => Place::Part(place.depth() + 1),
                    };
                    self.multipart(body, &boundary, inside, out)
                }
                None => self.as_is(entity, Error::Structure, out),
            },
            MESSAGE if kind.encoding.is_identity() => {
                self.composite_header(split.block, out);
                self.entity(body, Place::Message(place.depth() + 1), out)
            }
            media if media.starts_with("message/") => self.as_is(entity, Error::Structure, out),
            _ => self.leaf(entity, (split.block, body), &kind, place, out),
        }
    }

    /// The header of what has parts: their encodings are what counts, so its own says no more than it must.
    fn composite_header(&self, block: &[u8], out: &mut Vec<u8>) {
        match self.limit {
            Limit::SevenBit => out.extend(headers::without(block, &["Content-Transfer-Encoding"])),
            Limit::Lines => out.extend_from_slice(block),
        }
        out.extend_from_slice(b"\r\n");
    }

    fn multipart(&self, body: &[u8], boundary: &[u8], inside: Place, out: &mut Vec<u8>) -> Result<(), Error> {
        for piece in Pieces::of(body, boundary) {
            match piece {
                Piece::Part(part) => self.entity(part, inside, out)?,
                Piece::Delimiter(line) => out.extend_from_slice(line),
                // Of a multipart without its delimiters this is all there is.
                Piece::Around(text) => self.as_is(text, Error::Structure, out)?,
            }
        }
        Ok(())
    }

    fn leaf(
        &self,
        entity: &[u8],
        (block, body): (&[u8], &[u8]),
        kind: &Kind,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let encoded = match kind.encoding {
            Encoding::Identity => Encoded::best(body, kind.media.starts_with("text/")),
            Encoding::Base64 if body.is_ascii() => match decoded(body) {
                Some(content) => Encoded::Base64(lines_of_base64(&content)),
                None => return self.as_is(entity, Error::Structure, out),
            },
            _ => return self.as_is(entity, Error::Structure, out),
        };
        out.extend(headers::without(block, &["Content-Transfer-Encoding"]));
        if matches!(place, Place::Top | Place::Message(_)) {
            complete(block, body, out);
        }
        let (name, content) = match encoded {
            Encoded::Quoted(content) => ("quoted-printable", content),
            Encoded::Base64(content) => ("base64", content),
        };
        out.extend_from_slice(format!("Content-Transfer-Encoding: {name}\r\n\r\n").as_bytes());
        out.extend(content);
        Ok(())
    }
}

/// Makes a message of MIME of one that is none. Nobody knows in which charset it is (RFC 1428 §3).
fn complete(block: &[u8], body: &[u8], out: &mut Vec<u8>) {
    if headers::find(block, "MIME-Version").is_none() {
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    if headers::find(block, "Content-Type").is_none() {
        let charset = match body.is_ascii() {
            true => "us-ascii",
            false => "unknown-8bit",
        };
        out.extend_from_slice(format!("Content-Type: text/plain; charset={charset}\r\n").as_bytes());
    }
}

fn has_long_line(octets: &[u8]) -> bool {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', octets) {
        if end - start > MAX_LINE + 1 {
            return true;
        }
        start = end + 1;
    }
    octets.len() - start > MAX_LINE
}

/// How a part says it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// 7bit, 8bit, binary.
    Identity,
    Base64,
    Quoted,
    Unknown,
}

impl Encoding {
    fn is_identity(self) -> bool {
        self == Self::Identity
    }
}

/// What a part's header says of its body.
struct Kind {
    /// Type and subtype in lower case; the one that holds without any if nothing usable is said.
    media: String,
    encoding: Encoding,
    content_type: Vec<u8>,
}

impl Kind {
    fn of(block: &[u8], default: &str) -> Self {
        let content_type = value(headers::find(block, "Content-Type"));
        let media = content_type
            .split(|octet| *octet == b';')
            .next()
            .unwrap_or_default();
        let media = String::from_utf8_lossy(media.trim_ascii()).to_ascii_lowercase();
        let encoding = value(headers::find(block, "Content-Transfer-Encoding")).to_ascii_lowercase();
        Self {
            media: match media.contains('/') {
                true => media,
                false => default.to_owned(),
            },
            encoding: match encoding.as_slice() {
                b"" | b"7bit" | b"8bit" | b"binary" => Encoding::Identity,
                b"base64" => Encoding::Base64,
                b"quoted-printable" => Encoding::Quoted,
                _ => Encoding::Unknown,
            },
            content_type,
        }
    }

    /// What separates the parts, if it has parts. It does not end in blanks (RFC 2046 §5.1.1).
    fn boundary(&self) -> Option<Vec<u8>> {
        if !self.media.starts_with("multipart/") {
            return None;
        }
        let boundary = parameter(&self.content_type, "boundary")?;
        Some(boundary.trim_ascii_end().to_vec()).filter(|boundary| !boundary.is_empty())
    }

    /// The type of parts that say nothing of it.
    fn default_of_parts(&self) -> &'static str {
        match self.media.as_str() {
            "multipart/digest" => MESSAGE,
            _ => TEXT,
        }
    }
}

/// A field's value on one line, without comments at its end.
fn value(field: Option<Field<'_>>) -> Vec<u8> {
    let value = field.map(|field| field.value()).unwrap_or_default();
    let plain = value.iter().copied().filter(|octet| !b"\r\n".contains(octet));
    let plain: Vec<u8> = plain.collect();
    match memchr::memchr2(b'"', b'(', &plain) {
        Some(at) if plain[at] == b'(' => plain[..at].trim_ascii().to_vec(),
        _ => plain.trim_ascii().to_vec(),
    }
}

/// A parameter of a field such as Content-Type, its quotes removed.
fn parameter(value: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut rest = value;
    while let Some(at) = memchr::memchr(b';', rest) {
        rest = rest[at + 1..].trim_ascii_start();
        let end = memchr::memchr2(b'=', b';', rest)?;
        let is_it = rest[..end].trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        if rest[end] == b';' {
            rest = &rest[end..];
            continue;
        }
        let (found, after) = parameter_value(rest[end + 1..].trim_ascii_start());
        if is_it {
            return Some(found);
        }
        rest = after;
    }
    None
}

fn parameter_value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text
            .iter()
            .position(|octet| b"; \t(".contains(octet))
            .unwrap_or(text.len());
        return (text[..end].to_vec(), &text[end..]);
    };
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(octet) = quoted.get(at) {
        match octet {
            b'"' => return (found, &quoted[at + 1..]),
            b'\\' => at += 1,
            _ => {}
        }
        found.extend(quoted.get(at));
        at += 1;
    }
    (found, &[])
}

/// A piece of a multipart body; all pieces make the body.
enum Piece<'a> {
    /// What stands before the first and behind the last delimiter.
    Around(&'a [u8]),
    /// A delimiter with the line ends that belong to it.
    Delimiter(&'a [u8]),
    Part(&'a [u8]),
}

/// Takes the body of a multipart apart (RFC 2046 §5.1.1), piece by piece: there may be as many as the body has lines.
struct Pieces<'a, 'b> {
    body: &'a [u8],
    boundary: &'b [u8],
    /// Where the piece begins that comes next.
    start: usize,
    inside: bool,
    /// The delimiter that follows the piece given last, and whether it closes.
    delimiter: Option<(&'a [u8], bool)>,
    closed: bool,
    done: bool,
}

impl<'a, 'b> Pieces<'a, 'b> {
    fn of(body: &'a [u8], boundary: &'b [u8]) -> Self {
        Self {
            body,
            boundary,
            start: 0,
            inside: false,
            delimiter: None,
            closed: false,
            done: false,
        }
    }

    /// Begin and end of the next delimiter line, and whether it closes.
    fn next_delimiter(&self) -> Option<(usize, usize, bool)> {
        let mut line = self.start;
        while line < self.body.len() && !self.closed {
            let rest = &self.body[line..];
            let end = memchr::memchr(b'\n', rest).map_or(self.body.len(), |at| line + at + 1);
            if let Some(closes) = delimiter(&self.body[line..end], self.boundary) {
                return Some((line, end, closes));
            }
            line = end;
        }
        None
    }

    fn content(&self, content: &'a [u8]) -> Piece<'a> {
        match self.inside {
            true => Piece::Part(content),
            false => Piece::Around(content),
        }
    }
}

impl<'a> Iterator for Pieces<'a, '_> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some((line, closes)) = self.delimiter.take() {
            (self.inside, self.closed) = (!closes, closes);
            return Some(Piece::Delimiter(line));
        }
        if self.done {
            return None;
        }
        let Some((line, end, closes)) = self.next_delimiter() else {
            self.done = true;
            return Some(self.content(&self.body[self.start..]));
        };
        // The line end before a delimiter is part of it.
        let content = &self.body[self.start..line];
        let content = content.strip_suffix(b"\r\n").unwrap_or(content);
        let before = self.start + content.len();
        self.delimiter = Some((&self.body[before..end], closes));
        self.start = end;
        Some(self.content(content))
    }
}

/// Whether a line is a delimiter, and then whether it is the last.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, closes) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    rest.iter().all(u8::is_ascii_whitespace).then_some(closes)
}

/// A body in an encoding.
enum Encoded {
    Quoted(Vec<u8>),
    Base64(Vec<u8>),
}

impl Encoded {
    /// Text stays readable, unless most of it would have to be escaped.
    fn best(body: &[u8], is_text: bool) -> Self {
        let high = body.iter().filter(|octet| !octet.is_ascii()).count();
        match is_text && high <= body.len() / 6 {
            true => Self::Quoted(quoted_printable(body)),
            false => Self::Base64(lines_of_base64(body)),
        }
    }
}

fn lines_of_base64(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() / LINE_OCTETS * (COLUMNS + 2) + COLUMNS + 2);
    for line in content.chunks(LINE_OCTETS) {
        out.extend_from_slice(base64(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn decoded(body: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = body
        .iter()
        .copied()
        .filter(|octet| !octet.is_ascii_whitespace())
        .collect();
    base64_decode(std::str::from_utf8(&text).ok()?).ok()
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 4);
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after, ends) = match memchr::memmem::find(rest, b"\r\n") {
            Some(end) => (&rest[..end], &rest[end + 2..], true),
            None => (rest, &rest[rest.len()..], false),
        };
        quoted_line(line, &mut out);
        if ends {
            out.extend_from_slice(b"\r\n");
        }
        rest = after;
    }
    out
}

fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, octet) in line.iter().enumerate() {
        let is_last = at + 1 == line.len();
        let is_plain = match octet {
            b' ' | b'\t' => !is_last,
            b'=' => false,
            octet => octet.is_ascii_graphic(),
        };
        let width = if is_plain { 1 } else { 3 };
        // One column is for the mark of a broken line.
        if column + width > COLUMNS - usize::from(!is_last) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        match is_plain {
            true => out.push(*octet),
            false => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
        }
        column += width;
    }
}

#[cfg(test)]
mod tests;
