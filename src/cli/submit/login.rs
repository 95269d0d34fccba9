//! The client's side of a login, by the strongest mechanism there is.

use rand::RngExt;

use crate::base::encoding::base64;
use crate::base::machine::TlsInfo;
use crate::base::secret::Secret;
use crate::smtp::auth::scram_client::{Awaited, Opening};
use crate::smtp::auth::{Mechanism, scram};

/// One login.
pub struct Attempt<'a> {
    identity: &'a str,
    password: &'a Secret<String>,
    mechanism: Mechanism,
    exporter: Option<[u8; 32]>,
    next: Next,
}

/// What the next challenge is answered with.
enum Next {
    First,
    Password,
    Proof {
        opening: Opening,
        prepared: Secret<String>,
    },
    Acknowledgement(Awaited),
    Nothing,
}

impl<'a> Attempt<'a> {
    /// By the strongest mechanism of those offered that this password and channel allow; `None` if there is none.
    pub fn new(
        identity: &'a str,
        password: &'a Secret<String>,
        offered: &[Mechanism],
        tls: &TlsInfo,
    ) -> Option<Self> {
        let exporter = tls.exporter.as_ref().map(|value| *value.expose());
        let is_possible = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => exporter.is_some() && prepare(password).is_some(),
            Mechanism::ScramSha256 => prepare(password).is_some(),
            Mechanism::Plain | Mechanism::Login => true,
        };
        let mechanism = Mechanism::ALL
            .into_iter()
            .find(|mechanism| offered.contains(mechanism) && is_possible(mechanism))?;
        Some(Self {
            identity,
            password,
            mechanism,
            exporter: exporter.filter(|_| mechanism == Mechanism::ScramSha256Plus),
            next: Next::First,
        })
    }

    /// Its mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Whether nothing is missing that the server has to show.
    pub fn is_complete(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    /// Answers a challenge.
    ///
    /// Errors: [`scram::Error`] if the server does not know the user, or asks for something else.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Secret<String>, scram::Error> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::First => self.first(),
            Next::Password => Ok(self.password.clone()),
            Next::Proof { opening, prepared } => {
                let (awaited, last) = opening.answer(challenge, &prepared)?;
                self.next = Next::Acknowledgement(awaited);
                Ok(Secret::new(last))
            }
            Next::Acknowledgement(awaited) => {
                awaited.check(challenge)?;
                Ok(Secret::new(String::new()))
            }
            Next::Nothing => Err(scram::Error::Message),
        }
    }

    fn first(&mut self) -> Result<Secret<String>, scram::Error> {
        match self.mechanism {
            Mechanism::Plain => {
                let text = format!("\0{}\0{}", self.identity, self.password.expose());
                Ok(Secret::new(text))
            }
            Mechanism::Login => {
                self.next = Next::Password;
                Ok(Secret::new(self.identity.to_owned()))
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let prepared = prepare(self.password).ok_or(scram::Error::Message)?;
                let nonce: [u8; 24] = rand::rng().random();
                let (opening, first) = Opening::new(self.identity, self.exporter.as_ref(), &base64(&nonce));
                self.next = Next::Proof { opening, prepared };
                Ok(Secret::new(first))
            }
        }
    }
}

/// SASLprep, which not every password passes (RFC 4013).
fn prepare(password: &Secret<String>) -> Option<Secret<String>> {
    let prepared = stringprep::saslprep(password.expose()).ok()?;
    Some(Secret::new(prepared.into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn tls(exporter: Option<[u8; 32]>) -> TlsInfo {
        TlsInfo {
            version: "TLS1.3".into(),
            cipher: "x".into(),
            exporter: exporter.map(Secret::new),
        }
    }

    #[test]
    fn the_strongest_mechanism_is_taken_that_password_and_channel_allow() {
        let chosen = |password: &str, offered: &[Mechanism], exporter| {
            let password = secret(password);
            let tls = tls(exporter);
            Attempt::new("a@a.test", &password, offered, &tls).map(|attempt| attempt.mechanism)
        };
        let (all, bound) = (Mechanism::ALL, Some([1; 32]));
        assert_eq!(chosen("password", &all, bound), Some(Mechanism::ScramSha256Plus));
        assert_eq!(chosen("password", &all, None), Some(Mechanism::ScramSha256));
        assert_eq!(
            chosen("pass\u{221}word", &all, bound),
            Some(Mechanism::Plain),
            "SASLprep"
        );
        assert_eq!(
            chosen("password", &[Mechanism::Login], bound),
            Some(Mechanism::Login)
        );
        assert_eq!(chosen("password", &[], bound), None);
    }

    #[test]
    fn a_server_that_shows_nothing_is_not_believed() {
        let (password, tls) = (secret("password"), tls(None));
        let mut attempt = Attempt::new("a@a.test", &password, &Mechanism::ALL, &tls).unwrap();
        attempt.respond(b"").unwrap();
        assert!(!attempt.is_complete());
        assert!(attempt.respond(b"r=x,s=c2FsdA==,i=4096").is_err());
    }
}
