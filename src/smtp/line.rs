//! Finding lines: CRLF ends a line, and nothing else does.

use super::MAX_LINE;

/// What stands at the front of the unread input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan<'a> {
    /// A complete line, without its CRLF.
    Line(&'a [u8]),
    /// Half a line that may still be completed.
    Partial,
    /// More than [`MAX_LINE`] octets without a line end.
    TooLong,
    /// A CR or LF by itself.
    Bare,
}

/// Looks for the first line of `input`. What it says does not depend on how much more has arrived.
pub(super) fn scan(input: &[u8]) -> Scan<'_> {
    let window = &input[..input.len().min(MAX_LINE)];
    match memchr::memchr2(b'\r', b'\n', window) {
        None if input.len() >= MAX_LINE => Scan::TooLong,
        None => Scan::Partial,
        Some(at) if at > MAX_LINE - 2 => Scan::TooLong,
        Some(at) => match &window[at..] {
            [b'\r', b'\n', ..] => Scan::Line(&window[..at]),
            [b'\r'] => Scan::Partial,
            _ => Scan::Bare,
        },
    }
}

/// What stands at the front of the rest of a line that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// The line ends after so many octets.
    Ends(usize),
    /// So many octets belong to the line, and it goes on.
    GoesOn(usize),
    /// A CR or LF by itself.
    Bare,
}

/// Measures the rest of a line that is too long.
pub(super) fn skip(input: &[u8]) -> Skip {
    match memchr::memchr2(b'\r', b'\n', input) {
        None => Skip::GoesOn(input.len()),
        Some(at) => match &input[at..] {
            [b'\r', b'\n', ..] => Skip::Ends(at + 2),
            [b'\r'] => Skip::GoesOn(at),
            _ => Skip::Bare,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(scan(b"NOOP\r\nRSET\r\n"), Scan::Line(b"NOOP"));
        assert_eq!(scan(b"\r\n"), Scan::Line(b""));
        assert_eq!(scan(b"NOOP\r"), Scan::Partial);
        assert_eq!(scan(b"NOOP"), Scan::Partial);
        for bare in [b"NOOP\n".as_slice(), b"NO\rOP\r\n", b"NOOP\r\r\n", b"\nNOOP\r\n"] {
            assert_eq!(scan(bare), Scan::Bare, "{bare:?}");
        }
    }

    #[test]
    fn longest_line_fits_exactly() {
        let mut line = vec![b'x'; MAX_LINE - 2];
        assert_eq!(scan(&line), Scan::Partial);
        line.extend_from_slice(b"\r\n");
        assert_eq!(scan(&line), Scan::Line(&line[..MAX_LINE - 2]));
        line.insert(0, b'x');
        for length in MAX_LINE..=line.len() {
            assert_eq!(scan(&line[..length]), Scan::TooLong, "{length} octets");
        }
    }

    #[test]
    fn long_lines_are_measured_to_their_end() {
        assert_eq!(skip(b"xxx"), Skip::GoesOn(3));
        assert_eq!(skip(b"xxx\r"), Skip::GoesOn(3));
        assert_eq!(skip(b"xxx\r\nNOOP"), Skip::Ends(5));
        assert_eq!(skip(b"xxx\nNOOP"), Skip::Bare);
    }
}
