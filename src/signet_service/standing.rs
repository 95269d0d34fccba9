//! What others can do in format 2: their key sets, judged with what was seen before, which is then remembered
//! (`dmime2.md` §3.4).

use std::time::Duration;

use super::directory::Directory;
use super::inquiry::Error;
use super::published::seconds;
use crate::dime::key_set::{Capability, Change, Owner, Pin, capability};
use crate::dime::selection::Standing;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::domains;
use crate::mail::address::Mailbox;
use crate::net::dns::Proof;
use crate::store::{KeySetPin, fold};

/// How long a pin is kept after its key set was last seen; at least a year (§3.4).
const PINNED_FOR: Duration = Duration::from_secs(400 * 24 * 3600);

/// A pin is not written again before it is that much older, or every message would be a write.
const REFRESHED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What is known of somebody's keys, and was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What is known now.
    pub capability: Capability,
    /// What was pinned until now.
    pub pin: Option<Pin>,
}

impl Known {
    /// What the choice of format needs of it.
    pub fn standing(&self) -> Standing {
        Standing::new(&self.capability, self.pin.as_ref())
    }
}

impl Directory {
    /// What the organization of a verified signet can do. Another POK than the pinned one is accepted if DNSSEC vouches
    /// for the record that has it, or the domain is ours.
    pub async fn organization_known(&self, organization: &VerifiedOrg) -> Result<Known, Error> {
        let domain = organization.domain();
        let owner = Owner::from(organization);
        let pin = self.pin(domain.as_str()).await?;
        let change = match changes_key(pin.as_ref(), &owner) {
            true => self.organization_change(organization).await?,
            false => Change::Unproven,
        };
        self.known(domain.as_str(), owner, pin, change).await
    }

    /// What the user of a verified signet can do. Another signing key than the pinned one is accepted if that signed it,
    /// or the user is ours.
    pub async fn user_known(&self, address: &Mailbox, user: &VerifiedUser) -> Result<Known, Error> {
        let name = fold(address);
        let owner = Owner::from(user);
        let pin = self.pin(&name).await?;
        let change = match &pin {
            Some(stored) if changes_key(pin.as_ref(), &owner) => {
                let proven = user.succeeds(&stored.pin.signing_key)
                    || self.followed(&name, user).await?
                    || self.store.local_domain(address.domain()).await?.is_some();
                accepted_if(proven)
            }
            _ => Change::Unproven,
        };
        self.known(&name, owner, pin, change).await
    }

    /// Whether keys were ever seen under that name. Then a missing signet is no reason to send in the clear.
    pub async fn ever_had_keys(&self, name: &str) -> Result<bool, Error> {
        Ok(self.pin(name).await?.is_some_and(|stored| stored.pin.ever_usable))
    }

    /// Drops what is remembered of the keys under that name, so that what is found next is taken as it is; whether there
    /// was anything.
    pub async fn accept(&self, name: &str) -> Result<bool, Error> {
        self.store.forget_remote_signets(name).await?;
        let custody = self.store.forget_custody_pin(name).await?;
        Ok(self.store.forget_key_set_pin(name).await? || custody)
    }

    /// Whether a chain of custody was followed to that signing key when the signet was looked up, perhaps over several steps.
    async fn followed(&self, name: &str, user: &VerifiedUser) -> Result<bool, Error> {
        let pin = self.store.custody_pin(name, self.clock.now()).await?;
        Ok(pin.is_some_and(|pin| pin.signing_key == user.signing_key()))
    }

    async fn organization_change(&self, organization: &VerifiedOrg) -> Result<Change, Error> {
        let domain = organization.domain();
        if self.store.local_domain(domain).await?.is_some() {
            return Ok(Change::Accepted);
        }
        let facts = self.domains.facts(domain).await?;
        Ok(accepted_if(match facts.standing() {
            domains::Standing::Dime(record, Proof::Secure) => {
                record.primary_keys.contains(&organization.primary_key())
            }
            _ => false,
        }))
    }

    async fn pin(&self, name: &str) -> Result<Option<KeySetPin>, Error> {
        Ok(self.store.key_set_pin(name, self.clock.now()).await?)
    }

    async fn known(
        &self,
        name: &str,
        owner: Owner<'_>,
        stored: Option<KeySetPin>,
        change: Change,
    ) -> Result<Known, Error> {
        let now = self.clock.now();
        let pin = stored.map(|stored| stored.pin);
        let capability = capability(Some(owner), pin.as_ref(), change, seconds(now));
        let renewed = KeySetPin {
            pin: match Pin::after(pin.as_ref(), owner.signing_key(), &capability) {
                Some(pin) => pin,
                None => return Ok(Known { capability, pin }),
            },
            expires_at: now.after(PINNED_FOR),
        };
        let is_fresh = stored.is_some_and(|stored| {
            stored.pin == renewed.pin && renewed.expires_at.since(stored.expires_at) < REFRESHED_AFTER
        });
        if !is_fresh {
            // If another look was faster, its pin stays, and the next look judges by that.
            self.store.pin_key_set(name, pin, renewed, now).await?;
        }
        Ok(Known { capability, pin })
    }
}

fn changes_key(stored: Option<&KeySetPin>, owner: &Owner<'_>) -> bool {
    stored.is_some_and(|stored| stored.pin.signing_key != owner.signing_key())
}

fn accepted_if(proven: bool) -> Change {
    match proven {
        true => Change::Accepted,
        false => Change::Unproven,
    }
}

#[cfg(test)]
mod tests;
