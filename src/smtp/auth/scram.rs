//! The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266).
//!
//! | From | Message | Read or made by |
//! |---|---|---|
//! | client | `n,,n=user,r=nonce` | [`Opening::read`] |
//! | server | `r=nonces,s=salt,i=rounds` | [`Opening::challenge`] |
//! | client | `c=binding,r=nonces,p=proof` | [`Exchange::finish`] |
//! | server | `v=signature` | the same |

use crate::base::encoding::{base64, base64_decode_padded};
use crate::crypto::scram::Verifier;

/// The one kind of channel binding that is offered (RFC 9266).
const BINDING: &str = "tls-exporter";

/// What is wrong with a client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not laid out as RFC 5802 §7 says, or with an extension that must be understood.
    #[error("not a SCRAM message")]
    Message,
    /// The client wants to act as somebody other than the one who authenticates.
    #[error("acting for another identity is not supported")]
    Proxy,
    /// A channel binding that is not offered, none where one is needed, or the word that we offer none, which we did:
    /// somebody in between took it away.
    #[error("the channel binding does not fit")]
    Binding,
    /// The proof, the nonce or the bound channel is not the right one.
    #[error("the proof does not hold")]
    Proof,
}

/// What the TLS channel can be bound to, and whether the mechanism demands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel<'a> {
    /// SCRAM-SHA-256-PLUS over a channel with this exporter value.
    Bound(&'a [u8; 32]),
    /// SCRAM-SHA-256 where the other one was offered too.
    Bindable,
    /// SCRAM-SHA-256 alone.
    Plain,
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Who wants to log in.
    pub identity: String,
    /// GS2 header and channel binding, as the last message has to repeat them.
    bound: Vec<u8>,
    bare: String,
    nonce: String,
}

/// A login after the server's challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Who wants to log in.
    pub identity: String,
    verifier: Verifier,
    bound: Vec<u8>,
    nonce: String,
    /// `client-first-message-bare "," server-first-message`.
    so_far: String,
}

impl Opening {
    /// Reads the first message, without its base64.
    pub fn read(message: &[u8], channel: Channel<'_>) -> Result<Self, Error> {
        let text = std::str::from_utf8(message).map_err(|_| Error::Message)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(acts_as), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Message);
        };
        let data = check_binding(flag, channel)?;
        let mut attributes = bare.split(',');
        let identity =
            attribute(attributes.next(), "n=").and_then(|name| unescape(name).ok_or(Error::Message))?;
        let nonce = attribute(attributes.next(), "r=")?;
        let acts_for_another = match acts_as.is_empty() {
            true => false,
            false => unescape(attribute(Some(acts_as), "a=")?).as_ref() != Some(&identity),
        };
        if identity.is_empty() || !is_nonce(nonce) || !attributes.all(is_extension) {
            return Err(Error::Message);
        }
        if acts_for_another {
            return Err(Error::Proxy);
        }
        let header = format!("{flag},{acts_as},");
        Ok(Self {
            identity,
            bound: [header.as_bytes(), data].concat(),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// The server's first message, and what is left to do. `nonce` is fresh, printable and without comma.
    pub fn challenge(self, verifier: Verifier, nonce: &str) -> (Exchange, String) {
        let nonce = format!("{}{nonce}", self.nonce);
        let challenge = format!("r={nonce},s={},i={}", base64(&verifier.salt), verifier.iterations);
        let exchange = Exchange {
            identity: self.identity,
            verifier,
            bound: self.bound,
            nonce,
            so_far: format!("{},{challenge}", self.bare),
        };
        (exchange, challenge)
    }
}

impl Exchange {
    /// Checks the client's last message, without its base64. The text proves to the client who we are.
    pub fn finish(&self, message: &[u8]) -> Result<String, Error> {
        let text = std::str::from_utf8(message).map_err(|_| Error::Message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Error::Message)?;
        let proof = base64_decode_padded(proof).map_err(|_| Error::Message)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| Error::Message)?;
        let mut attributes = without_proof.split(',');
        let bound = attribute(attributes.next(), "c=")?;
        let bound = base64_decode_padded(bound).map_err(|_| Error::Message)?;
        let nonce = attribute(attributes.next(), "r=")?;
        if !attributes.all(is_extension) {
            return Err(Error::Message);
        }
        let auth_message = format!("{},{without_proof}", self.so_far);
        let holds = self.verifier.is_proven(auth_message.as_bytes(), &proof);
        if !holds || bound != self.bound || nonce != self.nonce {
            return Err(Error::Proof);
        }
        let signature = self.verifier.server_signature(auth_message.as_bytes());
        Ok(format!("v={}", base64(&signature)))
    }
}

/// The data to which the client's flag binds the login.
fn check_binding<'a>(flag: &str, channel: Channel<'a>) -> Result<&'a [u8], Error> {
    match (flag, channel) {
        ("n", Channel::Bindable | Channel::Plain) | ("y", Channel::Plain) => Ok(&[]),
        (flag, Channel::Bound(exporter)) if flag.strip_prefix("p=") == Some(BINDING) => Ok(exporter),
        ("n" | "y", _) => Err(Error::Binding),
        (flag, _) if flag.starts_with("p=") => Err(Error::Binding),
        _ => Err(Error::Message),
    }
}

fn attribute<'a>(text: Option<&'a str>, name: &str) -> Result<&'a str, Error> {
    text.and_then(|text| text.strip_prefix(name))
        .ok_or(Error::Message)
}

/// Optional extensions are skipped; `m=` would be one that must be understood.
fn is_extension(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() && first != 'm') && text[1..].starts_with('=')
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
}

/// `=2C` is a comma and `=3D` an equals sign; neither stands for itself.
fn unescape(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        let (sign, rest) = match piece.split_at_checked(2)? {
            ("2C", rest) => (',', rest),
            ("3D", rest) => ('=', rest),
            _ => return None,
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::secret::Secret;

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn pencil() -> Verifier {
        let salt = base64_decode_padded("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::derive(&Secret::new("pencil".to_owned()), 4096, &salt)
    }

    fn opening(text: &str, channel: Channel<'_>) -> Result<Opening, Error> {
        Opening::read(text.as_bytes(), channel)
    }

    fn exchange() -> (Exchange, String) {
        opening(FIRST, Channel::Plain)
            .unwrap()
            .challenge(pencil(), SERVER_NONCE)
    }

    #[test]
    fn holds_the_dialogue_of_rfc_7677() {
        let (exchange, challenge) = exchange();
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        assert_eq!(
            exchange.finish(LAST.as_bytes()).unwrap(),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn refuses_another_proof_nonce_or_binding() {
        let (exchange, _) = exchange();
        for (from, to, error) in [
            ("p=d", "p=e", Error::Proof),
            ("c=biws", "c=eSws", Error::Proof),
            ("$k0", "$k1", Error::Proof),
            ("c=biws,", "", Error::Message),
            ("c=biws", "c=biw", Error::Message),
            (",p=", ",m=x,p=", Error::Message),
            ("VQ=", "VQ", Error::Message),
        ] {
            let text = LAST.replacen(from, to, 1);
            assert_eq!(exchange.finish(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn a_client_that_was_told_of_no_binding_is_not_believed_where_there_is_one() {
        let exporter = [9; 32];
        let binding = Err(Error::Binding);
        for (flag, channel, expected) in [
            ("n", Channel::Plain, Ok(())),
            ("y", Channel::Plain, Ok(())),
            ("n", Channel::Bindable, Ok(())),
            ("y", Channel::Bindable, binding),
            ("n", Channel::Bound(&exporter), binding),
            ("y", Channel::Bound(&exporter), binding),
            ("p=tls-exporter", Channel::Bound(&exporter), Ok(())),
            ("p=tls-unique", Channel::Bound(&exporter), binding),
            ("p=tls-exporter", Channel::Bindable, binding),
            ("p=tls-exporter", Channel::Plain, binding),
            ("q", Channel::Plain, Err(Error::Message)),
        ] {
            let read = opening(&format!("{flag},,n=user,r=abc"), channel);
            assert_eq!(read.map(drop), expected, "{flag} {channel:?}");
        }
    }

    #[test]
    fn what_is_bound_is_header_and_channel() {
        let bound = opening("p=tls-exporter,,n=user,r=abc", Channel::Bound(&[9; 32])).unwrap();
        assert_eq!(bound.bound, [&b"p=tls-exporter,,"[..], &[9; 32]].concat());
    }

    #[test]
    fn names_may_hold_commas_and_act_for_themselves_only() {
        let named = |text: &str| opening(text, Channel::Plain).map(|opening| opening.identity);
        assert_eq!(named("n,,n=a=2Cb=3Dc,r=x").unwrap(), "a,b=c");
        assert_eq!(named("n,a=ann,n=ann,r=x").unwrap(), "ann");
        assert_eq!(named("n,a=bob,n=ann,r=x"), Err(Error::Proxy));
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=,r=x",
            "n,,n=a=2,r=x",
            "n,,n=a=2cb,r=x",
            "n,,m=1,n=a,r=x",
            "n,,n=a,r=",
            "n,,n=a,r=x y",
            "n,,r=x,n=a",
            "n,b=a,n=a,r=x",
            "n,,n=a,r=x,m=1",
            "n,,n=a,r=x,1=1",
            "n,,n=a,r=x,",
        ] {
            assert_eq!(named(bad), Err(Error::Message), "{bad}");
        }
        assert!(named("n,,n=a,r=x,z=1").is_ok());
    }
}
