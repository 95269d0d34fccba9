//! Message data on the wire: dots doubled at line starts, `CRLF.CRLF` at the end (RFC 5321 §4.5.2), or counted octets
//! (RFC 3030).

use memchr::{memchr2, memchr3};

/// Why received data is not accepted as a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// CR without LF.
    #[error("bare CR")]
    BareCr,
    /// LF without CR.
    #[error("bare LF")]
    BareLf,
    /// A zero octet.
    #[error("NUL")]
    Nul,
    /// A line of more octets than allowed.
    #[error("line too long")]
    LineTooLong,
    /// More octets than allowed.
    #[error("message too large")]
    TooLarge,
}

/// Bounds on received data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Octets of the message, line ends counted, doubled dots not.
    pub message: u64,
    /// Octets of one line without its end.
    pub line: usize,
    /// What becomes of CR and LF by themselves.
    pub bare: BareLineEnds,
}

/// What becomes of CR or LF by itself. It never ends the data, and a dot after it is never doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareLineEnds {
    /// A fault: nobody can tell what the next host would take it for (RFC 5321 §2.3.8).
    Refused,
    /// Part of the message: for a submission server, which puts line ends in order (RFC 6409 §8).
    Kept,
}

/// Where in the data the decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot that was a line's only content, and CR.
    DotCr,
    Text,
    /// After CR that ends a line if LF follows.
    Cr,
    End,
}

/// Takes received data apart. Everything up to the end of data is consumed, whatever is wrong with it: only
/// `CRLF.CRLF` ends it, so that nothing in it is ever read as a command.
#[derive(Debug)]
pub struct Decoder {
    dotted: bool,
    place: Place,
    bounds: Bounds,
    size: u64,
    line: usize,
    fault: Option<Fault>,
}

impl Decoder {
    /// Starts where the client has been told to go ahead.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            dotted: true,
            place: Place::LineStart,
            bounds,
            size: 0,
            line: 0,
            fault: None,
        }
    }

    /// For data in counted chunks: dots mean nothing, and [`finish`](Self::finish) tells where it ends.
    pub fn counted(bounds: Bounds) -> Self {
        Self {
            dotted: false,
            ..Self::new(bounds)
        }
    }

    /// Ends counted data.
    pub fn finish(&mut self) {
        if self.place == Place::Cr {
            self.blame(Fault::BareCr);
        }
        self.place = Place::End;
    }

    /// Decodes the front of `input` into `message` and returns how many octets were consumed: all, or those up to
    /// the end of data. After a fault nothing more is written.
    pub fn decode(&mut self, input: &[u8], message: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < input.len() && !self.is_complete() {
            at += match self.place {
                Place::Text => self.run(&input[at..], message),
                _ => self.step(input[at], message),
            };
        }
        at
    }

    /// Whether the end of data has been read.
    pub fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// The first thing found wrong.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Octets of the message so far.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// Takes octets up to and with the next that is not plain text.
    fn run(&mut self, input: &[u8], message: &mut Vec<u8>) -> usize {
        let plain = memchr3(b'\r', b'\n', 0, input).unwrap_or(input.len());
        self.put(&input[..plain], message);
        match input.get(plain) {
            Some(octet) => plain + self.text(*octet, message),
            None => plain,
        }
    }

    /// Takes one octet anywhere but inside text.
    fn step(&mut self, octet: u8, message: &mut Vec<u8>) -> usize {
        match (self.place, octet) {
            (Place::LineStart, b'.') if self.dotted => self.place = Place::Dot,
            (Place::Dot, b'\r') => self.place = Place::DotCr,
            (Place::DotCr, b'\n') => self.place = Place::End,
            (Place::Cr, b'\n') => self.end_line(message),
            (Place::Cr | Place::DotCr, _) => {
                self.bare(b'\r', Fault::BareCr, message);
                self.text(octet, message);
            }
            _ => {
                self.text(octet, message);
            }
        }
        1
    }

    /// Takes one octet that is part of a line's text, or ends it.
    fn text(&mut self, octet: u8, message: &mut Vec<u8>) -> usize {
        self.place = Place::Text;
        match octet {
            b'\r' => self.place = Place::Cr,
            b'\n' => self.bare(b'\n', Fault::BareLf, message),
            0 => self.blame(Fault::Nul),
            _ => self.put(&[octet], message),
        }
        1
    }

    fn end_line(&mut self, message: &mut Vec<u8>) {
        self.line = 0;
        self.place = Place::LineStart;
        self.write(b"\r\n", message);
    }

    fn bare(&mut self, octet: u8, fault: Fault, message: &mut Vec<u8>) {
        match self.bounds.bare {
            BareLineEnds::Refused => self.blame(fault),
            BareLineEnds::Kept => {
                self.line = 0;
                self.write(&[octet], message);
            }
        }
    }

    fn put(&mut self, text: &[u8], message: &mut Vec<u8>) {
        self.line = self.line.saturating_add(text.len());
        if self.line > self.bounds.line {
            self.blame(Fault::LineTooLong);
        }
        self.write(text, message);
    }

    fn write(&mut self, octets: &[u8], message: &mut Vec<u8>) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > self.bounds.message {
            self.blame(Fault::TooLarge);
        }
        if self.fault.is_none() {
            message.extend_from_slice(octets);
        }
    }

    fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// Puts a message into the form of the wire, piece by piece: for DATA with dots doubled, for BDAT without.
///
/// What it writes never has a CR or LF by itself: each becomes CRLF, because another host may take one for a line
/// end where we do not (RFC 5321 §2.3.8).
#[derive(Debug, Default)]
pub struct Encoder {
    inside: Inside,
    counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    #[default]
    LineStart,
    Text,
    /// CR was read and not written yet.
    Cr,
}

impl Encoder {
    /// For data in counted chunks: dots mean nothing, and nothing marks the end.
    pub fn counted() -> Self {
        Self {
            counted: true,
            ..Self::default()
        }
    }

    /// Encodes the next piece of the message into `wire`.
    pub fn encode(&mut self, piece: &[u8], wire: &mut Vec<u8>) {
        wire.reserve(piece.len() + 16);
        let mut rest = piece;
        while let Some(first) = rest.first() {
            rest = match (self.inside, first) {
                (Inside::Cr, b'\n') => self.end_line(&rest[1..], wire),
                (Inside::Cr, _) => self.end_line(rest, wire),
                _ => self.run(rest, wire),
            };
        }
    }

    /// Ends the last line if it is open, and the data.
    pub fn finish(self, wire: &mut Vec<u8>) {
        if self.inside != Inside::LineStart {
            wire.extend_from_slice(b"\r\n");
        }
        if !self.counted {
            wire.extend_from_slice(b".\r\n");
        }
    }

    /// Writes octets up to the next line end and returns what follows.
    fn run<'a>(&mut self, input: &'a [u8], wire: &mut Vec<u8>) -> &'a [u8] {
        let length = memchr2(b'\r', b'\n', input).unwrap_or(input.len());
        let (text, rest) = input.split_at(length);
        if self.inside == Inside::LineStart && !self.counted && text.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(text);
        if !text.is_empty() {
            self.inside = Inside::Text;
        }
        match rest.split_first() {
            Some((b'\r', after)) => {
                self.inside = Inside::Cr;
                after
            }
            Some((_, after)) => self.end_line(after, wire),
            None => rest,
        }
    }

    fn end_line<'a>(&mut self, rest: &'a [u8], wire: &mut Vec<u8>) -> &'a [u8] {
        wire.extend_from_slice(b"\r\n");
        self.inside = Inside::LineStart;
        rest
    }
}

#[cfg(test)]
mod tests;
