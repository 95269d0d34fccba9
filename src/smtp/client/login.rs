//! A login as the client leads it (RFC 4954 §4): the strongest mechanism that the server offers.

use zeroize::Zeroizing;

use crate::base::encoding::{base64, base64_decode_padded};
use crate::base::machine::TlsInfo;
use crate::base::secret::Secret;
use crate::smtp::auth::scram_client::{Awaited, Opening};
use crate::smtp::auth::{Credentials, Mechanism};

/// Who logs in, and under which conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name and password; the password has been prepared by SASLprep.
    pub credentials: Credentials,
    /// For SCRAM: fresh, printable and without comma.
    pub nonce: String,
    /// Whether it may be done without TLS.
    pub in_clear: bool,
}

/// The server does not keep to the mechanism, or does not know the password that it claims to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untrue;

/// A login in progress.
#[derive(Debug)]
pub(super) struct Dialogue {
    credentials: Credentials,
    expected: Expected,
}

/// What the next challenge has to be.
#[derive(Debug)]
enum Expected {
    /// The server has been told everything, and shown itself if the mechanism has that.
    Verdict,
    LoginName,
    LoginPassword,
    ScramChallenge(Opening),
    ScramProof(Awaited),
}

impl Dialogue {
    /// The command that starts the login; `None` if no mechanism will do.
    pub(super) fn start(
        login: &Login,
        offered: &[Mechanism],
        tls: Option<&TlsInfo>,
    ) -> Option<(Self, Secret<String>)> {
        if tls.is_none() && !login.in_clear {
            return None;
        }
        let exporter = tls.and_then(|tls| tls.exporter.as_ref());
        let usable = |mechanism: &Mechanism| {
            offered.contains(mechanism) && (*mechanism != Mechanism::ScramSha256Plus || exporter.is_some())
        };
        let mechanism = Mechanism::ALL.into_iter().find(usable)?;
        let name = mechanism.name();
        let credentials = &login.credentials;
        let (expected, line) = match mechanism {
            Mechanism::Plain => {
                let response = credentials.encode_plain();
                (Expected::Verdict, format!("AUTH {name} {}", response.expose()))
            }
            Mechanism::Login => (Expected::LoginName, format!("AUTH {name}")),
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let bound = exporter.filter(|_| mechanism == Mechanism::ScramSha256Plus);
                let bound = bound.map(Secret::expose);
                let (opening, first) = Opening::new(&credentials.identity, bound, &login.nonce);
                let line = format!("AUTH {name} {}", base64(first.as_bytes()));
                (Expected::ScramChallenge(opening), line)
            }
        };
        let dialogue = Self {
            credentials: credentials.clone(),
            expected,
        };
        Some((dialogue, Secret::new(line)))
    }

    /// The response to a challenge, in base64 as both come.
    pub(super) fn respond(self, challenge: &str) -> Result<(Self, Secret<String>), Untrue> {
        let challenge = base64_decode_padded(challenge).map_err(|_| Untrue)?;
        let Self {
            credentials,
            expected,
        } = self;
        let (expected, response) = match expected {
            Expected::Verdict => return Err(Untrue),
            Expected::LoginName => (
                Expected::LoginPassword,
                Zeroizing::new(credentials.identity.clone()),
            ),
            Expected::LoginPassword => (
                Expected::Verdict,
                Zeroizing::new(credentials.password.expose().clone()),
            ),
            Expected::ScramChallenge(opening) => {
                let (awaited, last) = opening
                    .answer(&challenge, &credentials.password)
                    .map_err(|_| Untrue)?;
                (Expected::ScramProof(awaited), Zeroizing::new(last))
            }
            Expected::ScramProof(awaited) => {
                awaited.check(&challenge).map_err(|_| Untrue)?;
                (Expected::Verdict, Zeroizing::default())
            }
        };
        let response = Secret::new(base64(response.as_bytes()));
        Ok((
            Self {
                credentials,
                expected,
            },
            response,
        ))
    }

    /// Whether a positive reply may end the login now. With SCRAM the server has to show first that it knows the password.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.expected, Expected::Verdict)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::crypto::scram::Verifier;
    use crate::smtp::auth::dialogue::{self, Turn};

    fn login() -> Login {
        Login {
            credentials: Credentials {
                identity: "alice".into(),
                password: Secret::new("correct horse".into()),
            },
            nonce: "fresh".into(),
            in_clear: false,
        }
    }

    fn tls() -> TlsInfo {
        TlsInfo {
            version: "TLS1.3".into(),
            cipher: String::new(),
            exporter: Some(Secret::new([9; 32])),
        }
    }

    /// Our own server, with the verifier of that password, up to its word on the client's proof.
    fn with_our_server(offered: &[Mechanism], password: &str) -> Result<bool, Untrue> {
        let (client, command) = Dialogue::start(&login(), offered, Some(&tls())).unwrap();
        let mut words = command.expose().split(' ').skip(1);
        let mechanism = Mechanism::from_name(words.next().unwrap()).unwrap();
        assert_eq!(Some(&mechanism), offered.first());
        let server = dialogue::Dialogue::new(mechanism);
        let Ok(Turn::Verifier(opening)) = server.respond(words.next().unwrap(), &tls()) else {
            panic!("no SCRAM");
        };
        let verifier = Verifier::derive(&Secret::new(password.to_owned()), 4096, b"salt");
        let (challenge, server) = dialogue::Dialogue::verifying(opening, verifier, "server");
        let (client, response) = client.respond(&base64(challenge.as_bytes()))?;
        assert!(!client.may_end(), "before the server has shown anything");
        match server.respond(response.expose(), &tls()) {
            Ok(Turn::Challenge(proof, _)) => {
                let (client, response) = client.respond(&base64(proof.as_bytes()))?;
                assert_eq!(response.expose(), "");
                Ok(client.may_end())
            }
            Ok(_) => panic!("no challenge"),
            Err(_) => Ok(false),
        }
    }

    #[test]
    fn logs_in_by_scram_at_our_own_server_bound_to_the_channel_where_it_can_be() {
        use Mechanism::{Plain, ScramSha256, ScramSha256Plus};
        for offered in [&[ScramSha256Plus, ScramSha256, Plain][..], &[ScramSha256Plus]] {
            assert_eq!(with_our_server(offered, "correct horse"), Ok(true));
            assert_eq!(with_our_server(offered, "wrong"), Ok(false));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        let offered = [Mechanism::ScramSha256];
        let channel = TlsInfo {
            exporter: None,
            ..tls()
        };
        let (client, _) = Dialogue::start(&login(), &offered, Some(&channel)).unwrap();
        let challenge = base64(b"r=freshserver,s=c2FsdA==,i=4096");
        let (client, _) = client.respond(&challenge).unwrap();
        let proof = base64(format!("v={}", base64(&[0; 32])).as_bytes());
        assert_eq!(client.respond(&proof).map(|_| ()), Err(Untrue));
    }

    #[test]
    fn says_nothing_in_the_clear_unless_told_to() {
        let offered = [Mechanism::Plain];
        assert!(Dialogue::start(&login(), &offered, None).is_none());
        let told = Login {
            in_clear: true,
            ..login()
        };
        assert!(Dialogue::start(&told, &offered, None).is_some());
        assert!(Dialogue::start(&told, &[], None).is_none());
    }
}
