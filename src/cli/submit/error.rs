//! How a session with the submission port fails.

use std::io::{self, Write};

use serde_json::json;

use crate::cli::refusal::{Refusal, Refused};
use crate::cli::{Exit, files};
use crate::dmtp::client;
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::net::{connection, tls};

/// Why something could not be submitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host is not found, or does not take the connection.
    #[error("{0} cannot be reached")]
    Unreachable(Domain, #[source] io::Error),
    /// The certificate is not one of the host.
    #[error("the certificate of {0} is not valid; --ca-file names others to trust")]
    Certificate(Domain),
    /// TLS cannot be set up here.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The host speaks SMTP alone, or something else.
    #[error("{0} takes no sealed mail on that port")]
    NotDmtp(Domain),
    /// The host offers no way to log in that is known here.
    #[error("{0} offers no way to log in")]
    NoMechanism(Domain),
    /// 535.
    #[error("the login is refused: {0}")]
    Login(Reply),
    /// The host cannot show that it knows the user: it is another one.
    #[error("{0} does not know the user, so nothing is sent to it")]
    Impostor(Domain),
    /// There are no keys on the server.
    #[error("no keys are stored on the server")]
    NoKeys,
    /// 4xx.
    #[error("the server cannot take it now: {0}")]
    Transient(Reply),
    /// 5xx.
    #[error("the server refuses it: {0}")]
    Permanent(Reply),
    /// The file cannot be read on.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The session broke.
    #[error("the session broke: {0}")]
    Session(client::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Connection(#[from] connection::Error),
}

impl Error {
    /// Whether it may work later is what counts.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(..) | Self::Transient(_) | Self::Session(_) | Self::Connection(_) => {
                Exit::TryLater
            }
            Self::Tls(_) => Exit::Usage,
            Self::File(error) => error.exit(),
            _ => Exit::No,
        }
    }

    /// Tells programs what happened, and people by the error itself.
    pub fn conclude(self, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
        let exit = self.exit();
        let result = match exit {
            Exit::TryLater => "try_later",
            Exit::No => "refused",
            _ => return Err(self.into()),
        };
        if !json {
            return Err(self.into());
        }
        let refusal = Refusal::new(&self).json();
        writeln!(out, "{:#}", json!({ "result": result, "refused": refusal }))?;
        Ok(exit)
    }
}

impl Refused for Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => "submit.unreachable",
            Self::Certificate(_) => "submit.certificate",
            Self::Tls(_) => "submit.tls",
            Self::NotDmtp(_) => "submit.not_dmtp",
            Self::NoMechanism(_) => "submit.no_mechanism",
            Self::Login(_) => "submit.login",
            Self::Impostor(_) => "submit.impostor",
            Self::NoKeys => "submit.no_keys",
            Self::Transient(_) => "submit.transient",
            Self::Permanent(_) => "submit.permanent",
            Self::File(_) => "submit.file",
            Self::Session(_) => "submit.session",
            Self::Connection(_) => "submit.connection",
        }
    }
}
