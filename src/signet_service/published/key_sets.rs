//! Key sets in signets of ours: made, replaced, and the private halves of all that still exist.

use std::time::Duration;

use super::{Error, Organization, Published, User, folded};
use crate::base::time::Timestamp;
use crate::crypto::ed25519::{SigningKey, VerifyingKey};
use crate::dime::key_set::{self, Draft, FIELD, KEPT_AFTER_EXPIRY, KemKeys, SignedKeySet, Time};
use crate::dime::signet::{
    Kind, OrgBuilder, Profile, Signer, Signet, UserBuilder, VerifiedUser, verify_org, verify_user,
};
use crate::mail::address::{Domain, Mailbox};
use crate::store::{KeySetAhead, NewKemKeys, StoredKemKeys, fold, fold_name};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long key sets are used and how long they live (`dmime2.md` §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Age at which one is replaced.
    pub renew_after: Duration,
    /// Time between `created` and `expires`.
    pub life: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            renew_after: 14 * DAY,
            life: 30 * DAY,
        }
    }
}

/// What a new key set is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// That these are the keys: new ones of every suite.
    Keys,
    /// That there are none, signed.
    OptOut,
}

impl Offer {
    /// What the key set after the one in `signet` says, if nobody asks for something else. A set that breaks a rule is
    /// replaced by one with keys.
    pub fn after(signet: &Signet) -> Self {
        match SignedKeySet::of(signet) {
            Ok(Some(set)) if set.is_opt_out() => Self::OptOut,
            _ => Self::Keys,
        }
    }
}

/// What came of key sets signed ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Whether one was due and has been published.
    pub published: bool,
    /// How many are due later.
    pub left: usize,
}

/// Errors: [`Older`](key_set::Error::Older) than the one that the signet has.
fn is_no_older(signet: &VerifiedUser, set: &SignedKeySet) -> Result<(), key_set::Error> {
    let present = SignedKeySet::of(signet.signet()).ok().flatten();
    match present.is_some_and(|present| set.created() < present.created()) {
        true => Err(key_set::Error::Older),
        false => Ok(()),
    }
}

/// A key set for a signet that is being made.
pub(super) struct NewKeySet {
    value: Vec<u8>,
    pub(super) kept: Option<NewKemKeys>,
}

impl NewKeySet {
    /// One whose owner has signed it and keeps the private halves.
    pub(super) fn of_user(value: &[u8]) -> Self {
        Self {
            value: value.to_vec(),
            kept: None,
        }
    }

    /// Puts it in the place of the one that the profile has.
    pub(super) fn enter(&self, profile: &mut Profile) -> Result<(), Error> {
        enter(profile, &self.value)
    }
}

fn enter(profile: &mut Profile, value: &[u8]) -> Result<(), Error> {
    profile.remove_undefined(FIELD);
    Ok(profile.add_undefined(FIELD, value)?)
}

impl Published {
    /// Gives the signet of an organization of ours another key set; nothing else in it changes.
    ///
    /// Errors: [`Error::NoOrganization`], and [`Changed`](crate::store::Error::Changed) if somebody else has just
    /// published.
    pub async fn renew_organization(&self, domain: &Domain, offer: Offer) -> Result<Organization, Error> {
        let organization = self.organization(domain).await?.ok_or(Error::NoOrganization)?;
        let signing = &organization.keys.signing;
        let set = self.new_key_set(Kind::Organization, signing, offer)?;
        let mut builder = OrgBuilder::edit(&organization.signet, signing)?;
        set.enter(builder.profile_mut())?;
        let signet = builder.identifiable(domain)?;
        let verified = verify_org(&signet, &[signing.verifying_key()], domain)?;
        let replaces = organization.signet.full_fingerprint();
        self.publish(domain.to_string(), &signet, None, set.kept, replaces)
            .await?;
        Ok(Organization {
            signet: verified,
            keys: organization.keys,
        })
    }

    /// Gives the signet of a trustful user another key set; nothing else in it changes.
    ///
    /// Errors: [`Error::NoSignet`], [`Error::NoKeys`] if the user's keys are elsewhere, and as for an organization.
    pub async fn renew_user(&self, address: &Mailbox, offer: Offer) -> Result<User, Error> {
        let user = self.user(address).await?.ok_or(Error::NoSignet)?;
        let keys = user.keys.ok_or(Error::NoKeys)?;
        let set = self.new_key_set(Kind::User, &keys.signing, offer)?;
        let signet = self
            .republish(address, &user.signet, &set.value, set.kept)
            .await?;
        Ok(User {
            signet,
            keys: Some(keys),
        })
    }

    /// Publishes a key set that a user whose keys are elsewhere has signed.
    ///
    /// Errors: [`Error::NoSignet`], [`Error::KeySet`] if it may not be used now or another one has come after it.
    pub async fn publish_key_set(&self, address: &Mailbox, value: &[u8]) -> Result<VerifiedUser, Error> {
        let user = self.user(address).await?.ok_or(Error::NoSignet)?;
        if user.signet.signet().undefined_field(FIELD) == Some(value) {
            // Published already, by a try whose answer was lost, or with the request.
            return Ok(user.signet);
        }
        let set = SignedKeySet::decode(Kind::User, &user.signet.signing_key(), value)?;
        set.accept(seconds(self.clock.now()))?;
        is_no_older(&user.signet, &set)?;
        self.republish(address, &user.signet, value, None).await
    }

    /// Takes key sets that a user whose keys are elsewhere has signed, in the place of those that wait, and publishes what
    /// is due. All of them must be the user's own, with keys that may be used (rules N2, N3, N6), and not expired; two must
    /// not be due at the same time ([`Exists`](crate::store::Error::Exists)).
    ///
    /// Errors: [`Error::NoSignet`], [`Error::KeptHere`], [`Error::KeySet`]; nothing is changed then.
    pub async fn keep_key_sets(&self, address: &Mailbox, values: &[&[u8]]) -> Result<Due, Error> {
        let user = self.user(address).await?.ok_or(Error::NoSignet)?;
        if user.keys.is_some() {
            return Err(Error::KeptHere);
        }
        let (owner, now) = (user.signet.signing_key(), seconds(self.clock.now()));
        let ahead: Result<Vec<KeySetAhead>, key_set::Error> =
            values.iter().map(|value| set_ahead(value, &owner, now)).collect();
        let ahead = ahead?;
        let due = ahead.iter().filter(|set| set.publish_at <= self.clock.now());
        if let Some(newest) = due.max_by_key(|set| set.publish_at) {
            is_no_older(
                &user.signet,
                &SignedKeySet::decode(Kind::User, &owner, &newest.value)?,
            )?;
        }
        self.store.keep_key_sets_ahead(&fold(address), ahead).await?;
        self.publish_due(address).await
    }

    /// Publishes, for a user whose keys are elsewhere, the newest key set of those signed ahead that is due and can be
    /// used; what is due with it is passed over.
    ///
    /// Errors: [`Error::KeySet`] if some are due and none can be used. They are dropped.
    pub async fn publish_due(&self, address: &Mailbox) -> Result<Due, Error> {
        let name = fold(address);
        let now = self.clock.now();
        let sets = self.store.key_sets_ahead(&name).await?;
        let (due, later): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| set.publish_at <= now);
        let mut published = Ok(false);
        for set in due.iter().rev() {
            match self.publish_key_set(address, &set.value).await {
                Ok(_) => published = Ok(true),
                // The newest one's fault is told.
                Err(Error::KeySet(error)) => {
                    published = published.and(Err(error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            break;
        }
        if !due.is_empty() {
            self.store.drop_key_sets_ahead(&name, due).await?;
        }
        Ok(Due {
            published: published?,
            left: later.len(),
        })
    }

    /// Forgets the key sets signed ahead if `owner` did not sign them.
    pub(super) async fn drop_foreign_key_sets(
        &self,
        address: &Mailbox,
        owner: &VerifyingKey,
    ) -> Result<(), Error> {
        let name = fold(address);
        let sets = self.store.key_sets_ahead(&name).await?;
        let is_own = |set: &KeySetAhead| SignedKeySet::decode(Kind::User, owner, &set.value).is_ok();
        match sets.is_empty() || sets.iter().any(is_own) {
            true => Ok(()),
            false => Ok(self.store.drop_key_sets_ahead(&name, sets).await?),
        }
    }

    /// The private KEM keys of a domain or address of ours that still exist, by signet, the newest first: with these its
    /// mail may be opened.
    pub async fn candidates(&self, name: &str) -> Result<Vec<StoredKemKeys>, Error> {
        Ok(self.store.kem_keys(&fold_name(name)).await?)
    }

    /// The key set and, for one with keys, the private halves, from now on.
    pub(super) fn new_key_set(
        &self,
        kind: Kind,
        owner: &SigningKey,
        offer: Offer,
    ) -> Result<NewKeySet, Error> {
        let created_at = self.clock.now();
        let expires_at = created_at.after(self.times.life);
        let keys = match offer {
            Offer::Keys => KemKeys::generate(&mut rand::rng()),
            Offer::OptOut => KemKeys::default(),
        };
        let draft = Draft {
            created: seconds(created_at),
            expires: seconds(expires_at),
            keys: keys.public_keys(),
        };
        let kept = (!keys.is_empty()).then(|| NewKemKeys {
            keys,
            created_at,
            expires_at,
            destroy_at: expires_at.after(KEPT_AFTER_EXPIRY),
        });
        Ok(NewKeySet {
            value: draft.sign(kind, owner)?,
            kept,
        })
    }

    async fn republish(
        &self,
        address: &Mailbox,
        user: &VerifiedUser,
        value: &[u8],
        kept: Option<NewKemKeys>,
    ) -> Result<VerifiedUser, Error> {
        let address = &folded(address)?;
        let organization = self.organization(address.domain()).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let signer = Signer::new(&organization.signet, &organization.keys.signing)?;
        let mut builder: UserBuilder<'_> = signer.edit(user)?;
        enter(builder.profile_mut(), value)?;
        let signet = builder.identifiable(address)?;
        let verified = verify_user(&signet, &organization.signet, None, address)?;
        let replaces = user.full_fingerprint();
        self.publish(fold(address), &signet, None, kept, replaces).await?;
        Ok(verified)
    }
}

fn set_ahead(value: &[u8], owner: &VerifyingKey, now: u64) -> Result<KeySetAhead, key_set::Error> {
    let set = SignedKeySet::decode(Kind::User, owner, value)?;
    set.accept(set.created())?;
    if now >= set.expires() {
        return Err(key_set::Error::Time(Time::Expired));
    }
    Ok(KeySetAhead {
        publish_at: Timestamp(0).after(Duration::from_secs(set.created())),
        value: value.to_vec(),
    })
}

/// Unix seconds, as key sets have them.
pub(crate) fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.unix_secs()).unwrap_or(0)
}
