//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266).

use std::ops::RangeInclusive;

use super::scram::Error;
use crate::base::encoding::{base64, base64_decode_padded};
use crate::base::secret::Secret;
use crate::crypto::scram::Proof;

/// Rounds that a server may ask for: fewer would make the password cheap to guess for whoever asks, and more are work
/// that no honest server needs.
const ROUNDS: RangeInclusive<u32> = 4096..=5_000_000;

/// A login after the first message.
#[derive(Debug)]
pub struct Opening {
    /// `gs2-header` and channel binding.
    bound: Vec<u8>,
    bare: String,
    nonce: String,
}

/// What the server has to send to be the right one.
#[derive(Debug, PartialEq, Eq)]
pub struct Awaited {
    signature: [u8; 32],
}

impl Opening {
    /// Starts a login and says the first message. With the exporter value of the TLS channel it is bound to it
    /// (SCRAM-SHA-256-PLUS). `nonce` is fresh, printable and without comma.
    pub fn new(identity: &str, exporter: Option<&[u8; 32]>, nonce: &str) -> (Self, String) {
        let header = match exporter {
            Some(_) => "p=tls-exporter,,",
            None => "n,,",
        };
        let bare = format!("n={},r={nonce}", escape(identity));
        let first = format!("{header}{bare}");
        let bound = [header.as_bytes(), exporter.map_or(&[][..], |value| &value[..])].concat();
        let opening = Self {
            bound,
            bare,
            nonce: nonce.to_owned(),
        };
        (opening, first)
    }

    /// Answers the challenge `r=…,s=…,i=…` with the proof. The password has been prepared by SASLprep.
    ///
    /// Errors: [`Error::Message`] for a challenge that is none or asks for too little or too much work, [`Error::Proof`]
    /// for one that answers somebody else's message.
    pub fn answer(self, challenge: &[u8], password: &Secret<String>) -> Result<(Awaited, String), Error> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| Error::Message)?;
        let mut attributes = challenge.split(',');
        let mut next = |name: &str| {
            let value = attributes.next().and_then(|text| text.strip_prefix(name));
            value.ok_or(Error::Message)
        };
        let (nonce, salt, rounds) = (next("r=")?, next("s=")?, next("i=")?);
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Error::Proof);
        }
        let salt = base64_decode_padded(salt).map_err(|_| Error::Message)?;
        let rounds = rounds.parse().ok().filter(|rounds| ROUNDS.contains(rounds));
        let rounds = rounds.ok_or(Error::Message)?;
        let without_proof = format!("c={},r={nonce}", base64(&self.bound));
        let auth_message = format!("{},{challenge},{without_proof}", self.bare);
        let proof = Proof::make(password, rounds, &salt, auth_message.as_bytes());
        let last = format!("{without_proof},p={}", base64(&proof.client));
        let awaited = Awaited {
            signature: proof.server,
        };
        Ok((awaited, last))
    }
}

impl Awaited {
    /// Whether the server's last message `v=…` shows that it knows the user.
    pub fn check(&self, last: &[u8]) -> Result<(), Error> {
        let text = std::str::from_utf8(last).map_err(|_| Error::Message)?;
        let signature = text.strip_prefix("v=").ok_or(Error::Message)?;
        match base64_decode_padded(signature) {
            Ok(signature) if signature == self.signature => Ok(()),
            Ok(_) => Err(Error::Proof),
            Err(_) => Err(Error::Message),
        }
    }
}

/// A comma and an equals sign do not stand for themselves.
fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::crypto::scram::Verifier;
    use crate::smtp::auth::scram::{self, Channel};

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    /// RFC 7677 §3.
    #[test]
    fn holds_the_dialogue_of_the_example() {
        let (opening, first) = Opening::new("user", None, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (awaited, last) = opening.answer(challenge, &secret("pencil")).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        awaited
            .check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
        let other = base64(&[0; 32]);
        assert_eq!(awaited.check(format!("v={other}").as_bytes()), Err(Error::Proof));
        assert_eq!(awaited.check(b"e=other"), Err(Error::Message));
    }

    #[test]
    fn our_own_server_takes_a_bound_login_of_a_name_with_commas() {
        let (exporter, password) = ([9; 32], secret("right"));
        let (opening, first) = Opening::new("a,b=c", Some(&exporter), "client");
        let theirs = scram::Opening::read(first.as_bytes(), Channel::Bound(&exporter)).unwrap();
        assert_eq!(theirs.identity, "a,b=c");
        let verifier = Verifier::derive(&password, 4096, b"salt");
        let (exchange, challenge) = theirs.challenge(verifier, "server");
        let (awaited, last) = opening.answer(challenge.as_bytes(), &password).unwrap();
        let proof = exchange.finish(last.as_bytes()).unwrap();
        awaited.check(proof.as_bytes()).unwrap();
    }

    #[test]
    fn refuses_challenges_that_are_not_for_it_or_ask_for_the_wrong_work() {
        for (challenge, error) in [
            ("r=other1,s=c2FsdA==,i=4096", Error::Proof),
            ("r=mine,s=c2FsdA==,i=4096", Error::Proof),
            ("r=mine1,s=c2FsdA==,i=4095", Error::Message),
            ("r=mine1,s=c2FsdA==,i=5000001", Error::Message),
            ("r=mine1,s=%,i=4096", Error::Message),
            ("m=x,r=mine1,s=c2FsdA==,i=4096", Error::Message),
            ("", Error::Message),
        ] {
            let (opening, _) = Opening::new("user", None, "mine");
            let answered = opening.answer(challenge.as_bytes(), &secret("x"));
            assert_eq!(answered.map(drop), Err(error), "{challenge}");
        }
    }
}
