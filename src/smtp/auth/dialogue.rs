//! A login as the server leads it, whichever protocol carries challenges and responses (RFC 4422, RFC 4954 §4).

use zeroize::Zeroizing;

use super::scram::{self, Channel, Exchange, Opening};
use super::{Credentials, Error, Mechanism};
use crate::base::encoding::base64_decode_padded;
use crate::base::machine::TlsInfo;
use crate::base::secret::Secret;
use crate::crypto::scram::Verifier;

/// How a user shows who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// By a password, which is to be checked.
    Password(Credentials),
    /// By SCRAM, against the verifier that the owner gave: nothing is left to be checked.
    Proven {
        /// The name, as the client spelled it.
        identity: String,
    },
}

/// Why a response leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is not laid out as the mechanism says.
    #[error("malformed authentication response")]
    Malformed,
    /// A proof that does not hold; looks like a wrong password.
    #[error("authentication failed")]
    Failed,
    /// A mechanism that this channel does not allow.
    #[error("authentication mechanism not supported")]
    Mechanism,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Proxy => Self::Failed,
            Error::Encoding | Error::Message => Self::Malformed,
        }
    }
}

impl From<scram::Error> for Refused {
    fn from(error: scram::Error) -> Self {
        match error {
            scram::Error::Message => Self::Malformed,
            scram::Error::Proxy | scram::Error::Binding | scram::Error::Proof => Self::Failed,
        }
    }
}

/// What a response leads to.
#[derive(Debug)]
pub enum Turn {
    /// This challenge, not yet in base64, and then another response.
    Challenge(String, Dialogue),
    /// The owner's verifier for the name in it; goes on with [`Dialogue::verifying`].
    Verifier(Opening),
    /// The owner's word.
    Login(Login),
}

/// A login in progress: which response of the client comes next.
#[derive(Debug)]
pub struct Dialogue(Expected);

#[derive(Debug)]
enum Expected {
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

impl Dialogue {
    /// Before the first response.
    pub fn new(mechanism: Mechanism) -> Self {
        Self(match mechanism {
            Mechanism::ScramSha256Plus => Expected::ScramFirst { bound: true },
            Mechanism::ScramSha256 => Expected::ScramFirst { bound: false },
            Mechanism::Plain => Expected::Plain,
            Mechanism::Login => Expected::LoginName,
        })
    }

    /// After the owner has given a verifier: the challenge and what follows. `nonce` is fresh, of printable characters
    /// without comma.
    pub fn verifying(opening: Opening, verifier: Verifier, nonce: &str) -> (String, Self) {
        let (exchange, challenge) = opening.challenge(verifier, nonce);
        (challenge, Self(Expected::ScramLast(Box::new(exchange))))
    }

    /// The challenge for a client that sent no first response with the command.
    pub fn invitation(&self) -> &'static str {
        match self.0 {
            Expected::LoginName => "Username:",
            _ => "",
        }
    }

    /// Takes a response in base64.
    pub fn respond(self, response: &str, tls: &TlsInfo) -> Result<Turn, Refused> {
        match self.0 {
            Expected::Plain => Ok(with_password(Credentials::decode_plain(response)?)),
            Expected::LoginName => {
                let identity = text(response)?.expose().clone();
                let next = Self(Expected::LoginPassword { identity });
                Ok(Turn::Challenge("Password:".to_owned(), next))
            }
            Expected::LoginPassword { identity } => {
                let password = text(response)?;
                Ok(with_password(Credentials { identity, password }))
            }
            Expected::ScramFirst { bound } => open_scram(bound, response, tls),
            Expected::ScramLast(exchange) => finish_scram(*exchange, response),
            Expected::ScramEnd { identity } if response.is_empty() => {
                Ok(Turn::Login(Login::Proven { identity }))
            }
            Expected::ScramEnd { .. } => Err(Refused::Malformed),
        }
    }
}

fn open_scram(bound: bool, response: &str, tls: &TlsInfo) -> Result<Turn, Refused> {
    let channel = match (bound, &tls.exporter) {
        (true, Some(exporter)) => Channel::Bound(exporter.expose()),
        (true, None) => return Err(Refused::Mechanism),
        (false, Some(_)) => Channel::Bindable,
        (false, None) => Channel::Plain,
    };
    Ok(Turn::Verifier(Opening::read(&decode(response)?, channel)?))
}

fn finish_scram(exchange: Exchange, response: &str) -> Result<Turn, Refused> {
    let proof = exchange.finish(&decode(response)?)?;
    let identity = exchange.identity;
    Ok(Turn::Challenge(proof, Dialogue(Expected::ScramEnd { identity })))
}

fn with_password(credentials: Credentials) -> Turn {
    Turn::Login(Login::Password(credentials))
}

fn decode(response: &str) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let octets = base64_decode_padded(response).map_err(|_| Refused::Malformed)?;
    Ok(Zeroizing::new(octets))
}

/// A name or password of LOGIN.
fn text(response: &str) -> Result<Secret<String>, Refused> {
    let octets = decode(response)?;
    match std::str::from_utf8(&octets) {
        Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(Secret::new(text.to_owned())),
        _ => Err(Refused::Malformed),
    }
}
