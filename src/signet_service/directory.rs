//! Verified signets of anybody: ours from the store, others' from their domain's delivery hosts.

use std::sync::Arc;
use std::time::Duration;

use super::Published;
use crate::base::time::Clock;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint};
use crate::dime::record::ManagementRecord;
use crate::dime::signet::{self, Signet, VerifiedOrg, VerifiedUser, verify_org, verify_user};
use crate::dmtp::name::{self, Name};
use crate::domains::{self, Domains, DxConnector, DxError, DxSession, Standing};
use crate::mail::address::{Domain, Mailbox};
use crate::net::dns::Proof;
use crate::store::{self, RemoteSignet, Store};

/// How long a fetched signet is taken for the current one. Short: a peer that has rotated refuses mail sealed for the
/// old one.
const CURRENT_FOR: Duration = Duration::from_secs(5 * 60);

/// Why a signet cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The domain publishes no DIME record.
    #[error("the domain is not a DIME domain")]
    NotDime,
    /// What the domain publishes cannot be found out now.
    #[error("the domain's management record cannot be used now")]
    RecordUnknown,
    /// The domain's host, or our store, says that there is none.
    #[error("there is no such signet")]
    NotFound,
    /// The domain's host says that the domain itself has no signet. That is a fault over there: it says nothing about
    /// the domain's users, so no message may go another way for it (`management-record.md` §9.3.1).
    #[error("the domain's host has no signet of the domain")]
    NoOrganization,
    /// The signet does not verify, or is not the one asked for.
    #[error("the signet is not valid: {0}")]
    Invalid(#[from] signet::Error),
    /// The signet served has another fingerprint than the one asked for.
    #[error("the host served another signet than the one asked for")]
    WrongFingerprint,
    /// The address cannot be asked for over DMTP.
    #[error("the address has no form in DMTP")]
    Name(#[from] name::Error),
    /// The delivery hosts gave none.
    #[error(transparent)]
    Dx(#[from] DxError),
    /// Our own signets cannot be read.
    #[error(transparent)]
    Published(#[from] super::Error),
    /// The domain cannot be looked up for want of the store.
    #[error(transparent)]
    Domains(#[from] domains::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Finds signets and verifies them.
pub struct Directory {
    /// Ours.
    pub published: Arc<Published>,
    /// Remembers others'.
    pub store: Arc<dyn Store>,
    /// Their domains' records.
    pub domains: Arc<Domains>,
    /// Their delivery hosts.
    pub dx: Arc<DxConnector>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A domain whose signets are asked for, with the session to do it once it is needed.
struct Inquiry<'a> {
    directory: &'a Directory,
    domain: &'a Domain,
    record: ManagementRecord,
    proof: Proof,
    session: Option<DxSession>,
}

impl Directory {
    /// The signet of an organization: that one, or the current one.
    pub async fn organization(
        &self,
        domain: &Domain,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<VerifiedOrg, Error> {
        if self.store.local_domain(domain).await?.is_some() {
            return self.our_organization(domain, wanted).await;
        }
        let mut inquiry = self.inquire(domain).await?;
        let found = inquiry.organization(wanted).await;
        inquiry.end().await;
        found
    }

    /// The signets of a user and of the user's organization: that one, or the current one.
    pub async fn user(
        &self,
        address: &Mailbox,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<(VerifiedOrg, VerifiedUser), Error> {
        let domain = address.domain();
        if self.store.local_domain(domain).await?.is_some() {
            let organization = self.our_organization(domain, None).await?;
            return Ok((organization, self.our_user(address, wanted).await?));
        }
        let mut inquiry = self.inquire(domain).await?;
        let found = inquiry.user(address, wanted).await;
        inquiry.end().await;
        found
    }

    /// That signet of a user, verified with that signet of the user's organization: the two that a message names. An
    /// organization that has changed its keys since vouches for the user by the old ones.
    pub async fn user_of(
        &self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: CryptoFingerprint,
    ) -> Result<VerifiedUser, Error> {
        if self.store.local_domain(address.domain()).await?.is_some() {
            return self.our_user(address, Some(wanted)).await;
        }
        let mut inquiry = self.inquire(address.domain()).await?;
        let found = inquiry.user_of(organization, address, Some(wanted)).await;
        inquiry.end().await;
        found
    }

    async fn our_organization(
        &self,
        domain: &Domain,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<VerifiedOrg, Error> {
        let found = match wanted {
            Some(wanted) => self.published.organization_by(domain, wanted.into()).await?,
            None => self.published.organization(domain).await?,
        };
        found
            .map(|organization| organization.signet)
            .ok_or(Error::NotFound)
    }

    async fn our_user(
        &self,
        address: &Mailbox,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<VerifiedUser, Error> {
        let found = match wanted {
            Some(wanted) => self.published.user_by(address, wanted.into()).await?,
            None => self.published.user(address).await?,
        };
        found.map(|user| user.signet).ok_or(Error::NotFound)
    }

    async fn inquire<'a>(&'a self, domain: &'a Domain) -> Result<Inquiry<'a>, Error> {
        let facts = self.domains.facts(domain).await?;
        match facts.standing() {
            Standing::Dime(record, proof) => Ok(Inquiry {
                directory: self,
                domain,
                record: record.clone(),
                proof,
                session: None,
            }),
            Standing::Plain => Err(Error::NotDime),
            Standing::Unknown => Err(Error::RecordUnknown),
        }
    }

    /// A remembered signet. One that does not decode is as good as none.
    async fn remembered(
        &self,
        name: &str,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<Option<Signet>, Error> {
        let remembered = self.store.remote_signet(name, wanted, self.clock.now()).await?;
        Ok(remembered.and_then(|remembered| Signet::decode(&remembered.object).ok()))
    }

    async fn remember(&self, name: String, crypto: CryptoFingerprint, object: &[u8]) -> Result<(), Error> {
        let now = self.clock.now();
        let signet = RemoteSignet {
            name,
            crypto,
            object: object.to_vec(),
            fetched_at: now,
            expires_at: now.after(CURRENT_FOR),
        };
        Ok(self.store.remember_remote_signet(signet).await?)
    }
}

impl Inquiry<'_> {
    /// Remembered signets are verified again: the domain's keys may have changed since.
    async fn organization(&mut self, wanted: Option<CryptoFingerprint>) -> Result<VerifiedOrg, Error> {
        let keys = &self.record.primary_keys;
        if let Some(signet) = self.directory.remembered(self.domain.as_str(), wanted).await?
            && let Ok(organization) = verify_org(&signet, keys, self.domain)
        {
            return Ok(organization);
        }
        let name = Name::Organization(self.domain.clone());
        let signet = self
            .fetch(&name, wanted)
            .await
            .map_err(|error| of_organization(error, wanted))?;
        let organization = verify_org(&signet, &self.record.primary_keys, self.domain)?;
        let crypto = organization.crypto_fingerprint();
        demand(crypto, wanted)?;
        self.directory
            .remember(self.domain.to_string(), crypto, organization.object())
            .await?;
        Ok(organization)
    }

    async fn user(
        &mut self,
        address: &Mailbox,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<(VerifiedOrg, VerifiedUser), Error> {
        let organization = self.organization(None).await?;
        let user = self.user_of(&organization, address, wanted).await?;
        Ok((organization, user))
    }

    async fn user_of(
        &mut self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: Option<CryptoFingerprint>,
    ) -> Result<VerifiedUser, Error> {
        let name = Name::parse(&address.to_string())?;
        if let Some(signet) = self.directory.remembered(&store::fold(address), wanted).await?
            && let Ok(user) = verify_user(&signet, organization, None, address)
        {
            return Ok(user);
        }
        let signet = self.fetch(&name, wanted).await?;
        let user = verify_user(&signet, organization, None, address)?;
        let crypto = user.crypto_fingerprint();
        demand(crypto, wanted)?;
        self.directory
            .remember(store::fold(address), crypto, user.object())
            .await?;
        Ok(user)
    }

    async fn fetch(&mut self, name: &Name, wanted: Option<CryptoFingerprint>) -> Result<Signet, Error> {
        if self.session.is_none() {
            let session = self
                .directory
                .dx
                .open(self.domain, &self.record, self.proof)
                .await?;
            self.session = Some(session);
        }
        let session = self.session.as_mut().ok_or(Error::NotFound)?;
        match session.signet(name, wanted.map(AnyFingerprint::from)).await {
            Ok(object) => Ok(Signet::decode(&object)?),
            Err(DxError::NotFound) => Err(Error::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn end(self) {
        if let Some(session) = self.session {
            session.quit().await;
        }
    }
}

/// A domain without any signet of its own is not a missing user.
fn of_organization(error: Error, wanted: Option<CryptoFingerprint>) -> Error {
    match (error, wanted) {
        (Error::NotFound, None) => Error::NoOrganization,
        (other, _) => other,
    }
}

fn demand(served: CryptoFingerprint, wanted: Option<CryptoFingerprint>) -> Result<(), Error> {
    match wanted.is_none_or(|wanted| wanted == served) {
        true => Ok(()),
        false => Err(Error::WrongFingerprint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fingerprint_asked_for_is_taken() {
        let [one, other] = [1, 2].map(|octet| CryptoFingerprint([octet; 64]));
        assert!(demand(one, None).is_ok());
        assert!(demand(one, Some(one)).is_ok());
        assert!(matches!(demand(one, Some(other)), Err(Error::WrongFingerprint)));
    }

    #[test]
    fn a_domain_without_a_signet_is_not_a_user_without_one() {
        let wanted = Some(CryptoFingerprint([1; 64]));
        assert!(matches!(
            of_organization(Error::NotFound, None),
            Error::NoOrganization
        ));
        assert!(matches!(
            of_organization(Error::NotFound, wanted),
            Error::NotFound
        ));
        assert!(matches!(of_organization(Error::NotDime, None), Error::NotDime));
    }
}
