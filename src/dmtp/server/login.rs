//! AUTH, where authors submit what they have sealed at home: the mechanisms of SMTP (RFC 4954 §4) in replies of DMTP.
//!
//! | Reply | Meaning |
//! |---|---|
//! | `334 <base64>` | the next challenge |
//! | `235 OK` | logged in |
//! | `530` | MAIL, KEYS, SSR or SETS before AUTH |
//! | `535` | the login is refused, whatever was wrong with it |
//! | `501`, `503`, `504` | a malformed response, not now, an unknown mechanism |

use super::{Doing, Event, Question, Session, Stage};
use crate::base::encoding::base64;
use crate::base::machine::TlsInfo;
use crate::base::secret::Secret;
use crate::crypto::scram::Verifier;
use crate::dmtp::line::Item;
use crate::mail::reply::Reply;
use crate::smtp::auth::Mechanism;
use crate::smtp::auth::dialogue::{Dialogue, Refused, Turn};
use crate::smtp::auth::scram::Opening;

/// Octets of a response line at most (RFC 4954 §4).
const MAX_RESPONSE: usize = 12_288;

/// Refused logins after which the session ends.
const MAX_FAILURES: u32 = 3;

/// What a session that takes logins knows of them.
#[derive(Debug)]
pub(super) struct Logins {
    tls: TlsInfo,
    scram: bool,
    failures: u32,
    pub(super) authenticated: bool,
    /// Waits for the owner's verifier.
    opening: Option<Opening>,
}

impl Session {
    /// Makes it a session of the submission port: AUTH is offered, by SCRAM if that can be checked, and MAIL, KEYS, SSR and
    /// SETS need it.
    pub fn with_logins(mut self, tls: TlsInfo, scram: bool) -> Self {
        self.logins = Some(Logins {
            tls,
            scram,
            failures: 0,
            authenticated: false,
            opening: None,
        });
        self
    }

    /// Answers [`Event::Verifier`]. `nonce` is fresh, of printable characters without comma.
    pub fn offer_verifier(&mut self, verifier: Verifier, nonce: &str) {
        if !matches!(self.doing, Doing::Asking(Question::Verifier)) {
            return;
        }
        self.take_question();
        if let Some(opening) = self.logins.as_mut().and_then(|logins| logins.opening.take()) {
            let (challenge, dialogue) = Dialogue::verifying(opening, verifier, nonce);
            self.challenge(&challenge, dialogue);
        }
    }

    /// The line of EHLO that names the mechanisms.
    pub(super) fn auth_line(&self) -> Option<String> {
        let logins = self.logins.as_ref()?;
        let names: Vec<&str> = Mechanism::offered(&logins.tls, logins.scram)
            .into_iter()
            .map(Mechanism::name)
            .collect();
        Some(format!("AUTH {}", names.join(" ")))
    }

    /// Whether mail may be submitted now; always so where mail comes from other hosts.
    pub(super) fn may_submit(&self) -> bool {
        self.logins.as_ref().is_none_or(|logins| logins.authenticated)
    }

    pub(super) fn authenticate(&mut self, mechanism: &str, initial: Option<Secret<String>>) {
        let Some(logins) = &self.logins else {
            return self.fault(554, self.no_smtp());
        };
        if logins.authenticated || !matches!(self.stage, Stage::Connected | Stage::Greeted) {
            return self.fault(503, "AUTH comes once, and before MAIL");
        }
        let offered = Mechanism::offered(&logins.tls, logins.scram);
        let Some(mechanism) = Mechanism::from_name(mechanism).filter(|named| offered.contains(named)) else {
            return self.fault(504, "unknown authentication mechanism");
        };
        let dialogue = Dialogue::new(mechanism);
        match initial.as_ref().map(|response| response.expose().as_str()) {
            // An empty first response is spelled so (RFC 4954 §4).
            Some("=") => self.respond(dialogue, ""),
            Some(response) => self.respond(dialogue, response),
            None => self.challenge(dialogue.invitation(), dialogue),
        }
    }

    /// Reads the line after `334`.
    pub(super) fn read_response(&mut self, input: &[u8]) -> usize {
        let (taken, item) = self.lines.next_within(input, MAX_RESPONSE);
        if item == Item::Partial {
            return taken;
        }
        let Doing::Responding(dialogue) = std::mem::replace(&mut self.doing, Doing::Commands) else {
            return taken;
        };
        match item {
            Item::Line(b"*") => self.fault(501, "authentication cancelled"),
            Item::Line(line) => match std::str::from_utf8(line) {
                Ok(response) => self.respond(dialogue, response),
                Err(_) => self.refuse_response(Refused::Malformed),
            },
            Item::TooLong | Item::Partial => self.fault(500, "line too long"),
        }
        taken
    }

    /// The owner agrees to a login.
    pub(super) fn log_in(&mut self) {
        if let Some(logins) = &mut self.logins {
            logins.authenticated = true;
        }
        self.send(&Reply::plain(235, "OK"));
    }

    /// Counts a login that was refused; too many end the session.
    pub(super) fn refuse_login(&mut self, reply: &Reply) {
        let Some(logins) = &mut self.logins else { return };
        logins.opening = None;
        logins.failures += 1;
        match logins.failures >= MAX_FAILURES {
            true => {
                self.transmit.extend(super::reply::lines(
                    reply,
                    self.parameters.limits.reply_line_bytes,
                ));
                self.close(&Reply::plain(421, "too many failed logins"));
            }
            false => self.send(reply),
        }
    }

    fn respond(&mut self, dialogue: Dialogue, response: &str) {
        let Some(logins) = &mut self.logins else { return };
        match dialogue.respond(response, &logins.tls) {
            Ok(Turn::Challenge(challenge, next)) => self.challenge(&challenge, next),
            Ok(Turn::Verifier(opening)) => {
                let identity = opening.identity.clone();
                logins.opening = Some(opening);
                self.ask(Question::Verifier, Event::Verifier { identity });
            }
            Ok(Turn::Login(login)) => self.ask(Question::Authenticate, Event::Authenticate(login)),
            Err(refused) => self.refuse_response(refused),
        }
    }

    fn refuse_response(&mut self, refused: Refused) {
        let code = match refused {
            Refused::Malformed => 501,
            Refused::Failed => 535,
            Refused::Mechanism => 504,
        };
        self.events.push_back(Event::LoginRefused);
        self.refuse_login(&Reply::plain(code, refused.to_string()));
    }

    fn challenge(&mut self, text: &str, next: Dialogue) {
        self.send(&Reply::plain(334, base64(text.as_bytes())));
        self.doing = Doing::Responding(next);
    }
}
