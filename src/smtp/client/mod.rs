//! The client's side of an SMTP or LMTP session.

mod login;
pub mod outcome;
mod steps;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

pub use login::Login;
pub use outcome::{
    Failure, Need, Outcome, Params, Protocol, Recipient, Stage, Timeouts, TlsPolicy, Transaction, Verdict,
};

use self::login::Dialogue;
use super::data::Encoder;
use super::extension::Extensions;
use super::reply::Reader;
use crate::base::machine::{Machine, TlsInfo, Wait};
use crate::mail::reply::Reply;

/// Commands sent ahead of their replies, so that neither side ever waits for the other to read (RFC 2920 §3.1).
const WINDOW: usize = 50;

/// What a [`Client`] asks of, or reports to, its owner.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The server agreed to STARTTLS. The owner does the handshake and calls [`Client::tls_started`] or
    /// [`Client::tls_failed`]. Octets it has read and not handed over go to [`Machine::receive`] first: there must
    /// be none.
    StartTls,
    /// The session is set up; the first transaction begins at once if it has been given already.
    Ready,
    /// The server takes only so many recipients at a time (RFC 9422), and the next of them are to come: the message is wanted
    /// once more, from its start.
    Rewind,
    /// The next piece of the message is wanted: [`Client::body`], [`Client::body_end`] or [`Client::body_abort`].
    NeedBody,
    /// The transaction is over, and another may be started.
    Done(Outcome),
    /// The session broke.
    Failed {
        /// Why.
        failure: Failure,
        /// One entry for each recipient of the transaction in progress, if any. `None`: nothing is known.
        verdicts: Vec<Option<Verdict>>,
    },
    /// The session ended as asked for.
    Closed,
}

/// One session with a server.
///
/// ```text
/// new ─ start(transaction) ─► Ready ─ NeedBody ─ body(…)* ─ body_end() ─► Done ─ start(…) or quit() ─► Closed
/// ```
///
/// While an event waits for its owner no reply is read. Failures end the session; the driver sends what is left and
/// closes.
#[derive(Debug)]
pub struct Client {
    params: Params,
    state: State,
    reader: Reader,
    offered: Extensions,
    tls: Option<TlsInfo>,
    /// Given, not begun.
    next: Option<Transaction>,
    work: Option<Work>,
    /// How many MAIL commands have been given.
    transactions: usize,
    login: Option<Dialogue>,
    /// The transaction that was given ends before the message.
    only_asks: bool,
    /// The server still holds the remains of a transaction.
    needs_reset: bool,
    quit_when_idle: bool,
    unsent: VecDeque<(Step, Vec<u8>)>,
    sent: VecDeque<Step>,
    wait: Wait,
    out: Vec<u8>,
    events: VecDeque<Event>,
}

/// Where the session stands; the replies still due are in `Client::sent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SettingUp,
    Handshake,
    Idle,
    Envelope,
    /// The message is being sent. After DATA nothing is read meanwhile, so an early reply counts as the final one.
    Body,
    EndOfData,
    Quitting,
    Closed,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Banner,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Reset,
    Mail,
    /// RCPT for the recipient of this index.
    Rcpt(usize),
    Data,
    /// BDAT with more to come.
    Chunk,
    /// End of data, for all recipients.
    Final,
    /// End of data, for the recipient of this index (LMTP).
    FinalOf(usize),
    Quit,
}

/// A transaction in progress.
#[derive(Debug)]
struct Work {
    transaction: Transaction,
    /// Those of its recipients whose turn it is.
    batch: Range<usize>,
    verdicts: Vec<Option<Verdict>>,
    mail_refused: Option<Reply>,
    encoder: Encoder,
    /// The message goes by BDAT (RFC 3030).
    in_chunks: bool,
    /// A chunk was refused, so the rest need not be sent.
    chunk_refused: bool,
}

impl Work {
    fn new(transaction: Transaction) -> Self {
        Self {
            batch: 0..0,
            verdicts: vec![None; transaction.recipients.len()],
            mail_refused: None,
            encoder: Encoder::default(),
            in_chunks: false,
            chunk_refused: false,
            transaction,
        }
    }

    /// Recipients of the batch that the server accepted at RCPT and has not judged since.
    fn undecided(&self) -> Vec<usize> {
        let is_open = |index: &usize| matches!(self.verdicts.get(*index), Some(None));
        self.batch.clone().filter(is_open).collect()
    }

    fn decide(&mut self, index: usize, verdict: Verdict) {
        if let Some(place) = self.verdicts.get_mut(index) {
            *place = Some(verdict);
        }
    }

    fn decide_batch(&mut self, verdict: &Verdict) {
        for index in self.undecided() {
            self.decide(index, verdict.clone());
        }
    }

    fn decide_rest(&mut self, verdict: &Verdict) {
        for place in self.verdicts.iter_mut().filter(|place| place.is_none()) {
            *place = Some(verdict.clone());
        }
    }
}

impl Client {
    /// A session on a fresh connection; `tls` if a handshake came first.
    pub fn new(params: Params, tls: Option<TlsInfo>) -> Self {
        Self {
            params,
            state: State::SettingUp,
            reader: Reader::default(),
            offered: Extensions::default(),
            tls,
            next: None,
            work: None,
            transactions: 0,
            login: None,
            only_asks: false,
            needs_reset: false,
            quit_when_idle: false,
            unsent: VecDeque::new(),
            sent: VecDeque::from([Step::Banner]),
            wait: Wait::default(),
            out: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Starts a transaction now, or as soon as the session is set up. False, and nothing happens, while another one
    /// is under way and after the end of the session.
    pub fn start(&mut self, transaction: Transaction) -> bool {
        self.take(transaction, false)
    }

    /// Like [`start`](Self::start), up to the message, which is not asked for: the verdicts say for whom the server would take
    /// one. If it refuses the reverse-path, that says nothing of anybody, and may pass.
    pub fn ask(&mut self, transaction: Transaction) -> bool {
        self.take(transaction, true)
    }

    fn take(&mut self, transaction: Transaction, only_asks: bool) -> bool {
        let is_over = matches!(self.state, State::Quitting | State::Closed);
        if is_over || self.quit_when_idle || self.work.is_some() || self.next.is_some() {
            return false;
        }
        self.next = Some(transaction);
        self.only_asks = only_asks;
        if self.state == State::Idle {
            self.begin();
        }
        true
    }

    /// The next piece of the message. The owner bounds its size; it is copied once.
    pub fn body(&mut self, piece: &[u8]) {
        if let (State::Body, Some(work)) = (self.state, &mut self.work) {
            match work.in_chunks {
                true => self.chunk(piece),
                false => work.encoder.encode(piece, &mut self.out),
            }
            if self.out.is_empty() {
                self.events.push_back(Event::NeedBody);
            }
        }
    }

    /// The message is complete.
    pub fn body_end(&mut self) {
        if let (State::Body, Some(work)) = (self.state, &mut self.work) {
            let encoder = std::mem::take(&mut work.encoder);
            match (work.in_chunks, self.params.protocol) {
                (true, _) => self.last_chunk(encoder),
                (false, Protocol::Smtp) => {
                    encoder.finish(&mut self.out);
                    self.sent.push_back(Step::Final);
                }
                (false, Protocol::Lmtp) => {
                    encoder.finish(&mut self.out);
                    self.sent.extend(work.undecided().into_iter().map(Step::FinalOf));
                }
            }
            self.state = State::EndOfData;
            self.wait.restart();
        }
    }

    /// The rest of the message cannot be had. The session is given up, so that the server drops what it has.
    pub fn body_abort(&mut self) {
        if self.state == State::Body {
            self.out.clear();
            self.fail(Failure::BodyAborted);
        }
    }

    /// The handshake that [`Event::StartTls`] asked for is done. What the server said before it is forgotten.
    pub fn tls_started(&mut self, info: TlsInfo) {
        if self.state == State::Handshake {
            self.state = State::SettingUp;
            self.tls = Some(info);
            self.offered = Extensions::default();
            self.greet();
        }
    }

    /// The handshake failed; the connection is of no use any more.
    pub fn tls_failed(&mut self) {
        if self.state == State::Handshake {
            self.fail(Failure::TlsHandshake);
        }
    }

    /// Ends the session politely, after the transaction if there is one.
    pub fn quit(&mut self) {
        self.quit_when_idle = true;
        if self.state == State::Idle {
            self.go_on();
        }
    }

    /// Whether the server takes another transaction in this session, as far as it has said (RFC 9422 §4.1).
    pub fn takes_more(&self) -> bool {
        let most = self.offered.limits.transactions;
        most.is_none_or(|most| self.transactions < most)
    }

    /// What the server offers, as far as it has said.
    pub fn offered(&self) -> &Extensions {
        &self.offered
    }

    /// The TLS session, if there is one.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    fn fail(&mut self, failure: Failure) {
        let begun = self.work.take().map(|work| work.verdicts);
        let not_begun = self.next.take().map(|next| vec![None; next.recipients.len()]);
        let verdicts = begun.or(not_begun).unwrap_or_default();
        self.events.push_back(Event::Failed { failure, verdicts });
        self.end();
    }

    /// Ends a session whose server is still listening.
    fn fail_politely(&mut self, failure: Failure) {
        self.out.extend_from_slice(b"QUIT\r\n");
        self.fail(failure);
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.sent.clear();
        self.unsent.clear();
    }

    /// What the session is waiting for.
    pub fn stage(&self) -> Stage {
        match (self.state, self.sent.front()) {
            (State::Handshake, _) => Stage::StartTls,
            (State::Body, _) => Stage::Body,
            // Once the last chunk is sent, the server may have the message, whatever replies are due before.
            (State::EndOfData, _) => Stage::EndOfData,
            (_, Some(step)) => step.stage(),
            (_, None) => Stage::Idle,
        }
    }

    /// Asks for the next piece, unless it was asked for or the server has to catch up first: unread replies must not stop it.
    fn ask_for_body(&mut self) {
        let may_go_on = |work: &Work| !work.chunk_refused && (!work.in_chunks || self.sent.len() < WINDOW);
        let is_wanted = self.state == State::Body && self.work.as_ref().is_some_and(may_go_on);
        if is_wanted && !self.events.contains(&Event::NeedBody) {
            self.events.push_back(Event::NeedBody);
        }
    }

    /// Sends a piece as a chunk of its own.
    fn chunk(&mut self, piece: &[u8]) {
        let Some(work) = &mut self.work else { return };
        let mut chunk = Vec::with_capacity(piece.len() + 2);
        work.encoder.encode(piece, &mut chunk);
        if !chunk.is_empty() {
            self.out
                .extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
            self.out.append(&mut chunk);
            self.sent.push_back(Step::Chunk);
        }
    }

    fn last_chunk(&mut self, encoder: Encoder) {
        let mut chunk = Vec::new();
        encoder.finish(&mut chunk);
        self.out
            .extend_from_slice(format!("BDAT {} LAST\r\n", chunk.len()).as_bytes());
        self.out.append(&mut chunk);
        self.sent.push_back(Step::Final);
    }

    fn take_reply(&mut self, input: &[u8]) -> usize {
        let progress = match self.reader.read(input) {
            Ok(progress) => progress,
            Err(error) => {
                self.fail(Failure::NoReply(self.stage(), error));
                return input.len();
            }
        };
        if let Some(reply) = progress.reply {
            self.wait.restart();
            self.handle(reply);
        }
        progress.consumed
    }

    /// In these states whatever the server sends is a reply, or an error.
    fn is_listening(&self) -> bool {
        match self.state {
            State::Body => self.work.as_ref().is_some_and(|work| work.in_chunks),
            State::Handshake | State::Closed => false,
            _ => true,
        }
    }
}

impl Machine for Client {
    type Event = Event;

    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        let mut consumed = 0;
        while consumed < input.len() && self.is_listening() && self.events.is_empty() {
            match self.take_reply(&input[consumed..]) {
                0 => break,
                taken => consumed += taken,
            }
        }
        if self.state == State::Handshake && consumed < input.len() {
            self.events.clear();
            self.fail(Failure::TlsInjection);
        }
        self.wait.observe(elapsed);
        if self.state == State::Closed {
            input.len()
        } else {
            consumed
        }
    }

    fn end_of_input(&mut self, _elapsed: Duration) {
        match self.state {
            State::Closed => (),
            State::Quitting => {
                self.events.push_back(Event::Closed);
                self.end();
            }
            _ => self.fail(Failure::ConnectionLost(self.stage())),
        }
    }

    fn expire(&mut self, elapsed: Duration) {
        if self.timeout().is_some_and(|at| at <= elapsed) {
            self.fail(Failure::TimedOut(self.stage()));
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let timeouts = &self.params.timeouts;
        let limit = match self.sent.front()? {
            Step::Banner => timeouts.banner,
            Step::Data => timeouts.data,
            Step::Chunk | Step::Final | Step::FinalOf(_) => timeouts.end_of_data,
            Step::Quit => timeouts.quit,
            _ => timeouts.command,
        };
        Some(self.wait.deadline(limit))
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if self.out.is_empty() {
            return None;
        }
        self.ask_for_body();
        Some(std::mem::take(&mut self.out))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests;
