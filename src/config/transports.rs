//! `outbound.transports`: hosts that the operator names for the mail of some domains.

use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sections::{text, texts};
use crate::routing::transport::{self, Endpoint, Login, Pattern};

/// The port of SMTP between hosts, and of submission, where one logs in (RFC 6409 §3.1).
const RELAY: u16 = 25;
const SUBMISSION: u16 = 587;

/// Where TLS comes first (RFC 8314 §3.3).
const SUBMISSIONS: u16 = 465;

/// One entry of `outbound.transports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawTransport")]
pub struct Transport {
    /// For which recipients' domains: `example.org`, `*.example.org` for those below it, `*` for all. The narrowest counts.
    #[serde(with = "texts")]
    pub domains: Vec<Pattern>,
    /// Name or IP address of the host. Its MX records do not count.
    #[serde(with = "text")]
    pub host: Endpoint,
    /// Its port. Default 25; 587 if there are credentials.
    pub port: NonZeroU16,
    /// The least protection of the connection. Default `verified`.
    pub tls: Protection,
    /// Whether TLS comes before the first word of SMTP. Default: on port 465.
    pub tls_from_start: bool,
    /// File with the name on the first line and the password on the second. Default: nobody logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// The least protection under which the password is sent. Default `verified`.
    pub login_under: Protection,
}

/// How well a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// By TLS if the host offers it.
    Opportunistic,
    /// By TLS with any certificate.
    Encrypted,
    /// By TLS with a certificate for the host's name.
    #[default]
    Verified,
}

impl From<Protection> for transport::Protection {
    fn from(protection: Protection) -> Self {
        match protection {
            Protection::Opportunistic => Self::Opportunistic,
            Protection::Encrypted => Self::Encrypted,
            Protection::Verified => Self::Verified,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTransport {
    #[serde(with = "texts")]
    domains: Vec<Pattern>,
    #[serde(with = "text")]
    host: Endpoint,
    port: Option<NonZeroU16>,
    #[serde(default)]
    tls: Protection,
    tls_from_start: Option<bool>,
    credentials: Option<PathBuf>,
    #[serde(default)]
    login_under: Protection,
}

impl TryFrom<RawTransport> for Transport {
    type Error = &'static str;

    fn try_from(raw: RawTransport) -> Result<Self, Self::Error> {
        if raw.domains.is_empty() {
            return Err("a transport names the `domains` that it is for: `[\"*\"]` for all");
        }
        if raw.credentials.is_some() && raw.tls < raw.login_under {
            return Err(
                "the password would not be sent: `tls` allows less protection than `login_under` demands",
            );
        }
        let port = raw.port.or(NonZeroU16::new(match raw.credentials {
            Some(_) => SUBMISSION,
            None => RELAY,
        }));
        let port = port.ok_or("a port is not 0")?;
        Ok(Self {
            domains: raw.domains,
            host: raw.host,
            tls_from_start: raw.tls_from_start.unwrap_or(port.get() == SUBMISSIONS),
            port,
            tls: raw.tls,
            credentials: raw.credentials,
            login_under: raw.login_under,
        })
    }
}

impl From<&Transport> for transport::Transport {
    fn from(entry: &Transport) -> Self {
        Self {
            domains: entry.domains.clone(),
            host: entry.host.clone(),
            port: entry.port.get(),
            tls: entry.tls.into(),
            tls_from_start: entry.tls_from_start,
            login: entry.credentials.clone().map(|credentials| Login {
                credentials,
                under: entry.login_under.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str) -> Result<Transport, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn what_is_not_said_is_the_safe_thing() {
        let plain = read("domains = [\"*\"]\nhost = \"smart.example\"\n").unwrap();
        assert_eq!((plain.port.get(), plain.tls_from_start), (25, false));
        assert_eq!(plain.tls, Protection::Verified);
        let login =
            "domains = [\"a.example\", \"*.a.example\"]\nhost = \"192.0.2.1\"\ncredentials = \"/x\"\n";
        let login = read(login).unwrap();
        assert_eq!((login.port.get(), login.login_under), (587, Protection::Verified));
        let first = read("domains = [\"*\"]\nhost = \"smart.example\"\nport = 465\n").unwrap();
        assert!(first.tls_from_start);
    }

    #[test]
    fn refuses_what_would_never_send_a_password_or_is_for_nobody() {
        let with = |more: &str| read(&format!("domains = [\"*\"]\nhost = \"smart.example\"\n{more}"));
        let refused = with("tls = \"encrypted\"\ncredentials = \"/x\"\n").unwrap_err();
        assert!(
            refused.contains("`tls` allows less protection than `login_under`"),
            "{refused}"
        );
        assert!(with("tls = \"encrypted\"\ncredentials = \"/x\"\nlogin_under = \"encrypted\"\n").is_ok());
        assert!(with("tls = \"none\"\n").is_err());
        assert!(read("domains = []\nhost = \"smart.example\"\n").is_err());
        assert!(read("domains = [\"*\"]\nhost = \"no host\"\n").is_err());
    }
}
