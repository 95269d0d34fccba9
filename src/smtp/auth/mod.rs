//! SASL mechanisms as AUTH carries them (RFC 4954).

pub mod dialogue;
mod plain;
pub mod scram;
pub mod scram_client;

pub use dialogue::Login;
pub use plain::{Credentials, Error};

use crate::base::machine::TlsInfo;

/// How a client can log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256 bound to the TLS channel (RFC 7677, RFC 9266).
    ScramSha256Plus,
    /// SCRAM-SHA-256 (RFC 7677): the password does not travel.
    ScramSha256,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN: two questions in base64, for old mail programs.
    Login,
}

impl Mechanism {
    /// All, in the order of preference.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// What a server offers over that channel, in the order of preference; SCRAM only if it has verifiers.
    pub fn offered(tls: &TlsInfo, scram: bool) -> Vec<Self> {
        let is_offered = |mechanism: &Self| match mechanism {
            Self::ScramSha256Plus => scram && tls.exporter.is_some(),
            Self::ScramSha256 => scram,
            Self::Plain | Self::Login => true,
        };
        Self::ALL.into_iter().filter(is_offered).collect()
    }

    /// The mechanism of a name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}
