//! Signets of ours: made, published, found again by any of their fingerprints, and verified every time.

mod key_sets;
mod life_cycle;
mod loaded;
mod new_start;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::verified::{Verified, question};
use crate::base::secret::Secret;
use crate::base::time::Clock;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint};
use crate::dime::key_set::{KEPT_AFTER_EXPIRY, SignedKeySet};
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{
    self, Kind, Level, MAX_HISTORY, OrgBuilder, Permissions, Profile, SecondaryKey, Signer, Signet,
    VerifiedOrg, VerifiedUser, request, rotation_request, verify_org, verify_request, verify_user,
};
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::store::{
    self, NewKemKeys, Publication, RangeBound, Rollover, SignetStanding, Store, StoredSignet, fold,
};
use key_sets::NewKeySet;
pub(super) use key_sets::seconds;
pub use key_sets::{Due, Offer, Times};
pub use life_cycle::RecordPlan;
use loaded::Loaded;

/// How long private keys are kept after other ones have taken their place: longer than anything sealed for them may be
/// under way (`dmime2.md` §3.2, §11).
pub const OLD_KEYS_KEPT: Duration = KEPT_AFTER_EXPIRY;

/// What one answer to HIST may hold.
const MOST_OF_A_HISTORY: RangeBound = RangeBound {
    signets: MAX_HISTORY as u32,
    octets: 4 << 20,
};

/// Publishes signets of our domains and users, and answers for them.
#[derive(Clone)]
pub struct Published {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    times: Times,
    pub(super) verified: Arc<Verified>,
    loaded: Arc<Loaded>,
    during: Option<Rollover>,
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
        Self {
            store,
            clock,
            times: Times::default(),
            verified: Arc::default(),
            loaded: Arc::default(),
            during: None,
        }
    }

    /// Publishes only as long as that change of keys is in that state; else [`Changed`](crate::store::Error::Changed).
    pub(super) fn during(&self, rollover: &Rollover) -> Self {
        Self {
            during: Some(rollover.clone()),
            ..self.clone()
        }
    }

    /// Replaces key sets at these times.
    pub fn with_times(mut self, times: Times) -> Self {
        self.times = times;
        self
    }

    /// Makes and publishes the signet of an organization over `keys`, which are kept. It has a key set: with keys, unless
    /// the signet before it says that there are none.
    pub async fn publish_organization(&self, domain: &Domain, keys: OrgKeys) -> Result<Organization, Error> {
        self.publish_organization_beside(domain, keys, None).await
    }

    /// The same; signets of users that the key `retiring` has signed stay valid.
    pub(super) async fn publish_organization_beside(
        &self,
        domain: &Domain,
        keys: OrgKeys,
        retiring: Option<VerifyingKey>,
    ) -> Result<Organization, Error> {
        let before = self.store.current_signet(domain.as_str()).await?;
        let replaces = before.as_ref().map(|stored| stored.full);
        let before = before.map(|stored| Signet::decode(&stored.object)).transpose()?;
        let own = keys.signing.verifying_key();
        let is_there = |before: &Signet| before.signing_key().is_ok_and(|key| key == own);
        if retiring.is_some() && before.as_ref().is_some_and(is_there) {
            // Somebody else has just put them to use.
            return self.organization(domain).await?.ok_or(Error::NoOrganization);
        }
        let offer = before.as_ref().map_or(Offer::Keys, Offer::after);
        let set = self.new_key_set(Kind::Organization, &keys.signing, offer)?;
        let secondary = retiring.map(|key| SecondaryKey {
            permissions: Permissions::SIGNETS,
            key,
        });
        let secondary = Vec::from_iter(secondary);
        let mut builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &secondary)?;
        if let Some(before) = &before {
            *builder.profile_mut() = Profile::of(before);
        }
        set.enter(builder.profile_mut())?;
        let signet = builder.identifiable(domain)?;
        let verified = verify_org(&signet, &[keys.signing.verifying_key()], domain)?;
        let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
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
    /// A user who has a signet gets its successor, under a chain of custody from the keys kept for the current one; one over
    /// the same keys is left as it is, for whoever is cut off, or not alone, tries again. Errors: [`Error::NoKeys`] if these are not kept here, [`Error::NoOrganization`].
    pub async fn publish_user(&self, address: &Mailbox, keys: UserKeys) -> Result<User, Error> {
        let (request, offer, before) = match self.user(address).await? {
            None => (request(&keys)?, Offer::Keys, None),
            Some(User { keys: None, .. }) => return Err(Error::NoKeys),
            Some(user) if user.signet.signing_key() == keys.signing.verifying_key() => return Ok(user),
            Some(User {
                keys: Some(previous),
                signet,
            }) => (
                rotation_request(&keys, &previous.signing)?,
                Offer::after(signet.signet()),
                Some(signet),
            ),
        };
        let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
        let set = self.new_key_set(Kind::User, &keys.signing, offer)?;
        let signet = self
            .sign(address, &request, before, Some(armored), Some(set))
            .await?;
        Ok(User {
            signet,
            keys: Some(keys),
        })
    }

    /// Signs the request of a user who keeps their own keys, and publishes the signet, without a key set;
    /// [`publish_key_set`](Self::publish_key_set) adds one that the user has signed.
    ///
    /// If the user has a signet, the request must carry a chain of custody from it.
    pub async fn publish_request(&self, address: &Mailbox, request: &Signet) -> Result<VerifiedUser, Error> {
        let before = self.user(address).await?.map(|user| user.signet);
        self.sign(address, request, before, None, None).await
    }

    /// The same with a key set that the key in the request has signed.
    pub async fn publish_request_with(
        &self,
        address: &Mailbox,
        request: &Signet,
        key_set: &[u8],
    ) -> Result<VerifiedUser, Error> {
        let set = SignedKeySet::decode(Kind::User, &request.signing_key()?, key_set)?;
        set.accept(seconds(self.clock.now()))?;
        let set = NewKeySet::of_user(key_set);
        let before = self.user(address).await?.map(|user| user.signet);
        self.sign(address, request, before, None, Some(set)).await
    }

    /// The current signet and keys of an organization of ours.
    pub async fn organization(&self, domain: &Domain) -> Result<Option<Organization>, Error> {
        match self.store.current_signet(domain.as_str()).await? {
            Some(stored) => self.load_organization(domain, &stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// The signet of an organization of ours with that fingerprint, current or not, and its keys; `None` also if these
    /// are erased.
    pub async fn organization_by(
        &self,
        domain: &Domain,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<Organization>, Error> {
        let stored = self.store.signet_by_fingerprint(domain.as_str(), fingerprint);
        let Some(stored) = stored.await? else {
            return Ok(None);
        };
        match self.load_organization(domain, &stored).await {
            Ok(organization) => Ok(Some(organization)),
            // Its private keys are erased: nothing under way can need it any more.
            Err(Error::NoKeys) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The current signet of a user of ours, and the keys if they are kept.
    pub async fn user(&self, address: &Mailbox) -> Result<Option<User>, Error> {
        let found = self.user_and_organization(address).await?;
        Ok(found.map(|(user, _)| user))
    }

    /// Whether the private keys of a user's current signet are kept here.
    pub async fn keeps_keys(&self, address: &Mailbox) -> Result<bool, Error> {
        match self.store.current_signet(&fold(address)).await? {
            Some(stored) => Ok(self.private_keys(&stored.name, stored.crypto).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The current signet of a user of ours, the keys if they are kept, and the user's organization, which vouches for the signet.
    pub async fn user_and_organization(
        &self,
        address: &Mailbox,
    ) -> Result<Option<(User, Organization)>, Error> {
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
        let name = fold(address);
        let stored = self.store.signet_by_fingerprint(&name, fingerprint);
        let Some(stored) = stored.await? else {
            return Ok(None);
        };
        match self.load_user(address, &stored).await {
            Ok((user, _)) => Ok(Some(user)),
            // The keys of the organization that vouched for it have been replaced, and are not accepted any more.
            Err(Error::Signet(signet::Error::BadSignature(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same without the keys.
    pub async fn user_signet_by(
        &self,
        address: &Mailbox,
        fingerprint: AnyFingerprint,
    ) -> Result<Option<VerifiedUser>, Error> {
        let name = fold(address);
        let stored = self.store.signet_by_fingerprint(&name, fingerprint);
        let Some(stored) = stored.await? else {
            return Ok(None);
        };
        let address = &folded(address)?;
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?.signet;
        match self.verified.user(&stored.object, &organization, address) {
            Ok(signet) => Ok(Some(signet)),
            Err(signet::Error::BadSignature(_)) => Ok(None),
            Err(error) => Err(error.into()),
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
        match self.store.served_signet(name, fingerprint).await? {
            Some(object) => served(&object),
            None => Ok(None),
        }
    }

    /// What `VRFY` answers: whether that signet of a domain or address of ours is the current one; `None` if it never
    /// was. Source: `dmtp.md` §6.8.
    pub async fn status(&self, name: &str, fingerprint: AnyFingerprint) -> Result<Option<Status>, Error> {
        let standing = self.store.signet_standing(name, fingerprint).await?;
        Ok(
            standing.map(|SignetStanding { asked, current }| match asked == current {
                true => Status::Current,
                false => Status::Superseded(current),
            }),
        )
    }

    /// What `HIST` answers: the signets of a user of ours from `start` to `stop`, both included, oldest first; without
    /// `stop`, to the newest. `None` if there is no such history. Source: `dmtp.md` §6.9.
    ///
    /// Errors: [`Error::TooLong`] for a history that is longer than one answer may be.
    pub async fn history(
        &self,
        address: &Mailbox,
        start: Option<AnyFingerprint>,
        stop: Option<AnyFingerprint>,
    ) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let name = fold(address);
        let range = self.store.signet_range(&name, start, stop, MOST_OF_A_HISTORY);
        let objects = match range.await {
            Err(store::Error::TooLong) => return Err(Error::TooLong),
            range => range?,
        };
        let served = objects.iter().flatten().map(|object| served(object));
        let signets = served.collect::<Result<Option<Vec<_>>, _>>()?;
        Ok(signets.filter(|signets| !signets.is_empty()))
    }

    /// Signets with every set of keys that an organization of ours ever had, oldest first. Of some the private keys are erased.
    ///
    /// Of those that differ in the key set alone there is one, so that the work grows with changes of keys only.
    pub async fn past_organizations(&self, domain: &Domain) -> Result<Vec<VerifiedOrg>, Error> {
        let mut history = self.store.signet_history(domain.as_str()).await?;
        let mut seen = HashSet::new();
        history.retain(|past| seen.insert(past.signet.crypto));
        let past = history.iter().map(|past| {
            let signet = Signet::decode(&past.signet.object)?;
            let own = signet.signing_key()?;
            Ok(verify_org(&signet, &[own], domain)?)
        });
        past.collect()
    }

    /// `predecessor` is the signet from which the request carries a chain of custody, if it does.
    async fn sign(
        &self,
        address: &Mailbox,
        request: &Signet,
        predecessor: Option<VerifiedUser>,
        private_keys: Option<Secret<Vec<u8>>>,
        key_set: Option<NewKeySet>,
    ) -> Result<VerifiedUser, Error> {
        let replaces = predecessor.as_ref().and_then(VerifiedUser::full_fingerprint);
        self.sign_after((predecessor, replaces), address, request, private_keys, key_set)
            .await
    }

    /// The same; the signet that it takes the place of is named beside the predecessor, which a new start does not have.
    async fn sign_after(
        &self,
        (predecessor, replaces): (Option<VerifiedUser>, Option<FullFingerprint>),
        address: &Mailbox,
        request: &Signet,
        private_keys: Option<Secret<Vec<u8>>>,
        key_set: Option<NewKeySet>,
    ) -> Result<VerifiedUser, Error> {
        let address = &folded(address)?;
        if Name::parse(&address.to_string()).is_err() {
            return Err(Error::NoDmtpForm);
        }
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let request = verify_request(request, predecessor.as_ref())?;
        self.refuse_revoked(address, request.signing_key()).await?;
        let signer = Signer::new(&organization.signet, &organization.keys.signing)?;
        let mut builder = signer.sign(&request)?;
        if let Some(set) = &key_set {
            set.enter(builder.profile_mut())?;
        }
        let signet = builder.identifiable(address)?;
        let verified = verify_user(&signet, &organization.signet, predecessor.as_ref(), address)?;
        let kem_keys = key_set.and_then(|set| set.kept);
        self.publish(address.to_string(), &signet, private_keys, kem_keys, replaces)
            .await?;
        // What another key signed ahead can be used no more, and must not count as a supply.
        self.drop_foreign_key_sets(address, &verified.signing_key())
            .await?;
        Ok(verified)
    }

    /// A key that was taken out of service stays there. Errors: [`Error::Revoked`].
    async fn refuse_revoked(&self, address: &Mailbox, key: VerifyingKey) -> Result<(), Error> {
        for past in self.store.signet_history(&fold(address)).await? {
            if past.revoked_at.is_some() && Signet::decode(&past.signet.object)?.signing_key()? == key {
                return Err(Error::Revoked);
            }
        }
        Ok(())
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
            erase_older_at: Some(self.clock.now().after(OLD_KEYS_KEPT)),
            during: self.during.clone(),
        };
        Ok(self.store.publish_signet(publication).await?)
    }

    /// Forgets what private keys are in memory: some may have been erased, by this process or another.
    pub(super) fn forget_keys(&self) {
        self.loaded.forget();
    }

    /// Whether those of that organization are.
    #[cfg(test)]
    pub(super) async fn has_keys_in_memory(&self, domain: &Domain) -> bool {
        let stored = self.store.current_signet(domain.as_str()).await;
        let Ok(Some(stored)) = stored else { return false };
        let armored = self.private_keys(&stored.name, stored.crypto).await;
        let Ok(Some(armored)) = armored else { return false };
        let parts = [domain.as_str().as_bytes(), &stored.object, armored.expose()];
        self.loaded.get(question(&parts), || Err(())).is_ok()
    }

    async fn load_organization(&self, domain: &Domain, stored: &StoredSignet) -> Result<Organization, Error> {
        let armored = self.private_keys(&stored.name, stored.crypto).await?;
        let armored = armored.ok_or(Error::NoKeys)?;
        let parts = [domain.as_str().as_bytes(), &stored.object, armored.expose()];
        self.loaded.get(question(&parts), || {
            let keys = OrgKeys::from_armor(text(&armored)?)?;
            Ok(Organization {
                signet: self.verified.organization(
                    &stored.object,
                    &[keys.signing.verifying_key()],
                    domain,
                )?,
                keys,
            })
        })
    }

    async fn load_user(
        &self,
        address: &Mailbox,
        stored: &StoredSignet,
    ) -> Result<(User, Organization), Error> {
        let address = &folded(address)?;
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let keys = match self.private_keys(&stored.name, stored.crypto).await? {
            Some(armored) => Some(UserKeys::from_armor(text(&armored)?)?),
            None => None,
        };
        let user = User {
            signet: self
                .verified
                .user(&stored.object, &organization.signet, address)?,
            keys,
        };
        Ok((user, organization))
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

/// A signet in the form in which libdime's library accepts it: up to its full signature (`signet.md` §8.7).
fn served(object: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let split = Signet::decode(object)?.split(Level::Full);
    Ok(split.map(|signet| signet.encode()))
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
