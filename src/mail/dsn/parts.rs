//! Fields and parts of a report.

use super::HEADER_BYTES;
use crate::mail::headers::fields;

/// Most characters of one field or sentence made from somebody else's words.
const FOREIGN_CHARS: usize = 1024;

/// Lines are folded to this where they can be (RFC 5322 §2.1.1).
const LINE_CHARS: usize = 78;

/// Longest line that may go as it is (RFC 5322 §2.1.1).
const LONGEST_LINE: usize = 998;

/// Octets of a word that are left together: with the name before it, they fit into a line.
const LONGEST_WORD: usize = 900;

/// Words of others, without control characters, and no more of them than a reader needs.
pub(super) fn clean(words: &str) -> String {
    let printable = |char: char| if char.is_control() { ' ' } else { char };
    words.chars().map(printable).take(FOREIGN_CHARS).collect()
}

/// The same for a field, where only ASCII may stand.
pub(super) fn ascii(words: &str) -> String {
    let plain = |char: char| if char.is_ascii() { char } else { '?' };
    clean(words).chars().map(plain).collect()
}

/// Appends a field, folded at its spaces where it is long, and within words that fit into no line: what is a message to
/// programs must not be encoded (RFC 3464 §2.1, RFC 6533 §4).
pub(super) fn put_field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in value.split(' ').flat_map(pieces) {
        if column + 1 + word.len() > LINE_CHARS && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push_str("\r\n");
}

/// A word in pieces that fit into lines; nothing of an empty one.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let (piece, left) = rest.split_at(rest.floor_char_boundary(LONGEST_WORD));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The original's header block: whole fields only, as many as fit.
pub(super) fn header_of(original: &[u8]) -> &[u8] {
    let mut length = 0;
    for field in fields(original) {
        if length + field.raw.len() > HEADER_BYTES || !field.raw.ends_with(b"\r\n") {
            break;
        }
        length += field.raw.len();
    }
    original.get(..length).unwrap_or_default()
}

/// Whether a message can go as it is into a part of 8 bits: every line is short enough, and ends in CRLF.
pub(super) fn fits_as_it_is(message: &[u8]) -> bool {
    lines(message)
        .all(|line| line.len() <= LONGEST_LINE && !line.iter().any(|octet| b"\r\n\0".contains(octet)))
}

/// Appends one part, encoded if it cannot go as it is; the caller sees to it that a whole message can (RFC 2046 §5.2.1).
pub(super) fn part(out: &mut Vec<u8>, boundary: &str, content_type: &str, content: &[u8]) {
    let encoding = match is_plain(content) {
        true => "7bit",
        false if content_type.starts_with("message/") && fits_as_it_is(content) => match content.is_ascii() {
            true => "7bit",
            false => "8bit",
        },
        false => "quoted-printable",
    };
    let head = format!(
        "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    match encoding {
        "quoted-printable" => quoted_printable(out, content),
        _ => out.extend_from_slice(content),
    }
    if !content.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether every line is short enough and printable ASCII.
fn is_plain(content: &[u8]) -> bool {
    lines(content).all(|line| {
        let printable = |octet: &u8| matches!(octet, b'\t' | b' '..=b'~');
        line.len() <= LONGEST_LINE && line.iter().all(printable)
    })
}

/// The lines of a text whose line ends are CRLF, without them; what follows the last one is a line if there is any.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 2..]);
        Some(line)
    })
}

/// RFC 2045 §6.7; the text ends in a line end.
pub(super) fn quoted_printable(out: &mut Vec<u8>, content: &[u8]) {
    for line in lines(content) {
        let mut column = 0;
        for (place, octet) in line.iter().enumerate() {
            let at_end = place + 1 == line.len();
            let literal = match octet {
                b'=' => false,
                b' ' | b'\t' => !at_end,
                other => other.is_ascii_graphic(),
            };
            let width = if literal { 1 } else { 3 };
            // One column is left for the soft line break.
            if column + width > 75 {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            match literal {
                true => out.push(*octet),
                false => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
            }
            column += width;
        }
        out.extend_from_slice(b"\r\n");
    }
}
