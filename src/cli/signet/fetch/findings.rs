//! Asking, step by step; what was found out is kept as far as it went.

use std::net::SocketAddr;

use super::custody::{Before, Custody};
use super::{Error, Fetch};
use crate::base::machine::TlsInfo;
use crate::dime::record::ManagementRecord;
use crate::dime::signet::{Kind, Signet, VerifiedOrg, VerifiedUser};
use crate::dmtp::name::Name;
use crate::domains::{self, DxConnector, DxSession, Reach, RecordLookup};
use crate::mail::address::{Domain, Mailbox};
use crate::net::dns::Proof;
use crate::net::dx_certificate::Accepted;
use crate::signet_service::Inquiry;

/// The host that answered.
pub struct Host {
    pub name: Domain,
    pub reach: Reach,
    pub peer: SocketAddr,
    pub tls: TlsInfo,
    pub accepted: Accepted,
}

/// Everything that was found out.
pub struct Findings {
    pub name: Name,
    pub lookup: Option<RecordLookup>,
    pub host: Option<Host>,
    pub organization: Option<VerifiedOrg>,
    pub user: Option<VerifiedUser>,
    pub custody: Option<Custody>,
}

impl Findings {
    /// Nothing yet.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            lookup: None,
            host: None,
            organization: None,
            user: None,
            custody: None,
        }
    }

    /// The record that everything is judged by, and how far it is proven.
    pub fn record(&self) -> Option<(&ManagementRecord, Proof)> {
        match &self.lookup {
            Some(RecordLookup::Found { record, proof }) => Some((record, *proof)),
            _ => None,
        }
    }

    /// The verified signet of that kind.
    pub fn signet(&self, kind: Kind) -> Option<&Signet> {
        match kind {
            Kind::Organization => self.organization.as_ref().map(VerifiedOrg::signet),
            _ => self.user.as_ref().map(VerifiedUser::signet),
        }
    }

    /// The verified signet of the name.
    pub fn asked_for(&self) -> Option<&Signet> {
        self.signet(match &self.name {
            Name::Organization(_) => Kind::Organization,
            Name::User(_) => Kind::User,
        })
    }

    /// Asks.
    pub async fn collect(
        &mut self,
        dx: &DxConnector,
        fetch: &Fetch,
        before: Option<&Before>,
    ) -> Result<(), Error> {
        let domain = self.name.domain().clone();
        let (lookup, _) = domains::look_up(dx.resolver.as_ref(), &domain).await;
        let found = judged(self.lookup.insert(lookup));
        let (record, proof) = found?;
        let mut inquiry = Inquiry::new(dx, &domain, record.clone(), proof);
        let asked = self.ask(&mut inquiry, fetch, before).await;
        inquiry.end();
        dx.end().await;
        asked
    }

    async fn ask(
        &mut self,
        inquiry: &mut Inquiry<'_>,
        fetch: &Fetch,
        before: Option<&Before>,
    ) -> Result<(), Error> {
        self.host = Some(host(inquiry.session().await?));
        match self.name.address().cloned() {
            None => {
                let organization = inquiry.organization(fetch.fingerprint).await?;
                let organization = self.organization.insert(organization);
                if let (Some(before), Some(RecordLookup::Found { proof, .. })) = (before, &self.lookup) {
                    self.custody = Some(before.check_organization(organization, *proof)?);
                }
                Ok(())
            }
            Some(address) => {
                let organization = inquiry.organization(None).await?;
                let organization = self.organization.insert(organization);
                let user = inquiry.user_of(organization, &address, fetch.fingerprint).await?;
                self.user = Some(user);
                self.follow(inquiry, &address, fetch.history, before).await
            }
        }
    }

    async fn follow(
        &mut self,
        inquiry: &mut Inquiry<'_>,
        address: &Mailbox,
        history: bool,
        before: Option<&Before>,
    ) -> Result<(), Error> {
        let Some(user) = self.user.as_ref().filter(|_| history || before.is_some()) else {
            return Ok(());
        };
        let (custody, followed) = Custody::of(user, inquiry, address, (history, before)).await?;
        self.custody = Some(custody);
        followed
    }
}

fn judged(lookup: &RecordLookup) -> Result<(&ManagementRecord, Proof), Error> {
    match lookup {
        RecordLookup::Found { record, proof } => Ok((record, *proof)),
        RecordLookup::Absent(_) => Err(Error::NotDime),
        RecordLookup::Unparsable { error: Some(error) } => Err((*error).into()),
        RecordLookup::Unparsable { error: None } => Err(Error::SeveralRecords),
        RecordLookup::Bogus => Err(Error::Bogus),
        RecordLookup::Failed => Err(Error::NoAnswer),
    }
}

fn host(session: &DxSession) -> Host {
    Host {
        name: session.host().clone(),
        reach: session.reach(),
        peer: session.peer(),
        tls: session.tls().clone(),
        accepted: session.accepted(),
    }
}
