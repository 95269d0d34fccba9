//! A domain's signets, asked of its delivery hosts and verified. Nothing is remembered, and no store is needed.

use crate::dime::fingerprint::AnyFingerprint;
use crate::dime::record::ManagementRecord;
use crate::dime::signet::{self, Signet, VerifiedOrg, VerifiedUser, verify_org, verify_user};
use crate::dmtp::name::{self, Name};
use crate::domains::{self, Anybody, DxConnector, DxError, DxSession};
use crate::mail::address::{Domain, Mailbox};
use crate::net::dns::Proof;
use crate::store;

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
    /// The user has another signing key than before, and nothing shows that the old one has signed it. It may be somebody
    /// else's, so the signet is not used.
    #[error("no chain of custody leads to the user's new signing key")]
    CustodyBroken,
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

/// A domain whose signets are asked for, with the session to do it once it is needed.
pub struct Inquiry<'a> {
    dx: &'a DxConnector,
    domain: &'a Domain,
    record: ManagementRecord,
    proof: Proof,
    session: Option<DxSession>,
}

impl<'a> Inquiry<'a> {
    /// Will ask the hosts that `record` leads to, which is proven so far.
    pub fn new(dx: &'a DxConnector, domain: &'a Domain, record: ManagementRecord, proof: Proof) -> Self {
        Self {
            dx,
            domain,
            record,
            proof,
            session: None,
        }
    }

    /// The domain.
    pub fn domain(&self) -> &'a Domain {
        self.domain
    }

    /// What the domain is judged by.
    pub fn record(&self) -> &ManagementRecord {
        &self.record
    }

    /// The signet of the domain: that one, or the current one. A key in the record must have signed it.
    pub async fn organization(&mut self, wanted: Option<AnyFingerprint>) -> Result<VerifiedOrg, Error> {
        let name = Name::Organization(self.domain.clone());
        let signet = match (self.fetch(&name, wanted).await, wanted) {
            // A domain without any signet of its own is not a missing user.
            (Err(Error::NotFound), None) => return Err(Error::NoOrganization),
            (fetched, _) => fetched?,
        };
        let organization = verify_org(&signet, &self.record.primary_keys, self.domain)?;
        demand(organization.signet(), wanted)?;
        Ok(organization)
    }

    /// The signet of a user: that one, or the current one. `organization` must have signed it.
    pub async fn user_of(
        &mut self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: Option<AnyFingerprint>,
    ) -> Result<VerifiedUser, Error> {
        let name = Name::parse(&address.to_string())?;
        let signet = self.fetch(&name, wanted).await?;
        let user = verify_user(&signet, organization, None, address)?;
        demand(user.signet(), wanted)?;
        Ok(user)
    }

    /// Whether the host says that this signet of that name is still the current one, for which little is sent. A host that does
    /// not know it, or the question, has not said so.
    pub async fn is_current(&mut self, name: &Name, signet: &Signet) -> Result<bool, Error> {
        let Some(full) = signet.full_fingerprint() else {
            return Ok(false);
        };
        let mut answered = self.session().await?.is_current(name, full.into()).await;
        if self.is_to_be_repeated(&answered).await? {
            answered = self.session().await?.is_current(name, full.into()).await;
        }
        match answered {
            Err(DxError::NotFound | DxError::Permanent { .. }) => Ok(false),
            answered => Ok(answered?),
        }
    }

    /// A user's signets from the one with that fingerprint on, or all of them, oldest first. They prove nothing before
    /// [`follow`](crate::dime::signet::follow) has gone along.
    pub async fn history(
        &mut self,
        address: &Mailbox,
        start: Option<AnyFingerprint>,
    ) -> Result<Vec<Signet>, Error> {
        let objects = self.history_objects(address, start).await?;
        let signets = objects.iter().map(|object| Signet::decode(object));
        Ok(signets.collect::<Result<_, _>>()?)
    }

    /// The same, not even decoded.
    pub async fn history_objects(
        &mut self,
        address: &Mailbox,
        start: Option<AnyFingerprint>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut objects = self.session().await?.history(address, start).await;
        if self.is_to_be_repeated(&objects).await? {
            objects = self.session().await?.history(address, start).await;
        }
        objects.map_err(missing_or_unreachable)
    }

    /// The session with the host that is asked; it is opened where there was nothing to ask before.
    pub async fn session(&mut self) -> Result<&mut DxSession, Error> {
        if self.session.is_none() {
            let session = self.dx.open(self.domain, &self.record, self.proof).await?;
            self.session = Some(session);
        }
        self.session.as_mut().ok_or(Error::NotFound)
    }

    /// Leaves the session, if there was one, to whoever asks next.
    pub fn end(self) {
        if let Some(session) = self.session {
            self.dx.keep(session);
        }
    }

    /// Whether the host had given up a session that was kept; then there is a new one.
    async fn is_to_be_repeated<T>(&mut self, answered: &Result<T, DxError>) -> Result<bool, DxError> {
        let (Err(error), Some(session)) = (answered, &self.session) else {
            return Ok(false);
        };
        if !session.was_given_up(error) {
            return Ok(false);
        }
        if let Some(ended) = self.session.take() {
            self.session = Some(self.dx.open_instead(ended, &mut Anybody).await?);
        }
        Ok(true)
    }

    async fn fetch(&mut self, name: &Name, wanted: Option<AnyFingerprint>) -> Result<Signet, Error> {
        let mut object = self.session().await?.signet(name, wanted).await;
        if self.is_to_be_repeated(&object).await? {
            object = self.session().await?.signet(name, wanted).await;
        }
        Ok(Signet::decode(&object.map_err(missing_or_unreachable)?)?)
    }
}

fn missing_or_unreachable(error: DxError) -> Error {
    match error {
        DxError::NotFound => Error::NotFound,
        error => error.into(),
    }
}

/// Demands that one of the signet's fingerprints is the one asked for.
fn demand(served: &Signet, wanted: Option<AnyFingerprint>) -> Result<(), Error> {
    let own = [
        served.crypto_fingerprint().map(Into::into),
        served.full_fingerprint().map(Into::into),
        served.id_fingerprint().map(Into::into),
    ];
    match wanted.is_none() || own.contains(&wanted) {
        true => Ok(()),
        false => Err(Error::WrongFingerprint),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::keys::OrgKeys;
    use crate::dime::signet::OrgBuilder;

    #[test]
    fn only_the_fingerprint_asked_for_is_taken() {
        let keys = OrgKeys::generate(&mut rand::rng());
        let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
        let served = builder.full().unwrap();
        let crypto = served.crypto_fingerprint().unwrap().into();
        let full = served.full_fingerprint().unwrap().into();
        for good in [None, Some(crypto), Some(full)] {
            assert!(demand(&served, good).is_ok(), "{good:?}");
        }
        let other = demand(&served, Some(AnyFingerprint([1; 64])));
        assert!(matches!(other, Err(Error::WrongFingerprint)));
    }
}
