//! AUTH: the dialogue of each mechanism (RFC 4954 §4).

use super::{Event, Login, Profile, Question, Session, State, replies};
use crate::base::encoding::{base64, base64_decode_padded};
use crate::base::secret::Secret;
use crate::crypto::scram::Verifier;
use crate::mail::reply::Reply;
use crate::smtp::auth::scram::{Channel, Exchange, Opening};
use crate::smtp::auth::{Credentials, Mechanism};
use crate::smtp::command;

/// Which response of the client comes next.
#[derive(Debug)]
pub(super) enum Dialogue {
    Plain,
    LoginName,
    LoginPassword {
        identity: String,
    },
    ScramFirst {
        bound: bool,
    },
    ScramLast(Box<Exchange>),
    /// The empty response to our own proof.
    ScramEnd {
        identity: String,
    },
}

/// What a response leads to.
enum Step {
    /// This challenge, and then another response.
    Challenge(String, Dialogue),
    /// A question to the owner.
    Ask(Question, Event),
}

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
                let challenge = match dialogue {
                    Dialogue::LoginName => "Username:",
                    _ => "",
                };
                self.challenge(challenge, dialogue);
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
            let (exchange, challenge) = opening.challenge(verifier, nonce);
            self.challenge(&challenge, Dialogue::ScramLast(Box::new(exchange)));
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
        match self.step(dialogue, response) {
            Ok(Step::Challenge(challenge, next)) => self.challenge(&challenge, next),
            Ok(Step::Ask(question, event)) => self.ask(question, event),
            Err(refusal) => {
                self.tally.failed_logins += 1;
                self.events.push_back(Event::LoginRefused);
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn step(&mut self, dialogue: Dialogue, response: &str) -> Result<Step, Reply> {
        match dialogue {
            Dialogue::Plain => Credentials::decode_plain(response)
                .map(with_password)
                .map_err(replies::no_credentials),
            Dialogue::LoginName => {
                let identity = text(response)?.expose().clone();
                Ok(Step::Challenge(
                    "Password:".to_owned(),
                    Dialogue::LoginPassword { identity },
                ))
            }
            Dialogue::LoginPassword { identity } => {
                let password = text(response)?;
                Ok(with_password(Credentials { identity, password }))
            }
            Dialogue::ScramFirst { bound } => self.open_scram(bound, response),
            Dialogue::ScramLast(exchange) => finish_scram(*exchange, response),
            Dialogue::ScramEnd { identity } if response.is_empty() => Ok(Step::Ask(
                Question::Authenticate,
                Event::Authenticate(Login::Proven { identity }),
            )),
            Dialogue::ScramEnd { .. } => Err(replies::malformed_response()),
        }
    }

    fn open_scram(&mut self, bound: bool, response: &str) -> Result<Step, Reply> {
        let exporter = self.tls.as_ref().and_then(|tls| tls.exporter.as_ref());
        let channel = match (bound, exporter) {
            (true, Some(exporter)) => Channel::Bound(exporter.expose()),
            (true, None) => return Err(replies::unknown_mechanism()),
            (false, Some(_)) => Channel::Bindable,
            (false, None) => Channel::Plain,
        };
        let opening = Opening::read(&decode(response)?, channel).map_err(replies::no_proof)?;
        let identity = opening.identity.clone();
        self.known.opening = Some(opening);
        Ok(Step::Ask(Question::Verifier, Event::Verifier { identity }))
    }

    fn challenge(&mut self, text: &str, next: Dialogue) {
        self.send(&replies::send_response(&base64(text.as_bytes())));
        self.state = State::AuthResponse(next);
    }
}

impl Dialogue {
    fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::ScramSha256Plus => Self::ScramFirst { bound: true },
            Mechanism::ScramSha256 => Self::ScramFirst { bound: false },
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginName,
        }
    }
}

fn finish_scram(exchange: Exchange, response: &str) -> Result<Step, Reply> {
    let proof = exchange.finish(&decode(response)?).map_err(replies::no_proof)?;
    let identity = exchange.identity;
    Ok(Step::Challenge(proof, Dialogue::ScramEnd { identity }))
}

fn with_password(credentials: Credentials) -> Step {
    let login = Login::Password(credentials);
    Step::Ask(Question::Authenticate, Event::Authenticate(login))
}

fn decode(response: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Reply> {
    let octets = base64_decode_padded(response).map_err(|_| replies::malformed_response())?;
    Ok(zeroize::Zeroizing::new(octets))
}

/// A name or password of LOGIN.
fn text(response: &str) -> Result<Secret<String>, Reply> {
    let octets = decode(response)?;
    match std::str::from_utf8(&octets) {
        Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(Secret::new(text.to_owned())),
        _ => Err(replies::malformed_response()),
    }
}
