//! The end of an account with the authority, and of a certificate: somebody else may have their keys.

use std::io::{self, ErrorKind};

use instant_acme::{Account, Problem, RevocationReason, RevocationRequest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;

use super::{Error, Issuer, PATIENCE, unusable};
use crate::base::durable;

impl Issuer {
    /// Has the authority revoke the certificate that is in its file, as one whose private key others may have (RFC 8555 §7.6). One that
    /// is revoked already is as good.
    ///
    /// Errors: [`Error::NoAccount`], [`Error::File`].
    pub async fn revoke(&self) -> Result<(), Error> {
        let revoked = timeout(PATIENCE, self.revoke_certificate());
        revoked.await.unwrap_or(Err(Error::TimedOut))
    }

    /// Takes the account out of service (RFC 8555 §7.3.6), so that whoever has its key can order nothing more with it, and removes its
    /// file. The next order makes another account.
    ///
    /// Errors: [`Error::NoAccount`]; whenever the authority has not shown that it takes no more orders, and then the file stays.
    pub async fn deactivate(&self) -> Result<(), Error> {
        let closed = timeout(PATIENCE, self.close());
        closed.await.unwrap_or(Err(Error::TimedOut))?;
        std::fs::remove_file(&self.account)
            .and_then(|()| durable::sync_folder(durable::folder_of(&self.account)))
            .map_err(|error| unusable(&self.account, error))
    }

    async fn present_account(&self) -> Result<Account, Error> {
        let known = self.known_account()?;
        let known = known.ok_or_else(|| Error::NoAccount(self.directory.clone()))?;
        Ok(self.builder().from_credentials(known).await?)
    }

    async fn revoke_certificate(&self) -> Result<(), Error> {
        let certificate = self.leaf().map_err(|error| unusable(&self.certificate, error))?;
        let account = self.present_account().await?;
        let request = RevocationRequest {
            certificate: &certificate,
            reason: Some(RevocationReason::KeyCompromise),
        };
        match account.revoke(&request).await {
            Err(instant_acme::Error::Api(problem)) if is_one_of(&problem, &["alreadyRevoked"]) => Ok(()),
            revoked => Ok(revoked?),
        }
    }

    /// The certificate of the host, which is the first of its file.
    fn leaf(&self) -> io::Result<CertificateDer<'static>> {
        let text = std::fs::read(&self.certificate)?;
        CertificateDer::from_pem_slice(&text)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))
    }

    async fn close(&self) -> Result<(), Error> {
        let account = self.present_account().await?;
        account.clone().deactivate().await?;
        // The library does not look at the answer to that: an account that is out of service is refused whatever it asks for.
        match account.update_contacts(&[]).await {
            Err(instant_acme::Error::Api(problem))
                if is_one_of(&problem, &["unauthorized", "accountDoesNotExist"]) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(()) => Err(Error::Refused {
                words: "the account is as it was".into(),
                for_good: false,
            }),
        }
    }
}

/// Whether the authority gives that reason (RFC 8555 §6.7).
fn is_one_of(problem: &Problem, kinds: &[&str]) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kinds.contains(&kind.rsplit(':').next().unwrap_or_default())
}
