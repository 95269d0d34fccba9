//! Replies of a server as a client reads them (RFC 5321 §4.2).

use super::line::{Scan, scan};
use crate::mail::reply::{EnhancedStatus, Reply};

/// Lines of one reply that we read.
pub const MAX_LINES: usize = 128;

/// Why what a server sent is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not three digits followed by space, hyphen or line end, or the code changes between the lines.
    #[error("not a reply")]
    Malformed,
    /// CR or LF by itself.
    #[error("bare CR or LF in a reply")]
    BareLineEnd,
    /// A line of more than [`MAX_LINE`](super::MAX_LINE) octets.
    #[error("reply line too long")]
    LineTooLong,
    /// More than [`MAX_LINES`] lines.
    #[error("reply of too many lines")]
    TooManyLines,
}

/// Puts a reply together from its lines.
#[derive(Debug, Default)]
pub struct Reader {
    begun: Option<Reply>,
}

/// What became of octets given to a [`Reader`].
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many it used.
    pub consumed: usize,
    /// The reply, if its last line was among them.
    pub reply: Option<Reply>,
}

impl Reader {
    /// Reads up to the end of one reply. Text is cleaned of control characters; an enhanced status code that agrees
    /// with the code is taken out of it.
    pub fn read(&mut self, input: &[u8]) -> Result<Progress, Error> {
        let mut consumed = 0;
        loop {
            let line = match scan(&input[consumed..]) {
                Scan::Line(line) => line,
                Scan::Partial => {
                    return Ok(Progress {
                        consumed,
                        reply: None,
                    });
                }
                Scan::TooLong => return Err(Error::LineTooLong),
                Scan::Bare => return Err(Error::BareLineEnd),
            };
            consumed += line.len() + 2;
            if self.add(line)? {
                let reply = self.begun.take().map(extract_enhanced);
                return Ok(Progress { consumed, reply });
            }
        }
    }

    /// Adds one line; true if it is the last of its reply.
    fn add(&mut self, line: &[u8]) -> Result<bool, Error> {
        let (code, is_last, text) = parts(line).ok_or(Error::Malformed)?;
        let reply = self.begun.get_or_insert_with(|| Reply {
            code,
            enhanced: None,
            lines: Vec::new(),
        });
        if reply.code != code {
            return Err(Error::Malformed);
        }
        if reply.lines.len() == MAX_LINES {
            return Err(Error::TooManyLines);
        }
        reply.lines.push(clean(text));
        Ok(is_last)
    }
}

/// Text of a peer as logs and reports may show it: control characters become spaces, foreign octets `\u{FFFD}`.
pub fn clean(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn parts(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    if !matches!(digits[0], b'2'..=b'5') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// Moves the status code from the text of the lines into its own place, if the first line has one.
fn extract_enhanced(mut reply: Reply) -> Reply {
    let word = |line: &String| line.split(' ').next().and_then(EnhancedStatus::parse);
    let status = reply.lines.first().and_then(word);
    let Some(status) = status.filter(|status| u16::from(status.0) == reply.code / 100) else {
        return reply;
    };
    let prefix = status.to_string();
    for line in &mut reply.lines {
        if let Some(rest) = line.strip_prefix(&prefix) {
            *line = rest.trim_start().to_owned();
        }
    }
    reply.enhanced = Some(status);
    reply
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn read(wire: &[u8]) -> Result<Progress, Error> {
        Reader::default().read(wire)
    }

    #[test]
    fn reads_one_reply_and_leaves_the_next() {
        let progress = read(b"250-mx.test\r\n250 HELP\r\n354 go\r\n").unwrap();
        assert_eq!(progress.consumed, 23);
        let reply = progress.reply.unwrap();
        assert_eq!((reply.code, reply.enhanced), (250, None));
        assert_eq!(reply.lines, ["mx.test", "HELP"]);
    }

    #[test]
    fn status_code_is_taken_out_of_the_text() {
        let reply = read(b"550-5.1.1 No such\r\n550 5.1.1 user\r\n")
            .unwrap()
            .reply
            .unwrap();
        assert_eq!(reply.enhanced, Some(EnhancedStatus(5, 1, 1)));
        assert_eq!(reply.lines, ["No such", "user"]);
        let odd = read(b"550 2.1.1 strange\r\n").unwrap().reply.unwrap();
        assert_eq!(
            (odd.enhanced, odd.lines),
            (None, vec!["2.1.1 strange".to_owned()])
        );
    }

    #[test]
    fn text_is_cleaned() {
        let reply = read(b"250 a\x1B[2Jb\0c\xFF\xC2\x9Bd\r\n").unwrap().reply.unwrap();
        assert_eq!(reply.lines, ["a [2Jb c\u{FFFD} d"]);
    }

    #[test]
    fn code_alone_is_a_reply() {
        assert_eq!(read(b"220\r\n").unwrap().reply.unwrap().lines, [""]);
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for wire in [
            "\r\n",
            "25\r\n",
            "2500\r\n",
            "150 x\r\n",
            "650 x\r\n",
            "2x0 x\r\n",
            "250-a\r\n251 b\r\n",
        ] {
            assert_eq!(read(wire.as_bytes()), Err(Error::Malformed), "{wire:?}");
        }
        assert_eq!(read(b"250 a\n"), Err(Error::BareLineEnd));
        assert_eq!(read(&[b'2'; 2048]), Err(Error::LineTooLong));
        assert_eq!(
            read(&b"250-x\r\n".repeat(MAX_LINES + 1)),
            Err(Error::TooManyLines)
        );
        let longest = [b"250-x\r\n".repeat(MAX_LINES - 1), b"250 x\r\n".to_vec()].concat();
        assert_eq!(read(&longest).unwrap().reply.unwrap().lines.len(), MAX_LINES);
    }

    proptest! {
        #[test]
        fn read_inverts_to_wire(
            code in 200u16..600,
            detail in 0u16..1000,
            with_status: bool,
            lines in proptest::collection::vec("[a-z][ -~]{0,20}", 1..5),
        ) {
            let class = u8::try_from(code / 100).unwrap();
            let enhanced = (with_status && class != 3).then_some(EnhancedStatus(class, 1, detail));
            let reply = Reply { code, enhanced, lines };
            let wire = reply.to_wire();
            let progress = read(&wire).unwrap();
            prop_assert_eq!(progress.consumed, wire.len());
            prop_assert_eq!(progress.reply, Some(reply));
        }

        #[test]
        fn arbitrary_octets_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&wire);
        }
    }
}
