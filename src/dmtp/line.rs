//! Cutting command lines off the input (`dmtp.md` §4.1).

use super::command::MAX_LINE;

/// Finds line ends; remembers only whether it is skipping an over-long line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lines {
    skipping: bool,
}

/// What is at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A command line without its terminator, LF or CRLF.
    Line(&'a [u8]),
    /// The end of a line that is too long; all of it is gone.
    TooLong,
    /// Nothing complete yet.
    Partial,
}

impl Lines {
    /// The next command and the octets it takes.
    ///
    /// Half a line takes none, unless it is too long already.
    pub(crate) fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Item<'a>) {
        self.next_within(input, MAX_LINE)
    }

    /// The same for lines of at most `max` octets, terminator included.
    pub(crate) fn next_within<'a>(&mut self, input: &'a [u8], max: usize) -> (usize, Item<'a>) {
        if self.skipping {
            return self.skip(input);
        }
        let window = &input[..input.len().min(max)];
        match window.iter().position(|octet| *octet == b'\n') {
            Some(end) => {
                let line = &input[..end];
                (end + 1, Item::Line(line.strip_suffix(b"\r").unwrap_or(line)))
            }
            None if input.len() < max => (0, Item::Partial),
            None => self.skip(input),
        }
    }

    fn skip<'a>(&mut self, input: &'a [u8]) -> (usize, Item<'a>) {
        let end = input.iter().position(|octet| *octet == b'\n');
        self.skipping = end.is_none();
        match end {
            Some(end) => (end + 1, Item::TooLong),
            None => (input.len(), Item::Partial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_lines_with_either_terminator() {
        let mut lines = Lines::default();
        assert_eq!(lines.next(b"NOOP\r\nQUIT"), (6, Item::Line(b"NOOP")));
        assert_eq!(lines.next(b"NOOP\n"), (5, Item::Line(b"NOOP")));
        assert_eq!(lines.next(b"NO\rOP\r\r\n"), (8, Item::Line(b"NO\rOP\r")));
        assert_eq!(lines.next(b"NOOP\r"), (0, Item::Partial));
    }

    #[test]
    fn a_line_of_the_greatest_length_passes_and_a_longer_one_is_skipped() {
        let mut lines = Lines::default();
        let longest = [&[b'x'; MAX_LINE - 2][..], b"\r\n"].concat();
        assert_eq!(
            lines.next(&longest),
            (MAX_LINE, Item::Line(&[b'x'; MAX_LINE - 2]))
        );
        let longer = [b"x", &longest[..]].concat();
        assert_eq!(lines.next(&longer), (MAX_LINE + 1, Item::TooLong));
        assert_eq!(lines.next(&longer[..MAX_LINE]), (MAX_LINE, Item::Partial));
        assert_eq!(
            lines.next(b"still the same line\r\nNOOP\r\n"),
            (21, Item::TooLong)
        );
        assert_eq!(lines.next(b"NOOP\r\n"), (6, Item::Line(b"NOOP")));
    }
}
