//! The client's side of a DMTP session (`dmtp.md` §5, §6, §8, §9).
//!
//! Writes the bracket grammar, which is the only one that servers were ever written for, and takes any 2xx for
//! success. One request at a time; each ends in one [`Event::Finished`], or the session ends in [`Event::Failed`]. The three
//! commands before a message go together where the server says that they may.

mod params;
mod reader;

#[cfg(test)]
mod tests;

pub use params::{Answer, Entry, Error, Event, Extensions, Limits, Message, Outcome};

use std::collections::VecDeque;
use std::time::Duration;

use self::reader::{Bound, ReplyReader};
use super::command::{self, Command, Deposit, Dialect, Mail, Protocol, Upgrade};
use super::handed_in::{KeySetsTaken, Pending};
use super::name::Name;
use super::reply;
use crate::base::encoding::base64;
use crate::base::machine::{Machine, Wait};
use crate::base::secret::Secret;
use crate::dime::fingerprint::AnyFingerprint;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;
use crate::smtp::auth::Mechanism;

/// One session. See the [module](self) and [`Machine`].
#[derive(Debug)]
pub struct Client {
    entry: Entry,
    limits: Limits,
    state: State,
    reader: ReplyReader,
    /// The server has said more than it was asked; what comes next is no answer to a new request.
    unasked: bool,
    /// The server takes commands before it has answered those that came first.
    pipelining: bool,
    wait: Wait,
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
    Body { left: u64, of: Load },
    Closed,
}

/// What the octets are that the server waits for.
#[derive(Debug, Clone, Copy)]
enum Load {
    Message,
    Keys,
    Request,
    KeySets,
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
    /// MAIL, RCPT and DATA, sent together.
    Transaction(Transaction),
    Auth,
    Keys,
    Pending,
    /// Leave to send so many octets.
    Upload {
        of: Load,
        size: u64,
    },
    Uploaded(Load),
}

/// The answers to commands that were sent together.
#[derive(Debug)]
struct Transaction {
    /// How many of the three are answered.
    answered: u8,
    /// Octets of the message.
    size: u64,
    /// The first that was not as it should be.
    refused: Option<Reply>,
}

impl Client {
    /// Starts a session. With [`Entry::Single`] TLS is active already.
    pub fn new(entry: Entry, limits: Limits) -> Self {
        Self {
            entry,
            limits,
            state: State::Banner,
            reader: ReplyReader::new(ordinary(&limits)),
            unasked: false,
            pipelining: false,
            wait: Wait::default(),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The handshake that [`Event::StartTls`] asked for is complete. The server speaks first.
    pub fn tls_established(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.expect(State::Mode, ordinary(&self.limits));
        }
    }

    /// Names our domain. Needed before [`send`](Self::send) only.
    pub fn ehlo(&mut self, domain: &Domain) -> Result<(), Error> {
        self.request(&Command::Ehlo(domain.clone()), Request::Ehlo)
    }

    /// Asks for a signet: that one, or the current one. Ends in [`Answer::Signet`].
    pub fn signet(&mut self, name: &Name, fingerprint: Option<AnyFingerprint>) -> Result<(), Error> {
        let command = Command::Signet {
            name: name.clone(),
            fingerprint,
        };
        self.request(&command, Request::Signet)
    }

    /// Asks whether that signet is the current one. Ends in [`Answer::Verdict`].
    pub fn verify(&mut self, name: &Name, fingerprint: AnyFingerprint) -> Result<(), Error> {
        let command = Command::Verify {
            name: name.clone(),
            fingerprint,
        };
        self.request(&command, Request::Verify)
    }

    /// Asks for a user's signets from `start` to `stop`, both included. Ends in [`Answer::History`].
    ///
    /// Without `start`, from the first one on; for that only the key=value grammar has a form (`dmtp.md` §6.9).
    pub fn history(
        &mut self,
        address: &Mailbox,
        start: Option<AnyFingerprint>,
        stop: Option<AnyFingerprint>,
    ) -> Result<(), Error> {
        let command = Command::History {
            address: address.clone(),
            start,
            stop,
        };
        self.request(&command, Request::History)
    }

    /// Sends a message: MAIL, RCPT, DATA, then [`Event::WantBody`]. Ends in [`Answer::Committed`].
    pub fn send(&mut self, message: Message) -> Result<(), Error> {
        let mail = Command::Mail(Mail {
            origin: message.origin.clone(),
            fingerprint: message.origin_signet.map(Into::into),
            size: Some(message.size),
            returning: message.returning,
            width: None,
        });
        match self.pipelining {
            true => self.send_together(&mail, &message),
            false => self.request(&mail, Request::Mail(Box::new(message))),
        }
    }

    fn send_together(&mut self, mail: &Command, message: &Message) -> Result<(), Error> {
        if !self.is_idle() {
            return Err(Error::NotReady);
        }
        let mut lines = String::new();
        for command in [mail, &rcpt(message), &data(message)] {
            lines += &command.format(Dialect::Bracket)?;
        }
        self.transmit.push_back(lines.into_bytes());
        let transaction = Transaction {
            answered: 0,
            size: message.size,
            refused: None,
        };
        self.expect(
            State::Waiting(Request::Transaction(transaction)),
            ordinary(&self.limits),
        );
        Ok(())
    }

    /// Whether a request may be made.
    pub fn is_idle(&self) -> bool {
        !self.unasked && matches!(self.state, State::Idle)
    }

    /// Starts a login. Ends in [`Answer::Challenge`], for [`respond`](Self::respond), or in [`Answer::Nothing`].
    pub fn authenticate(&mut self, mechanism: Mechanism) -> Result<(), Error> {
        let command = Command::Auth {
            mechanism: mechanism.name().to_owned(),
            initial: None,
        };
        self.request(&command, Request::Auth)
    }

    /// Answers a challenge; the response is not yet in base64.
    pub fn respond(&mut self, response: &Secret<String>) -> Result<(), Error> {
        if !self.is_idle() {
            return Err(Error::NotReady);
        }
        let mut line = base64(response.expose().as_bytes()).into_bytes();
        line.extend_from_slice(b"\r\n");
        self.transmit.push_back(line);
        self.expect(State::Waiting(Request::Auth), ordinary(&self.limits));
        Ok(())
    }

    /// Asks for wrapped keys. Ends in [`Answer::Keys`].
    pub fn keys(&mut self) -> Result<(), Error> {
        self.request(&Command::Keys(None), Request::Keys)
    }

    /// Leaves wrapped keys in the place of version `replaces`: [`Event::WantBody`], then [`Answer::Deposited`].
    pub fn deposit(&mut self, replaces: u64, size: u64) -> Result<(), Error> {
        let command = Command::Keys(Some(Deposit { replaces, size }));
        self.upload(&command, Load::Keys, size)
    }

    /// Asks what became of a signing request. Ends in [`Answer::Pending`].
    pub fn pending(&mut self) -> Result<(), Error> {
        self.request(&Command::Request(None), Request::Pending)
    }

    /// Hands in a signing request, packed: [`Event::WantBody`], then [`Answer::Nothing`].
    pub fn hand_in(&mut self, size: u64) -> Result<(), Error> {
        self.upload(&Command::Request(Some(size)), Load::Request, size)
    }

    /// Hands in key sets, packed: [`Event::WantBody`], then [`Answer::KeySetsTaken`].
    pub fn key_sets(&mut self, size: u64) -> Result<(), Error> {
        self.upload(&Command::KeySets(size), Load::KeySets, size)
    }

    fn upload(&mut self, command: &Command, of: Load, size: u64) -> Result<(), Error> {
        self.request(command, Request::Upload { of, size })
    }

    /// The next octets of the message or of what else is sent. The last ones complete the transfer.
    ///
    /// Errors: [`Error::NotReady`]; [`Error::MessageLength`] if there are none, or more than announced, and then none
    /// are sent.
    pub fn body(&mut self, octets: Vec<u8>) -> Result<(), Error> {
        let State::Body { left, of } = &mut self.state else {
            return Err(Error::NotReady);
        };
        if octets.is_empty() {
            return Err(Error::MessageLength);
        }
        *left = left
            .checked_sub(octets.len() as u64)
            .ok_or(Error::MessageLength)?;
        let complete = *left == 0;
        let answer = Request::Uploaded(*of);
        self.transmit.push_back(octets);
        if complete {
            self.transmit.push_back(b"\r\n".to_vec());
            self.expect(State::Waiting(answer), ordinary(&self.limits));
        } else {
            self.events.push_back(Event::WantBody);
        }
        Ok(())
    }

    /// Forgets a transaction that was refused half-way.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.request(&Command::Rset, Request::Plain)
    }

    /// Asks for a sign of life.
    pub fn noop(&mut self) -> Result<(), Error> {
        self.request(&Command::Noop, Request::Plain)
    }

    /// Ends the session.
    pub fn quit(&mut self) -> Result<(), Error> {
        self.request(&Command::Quit, Request::Quit)
    }

    fn request(&mut self, command: &Command, request: Request) -> Result<(), Error> {
        if !self.is_idle() {
            return Err(Error::NotReady);
        }
        self.write(command, request)?;
        Ok(())
    }

    fn write(&mut self, command: &Command, request: Request) -> Result<(), command::Error> {
        let dialect = match command {
            Command::History { start: None, .. } => Dialect::KeyValue,
            _ => Dialect::Bracket,
        };
        let line = command.format(dialect)?;
        self.transmit.push_back(line.into_bytes());
        let bound = bound(&request, &self.limits);
        self.expect(State::Waiting(request), bound);
        Ok(())
    }

    fn expect(&mut self, state: State, bound: Bound) {
        self.state = state;
        self.reader = ReplyReader::new(bound);
        self.wait.restart();
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Closed;
        self.transmit.clear();
        self.events.retain(|event| matches!(event, Event::Finished(_)));
        self.events.push_back(Event::Failed(error));
    }

    fn become_idle(&mut self, event: Event) {
        self.state = State::Idle;
        self.reader = ReplyReader::new(ordinary(&self.limits));
        self.events.push_back(event);
    }

    /// Acts on a complete reply; `surplus` tells that octets follow it already.
    fn handle(&mut self, reply: Reply, surplus: bool) {
        let result = match std::mem::replace(&mut self.state, State::Closed) {
            State::Banner => self.on_banner(reply),
            State::Upgrade => self.on_upgrade(reply),
            State::Mode => self.on_mode(reply),
            State::Waiting(request) => self.on_answer(request, reply),
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
            // The answer to a command that was sent together with the one just answered.
            State::Waiting(Request::Transaction(_)) => Ok(()),
            State::Idle | State::Closed => {
                self.unasked = true;
                Ok(())
            }
            State::Upgrade | State::Handshake => Err(Error::ClearTextSurplus),
            _ => Err(Error::Malformed("more replies than requests")),
        }
    }

    fn on_banner(&mut self, reply: Reply) -> Result<(), Error> {
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
        self.expect(State::Upgrade, ordinary(&self.limits));
        Ok(())
    }

    fn on_upgrade(&mut self, reply: Reply) -> Result<(), Error> {
        if !reply.is_positive() {
            return Err(Error::Refused(reply));
        }
        self.state = State::Handshake;
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

    fn on_answer(&mut self, request: Request, reply: Reply) -> Result<(), Error> {
        match request {
            Request::Mail(message) if reply.is_positive() => {
                self.write(&rcpt(&message), Request::Rcpt(message))?;
            }
            Request::Rcpt(message) if reply.is_positive() => {
                let (of, size) = (Load::Message, message.size);
                self.write(&data(&message), Request::Upload { of, size })?;
            }
            Request::Transaction(transaction) => self.on_part(transaction, reply)?,
            Request::Upload { of, size } if reply.code < 400 => self.on_go_ahead(size, of, &reply)?,
            Request::Quit => {
                self.become_idle(Event::Finished(outcome(&request, reply)));
                self.state = State::Closed;
            }
            request => {
                let outcome = outcome(&request, reply);
                if let Outcome::Done(Answer::Extensions(offered)) = &outcome {
                    self.pipelining = offered.pipelining;
                }
                self.become_idle(Event::Finished(outcome));
            }
        }
        Ok(())
    }

    /// One answer of three; a refusal counts once all are there, so that the next request has its own.
    fn on_part(&mut self, mut transaction: Transaction, reply: Reply) -> Result<(), Error> {
        let is_last = transaction.answered == 2;
        let is_good = match is_last {
            true => reply.code < 400,
            false => reply.is_positive(),
        };
        match (is_last, is_good, transaction.refused.take()) {
            (true, true, None) => return self.on_go_ahead(transaction.size, Load::Message, &reply),
            (true, _, refused) => {
                let refused = outcome(&Request::Plain, refused.unwrap_or(reply));
                self.become_idle(Event::Finished(refused));
                if is_good {
                    // It waits for a message that it has refused (RFC 2920 §3.1), and no octets would say that there is none.
                    self.state = State::Closed;
                }
                return Ok(());
            }
            (false, is_good, refused) => transaction.refused = refused.or((!is_good).then_some(reply)),
        }
        transaction.answered += 1;
        self.expect(
            State::Waiting(Request::Transaction(transaction)),
            ordinary(&self.limits),
        );
        Ok(())
    }

    /// A server that says 3xx waits for octets. If that is not what it said, nobody knows what it waits for.
    fn on_go_ahead(&mut self, size: u64, of: Load, reply: &Reply) -> Result<(), Error> {
        if !reply::asks_for_message(reply) {
            return Err(Error::Malformed(match of {
                Load::Message => "DATA is not answered with CONTINUE",
                Load::Keys => "KEYS is not answered with CONTINUE",
                Load::Request => "SSR is not answered with CONTINUE",
                Load::KeySets => "SETS is not answered with CONTINUE",
            }));
        }
        self.state = State::Body { left: size, of };
        self.events.push_back(Event::WantBody);
        Ok(())
    }
}

impl Machine for Client {
    type Event = Event;

    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        self.wait.observe(elapsed);
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
        // Whatever comes now answers nothing.
        self.unasked |= matches!(self.state, State::Idle);
        match self.reader.read(input) {
            Ok((taken, Some(reply))) => {
                self.handle(reply, taken < input.len());
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
        match &mut self.state {
            State::Closed => {}
            // It may close once it has refused the first of several.
            State::Waiting(Request::Transaction(Transaction { refused, .. })) if refused.is_some() => {
                let refused = refused.take().map(|reply| outcome(&Request::Plain, reply));
                self.events.extend(refused.map(Event::Finished));
                self.state = State::Closed;
            }
            // The server may close as soon as it has read QUIT.
            State::Waiting(Request::Quit) => {
                self.become_idle(Event::Finished(Outcome::Done(Answer::Nothing)));
                self.state = State::Closed;
            }
            _ => self.fail(Error::Closed),
        }
    }

    fn expire(&mut self, elapsed: Duration) {
        self.wait.observe(elapsed);
        if self.timeout().is_some_and(|at| at <= elapsed) {
            self.fail(Error::Timeout);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        match self.state {
            State::Waiting(Request::Uploaded(Load::Message)) => {
                Some(self.wait.deadline(self.limits.commit_timeout))
            }
            State::Banner | State::Upgrade | State::Mode | State::Waiting(_) => {
                Some(self.wait.deadline(self.limits.reply_timeout))
            }
            State::Handshake | State::Idle | State::Body { .. } | State::Closed => None,
        }
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

fn rcpt(message: &Message) -> Command {
    Command::Rcpt {
        destination: message.destination.clone(),
        fingerprint: message.destination_signet.map(Into::into),
    }
}

fn data(message: &Message) -> Command {
    Command::Data(Some(message.commit.clone()))
}

/// What a final reply means for a request.
fn outcome(request: &Request, reply: Reply) -> Outcome {
    let lookup = matches!(
        request,
        Request::Signet | Request::Verify | Request::History | Request::Keys | Request::Pending
    );
    match reply.code {
        300..=399 if matches!(request, Request::Auth) => match reply::read_challenge(&reply) {
            Some(challenge) => Outcome::Done(Answer::Challenge(challenge)),
            None => Outcome::Unusable(reply),
        },
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
        Request::Keys => reply::read_keys(reply).map(|(octets, version)| Answer::Keys { octets, version }),
        Request::Pending => Pending::read(reply).map(Answer::Pending),
        Request::Uploaded(of) => uploaded(*of, reply),
        Request::Plain | Request::Quit | Request::Auth => Some(Answer::Nothing),
        Request::Mail(_) | Request::Rcpt(_) | Request::Transaction(_) | Request::Upload { .. } => None,
    }
}

fn uploaded(of: Load, reply: &Reply) -> Option<Answer> {
    match of {
        Load::Message => Some(Answer::Committed(reply::read_committed(reply))),
        Load::Keys => reply::read_deposited(reply).map(Answer::Deposited),
        Load::Request => Some(Answer::Nothing),
        Load::KeySets => KeySetsTaken::read(reply).map(Answer::KeySetsTaken),
    }
}

fn extensions(reply: &Reply) -> Extensions {
    let mut extensions = Extensions::default();
    for line in &reply.lines {
        match line.trim().split_once(' ') {
            Some(("AUTH", names)) => {
                extensions.auth = names.split(' ').filter_map(Mechanism::from_name).collect();
            }
            Some(("SIZE", size)) => extensions.size_bytes = size.trim().parse().ok(),
            None if line.trim() == "RETURN" => extensions.returning = true,
            None if line.trim() == "PIPELINING" => extensions.pipelining = true,
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
