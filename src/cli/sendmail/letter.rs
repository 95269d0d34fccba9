//! A message on standard input.

use std::io::{BufRead, Read as _};

use super::options::{Failure, Status};
use crate::daemon::pickup;
use crate::mail::address::Domain;
use crate::mail::dropped::Dropped;
use crate::mail::local::{self, Author};
use crate::smtp::data::Encoder;

/// The message, as it was written.
pub struct Letter {
    octets: Vec<u8>,
}

/// Octets at the front that are looked at here: as much as a header may have, and more.
const FRONT: usize = 1 << 20;

impl Letter {
    /// Reads a message to its end: of the input, or with `dot_ends` a line with a dot alone.
    pub fn read(input: &mut impl BufRead, dot_ends: bool, most: u64) -> Result<Self, Failure> {
        let mut octets = Vec::new();
        let mut input = input.take(most.saturating_add(1));
        match dot_ends {
            false => input.read_to_end(&mut octets).map(drop).map_err(unread)?,
            true => read_to_dot(&mut input, &mut octets).map_err(unread)?,
        }
        match octets.len() as u64 > most {
            true => Err(Failure::new(
                Status::DataErr,
                format!("the message is larger than {most} octets"),
            )),
            false => Ok(Self { octets }),
        }
    }

    /// A message that came in another way.
    pub fn of(octets: Vec<u8>) -> Self {
        Self { octets }
    }

    /// All of it.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The recipients in its header.
    pub fn recipients(&self) -> Result<Vec<String>, Failure> {
        local::recipients(&self.front()).ok_or_else(|| {
            let text = "To, Cc or Bcc in the header cannot be read: separate addresses by commas";
            Failure::new(Status::DataErr, text)
        })
    }

    /// Whether the daemon will take it.
    pub fn demand_acceptable(&self, envelope: &Dropped) -> Result<(), Failure> {
        let wrong = |text: String| Failure::new(Status::DataErr, text);
        // Names get the domain of this host, which may be as long as any.
        let longest = [63, 63, 63, 61].map(|length| "x".repeat(length)).join(".");
        let origin = Domain::parse(&longest).map_err(|error| wrong(error.to_string()))?;
        let mailbox = local::qualified(&envelope.sender, &origin)
            .or_else(|| local::qualified("mailer-daemon", &origin))
            .ok_or_else(|| wrong("the sender is no address".into()))?;
        let author = Author {
            mailbox: &mailbox,
            name: &envelope.name,
            origin: &origin,
        };
        let completed = local::complete(&self.front(), &author);
        pickup::demand_acceptable(&completed).map_err(|failure| wrong(failure.to_string()))
    }

    /// The front, with line ends in order and without NUL, as the daemon will see it.
    fn front(&self) -> Vec<u8> {
        let mut front = self.octets[..self.octets.len().min(FRONT)].to_vec();
        front.retain(|octet| *octet != 0);
        let mut wire = Vec::new();
        let mut encoder = Encoder::counted();
        encoder.encode(&front, &mut wire);
        encoder.finish(&mut wire);
        match local::begins_with_header(&wire) {
            true => wire,
            false => Vec::new(),
        }
    }
}

fn unread(error: std::io::Error) -> Failure {
    Failure::new(Status::TempFail, format!("the message cannot be read: {error}"))
}

fn read_to_dot(input: &mut impl BufRead, octets: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let start = octets.len();
        if input.read_until(b'\n', octets)? == 0 {
            return Ok(());
        }
        if matches!(&octets[start..], b".\n" | b".\r\n") {
            octets.truncate(start);
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str, dot_ends: bool, most: u64) -> Result<String, Status> {
        let letter = Letter::read(&mut text.as_bytes(), dot_ends, most);
        let octets = letter.map_err(|failure| failure.status)?.octets;
        Ok(String::from_utf8(octets).unwrap())
    }

    #[test]
    fn a_dot_alone_ends_a_message_unless_it_is_ignored() {
        let text = "a\n..\n.b\n.\nafter\n";
        assert_eq!(read(text, true, 99).unwrap(), "a\n..\n.b\n");
        assert_eq!(read(text, false, 99).unwrap(), text);
        assert_eq!(read("a\r\n.\r\nb", true, 99).unwrap(), "a\r\n");
        assert_eq!(read("a\n.", true, 99).unwrap(), "a\n.");
        assert_eq!(read("", true, 99).unwrap(), "");
    }

    #[test]
    fn a_message_has_a_largest_size() {
        assert_eq!(read("12345", false, 5).unwrap(), "12345");
        assert_eq!(read("123456", false, 5), Err(Status::DataErr));
        assert_eq!(read("123456", true, 5), Err(Status::DataErr));
    }

    #[test]
    fn what_the_daemon_would_not_take_is_refused_here() {
        let envelope = Dropped {
            sender: "alice".into(),
            name: String::new(),
            recipients: vec!["bob".into()],
            request: Default::default(),
            notify: Default::default(),
        };
        let judged = |text: &str| Letter::of(text.into()).demand_acceptable(&envelope);
        assert_eq!(judged("hello\n"), Ok(()));
        assert_eq!(judged("Subject: s\n\nhello\n"), Ok(()));
        assert_eq!(judged("Subject: a\nSubject: b\n\n"), Ok(()));
        assert_eq!(judged("Subject: s\0\r\n\r\nhello\r\n"), Ok(()));
        let hops = "Received: x\n".repeat(100);
        let long = format!("Subject: {}\n\n", "x".repeat(1 << 20));
        let names = format!("To: {}root\n\n", "root, ".repeat(1500));
        assert_eq!(judged(&names.replace("root", "a@a.test")), Ok(()));
        assert_eq!(judged(&"no header and no empty line\n".repeat(50_000)), Ok(()));
        for text in ["DIME-Required: perhaps\n\n", &hops, &names, &long] {
            assert_eq!(judged(text).unwrap_err().status, Status::DataErr, "{:.40}", text);
        }
    }
}
