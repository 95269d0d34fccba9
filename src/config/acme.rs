//! `tls.acme`: who issues the certificate for SMTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Config;
use super::sections::text;
use crate::net::acme::{Challenge, Issuer};
use crate::net::dns::Resolver;
use crate::net::tls::{self, Connector, WebPki};

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The account, in the data directory.
const ACCOUNT: &str = "acme-account.json";

/// `acme` in `[tls]`: an authority that issues certificates by itself (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawAcme")]
pub struct Acme {
    /// Address of its directory. Default: that of Let's Encrypt.
    pub directory: String,
    /// How it finds out that the host is ours. Default `http-01`.
    #[serde(with = "text")]
    pub challenge: Challenge,
    /// Where it is answered while it does, unless the service manager has a socket for that. Default: port 80 or 443 of all
    /// addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
    /// PEM file with the roots that its own certificate must lead to. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_certificates: Option<PathBuf>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: LETS_ENCRYPT.to_owned(),
            challenge: Challenge::Http01,
            listen: Vec::new(),
            root_certificates: None,
        }
    }
}

impl Acme {
    /// Where the authority is answered.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self.listen.is_empty() {
            true => vec![SocketAddr::from(([0u16; 8], self.challenge.port()))],
            false => self.listen.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAcme {
    directory: String,
    #[serde(with = "text")]
    challenge: Challenge,
    listen: Vec<SocketAddr>,
    root_certificates: Option<PathBuf>,
}

impl Default for RawAcme {
    fn default() -> Self {
        let default = Acme::default();
        Self {
            directory: default.directory,
            challenge: default.challenge,
            listen: default.listen,
            root_certificates: default.root_certificates,
        }
    }
}

impl TryFrom<RawAcme> for Acme {
    type Error = &'static str;

    fn try_from(raw: RawAcme) -> Result<Self, Self::Error> {
        if !raw.directory.starts_with("https://") {
            return Err("`directory` of `acme` is an address that begins with https://");
        }
        Ok(Self {
            directory: raw.directory,
            challenge: raw.challenge,
            listen: raw.listen,
            root_certificates: raw.root_certificates,
        })
    }
}

impl Config {
    /// Who is asked for the certificate for SMTP; `None` where nobody is.
    ///
    /// Errors: [`tls::Error::Pem`] and [`tls::Error::NoCertificate`] about `root_certificates`, [`tls::Error::NoRoots`].
    pub fn issuer(&self, resolver: &Arc<dyn Resolver>) -> Result<Option<Issuer>, tls::Error> {
        let tls = &self.tls;
        let (Some(acme), Some(certificate), Some(key)) = (&tls.acme, &tls.smtp_certificate, &tls.smtp_key)
        else {
            return Ok(None);
        };
        let roots = match &acme.root_certificates {
            Some(path) => WebPki::load(path)?,
            None => WebPki::system()?,
        };
        Ok(Some(Issuer {
            directory: acme.directory.clone(),
            challenge: acme.challenge,
            listen: acme.addresses(),
            resolver: Arc::clone(resolver),
            outgoing: (&self.outbound).into(),
            connector: Connector::pkix(&roots)?,
            account: self.server.data_directory.join(ACCOUNT),
            certificate: certificate.clone(),
            key: key.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    fn read(tls: &str) -> Result<Config, crate::config::Error> {
        let text = format!("[server]\nhostname = \"mx.example\"\n[tls]\n{tls}\n");
        Config::parse(&text, Path::new("x"))
    }

    const PAIR: &str = "smtp_certificate = \"/nonexistent/a.pem\"\nsmtp_key = \"/nonexistent/a.key\"\n";

    #[test]
    fn an_authority_needs_files_and_an_address_with_tls() {
        let config = read(&format!("{PAIR}acme = {{}}")).unwrap();
        let acme = config.tls.acme.as_ref().unwrap();
        assert_eq!(acme, &Acme::default());
        assert_eq!(acme.addresses(), ["[::]:80".parse().unwrap()]);
        // Nothing has been issued yet.
        assert!(config.tls.is_awaited());
        assert_eq!(config.tls.pairs().count(), 0);
        let other = read(&format!("{PAIR}acme = {{ challenge = \"tls-alpn-01\" }}")).unwrap();
        let other = other.tls.acme.unwrap().addresses();
        assert_eq!(other, ["[::]:443".parse().unwrap()]);

        let refused = |tls: &str| read(tls).unwrap_err().to_string();
        assert!(refused("acme = {}").contains("`acme` needs `smtp_certificate`"));
        let clear = refused(&format!("{PAIR}acme = {{ directory = \"http://a.example/\" }}"));
        assert!(clear.contains("begins with https://"), "{clear}");
        let wrong = refused(&format!("{PAIR}acme = {{ challenge = \"dns-01\" }}"));
        assert!(wrong.contains("neither `http-01` nor `tls-alpn-01`"), "{wrong}");
    }
}
