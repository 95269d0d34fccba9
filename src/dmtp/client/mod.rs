//! The client's side of a DMTP session (`dmtp.md` §5, §6, §8, §9).
//!
//! Writes the bracket grammar, which is the only one that servers were ever written for, and takes any 2xx for
//! success. One request at a time; each ends in one [`Event::Finished`], or the session ends in [`Event::Failed`].

mod reader;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use self::reader::{Bound, ReplyReader};
use super::command::{self, Command, CommitHash, Dialect, Mail, Protocol, Return, Upgrade};
use super::name::Name;
use super::reply::{self, TransactionId, Verdict};
use crate::base::machine::Machine;
use crate::dime::fingerprint::{AnyFingerprint, FullFingerprint};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;

/// Bounds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest reply line to anything but SGNT and HIST, terminator included.
    pub reply_line_bytes: usize,
    /// Largest signet, in octets. The default is the largest there can be (`dmtp.md` §4.4).
    pub signet_bytes: usize,
    /// All signets of a history together, in octets.
    pub history_bytes: usize,
    /// How long banner and replies may take.
    pub reply_timeout: Duration,
    /// How long the final reply to DATA may take: the server checks and stores the message first.
    pub commit_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply_line_bytes: 8 * 1024,
            signet_bytes: 16_777_220,
            history_bytes: 64 * 1024 * 1024,
            reply_timeout: Duration::from_secs(300),
            commit_timeout: Duration::from_secs(600),
        }
    }
}

/// How the session gets into TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// TLS is active from the first octet (port 26).
    Single,
    /// Clear text first, then STARTTLS for this DX host (ports 25 and 587).
    Dual(Domain),
}

/// Why a request was not sent, or why the session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another request is in progress, the session is not [`Event::Ready`] yet, or it is over.
    #[error("the session cannot take a request now")]
    NotReady,
    /// The request has no form on the wire.
    #[error("the request cannot be written")]
    Request(#[from] command::Error),
    /// More octets than were announced as the message's size.
    #[error("the message is longer than announced")]
    MessageLength,
    /// The banner does not offer DMTP, or the server is in another mode after STARTTLS.
    #[error("the host does not speak DMTP")]
    NotDmtp,
    /// The server refused the session: at the banner, at STARTTLS, or with an unasked-for reply.
    #[error("the host refused the session: {0}")]
    Refused(Reply),
    /// What arrived is not a reply.
    #[error("the host broke the protocol: {0}")]
    Malformed(&'static str),
    /// A reply is longer than the limits allow.
    #[error("a reply is too long")]
    TooLong,
    /// Octets followed the reply to STARTTLS in clear text: somebody injects replies (`dmtp.md` §11 no. 1).
    #[error("clear text behind the reply to STARTTLS")]
    ClearTextSurplus,
    /// The server did not answer in time.
    #[error("the host did not answer in time")]
    Timeout,
    /// The server closed the connection.
    #[error("the host closed the connection")]
    Closed,
}

/// What the session reports to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server agreed to STARTTLS. The owner runs the handshake, then calls [`Client::tls_established`].
    StartTls,
    /// Banner and mode are right: requests may be made, once the owner has checked the certificate.
    Ready,
    /// The server wants the message: [`Client::body`], until all octets are given.
    WantBody,
    /// The request is answered.
    Finished(Outcome),
    /// The session is over.
    Failed(Error),
}

/// How a request ended. The session stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done(Answer),
    /// 450 to SGNT, VRFY or HIST: there is no such signet.
    NotFound,
    /// 4xx: worth trying again.
    Transient(Reply),
    /// 5xx: final.
    Permanent(Reply),
    /// A reply whose text makes no sense here.
    Unusable(Reply),
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// NOOP, RSET, QUIT: nothing to tell.
    Nothing,
    /// EHLO.
    Extensions(Extensions),
    /// SGNT: a binary object. Nothing about it is verified, not even that it is the one asked for.
    Signet(Vec<u8>),
    /// VRFY.
    Verdict(Verdict),
    /// HIST: binary objects, oldest first; unverified.
    History(Vec<Vec<u8>>),
    /// The message is the server's now. The id is missing if the server gave none of the known form.
    Committed(Option<TransactionId>),
}

/// What the answer to EHLO offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// `SIZE`: largest message, in octets.
    pub size_bytes: Option<u64>,
    /// `RETURN`: the parameter of MAIL is understood.
    pub returning: bool,
}

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The domain that it comes from.
    pub origin: Domain,
    /// The origin's signet.
    pub origin_signet: FullFingerprint,
    /// The domain that it goes to.
    pub destination: Domain,
    /// The destination's signet.
    pub destination_signet: FullFingerprint,
    /// Octets of the object, at least 1.
    pub size: u64,
    /// How much of it a failure report should return.
    pub returning: Option<Return>,
    /// What DATA calls it.
    pub commit: CommitHash,
}

/// One session. See the [module](self) and [`Machine`].
#[derive(Debug)]
pub struct Client {
    entry: Entry,
    limits: Limits,
    state: State,
    reader: ReplyReader,
    /// The server has said more than it was asked; what comes next is no answer to a new request.
    unasked: bool,
    deadline: Option<Duration>,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// What the session expects next.
#[derive(Debug)]
enum State {
    Banner,
    Upgrade,
    Handshake,
    Mode,
    Idle,
    Waiting(Request),
    Body { left: u64 },
    Closed,
}

/// What the next reply answers.
#[derive(Debug)]
enum Request {
    Ehlo,
    Plain,
    Quit,
    Signet,
    Verify,
    History,
    Mail(Box<Message>),
    Rcpt(Box<Message>),
    Data { size: u64 },
    Commit,
}

impl Client {
    /// Starts a session, `elapsed` after the connection began. With [`Entry::Single`] TLS is active already.
    pub fn new(entry: Entry, limits: Limits, elapsed: Duration) -> Self {
        Self {
            entry,
            limits,
            state: State::Banner,
            reader: ReplyReader::new(ordinary(&limits)),
            unasked: false,
            deadline: Some(elapsed + limits.reply_timeout),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The handshake that [`Event::StartTls`] asked for is complete. The server speaks first.
    pub fn tls_established(&mut self, elapsed: Duration) {
        if matches!(self.state, State::Handshake) {
            self.expect(elapsed, State::Mode, ordinary(&self.limits));
        }
    }

    /// Names our domain. Needed before [`send`](Self::send) only.
    pub fn ehlo(&mut self, elapsed: Duration, domain: &Domain) -> Result<(), Error> {
        self.request(elapsed, &Command::Ehlo(domain.clone()), Request::Ehlo)
    }

    /// Asks for a signet: that one, or the current one. Ends in [`Answer::Signet`].
    pub fn signet(
        &mut self,
        elapsed: Duration,
        name: &Name,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<(), Error> {
        let command = Command::Signet {
            name: name.clone(),
            fingerprint,
        };
        self.request(elapsed, &command, Request::Signet)
    }

    /// Asks whether that signet is the current one. Ends in [`Answer::Verdict`].
    pub fn verify(
        &mut self,
        elapsed: Duration,
        name: &Name,
        fingerprint: AnyFingerprint,
    ) -> Result<(), Error> {
        let command = Command::Verify {
            name: name.clone(),
            fingerprint,
        };
        self.request(elapsed, &command, Request::Verify)
    }

    /// Asks for a user's signets from `start` to `stop`, both included. Ends in [`Answer::History`].
    pub fn history(
        &mut self,
        elapsed: Duration,
        address: &Mailbox,
        start: AnyFingerprint,
        stop: Option<AnyFingerprint>,
    ) -> Result<(), Error> {
        let command = Command::History {
            address: address.clone(),
            start: Some(start),
            stop,
        };
        self.request(elapsed, &command, Request::History)
    }

    /// Sends a message: MAIL, RCPT, DATA, then [`Event::WantBody`]. Ends in [`Answer::Committed`].
    pub fn send(&mut self, elapsed: Duration, message: Message) -> Result<(), Error> {
        let mail = Command::Mail(Mail {
            origin: message.origin.clone(),
            fingerprint: Some(message.origin_signet.into()),
            size: Some(message.size),
            returning: message.returning,
            width: None,
        });
        self.request(elapsed, &mail, Request::Mail(Box::new(message)))
    }

    /// The next octets of the message. The last ones complete the transfer.
    ///
    /// Errors: [`Error::NotReady`], [`Error::MessageLength`] if there are more than announced; none are sent then.
    pub fn body(&mut self, elapsed: Duration, octets: Vec<u8>) -> Result<(), Error> {
        let State::Body { left } = &mut self.state else {
            return Err(Error::NotReady);
        };
        *left = left
            .checked_sub(octets.len() as u64)
            .ok_or(Error::MessageLength)?;
        let complete = *left == 0;
        self.transmit.push_back(octets);
        if complete {
            self.transmit.push_back(b"\r\n".to_vec());
            self.expect(elapsed, State::Waiting(Request::Commit), ordinary(&self.limits));
            self.deadline = Some(elapsed + self.limits.commit_timeout);
        }
        Ok(())
    }

    /// Forgets a transaction that was refused half-way.
    pub fn reset(&mut self, elapsed: Duration) -> Result<(), Error> {
        self.request(elapsed, &Command::Rset, Request::Plain)
    }

    /// Asks for a sign of life.
    pub fn noop(&mut self, elapsed: Duration) -> Result<(), Error> {
        self.request(elapsed, &Command::Noop, Request::Plain)
    }

    /// Ends the session.
    pub fn quit(&mut self, elapsed: Duration) -> Result<(), Error> {
        self.request(elapsed, &Command::Quit, Request::Quit)
    }

    fn request(&mut self, elapsed: Duration, command: &Command, request: Request) -> Result<(), Error> {
        if self.unasked || !matches!(self.state, State::Idle) {
            return Err(Error::NotReady);
        }
        self.write(elapsed, command, request)?;
        Ok(())
    }

    fn write(
        &mut self,
        elapsed: Duration,
        command: &Command,
        request: Request,
    ) -> Result<(), command::Error> {
        let line = command.format(Dialect::Bracket)?;
        self.transmit.push_back(line.into_bytes());
        let bound = bound(&request, &self.limits);
        self.expect(elapsed, State::Waiting(request), bound);
        Ok(())
    }

    fn expect(&mut self, elapsed: Duration, state: State, bound: Bound) {
        self.state = state;
        self.reader = ReplyReader::new(bound);
        self.deadline = Some(elapsed + self.limits.reply_timeout);
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Closed;
        self.deadline = None;
        self.transmit.clear();
        self.events.retain(|event| matches!(event, Event::Finished(_)));
        self.events.push_back(Event::Failed(error));
    }

    fn become_idle(&mut self, event: Event) {
        self.state = State::Idle;
        self.deadline = None;
        self.reader = ReplyReader::new(ordinary(&self.limits));
        self.events.push_back(event);
    }

    /// Acts on a complete reply; `surplus` tells that octets follow it already.
    fn handle(&mut self, elapsed: Duration, reply: Reply, surplus: bool) {
        let result = match std::mem::replace(&mut self.state, State::Closed) {
            State::Banner => self.on_banner(elapsed, reply),
            State::Upgrade => self.on_upgrade(reply),
            State::Mode => self.on_mode(reply),
            State::Waiting(request) => self.on_answer(elapsed, request, reply),
            State::Idle | State::Handshake | State::Body { .. } | State::Closed => Err(Error::Refused(reply)),
        };
        match result.and_then(|()| self.check_surplus(surplus)) {
            Ok(()) => {}
            Err(error) => self.fail(error),
        }
    }

    /// A valid answer counts even if more follows it, as 421 may; but nothing may follow where an answer to a
    /// command just written would be next.
    fn check_surplus(&mut self, surplus: bool) -> Result<(), Error> {
        match self.state {
            _ if !surplus => Ok(()),
            State::Idle | State::Closed => {
                self.unasked = true;
                Ok(())
            }
            State::Upgrade | State::Handshake => Err(Error::ClearTextSurplus),
            _ => Err(Error::Malformed("more replies than requests")),
        }
    }

    fn on_banner(&mut self, elapsed: Duration, reply: Reply) -> Result<(), Error> {
        if !reply.is_positive() {
            return Err(Error::Refused(reply));
        }
        if !reply::offers_dmtp(&reply) {
            return Err(Error::NotDmtp);
        }
        let Entry::Dual(host) = &self.entry else {
            self.become_idle(Event::Ready);
            return Ok(());
        };
        let upgrade = Upgrade {
            host: host.clone(),
            mode: Some(Protocol::Dmtp),
        };
        let line = Command::StartTls(Some(upgrade)).format(Dialect::Bracket)?;
        self.transmit.push_back(line.into_bytes());
        self.expect(elapsed, State::Upgrade, ordinary(&self.limits));
        Ok(())
    }

    fn on_upgrade(&mut self, reply: Reply) -> Result<(), Error> {
        if !reply.is_positive() {
            return Err(Error::Refused(reply));
        }
        self.state = State::Handshake;
        self.deadline = None;
        self.events.push_back(Event::StartTls);
        Ok(())
    }

    fn on_mode(&mut self, reply: Reply) -> Result<(), Error> {
        if !reply.is_positive() {
            return Err(Error::Refused(reply));
        }
        match reply::read_mode(&reply) {
            Some(Protocol::Dmtp) => self.become_idle(Event::Ready),
            Some(Protocol::Smtp) => return Err(Error::NotDmtp),
            None => return Err(Error::Malformed("no mode after STARTTLS")),
        }
        Ok(())
    }

    fn on_answer(&mut self, elapsed: Duration, request: Request, reply: Reply) -> Result<(), Error> {
        match request {
            Request::Mail(message) if reply.is_positive() => {
                let rcpt = Command::Rcpt {
                    destination: message.destination.clone(),
                    fingerprint: Some(message.destination_signet.into()),
                };
                self.write(elapsed, &rcpt, Request::Rcpt(message))?;
            }
            Request::Rcpt(message) if reply.is_positive() => {
                let data = Command::Data(Some(message.commit.clone()));
                self.write(elapsed, &data, Request::Data { size: message.size })?;
            }
            Request::Data { size } if reply.code < 400 => self.on_go_ahead(size, &reply)?,
            Request::Quit => {
                self.become_idle(Event::Finished(outcome(&request, reply)));
                self.state = State::Closed;
            }
            request => self.become_idle(Event::Finished(outcome(&request, reply))),
        }
        Ok(())
    }

    /// A server that says 3xx waits for octets. If that is not what it said, nobody knows what it waits for.
    fn on_go_ahead(&mut self, size: u64, reply: &Reply) -> Result<(), Error> {
        if !reply::asks_for_message(reply) {
            return Err(Error::Malformed("DATA is not answered with CONTINUE"));
        }
        self.state = State::Body { left: size };
        self.deadline = None;
        self.events.push_back(Event::WantBody);
        Ok(())
    }
}

impl Machine for Client {
    type Event = Event;

    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        if !self.transmit.is_empty() || !self.events.is_empty() || input.is_empty() {
            return 0;
        }
        match self.state {
            State::Closed | State::Body { .. } => return 0,
            State::Handshake => {
                self.fail(Error::ClearTextSurplus);
                return 0;
            }
            _ => {}
        }
        match self.reader.read(input) {
            Ok((taken, Some(reply))) => {
                self.handle(elapsed, reply, taken < input.len());
                taken
            }
            Ok((taken, None)) => taken,
            Err(error) => {
                self.fail(error);
                0
            }
        }
    }

    fn end_of_input(&mut self, _elapsed: Duration) {
        match self.state {
            State::Closed => {}
            // The server may close as soon as it has read QUIT.
            State::Waiting(Request::Quit) => {
                self.become_idle(Event::Finished(Outcome::Done(Answer::Nothing)));
                self.state = State::Closed;
            }
            _ => self.fail(Error::Closed),
        }
    }

    fn expire(&mut self, elapsed: Duration) {
        if self.deadline.is_some_and(|deadline| elapsed >= deadline) {
            self.fail(Error::Timeout);
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
        matches!(self.state, State::Closed)
    }
}

/// What a final reply means for a request.
fn outcome(request: &Request, reply: Reply) -> Outcome {
    let lookup = matches!(request, Request::Signet | Request::Verify | Request::History);
    match reply.code {
        200..=299 => answer(request, &reply).map_or(Outcome::Unusable(reply), Outcome::Done),
        450 if lookup => Outcome::NotFound,
        400..=499 => Outcome::Transient(reply),
        500..=599 => Outcome::Permanent(reply),
        _ => Outcome::Unusable(reply),
    }
}

fn answer(request: &Request, reply: &Reply) -> Option<Answer> {
    match request {
        Request::Ehlo => Some(Answer::Extensions(extensions(reply))),
        Request::Signet => reply::read_signet(reply).map(Answer::Signet),
        Request::Verify => reply::read_verdict(reply).map(Answer::Verdict),
        Request::History => reply::read_history(reply).map(Answer::History),
        Request::Commit => Some(Answer::Committed(reply::read_committed(reply))),
        Request::Plain | Request::Quit => Some(Answer::Nothing),
        Request::Mail(_) | Request::Rcpt(_) | Request::Data { .. } => None,
    }
}

fn extensions(reply: &Reply) -> Extensions {
    let mut extensions = Extensions::default();
    for line in &reply.lines {
        match line.trim().split_once(' ') {
            Some(("SIZE", size)) => extensions.size_bytes = size.trim().parse().ok(),
            None if line.trim() == "RETURN" => extensions.returning = true,
            _ => {}
        }
    }
    extensions
}

fn ordinary(limits: &Limits) -> Bound {
    Bound {
        line_bytes: limits.reply_line_bytes,
        total_bytes: limits.reply_line_bytes.saturating_mul(16),
    }
}

/// How much may come back depends on what was asked.
fn bound(request: &Request, limits: &Limits) -> Bound {
    match request {
        Request::Signet => line_of(limits.signet_bytes, limits.signet_bytes, limits),
        Request::History => line_of(limits.signet_bytes, limits.history_bytes, limits),
        _ => ordinary(limits),
    }
}

/// A line that carries an object in base64, or an ordinary one if that is longer.
fn line_of(object: usize, all: usize, limits: &Limits) -> Bound {
    let ordinary = ordinary(limits);
    let encoded = |octets: usize| octets.saturating_add(octets / 3).saturating_add(64);
    Bound {
        line_bytes: encoded(object).max(ordinary.line_bytes),
        total_bytes: encoded(all).max(ordinary.total_bytes),
    }
}
