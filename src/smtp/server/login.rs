//! AUTH: challenges and responses of a login (RFC 4954 §4).

use super::{Event, Profile, Question, Session, State, replies};
use crate::base::encoding::base64;
use crate::base::secret::Secret;
use crate::crypto::scram::Verifier;
use crate::mail::reply::Reply;
use crate::smtp::auth::Mechanism;
use crate::smtp::auth::dialogue::{Dialogue, Refused, Turn};
use crate::smtp::command;

impl Session {
    pub(super) fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<Secret<String>>,
    ) -> Result<(), Reply> {
        let dialogue = Dialogue::new(self.check_authentication(mechanism)?);
        match initial.as_ref().map(Secret::expose).map(String::as_str) {
            // An empty initial response is spelled so (RFC 4954 §4).
            Some("=") => self.respond(dialogue, ""),
            Some(response) => self.respond(dialogue, response),
            None => {
                self.challenge(dialogue.invitation(), dialogue);
                Ok(())
            }
        }
    }

    /// Answers [`Event::Verifier`]. `nonce` is fresh, of printable characters without comma.
    pub fn offer_verifier(&mut self, verifier: Verifier, nonce: &str) {
        if !matches!(self.state, State::Answer(Question::Verifier)) {
            return;
        }
        self.take_question();
        if let Some(opening) = self.known.opening.take() {
            let (challenge, dialogue) = Dialogue::verifying(opening, verifier, nonce);
            self.challenge(&challenge, dialogue);
        }
        self.settle();
    }

    fn check_authentication(&self, mechanism: &str) -> Result<Mechanism, Reply> {
        if self.params.profile != Profile::Submission {
            return Err(replies::unimplemented());
        }
        self.known.may_start_transaction()?;
        if self.tls.is_none() {
            return Err(replies::encryption_required());
        }
        if self.known.authenticated {
            return Err(replies::out_of_order("Authenticated already"));
        }
        Mechanism::from_name(mechanism)
            .filter(|mechanism| self.params.mechanisms(self.tls.as_ref()).contains(mechanism))
            .ok_or_else(replies::unknown_mechanism)
    }

    /// Handles the line after `334`.
    pub(super) fn take_auth_response(&mut self, dialogue: Dialogue, line: &[u8]) {
        let outcome = match std::str::from_utf8(line) {
            Ok("*") => Err(replies::authentication_cancelled()),
            Ok(response) => self.respond(dialogue, response),
            Err(_) => Err(replies::no_command(command::Error::NotText)),
        };
        if let Err(refusal) = outcome {
            self.complain(&refusal);
        }
    }

    fn respond(&mut self, dialogue: Dialogue, response: &str) -> Result<(), Reply> {
        let tls = self.tls.as_ref().ok_or_else(replies::encryption_required)?;
        match dialogue.respond(response, tls) {
            Ok(turn) => self.take_turn(turn),
            Err(refused) => return self.refuse_login(refused),
        }
        Ok(())
    }

    fn take_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Challenge(challenge, next) => self.challenge(&challenge, next),
            Turn::Verifier(opening) => {
                let identity = opening.identity.clone();
                self.known.opening = Some(opening);
                self.ask(Question::Verifier, Event::Verifier { identity });
            }
            Turn::Login(login) => self.ask(Question::Authenticate, Event::Authenticate(login)),
        }
    }

    fn refuse_login(&mut self, refused: Refused) -> Result<(), Reply> {
        self.tally.failed_logins += 1;
        self.events.push_back(Event::LoginRefused);
        Err(replies::no_login(refused))
    }

    fn challenge(&mut self, text: &str, next: Dialogue) {
        self.send(&replies::send_response(&base64(text.as_bytes())));
        self.state = State::AuthResponse(next);
    }
}
