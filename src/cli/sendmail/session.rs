//! `sendmail -bs`: an SMTP session on standard input and output. Each message is left in the drop folder, as if it had come
//! with arguments.

use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use super::letter::Letter;
use super::options::{Failure, Options, Status};
use super::place::Place;
use super::{drop, user};
use crate::base::machine::Machine as _;
use crate::mail::address::ForwardPath;
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::smtp::server::{Abort, End, Event, Limits, Params, Profile, Session};

/// Unread octets held at most: a command is shorter.
const INPUT_LIMIT: usize = 64 * 1024;

/// Commands that name somebody.
const NAMING: [&str; 2] = ["MAIL FROM:", "RCPT TO:"];

/// What a session has gathered of a message.
#[derive(Default)]
struct Transaction {
    /// MAIL was taken.
    begun: bool,
    /// What comes is the message.
    reading: bool,
    sender: String,
    recipients: Vec<String>,
    message: Vec<u8>,
}

/// Speaks until the client is done. Errors: [`Status::TempFail`] for a session that broke off.
pub fn run(place: &Place, options: &Options) -> Result<Status, Failure> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut session = Session::new(params(place), None);
    let started = Instant::now();
    let mut unread = Vec::new();
    let mut open = Transaction::default();
    let mut broke_off = false;
    loop {
        while let Some(out) = session.poll_transmit() {
            output.write_all(&out).map_err(broken)?;
        }
        output.flush().map_err(broken)?;
        if let Some(event) = session.poll_event() {
            broke_off |= breaks_off(&event, &open);
            handle(&mut session, event, &mut open, (place, options));
            continue;
        }
        if session.is_closed() {
            return match broke_off {
                true => Err(Failure::new(Status::TempFail, "the session broke off")),
                false => Ok(Status::Ok),
            };
        }
        let length = match open.reading {
            true => unread.len(),
            false => complete(&mut unread),
        };
        let taken = session.receive(started.elapsed(), &unread[..length]);
        if taken > 0 {
            unread.drain(..taken);
            continue;
        }
        let mut piece = [0; 16 * 1024];
        let count = input.read(&mut piece).map_err(broken)?;
        unread.extend_from_slice(&piece[..count]);
        if count == 0 || unread.len() > INPUT_LIMIT {
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

/// Octets of the first line, which are completed if they name somebody without a domain. Those of a part of such a line wait
/// for the rest.
fn complete(unread: &mut Vec<u8>) -> usize {
    let Some(end) = memchr::memchr(b'\n', unread) else {
        return if is_naming(unread) { 0 } else { unread.len() };
    };
    let line = &unread[..=end];
    let Some(completed) = with_domain(line) else {
        return end + 1;
    };
    let length = completed.len();
    drop(unread.splice(..=end, completed));
    length
}

/// Whether a line, or the part of it that is there, is one of a command that names somebody.
fn is_naming(line: &[u8]) -> bool {
    NAMING.iter().any(|command| {
        let both = line.len().min(command.len());
        line[..both].eq_ignore_ascii_case(&command.as_bytes()[..both])
    })
}

/// The line with `localhost` behind a name without a domain: the daemon takes that for the domain of such names.
fn with_domain(line: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memchr(b'<', line).filter(|_| is_naming(line))? + 1;
    let end = start + memchr::memchr(b'>', &line[start..])?;
    let name = &line[start..end];
    let lacks_domain = !name.is_empty() && !name.contains(&b'@');
    lacks_domain.then(|| [&line[..end], b"@localhost".as_slice(), &line[end..]].concat())
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
        Event::DataStart => {
            open.reading = true;
            session.accept();
        }
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
    use super::*;

    fn completed(line: &str) -> (String, usize) {
        let mut unread = line.as_bytes().to_vec();
        let length = complete(&mut unread);
        (String::from_utf8_lossy(&unread).into_owned(), length)
    }

    #[test]
    fn names_without_a_domain_get_one() {
        for (line, whole) in [
            ("MAIL FROM:<root>\r\n", "MAIL FROM:<root@localhost>\r\n"),
            ("rcpt to: <root> X=y\r\n", "rcpt to: <root@localhost> X=y\r\n"),
            ("MAIL FROM:<>\r\n", "MAIL FROM:<>\r\n"),
            ("RCPT TO:<a@a.test>\r\n", "RCPT TO:<a@a.test>\r\n"),
            ("RCPT TO:root\r\n", "RCPT TO:root\r\n"),
            ("VRFY <root>\r\n", "VRFY <root>\r\n"),
        ] {
            assert_eq!(completed(line), (whole.to_owned(), whole.len()), "{line}");
        }
    }

    #[test]
    fn one_line_is_taken_at_a_time() {
        let lines = "RCPT TO:<a>\r\nRCPT TO:<b>\r\n";
        let (left, length) = completed(lines);
        assert_eq!(&left[..length], "RCPT TO:<a@localhost>\r\n");
        assert_eq!(&left[length..], "RCPT TO:<b>\r\n");
        for (part, length) in [("", 0), ("RCP", 0), ("rcpt to:<a", 0), ("QUI", 3)] {
            assert_eq!(completed(part), (part.to_owned(), length));
        }
    }
}
