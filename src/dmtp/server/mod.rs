//! The server's side of a DMTP session, inside TLS (`dmtp.md` §4–§8).
//!
//! # States
//!
//! | State | Meaning | MAIL | RCPT | DATA |
//! |---|---|---|---|---|
//! | connected | no EHLO yet | 503 | 503 | 503 |
//! | greeted | EHLO or HELO seen | yes | 503 | 503 |
//! | mail | MAIL accepted | restarts | yes | 503 |
//! | recipient | RCPT accepted | restarts | 431 | yes |
//!
//! SGNT, VRFY and HIST work in every state; libdime's lookup program sends no EHLO. On the submission port
//! ([`Session::with_logins`]) there are AUTH, KEYS, SSR and SETS, and MAIL needs AUTH.

mod body;
pub mod keys;
mod login;
mod params;
pub mod requests;
mod upload;

#[cfg(test)]
mod submission_tests;
#[cfg(test)]
mod tests;

pub use params::{Entry, Event, Limits, Parameters};

use std::collections::VecDeque;
use std::time::Duration;

use self::body::{Body, Fault, Piece};
use self::login::Logins;
use self::upload::Upload;
use super::command::{self, Command, CommitHash, Mail, Protocol};
use super::line::{Item, Lines};
use super::reply::{self, TransactionId, Verdict};
use crate::base::machine::{Machine, Wait};
use crate::dime::fingerprint::{AnyFingerprint, FullFingerprint};
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::smtp::auth::dialogue::Dialogue;

/// One session. See the [module](self) and [`Machine`].
#[derive(Debug)]
pub struct Session {
    parameters: Parameters,
    entry: Entry,
    /// On the submission port.
    logins: Option<Logins>,
    stage: Stage,
    doing: Doing,
    lines: Lines,
    violations: u32,
    /// In a row, without effect.
    idle_commands: u32,
    ending: Ending,
    wait: Wait,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// Whether the session ends once no command is in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// With 421, because we shut down.
    Announced,
    /// Without a word, because the peer has nothing more to say.
    Silent,
}

/// How far the transaction is. `size` is what MAIL announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connected,
    Greeted,
    Mail { size: Option<u64> },
    Recipient { size: Option<u64> },
}

/// What the session expects next.
#[derive(Debug)]
enum Doing {
    Commands,
    Asking(Question),
    Receiving(Body),
    /// The response to `334`.
    Responding(Dialogue),
    Collecting(Upload),
    Closed,
}

/// What the owner has been asked.
#[derive(Debug)]
enum Question {
    Mail { size: Option<u64> },
    Rcpt { size: Option<u64> },
    Data { size: Option<u64>, token: CommitHash },
    Commit,
    Signet,
    Verify,
    History,
    Verifier,
    Authenticate,
    Keys,
    Deposit,
    Pending,
    HandIn,
    KeySets,
}

impl Session {
    /// Starts a session whose TLS handshake is complete.
    pub fn new(parameters: Parameters, entry: Entry) -> Self {
        let first = match entry {
            Entry::Single => reply::banner(&parameters.host, false),
            Entry::Upgraded => reply::mode(Protocol::Dmtp),
        };
        let mut session = Self {
            parameters,
            entry,
            logins: None,
            stage: Stage::Connected,
            doing: Doing::Commands,
            lines: Lines::default(),
            violations: 0,
            idle_commands: 0,
            ending: Ending::No,
            wait: Wait::default(),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        };
        session.send(&first);
        session
    }

    /// Agrees to MAIL, RCPT, DATA or a login.
    pub fn accept(&mut self) {
        match self.take_question() {
            Some(Question::Mail { size }) => self.advance(Stage::Mail { size }),
            Some(Question::Rcpt { size }) => self.advance(Stage::Recipient { size }),
            Some(Question::Data { size, token }) => self.start_body(size, &token),
            Some(Question::Authenticate) => self.log_in(),
            Some(_) => self.send(&internal_error()),
            None => {}
        }
    }

    /// Refuses what was asked, with a code from 400 to 599; other codes become 451.
    pub fn refuse(&mut self, reply: &Reply) {
        let reply = reply::refusal(reply);
        match self.take_question() {
            Some(Question::Authenticate | Question::Verifier) if reply.is_permanent() => {
                self.refuse_login(&reply)
            }
            Some(_) => self.send(&reply),
            None => {}
        }
    }

    /// The message is durable. This is the one final reply to DATA.
    pub fn committed(&mut self, transaction: &TransactionId) {
        self.answer(
            |question| matches!(question, Question::Commit),
            reply::committed(transaction),
        );
    }

    /// The signet asked for, as a binary object. One that does not fit into a reply line is refused with 552.
    pub fn signet(&mut self, object: &[u8]) {
        self.answer(
            |question| matches!(question, Question::Signet),
            reply::signet(object),
        );
    }

    /// The signet asked about is the current one.
    pub fn current(&mut self) {
        self.verdict(Verdict::Current);
    }

    /// The signet asked about was replaced; this is the current one.
    pub fn update(&mut self, fingerprint: FullFingerprint) {
        self.verdict(Verdict::Update(fingerprint));
    }

    /// The signets asked for, oldest first. No signets means [`not_found`](Self::not_found).
    pub fn history(&mut self, signets: &[Vec<u8>]) {
        if signets.is_empty() {
            return self.not_found();
        }
        self.answer(
            |question| matches!(question, Question::History),
            reply::history(signets),
        );
    }

    /// There is no such signet, or it never belonged to that name.
    pub fn not_found(&mut self) {
        self.refuse(&Reply::plain(450, "no such signet"));
    }

    /// Ends the session with 421, after the transaction if there is one.
    pub fn shut_down(&mut self) {
        self.ending = Ending::Announced;
        self.rest();
    }

    /// Ends the session with 421 if a message is coming in that has not come to its end.
    pub fn give_up_message(&mut self) {
        if matches!(self.doing, Doing::Receiving(_)) {
            self.close(&Reply::plain(421, "no mail is taken for now"));
        }
    }

    fn verdict(&mut self, verdict: Verdict) {
        self.answer(
            |question| matches!(question, Question::Verify),
            reply::verdict(verdict),
        );
    }

    /// Answers a question of the kind expected. Another kind is a fault of ours, which the peer is told once.
    fn answer(&mut self, expected: fn(&Question) -> bool, reply: Reply) {
        let Some(question) = self.take_question() else {
            return;
        };
        self.idle_commands = 0;
        if !expected(&question) {
            self.send(&internal_error());
        } else if !reply::fits(&reply, self.parameters.limits.reply_line_bytes) {
            self.send(&Reply::plain(552, "signet does not fit into a reply line"));
        } else {
            self.send(&reply);
        }
    }

    fn take_question(&mut self) -> Option<Question> {
        match std::mem::replace(&mut self.doing, Doing::Commands) {
            Doing::Asking(question) => Some(question),
            other => {
                self.doing = other;
                None
            }
        }
    }

    fn advance(&mut self, stage: Stage) {
        self.stage = stage;
        self.send(&ok());
    }

    fn start_body(&mut self, size: Option<u64>, token: &CommitHash) {
        self.stage = Stage::Greeted;
        self.doing = Doing::Receiving(Body::new(size, self.parameters.limits.message_bytes));
        self.send(&reply::send_message(token));
    }

    fn ask(&mut self, question: Question, event: Event) {
        self.doing = Doing::Asking(question);
        self.events.push_back(event);
    }

    fn observe(&mut self, elapsed: Duration) {
        self.wait.observe(elapsed);
        match &mut self.doing {
            Doing::Receiving(body) => body.started.observe(elapsed),
            Doing::Collecting(upload) => upload.started.observe(elapsed),
            _ => {}
        }
    }

    /// Queues a reply and goes back to waiting for a command.
    fn send(&mut self, reply: &Reply) {
        self.transmit
            .extend(reply::lines(reply, self.parameters.limits.reply_line_bytes));
        self.rest();
    }

    /// Waits for a command, unless something else is going on.
    fn rest(&mut self) {
        self.wait.restart();
        if !matches!(self.doing, Doing::Commands) {
            return;
        }
        match self.ending {
            Ending::No => {}
            Ending::Announced if self.in_transaction() => {}
            Ending::Announced => self.close(&Reply::plain(421, "shutting down")),
            Ending::Silent => self.doing = Doing::Closed,
        }
    }

    fn close(&mut self, reply: &Reply) {
        self.transmit
            .extend(reply::lines(reply, self.parameters.limits.reply_line_bytes));
        self.doing = Doing::Closed;
    }

    /// Answers a command that brings nobody forward; too many of them in a row end the session.
    fn answer_idle(&mut self, reply: &Reply) {
        if !self.closed_as_idle() {
            self.send(reply);
        }
    }

    /// Counts one more; whether that was one too many.
    fn closed_as_idle(&mut self) -> bool {
        self.idle_commands += 1;
        let too_many = self.idle_commands > self.parameters.limits.idle_commands;
        if too_many {
            self.close(&Reply::plain(421, "too many commands without effect"));
        }
        too_many
    }

    /// Answers a command that is wrong; too many of them end the session.
    fn fault(&mut self, code: u16, text: &str) {
        self.violations += 1;
        if self.violations > self.parameters.limits.violations {
            self.close(&Reply::plain(421, "too many errors"));
        } else {
            self.send(&Reply::plain(code, text));
        }
    }

    fn read_command(&mut self, input: &[u8]) -> usize {
        let (taken, item) = self.lines.next(input);
        match item {
            Item::Line(line) => self.execute(line),
            Item::TooLong => self.fault(500, "line too long"),
            Item::Partial => {}
        }
        taken
    }

    fn execute(&mut self, line: &[u8]) {
        match command::parse(line) {
            Ok(command) => self.perform(command),
            Err(command::Error::SmtpOnly) => self.fault(554, self.no_smtp()),
            Err(command::Error::Arguments(expected)) => self.fault(501, expected),
            Err(_) => self.fault(500, "unknown command"),
        }
    }

    fn no_smtp(&self) -> &'static str {
        match self.entry {
            Entry::Single => "SMTP is not available",
            Entry::Upgraded => "cannot fall back to SMTP",
        }
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::Ehlo(domain) => self.greet(domain, true),
            Command::Helo(domain) => self.greet(domain, false),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt {
                destination,
                fingerprint,
            } => self.rcpt(destination, fingerprint),
            Command::Data(commit) => self.data(commit),
            Command::Auth { mechanism, initial } => self.authenticate(&mechanism, initial),
            Command::Keys(deposit) => self.perform_keys(deposit),
            Command::Request(size) => self.perform_request(size),
            Command::KeySets(size) => self.perform_key_sets(size),
            Command::Signet { name, fingerprint } => {
                self.ask(Question::Signet, Event::Signet { name, fingerprint });
            }
            Command::Verify { name, fingerprint } => {
                self.ask(Question::Verify, Event::Verify { name, fingerprint });
            }
            Command::History { address, start, stop } => {
                self.ask(
                    Question::History,
                    Event::History {
                        name: address,
                        start,
                        stop,
                    },
                );
            }
            Command::StartTls(_) => self.answer_idle(&Reply::plain(454, "TLS is already active")),
            Command::Stats | Command::Verb => self.answer_idle(&Reply::plain(502, "not implemented")),
            Command::Mode => self.answer_idle(&reply::mode(Protocol::Dmtp)),
            Command::Noop => self.answer_idle(&ok()),
            Command::Help => self.answer_idle(&help()),
            Command::Rset => {
                self.abandon();
                self.answer_idle(&ok());
            }
            Command::Quit => {
                self.abandon();
                self.close(&Reply::plain(221, "BYE"));
            }
        }
    }

    fn greet(&mut self, domain: Domain, extended: bool) {
        self.abandon();
        self.stage = Stage::Greeted;
        self.events.push_back(Event::Ehlo { domain });
        let host = self.parameters.host.to_string();
        let size = format!("SIZE {}", self.parameters.limits.message_bytes);
        let lines = match extended {
            true => [
                host,
                "PIPELINING".into(),
                "8BITDIME".into(),
                "RETURN".into(),
                size,
            ]
            .into_iter()
            .chain(self.auth_line())
            .chain(["OK".into()])
            .collect(),
            false => vec![host],
        };
        self.answer_idle(&Reply {
            code: 250,
            enhanced: None,
            lines,
        });
    }

    fn mail(&mut self, mail: Mail) {
        if self.stage == Stage::Connected {
            return self.fault(503, "EHLO comes first");
        }
        if !self.may_submit() {
            return self.fault(530, "AUTH comes first");
        }
        if mail
            .size
            .is_some_and(|size| size > self.parameters.limits.message_bytes)
        {
            return self.answer_idle(&Reply::plain(552, "message too large"));
        }
        if self.in_transaction() && self.closed_as_idle() {
            return;
        }
        self.abandon();
        let Mail {
            origin,
            fingerprint,
            size,
            returning,
            width: _,
        } = mail;
        self.ask(
            Question::Mail { size },
            Event::MailFrom {
                origin,
                fingerprint,
                size,
                returning,
            },
        );
    }

    fn rcpt(&mut self, destination: Domain, fingerprint: Option<AnyFingerprint>) {
        match self.stage {
            Stage::Connected => self.fault(503, "EHLO and MAIL come first"),
            Stage::Greeted => self.fault(503, "MAIL comes first"),
            Stage::Recipient { .. } => self.send(&Reply::plain(431, "one destination per message")),
            Stage::Mail { size } => {
                self.ask(
                    Question::Rcpt { size },
                    Event::RcptTo {
                        destination,
                        fingerprint,
                    },
                );
            }
        }
    }

    fn data(&mut self, commit: Option<CommitHash>) {
        let Stage::Recipient { size } = self.stage else {
            return self.fault(503, "EHLO, MAIL and RCPT come first");
        };
        let token = commit.clone().unwrap_or_else(|| self.parameters.nonce.clone());
        self.ask(Question::Data { size, token }, Event::Data { commit });
    }

    /// Forgets the transaction; EHLO stays.
    fn abandon(&mut self) {
        if self.in_transaction() {
            self.stage = Stage::Greeted;
            self.events.push_back(Event::Reset);
        }
    }

    fn in_transaction(&self) -> bool {
        matches!(self.stage, Stage::Mail { .. } | Stage::Recipient { .. })
    }

    fn read_body(&mut self, input: &[u8]) -> usize {
        let Doing::Receiving(body) = &mut self.doing else {
            return 0;
        };
        match body.next(input) {
            Ok(Piece::Octets(count)) => {
                self.wait.restart();
                self.events.push_back(Event::DataChunk(input[..count].to_vec()));
                count
            }
            Ok(Piece::End(count)) => {
                self.ask(Question::Commit, Event::DataEnd);
                count
            }
            Ok(Piece::Partial) => 0,
            Err(fault) => {
                self.close(&transfer_failed(&fault));
                0
            }
        }
    }
}

impl Machine for Session {
    type Event = Event;

    /// Takes one command, or one piece of a message, at a time; nothing while replies or events are to be fetched.
    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        if !self.transmit.is_empty() || !self.events.is_empty() {
            return 0;
        }
        let taken = match &self.doing {
            Doing::Commands => self.read_command(input),
            Doing::Receiving(_) => self.read_body(input),
            Doing::Responding(_) => self.read_response(input),
            Doing::Collecting(_) => self.read_upload(input),
            Doing::Asking(_) | Doing::Closed => 0,
        };
        self.observe(elapsed);
        taken
    }

    /// A peer that is gone gets no reply; one that only stopped sending gets the answer it waits for.
    fn end_of_input(&mut self, _elapsed: Duration) {
        match self.doing {
            Doing::Asking(_) => self.ending = Ending::Silent,
            _ => self.doing = Doing::Closed,
        }
    }

    fn expire(&mut self, elapsed: Duration) {
        self.observe(elapsed);
        if self.timeout().is_some_and(|at| at <= elapsed) {
            self.close(&Reply::plain(421, "timeout"));
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let limits = &self.parameters.limits;
        match &self.doing {
            Doing::Commands | Doing::Responding(_) => Some(self.wait.deadline(limits.command_timeout)),
            Doing::Collecting(upload) => {
                let next = self.wait.deadline(limits.data_timeout);
                Some(next.min(upload.started.deadline(limits.message_timeout)))
            }
            Doing::Receiving(body) => {
                let next = self.wait.deadline(limits.data_timeout);
                Some(next.min(body.started.deadline(limits.message_timeout)))
            }
            Doing::Asking(_) | Doing::Closed => None,
        }
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn is_closed(&self) -> bool {
        matches!(self.doing, Doing::Closed)
    }
}

fn ok() -> Reply {
    Reply::plain(250, "OK")
}

fn internal_error() -> Reply {
    Reply::plain(451, "internal error")
}

fn transfer_failed(fault: &Fault) -> Reply {
    match fault {
        Fault::TooLarge => Reply::plain(552, "message too large"),
        Fault::Damaged => Reply::plain(451, "message size and octets sent differ"),
    }
}

/// One verb per line, then `OK` (`dmtp.md` §6.12).
pub(crate) fn help() -> Reply {
    const VERBS: [&str; 13] = [
        "STARTTLS", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "SGNT", "VRFY", "HIST", "MODE", "NOOP", "RSET",
        "QUIT",
    ];
    let lines = VERBS.into_iter().chain(["OK"]).map(str::to_owned).collect();
    Reply {
        code: 214,
        enhanced: None,
        lines,
    }
}
