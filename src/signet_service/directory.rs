//! Verified signets of anybody: ours from the store, others' from their domain's delivery hosts.

use std::sync::Arc;
use std::time::Duration;

use super::{Inquiry, Published};
use crate::base::observe;
use crate::base::time::Clock;
use crate::dime::dmime2::signets::Known;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::{Owner, SignedKeySet};
use crate::dime::signet::{self, Signet, VerifiedOrg, VerifiedUser};
use crate::dmtp::name;
use crate::domains::{self, Domains, DxConnector, DxError, Standing};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{self, CustodyPin, RemoteSignet, Store, Wanted};

/// How long a fetched signet is taken for the current one. Short: a peer that has rotated refuses mail sealed for the
/// old one.
const CURRENT_FOR: Duration = Duration::from_secs(5 * 60);

/// How long a fetched signet is remembered under its fingerprint. Under that name there is never another one.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Larger signets are asked for again each time: others decide how large they are, and each sender may have another.
const MAX_REMEMBERED: usize = 64 << 10;

/// How long somebody's signing key is remembered after it was last seen.
const CUSTODY_KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 3600);

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

/// A signet that a message names, verified for its owner, and what decides whether it was in force (rule E4).
#[derive(Debug, Clone)]
pub struct Named<S> {
    /// The signet.
    pub signet: S,
    /// Its key set, if there is one that obeys N1 to N3.
    pub key_set: Option<SignedKeySet>,
    /// Whether it is the owner's current one. Not looked up, and `false`, where the key set decides already.
    pub is_current: bool,
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
        visit.inquiry.end().await;
        found
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
        visit.inquiry.end().await;
        found
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
        visit.inquiry.end().await;
        found
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
        })
    }

    /// The same for a user's signet, which the organization's signet that the message names vouches for.
    pub async fn named_user(
        &self,
        organization: &VerifiedOrg,
        address: &Mailbox,
        wanted: FullFingerprint,
        created: u64,
    ) -> Result<Named<VerifiedUser>, Error> {
        let signet = self.user_of(organization, address, Wanted::Full(wanted)).await?;
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

    /// A remembered signet. One that does not decode is as good as none.
    async fn remembered(&self, name: &str, wanted: Wanted) -> Result<Option<Signet>, Error> {
        let remembered = self.store.remote_signet(name, wanted, self.clock.now()).await?;
        Ok(remembered.and_then(|remembered| Signet::decode(&remembered.object).ok()))
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
        let verified = &self.directory.published.verified;
        if let Some(signet) = self.directory.remembered(&store::fold(address), wanted).await?
            && let Ok(user) = verified.user(&signet, organization, address)
        {
            return Ok(user);
        }
        let wanted_print = wanted.fingerprint();
        let user = self.inquiry.user_of(organization, address, wanted_print).await?;
        demand(user.signet(), wanted)?;
        if wanted == Wanted::Current {
            self.keep_custody(address, &user).await?;
        }
        self.directory
            .remember(store::fold(address), user.signet(), wanted)
            .await?;
        Ok(user)
    }

    /// Compares a user's current signing key with the one that is pinned, follows the chain of custody if it is another one
    /// (`signet.md` §13), and pins it.
    async fn keep_custody(&mut self, address: &Mailbox, user: &VerifiedUser) -> Result<(), Error> {
        let directory = self.directory;
        let (store, now) = (&directory.store, directory.clock.now());
        let name = store::fold(address);
        let current = CustodyPin {
            signing_key: user.signing_key(),
            signet: user.crypto_fingerprint(),
        };
        let proven = match store.custody_pin(&name, now).await? {
            Some(pin) if pin.signing_key == current.signing_key => true,
            Some(pin) => self.leads_to(&pin, address, user).await?,
            // Seen before there were these pins.
            None => match store.key_set_pin(&name, now).await? {
                Some(seen) if seen.pin.signing_key != current.signing_key => {
                    user.succeeds(&seen.pin.signing_key)
                }
                _ => true,
            },
        };
        if !proven {
            tracing::error!(event = observe::SIGNET_CUSTODY_BROKEN, domain = %address.domain(),
                "the signing key of a user elsewhere has changed, and no chain of custody leads to the new one: mail waits \
                 (`dimed key set accept` takes it once the other side has been asked)");
            return Err(Error::CustodyBroken);
        }
        let until = now.after(CUSTODY_KEPT_FOR);
        Ok(store.pin_custody(&name, current, until, now).await?)
    }

    /// Whether the pinned key has signed the current one, at once or over the steps of a history that its host shows.
    async fn leads_to(
        &mut self,
        pin: &CustodyPin,
        address: &Mailbox,
        user: &VerifiedUser,
    ) -> Result<bool, Error> {
        if user.succeeds(&pin.signing_key) {
            return Ok(true);
        }
        match self.inquiry.history(address, Some(pin.signet.into())).await {
            Ok(history) => Ok(signet::follow(&pin.signing_key, &history, user).is_ok()),
            Err(Error::NotFound | Error::Invalid(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
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
