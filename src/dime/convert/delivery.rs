//! Safe delivery of rebuilt messages through line-oriented protocols (`dmime2.md` §17).
//!
//! A body may hold anything, also octets that a careless peer takes for the end of the message and for commands. What is
//! not plain lines goes wrapped, in base64.

use bytes::Bytes;

use super::format1::append_base64;
use super::header::{find, is_blank, split, split_lines, trim};

/// The longest line of a message, without its line end (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;
/// The longest value in one header line that is not folded.
const MAX_VALUE: usize = 900;

/// How a message may go by DATA of SMTP or LMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByData {
    /// As it is, with dot-stuffing.
    AsIs,
    /// After folding long header values at blanks.
    Fold,
    /// Not in this form: only wrapped, or where no line is looked at.
    Never,
}

/// Judges a message.
pub fn by_data(message: &[u8]) -> ByData {
    let (header_end, body_start) = split(message);
    if !has_plain_lines(message) || !has_short_lines(&message[body_start..]) {
        return ByData::Never;
    }
    match folded(&message[..header_end]) {
        None => ByData::Never,
        Some(block) if block == message[..header_end] => ByData::AsIs,
        Some(_) => ByData::Fold,
    }
}

/// The message in a form that may go by DATA: as it is, folded, or wrapped.
pub fn safe_for_data(message: Bytes) -> Bytes {
    match by_data(&message) {
        ByData::AsIs => message,
        ByData::Fold => fold(&message).into(),
        ByData::Never => wrap(&message).into(),
    }
}

/// Puts the whole message, in base64, into one whose outer header has its common fields.
pub fn wrap(message: &[u8]) -> Vec<u8> {
    let (header_end, _) = split(message);
    let mut out = outer_fields(&message[..header_end]);
    out.extend_from_slice(
        b"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    );
    append_base64(&mut out, message);
    out
}

fn fold(message: &[u8]) -> Vec<u8> {
    let (header_end, _) = split(message);
    let block = folded(&message[..header_end]).unwrap_or_default();
    [&block[..], &message[header_end..]].concat()
}

/// Whether every CR is followed by LF and every LF preceded by CR, and there is no NUL.
fn has_plain_lines(octets: &[u8]) -> bool {
    let mut last = 0;
    for &octet in octets {
        if octet == 0 || (last == b'\r') != (octet == b'\n') {
            return false;
        }
        last = octet;
    }
    last != b'\r'
}

fn has_short_lines(octets: &[u8]) -> bool {
    split_lines(octets).all(|line| line.len() <= MAX_LINE)
}

/// The header block with long values folded; `None` if one cannot be folded into lines that may be sent.
fn folded(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let (whole, end) = match block.strip_suffix(b"\r\n") {
        Some(whole) => (whole, &b"\r\n"[..]),
        None => (block, &b""[..]),
    };
    for (number, line) in split_lines(whole).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        fold_line(line, &mut out)?;
    }
    out.extend_from_slice(end);
    Some(out)
}

fn fold_line(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let continues = line.first().is_some_and(|first| is_blank(*first));
    let name = if continues {
        0
    } else {
        find(line, b":").map_or(0, |colon| colon + 1)
    };
    let (name, mut value) = line.split_at(name);
    out.extend_from_slice(name);
    let mut before = name.len();
    while value.len() > MAX_VALUE {
        let place = fold_place(value)?;
        if before + place > MAX_LINE {
            return None;
        }
        out.extend_from_slice(&value[..place]);
        out.extend_from_slice(b"\r\n");
        value = &value[place..];
        before = 0;
    }
    out.extend_from_slice(value);
    (before + value.len() <= MAX_LINE).then_some(())
}

/// The last blank of the first 900 octets that has something other than blanks on both sides.
fn fold_place(value: &[u8]) -> Option<usize> {
    let starts = value.iter().position(|octet| !is_blank(*octet))?;
    let ends = value.iter().rposition(|octet| !is_blank(*octet))?;
    (starts + 1..=MAX_VALUE.min(ends))
        .rev()
        .find(|place| is_blank(value[*place]))
}

/// The fields of a block that mail software lists a message by, as far as they may be sent.
fn outer_fields(block: &[u8]) -> Vec<u8> {
    const LISTED: [&[u8]; 8] = [
        b"Date",
        b"To",
        b"Cc",
        b"From",
        b"Organization",
        b"Subject",
        b"Message-ID",
        b"Reply-To",
    ];
    let mut out = Vec::new();
    for field in whole_fields(block) {
        let name = field.split(|octet| *octet == b':').next().unwrap_or_default();
        if !LISTED
            .iter()
            .any(|listed| trim(name).eq_ignore_ascii_case(listed))
            || !has_plain_lines(field)
        {
            continue;
        }
        if let Some(folded) = folded(field) {
            out.extend_from_slice(&folded);
        }
    }
    out
}

/// The fields of a block with their continuation lines and line ends.
fn whole_fields(block: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let (mut start, mut next) = (0, 0);
    while let Some(end) = find(&block[next..], b"\r\n") {
        next += end + 2;
        if !block.get(next).is_some_and(|first| is_blank(*first)) {
            fields.push(&block[start..next]);
            start = next;
        }
    }
    fields
}
