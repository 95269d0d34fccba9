//! Header blocks: splitting (`dmime2.md` §16.1), the canonical form and its two chunks (§9.2, §9.3, §16.2).

use memchr::memmem;

use super::Error;
use crate::dime::dmime1::metadata::{LABELS, labelled};
use crate::dime::dmime2::headers;

const MIME_VERSION: &[u8] = b"MIME-Version: 1.0\r\n";

/// The data of chunks 33 and 34.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Canonical {
    pub common: Vec<u8>,
    pub other: Vec<u8>,
}

/// Where the header block of `message` ends, line end of its last field included, and where the body starts.
pub(super) fn split(message: &[u8]) -> (usize, usize) {
    if message.starts_with(b"\r\n") {
        return (0, 2);
    }
    match find(message, b"\r\n\r\n") {
        Some(place) => (place + 2, place + 4),
        None => (message.len(), message.len()),
    }
}

/// The first place of `wanted`.
pub(super) fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    memmem::find(octets, wanted)
}

/// Brings a header block to its canonical form (§16.2).
pub(super) fn canonicalize(block: &[u8]) -> Result<Canonical, Error> {
    let mut values: [Option<Vec<u8>>; 6] = Default::default();
    let mut other = Vec::new();
    let mut versioned = false;
    for field in fields(block)? {
        match place(field.name) {
            Some(place) => collect(&mut values[place], place, field.unfolded())?,
            None if headers::is_reserved(field.name) => {}
            None => {
                versioned |= field.name.eq_ignore_ascii_case(b"MIME-Version");
                field.append_to(&mut other);
            }
        }
    }
    if !versioned {
        other.extend_from_slice(MIME_VERSION);
    }
    Ok(Canonical {
        common: common(&values)?,
        other,
    })
}

/// The header block of chunks 33 and 34, without the empty line. `CC` becomes `Cc`; empty values give no field.
pub(super) fn restore(common: &[u8], other: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(common.len() + other.len());
    for line in split_lines(common) {
        if let Some((place, value)) = labelled(line) {
            append_common(&mut block, place, value);
        }
    }
    block.extend_from_slice(other);
    block
}

/// Appends a common field as mail software spells it, unless its value is empty.
pub(super) fn append_common(block: &mut Vec<u8>, place: usize, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    let label = if LABELS[place] == "CC" {
        "Cc"
    } else {
        LABELS[place]
    };
    for part in [label.as_bytes(), b": ", value, b"\r\n"] {
        block.extend_from_slice(part);
    }
}

/// Octets without SP and HTAB at both ends.
pub(super) fn trim(octets: &[u8]) -> &[u8] {
    let start = octets
        .iter()
        .position(|octet| !is_blank(*octet))
        .unwrap_or(octets.len());
    let end = octets
        .iter()
        .rposition(|octet| !is_blank(*octet))
        .map_or(start, |last| last + 1);
    &octets[start..end]
}

pub(super) fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// A field of a header block as it stands there.
struct Field<'a> {
    name: &'a [u8],
    /// First line behind the colon, then continuation lines with their leading blanks.
    lines: Vec<&'a [u8]>,
}

impl Field<'_> {
    fn unfolded(&self) -> Vec<u8> {
        trim(&self.lines.concat()).to_vec()
    }

    /// Name, colon and lines; continuation lines of blanks only are left out.
    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name);
        out.push(b':');
        for (number, line) in self.lines.iter().enumerate() {
            if number == 0 || !trim(line).is_empty() {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// The fields of a block; the last line may lack its line end.
fn fields(block: &[u8]) -> Result<Vec<Field<'_>>, Error> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let block = block.strip_suffix(b"\r\n").unwrap_or(block);
    if block.is_empty() {
        return Ok(fields);
    }
    for (number, line) in (1..).zip(split_lines(block)) {
        let malformed = || Error::Header(number);
        if !is_allowed(line) {
            return Err(malformed());
        }
        if line.first().is_some_and(|first| is_blank(*first)) {
            fields.last_mut().ok_or_else(malformed)?.lines.push(line);
        } else {
            let (name, value) = name_and_value(line).ok_or_else(malformed)?;
            let name = trim(name);
            if !is_name(name) {
                return Err(malformed());
            }
            fields.push(Field {
                name,
                lines: vec![value],
            });
        }
    }
    Ok(fields)
}

/// Splits at every CRLF.
pub(super) fn split_lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(octets);
    std::iter::from_fn(move || {
        let current = rest?;
        match find(current, b"\r\n") {
            Some(end) => {
                rest = Some(&current[end + 2..]);
                Some(&current[..end])
            }
            None => rest.take(),
        }
    })
}

pub(super) fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|octet| matches!(octet, 0x21..=0x7e) && *octet != b':')
}

/// Whether a line consists of characters a header may contain.
fn is_allowed(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| text.chars().all(headers::is_allowed))
}

/// Which of the six fields of chunk 33 a name is.
fn place(name: &[u8]) -> Option<usize> {
    LABELS
        .iter()
        .position(|label| name.eq_ignore_ascii_case(label.as_bytes()))
}

/// Takes a value of one of the six fields: To and Cc may repeat and are joined.
fn collect(slot: &mut Option<Vec<u8>>, place: usize, value: Vec<u8>) -> Result<(), Error> {
    let label = LABELS[place];
    match slot {
        None => *slot = Some(value),
        Some(_) if !matches!(label, "To" | "CC") => return Err(Error::Repeated(label)),
        Some(_) if value.is_empty() => {}
        Some(so_far) => {
            if !so_far.is_empty() {
                so_far.extend_from_slice(b", ");
            }
            so_far.extend_from_slice(&value);
        }
    }
    Ok(())
}

fn common(values: &[Option<Vec<u8>>; 6]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for (label, value) in LABELS.into_iter().zip(values) {
        let value = value.as_deref().unwrap_or_default();
        match label {
            "Date" | "From" if value.is_empty() => return Err(Error::Missing(label)),
            "CC" | "Organization" if value.is_empty() => continue,
            _ => {}
        }
        for part in [label.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    Ok(out)
}

/// A block without every CRLF before a blank (§16.4). For blocks of parts, which may be malformed.
pub(super) fn unfold(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len());
    let mut rest = block;
    while let Some(end) = find(rest, b"\r\n") {
        out.extend_from_slice(&rest[..end]);
        rest = &rest[end + 2..];
        if !rest.first().is_some_and(|first| is_blank(*first)) {
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(rest);
    out
}
