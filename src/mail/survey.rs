//! What a message is like, as far as the next host has to know: found out in one pass over its pieces.

use super::seven_bit::MAX_LINE;

/// What has been seen of a message so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// The header block has octets above 127.
    pub header_eight_bit: bool,
    /// What follows it has.
    pub body_eight_bit: bool,
    /// A line of the body is longer than a line of a message may be.
    pub long_lines: bool,
    in_body: bool,
    /// Octets of the line that is not complete, CR counted.
    line: usize,
}

impl Survey {
    /// Takes the next piece, cut anywhere.
    pub fn push(&mut self, piece: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            self.text(&piece[start..end]);
            // An empty line, apart from CR.
            self.in_body |= self.line <= 1;
            self.line = 0;
            start = end + 1;
            if self.in_body && self.body_eight_bit && self.long_lines {
                return;
            }
        }
        self.text(&piece[start..]);
    }

    fn text(&mut self, text: &[u8]) {
        self.line = self.line.saturating_add(text.len());
        match self.in_body {
            true => {
                self.body_eight_bit |= !text.is_ascii();
                self.long_lines |= self.line > MAX_LINE + 1;
            }
            false => self.header_eight_bit |= !text.is_ascii(),
        }
    }

    /// Whether there are octets above 127 anywhere.
    pub fn is_eight_bit(&self) -> bool {
        self.header_eight_bit || self.body_eight_bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str, length: usize) -> (bool, bool, bool) {
        let mut survey = Survey::default();
        for piece in message.as_bytes().chunks(length) {
            survey.push(piece);
        }
        (survey.header_eight_bit, survey.body_eight_bit, survey.long_lines)
    }

    #[test]
    fn header_and_body_are_told_apart_however_the_message_is_cut() {
        let long = |octets: usize| format!("A: b\r\n\r\n{}\r\nend\r\n", "x".repeat(octets));
        let folded = format!("A: {}\r\n\r\nhi\r\n", "x".repeat(2000));
        for (message, expected) in [
            ("A: b\r\nC: d\r\n\r\nhi\r\n", (false, false, false)),
            ("A: ä\r\nC: d\r\n\r\nhi\r\n", (true, false, false)),
            ("A: b\r\nC: d\r\n\r\n\r\nä", (false, true, false)),
            ("\r\nä\r\n", (false, true, false)),
            ("A: ä\r\n\r\nö\r\n", (true, true, false)),
            (&long(MAX_LINE), (false, false, false)),
            (&long(MAX_LINE + 1), (false, false, true)),
            (&folded, (false, false, false)),
        ] {
            for length in [1, 2, 7, 5000] {
                assert_eq!(of(message, length), expected, "{message:.20} by {length}");
            }
        }
    }
}
