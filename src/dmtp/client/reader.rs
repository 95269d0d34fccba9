//! Collecting a reply line by line, within bounds (`dmtp.md` §4.2–§4.4).

use super::Error;
use crate::mail::reply::Reply;

/// What a line costs at least, so that a reply of empty lines is bounded too.
const LINE_COST: usize = 64;

/// How much a reply may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// Octets of one line, terminator included.
    pub(super) line_bytes: usize,
    /// Octets of all lines together.
    pub(super) total_bytes: usize,
}

/// A reply as far as it has arrived.
#[derive(Debug)]
pub(super) struct ReplyReader {
    bound: Bound,
    code: Option<u16>,
    line: Vec<u8>,
    lines: Vec<String>,
    total: usize,
}

impl ReplyReader {
    pub(super) fn new(bound: Bound) -> Self {
        Self {
            bound,
            code: None,
            line: Vec::new(),
            lines: Vec::new(),
            total: 0,
        }
    }

    /// Takes octets up to the end of the reply; returns how many, and the reply if it is complete.
    ///
    /// Errors: [`Error::Malformed`], [`Error::TooLong`].
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Reply>), Error> {
        let mut taken = 0;
        while taken < input.len() {
            let rest = &input[taken..];
            let end = rest.iter().position(|octet| *octet == b'\n');
            let count = end.map_or(rest.len(), |at| at + 1);
            taken += count;
            self.append(&rest[..count])?;
            if end.is_some() && self.finish_line()? {
                return Ok((taken, Some(self.take_reply())));
            }
        }
        Ok((taken, None))
    }

    fn append(&mut self, octets: &[u8]) -> Result<(), Error> {
        let length = self.line.len() + octets.len();
        if length > self.bound.line_bytes || self.total + length > self.bound.total_bytes {
            return Err(Error::TooLong);
        }
        self.line.extend_from_slice(octets);
        Ok(())
    }

    /// Whether that was the last line.
    fn finish_line(&mut self) -> Result<bool, Error> {
        let line = std::mem::take(&mut self.line);
        self.total += line.len().max(LINE_COST);
        let line = line
            .strip_suffix(b"\r\n")
            .ok_or(Error::Malformed("reply line without CRLF"))?;
        let (code, last, text) = split(line)?;
        if *self.code.get_or_insert(code) != code {
            return Err(Error::Malformed("reply lines with different codes"));
        }
        self.lines.push(text);
        Ok(last)
    }

    fn take_reply(&mut self) -> Reply {
        self.total = 0;
        Reply {
            code: self.code.take().unwrap_or_default(),
            enhanced: None,
            lines: std::mem::take(&mut self.lines),
        }
    }
}

/// Code, whether the line is the last, text. Text of the last line starts behind all white space.
fn split(line: &[u8]) -> Result<(u16, bool, String), Error> {
    const NO_CODE: Error = Error::Malformed("reply line without a code");
    let (digits, rest) = line.split_first_chunk::<3>().ok_or(NO_CODE)?;
    let code = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let code = code
        .and_then(|text| text.parse().ok())
        .filter(|code| (200..600).contains(code))
        .ok_or(NO_CODE)?;
    let (separator, text) = rest
        .split_first()
        .ok_or(Error::Malformed("nothing behind the reply code"))?;
    if text.iter().any(|octet| matches!(octet, 0 | b'\r')) {
        return Err(Error::Malformed("control characters in a reply"));
    }
    match separator {
        b'-' => Ok((code, false, clean(text))),
        b' ' => Ok((code, true, clean(text.trim_ascii_start()))),
        _ => Err(NO_CODE),
    }
}

/// Replies end up in logs and reports: what is not printable ASCII becomes `?`.
fn clean(text: &[u8]) -> String {
    let printable = |octet: &u8| match octet {
        b'\t' | b' '..=b'~' => char::from(*octet),
        _ => '?',
    };
    text.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BOUND: Bound = Bound {
        line_bytes: 64,
        total_bytes: 256,
    };

    fn read(input: &[u8]) -> Result<(usize, Option<Reply>), Error> {
        ReplyReader::new(BOUND).read(input)
    }

    #[test]
    fn joins_the_lines_of_a_reply_and_leaves_the_rest() {
        let (taken, reply) = read(b"250-a\r\n250- b\r\n250   OK\r\n221 BYE\r\n").unwrap();
        assert_eq!(taken, 25);
        let lines = vec!["a".to_owned(), " b".to_owned(), "OK".to_owned()];
        assert_eq!(
            reply,
            Some(Reply {
                code: 250,
                enhanced: None,
                lines
            })
        );
        assert_eq!(read(b"250 \r\n").unwrap().1, Some(Reply::plain(250, "")));
    }

    #[test]
    fn refuses_what_is_not_a_reply() {
        for bad in [
            &b"250\r\n"[..],
            b"25 OK\r\n",
            b"199 OK\r\n",
            b"600 OK\r\n",
            b"2500 OK\r\n",
            b"+50 OK\r\n",
            b"250 OK\n",
            b"250 O\rK\r\n",
            b"250 O\0K\r\n",
            b"250-a\r\n251 b\r\n",
            b"\r\n",
        ] {
            assert!(matches!(read(bad), Err(Error::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn replaces_what_a_terminal_should_not_see() {
        assert_eq!(
            read(b"550 n\x1b[1m\xff\r\n").unwrap().1,
            Some(Reply::plain(550, "n?[1m?"))
        );
    }

    #[test]
    fn bounds_lines_and_replies() {
        let line = [b"250-".as_slice(), &[b'x'; 58], b"\r\n"].concat();
        assert_eq!(read(&line).unwrap(), (64, None));
        assert!(matches!(read(&[b'2'; 65]), Err(Error::TooLong)));
        assert!(matches!(read(&line.repeat(5)), Err(Error::TooLong)));
        assert!(matches!(read(&b"250-\r\n".repeat(5)), Err(Error::TooLong)));
    }
}
