//! The two forms of header fields and bodies that are signed (RFC 6376 §3.4).

use sha2::{Digest, Sha256};

use crate::mail::headers::Field;

/// How what is signed is put into one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonical {
    /// As it is; only empty lines at the end of a body do not count.
    Simple,
    /// Runs of blanks are one space, those at the end of a line none; names of fields are in lower case.
    Relaxed,
}

impl Canonical {
    /// The name in `c=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Simple, Self::Relaxed]
            .into_iter()
            .find(|canonical| canonical.name() == name)
    }

    /// Adds a field with its final line end.
    pub fn field(self, field: &Field<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Simple => {
                out.extend_from_slice(field.raw);
                if !field.raw.ends_with(b"\n") {
                    out.extend_from_slice(b"\r\n");
                }
            }
            Self::Relaxed => {
                out.extend(field.name.to_ascii_lowercase());
                out.push(b':');
                let colon = field.raw.iter().position(|octet| *octet == b':');
                let value = colon.and_then(|at| field.raw.get(at + 1..));
                relaxed_value(value.unwrap_or_default(), out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Folds are blanks, and blanks at either end do not count.
fn relaxed_value(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n'));
    let mut words = words.filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

/// The hash of a body that comes in pieces, cut anywhere. Holds nothing back but counts.
///
/// In relaxed form a line of blanks only is an empty line, and as such does not count at the end (RFC 6376 §3.4.4).
#[derive(Debug, Clone)]
pub struct BodyHash {
    canonical: Canonical,
    hash: Sha256,
    length: u64,
    /// Line ends that count only if something follows.
    line_ends: u64,
    /// Blanks that count only if something follows in their line.
    blank: bool,
    /// The last octet was a CR.
    after_cr: bool,
    /// Reused for what is hashed.
    scratch: Vec<u8>,
}

/// A body in one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashedBody {
    /// SHA-256.
    pub hash: [u8; 32],
    /// Octets in that form.
    pub length: u64,
}

/// Line ends written at a time.
const LINE_ENDS: &[u8] = &{
    let mut octets = [b'\r'; 512];
    let mut at = 1;
    while at < octets.len() {
        octets[at] = b'\n';
        at += 2;
    }
    octets
};

impl BodyHash {
    /// Starts with nothing.
    pub fn new(canonical: Canonical) -> Self {
        Self {
            canonical,
            hash: Sha256::new(),
            length: 0,
            line_ends: 0,
            blank: false,
            after_cr: false,
            scratch: Vec::new(),
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let run = rest
                .iter()
                .position(|octet| self.is_special(*octet))
                .unwrap_or(rest.len());
            let (plain, after) = rest.split_at(run);
            if !plain.is_empty() {
                self.text(plain);
            }
            rest = match after.split_first() {
                Some((special, after)) => {
                    self.special(*special);
                    after
                }
                None => after,
            };
        }
        self.write_out();
    }

    /// The body is complete.
    pub fn finish(mut self) -> HashedBody {
        if self.after_cr {
            self.text(b"");
        }
        let is_empty = self.length == 0 && self.scratch.is_empty();
        if self.canonical == Canonical::Simple || !is_empty {
            self.put(b"\r\n");
        }
        self.write_out();
        HashedBody {
            hash: self.hash.finalize().into(),
            length: self.length,
        }
    }

    fn is_special(&self, octet: u8) -> bool {
        matches!(octet, b'\r' | b'\n')
            || (self.canonical == Canonical::Relaxed && matches!(octet, b' ' | b'\t'))
    }

    fn special(&mut self, octet: u8) {
        match octet {
            b'\n' if self.after_cr => {
                self.after_cr = false;
                self.blank = false;
                self.line_ends += 1;
            }
            b'\r' => {
                if self.after_cr {
                    self.text(b"");
                }
                self.after_cr = true;
            }
            b'\n' => self.text(b"\n"),
            _ => {
                if self.after_cr {
                    self.text(b"");
                }
                self.blank = true;
            }
        }
    }

    /// Octets that count, and with them all that had to wait; a CR that ended no line is one of them.
    fn text(&mut self, octets: &[u8]) {
        while self.line_ends > 0 {
            let many = self.line_ends.min(LINE_ENDS.len() as u64 / 2);
            self.line_ends -= many;
            self.put(&LINE_ENDS[..many as usize * 2]);
            if self.scratch.len() > 1 << 16 {
                self.write_out();
            }
        }
        if std::mem::take(&mut self.blank) {
            self.put(b" ");
        }
        if std::mem::take(&mut self.after_cr) {
            self.put(b"\r");
        }
        self.put(octets);
    }

    fn put(&mut self, octets: &[u8]) {
        self.scratch.extend_from_slice(octets);
    }

    fn write_out(&mut self) {
        self.hash.update(&self.scratch);
        self.length += self.scratch.len() as u64;
        self.scratch.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::crypto::hash::sha256;
    use crate::mail::headers::fields;

    fn hashed(canonical: Canonical, body: &[u8]) -> HashedBody {
        let mut hash = BodyHash::new(canonical);
        hash.push(body);
        hash.finish()
    }

    fn of(text: &[u8]) -> HashedBody {
        HashedBody {
            hash: sha256(&[text]),
            length: text.len() as u64,
        }
    }

    /// RFC 6376 §3.4.4, and the case of lines of blanks at the end, which other implementations get wrong.
    #[test]
    fn lines_of_blanks_at_the_end_of_a_body_do_not_count_in_relaxed_form() {
        for (body, relaxed) in [
            ("text\r\n", "text\r\n"),
            ("text", "text\r\n"),
            ("text\r\n\r\n\r\n", "text\r\n"),
            ("text\r\n \r\n\t\r\n", "text\r\n"),
            ("text\r\n \t ", "text\r\n"),
            ("text \t\r\n \r\n\r\n \r\n", "text\r\n"),
            ("a\r\n \r\nb\r\n \r\n", "a\r\n\r\nb\r\n"),
            (" \r\n\t \r\n", ""),
            ("\r\n\r\n", ""),
            ("", ""),
            ("  a \t b  \r\n", " a b\r\n"),
            ("\r\n \r\na\r\n", "\r\n\r\na\r\n"),
        ] {
            assert_eq!(
                hashed(Canonical::Relaxed, body.as_bytes()),
                of(relaxed.as_bytes()),
                "{body:?}"
            );
        }
    }

    #[test]
    fn simple_form_leaves_blanks_and_knows_no_empty_body() {
        for (body, simple) in [
            ("text \t\r\n \r\n", "text \t\r\n \r\n"),
            ("text\r\n\r\n\r\n", "text\r\n"),
            ("text", "text\r\n"),
            ("\r\n\r\n", "\r\n"),
            ("", "\r\n"),
        ] {
            assert_eq!(
                hashed(Canonical::Simple, body.as_bytes()),
                of(simple.as_bytes()),
                "{body:?}"
            );
        }
    }

    #[test]
    fn only_blanks_and_tabs_are_blanks() {
        for (raw, relaxed) in [
            ("A:\r\n", "a:\r\n"),
            ("A: \t\r\n \r\n", "a:\r\n"),
            ("A \t:\tb\r\n", "a:b\r\n"),
            ("A:b\r\n \r\n\tc", "a:b c\r\n"),
            ("A: \u{c}b\u{c} \r\n", "a:\u{c}b\u{c}\r\n"),
            ("A: \u{a0}b\u{b}\r\n", "a:\u{a0}b\u{b}\r\n"),
        ] {
            let mut out = Vec::new();
            fields(raw.as_bytes()).for_each(|field| Canonical::Relaxed.field(&field, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), relaxed, "{raw:?}");
        }
        assert_eq!(
            hashed(Canonical::Relaxed, b"a\x0c\r\n\x0b"),
            of(b"a\x0c\r\n\x0b\r\n")
        );
    }

    /// RFC 6376 §3.4.5.
    #[test]
    fn the_example_of_the_rfc_comes_out_as_there() {
        let message = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n";
        let mut relaxed = Vec::new();
        fields(message).for_each(|field| Canonical::Relaxed.field(&field, &mut relaxed));
        assert_eq!(relaxed, b"a:X\r\nb:Y Z\r\n");
        let mut simple = Vec::new();
        fields(message).for_each(|field| Canonical::Simple.field(&field, &mut simple));
        assert_eq!(simple, b"A: X\r\nB : Y\t\r\n\tZ  \r\n");
        let body = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(hashed(Canonical::Relaxed, body), of(b" C\r\nD E\r\n"));
        assert_eq!(hashed(Canonical::Simple, body), of(b" C \r\nD \t E\r\n"));
    }

    #[test]
    fn a_long_run_of_line_ends_is_never_held() {
        let mut hash = BodyHash::new(Canonical::Relaxed);
        for _ in 0..1000 {
            hash.push(&b"\r\n".repeat(1000));
        }
        hash.push(b"x");
        assert!(hash.scratch.capacity() < 1 << 18);
        assert_eq!(hash.finish().length, 2_000_003);
    }

    proptest! {
        #[test]
        fn the_cut_makes_no_difference(body in "[a \t\r\n]{0,40}", at in 0usize..40) {
            for canonical in [Canonical::Simple, Canonical::Relaxed] {
                let at = at.min(body.len());
                let mut hash = BodyHash::new(canonical);
                hash.push(&body.as_bytes()[..at]);
                hash.push(&body.as_bytes()[at..]);
                prop_assert_eq!(hash.finish(), hashed(canonical, body.as_bytes()));
            }
        }
    }
}
