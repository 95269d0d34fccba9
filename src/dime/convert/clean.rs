//! Cleaning of mail that comes in by any way but D/MIME (`dmime2.md` §17).
//!
//! CRLF, a bare CR and a bare LF each end a line and are written as CRLF. From the header block, which ends at the first
//! empty line, every field goes whose name starts with `DIME-` or `Dimed-`, and every `Authentication-Results` that names
//! this server, so that nobody can forge what only we may say.

/// Own name in fields of results of authentication.
const RESULTS: &[u8] = b"authentication-results";
/// What D/MIME says, and what this server says of the host that brought a message.
const MARKERS: [&[u8]; 2] = [b"dime-", b"dimed-"];
/// A field of results longer than this goes whatever it says; also the longest run of blanks before a colon.
const MAX_HELD: usize = 64 << 10;

/// Cleans a whole message; see [`EntryCleaner`] for a message in pieces.
pub fn clean_on_entry(message: &[u8], server: &str) -> Vec<u8> {
    let mut cleaner = EntryCleaner::new(server);
    let mut out = cleaner.push(message);
    out.extend(cleaner.finish());
    out
}

/// Cleans a message that arrives in pieces, cut anywhere. Holds back at most one field of results.
#[derive(Debug)]
pub struct EntryCleaner {
    server: Vec<u8>,
    place: Place,
    /// The last octet was a CR; an LF after it belongs to the same line end.
    after_cr: bool,
}

#[derive(Debug)]
enum Place {
    /// At the start of a header line, inside a field that is treated so.
    LineStart(Treatment),
    /// Inside a header line.
    InLine(Treatment),
    Body,
}

/// What happens to the current field.
#[derive(Debug)]
enum Treatment {
    /// Its name is not complete; these octets are held.
    Unknown(Vec<u8>),
    /// A field of results that may name this server; held.
    Held(Vec<u8>),
    Kept,
    Dropped,
}

impl EntryCleaner {
    /// `server` is the name this server uses in `Authentication-Results`.
    pub fn new(server: &str) -> Self {
        Self {
            server: server.to_ascii_lowercase().into_bytes(),
            place: Place::LineStart(Treatment::Kept),
            after_cr: false,
        }
    }

    /// Takes the next piece and gives what is known to stay: never more than twice the piece and what was held.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() + 16);
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.after_cr && first == b'\n' {
                self.after_cr = false;
                rest = &rest[1..];
                continue;
            }
            self.after_cr = first == b'\r';
            if matches!(first, b'\r' | b'\n') {
                self.line_end(&mut out);
                rest = &rest[1..];
                continue;
            }
            let run = rest
                .iter()
                .position(|octet| matches!(octet, b'\r' | b'\n'))
                .unwrap_or(rest.len());
            self.text(&rest[..run], &mut out);
            rest = &rest[run..];
        }
        out
    }

    /// The message is complete: gives what was still held and stays.
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match std::mem::replace(&mut self.place, Place::Body) {
            Place::LineStart(treatment) | Place::InLine(treatment) => self.settle(treatment, &mut out),
            Place::Body => {}
        }
        out
    }

    /// A run of octets without line ends.
    fn text(&mut self, run: &[u8], out: &mut Vec<u8>) {
        self.place = match std::mem::replace(&mut self.place, Place::Body) {
            Place::Body => {
                out.extend_from_slice(run);
                Place::Body
            }
            Place::InLine(treatment) => Place::InLine(treatment.take(run, out)),
            Place::LineStart(treatment) if matches!(run[0], b' ' | b'\t') => {
                Place::InLine(treatment.take(run, out))
            }
            Place::LineStart(previous) => {
                self.settle(previous, out);
                Place::InLine(Treatment::Unknown(Vec::new()).take(run, out))
            }
        };
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        self.place = match std::mem::replace(&mut self.place, Place::Body) {
            Place::Body => {
                out.extend_from_slice(b"\r\n");
                Place::Body
            }
            // An empty line ends the header block.
            Place::LineStart(previous) => {
                self.settle(previous, out);
                out.extend_from_slice(b"\r\n");
                Place::Body
            }
            Place::InLine(treatment) => Place::LineStart(treatment.end_line(out)),
        };
    }

    /// A field is complete: what was held of it stays or goes.
    fn settle(&self, treatment: Treatment, out: &mut Vec<u8>) {
        match treatment {
            Treatment::Unknown(held) => out.extend_from_slice(&held),
            Treatment::Held(held) if !self.is_named_in(&held) => out.extend_from_slice(&held),
            _ => {}
        }
    }

    /// Backslashes do not hide the name, which mean nothing in a quoted string, nor do folds and comments inside it. A field whose
    /// results somebody gives who is written in other letters or as an encoded word may mean us, too.
    fn is_named_in(&self, field: &[u8]) -> bool {
        let plain: Vec<u8> = field.iter().copied().filter(|octet| *octet != b'\\').collect();
        let bare = without_comments(&plain);
        let length = self.server.len().max(1);
        let is_in = |text: &[u8]| {
            text.windows(length)
                .any(|window| window.eq_ignore_ascii_case(&self.server))
        };
        let who = bare.split(|octet| *octet == b';').next().unwrap_or_default();
        is_in(&plain) || is_in(&bare) || !who.is_ascii() || who.windows(2).any(|window| window == b"=?")
    }
}

/// Text without comments and blanks. What closes no comment goes, too.
fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut depth = 0_usize;
    let mut out = Vec::with_capacity(text.len());
    for octet in text {
        match octet {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            octet if depth == 0 => out.push(*octet),
            _ => {}
        }
    }
    out
}

impl Treatment {
    /// Takes a run of octets of the current line.
    fn take(self, run: &[u8], out: &mut Vec<u8>) -> Self {
        match self {
            Self::Dropped => Self::Dropped,
            Self::Kept => {
                out.extend_from_slice(run);
                Self::Kept
            }
            Self::Held(held) => Self::held(held, run),
            Self::Unknown(mut held) => {
                held.extend_from_slice(run);
                Self::of_name(held, out)
            }
        }
    }

    /// Takes the end of the current line. A line without a colon is no field of results.
    fn end_line(self, out: &mut Vec<u8>) -> Self {
        match self {
            Self::Unknown(held) => {
                out.extend_from_slice(&held);
                out.extend_from_slice(b"\r\n");
                Self::Kept
            }
            other => other.take(b"\r\n", out),
        }
    }

    fn held(mut held: Vec<u8>, run: &[u8]) -> Self {
        if held.len() + run.len() > MAX_HELD {
            return Self::Dropped;
        }
        held.extend_from_slice(run);
        Self::Held(held)
    }

    /// Decides by the name as far as it is known.
    fn of_name(held: Vec<u8>, out: &mut Vec<u8>) -> Self {
        if MARKERS.iter().any(|marker| starts_with(&held, marker)) {
            return Self::Dropped;
        }
        let may_be = |name: &&[u8]| starts_with(name, &held);
        if MARKERS.iter().any(may_be) || starts_with(RESULTS, &held) {
            return Self::Unknown(held);
        }
        if starts_with(&held, RESULTS) {
            let after = held[RESULTS.len()..]
                .iter()
                .find(|octet| !matches!(octet, b' ' | b'\t'));
            match after {
                Some(b':') => return Self::held(Vec::new(), &held),
                None if held.len() > MAX_HELD => return Self::Dropped,
                None => return Self::Unknown(held),
                Some(_) => {}
            }
        }
        out.extend_from_slice(&held);
        Self::Kept
    }
}

/// Whether `octets` starts with `front`, compared without case.
fn starts_with(octets: &[u8], front: &[u8]) -> bool {
    octets
        .get(..front.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(front))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "mx.xn--bcher-kva.test";

    #[test]
    fn no_spelling_hides_that_results_are_said_to_be_ours() {
        for who in [
            "mx.xn--bcher-kva.test;",
            "MX.XN--Bcher-kva.TEST;",
            "mx.xn--bcher-kva.test.;",
            "\"mx.xn--bcher-kva.test\" 1;",
            "\"mx\\.xn--\\bcher-kva.test\";",
            "(a (b) c) mx.xn--bcher-kva.test;",
            "\r\n\tmx.xn--bcher-kva.test\r\n ;",
            "mx.(a)xn--bcher-kva(b\r\n ).test;",
            "mx.\r\n xn--bcher-kva.test;",
            "\"mx.xn--bcher-\r\n\tkva.test\";",
            "mx.b\u{fc}cher.test;",
            "\u{ff4d}x.xn--bcher-kva.tes\u{ff54};",
            "=?utf-8?q?mx=2Exn--bcher-kva=2Etest?=;",
            "other.test; spf=pass (mx.xn--bcher-kva.test)",
            "relay.mx.xn--bcher-kva.test;",
        ] {
            for name in ["Authentication-Results:", "AUTHENTICATION-results \t :"] {
                let message = format!("A: b\r\n{name} {who} dmarc=pass\r\nC: d\r\n\r\n");
                let cleaned = clean_on_entry(message.as_bytes(), SERVER);
                assert_eq!(String::from_utf8_lossy(&cleaned), "A: b\r\nC: d\r\n\r\n", "{who}");
            }
        }
    }

    #[test]
    fn results_of_others_stay() {
        for field in [
            "Authentication-Results: mx.other.test; spf=pass (b\u{fc}cher) smtp.mailfrom=b.test\r\n",
            "Authentication-Results: b\r\n\t.test (=?utf-8?q?x?=); none\r\n",
            "ARC-Authentication-Results: i=1; mx.xn--bcher-kva.test; dmarc=pass\r\n",
            "Authentication-Results mx.xn--bcher-kva.test;\r\n",
        ] {
            let message = format!("{field}\r\nbody");
            let cleaned = clean_on_entry(message.as_bytes(), SERVER);
            assert_eq!(String::from_utf8_lossy(&cleaned), message);
        }
    }
}
