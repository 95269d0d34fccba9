//! What each command does, and whether it may be given now.

use super::{End, Event, Known, Profile, Question, Session, State, Transaction, replies};
use crate::mail::notify::{MessageRequest, RecipientRequest};
use crate::mail::reply::Reply;
use crate::smtp::command::{self, Command, Hello, MailFrom, RcptTo};

/// Recipients beyond the limit that are answered before the session ends, as a multiple of the limit.
const MOST_EXCESS: usize = 10;

impl Session {
    /// Handles one line in a place where a command is expected.
    pub(super) fn take_command(&mut self, line: &[u8]) {
        let origin = self.params.origin.as_ref();
        let completed = origin.and_then(|origin| command::with_domain(line, origin));
        let outcome = match command::parse(completed.as_deref().unwrap_or(line)) {
            // What follows is a chunk of unknown size, and must not be read as commands.
            Err(command::Error::ChunkSize) => {
                return self.close(End::UnusableChunkSize, Some(replies::unusable_chunk_size()));
            }
            Err(error) => Err(replies::no_command(error)),
            Ok(command) => self.execute(command),
        };
        if let Err(refusal) = outcome {
            self.complain(&refusal);
        }
    }

    /// Does what the command asks, or gives the refusal.
    fn execute(&mut self, command: Command) -> Result<(), Reply> {
        match command {
            Command::Hello(hello) => self.greet(hello),
            Command::Mail(mail) => return self.start_transaction(mail),
            Command::Rcpt(rcpt) => return self.add_recipient(rcpt),
            Command::Data => return self.ask_for_data(),
            Command::Bdat(chunk) => self.take_chunk_command(chunk),
            Command::StartTls => return self.start_tls(),
            Command::Auth { mechanism, initial } => return self.authenticate(&mechanism, initial),
            Command::Rset => {
                self.reset();
                self.answer_idle(&replies::ok());
            }
            Command::Noop => self.answer_idle(&replies::ok()),
            Command::Vrfy => self.answer_idle(&replies::cannot_verify()),
            Command::Help => self.answer_idle(&replies::help()),
            Command::Quit => self.close(End::Quit, Some(replies::bye())),
            Command::Unimplemented => return Err(replies::unimplemented()),
        }
        Ok(())
    }

    /// Answers a command that brings no mail, as often as the limit allows.
    pub(super) fn answer_idle(&mut self, reply: &Reply) {
        self.tally.idle_commands += 1;
        if self.tally.idle_commands > self.params.limits.idle_commands {
            self.close(End::TooManyErrors, Some(replies::too_many_idle_commands()));
        } else {
            self.send(reply);
        }
    }

    fn greet(&mut self, hello: Hello) {
        self.reset();
        let mut reply = Reply::plain(250, self.params.host.to_string());
        if hello.extended {
            reply
                .lines
                .extend(self.params.extensions(self.tls.as_ref()).keywords());
        }
        self.events.push_back(Event::Hello(hello.clone()));
        self.known.hello = Some(hello);
        self.answer_idle(&reply);
    }

    fn reset(&mut self) {
        if self.known.transaction.take().is_some() {
            self.events.push_back(Event::Reset);
        }
    }

    fn start_transaction(&mut self, mail: MailFrom) -> Result<(), Reply> {
        self.known.may_start_transaction()?;
        self.check_identity()?;
        self.check_mail(&mail)?;
        self.ask(
            Question::MailFrom {
                smtputf8: mail.smtputf8,
            },
            Event::MailFrom(mail),
        );
        Ok(())
    }

    /// Submission is for users who have logged in, which needs TLS.
    fn check_identity(&self) -> Result<(), Reply> {
        match self.params.profile {
            Profile::Submission if self.tls.is_none() => Err(replies::starttls_first()),
            Profile::Submission if !self.known.authenticated => Err(replies::authentication_required()),
            Profile::Submission | Profile::Transfer => Ok(()),
        }
    }

    fn check_mail(&self, mail: &MailFrom) -> Result<(), Reply> {
        if mail.auth && self.params.profile != Profile::Submission {
            return Err(replies::parameter_not_supported());
        }
        // Offered under TLS alone (RFC 8689 §2).
        if mail.require_tls && self.tls.is_none() {
            return Err(replies::parameter_not_supported());
        }
        if mail.request != MessageRequest::default() && !self.params.dsn {
            return Err(replies::parameter_not_supported());
        }
        if mail.is_international && !mail.smtputf8 {
            return Err(replies::smtputf8_needed());
        }
        if mail.size_bytes > Some(self.params.limits.message_bytes) {
            return Err(replies::too_large());
        }
        Ok(())
    }

    fn add_recipient(&mut self, rcpt: RcptTo) -> Result<(), Reply> {
        let limit = self.params.limits.recipients;
        let is_offered = self.params.dsn || rcpt.request == RecipientRequest::default();
        let transaction = self.known.transaction()?;
        if transaction.chunked.is_some() {
            return Err(replies::out_of_order("The message has begun"));
        }
        if !is_offered {
            transaction.refused += 1;
            return Err(replies::parameter_not_supported());
        }
        if rcpt.is_international && !transaction.smtputf8 {
            transaction.refused += 1;
            return Err(replies::smtputf8_needed());
        }
        if transaction.accepted >= limit {
            // Not the client's mistake: it is to send the rest in another transaction. Many may be in the pipeline
            // already, but somewhere nobody is listening to the replies any more.
            transaction.excess += 1;
            match transaction.excess <= limit.saturating_mul(MOST_EXCESS) {
                true => self.send(&replies::too_many_recipients()),
                false => self.close(End::TooManyErrors, Some(replies::too_many_errors())),
            }
            return Ok(());
        }
        self.ask(Question::RcptTo, Event::RcptTo(rcpt));
        Ok(())
    }

    fn ask_for_data(&mut self) -> Result<(), Reply> {
        let transaction = self.known.transaction_with_recipients()?;
        if transaction.chunked.is_some() {
            return Err(replies::out_of_order("BDAT goes on"));
        }
        self.ask(Question::DataStart, Event::DataStart);
        Ok(())
    }

    fn start_tls(&mut self) -> Result<(), Reply> {
        if self.tls.is_some() {
            return Err(replies::out_of_order("TLS is active"));
        }
        if !self.params.starttls {
            return Err(replies::unimplemented());
        }
        self.known = Known::default();
        self.state = State::Handshake;
        self.send(&replies::start_tls());
        self.events.push_back(Event::StartTls);
        Ok(())
    }

    pub(super) fn ask(&mut self, question: Question, event: Event) {
        self.state = State::Answer(question);
        self.events.push_back(event);
    }
}

impl Known {
    /// MAIL and AUTH come after EHLO and outside a transaction.
    pub(super) fn may_start_transaction(&self) -> Result<(), Reply> {
        match (&self.hello, &self.transaction) {
            (None, _) => Err(replies::hello_first()),
            (_, Some(_)) => Err(replies::out_of_order("Transaction in progress")),
            (Some(_), None) => Ok(()),
        }
    }

    /// The transaction that RCPT and DATA belong to.
    fn transaction(&mut self) -> Result<&mut Transaction, Reply> {
        self.transaction
            .as_mut()
            .ok_or_else(|| replies::out_of_order("MAIL first"))
    }

    /// The transaction, if it has come so far that its message may begin.
    pub(super) fn transaction_with_recipients(&mut self) -> Result<&mut Transaction, Reply> {
        let transaction = self.transaction()?;
        match (transaction.accepted, transaction.refused) {
            (0, 0) => Err(replies::out_of_order("RCPT first")),
            (0, _) => Err(replies::no_valid_recipients()),
            _ => Ok(transaction),
        }
    }
}
