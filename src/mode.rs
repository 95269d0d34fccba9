//! Which machine owns a connection, and the handover when the peer asks for the other protocol (`dmtp.md` §5.3–5.4).
//!
//! A dual-mode port greets in clear text with both names and waits for the peer to show which protocol it speaks:
//!
//! | The peer sends | The connection becomes |
//! |---|---|
//! | `EHLO name`, `HELO name`, bare `STARTTLS`, a verb that only SMTP has | SMTP, for good; the line itself goes to the SMTP session |
//! | `STARTTLS <host>`, with or without `MODE=DMTPv1` | DMTP over TLS, for good |
//! | `STARTTLS <host> MODE=SMTP` | SMTP over TLS, for good |
//! | MODE, NOOP, RSET, HELP, QUIT | still undecided; answered in place |
//! | any other command of DMTP | still undecided; 503 |
//!
//! On a port that speaks DMTP only there is nothing to decide: [`dmtp::server::Session`] runs by itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::machine::{Machine, TlsInfo, Wait};
use crate::dmtp;
use crate::dmtp::command::{self, Command, Protocol, Upgrade};
use crate::dmtp::line::{Item, Lines};
use crate::dmtp::reply;
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::smtp;
use crate::smtp::server::Profile;

#[cfg(test)]
mod tests;

/// What a dual-mode session needs to know.
#[derive(Debug, Clone)]
pub struct Params {
    /// For the SMTP session; its profile tells port 25 from port 587, and `starttls` whether either protocol can
    /// upgrade.
    pub smtp: smtp::server::Params,
    /// For the DMTP session.
    pub dmtp: dmtp::server::Parameters,
    /// Host names and domains for which a certificate can be shown, besides our own name.
    pub hosts: Vec<Domain>,
}

/// What a [`Dual`] asks of, or reports to, its owner.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// From the SMTP session; answered there ([`Dual::smtp`]). Its `StartTls` is reported as the one below.
    Smtp(smtp::server::Event),
    /// From the DMTP session; answered there ([`Dual::dmtp`]).
    Dmtp(dmtp::server::Event),
    /// `220` has been queued. The owner sends it, drops every octet it has read, does the TLS handshake, and calls
    /// [`Dual::tls_started`], or closes the connection.
    StartTls {
        /// What will be spoken inside TLS.
        protocol: Protocol,
        /// Whose certificate is wanted; SMTP has no way to say.
        host: Option<Domain>,
    },
}

/// One connection to a dual-mode port.
#[derive(Debug)]
pub struct Dual {
    params: Params,
    state: State,
    transmit: VecDeque<Vec<u8>>,
    upgrade: Option<Event>,
}

/// Who owns the connection. Sessions are boxed: most connections have only one of them.
#[derive(Debug)]
enum State {
    Undecided(Undecided),
    Handshake(Protocol),
    Smtp(Box<smtp::server::Session>),
    Dmtp(Box<dmtp::server::Session>),
    Closed,
}

#[derive(Debug, Default)]
struct Undecided {
    lines: Lines,
    violations: u32,
    idle_commands: u32,
    wait: Wait,
}

/// What a line means before the choice is made.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// The peer speaks SMTP; this line is the session's first.
    Smtp,
    Upgrade(Upgrade),
    Answer(Reply),
    Quit,
    /// An error of the peer, which is counted.
    Refuse(u16, &'static str),
}

impl Dual {
    /// A connection on which nothing has been said yet.
    pub fn new(params: Params) -> Self {
        let mut dual = Self {
            state: State::Undecided(Undecided::default()),
            transmit: VecDeque::new(),
            upgrade: None,
            params,
        };
        dual.send(&reply::banner(&dual.params.dmtp.host, true));
        dual
    }

    /// The SMTP session, if the connection became one.
    pub fn smtp(&mut self) -> Option<&mut smtp::server::Session> {
        match &mut self.state {
            State::Smtp(session) => Some(session),
            _ => None,
        }
    }

    /// The DMTP session, if the connection became one.
    pub fn dmtp(&mut self) -> Option<&mut dmtp::server::Session> {
        match &mut self.state {
            State::Dmtp(session) => Some(session),
            _ => None,
        }
    }

    /// The TLS handshake that [`Event::StartTls`] asked for is done. Everything learned before is forgotten.
    pub fn tls_started(&mut self, info: TlsInfo) {
        match &mut self.state {
            State::Smtp(session) => session.tls_started(info),
            State::Handshake(Protocol::Dmtp) => {
                let parameters = self.params.dmtp.clone().within(&info);
                let session = dmtp::server::Session::new(parameters, dmtp::server::Entry::Upgraded);
                let session = match self.params.smtp.profile {
                    Profile::Transfer => session,
                    Profile::Submission => session.with_logins(info, self.params.smtp.scram),
                };
                self.state = State::Dmtp(Box::new(session));
            }
            State::Handshake(Protocol::Smtp) => {
                self.send(&reply::mode(Protocol::Smtp));
                let session = smtp::server::Session::greeted(self.params.smtp.clone(), Some(info));
                self.state = State::Smtp(Box::new(session));
            }
            State::Undecided(_) | State::Dmtp(_) | State::Closed => {}
        }
    }

    /// Ends the session with 421, after the transaction if there is one.
    pub fn shut_down(&mut self) {
        match &mut self.state {
            State::Smtp(session) => session.shutdown(),
            State::Dmtp(session) => session.shut_down(),
            State::Undecided(_) => self.close(&Reply::plain(421, "shutting down")),
            State::Handshake(_) | State::Closed => self.state = State::Closed,
        }
    }

    /// Ends the session with 421 if a message is coming in that has not come to its end.
    pub fn give_up_message(&mut self) {
        match &mut self.state {
            State::Smtp(session) => session.give_up_message(),
            State::Dmtp(session) => session.give_up_message(),
            State::Undecided(_) | State::Handshake(_) | State::Closed => {}
        }
    }

    fn send(&mut self, reply: &Reply) {
        let max_line = self.params.dmtp.limits.reply_line_bytes;
        self.transmit.extend(reply::lines(reply, max_line));
    }

    fn close(&mut self, reply: &Reply) {
        self.send(reply);
        self.state = State::Closed;
    }

    /// Takes one line, or hands it over. Everything behind a STARTTLS is dropped.
    fn read_undecided(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        let State::Undecided(undecided) = &mut self.state else {
            return 0;
        };
        let (taken, item) = undecided.lines.next(input);
        match item {
            Item::Line(line) => match decide(line) {
                Decision::Smtp => return self.hand_to_smtp(elapsed, input),
                decision => self.act(decision),
            },
            Item::TooLong => self.act(Decision::Refuse(500, "line too long")),
            Item::Partial => {}
        }
        match &mut self.state {
            State::Undecided(undecided) => undecided.wait.observe(elapsed),
            _ => return input.len(),
        }
        taken
    }

    fn hand_to_smtp(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        let mut session = Box::new(smtp::server::Session::greeted(self.params.smtp.clone(), None));
        let taken = session.receive(elapsed, input);
        self.state = State::Smtp(session);
        taken
    }

    fn act(&mut self, decision: Decision) {
        match decision {
            Decision::Upgrade(upgrade) => self.start_tls(upgrade),
            Decision::Answer(reply) => self.answer_idle(&reply),
            Decision::Quit => self.close(&Reply::plain(221, "BYE")),
            Decision::Refuse(code, text) => self.refuse(code, text),
            Decision::Smtp => {}
        }
        if let State::Undecided(undecided) = &mut self.state {
            undecided.wait.restart();
        }
    }

    fn start_tls(&mut self, upgrade: Upgrade) {
        if !self.params.smtp.starttls {
            return self.send(&Reply::plain(454, "TLS is not available"));
        }
        if upgrade.host != self.params.dmtp.host && !self.params.hosts.contains(&upgrade.host) {
            return self.refuse(554, "no certificate for this host");
        }
        self.send(&Reply::plain(220, "READY"));
        let protocol = upgrade.protocol();
        self.state = State::Handshake(protocol);
        self.upgrade = Some(Event::StartTls {
            protocol,
            host: Some(upgrade.host),
        });
    }

    /// Nobody chooses for ever.
    fn answer_idle(&mut self, reply: &Reply) {
        let State::Undecided(undecided) = &mut self.state else {
            return;
        };
        undecided.idle_commands += 1;
        match undecided.idle_commands > self.params.dmtp.limits.idle_commands {
            true => self.close(&Reply::plain(421, "too many commands without effect")),
            false => self.send(reply),
        }
    }

    fn refuse(&mut self, code: u16, text: &str) {
        let State::Undecided(undecided) = &mut self.state else {
            return;
        };
        undecided.violations += 1;
        if undecided.violations > self.params.dmtp.limits.violations {
            self.close(&Reply::plain(421, "too many errors"));
        } else {
            self.send(&Reply::plain(code, text));
        }
    }
}

impl Machine for Dual {
    type Event = Event;

    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize {
        if !self.transmit.is_empty() || self.upgrade.is_some() {
            return 0;
        }
        match &mut self.state {
            State::Undecided(_) => self.read_undecided(elapsed, input),
            State::Smtp(session) => session.receive(elapsed, input),
            State::Dmtp(session) => session.receive(elapsed, input),
            State::Handshake(_) | State::Closed => input.len(),
        }
    }

    fn end_of_input(&mut self, elapsed: Duration) {
        match &mut self.state {
            State::Smtp(session) => session.end_of_input(elapsed),
            State::Dmtp(session) => session.end_of_input(elapsed),
            _ => self.state = State::Closed,
        }
    }

    fn expire(&mut self, elapsed: Duration) {
        match &mut self.state {
            State::Smtp(session) => session.expire(elapsed),
            State::Dmtp(session) => session.expire(elapsed),
            State::Undecided(undecided) => {
                undecided.wait.observe(elapsed);
                if self.timeout().is_some_and(|at| at <= elapsed) {
                    self.close(&Reply::plain(421, "timeout"));
                }
            }
            State::Handshake(_) | State::Closed => {}
        }
    }

    fn timeout(&self) -> Option<Duration> {
        match &self.state {
            State::Smtp(session) => session.timeout(),
            State::Dmtp(session) => session.timeout(),
            State::Undecided(undecided) => {
                Some(undecided.wait.deadline(self.params.dmtp.limits.command_timeout))
            }
            State::Handshake(_) | State::Closed => None,
        }
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if let Some(item) = self.transmit.pop_front() {
            return Some(item);
        }
        match &mut self.state {
            State::Smtp(session) => session.poll_transmit(),
            State::Dmtp(session) => session.poll_transmit(),
            _ => None,
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.upgrade.take() {
            return Some(event);
        }
        match &mut self.state {
            State::Smtp(session) => session.poll_event().map(smtp_event),
            State::Dmtp(session) => session.poll_event().map(Event::Dmtp),
            _ => None,
        }
    }

    fn is_closed(&self) -> bool {
        match &self.state {
            State::Smtp(session) => session.is_closed(),
            State::Dmtp(session) => session.is_closed(),
            State::Undecided(_) | State::Handshake(_) => false,
            State::Closed => true,
        }
    }
}

fn smtp_event(event: smtp::server::Event) -> Event {
    match event {
        smtp::server::Event::StartTls => Event::StartTls {
            protocol: Protocol::Smtp,
            host: None,
        },
        other => Event::Smtp(other),
    }
}

fn decide(line: &[u8]) -> Decision {
    match command::parse(line) {
        Ok(Command::StartTls(None) | Command::Auth { .. }) | Err(command::Error::SmtpOnly) => Decision::Smtp,
        Ok(Command::StartTls(Some(upgrade))) => Decision::Upgrade(upgrade),
        Ok(Command::Mode) => Decision::Answer(reply::mode(Protocol::Smtp)),
        Ok(Command::Noop | Command::Rset) => Decision::Answer(Reply::plain(250, "OK")),
        Ok(Command::Help) => Decision::Answer(dmtp::server::help()),
        Ok(Command::Quit) => Decision::Quit,
        Ok(_) => Decision::Refuse(503, "STARTTLS or EHLO comes first"),
        Err(command::Error::Arguments(expected)) => decide_malformed(line, expected),
        Err(_) => Decision::Refuse(500, "unknown command"),
    }
}

/// A verb that DMTP knows with arguments that it does not. Angle brackets mark a DMTP client's EHLO.
fn decide_malformed(line: &[u8], expected: &'static str) -> Decision {
    let verb = line
        .split(|octet| matches!(octet, b' ' | b'\t'))
        .next()
        .unwrap_or_default();
    match verb.to_ascii_uppercase().as_slice() {
        b"AUTH" => Decision::Smtp,
        b"EHLO" | b"HELO" if !line.iter().any(|octet| matches!(octet, b'<' | b'>')) => Decision::Smtp,
        b"EHLO" | b"HELO" | b"STARTTLS" | b"MODE" | b"RSET" | b"QUIT" => Decision::Refuse(501, expected),
        _ => Decision::Refuse(503, "STARTTLS or EHLO comes first"),
    }
}
