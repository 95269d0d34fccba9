//! Keys of ours are replaced in steps that can be interrupted anywhere and repeated (DESIGN.md §6).
//!
//! | State | An organization's next step | A user's next step |
//! |---|---|---|
//! | generated | once DNS has the record with both primary keys: published | the new signet, under a chain of custody, is published: active |
//! | published | once nobody can have the record before it any more: seen | – |
//! | seen | the new signet is published, in which the old primary key may still sign users' signets; then the new one signs them all: active | – |
//! | active | after 16 days: the old key is taken out of the signet, and the old private keys are erased: retired. In a zone that nothing is proven of it takes as long as others may remember the record | after 16 days: done |
//! | retired | once DNS has the record without the old key: done | – |
//!
//! Every step looks at what is there before it does anything, so that one that was cut off is finished by the next try.
//! The old private keys open what is under way until they are erased.
//!
//! A change can be called off until a signet with the new keys is published, whatever the state says: in `generated` and
//! `published`, and in `seen` as long as the organization's signet is the old one. Nobody relies on the new keys before
//! that: a record with both primary keys vouches for the signet of either, and stays good while it is replaced.
//!
//! Without these steps: [`at_once`].

mod at_once;

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::published::{OLD_KEYS_KEPT, Published};
use crate::base::observe;
use crate::base::secret::Secret;
use crate::base::time::{Clock, Timestamp};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::record::{self, owner_name};
use crate::dime::signet::Signet;
use crate::dmtp::name::Name;
use crate::domains::Limits;
use crate::mail::address::{Domain, Mailbox};
use crate::net::dns::{Lookup, Proof, Resolver};
use crate::store::{self, Rollover, RolloverState, Store};

pub use at_once::TakenAlong;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Names looked at in one query.
const PAGE: u32 = 100;

/// How long secondary name servers, and caches that keep records a little longer, are given beyond the record's TTL.
const GRACE: Duration = DAY;

/// The least TTL that is reckoned with, because a cache may have told us less than the zone says.
const LEAST_TTL: Duration = Duration::from_secs(3600);

/// The longest TTL of a record that is waited out when keys change; nobody relies on a greater one
/// (`management-record.md` §7.2).
pub const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Steps taken in one go, at most: more than there are.
const MAX_STEPS: usize = 8;

/// Replaces keys.
#[derive(Clone)]
pub struct Rotation {
    /// Where everything is.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Our signets.
    pub published: Arc<Published>,
    /// Shows what is in DNS.
    pub resolver: Arc<dyn Resolver>,
}

/// A management record of ours as DNS has it.
struct InDns {
    keys: Vec<VerifyingKey>,
    /// From a cache it is what is left of it.
    ttl: Duration,
    proof: Proof,
}

/// How a change of keys stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// There is none under way.
    None,
    /// It is in that state.
    UnderWay(Rollover),
    /// It has just come to its end.
    Done,
}

impl Rotation {
    /// Makes new keys, unless a change is under way; then takes every step that can be taken now.
    ///
    /// Errors: [`Error::NoOrganization`], [`Error::NoSignet`], [`Error::NoKeys`] for a user whose keys are elsewhere,
    /// [`Error::Retiring`].
    pub async fn rotate(&self, name: &Name) -> Result<Progress, Error> {
        if self.store.rollover(&name.to_string()).await?.is_none() {
            self.begin(name).await?;
        }
        self.advance(name).await
    }

    /// Takes every step that can be taken now.
    pub async fn advance(&self, name: &Name) -> Result<Progress, Error> {
        let mut before = self.store.rollover(&name.to_string()).await?;
        for _ in 0..MAX_STEPS {
            let Some(rollover) = before else {
                return Ok(Progress::None);
            };
            let step = match name {
                Name::Organization(domain) => self.organization_step(domain, &rollover).await,
                Name::User(address) => self.user_step(address, &rollover).await,
            };
            let is_ours = match step {
                Ok(()) => true,
                // Somebody else was faster, the daemon or another command: what counts is how it stands now.
                Err(Error::Store(store::Error::Changed)) => false,
                Err(error) => return Err(error),
            };
            let after = self.store.rollover(&name.to_string()).await?;
            match after {
                // Ended, or called off, by somebody else.
                None if !is_ours => return Ok(Progress::None),
                None => {
                    tell(name, "done");
                    return Ok(Progress::Done);
                }
                Some(after) if after == rollover => return Ok(Progress::UnderWay(rollover)),
                Some(after) => {
                    if after.state != rollover.state {
                        tell(name, after.state.name());
                    }
                    before = Some(after);
                }
            }
        }
        Ok(before.map_or(Progress::None, Progress::UnderWay))
    }

    /// Calls a change of keys off and erases the new keys; the state it was in, or `None` if none is under way.
    ///
    /// What is published stays valid. Errors: [`LogInUse`](store::Error::LogInUse) if it is called off, and the new keys may
    /// still be in the log of the database, until it is repeated; [`Error::NewKeysInUse`] once a signet with the new keys is published;
    /// [`Changed`](store::Error::Changed) if a step was taken meanwhile.
    pub async fn cancel(&self, name: &Name) -> Result<Option<RolloverState>, Error> {
        let text = name.to_string();
        let Some(rollover) = self.store.rollover(&text).await? else {
            // Repeated because the log was in use.
            self.store.finish_erasing().await?;
            return Ok(None);
        };
        let current = self.store.current_signet(&text).await?;
        if rollover.state >= RolloverState::Active {
            return Err(Error::NewKeysInUse);
        }
        let new = self.new_key(name, &rollover).await?;
        if let Some(current) = &current
            && Signet::decode(&current.object)?.signing_key()? == new
        {
            return Err(Error::NewKeysInUse);
        }
        let current = current.map(|current| current.full);
        let in_record = matches!(name, Name::Organization(_)).then_some(new);
        let cancelled = self
            .store
            .cancel_rollover(&rollover.name, rollover.state, current, in_record)
            .await;
        if matches!(cancelled, Ok(()) | Err(store::Error::LogInUse)) {
            tell(name, "cancelled");
        }
        cancelled?;
        Ok(Some(rollover.state))
    }

    /// How it stands, without doing anything.
    pub async fn progress(&self, name: &Name) -> Result<Progress, Error> {
        let rollover = self.store.rollover(&name.to_string()).await?;
        Ok(rollover.map_or(Progress::None, Progress::UnderWay))
    }

    /// Takes all steps that are due, and erases private keys that nothing under way can need. What fails for one name is
    /// logged and does not stop the others.
    pub async fn pass(&self) -> Result<(), store::Error> {
        for rollover in self.store.rollovers().await? {
            // What was begun under another name cannot be found by anybody.
            let Ok(name) = Name::parse(&rollover.name) else {
                continue;
            };
            match self.advance(&name).await {
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(event = observe::KEY_ROLLOVER_FAILED, domain = %name.domain(), %error,
                    "a step of a change of keys failed; it is tried again");
                }
            }
        }
        let erased = self.store.erase_private_keys(self.clock.now()).await;
        self.published.forget_keys();
        let erased = erased?;
        if erased > 0 {
            tracing::info!(
                event = observe::KEY_ERASED,
                count = erased,
                "private keys that were replaced were erased"
            );
        }
        Ok(())
    }

    async fn begin(&self, name: &Name) -> Result<(), Error> {
        if self.store.retirement(name.domain()).await?.is_some() {
            return Err(Error::Retiring);
        }
        let rng = &mut rand::rng();
        let (replaces, keys) = match name {
            Name::Organization(domain) => {
                let organization = self.published.organization(domain).await?;
                let signet = organization.ok_or(Error::NoOrganization)?.signet;
                (signet.crypto_fingerprint(), OrgKeys::generate(rng).to_armor())
            }
            Name::User(address) => {
                let user = self.published.user(address).await?.ok_or(Error::NoSignet)?;
                user.keys.ok_or(Error::NoKeys)?;
                (
                    user.signet.crypto_fingerprint(),
                    UserKeys::generate(rng).to_armor(),
                )
            }
        };
        let keys = Secret::new(keys.expose().clone().into_bytes());
        let (text, now) = (name.to_string(), self.clock.now());
        match self.store.begin_rollover(&text, replaces, keys, now).await {
            // Somebody else was faster, which is as good.
            Err(store::Error::Exists) => Ok(()),
            begun => {
                begun?;
                tell(name, RolloverState::Generated.name());
                Ok(())
            }
        }
    }

    async fn user_step(&self, address: &Mailbox, rollover: &Rollover) -> Result<(), Error> {
        match rollover.state {
            RolloverState::Active if self.is_due(rollover) => {
                Ok(self.store.end_rollover(&rollover.name, rollover.state).await?)
            }
            RolloverState::Active => Ok(()),
            _ => {
                let keys = UserKeys::from_armor(&self.new_keys(rollover).await?)?;
                self.published.user(address).await?.ok_or(Error::NoSignet)?;
                let published = self.published.during(rollover);
                published.publish_user(address, keys).await?;
                self.enter(rollover, RolloverState::Active, Some(OLD_KEYS_KEPT))
                    .await
            }
        }
    }

    async fn organization_step(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        match rollover.state {
            RolloverState::Generated => self.look_for_new(domain, rollover).await,
            RolloverState::Published => self.wait_for_old_copies(domain, rollover).await,
            RolloverState::Seen => self.activate(domain, rollover).await,
            RolloverState::Active => self.retire(domain, rollover).await,
            RolloverState::Retired => self.look_for_old(domain, rollover).await,
        }
    }

    async fn look_for_new(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        let both = [
            self.old_key(rollover).await?,
            self.new_key(&Name::Organization(domain.clone()), rollover)
                .await?,
        ];
        match self.in_dns(domain).await {
            Some(found) if both.iter().all(|key| found.keys.contains(key)) => {
                let wait = copies_last(found.ttl);
                self.enter(rollover, RolloverState::Published, Some(wait)).await
            }
            _ => Ok(()),
        }
    }

    /// Should the record have been taken back meanwhile, it all begins again.
    async fn wait_for_old_copies(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        let new = self
            .new_key(&Name::Organization(domain.clone()), rollover)
            .await?;
        match self.in_dns(domain).await {
            Some(found) if !found.keys.contains(&new) => {
                self.enter(rollover, RolloverState::Generated, None).await
            }
            // A cache that has asked again shows more of the TTL.
            Some(found) if rollover.due_at < Some(rollover.since.after(copies_last(found.ttl))) => {
                let due_at = rollover.since.after(copies_last(found.ttl));
                self.wait_until(rollover, due_at).await
            }
            Some(_) if self.is_due(rollover) => self.enter(rollover, RolloverState::Seen, None).await,
            _ => Ok(()),
        }
    }

    async fn activate(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        let keys = OrgKeys::from_armor(&self.new_keys(rollover).await?)?;
        let current = self.published.organization(domain).await?;
        let current = current.ok_or(Error::NoOrganization)?.signet.primary_key();
        if current != keys.signing.verifying_key() {
            let published = self.published.during(rollover);
            published
                .publish_organization_beside(domain, keys, Some(current))
                .await?;
        }
        self.resign_users(domain).await?;
        let wait = OLD_KEYS_KEPT.max(self.pins_last(domain).await?);
        self.enter(rollover, RolloverState::Active, Some(wait)).await
    }

    /// How long the record must have the old key for those who remember the record before. Where DNSSEC vouches for it they take
    /// what they find; elsewhere it must share a key with what they remember (`management-record.md` §7.4), as long as we would.
    async fn pins_last(&self, domain: &Domain) -> Result<Duration, Error> {
        if matches!(self.in_dns(domain).await, Some(found) if found.proof == Proof::Secure) {
            return Ok(Duration::ZERO);
        }
        let dime = self
            .store
            .local_domain(domain)
            .await?
            .and_then(|served| served.dime);
        let days = dime.and_then(|dime| dime.expiry_days).unwrap_or(0);
        Ok((DAY * u32::from(days)).min(Limits::default().unproven_ceiling) + GRACE)
    }

    async fn retire(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        if !self.is_due(rollover) {
            return Ok(());
        }
        self.resign_users(domain).await?;
        let organization = self.published.organization(domain).await?;
        let organization = organization.ok_or(Error::NoOrganization)?;
        if !organization.signet.secondary_keys().is_empty() {
            self.published
                .publish_organization(domain, organization.keys)
                .await?;
        }
        self.enter(rollover, RolloverState::Retired, None).await
    }

    async fn look_for_old(&self, domain: &Domain, rollover: &Rollover) -> Result<(), Error> {
        let old = self.old_key(rollover).await?;
        match self.in_dns(domain).await {
            Some(found) if !found.keys.contains(&old) => {
                Ok(self.store.end_rollover(&rollover.name, rollover.state).await?)
            }
            _ => Ok(()),
        }
    }

    /// Has the present primary key sign every user's signet that it has not signed yet.
    async fn resign_users(&self, domain: &Domain) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let names = self.store.signet_names(after.as_deref(), PAGE).await?;
            for name in &names {
                match name.parse::<Mailbox>() {
                    Ok(address) if address.domain() == domain => {
                        self.published.resign(&address).await?;
                    }
                    _ => {}
                }
            }
            match names.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// What is published; `None` if there is no usable record now.
    async fn in_dns(&self, domain: &Domain) -> Option<InDns> {
        let Lookup::Found { value, ttl, proof } = self.resolver.txt(&owner_name(domain)).await else {
            return None;
        };
        match record::Published::read(&value) {
            record::Published::Record(record) => Some(InDns {
                keys: record.primary_keys,
                ttl,
                proof,
            }),
            record::Published::Nothing | record::Published::Unusable(_) => None,
        }
    }

    async fn old_key(&self, rollover: &Rollover) -> Result<VerifyingKey, Error> {
        let old = self
            .store
            .signet_by_fingerprint(&rollover.name, rollover.replaces.into());
        let old = old.await?.ok_or(Error::NoSignet)?;
        Ok(Signet::decode(&old.object)?.signing_key()?)
    }

    async fn new_key(&self, name: &Name, rollover: &Rollover) -> Result<VerifyingKey, Error> {
        let armored = self.new_keys(rollover).await?;
        let signing = match name {
            Name::Organization(_) => OrgKeys::from_armor(&armored)?.signing,
            Name::User(_) => UserKeys::from_armor(&armored)?.signing,
        };
        Ok(signing.verifying_key())
    }

    /// Armored.
    async fn new_keys(&self, rollover: &Rollover) -> Result<zeroize::Zeroizing<String>, Error> {
        let keys = self
            .store
            .rollover_keys(&rollover.name)
            .await?
            .ok_or(Error::NoKeys)?;
        let text = String::from_utf8(keys.expose().clone()).map_err(|_| Error::NoKeys)?;
        Ok(zeroize::Zeroizing::new(text))
    }

    fn is_due(&self, rollover: &Rollover) -> bool {
        rollover
            .due_at
            .is_some_and(|due: Timestamp| due <= self.clock.now())
    }

    /// In the same state.
    async fn wait_until(&self, rollover: &Rollover, due_at: Timestamp) -> Result<(), Error> {
        let (state, since) = (rollover.state, rollover.since);
        let advanced = self
            .store
            .advance_rollover(&rollover.name, state, state, since, Some(due_at));
        Ok(advanced.await?)
    }

    async fn enter(
        &self,
        rollover: &Rollover,
        state: RolloverState,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let due_at = wait.map(|wait| now.after(wait));
        let entered = self
            .store
            .advance_rollover(&rollover.name, rollover.state, state, now, due_at);
        Ok(entered.await?)
    }
}

/// How long a record before the present one may come from a cache.
fn copies_last(ttl: Duration) -> Duration {
    ttl.clamp(LEAST_TTL, LONGEST_TTL) + GRACE
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rotation")
    }
}

fn tell(name: &Name, state: &'static str) {
    let whose = match name {
        Name::Organization(_) => "organization",
        Name::User(_) => "user",
    };
    tracing::info!(event = observe::KEY_ROLLOVER, domain = %name.domain(), whose, state,
        "a change of keys took a step");
}

#[cfg(test)]
mod tests;
