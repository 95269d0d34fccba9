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
//! SGNT, VRFY and HIST work in every state; libdime's lookup program sends no EHLO.

mod body;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use self::body::{Body, Fault, Piece};
use super::command::{self, Command, CommitHash, Mail, Protocol, Return};
use super::line::{Item, Lines};
use super::name::Name;
use super::reply::{self, TransactionId, Verdict};
use crate::base::machine::Machine;
use crate::dime::fingerprint::{AnyFingerprint, FullFingerprint};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;

/// Bounds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message object, in octets.
    pub message_bytes: u64,
    /// Longest reply line, terminator included. libdime's client reads no more than the default.
    pub reply_line_bytes: usize,
    /// Commands refused as wrong before the session is closed with 421.
    pub violations: u32,
    /// How long to wait for a command.
    pub command_timeout: Duration,
    /// How long to wait for more of a message.
    pub data_timeout: Duration,
    /// How long a whole message may take.
    pub message_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 50 * 1024 * 1024,
            reply_line_bytes: reply::MAX_LINE,
            violations: 20,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            message_timeout: Duration::from_secs(3600),
        }
    }
}

/// What a session needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Our name in the banner and the answer to EHLO.
    pub host: Domain,
    /// Bounds.
    pub limits: Limits,
    /// Sent with 354 when the client names no usable commit hash; any random token will do.
    pub nonce: CommitHash,
}

/// How the session came to be inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// TLS from the first octet: a banner comes first.
    Single,
    /// A DMTP-style STARTTLS: the line `250 OK DMTPv1` comes first.
    Upgraded,
}

/// What the session asks of, or reports to, its owner.
///
/// [`Ehlo`](Self::Ehlo), [`Reset`](Self::Reset) and [`DataChunk`](Self::DataChunk) need no answer. Every other
/// event waits for one of the methods it names, or for [`Session::refuse`]; until then the session reads nothing.
/// When the session ends, a transaction that was not committed is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client has named its domain; nothing proves it.
    Ehlo {
        /// The sender's domain.
        domain: Domain,
    },
    /// A transaction begins. Answer: [`Session::accept`].
    MailFrom {
        /// The domain that the message comes from.
        origin: Domain,
        /// The origin's signet, if named.
        fingerprint: Option<AnyFingerprint>,
        /// Octets of the message, if named; within the limit.
        size: Option<u64>,
        /// How much of the message a failure report should return.
        returning: Option<Return>,
    },
    /// The transaction's only destination. Answer: [`Session::accept`].
    RcptTo {
        /// The domain that the message goes to.
        destination: Domain,
        /// The destination's signet, if named.
        fingerprint: Option<AnyFingerprint>,
    },
    /// The client is about to send the message. Answer: [`Session::accept`].
    Data {
        /// What the client calls the message.
        commit: Option<CommitHash>,
    },
    /// The next octets of the message; at least one.
    DataChunk(Vec<u8>),
    /// The message is complete. Answer once it is durable: [`Session::committed`].
    DataEnd,
    /// The transaction was abandoned.
    Reset,
    /// A signet is wanted. Answer: [`Session::signet`], [`Session::not_found`].
    Signet {
        /// Whose.
        name: Name,
        /// Which; the current one if missing.
        fingerprint: Option<AnyFingerprint>,
    },
    /// Is that signet current? Answer: [`Session::current`], [`Session::update`], [`Session::not_found`].
    Verify {
        /// Whose.
        name: Name,
        /// Which.
        fingerprint: AnyFingerprint,
    },
    /// A user's signets are wanted. Answer: [`Session::history`], [`Session::not_found`].
    History {
        /// Whose.
        name: Mailbox,
        /// The oldest wanted, included; the first there is if missing.
        start: Option<AnyFingerprint>,
        /// The newest wanted, included; the current one if missing.
        stop: Option<AnyFingerprint>,
    },
}

/// One session. See the [module](self) and [`Machine`].
#[derive(Debug)]
pub struct Session {
    parameters: Parameters,
    entry: Entry,
    stage: Stage,
    doing: Doing,
    lines: Lines,
    violations: u32,
    ending: Ending,
    deadline: Option<Duration>,
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
}

impl Session {
    /// Starts a session whose TLS handshake was completed `elapsed` after the connection began.
    pub fn new(parameters: Parameters, entry: Entry, elapsed: Duration) -> Self {
        let first = match entry {
            Entry::Single => reply::banner(&parameters.host, false),
            Entry::Upgraded => reply::mode(Protocol::Dmtp),
        };
        let mut session = Self {
            parameters,
            entry,
            stage: Stage::Connected,
            doing: Doing::Commands,
            lines: Lines::default(),
            violations: 0,
            ending: Ending::No,
            deadline: None,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        };
        session.send(elapsed, &first);
        session
    }

    /// Agrees to MAIL, RCPT or DATA.
    pub fn accept(&mut self, elapsed: Duration) {
        match self.take_question() {
            Some(Question::Mail { size }) => self.advance(elapsed, Stage::Mail { size }),
            Some(Question::Rcpt { size }) => self.advance(elapsed, Stage::Recipient { size }),
            Some(Question::Data { size, token }) => self.start_body(elapsed, size, &token),
            Some(_) => self.send(elapsed, &internal_error()),
            None => {}
        }
    }

    /// Refuses what was asked, with a code from 400 to 599; other codes become 451.
    pub fn refuse(&mut self, elapsed: Duration, reply: &Reply) {
        if self.take_question().is_some() {
            self.send(elapsed, &reply::refusal(reply));
        }
    }

    /// The message is durable. This is the one final reply to DATA.
    pub fn committed(&mut self, elapsed: Duration, transaction: &TransactionId) {
        self.answer(
            elapsed,
            |question| matches!(question, Question::Commit),
            reply::committed(transaction),
        );
    }

    /// The signet asked for, as a binary object. One that does not fit into a reply line is refused with 552.
    pub fn signet(&mut self, elapsed: Duration, object: &[u8]) {
        self.answer(
            elapsed,
            |question| matches!(question, Question::Signet),
            reply::signet(object),
        );
    }

    /// The signet asked about is the current one.
    pub fn current(&mut self, elapsed: Duration) {
        self.verdict(elapsed, Verdict::Current);
    }

    /// The signet asked about was replaced; this is the current one.
    pub fn update(&mut self, elapsed: Duration, fingerprint: FullFingerprint) {
        self.verdict(elapsed, Verdict::Update(fingerprint));
    }

    /// The signets asked for, oldest first. No signets means [`not_found`](Self::not_found).
    pub fn history(&mut self, elapsed: Duration, signets: &[Vec<u8>]) {
        if signets.is_empty() {
            return self.not_found(elapsed);
        }
        self.answer(
            elapsed,
            |question| matches!(question, Question::History),
            reply::history(signets),
        );
    }

    /// There is no such signet, or it never belonged to that name.
    pub fn not_found(&mut self, elapsed: Duration) {
        self.refuse(elapsed, &Reply::plain(450, "no such signet"));
    }

    /// Ends the session with 421 as soon as no command is in progress.
    pub fn shut_down(&mut self, elapsed: Duration) {
        self.ending = Ending::Announced;
        self.rest(elapsed);
    }

    fn verdict(&mut self, elapsed: Duration, verdict: Verdict) {
        self.answer(
            elapsed,
            |question| matches!(question, Question::Verify),
            reply::verdict(verdict),
        );
    }

    /// Answers a question of the kind expected. Another kind is a fault of ours, which the peer is told once.
    fn answer(&mut self, elapsed: Duration, expected: fn(&Question) -> bool, reply: Reply) {
        let Some(question) = self.take_question() else {
            return;
        };
        if !expected(&question) {
            self.send(elapsed, &internal_error());
        } else if !reply::fits(&reply, self.parameters.limits.reply_line_bytes) {
            self.send(
                elapsed,
                &Reply::plain(552, "signet does not fit into a reply line"),
            );
        } else {
            self.send(elapsed, &reply);
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

    fn advance(&mut self, elapsed: Duration, stage: Stage) {
        self.stage = stage;
        self.send(elapsed, &ok());
    }

    fn start_body(&mut self, elapsed: Duration, size: Option<u64>, token: &CommitHash) {
        let body = Body::new(size, &self.parameters.limits, elapsed);
        self.send(elapsed, &reply::send_message(token));
        self.stage = Stage::Greeted;
        self.deadline = Some(body.deadline(elapsed, &self.parameters.limits));
        self.doing = Doing::Receiving(body);
    }

    fn ask(&mut self, question: Question, event: Event) {
        self.doing = Doing::Asking(question);
        self.deadline = None;
        self.events.push_back(event);
    }

    /// Queues a reply and goes back to waiting for a command.
    fn send(&mut self, elapsed: Duration, reply: &Reply) {
        self.transmit
            .extend(reply::lines(reply, self.parameters.limits.reply_line_bytes));
        self.rest(elapsed);
    }

    /// Waits for a command, unless something else is going on.
    fn rest(&mut self, elapsed: Duration) {
        if !matches!(self.doing, Doing::Commands) {
            return;
        }
        match self.ending {
            Ending::No => self.deadline = Some(elapsed + self.parameters.limits.command_timeout),
            Ending::Announced => self.close(&Reply::plain(421, "shutting down")),
            Ending::Silent => self.doing = Doing::Closed,
        }
    }

    fn close(&mut self, reply: &Reply) {
        self.transmit
            .extend(reply::lines(reply, self.parameters.limits.reply_line_bytes));
        self.doing = Doing::Closed;
        self.deadline = None;
    }

    /// Answers a command that is wrong; too many of them end the session.
    fn fault(&mut self, elapsed: Duration, code: u16, text: &str) {
        self.violations += 1;
        if self.violations > self.parameters.limits.violations {
            self.close(&Reply::plain(421, "too many errors"));
        } else {
            self.send(elapsed, &Reply::plain(code, text));
        }
    }

    fn read_command(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        let (taken, item) = self.lines.next(input);
        match item {
            Item::Line(line) => self.execute(elapsed, line),
            Item::TooLong => self.fault(elapsed, 500, "line too long"),
            Item::Partial => {}
        }
        taken
    }

    fn execute(&mut self, elapsed: Duration, line: &[u8]) {
        match command::parse(line) {
            Ok(command) => self.perform(elapsed, command),
            Err(command::Error::SmtpOnly) => self.fault(elapsed, 554, self.no_smtp()),
            Err(command::Error::Arguments(expected)) => self.fault(elapsed, 501, expected),
            Err(_) => self.fault(elapsed, 500, "unknown command"),
        }
    }

    fn no_smtp(&self) -> &'static str {
        match self.entry {
            Entry::Single => "SMTP is not available",
            Entry::Upgraded => "cannot fall back to SMTP",
        }
    }

    fn perform(&mut self, elapsed: Duration, command: Command) {
        match command {
            Command::Ehlo(domain) => self.greet(elapsed, domain, true),
            Command::Helo(domain) => self.greet(elapsed, domain, false),
            Command::Mail(mail) => self.mail(elapsed, mail),
            Command::Rcpt {
                destination,
                fingerprint,
            } => self.rcpt(elapsed, destination, fingerprint),
            Command::Data(commit) => self.data(elapsed, commit),
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
            Command::StartTls(_) => self.send(elapsed, &Reply::plain(454, "TLS is already active")),
            Command::Stats | Command::Verb => self.send(elapsed, &Reply::plain(502, "not implemented")),
            Command::Mode => self.send(elapsed, &reply::mode(Protocol::Dmtp)),
            Command::Noop => self.send(elapsed, &ok()),
            Command::Help => self.send(elapsed, &help()),
            Command::Rset => {
                self.abandon();
                self.send(elapsed, &ok());
            }
            Command::Quit => {
                self.abandon();
                self.close(&Reply::plain(221, "BYE"));
            }
        }
    }

    fn greet(&mut self, elapsed: Duration, domain: Domain, extended: bool) {
        self.abandon();
        self.stage = Stage::Greeted;
        self.events.push_back(Event::Ehlo { domain });
        let host = self.parameters.host.to_string();
        let size = format!("SIZE {}", self.parameters.limits.message_bytes);
        let lines = match extended {
            true => vec![host, "8BITDIME".into(), "RETURN".into(), size, "OK".into()],
            false => vec![host],
        };
        self.send(
            elapsed,
            &Reply {
                code: 250,
                enhanced: None,
                lines,
            },
        );
    }

    fn mail(&mut self, elapsed: Duration, mail: Mail) {
        if self.stage == Stage::Connected {
            return self.fault(elapsed, 503, "EHLO comes first");
        }
        if mail
            .size
            .is_some_and(|size| size > self.parameters.limits.message_bytes)
        {
            return self.send(elapsed, &Reply::plain(552, "message too large"));
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

    fn rcpt(&mut self, elapsed: Duration, destination: Domain, fingerprint: Option<AnyFingerprint>) {
        match self.stage {
            Stage::Connected => self.fault(elapsed, 503, "EHLO and MAIL come first"),
            Stage::Greeted => self.fault(elapsed, 503, "MAIL comes first"),
            Stage::Recipient { .. } => self.send(elapsed, &Reply::plain(431, "one destination per message")),
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

    fn data(&mut self, elapsed: Duration, commit: Option<CommitHash>) {
        let Stage::Recipient { size } = self.stage else {
            return self.fault(elapsed, 503, "EHLO, MAIL and RCPT come first");
        };
        let token = commit.clone().unwrap_or_else(|| self.parameters.nonce.clone());
        self.ask(Question::Data { size, token }, Event::Data { commit });
    }

    /// Forgets the transaction; EHLO stays.
    fn abandon(&mut self) {
        if matches!(self.stage, Stage::Mail { .. } | Stage::Recipient { .. }) {
            self.stage = Stage::Greeted;
            self.events.push_back(Event::Reset);
        }
    }

    fn read_body(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        let Doing::Receiving(body) = &mut self.doing else {
            return 0;
        };
        let limits = &self.parameters.limits;
        match body.next(input) {
            Ok(Piece::Octets(count)) => {
                self.deadline = Some(body.deadline(elapsed, limits));
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
        match &self.doing {
            Doing::Commands => self.read_command(elapsed, input),
            Doing::Receiving(_) => self.read_body(elapsed, input),
            Doing::Asking(_) | Doing::Closed => 0,
        }
    }

    /// A peer that is gone gets no reply; one that only stopped sending gets the answer it waits for.
    fn end_of_input(&mut self, _elapsed: Duration) {
        match self.doing {
            Doing::Asking(_) => self.ending = Ending::Silent,
            _ => self.doing = Doing::Closed,
        }
        self.deadline = None;
    }

    fn expire(&mut self, elapsed: Duration) {
        if self.deadline.is_some_and(|deadline| elapsed >= deadline) {
            self.close(&Reply::plain(421, "timeout"));
        }
    }

    fn timeout(&self) -> Option<Duration> {
        self.deadline
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
