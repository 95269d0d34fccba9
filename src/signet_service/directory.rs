//! Verified signets of anybody: ours from the store, others' from their domain's delivery hosts.

use std::sync::Arc;
use std::time::Duration;

use super::Published;
use super::custody::{self, Chains, Custody, Sighting};
use super::inquiry::{Error, Inquiry};
use crate::base::metrics;
use crate::base::time::Clock;
use crate::dime::dmime2::signets::Known;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::{Owner, SignedKeySet};
use crate::dime::signet::{self, Signet, VerifiedOrg, VerifiedUser};
use crate::dmtp::name::Name;
use crate::domains::{Domains, DxConnector, Standing};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{self, RemoteSignet, Store, Wanted};

/// How long a signet is taken for the current one, before its host is asked whether it still is (VRFY). Short: a peer that
/// has rotated refuses mail sealed for the old one.
const CURRENT_FOR: Duration = Duration::from_secs(5 * 60);

/// How long a fetched signet is remembered under its fingerprint. Under that name there is never another one.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Larger signets are asked for again each time: others decide how large they are, and each sender may have another.
const MAX_REMEMBERED: usize = 64 << 10;

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
    /// Histories of others' signets that were gone along.
    pub chains: Chains,
}

/// A signet that a message names, verified for its owner, and what decides whether it was in force (rule E4).
#[derive(Debug, Clone)]
pub struct Named<S> {
    /// The signet.
    pub signet: S,
    /// Its key set, if there is one that obeys N1 to N3.
    pub key_set: Option<SignedKeySet>,
    /// Whether it is the owner's current one. Not looked up, and `false`, where the key set decides already.
    pub is_current: bool,
    /// What is to be remembered of an author whose message it proves to be: see [`Directory::remember_author`].
    pub sighting: Option<Sighting>,
}

impl<S> Named<S> {
    /// The form in which checks of D/MIME 2 take it.
    pub fn known(&self) -> Known<'_, S> {
        Known {
            signet: &self.signet,
            key_set: self.key_set.as_ref(),
            is_current: self.is_current,
        }
    }
}

/// A domain that is asked for its signets, with what is remembered of it.
struct Visit<'a> {
    directory: &'a Directory,
    inquiry: Inquiry<'a>,
}

impl Directory {
    /// The signet of an organization: that one, or the current one.
    pub async fn organization(&self, domain: &Domain, wanted: Wanted) -> Result<VerifiedOrg, Error> {
        if self.store.local_domain(domain).await?.is_some() {
            return self.our_organization(domain, wanted).await;
        }
        let mut visit = self.visit(domain).await?;
        let found = visit.organization(wanted).await;
        visit.inquiry.end();
        counted(found)
    }

    /// Whether a signet of an organization is at hand, so that nobody need be asked for it.
    pub async fn has_organization(&self, domain: &Domain, wanted: Wanted) -> Result<bool, Error> {
        Ok(self.store.local_domain(domain).await?.is_some()
            || self.remembered(domain.as_str(), wanted).await?.is_some())
    }

    /// The signets of a user and of the user's organization: that one, or the current one.
    pub async fn user(
        &self,
        address: &Mailbox,
        wanted: Wanted,
    ) -> Result<(VerifiedOrg, VerifiedUser), Error> {
        let domain = address.domain();
        if self.store.local_domain(domain).await?.is_some() {
            let organization = self.our_organization(domain, Wanted::Current).await?;
            return Ok((organization, self.our_user(address, wanted).await?));
        }
        let mut visit = self.visit(domain).await?;
        let found = visit.user(address, wanted).await;
        visit.inquiry.end();
        counted(found)
    }

    /// That signet of a user, verified with that signet of the user's organization: the two that a message names. An
    /// organization that has changed its keys since vouches for the user by the old ones.
    pub async fn user_of(
        &self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: Wanted,
    ) -> Result<VerifiedUser, Error> {
        if self.store.local_domain(address.domain()).await?.is_some() {
            return self.our_user(address, wanted).await;
        }
        let mut visit = self.visit(address.domain()).await?;
        let found = visit.user_of(organization, address, wanted).await;
        visit.inquiry.end();
        counted(found)
    }

    /// The same for the author of a message that has come in. The signing key must follow from the one that the author was
    /// last seen with, or lead to it: the chain of custody is followed, and where it is broken the message waits. With what
    /// [`remember_author`](Self::remember_author) is to be told, if anything.
    pub async fn author_of(
        &self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: Wanted,
    ) -> Result<(VerifiedUser, Option<Sighting>), Error> {
        if self.store.local_domain(address.domain()).await?.is_some() {
            return Ok((self.our_user(address, wanted).await?, None));
        }
        let mut visit = self.visit(address.domain()).await?;
        let found = visit.author_of(organization, address, wanted).await;
        visit.inquiry.end();
        counted(found)
    }

    /// Remembers the signing key of an author whose signature under a message has been verified.
    ///
    /// Errors: [`Changed`](store::Error::Changed) if another key of the author has been seen meanwhile.
    pub async fn remember_author(&self, sighting: Sighting) -> Result<(), Error> {
        custody::pin_author(self.store.as_ref(), sighting, self.clock.now()).await
    }

    /// That signet of an organization, with what decides whether it was in force at `created` (`dmime2.md` §13, E4).
    ///
    /// Whether it is the current one is found out only where that matters. Unix seconds.
    pub async fn named_organization(
        &self,
        domain: &Domain,
        wanted: FullFingerprint,
        created: u64,
    ) -> Result<Named<VerifiedOrg>, Error> {
        let signet = self.organization(domain, Wanted::Full(wanted)).await?;
        let is_current = match Owner::from(&signet).was_in_force(created) {
            true => false,
            false => {
                let current = self.organization(domain, Wanted::Current).await?;
                current.full_fingerprint() == Some(wanted)
            }
        };
        Ok(Named {
            key_set: SignedKeySet::of(signet.signet()).ok().flatten(),
            signet,
            is_current,
            sighting: None,
        })
    }

    /// The same for the author's signet, which the organization's signet that the message names vouches for.
    pub async fn named_author(
        &self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: FullFingerprint,
        created: u64,
    ) -> Result<Named<VerifiedUser>, Error> {
        let (signet, sighting) = self
            .author_of(organization, address, Wanted::Full(wanted))
            .await?;
        let is_current = match Owner::from(&signet).was_in_force(created) {
            true => false,
            false => {
                let (_, current) = self.user(address, Wanted::Current).await?;
                current.full_fingerprint() == Some(wanted)
            }
        };
        Ok(Named {
            key_set: SignedKeySet::of(signet.signet()).ok().flatten(),
            signet,
            is_current,
            sighting,
        })
    }

    async fn our_organization(&self, domain: &Domain, wanted: Wanted) -> Result<VerifiedOrg, Error> {
        let found = match wanted.fingerprint() {
            Some(wanted) => self.published.organization_by(domain, wanted).await?,
            None => self.published.organization(domain).await?,
        };
        found
            .map(|organization| organization.signet)
            .ok_or(Error::NotFound)
    }

    async fn our_user(&self, address: &Mailbox, wanted: Wanted) -> Result<VerifiedUser, Error> {
        let found = match wanted.fingerprint() {
            Some(wanted) => self.published.user_by(address, wanted).await?,
            None => self.published.user(address).await?,
        };
        found.map(|user| user.signet).ok_or(Error::NotFound)
    }

    async fn visit<'a>(&'a self, domain: &'a Domain) -> Result<Visit<'a>, Error> {
        let facts = self.domains.facts(domain).await?;
        match facts.standing() {
            Standing::Dime(record, proof) => Ok(Visit {
                directory: self,
                inquiry: Inquiry::new(&self.dx, domain, record.into_owned(), proof),
            }),
            Standing::Plain => Err(Error::NotDime),
            Standing::Unknown => Err(Error::RecordUnknown),
        }
    }

    fn custody<'a>(&'a self, address: &'a Mailbox) -> Custody<'a> {
        Custody {
            store: self.store.as_ref(),
            chains: &self.chains,
            now: self.clock.now(),
            address,
        }
    }

    /// A remembered signet. One that does not verify is as good as none.
    async fn remembered(&self, name: &str, wanted: Wanted) -> Result<Option<Vec<u8>>, Error> {
        let remembered = self.store.remote_signet(name, wanted, self.clock.now()).await?;
        Ok(remembered.map(|remembered| remembered.object))
    }

    /// The signet that was the current one when last asked for.
    async fn last_current(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let last = self.store.last_current_signet(name, self.clock.now()).await?;
        Ok(last.map(|last| last.object))
    }

    /// Only what was asked for as the current one is ever taken for it.
    async fn remember(&self, name: String, signet: &Signet, wanted: Wanted) -> Result<(), Error> {
        let now = self.clock.now();
        let object = signet.encode();
        let Some(crypto) = signet
            .crypto_fingerprint()
            .filter(|_| object.len() <= MAX_REMEMBERED)
        else {
            return Ok(());
        };
        let signet = RemoteSignet {
            name,
            crypto,
            full: signet.full_fingerprint(),
            object,
            fetched_at: now,
            current_until: (wanted == Wanted::Current).then(|| now.after(CURRENT_FOR)),
            expires_at: now.after(REMEMBERED_FOR),
        };
        Ok(self.store.remember_remote_signet(signet).await?)
    }
}

impl Visit<'_> {
    /// Remembered signets must verify with the keys of now: the domain's may have changed since.
    async fn organization(&mut self, wanted: Wanted) -> Result<VerifiedOrg, Error> {
        let (domain, keys) = (self.inquiry.domain(), &self.inquiry.record().primary_keys);
        let (directory, verified) = (self.directory, &self.directory.published.verified);
        if let Some(signet) = directory.remembered(domain.as_str(), wanted).await?
            && let Ok(organization) = verified.organization(&signet, keys, domain)
        {
            return Ok(organization);
        }
        if wanted == Wanted::Current
            && let Some(signet) = directory.last_current(domain.as_str()).await?
            && let Ok(organization) = verified.organization(&signet, keys, domain)
        {
            let name = Name::Organization(domain.clone());
            if self.inquiry.is_current(&name, organization.signet()).await? {
                directory
                    .remember(domain.to_string(), organization.signet(), wanted)
                    .await?;
                return Ok(organization);
            }
        }
        self.fresh_organization(wanted).await
    }

    /// Asked for now.
    async fn fresh_organization(&mut self, wanted: Wanted) -> Result<VerifiedOrg, Error> {
        let organization = self.inquiry.organization(wanted.fingerprint()).await?;
        demand(organization.signet(), wanted)?;
        let name = organization.domain().to_string();
        self.directory
            .remember(name, organization.signet(), wanted)
            .await?;
        Ok(organization)
    }

    async fn user(
        &mut self,
        address: &Mailbox,
        wanted: Wanted,
    ) -> Result<(VerifiedOrg, VerifiedUser), Error> {
        let organization = self.organization(Wanted::Current).await?;
        match self.user_of(&organization, address, wanted).await {
            Ok(user) => Ok((organization, user)),
            // An organization that has just changed its keys signs users' signets with keys that we have not seen yet.
            Err(Error::Invalid(signet::Error::BadSignature(_))) => {
                let organization = self.fresh_organization(Wanted::Current).await?;
                let user = self.user_of(&organization, address, wanted).await?;
                Ok((organization, user))
            }
            Err(error) => Err(error),
        }
    }

    async fn user_of(
        &mut self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: Wanted,
    ) -> Result<VerifiedUser, Error> {
        let (directory, inquiry) = (self.directory, &mut self.inquiry);
        if let Some(user) = remembered_user(directory, organization, address, wanted).await? {
            return Ok(user);
        }
        let user = match wanted {
            Wanted::Current => confirmed_user(directory, inquiry, organization, address).await?,
            Wanted::Crypto(_) | Wanted::Full(_) => None,
        };
        let user = match user {
            Some(user) => user,
            None => fresh_user(inquiry, organization, address, wanted).await?,
        };
        if wanted == Wanted::Current {
            directory.custody(address).keep(inquiry, &user).await?;
        }
        directory
            .remember(store::fold(address), user.signet(), wanted)
            .await?;
        Ok(user)
    }

    async fn author_of(
        &mut self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: Wanted,
    ) -> Result<(VerifiedUser, Option<Sighting>), Error> {
        let (directory, inquiry) = (self.directory, &mut self.inquiry);
        let custody = directory.custody(address);
        if let Some(user) = remembered_user(directory, organization, address, wanted).await? {
            let sighting = custody.judge_author(inquiry, &user, false).await?;
            return Ok((user, sighting));
        }
        let user = fresh_user(inquiry, organization, address, wanted).await?;
        let sighting = custody.judge_author(inquiry, &user, true).await?;
        directory
            .remember(store::fold(address), user.signet(), wanted)
            .await?;
        Ok((user, sighting))
    }
}

async fn remembered_user(
    directory: &Directory,
    organization: &VerifiedOrg,
    address: &Mailbox,
    wanted: Wanted,
) -> Result<Option<VerifiedUser>, Error> {
    let verified = &directory.published.verified;
    let signet = directory.remembered(&store::fold(address), wanted).await?;
    Ok(signet.and_then(|signet| verified.user(&signet, organization, address).ok()))
}

/// The one that was current when last asked for, if its host says that it still is.
async fn confirmed_user(
    directory: &Directory,
    inquiry: &mut Inquiry<'_>,
    organization: &VerifiedOrg,
    address: &Mailbox,
) -> Result<Option<VerifiedUser>, Error> {
    let Some(signet) = directory.last_current(&store::fold(address)).await? else {
        return Ok(None);
    };
    let verified = &directory.published.verified;
    let (Ok(name), Ok(user)) = (
        Name::try_from(address),
        verified.user(&signet, organization, address),
    ) else {
        return Ok(None);
    };
    Ok(inquiry.is_current(&name, user.signet()).await?.then_some(user))
}

/// Asked for now, and not remembered yet.
async fn fresh_user(
    inquiry: &mut Inquiry<'_>,
    organization: &VerifiedOrg,
    address: &Mailbox,
    wanted: Wanted,
) -> Result<VerifiedUser, Error> {
    let user = inquiry
        .user_of(organization, address, wanted.fingerprint())
        .await?;
    demand(user.signet(), wanted)?;
    Ok(user)
}

/// Counts what came of asking for another domain's signet.
fn counted<T>(found: Result<T, Error>) -> Result<T, Error> {
    metrics::signet_sought(match &found {
        Ok(_) => "found",
        Err(Error::NotFound | Error::NoOrganization) => "missing",
        Err(Error::Invalid(_) | Error::WrongFingerprint | Error::CustodyBroken) => "invalid",
        Err(_) => "unavailable",
    });
    found
}

/// Kinds of fingerprints do not stand in for each other.
fn demand(served: &Signet, wanted: Wanted) -> Result<(), Error> {
    let fits = match wanted {
        Wanted::Current => true,
        Wanted::Crypto(print) => served.crypto_fingerprint() == Some(print),
        Wanted::Full(print) => served.full_fingerprint() == Some(print),
    };
    fits.then_some(()).ok_or(Error::WrongFingerprint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::fingerprint::CryptoFingerprint;
    use crate::dime::keys::OrgKeys;
    use crate::dime::signet::OrgBuilder;

    #[test]
    fn only_the_fingerprint_asked_for_is_taken() {
        let keys = OrgKeys::generate(&mut rand::rng());
        let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
        let served = builder.full().unwrap();
        let (crypto, full) = (
            served.crypto_fingerprint().unwrap(),
            served.full_fingerprint().unwrap(),
        );
        for good in [Wanted::Current, Wanted::Crypto(crypto), Wanted::Full(full)] {
            assert!(demand(&served, good).is_ok(), "{good:?}");
        }
        // Kinds do not stand in for each other.
        let (crypto, full) = (CryptoFingerprint(full.0), FullFingerprint(crypto.0));
        for bad in [Wanted::Crypto(crypto), Wanted::Full(full)] {
            assert!(
                matches!(demand(&served, bad), Err(Error::WrongFingerprint)),
                "{bad:?}"
            );
        }
    }
}
