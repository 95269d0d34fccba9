//! What the search for leaves wants to know of an entity's header block (`dmime2.md` §16.4).
//!
//! Blocks of parts may be malformed in any way; what cannot be read is as if it were not there.

use super::header::{is_blank, name_and_value, split_lines, trim, unfold};

const MAX_BOUNDARY: usize = 70;

/// Type, boundary and disposition of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    /// Of a multipart with a usable one: 1 to 70 octets, the last no space.
    pub boundary: Option<Vec<u8>>,
    /// Text that is not an attachment.
    pub is_text: bool,
    /// Whether the type is exactly text/plain.
    pub is_plain: bool,
}

impl Entity {
    /// Reads a header block, the line end of its last field included or not.
    pub fn of(block: &[u8]) -> Self {
        let block = unfold(block);
        let content_type = first_value(&block, "Content-Type");
        let media_type = content_type.map_or_else(|| "text/plain".into(), media_type);
        let boundary = content_type
            .filter(|_| media_type.starts_with("multipart/"))
            .and_then(boundary_parameter)
            .filter(|boundary| is_usable(boundary));
        Self {
            boundary,
            is_text: media_type.starts_with("text/") && !is_attachment(&block),
            is_plain: media_type == "text/plain",
        }
    }
}

/// The value of the first field with this name in an unfolded block, without outer blanks.
fn first_value<'a>(unfolded: &'a [u8], name: &str) -> Option<&'a [u8]> {
    split_lines(unfolded).find_map(|line| {
        let (found, value) = name_and_value(line)?;
        let is_it = trim(found).eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| trim(value))
    })
}

/// The media type in lower case; application/octet-stream for a malformed one.
fn media_type(value: &[u8]) -> String {
    let (main, rest) = token(value);
    let sub = rest.strip_prefix(b"/").map_or(&b""[..], |rest| token(rest).0);
    if main.is_empty() || sub.is_empty() {
        return "application/octet-stream".into();
    }
    let text = |octets| String::from_utf8_lossy(octets).to_ascii_lowercase();
    format!("{}/{}", text(main), text(sub))
}

fn is_attachment(unfolded: &[u8]) -> bool {
    first_value(unfolded, "Content-Disposition")
        .is_some_and(|value| token(value).0.eq_ignore_ascii_case(b"attachment"))
}

fn is_usable(boundary: &[u8]) -> bool {
    (1..=MAX_BOUNDARY).contains(&boundary.len()) && boundary.last() != Some(&b' ')
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
