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
use crate::smtp::server::{Event, Limits, Params, Profile, Session};

/// Unread octets held at most: a command is shorter.
const INPUT_LIMIT: usize = 64 * 1024;

/// What a session has gathered of a message.
#[derive(Default)]
struct Transaction {
    sender: String,
    recipients: Vec<String>,
    message: Vec<u8>,
}

/// Speaks until the client is done.
pub fn run(place: &Place, options: &Options) -> Result<Status, Failure> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut session = Session::new(params(place), None);
    let started = Instant::now();
    let mut unread = Vec::new();
    let mut open = Transaction::default();
    loop {
        while let Some(out) = session.poll_transmit() {
            output.write_all(&out).map_err(broken)?;
        }
        output.flush().map_err(broken)?;
        if let Some(event) = session.poll_event() {
            handle(&mut session, event, &mut open, (place, options));
            continue;
        }
        if session.is_closed() {
            return Ok(Status::Ok);
        }
        let taken = session.receive(started.elapsed(), &unread);
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
