//! What follows from each reply.

use super::login::{Dialogue, Untrue};
use super::{
    Client, Event, Failure, Need, Outcome, Protocol, Recipient, Stage, State, Step, TlsPolicy, Transaction,
    Verdict, WINDOW, Work,
};
use crate::base::secret::Secret;
use crate::mail::notify::{EnvelopeId, MessageRequest, OriginalRecipient, RecipientRequest};
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::smtp::data::Encoder;
use crate::smtp::extension::Extensions;

impl Step {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::Banner => Stage::Banner,
            Self::Ehlo | Self::Helo => Stage::Hello,
            Self::StartTls => Stage::StartTls,
            Self::Auth => Stage::Auth,
            Self::Reset => Stage::Idle,
            Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::Chunk => Stage::Body,
            Self::Final | Self::FinalOf(_) => Stage::EndOfData,
            Self::Quit => Stage::Quit,
        }
    }
}

/// DATA is answered by 354 or an error, AUTH by 334 too, everything else by 2xx or an error.
fn is_meaningful(step: Step, reply: &Reply) -> bool {
    match reply.code / 100 {
        2 => step != Step::Data,
        3 => matches!((step, reply.code), (Step::Data, 354) | (Step::Auth, 334)),
        _ => true,
    }
}

impl Client {
    /// Handles one complete reply.
    pub(super) fn handle(&mut self, reply: Reply) {
        let Some(step) = self.sent.pop_front() else {
            return self.handle_unasked(reply);
        };
        if !is_meaningful(step, &reply) {
            return self.fail(Failure::UnexpectedReply(step.stage(), reply));
        }
        let closes = reply.code == 421 && step != Step::Quit;
        if closes {
            self.judge(step, &reply);
            return self.fail(Failure::Closing(reply));
        }
        self.follow(step, reply);
        self.transmit();
    }

    fn handle_unasked(&mut self, reply: Reply) {
        self.fail(match reply.code {
            421 => Failure::Closing(reply),
            _ => Failure::UnexpectedReply(Stage::Idle, reply),
        });
    }

    fn follow(&mut self, step: Step, reply: Reply) {
        match step {
            Step::Banner if reply.is_positive() => self.greet(),
            Step::Banner => self.fail_politely(Failure::BannerRefused(reply)),
            Step::Ehlo => self.after_ehlo(reply),
            Step::Helo if reply.is_positive() => self.after_hello(),
            Step::Helo => self.fail_politely(Failure::HelloRefused(reply)),
            Step::StartTls => self.after_starttls(reply),
            Step::Auth => self.after_auth(reply),
            Step::Reset => self.needs_reset = false,
            Step::Mail | Step::Rcpt(_) => {
                self.judge(step, &reply);
                self.after_envelope();
            }
            Step::Data => self.after_data(&reply),
            Step::Chunk => {
                self.judge(step, &reply);
                self.after_chunk();
            }
            Step::Final | Step::FinalOf(_) => {
                self.judge(step, &reply);
                self.after_final();
            }
            Step::Quit => {
                self.events.push_back(Event::Closed);
                self.end();
            }
        }
    }

    /// Introduces us, for the first time or after the handshake.
    pub(super) fn greet(&mut self) {
        let verb = match self.params.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        self.say(Step::Ehlo, format!("{verb} {}", self.params.hello));
        self.transmit();
    }

    fn after_ehlo(&mut self, reply: Reply) {
        if reply.is_positive() {
            self.offered = Extensions::parse(&reply.lines);
            return self.after_hello();
        }
        let may_fall_back =
            reply.is_permanent() && self.params.protocol == Protocol::Smtp && self.tls.is_none();
        if may_fall_back {
            self.say(Step::Helo, format!("HELO {}", self.params.hello));
        } else {
            self.fail_politely(Failure::HelloRefused(reply));
        }
    }

    fn after_hello(&mut self) {
        match self.params.tls {
            _ if self.tls.is_some() => self.log_in(),
            TlsPolicy::Never => self.log_in(),
            TlsPolicy::Opportunistic | TlsPolicy::Required if self.offered.starttls => {
                self.say(Step::StartTls, "STARTTLS".to_owned());
            }
            TlsPolicy::Opportunistic => self.log_in(),
            TlsPolicy::Required => self.fail_politely(Failure::TlsUnavailable(None)),
        }
    }

    fn after_starttls(&mut self, reply: Reply) {
        if reply.is_positive() {
            self.state = State::Handshake;
            self.events.push_back(Event::StartTls);
        } else if self.params.tls == TlsPolicy::Required {
            self.fail_politely(Failure::TlsUnavailable(Some(reply)));
        } else {
            self.log_in();
        }
    }

    fn log_in(&mut self) {
        let Some(login) = &self.params.login else {
            return self.ready();
        };
        match Dialogue::start(login, &self.offered.auth, self.tls.as_ref()) {
            Some((dialogue, command)) => self.say_in_login(dialogue, &command),
            None => self.fail_politely(Failure::AuthUnavailable),
        }
    }

    fn say_in_login(&mut self, dialogue: Dialogue, line: &Secret<String>) {
        self.login = Some(dialogue);
        self.say(Step::Auth, line.expose().clone());
    }

    fn after_auth(&mut self, reply: Reply) {
        let Some(dialogue) = self.login.take() else {
            return self.fail(Failure::UnexpectedReply(Stage::Auth, reply));
        };
        match reply.code {
            334 => match dialogue.respond(&reply.lines.concat()) {
                Ok((dialogue, response)) => self.say_in_login(dialogue, &response),
                Err(Untrue) => {
                    self.out.extend_from_slice(b"*\r\n");
                    self.fail_politely(Failure::AuthUntrue);
                }
            },
            _ if !reply.is_positive() => self.fail_politely(Failure::AuthRefused(reply)),
            _ if dialogue.may_end() => self.ready(),
            _ => self.fail_politely(Failure::AuthUntrue),
        }
    }

    fn ready(&mut self) {
        self.events.push_back(Event::Ready);
        self.go_on();
    }

    /// Between two transactions: begins the next, quits, or waits for either.
    pub(super) fn go_on(&mut self) {
        self.state = State::Idle;
        if self.next.is_some() {
            self.begin();
        } else if self.quit_when_idle {
            self.state = State::Quitting;
            self.say(Step::Quit, "QUIT".to_owned());
            self.transmit();
        }
    }

    /// Begins the transaction that has been given.
    pub(super) fn begin(&mut self) {
        let Some(transaction) = self.next.take() else {
            return;
        };
        if let Some(need) = self.lacking(&transaction) {
            self.events.push_back(Event::Done(Outcome::Lacking(need)));
            return self.go_on();
        }
        self.work = Some(Work::new(transaction));
        self.begin_batch();
    }

    /// Begins with as many of the recipients that are left as the server takes in one transaction.
    fn begin_batch(&mut self) {
        let Some(mut work) = self.work.take() else {
            return;
        };
        let most = self.offered.limits.recipients.unwrap_or(usize::MAX);
        let start = work.batch.end;
        work.batch = start..start.saturating_add(most).min(work.verdicts.len());
        // In LMTP the reply to the last chunk would be one for each recipient; nothing says how that is read.
        work.in_chunks = self.offered.chunking && self.params.protocol == Protocol::Smtp;
        work.chunk_refused = false;
        work.encoder = match work.in_chunks {
            true => Encoder::counted(),
            false => Encoder::default(),
        };
        self.state = State::Envelope;
        if self.needs_reset {
            self.say(Step::Reset, "RSET".to_owned());
        }
        self.transactions += 1;
        self.say(Step::Mail, self.mail_line(&work.transaction));
        for index in work.batch.clone() {
            if let Some(recipient) = work.transaction.recipients.get(index) {
                self.say(Step::Rcpt(index), self.rcpt_line(recipient));
            }
        }
        self.work = Some(work);
        self.transmit();
    }

    fn lacking(&self, transaction: &Transaction) -> Option<Need> {
        if transaction.needs_smtputf8() && !self.offered.smtputf8 {
            Some(Need::SmtpUtf8)
        } else if transaction.require_tls && !(self.offered.require_tls && self.tls.is_some()) {
            Some(Need::RequireTls)
        } else if transaction.eight_bit && !self.offered.eight_bit_mime {
            Some(Need::EightBitMime)
        } else {
            None
        }
    }

    fn mail_line(&self, transaction: &Transaction) -> String {
        let mut line = format!("MAIL FROM:<{}>", transaction.reverse_path);
        if self.offered.size.is_some() && !self.only_asks {
            line.push_str(&format!(" SIZE={}", transaction.size_bytes));
        }
        if transaction.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if transaction.needs_smtputf8() {
            line.push_str(" SMTPUTF8");
        }
        if transaction.require_tls {
            line.push_str(" REQUIRETLS");
        }
        if self.offered.dsn {
            let MessageRequest { ret, envelope_id } = &transaction.request;
            put_parameter(&mut line, "RET", ret.map(|ret| ret.as_str().to_owned()));
            put_parameter(&mut line, "ENVID", envelope_id.as_ref().map(EnvelopeId::to_value));
        }
        line
    }

    fn rcpt_line(&self, recipient: &Recipient) -> String {
        let mut line = format!("RCPT TO:<{}>", recipient.mailbox);
        if self.offered.dsn {
            let RecipientRequest { notify, original } = &recipient.request;
            put_parameter(&mut line, "NOTIFY", notify.to_value());
            put_parameter(
                &mut line,
                "ORCPT",
                original.as_ref().map(OriginalRecipient::to_value),
            );
        }
        line
    }

    /// Records what a reply means for the recipients.
    fn judge(&mut self, step: Step, reply: &Reply) {
        let Some(work) = &mut self.work else { return };
        let verdict = match reply.is_positive() {
            true => Verdict::Accepted(reply.clone()),
            false => Verdict::Rejected(reply.clone()),
        };
        match (step, reply.is_positive()) {
            (Step::Mail, false) => {
                work.mail_refused = Some(reply.clone());
                self.unsent.clear();
            }
            (Step::Rcpt(index), false) if work.mail_refused.is_none() => work.decide(index, verdict),
            (Step::Rcpt(index), true) if self.only_asks => work.decide(index, verdict),
            (Step::Chunk, false) => {
                work.chunk_refused = true;
                work.decide_batch(&verdict);
            }
            (Step::Data, false) | (Step::Final, _) => work.decide_batch(&verdict),
            (Step::FinalOf(index), _) => work.decide(index, verdict),
            _ => (),
        }
    }

    /// When MAIL and all RCPT are answered, asks for DATA if anybody is left to receive the message.
    fn after_envelope(&mut self) {
        if !(self.sent.is_empty() && self.unsent.is_empty()) {
            return;
        }
        let Some(work) = &mut self.work else { return };
        if let Some(reply) = work.mail_refused.take() {
            let reply = if self.only_asks {
                takes_no_questions()
            } else {
                reply
            };
            work.decide_rest(&Verdict::Rejected(reply));
            self.finish();
        } else if work.undecided().is_empty() {
            self.needs_reset = true;
            self.finish();
        } else if work.in_chunks {
            self.state = State::Body;
            self.events.push_back(Event::NeedBody);
        } else {
            self.say(Step::Data, "DATA".to_owned());
        }
    }

    /// A refused chunk ends the transaction once all that were sent are answered.
    fn after_chunk(&mut self) {
        let is_refused = self.work.as_ref().is_some_and(|work| work.chunk_refused);
        match (self.state, is_refused) {
            (State::Body, false) => self.ask_for_body(),
            (State::Body, true) if self.sent.is_empty() => {
                self.needs_reset = true;
                self.finish();
            }
            _ => {}
        }
    }

    fn after_data(&mut self, reply: &Reply) {
        if reply.code == 354 {
            self.state = State::Body;
            self.events.push_back(Event::NeedBody);
        } else {
            self.judge(Step::Data, reply);
            self.needs_reset = true;
            self.finish();
        }
    }

    fn after_final(&mut self) {
        if self.sent.is_empty() {
            self.finish();
        }
    }

    /// The batch is through: the next, or the end.
    fn finish(&mut self) {
        if self
            .work
            .as_ref()
            .is_some_and(|work| work.verdicts.contains(&None))
            && self.takes_more()
        {
            self.events.push_back(Event::Rewind);
            return self.begin_batch();
        }
        let Some(work) = self.work.take() else { return };
        let verdicts = work.verdicts.into_iter().map_while(|verdict| verdict).collect();
        self.events.push_back(Event::Done(Outcome::Verdicts(verdicts)));
        self.go_on();
    }

    /// Queues a command.
    fn say(&mut self, step: Step, line: String) {
        self.unsent.push_back((step, format!("{line}\r\n").into_bytes()));
    }

    /// Sends as many of the queued commands as may be sent ahead of their replies.
    pub(super) fn transmit(&mut self) {
        let window = if self.offered.pipelining { WINDOW } else { 1 };
        while self.sent.len() < window
            && let Some((step, line)) = self.unsent.pop_front()
        {
            self.out.extend_from_slice(&line);
            self.sent.push_back(step);
            self.wait.restart();
        }
    }
}

fn put_parameter(line: &mut String, keyword: &str, value: Option<String>) {
    if let Some(value) = value {
        line.push_str(&format!(" {keyword}={value}"));
    }
}

/// What is left of a question whose reverse-path is refused.
fn takes_no_questions() -> Reply {
    let text = "The server does not take this sender, and cannot be asked";
    Reply::new(451, EnhancedStatus(4, 1, 8), text)
}
