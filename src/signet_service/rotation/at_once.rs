//! Keys that are replaced at once, because they are lost or somebody else may have them.
//!
//! Of a user whose keys are kept here: the new signet is published in one step anyhow, under a chain of custody, and the old keys only
//! open what is under way. At once means that a change that is under way is no reason to wait, and that what it had prepared is not used.
//! Where the keys are lost nothing can vouch for new ones: the signet is revoked, and the user begins anew.
//!
//! Of a domain, the steps of a change of keys spare everybody who knows the old key; this spares nobody. The old key vouches for nothing any more:
//! here from now on, elsewhere once others have the record with the new one. Users keep their keys, for which the new key
//! vouches. Those whose keys were kept here and are gone get new ones: a new start, which others accept by hand.
//!
//! It can be cut off anywhere, and goes on when it is asked for again. First the change is noted as one whose new key alone is to stand
//! in the record, then the signet is published, then users' are. As long as the change is noted, users for whom an earlier key of
//! the domain vouches, and the present one does not, show that the last step has not come to its end.

use super::{PAGE, Progress, Rotation, tell};
use crate::base::secret::Secret;
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::VerifiedOrg;
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::signet_service::{Error, Organization};
use crate::store::{self, Rollover, RolloverState, TrustMode, fold};

/// What became of users' signets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakenAlong {
    /// They have the keys that they had.
    pub kept: u64,
    /// Their keys were kept here and are gone, and they have new ones.
    pub renewed: u64,
}

impl Rotation {
    /// Has a domain sign with new keys at once, whether or not the present ones are there. A change of keys that is under
    /// way ends with it; what that had prepared is not used. If an earlier call was cut off, this one ends it, and makes no other keys.
    ///
    /// Errors: [`Error::NoOrganization`], [`Error::Retiring`], [`Changed`](store::Error::Changed) if somebody else changes keys
    /// meanwhile.
    pub async fn replace_at_once(&self, domain: &Domain) -> Result<TakenAlong, Error> {
        if self.store.retirement(domain).await?.is_some() {
            return Err(Error::Retiring);
        }
        let (present, past) = self.organizations(domain).await?;
        match self.noted(&present).await? {
            Some(rollover) => self.put_to_use(domain, &rollover).await?,
            None if self.is_in_use(domain).await? && self.has_left_behind(&present, &past).await? => {}
            None => {
                let rollover = self.note(&present).await?;
                self.put_to_use(domain, &rollover).await?;
            }
        }
        self.take_along(domain).await
    }

    /// Has a user whose keys are kept here use new ones at once, for which the present ones vouch. A change of keys that is under way
    /// ends with it. If an earlier call was cut off, the daemon ends that, or this one does with other keys.
    ///
    /// Errors: [`Error::NoSignet`], [`Error::NoKeys`] if the present ones are lost or elsewhere, [`Error::Retiring`],
    /// [`Changed`](store::Error::Changed) if somebody else changes them meanwhile.
    pub async fn replace_user_at_once(&self, address: &Mailbox) -> Result<Progress, Error> {
        if self.store.retirement(address.domain()).await?.is_some() {
            return Err(Error::Retiring);
        }
        let user = self.published.user(address).await?.ok_or(Error::NoSignet)?;
        user.keys.ok_or(Error::NoKeys)?;
        let name = Name::User(address.clone());
        self.put_aside(&name).await?;
        self.begin(&name).await?;
        self.advance(&name).await
    }

    /// The domain's present signet, and those with other keys that it had before. No private keys are needed.
    async fn organizations(&self, domain: &Domain) -> Result<(VerifiedOrg, Vec<VerifiedOrg>), Error> {
        let current = self.store.current_signet(domain.as_str()).await?;
        let current = current.ok_or(Error::NoOrganization)?.crypto;
        let all = self.published.past_organizations(domain).await?;
        let is_present = |one: &VerifiedOrg| one.crypto_fingerprint() == current;
        let (present, past): (Vec<_>, Vec<_>) = all.into_iter().partition(is_present);
        let present = present.into_iter().next().ok_or(Error::NoOrganization)?;
        Ok((present, past))
    }

    /// A change that was noted and then cut off.
    async fn noted(&self, present: &VerifiedOrg) -> Result<Option<Rollover>, Error> {
        let rollover = self.store.rollover(present.domain().as_str()).await?;
        Ok(rollover.filter(|rollover| {
            rollover.state == RolloverState::Retired && rollover.replaces == present.crypto_fingerprint()
        }))
    }

    /// Whether the new keys of a change that was noted are in use already, where [`noted`](Self::noted) finds none. Without that
    /// the present keys are those that are to be replaced, whoever was left behind by others.
    async fn is_in_use(&self, domain: &Domain) -> Result<bool, Error> {
        let rollover = self.store.rollover(domain.as_str()).await?;
        Ok(rollover.is_some_and(|rollover| rollover.state == RolloverState::Retired))
    }

    /// Makes new keys, and notes that they alone are to stand in the record.
    async fn note(&self, present: &VerifiedOrg) -> Result<Rollover, Error> {
        let domain = present.domain();
        self.put_aside(&Name::Organization(domain.clone())).await?;
        let keys = OrgKeys::generate(&mut rand::rng()).to_armor();
        let keys = Secret::new(keys.expose().clone().into_bytes());
        let (name, replaces) = (domain.as_str(), present.crypto_fingerprint());
        let begun = self.store.begin_rollover(name, replaces, keys, self.clock.now());
        match begun.await {
            Err(store::Error::Exists) => return Err(store::Error::Changed.into()),
            begun => begun?,
        }
        let rollover = self.store.rollover(name).await?.ok_or(store::Error::Changed)?;
        self.enter(&rollover, RolloverState::Retired, None).await?;
        let noted = self.noted(present).await?;
        Ok(noted.ok_or(store::Error::Changed)?)
    }

    /// Forgets a change of keys that is under way: whoever has the keys of now may have the next ones, too.
    async fn put_aside(&self, name: &Name) -> Result<(), Error> {
        let text = name.to_string();
        let Some(rollover) = self.store.rollover(&text).await? else {
            return Ok(());
        };
        let is_in_use = rollover.state >= RolloverState::Active;
        let cancelled = match is_in_use {
            true => Err(Error::NewKeysInUse),
            false => self.cancel(name).await,
        };
        match cancelled {
            // What is left in the log goes with the next erasing.
            Ok(_) | Err(Error::Store(store::Error::LogInUse)) => Ok(()),
            Err(Error::NewKeysInUse) => Ok(self.store.end_rollover(&text, rollover.state).await?),
            Err(error) => Err(error),
        }
    }

    async fn put_to_use(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        let keys = OrgKeys::from_armor(&self.new_keys(rollover).await?)?;
        let published = self.published.during(rollover);
        published.publish_organization(domain, keys).await?;
        tell(&Name::Organization(domain.clone()), "at_once");
        Ok(())
    }

    async fn has_left_behind(&self, present: &VerifiedOrg, past: &[VerifiedOrg]) -> Result<bool, Error> {
        let mut after: Option<String> = None;
        loop {
            let names = self.store.signet_names(after.as_deref(), PAGE).await?;
            for address in users_of(present.domain(), &names) {
                if self
                    .published
                    .left_behind(&address, present, past)
                    .await?
                    .is_some()
                {
                    return Ok(true);
                }
            }
            match names.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(false),
            }
        }
    }

    async fn take_along(&self, domain: &Domain) -> Result<TakenAlong, Error> {
        let organization = self.published.organization(domain).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        let (_, past) = self.organizations(domain).await?;
        let mut taken = TakenAlong::default();
        let mut after: Option<String> = None;
        loop {
            let names = self.store.signet_names(after.as_deref(), PAGE).await?;
            for address in users_of(domain, &names) {
                self.take_user_along(&address, &organization, &past, &mut taken)
                    .await?;
            }
            match names.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(taken),
            }
        }
    }

    async fn take_user_along(
        &self,
        address: &Mailbox,
        organization: &Organization,
        past: &[VerifiedOrg],
        taken: &mut TakenAlong,
    ) -> Result<(), Error> {
        let left = self
            .published
            .left_behind(address, &organization.signet, past)
            .await?;
        let Some(user) = left else { return Ok(()) };
        let account = self.store.account(address).await?;
        let are_ours = account.is_some_and(|account| account.trust_mode == TrustMode::Trustful);
        let name = fold(address);
        let keys = self.store.private_keys(&name, user.crypto_fingerprint());
        match are_ours && keys.await?.is_none() {
            true => {
                let keys = UserKeys::generate(&mut rand::rng());
                self.published.publish_new_start(address, keys, &user).await?;
                taken.renewed += 1;
            }
            false => {
                self.published.vouch_for(address, organization, &user).await?;
                taken.kept += 1;
            }
        }
        Ok(())
    }
}

fn users_of<'a>(domain: &'a Domain, names: &'a [String]) -> impl Iterator<Item = Mailbox> + 'a {
    let users = names.iter().filter_map(|name| name.parse::<Mailbox>().ok());
    users.filter(move |address| address.domain() == domain)
}
