//! `sendmail -bs`: an SMTP session on standard input and output. Each message is left in the drop folder, as if it had come
//! with arguments.
//!
//! Programs may end lines in LF. They end in CRLF before the session sees them, so that it and we agree about where the message
//! ends. Chunks (BDAT) are counted, and stay as they are.

use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use super::letter::Letter;
use super::options::{Failure, Options, Status};
use super::place::Place;
use super::{drop, user};
use crate::base::machine::Machine as _;
use crate::mail::address::{Domain, ForwardPath};
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::smtp::MAX_LINE;
use crate::smtp::command::{self, Command};
use crate::smtp::server::{Abort, End, Event, Limits, Params, Profile, Session};

/// Octets that wait for the end of their line, at most. Commands are shorter.
const INPUT_LIMIT: usize = 64 * 1024;

/// What a session has gathered of a message.
#[derive(Default)]
struct Transaction {
    /// MAIL was taken.
    begun: bool,
    sender: String,
    recipients: Vec<String>,
    message: Vec<u8>,
}

/// What comes on standard input, with its line ends in order.
#[derive(Default)]
struct Input {
    /// As it came.
    unread: Vec<u8>,
    /// In order, and not taken by the session.
    front: Vec<u8>,
    /// Lines are those of a message, up to a dot alone.
    is_text: bool,
    /// The start of a long line is gone.
    is_within_line: bool,
    /// The last command was BDAT.
    is_chunked: bool,
    /// Octets of its chunk that are to come.
    chunk: u64,
}

impl Input {
    /// The session takes the message that comes next.
    fn begin_message(&mut self) {
        self.is_text = !self.is_chunked;
    }

    /// Puts the next line, or the next octets of a chunk, to the front. False if there is none.
    fn advance(&mut self) -> bool {
        if self.chunk > 0 && !self.unread.is_empty() {
            let there = self.unread.len();
            let length = usize::try_from(self.chunk).map_or(there, |left| left.min(there));
            self.front.extend(self.unread.drain(..length));
            self.chunk -= length as u64;
            return true;
        }
        match memchr::memchr(b'\n', &self.unread) {
            Some(end) => self.take_line(end),
            None if self.unread.len() > INPUT_LIMIT => self.take_part(),
            None => return false,
        }
        true
    }

    fn take_line(&mut self, end: usize) {
        let mut line: Vec<u8> = self.unread.drain(..=end).collect();
        if !line.ends_with(b"\r\n") {
            line.pop();
            line.extend_from_slice(b"\r\n");
        }
        match (self.is_text, self.is_within_line) {
            (true, false) => self.is_text = line != b".\r\n",
            (false, false) => self.note(&line),
            (_, true) => {}
        }
        self.is_within_line = false;
        self.front.extend(line);
    }

    /// Of a line that is too long to wait for. A CR at its end may belong to a line end.
    fn take_part(&mut self) {
        let length = self.unread.len() - usize::from(self.unread.ends_with(b"\r"));
        self.front.extend(self.unread.drain(..length));
        self.is_within_line = true;
    }

    /// Octets follow BDAT whatever the answer will be.
    fn note(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        self.is_chunked = false;
        if line.len() <= MAX_LINE
            && let Ok(Command::Bdat(chunk)) = command::parse(text)
        {
            self.is_chunked = true;
            self.chunk = chunk.size_bytes;
        }
    }
}

/// Speaks until the client is done. Errors: [`Status::TempFail`] for a session that broke off.
pub fn run(place: &Place, options: &Options) -> Result<Status, Failure> {
    let (mut stdin, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut session = Session::new(params(place), None);
    let started = Instant::now();
    let mut input = Input::default();
    let mut open = Transaction::default();
    let mut broke_off = false;
    loop {
        while let Some(out) = session.poll_transmit() {
            output.write_all(&out).map_err(broken)?;
        }
        output.flush().map_err(broken)?;
        if let Some(event) = session.poll_event() {
            broke_off |= breaks_off(&event, &open);
            if event == Event::DataStart {
                input.begin_message();
            }
            handle(&mut session, event, &mut open, (place, options));
            continue;
        }
        if session.is_closed() {
            return match broke_off {
                true => Err(Failure::new(Status::TempFail, "the session broke off")),
                false => Ok(Status::Ok),
            };
        }
        let taken = session.receive(started.elapsed(), &input.front);
        if taken > 0 {
            input.front.drain(..taken);
            continue;
        }
        if input.advance() {
            continue;
        }
        let mut piece = [0; 16 * 1024];
        let count = stdin.read(&mut piece).map_err(broken)?;
        input.unread.extend_from_slice(&piece[..count]);
        if count == 0 {
            session.end_of_input(started.elapsed());
        }
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::new(Status::TempFail, format!("the session cannot go on: {error}"))
}

/// Whoever goes without QUIT has lost nothing if no message was begun.
fn breaks_off(event: &Event, open: &Transaction) -> bool {
    match event {
        Event::DataAborted(abort) => *abort == Abort::SessionEnded,
        Event::Closed(End::PeerClosed) => open.begun,
        Event::Closed(end) => *end != End::Quit,
        _ => false,
    }
}

fn params(place: &Place) -> Params {
    Params {
        host: place.host.clone(),
        profile: Profile::Transfer,
        starttls: false,
        scram: false,
        banner_tokens: Vec::new(),
        // What is asked for each recipient has no place in the file.
        dsn: false,
        // The daemon takes that for the domain of such names.
        origin: Domain::parse("localhost").ok(),
        limits: Limits {
            message_bytes: place.message_bytes,
            ..Limits::default()
        },
    }
}

fn handle(session: &mut Session, event: Event, open: &mut Transaction, whom: (&Place, &Options)) {
    match event {
        Event::MailFrom(mail) => {
            *open = Transaction {
                begun: true,
                sender: mail.reverse_path.to_string(),
                ..Transaction::default()
            };
            session.accept();
        }
        Event::RcptTo(rcpt) => {
            open.recipients.push(match rcpt.forward_path {
                ForwardPath::Mailbox(mailbox) => mailbox.to_string(),
                ForwardPath::Postmaster => String::from("postmaster"),
            });
            session.accept();
        }
        Event::DataStart => session.accept(),
        Event::Data(piece) => open.message.extend_from_slice(&piece),
        Event::DataEnd { .. } => match leave(std::mem::take(open), whom) {
            Ok(()) => session.accept_with("Ok: left for the daemon"),
            Err(failure) => session.refuse(reply(&failure)),
        },
        Event::Reset | Event::DataAborted(_) | Event::Hello(_) => *open = Transaction::default(),
        // Not offered.
        Event::Verifier { .. } | Event::Authenticate(_) => {
            session.refuse(Reply::new(502, EnhancedStatus(5, 5, 1), "Not here"));
        }
        Event::LoginRefused | Event::StartTls | Event::Closed(_) => {}
    }
}

fn leave(open: Transaction, (place, options): (&Place, &Options)) -> Result<(), Failure> {
    let letter = Letter::of(open.message);
    let mut dropped = options.envelope(&user::caller(), open.recipients)?;
    dropped.sender = open.sender;
    letter.demand_acceptable(&dropped)?;
    drop::leave(place, &dropped, letter.octets())
}

fn reply(failure: &Failure) -> Reply {
    match failure.status {
        Status::DataErr => Reply::new(550, EnhancedStatus(5, 6, 0), &failure.text),
        Status::Usage | Status::NoUser => Reply::new(553, EnhancedStatus(5, 1, 3), &failure.text),
        _ => Reply::new(451, EnhancedStatus(4, 3, 0), &failure.text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What the session would get of it, in steps; a message begins after DATA and BDAT.
    fn in_order(input: &[u8]) -> Vec<String> {
        let mut whole = Input {
            unread: input.to_vec(),
            ..Input::default()
        };
        let mut steps = Vec::new();
        while whole.advance() {
            let step = String::from_utf8(std::mem::take(&mut whole.front)).unwrap();
            if step.starts_with("DATA") || step.starts_with("BDAT") {
                whole.begin_message();
            }
            steps.push(step);
        }
        steps
    }

    #[test]
    fn lines_end_in_crlf_whatever_they_ended_in() {
        let lines = in_order(b"NOOP\nRSET\r\nDATA\na\r\n..\nb\rc\nBDAT 9\n.\nQUIT\nrest");
        let expected = [
            "NOOP\r\n",
            "RSET\r\n",
            "DATA\r\n",
            "a\r\n",
            "..\r\n",
            "b\rc\r\n",
            "BDAT 9\r\n",
            ".\r\n",
            "QUIT\r\n",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn chunks_stay_as_they_are() {
        let lines = in_order(b"BDAT 5\na\n.\nbbdat 2 LAST\r\nc\nQUIT\n");
        assert_eq!(
            lines,
            ["BDAT 5\r\n", "a\n.\nb", "bdat 2 LAST\r\n", "c\n", "QUIT\r\n"]
        );
    }

    #[test]
    fn a_long_line_comes_in_parts_and_has_one_end() {
        let long = "x".repeat(INPUT_LIMIT);
        let mut input = Input {
            unread: format!("{long}\r").into_bytes(),
            is_text: true,
            ..Input::default()
        };
        assert!(input.advance());
        assert_eq!(input.front, long.as_bytes());
        input.front.clear();
        input.unread.extend_from_slice(b"\n.\n");
        assert!(input.advance() && input.is_text);
        assert!(input.advance() && !input.is_text);
        assert_eq!(input.front, b"\r\n.\r\n");
    }
}
