//! The certificates that records vouch for.

use anyhow::Context as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Config;
use crate::net::dns::Tlsa;

/// What records say of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The whole of it, DER.
    pub der: Vec<u8>,
    /// SHA-256 of its public key, as DANE has it.
    key_digest: Vec<u8>,
    /// End of its validity, Unix time in seconds.
    pub valid_until: i64,
    /// No authority vouches for it.
    pub self_signed: bool,
}

impl Certificate {
    fn read(der: &[u8]) -> anyhow::Result<Self> {
        let (_, parsed) = X509Certificate::from_der(der).context("a certificate cannot be read")?;
        Ok(Self {
            der: der.to_vec(),
            key_digest: Sha256::digest(parsed.public_key().raw).to_vec(),
            valid_until: parsed.validity().not_after.timestamp(),
            self_signed: parsed.issuer() == parsed.subject(),
        })
    }

    /// DANE-EE, public key, SHA-256: what RFC 7672 §3.1 asks of mail hosts.
    pub fn tlsa(&self) -> Tlsa {
        Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: self.key_digest.clone(),
        }
    }
}

/// Those in use, and the one to come: the configured one itself, if the daemon still goes by the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// For DMTP.
    pub dmtp: Certificate,
    /// For SMTP.
    pub smtp: Certificate,
    /// What replaces the one for DMTP.
    pub next: Option<Certificate>,
    /// Whether SMTP has the same as DMTP, and so gets the same next one.
    shared: bool,
}

impl Certificates {
    /// Those that the configuration names.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let next = match &config.tls.next_certificate {
            Some(path) => {
                let leaf = CertificateDer::pem_file_iter(path)
                    .and_then(|mut chain| chain.next().transpose())
                    .ok()
                    .flatten();
                let leaf = leaf.with_context(|| format!("{} is no certificate in PEM", path.display()))?;
                Some(Certificate::read(&leaf)?)
            }
            None => None,
        };
        let configured = Certificate::read(config.dmtp_identity()?.leaf())?;
        let smtp = Certificate::read(config.smtp_identity()?.leaf())?;
        if let Some(kept) = config.kept_identity()? {
            return Ok(Self {
                dmtp: Certificate::read(kept.leaf())?,
                smtp,
                next: Some(configured),
                shared: false,
            });
        }
        Ok(Self {
            dmtp: configured,
            smtp,
            next,
            shared: config.tls.smtp_pair().is_none(),
        })
    }

    /// The one to come for SMTP.
    pub fn next_smtp(&self) -> Option<&Certificate> {
        self.next.as_ref().filter(|_| self.shared)
    }
}
