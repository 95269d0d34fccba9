//! Signets of ours: made, published, found again by any of their fingerprints, and verified every time.

mod key_sets;

use std::sync::Arc;

use super::Error;
use crate::base::secret::Secret;
use crate::base::time::Clock;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint};
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{
    Kind, Level, OrgBuilder, Signer, Signet, VerifiedOrg, VerifiedUser, request, rotation_request,
    verify_org, verify_request, verify_user,
};
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{NewKemKeys, Publication, Store, StoredSignet, fold, fold_name};
use key_sets::NewKeySet;
pub(super) use key_sets::seconds;
pub use key_sets::{Due, Offer, Times};

/// Publishes signets of our domains and users, and answers for them.
#[derive(Clone)]
pub struct Published {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    times: Times,
}

/// An organization of ours: its signet, verified, and its private keys.
#[derive(Debug, Clone)]
pub struct Organization {
    /// The signet.
    pub signet: VerifiedOrg,
    /// The private halves.
    pub keys: OrgKeys,
}

/// A user of ours: their signet, verified, and their private keys if the server keeps them.
#[derive(Debug, Clone)]
pub struct User {
    /// The signet.
    pub signet: VerifiedUser,
    /// The private halves; `None` unless the user is trustful.
    pub keys: Option<UserKeys>,
}

/// Whether a signet is the one to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Current,
    /// There is a newer one, with this fingerprint.
    Superseded(FullFingerprint),
}

impl Published {
    /// Signets and keys are kept in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let times = Times::default();
        Self { store, clock, times }
    }

    /// Replaces key sets at these times.
    pub fn with_times(mut self, times: Times) -> Self {
        self.times = times;
        self
    }

    /// Makes and publishes the signet of an organization over `keys`, which are kept. It has a key set: with keys, unless
    /// the signet before it says that there are none.
    pub async fn publish_organization(&self, domain: &Domain, keys: OrgKeys) -> Result<Organization, Error> {
        let before = self.store.current_signet(domain.as_str()).await?;
        let before = before.map(|stored| Signet::decode(&stored.object)).transpose()?;
        let offer = before.as_ref().map_or(Offer::Keys, Offer::after);
        let set = self.new_key_set(Kind::Organization, &keys.signing, offer)?;
        let mut builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[])?;
        set.enter(builder.profile_mut())?;
        let signet = builder.identifiable(domain)?;
        let verified = verify_org(&signet, &[keys.signing.verifying_key()], domain)?;
        let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
        let replaces = before.and_then(|before| before.full_fingerprint());
        self.publish(domain.to_string(), &signet, Some(armored), set.kept, replaces)
            .await?;
        Ok(Organization {
            signet: verified,
            keys,
        })
    }

    /// Makes and publishes the signet of a trustful user over `keys`, which are kept. It has a key set: with keys, unless
    /// the signet before it says that there are none.
    ///
    /// A user who has a signet gets its successor, under a chain of custody from the keys kept for the current one.
    /// Errors: [`Error::NoKeys`] if these are not kept here, [`Error::NoOrganization`].
    pub async fn publish_user(&self, address: &Mailbox, keys: UserKeys) -> Result<User, Error> {
        let (request, offer) = match self.user(address).await? {
            None => (request(&keys)?, Offer::Keys),
            Some(User { keys: None, .. }) => return Err(Error::NoKeys),
            Some(User {
                keys: Some(previous),
                signet,
            }) => (
                rotation_request(&keys, &previous.signing)?,
                Offer::after(signet.signet()),
            ),
        };
        let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
        let set = self.new_key_set(Kind::User, &keys.signing, offer)?;
        let signet = self.sign(address, &request, Some((armored, set))).await?;
        Ok(User {
            signet,
            keys: Some(keys),
        })
    }

    /// Signs the request of a user who keeps their own keys, and publishes the signet. A request cannot bring a key set;
    /// [`publish_key_set`](Self::publish_key_set) adds one that the user has signed.
    ///
    /// If the user has a signet, the request must carry a chain of custody from it.
    pub async fn publish_request(&self, address: &Mailbox, request: &Signet) -> Result<VerifiedUser, Error> {
        self.sign(address, request, None).await
    }

    /// The current signet and keys of an organization of ours.
    pub async fn organization(&self, domain: &Domain) -> Result<Option<Organization>, Error> {
        match self.store.current_signet(domain.as_str()).await? {
            Some(stored) => self.load_organization(domain, &stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// The signet of an organization of ours with that fingerprint, current or not, and its keys.
    pub async fn organization_by(
        &self,
        domain: &Domain,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<Organization>, Error> {
        let stored = self.store.signet_by_fingerprint(domain.as_str(), fingerprint);
        match stored.await? {
            Some(stored) => self.load_organization(domain, &stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// The current signet of a user of ours, and the keys if they are kept.
    pub async fn user(&self, address: &Mailbox) -> Result<Option<User>, Error> {
        match self.store.current_signet(&fold(address)).await? {
            Some(stored) => self.load_user(address, &stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// The signet of a user of ours with that fingerprint, current or not, and the keys if they are kept.
    pub async fn user_by(
        &self,
        address: &Mailbox,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<User>, Error> {
        match self
            .store
            .signet_by_fingerprint(&fold(address), fingerprint)
            .await?
        {
            Some(stored) => self.load_user(address, &stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// What `SGNT` answers: the binary signet of a domain or address of ours, up to its full signature. The current
    /// one, or exactly the one with that fingerprint, of any kind. Source: `dmtp.md` §6.7.
    ///
    /// The identifying part is left out, because libdime's library accepts no signet that has it.
    pub async fn signet(
        &self,
        name: &str,
        fingerprint: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let stored = match fingerprint {
            Some(wanted) => self.store.signet_by_fingerprint(&fold_name(name), wanted).await?,
            None => self.store.current_signet(&fold_name(name)).await?,
        };
        let Some(stored) = stored else { return Ok(None) };
        let split = Signet::decode(&stored.object)?.split(Level::Full);
        Ok(split.map(|signet| signet.encode()))
    }

    /// What `VRFY` answers: whether that signet of a domain or address of ours is the current one; `None` if it never
    /// was. Source: `dmtp.md` §6.8.
    pub async fn status(&self, name: &str, fingerprint: AnyFingerprint) -> Result<Option<Status>, Error> {
        let name = fold_name(name);
        let asked = self.store.signet_by_fingerprint(&name, fingerprint).await?;
        let current = self.store.current_signet(&name).await?;
        let (Some(asked), Some(current)) = (asked, current) else {
            return Ok(None);
        };
        Ok(Some(match asked.full == current.full {
            true => Status::Current,
            false => Status::Superseded(current.full),
        }))
    }

    async fn sign(
        &self,
        address: &Mailbox,
        request: &Signet,
        kept: Option<(Secret<Vec<u8>>, NewKeySet)>,
    ) -> Result<VerifiedUser, Error> {
        let address = &folded(address)?;
        if Name::parse(&address.to_string()).is_err() {
            return Err(Error::NoDmtpForm);
        }
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let predecessor = self.user(address).await?.map(|user| user.signet);
        let request = verify_request(request, predecessor.as_ref())?;
        let signer = Signer::new(&organization.signet, &organization.keys.signing)?;
        let mut builder = signer.sign(&request)?;
        if let Some((_, set)) = &kept {
            set.enter(builder.profile_mut())?;
        }
        let signet = builder.identifiable(address)?;
        let verified = verify_user(&signet, &organization.signet, predecessor.as_ref(), address)?;
        let (private_keys, kem_keys) = kept.map(|(keys, set)| (keys, set.kept)).unzip();
        self.publish(
            address.to_string(),
            &signet,
            private_keys,
            kem_keys.flatten(),
            predecessor.and_then(|signet| signet.full_fingerprint()),
        )
        .await?;
        Ok(verified)
    }

    /// `replaces` is what the signet was made from, `None` for the first one of its name.
    async fn publish(
        &self,
        name: String,
        signet: &Signet,
        private_keys: Option<Secret<Vec<u8>>>,
        kem_keys: Option<NewKemKeys>,
        replaces: Option<FullFingerprint>,
    ) -> Result<(), Error> {
        let (Some(crypto), Some(full), Some(id)) = (
            signet.crypto_fingerprint(),
            signet.full_fingerprint(),
            signet.id_fingerprint(),
        ) else {
            return Err(Error::Incomplete);
        };
        let stored = StoredSignet {
            name,
            crypto,
            full,
            id,
            object: signet.encode(),
            published_at: self.clock.now(),
        };
        let publication = Publication {
            signet: stored,
            private_keys,
            kem_keys,
            replaces: replaces.into(),
        };
        Ok(self.store.publish_signet(publication).await?)
    }

    async fn load_organization(&self, domain: &Domain, stored: &StoredSignet) -> Result<Organization, Error> {
        let armored = self.private_keys(&stored.name, stored.crypto).await?;
        let keys = OrgKeys::from_armor(text(&armored.ok_or(Error::NoKeys)?)?)?;
        let signet = Signet::decode(&stored.object)?;
        Ok(Organization {
            signet: verify_org(&signet, &[keys.signing.verifying_key()], domain)?,
            keys,
        })
    }

    async fn load_user(&self, address: &Mailbox, stored: &StoredSignet) -> Result<User, Error> {
        let address = &folded(address)?;
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let signet = Signet::decode(&stored.object)?;
        let keys = match self.private_keys(&stored.name, stored.crypto).await? {
            Some(armored) => Some(UserKeys::from_armor(text(&armored)?)?),
            None => None,
        };
        Ok(User {
            signet: verify_user(&signet, &organization.signet, None, address)?,
            keys,
        })
    }

    async fn private_keys(
        &self,
        name: &str,
        signet: CryptoFingerprint,
    ) -> Result<Option<Secret<Vec<u8>>>, Error> {
        Ok(self.store.private_keys(name, signet).await?)
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Published")
    }
}

/// The address as signets spell it.
fn folded(address: &Mailbox) -> Result<Mailbox, Error> {
    Mailbox::parse(&fold(address)).map_err(|_| Error::NoDmtpForm)
}

fn text(armored: &Secret<Vec<u8>>) -> Result<&str, Error> {
    std::str::from_utf8(armored.expose()).map_err(|_| Error::NoKeys)
}

#[cfg(test)]
mod tests;
