//! Line ends as they come: CRLF, and CR or LF by itself (`dmime2.md` §17).

use memchr::memchr2;

/// The end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineEnd {
    /// Where it starts.
    pub start: usize,
    /// Where the next line starts.
    pub next: usize,
    /// It is CR or LF by itself, so it may be meant to be part of the line.
    pub bare: bool,
}

/// The first line end in `text` from `from` on. CR any number of times before LF is one line end, as programs write it that
/// put a CR in front of each LF of a text that has them already; otherwise each CR ends a line.
///
/// Where `text` ends with CR, what follows may still belong to the line end: `None` if there is `more` to come.
pub fn line_end(text: &[u8], from: usize, more: bool) -> Option<LineEnd> {
    let start = from + memchr2(b'\r', b'\n', text.get(from..)?)?;
    let returns = text[start..].iter().take_while(|octet| **octet == b'\r').count();
    let (next, bare) = match text.get(start + returns) {
        Some(b'\n') => (start + returns + 1, returns == 0),
        None if more => return None,
        _ => (start + 1, true),
    };
    Some(LineEnd { start, next, bare })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: usize, next: usize, bare: bool) -> Option<LineEnd> {
        Some(LineEnd { start, next, bare })
    }

    #[test]
    fn each_form_is_one_line_end() {
        assert_eq!(line_end(b"a\r\nb", 0, false), found(1, 3, false));
        assert_eq!(line_end(b"a\nb", 0, false), found(1, 2, true));
        assert_eq!(line_end(b"a\rb", 0, false), found(1, 2, true));
        assert_eq!(line_end(b"a\r\r\nb", 0, false), found(1, 4, false));
        assert_eq!(line_end(b"a\r\rb", 0, false), found(1, 2, true));
        assert_eq!(line_end(b"a\n\r\nb", 0, false), found(1, 2, true));
        assert_eq!(line_end(b"a\r\nb", 3, false), None);
        assert_eq!(line_end(b"a", 7, false), None);
    }

    #[test]
    fn a_cr_at_the_end_waits_for_what_follows() {
        assert_eq!(line_end(b"a\r\r", 0, true), None);
        assert_eq!(line_end(b"a\r\r", 0, false), found(1, 2, true));
    }
}
