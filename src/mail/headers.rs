//! The header block of a message, as far as a mail host needs it (RFC 5322 §2.2).
//!
//! Fields are found, counted and dropped, never rewritten. Anything that is not a field ends the block.

use super::line_ends::line_end;

/// A message's header block and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split<'a> {
    /// All fields, each with its final CRLF.
    pub block: &'a [u8],
    /// Everything after the block: the empty line, if there is one, and the body.
    pub rest: &'a [u8],
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field name as written.
    pub name: &'a [u8],
    /// The whole field: name, folded value and final line end.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether this is the field `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value as written: after the colon, without the final line end, folds included.
    pub fn value(&self) -> &'a [u8] {
        let colon = self.raw.iter().position(|octet| *octet == b':');
        let value = colon.and_then(|at| self.raw.get(at + 1..)).unwrap_or_default();
        value.trim_ascii()
    }
}

/// The fields at the front of a message, in order.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Walks the fields at the front of `message`, which may be a whole message or only its block.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// How many fields `name` the message has.
pub fn count(message: &[u8], name: &str) -> usize {
    fields(message).filter(|field| field.is(name)).count()
}

/// The first field `name`.
pub fn find<'a>(message: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(message).find(|field| field.is(name))
}

/// Separates header block and body.
pub fn split(message: &[u8]) -> Split<'_> {
    let length = fields(message).map(|field| field.raw.len()).sum();
    let (block, rest) = message.split_at(length);
    Split { block, rest }
}

/// The header block without the fields `names`: `Bcc` at submission, `Return-Path` at delivery.
pub fn without(block: &[u8], names: &[&str]) -> Vec<u8> {
    fields(block)
        .filter(|field| !names.iter().any(|name| field.is(name)))
        .flat_map(|field| field.raw.iter().copied())
        .collect()
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let name_length = name_length(self.rest)?;
        let (raw, rest) = self.rest.split_at(field_length(self.rest));
        self.rest = rest;
        Some(Field {
            name: &raw[..name_length],
            raw,
        })
    }
}

/// Octets of the name before the colon; white space between them is obsolete but seen (RFC 5322 §4.5).
pub(super) fn name_length(text: &[u8]) -> Option<usize> {
    let colon = text
        .iter()
        .position(|octet| !(33..=126).contains(octet) || *octet == b':')?;
    let after_name = text[colon..].trim_ascii_start();
    (colon > 0 && after_name.first() == Some(&b':') && is_blank_up_to_colon(&text[colon..])).then_some(colon)
}

fn is_blank_up_to_colon(text: &[u8]) -> bool {
    text.iter()
        .take_while(|octet| **octet != b':')
        .all(|octet| matches!(octet, b' ' | b'\t'))
}

/// Octets up to the first line end that no fold continues.
fn field_length(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text)
        .map(|at| at + 1)
        .find(|next| !matches!(text.get(*next), Some(b' ' | b'\t')))
        .unwrap_or(text.len())
}

/// Gathers the front of a message that arrives in pieces, until its header block is complete: up to the first empty
/// line, whatever the line ends are.
#[derive(Debug)]
pub struct Collector {
    gathered: Vec<u8>,
    /// Where the line starts that is not complete.
    line: usize,
    limit: usize,
}

/// What a [`Collector`] says to a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Gathered {
    /// The block goes on.
    Incomplete,
    /// The block is complete; [`Collector::finish`] gives it with what followed.
    Complete,
    /// The block is longer than the limit.
    TooLong,
}

impl Collector {
    /// Gathers at most `limit` octets of header block.
    pub fn new(limit: usize) -> Self {
        Self {
            gathered: Vec::new(),
            line: 0,
            limit,
        }
    }

    /// Takes the next piece. After `Complete` or `TooLong` no more pieces are given.
    pub fn push(&mut self, piece: &[u8]) -> Gathered {
        self.gathered.extend_from_slice(piece);
        while let Some(end) = line_end(&self.gathered, self.line, true) {
            if end.start > self.limit {
                return Gathered::TooLong;
            }
            if end.start == self.line {
                return Gathered::Complete;
            }
            self.line = end.next;
        }
        match self.gathered.len() > self.limit {
            true => Gathered::TooLong,
            false => Gathered::Incomplete,
        }
    }

    /// All octets given so far: header block and whatever came with it. Also for a message that ends in its header.
    pub fn finish(self) -> Vec<u8> {
        self.gathered
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const MESSAGE: &[u8] = b"Received: one\r\n\ttwo\r\nSubject : hello\r\nBCC: x@a.test\r\n\r\nbody: no\r\n";

    #[test]
    fn walks_folded_fields_up_to_the_empty_line() {
        let names: Vec<_> = fields(MESSAGE).map(|field| field.name).collect();
        assert_eq!(names, [b"Received".as_slice(), b"Subject", b"BCC"]);
        assert_eq!(
            find(MESSAGE, "received").unwrap().raw,
            b"Received: one\r\n\ttwo\r\n"
        );
        assert_eq!(find(MESSAGE, "subject").unwrap().value(), b"hello");
        assert_eq!(split(MESSAGE).rest, b"\r\nbody: no\r\n");
    }

    #[test]
    fn block_ends_at_the_first_line_that_is_no_field() {
        for (text, fields_before) in [
            (b"no field\r\nA: b\r\n".as_slice(), 0),
            (b": x\r\n", 0),
            (b"A: b\r\nnot a field\r\nC: d\r\n", 1),
            (b"A: b", 1),
            (b"A\r\n: b\r\n", 0),
            (b"", 0),
        ] {
            assert_eq!(fields(text).count(), fields_before, "{text:?}");
        }
    }

    #[test]
    fn drops_named_fields_only() {
        let block = split(MESSAGE).block;
        assert_eq!(without(block, &["Bcc", "received"]), b"Subject : hello\r\n");
        assert_eq!(count(block, "bcc"), 1);
    }

    #[test]
    fn collector_is_complete_at_the_empty_line_however_cut() {
        for cut in 0..MESSAGE.len() {
            let mut collector = Collector::new(100);
            let first = collector.push(&MESSAGE[..cut]);
            let block_end = MESSAGE.len() - b"body: no\r\n".len();
            assert_eq!(first == Gathered::Complete, cut >= block_end, "cut at {cut}");
            if first != Gathered::Complete {
                assert_eq!(collector.push(&MESSAGE[cut..]), Gathered::Complete);
            }
        }
    }

    #[test]
    fn collector_bounds_the_block() {
        let mut collector = Collector::new(10);
        assert_eq!(collector.push(b"A: 1234567"), Gathered::Incomplete);
        assert_eq!(collector.push(b"8"), Gathered::TooLong);
        let mut collector = Collector::new(10);
        assert_eq!(
            collector.push(b"\r\nA long body without header"),
            Gathered::Complete
        );
    }

    #[test]
    fn collector_knows_all_line_ends() {
        for (front, complete) in [
            ("A: b\n\n", true),
            ("A: b\r\rbody", true),
            ("A: b\r\r\n\r\r\n", true),
            ("A: b\r\n\n", true),
            ("\nbody", true),
            ("A: b\r\r\nB: c\r\r", false),
            ("A: b\n\r", false),
        ] {
            let said = Collector::new(100).push(front.as_bytes());
            assert_eq!(said == Gathered::Complete, complete, "{front:?}");
        }
    }

    proptest! {
        #[test]
        fn block_and_rest_make_the_message(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let Split { block, rest } = split(&message);
            prop_assert_eq!([block, rest].concat(), message);
        }

        #[test]
        fn fields_of_header_like_text_make_the_block(message in "[aB: \t\r\n]{0,60}") {
            let block = split(message.as_bytes()).block;
            prop_assert_eq!(without(block, &[]), block);
        }
    }
}
