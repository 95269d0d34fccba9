//! Safe delivery of rebuilt messages through line-oriented protocols (`dmime2.md` §17).
//!
//! A body may hold anything, also octets that a careless peer takes for the end of the message and for commands. What is
//! not plain lines goes wrapped, in base64. A large message is read twice, in pieces: a [`Judge`] says how it may go, and
//! a [`Sender`] brings it into that form.

use bytes::Bytes;
use memchr::memchr3_iter;

use super::MAX_HEADER_BLOCK;
use super::format1::{LINE_OCTETS, append_base64, base64_lines_size};
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
    judged(message).verdict
}

/// The message in a form that may go by DATA: as it is, folded, or wrapped.
pub fn safe_for_data(message: Bytes) -> Bytes {
    let safe = judged(&message);
    match safe.verdict {
        ByData::AsIs => message,
        ByData::Fold | ByData::Never => safe.apply(&message).into(),
    }
}

/// Puts the whole message, in base64, into one whose outer header has its common fields.
pub fn wrap(message: &[u8]) -> Vec<u8> {
    let (header_end, _) = split(message);
    Safe::wrapped(&message[..header_end], message.len() as u64).apply(message)
}

fn judged(message: &[u8]) -> Safe {
    let mut judge = Judge::default();
    judge.push(message);
    judge.finish()
}

/// Judges a message that comes in pieces, cut anywhere. Holds its header block as far as that can be mapped.
#[derive(Debug, Default)]
pub struct Judge {
    /// The header block as far as it has come.
    header: Vec<u8>,
    header_ended: bool,
    lines: Lines,
    size_bytes: u64,
}

impl Judge {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.size_bytes += piece.len() as u64;
        let body = match self.header_ended {
            true => piece,
            false => self.push_header(piece),
        };
        self.lines.push(body);
    }

    /// The message is complete.
    pub fn finish(mut self) -> Safe {
        self.lines.end(self.header_ended);
        let folded = folded(&self.header).filter(|_| self.lines.are_plain && self.lines.are_short);
        match folded {
            None => Safe::wrapped(&self.header, self.size_bytes),
            Some(block) if block == self.header => Safe {
                verdict: ByData::AsIs,
                front: Vec::new(),
                replaces: 0,
                size_bytes: self.size_bytes,
            },
            Some(block) => Safe {
                verdict: ByData::Fold,
                size_bytes: self.size_bytes - self.header.len() as u64 + block.len() as u64,
                replaces: self.header.len(),
                front: block,
            },
        }
    }

    /// Adds to the header block, and gives what is behind it.
    fn push_header<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let before = self.header.len();
        self.header.extend_from_slice(piece);
        let found = match self.header.starts_with(b"\r\n") {
            true => Some((0, 2)),
            false => {
                let seen = before.saturating_sub(3);
                find(&self.header[seen..], b"\r\n\r\n").map(|place| (seen + place + 2, seen + place + 4))
            }
        };
        let (header_end, body_start) = match found {
            Some(found) => found,
            None if self.header.len() <= MAX_HEADER_BLOCK => return &[],
            None => (self.header.len(), self.header.len()),
        };
        self.lines.push_header(&self.header[..body_start]);
        self.header_ended = true;
        // A header block that long is not folded.
        self.lines.are_short &= header_end <= MAX_HEADER_BLOCK;
        self.header.truncate(header_end);
        &piece[body_start - before..]
    }
}

/// What the lines of a message are like.
#[derive(Debug)]
struct Lines {
    after_cr: bool,
    /// Octets since the last line end.
    length: usize,
    /// Every CR is followed by LF, every LF preceded by CR, and there is no NUL.
    are_plain: bool,
    /// No line of the body is too long.
    are_short: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            after_cr: false,
            length: 0,
            are_plain: true,
            are_short: true,
        }
    }
}

impl Lines {
    /// Takes the header block, whose long lines are not looked at: they can be folded.
    fn push_header(&mut self, block: &[u8]) {
        self.push(block);
        self.are_short = true;
        self.length = 0;
    }

    fn push(&mut self, piece: &[u8]) {
        let mut start = 0;
        for place in memchr3_iter(b'\r', b'\n', 0, piece) {
            self.text(place - start);
            let is_end = piece[place] == b'\n';
            self.are_plain &= piece[place] != 0 && self.after_cr == is_end;
            self.after_cr = piece[place] == b'\r';
            if is_end {
                self.length = 0;
            }
            start = place + 1;
        }
        self.text(piece.len() - start);
    }

    fn text(&mut self, octets: usize) {
        if octets > 0 {
            self.are_plain &= !self.after_cr;
            self.after_cr = false;
            self.length = self.length.saturating_add(octets);
            self.are_short &= self.length <= MAX_LINE;
        }
    }

    /// The message is complete; if it is all header, its long lines can be folded.
    fn end(&mut self, header_ended: bool) {
        self.are_plain &= !self.after_cr;
        self.are_short |= !header_ended;
    }
}

/// A message that has been judged, and what makes it safe for DATA.
#[derive(Debug)]
pub struct Safe {
    verdict: ByData,
    /// Stands in place of the first octets.
    front: Vec<u8>,
    replaces: usize,
    size_bytes: u64,
}

impl Safe {
    /// How the message as it was may go.
    pub fn verdict(&self) -> ByData {
        self.verdict
    }

    /// Octets of the safe form.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Starts to bring the pieces of the message into the safe form.
    pub fn sender(&self) -> Sender {
        Sender {
            front: self.front.clone(),
            skip: self.replaces,
            wrapped: (self.verdict == ByData::Never).then(Vec::new),
        }
    }

    fn wrapped(block: &[u8], size_bytes: u64) -> Self {
        let mut front = outer_fields(block);
        front.extend_from_slice(
            b"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        );
        Self {
            verdict: ByData::Never,
            size_bytes: front.len() as u64 + base64_lines_size(size_bytes),
            front,
            replaces: 0,
        }
    }

    /// The safe form of the whole message.
    fn apply(&self, message: &[u8]) -> Vec<u8> {
        let mut sender = self.sender();
        let mut out = sender.push(message);
        out.extend(sender.finish());
        out
    }
}

/// Brings a message into its safe form, piece by piece.
#[derive(Debug)]
pub struct Sender {
    /// Not given yet.
    front: Vec<u8>,
    /// Octets of the message that the front replaces.
    skip: usize,
    /// What is wrapped waits here until it fills a line.
    wrapped: Option<Vec<u8>>,
}

impl Sender {
    /// Takes the next piece and gives what can be sent.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.front);
        let skipped = self.skip.min(piece.len());
        self.skip -= skipped;
        let piece = &piece[skipped..];
        let Some(waiting) = &mut self.wrapped else {
            out.extend_from_slice(piece);
            return out;
        };
        waiting.extend_from_slice(piece);
        let whole_lines = waiting.len() - waiting.len() % LINE_OCTETS;
        append_base64(&mut out, &waiting[..whole_lines]);
        waiting.drain(..whole_lines);
        out
    }

    /// The message is complete: gives what is left.
    pub fn finish(self) -> Vec<u8> {
        let mut out = self.front;
        append_base64(&mut out, &self.wrapped.unwrap_or_default());
        out
    }
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
            || !is_plain(field)
        {
            continue;
        }
        if let Some(folded) = folded(field) {
            out.extend_from_slice(&folded);
        }
    }
    out
}

fn is_plain(octets: &[u8]) -> bool {
    let mut lines = Lines::default();
    lines.push(octets);
    lines.are_plain && !lines.after_cr
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
