//! The server's side of an SMTP session, for mail transfer and for submission.

mod chunk;
mod commands;
mod login;
pub mod params;
pub mod replies;

use std::collections::VecDeque;
use std::time::Duration;

pub use params::{Limits, Params, Profile};

use self::chunk::Incoming;
pub use super::auth::Login;
use super::auth::dialogue::Dialogue;
use super::auth::scram;
use super::command::{self, Hello, MailFrom, RcptTo};
use super::data::{BareLineEnds, Bounds, Decoder, Fault};
use super::line::{Scan, Skip, scan, skip};
use crate::base::machine::{Machine, TlsInfo, Wait};
use crate::mail::reply::Reply;

/// Replies not yet fetched beyond which no more commands are read.
const OUT_MAX: usize = 4096;
/// Octets of message data handled, and yielded as one event, at a time.
const PIECE: usize = 64 * 1024;
/// Octets of a message that have to come in each second, on average.
const SLOWEST: u64 = 100;
/// How often a sender may be silent for as long as [`Limits::data_block`] beyond that.
const PAUSES: u32 = 3;

/// What a [`Session`] asks of, or reports to, its owner.
///
/// Those marked *question* are answered by [`Session::accept`], [`Session::accept_with`] or [`Session::refuse`];
/// until then no input is consumed.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The client introduced itself, for the first time or again.
    Hello(Hello),
    /// A transaction is to begin. Question.
    MailFrom(MailFrom),
    /// A recipient is to be added to the transaction. Question.
    RcptTo(RcptTo),
    /// A user wants to log in by SCRAM. Question, answered by [`Session::offer_verifier`] or
    /// [`Session::refuse`]; also for users who do not exist.
    Verifier {
        /// The name, as the client spelled it.
        identity: String,
    },
    /// A user wants to log in. Question; refused with [`replies::authentication_failed`].
    Authenticate(Login),
    /// A login failed before anything was left to ask: by a proof that does not hold, or a malformed response. It has
    /// been answered.
    LoginRefused,
    /// `220` has been queued. The owner sends it, drops every octet it has read but not handed over, does the TLS
    /// handshake, and calls [`Session::tls_started`], or closes the connection.
    StartTls,
    /// The client wants to send the message, by DATA or by BDAT. Question.
    DataStart,
    /// The next piece of the message, dots undoubled.
    Data(Vec<u8>),
    /// The message is complete. Question: accepted only when message and recipients are durable.
    DataEnd {
        /// Octets of the message.
        size_bytes: u64,
    },
    /// The message will not be completed: its pieces are to be forgotten, and the transaction is over.
    DataAborted(Abort),
    /// The client gave the transaction up.
    Reset,
    /// The session is over.
    Closed(End),
}

/// Why a message was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// It was not fit to be accepted; the session goes on.
    Fault(Fault),
    /// The session ended in the middle of it.
    SessionEnded,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// QUIT.
    Quit,
    /// The client closed the connection.
    PeerClosed,
    /// The client took too long.
    TimedOut,
    /// Too many errors, failed logins, or commands that lead nowhere.
    TooManyErrors,
    /// CR or LF by itself in a command.
    BareLineEnd,
    /// BDAT with a size that cannot be read: nobody knows where the next command starts.
    UnusableChunkSize,
    /// [`Session::shutdown`].
    Shutdown,
    /// The owner refused something with 421.
    Refused,
}

/// One SMTP session.
///
/// Questions to the owner come in the order of the client's commands, one at a time. See [`Event`] for the protocol
/// between session and owner, and [`Machine`] for that between session and driver.
#[derive(Debug)]
pub struct Session {
    params: Params,
    state: State,
    known: Known,
    tls: Option<TlsInfo>,
    tally: Tally,
    shutting_down: bool,
    wait: Wait,
    /// Since the message began.
    data_wait: Wait,
    /// Octets of it that have come.
    data_octets: u64,
    /// Since the session began, or a message was accepted.
    patience: Wait,
    out: Vec<u8>,
    events: VecDeque<Event>,
}

/// What the session expects next.
#[derive(Debug)]
enum State {
    Command,
    /// The end of a line that was too long.
    LineEnd,
    /// The response to `334`.
    AuthResponse(Dialogue),
    /// An answer of the owner.
    Answer(Question),
    /// The end of the TLS handshake.
    Handshake,
    Data(Decoder),
    /// The octets of a chunk.
    Chunk(Incoming),
    Closed,
}

/// What the owner has been asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    MailFrom { smtputf8: bool },
    RcptTo,
    Verifier,
    Authenticate,
    DataStart,
    FirstChunk(command::Chunk),
    DataEnd,
}

/// What was learned from the client; forgotten at STARTTLS.
#[derive(Debug, Default)]
struct Known {
    hello: Option<Hello>,
    authenticated: bool,
    /// A login that waits for the user's verifier.
    opening: Option<scram::Opening>,
    transaction: Option<Transaction>,
}

#[derive(Debug)]
struct Transaction {
    smtputf8: bool,
    accepted: usize,
    refused: usize,
    /// Named beyond the limit.
    excess: usize,
    /// The message as far as it has come in chunks.
    chunked: Option<Decoder>,
}

/// Counts of what a client may do only so often.
#[derive(Debug, Default)]
struct Tally {
    errors: u32,
    failed_logins: u32,
    idle_commands: u32,
}

impl Session {
    /// A session that starts with our banner; `tls` if a handshake came first.
    pub fn new(params: Params, tls: Option<TlsInfo>) -> Self {
        let mut session = Self::greeted(params, tls);
        session.send(&session.params.banner());
        session
    }

    /// A session whose banner has been sent by somebody else, who now hands over the connection with all octets
    /// the client sent so far still unread.
    pub fn greeted(params: Params, tls: Option<TlsInfo>) -> Self {
        Self {
            params,
            state: State::Command,
            known: Known::default(),
            tls,
            tally: Tally::default(),
            shutting_down: false,
            wait: Wait::default(),
            data_wait: Wait::default(),
            data_octets: 0,
            patience: Wait::default(),
            out: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Answers the question with yes, in the usual words.
    pub fn accept(&mut self) {
        self.accept_with("Ok");
    }

    /// Answers the question with yes, in these words (printable, one line). For `DATA` the words are fixed.
    pub fn accept_with(&mut self, text: &str) {
        let Some(question) = self.take_question() else {
            return;
        };
        if let Some(reply) = replies::accepted(question, text) {
            self.send(&reply);
        }
        self.advance(question);
        self.settle();
    }

    /// Answers the question with no. 421 ends the session.
    pub fn refuse(&mut self, reply: Reply) {
        let Some(question) = self.take_question() else {
            return;
        };
        self.retreat(question);
        if reply.code == 421 {
            return self.close(End::Refused, Some(reply));
        }
        if let Question::FirstChunk(chunk) = question {
            return self.read_chunk(chunk, Some(reply));
        }
        let counts = reply.is_permanent();
        self.send(&reply);
        if counts {
            self.count_error();
        }
        self.settle();
    }

    /// The TLS handshake that [`Event::StartTls`] asked for is done. Everything learned before is forgotten.
    pub fn tls_started(&mut self, info: TlsInfo) {
        if matches!(self.state, State::Handshake) {
            self.state = State::Command;
            self.known = Known::default();
            self.tls = Some(info);
            self.wait.restart();
            self.settle();
        }
    }

    /// Ends the session with 421, after the transaction if there is one.
    pub fn shutdown(&mut self) {
        self.shutting_down = true;
        self.settle();
    }

    /// Ends the session with 421 if a message is coming in that has not come to its end.
    pub fn give_up_message(&mut self) {
        let is_coming_in = match self.state {
            State::Data(_) | State::Chunk(_) => true,
            State::Command | State::LineEnd => self.is_between_chunks(),
            State::AuthResponse(_) | State::Answer(_) | State::Handshake | State::Closed => false,
        };
        if is_coming_in {
            self.close(End::Shutdown, Some(replies::given_up()));
        }
    }

    /// The TLS session, if there is one.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// How the client introduced itself.
    pub fn hello(&self) -> Option<&Hello> {
        self.known.hello.as_ref()
    }

    fn take_question(&mut self) -> Option<Question> {
        let State::Answer(question) = self.state else {
            return None;
        };
        self.state = State::Command;
        self.wait.restart();
        Some(question)
    }

    /// What follows from a yes.
    fn advance(&mut self, question: Question) {
        match question {
            Question::MailFrom { smtputf8 } => {
                self.known.transaction = Some(Transaction {
                    smtputf8,
                    accepted: 0,
                    refused: 0,
                    excess: 0,
                    chunked: None,
                });
            }
            Question::RcptTo => {
                if let Some(transaction) = &mut self.known.transaction {
                    transaction.accepted += 1;
                }
            }
            // An owner that says yes to this and gives no verifier.
            Question::Verifier => self.complain(&replies::local_error()),
            Question::Authenticate => self.known.authenticated = true,
            Question::DataStart => self.start_data(),
            Question::FirstChunk(chunk) => self.start_chunks(chunk),
            Question::DataEnd => {
                self.known.transaction = None;
                self.patience.restart();
                self.tally = Tally::default();
            }
        }
    }

    /// What follows from a no.
    fn retreat(&mut self, question: Question) {
        match question {
            Question::MailFrom { .. } => (),
            Question::RcptTo => {
                if let Some(transaction) = &mut self.known.transaction {
                    transaction.refused += 1;
                }
            }
            Question::Verifier => self.known.opening = None,
            Question::Authenticate => self.tally.failed_logins += 1,
            Question::DataStart | Question::FirstChunk(_) | Question::DataEnd => {
                self.known.transaction = None
            }
        }
    }

    fn start_data(&mut self) {
        self.state = State::Data(Decoder::new(self.bounds()));
        self.begin_data();
    }

    pub(super) fn begin_data(&mut self) {
        self.data_wait.restart();
        self.data_octets = 0;
    }

    /// Until when the message has to be complete: what dribbles in holds up nobody for long.
    fn data_deadline(&self) -> Duration {
        let limits = &self.params.limits;
        let at_slowest = Duration::from_secs(self.data_octets / SLOWEST);
        let total = limits
            .data_block
            .saturating_mul(PAUSES)
            .saturating_add(at_slowest)
            .min(limits.data_total);
        self.data_wait.deadline(total)
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            message: self.params.limits.message_bytes,
            line: self.params.limits.text_line_bytes,
            bare: match self.params.profile {
                Profile::Submission => BareLineEnds::Kept,
                Profile::Transfer => BareLineEnds::Refused,
            },
        }
    }

    fn is_between_chunks(&self) -> bool {
        let open = self.known.transaction.as_ref();
        open.is_some_and(|open| open.chunked.is_some())
    }

    /// Closes between two transactions if that is due.
    fn settle(&mut self) {
        if !matches!(self.state, State::Command) {
            return;
        }
        if self.tally.failed_logins >= self.params.limits.failed_logins {
            self.close(End::TooManyErrors, Some(replies::too_many_failed_logins()));
        } else if self.shutting_down && self.known.transaction.is_none() {
            self.close(End::Shutdown, Some(replies::shutting_down()));
        }
    }

    fn send(&mut self, reply: &Reply) {
        self.out.extend_from_slice(&reply.to_wire());
    }

    /// Sends a refusal of our own and counts it.
    fn complain(&mut self, reply: &Reply) {
        self.send(reply);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.tally.errors += 1;
        if self.tally.errors >= self.params.limits.errors {
            self.close(End::TooManyErrors, Some(replies::too_many_errors()));
        }
    }

    fn close(&mut self, end: End, reply: Option<Reply>) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let chunked = self
            .known
            .transaction
            .as_mut()
            .and_then(|open| open.chunked.take());
        let unfinished = match &state {
            State::Data(decoder) => Some(decoder),
            _ => chunked.as_ref(),
        };
        if unfinished.is_some_and(|decoder| decoder.fault().is_none()) {
            self.events.push_back(Event::DataAborted(Abort::SessionEnded));
        }
        if !matches!(state, State::Closed) {
            self.out.extend(reply.iter().flat_map(Reply::to_wire));
            self.events.push_back(Event::Closed(end));
        }
    }

    /// Takes what the state allows from the front of the input; 0 if more is needed, or an answer.
    fn take(&mut self, input: &[u8]) -> usize {
        match self.state {
            State::Command | State::AuthResponse(_) => self.take_line(input),
            State::LineEnd => self.skip_line(input),
            State::Data(_) => self.take_data(&input[..input.len().min(PIECE)]),
            State::Chunk(_) => self.take_chunk(&input[..input.len().min(PIECE)]),
            State::Answer(_) => 0,
            State::Handshake | State::Closed => input.len(),
        }
    }

    fn take_line(&mut self, input: &[u8]) -> usize {
        match scan(input) {
            Scan::Line(line) => {
                let is_last = self.take_complete_line(line);
                if is_last { input.len() } else { line.len() + 2 }
            }
            Scan::Partial => 0,
            Scan::TooLong => self.skip_line(input),
            Scan::Bare => self.refuse_bare_line_end(input),
        }
    }

    /// True if nothing after this line is ours: nothing read in clear text survives STARTTLS.
    fn take_complete_line(&mut self, line: &[u8]) -> bool {
        self.wait.restart();
        match std::mem::replace(&mut self.state, State::Command) {
            State::AuthResponse(dialogue) => self.take_auth_response(dialogue, line),
            _ => self.take_command(line),
        }
        self.settle();
        matches!(self.state, State::Handshake | State::Closed)
    }

    fn skip_line(&mut self, input: &[u8]) -> usize {
        self.state = State::LineEnd;
        match skip(input) {
            Skip::GoesOn(length) => length,
            Skip::Bare => self.refuse_bare_line_end(input),
            Skip::Ends(length) => {
                self.state = State::Command;
                self.wait.restart();
                self.complain(&replies::line_too_long());
                self.settle();
                length
            }
        }
    }

    fn refuse_bare_line_end(&mut self, input: &[u8]) -> usize {
        self.close(End::BareLineEnd, Some(replies::bare_line_end()));
        input.len()
    }

    fn take_data(&mut self, input: &[u8]) -> usize {
        let State::Data(decoder) = &mut self.state else {
            return 0;
        };
        let consumed = decode(decoder, input, &mut self.events);
        let (fault, size_bytes, is_complete) = (decoder.fault(), decoder.size_bytes(), decoder.is_complete());
        self.data_octets = self.data_octets.saturating_add(consumed as u64);
        if consumed > 0 {
            self.wait.restart();
        }
        if is_complete {
            self.end_data(fault, size_bytes);
        }
        consumed
    }

    fn end_data(&mut self, fault: Option<Fault>, size_bytes: u64) {
        match fault {
            None => {
                self.state = State::Answer(Question::DataEnd);
                self.events.push_back(Event::DataEnd { size_bytes });
            }
            Some(fault) => {
                self.state = State::Command;
                self.known.transaction = None;
                self.complain(&replies::fault(fault));
                self.settle();
            }
        }
    }
}

/// Decodes the front of the input and reports what it brought: a piece of the message, or its first fault.
fn decode(decoder: &mut Decoder, input: &[u8], events: &mut VecDeque<Event>) -> usize {
    let was_faulty = decoder.fault().is_some();
    let mut piece = Vec::with_capacity(input.len());
    let consumed = decoder.decode(input, &mut piece);
    match decoder.fault() {
        Some(fault) if !was_faulty => events.push_back(Event::DataAborted(Abort::Fault(fault))),
        None if !piece.is_empty() => events.push_back(Event::Data(piece)),
        _ => (),
    }
    consumed
}

impl Machine for Session {
    type Event = Event;

    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        let mut consumed = 0;
        while consumed < input.len() && self.events.is_empty() && self.out.len() < OUT_MAX {
            match self.take(&input[consumed..]) {
                0 => break,
                taken => consumed += taken,
            }
        }
        self.wait.observe(elapsed);
        self.data_wait.observe(elapsed);
        self.patience.observe(elapsed);
        consumed
    }

    fn end_of_input(&mut self, _elapsed: Duration) {
        self.close(End::PeerClosed, None);
    }

    fn expire(&mut self, elapsed: Duration) {
        if self.timeout().is_some_and(|at| at <= elapsed) {
            self.close(End::TimedOut, Some(replies::timed_out()));
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let limits = &self.params.limits;
        match self.state {
            State::Answer(_) | State::Handshake | State::Closed => None,
            State::Command | State::LineEnd | State::AuthResponse(_) => {
                let command = self.wait.deadline(limits.command);
                let between = match self.is_between_chunks() {
                    true => self.data_deadline(),
                    false => self.patience.deadline(limits.data_total),
                };
                Some(command.min(between))
            }
            State::Data(_) | State::Chunk(_) => {
                let block = self.wait.deadline(limits.data_block);
                Some(block.min(self.data_deadline()))
            }
        }
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }
}

#[cfg(test)]
mod tests;
