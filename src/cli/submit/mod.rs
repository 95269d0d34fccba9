//! A user's own session with the submission port: DMTP after STARTTLS, and a login (`dmtp.md` §5.3).
//!
//! The certificate must be good for the host by the roots of the system, or by those in a file; nothing secret is said
//! before that. The strongest mechanism that the server offers is used.

mod error;
mod login;
mod session;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use zeroize::Zeroizing;

use super::files::FileName;
use super::{Misuse, terminal};
use crate::base::secret::Secret;
use crate::mail::address::{Domain, Mailbox};

pub use error::Error;
pub use session::Session;

/// The port for submission (RFC 6409).
const PORT: u16 = 587;

/// Octets of a password file at most.
const MAX_PASSWORD: usize = 4096;

/// Where a user logs in, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// Server of the user's domain, and its submission port if that is not 587.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub submit: Server,
    /// Address to log in as.
    #[arg(long, value_name = "ADDRESS")]
    pub user: Mailbox,
    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "its arguments have the documentation, which is the help"
    )]
    pub access: Access,
}

/// How the server is reached and the user shown to be who they are.
#[derive(Debug, Clone, Args)]
pub struct Access {
    /// File whose first line is the login password; - is standard input. Without it, it is asked for on the terminal.
    #[arg(long, value_name = "FILE", requires = "submit")]
    pub password_file: Option<FileName>,
    /// PEM file with the certificates to trust, in place of those of the system.
    #[arg(long, value_name = "FILE", requires = "submit")]
    pub ca_file: Option<PathBuf>,
    /// Connect to this IP address instead of looking the host up; the certificate must be that of the host.
    #[arg(long = "address", value_name = "IP", requires = "submit")]
    pub ip: Option<IpAddr>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whose certificate is expected.
    pub host: Domain,
    /// Where it listens.
    pub port: u16,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| format!("{port} is no port"))?),
            None => (text, PORT),
        };
        let host = Domain::parse(host).map_err(|_| format!("{host} is no host name"))?;
        Ok(Self { host, port })
    }
}

impl Access {
    /// The login password.
    pub fn password(&self) -> anyhow::Result<Secret<String>> {
        let Some(file) = &self.password_file else {
            if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
                let text = "there is no terminal to ask for the login password: name --password-file";
                return Err(Misuse(text.into()).into());
            }
            return Ok(terminal::typed("Login password: ")?);
        };
        let octets = file.read_private(MAX_PASSWORD)?;
        let text = std::str::from_utf8(&octets)
            .map_err(|_| Misuse(format!("the password in {file} is not UTF-8")))?;
        let text = Zeroizing::new(text.to_owned());
        Ok(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_server_is_a_host_with_or_without_a_port() {
        let server: Server = "mx.hermail.test".parse().unwrap();
        assert_eq!((server.host.as_str(), server.port), ("mx.hermail.test", 587));
        assert_eq!("mx.hermail.test:10587".parse::<Server>().unwrap().port, 10_587);
        for bad in [
            "",
            "mx.hermail.test:",
            "mx.hermail.test:99999",
            "a b",
            "[::1]:587",
        ] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }
}
