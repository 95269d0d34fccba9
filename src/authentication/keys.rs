//! Keys of ours for DKIM: made, put to use and replaced in steps that can be repeated (DESIGN.md §6).
//!
//! | State | Next step |
//! |---|---|
//! | generated | once DNS has the record: it signs, and the key before it is replaced |
//! | active | when it is to be rotated, another one is generated |
//! | replaced | its private half is gone; after eight days nothing signed with it is under way, and it is forgotten |
//!
//! Each domain signs with RSA and with Ed25519 at the same time, and each kind goes through its steps by itself. A selector is
//! never used twice, so that nobody can have an older answer about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::dkim::rsa;
use super::dkim::sign::{Signer, SigningKey};
use super::dkim::signature::Algorithm;
use crate::base::secret::Secret;
use crate::base::time::{Clock, Timestamp};
use crate::crypto::ed25519;
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Resolver};
use crate::store::{DkimKey, DkimState, Error, Store};

/// Days for which a replaced key stays published: longer than any queue keeps mail.
const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// How long keys are used without looking whether they have been replaced.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Domains that are remembered: those of our users and hosts, and all above them.
const MAX_KNOWN: usize = 10_000;

/// Signers of a domain, and when they were read.
type Known = (Timestamp, Arc<[Signer]>);

/// The keys of all our domains.
pub struct Keys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolver>,
    known: Mutex<HashMap<Domain, Known>>,
}

impl Keys {
    /// Over this store; `resolver` shows what is published.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, resolver: Arc<dyn Resolver>) -> Self {
        Self {
            store,
            clock,
            resolver,
            known: Mutex::default(),
        }
    }

    /// Makes a pair of keys for a domain. [`Error::Exists`] if there is one that waits to be published.
    pub async fn generate(&self, domain: &Domain) -> Result<(), Error> {
        let keys = self.store.dkim_keys(domain).await?;
        if keys.iter().any(|key| key.state == DkimState::Generated) {
            return Err(Error::Exists);
        }
        let now = self.clock.now();
        let fresh = tokio::task::spawn_blocking(fresh)
            .await
            .map_err(|_| Error::Missing)?;
        let key = |(letter, key): (char, SigningKey)| DkimKey {
            domain: domain.clone(),
            selector: format!("d{:x}{letter}", now.0),
            algorithm: key.algorithm().name().to_owned(),
            record: key.record(),
            private: Some(private(&key)),
            state: DkimState::Generated,
            created_at: now,
            since: now,
        };
        self.store
            .add_dkim_keys(fresh.into_iter().map(key).collect())
            .await
    }

    /// Takes every step for a domain that can be taken now. Whether any was, and the first failure: that of one step keeps none from
    /// the others.
    pub async fn advance(&self, domain: &Domain) -> (bool, Result<(), Error>) {
        let keys = match self.store.dkim_keys(domain).await {
            Ok(keys) => keys,
            Err(error) => return (false, Err(error)),
        };
        let (mut moved, mut done) = (false, Ok(()));
        for key in keys {
            let step = self.step(domain, &key).await;
            // What is erased may still be in the log of the database then.
            moved |= matches!(step, Ok(true) | Err(Error::LogInUse));
            done = done.and(step.map(drop));
        }
        if moved {
            self.forget(domain);
        }
        (moved, done)
    }

    /// Takes the step of a key, if it can be taken now; whether there was one.
    async fn step(&self, domain: &Domain, key: &DkimKey) -> Result<bool, Error> {
        match key.state {
            DkimState::Generated if self.is_published(key).await => {
                self.store
                    .activate_dkim_key(domain, &key.selector, self.clock.now())
                    .await?;
            }
            DkimState::Replaced if self.clock.now() >= key.since.after(KEPT) => {
                self.store.remove_dkim_key(domain, &key.selector).await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The same for every domain of ours; the first failure is told after all have had their turn.
    pub async fn pass(&self) -> Result<(), Error> {
        let mut done = Ok(());
        for domain in self.store.list_domains().await? {
            let (_, advanced) = self.advance(&domain.name).await;
            done = done.and(advanced);
        }
        done
    }

    /// Takes a key out of use at once.
    pub async fn remove(&self, domain: &Domain, selector: &str) -> Result<(), Error> {
        self.store.remove_dkim_key(domain, selector).await?;
        self.forget(domain);
        Ok(())
    }

    /// The keys of a domain, the oldest first.
    pub async fn list(&self, domain: &Domain) -> Result<Vec<DkimKey>, Error> {
        self.store.dkim_keys(domain).await
    }

    /// The keys that sign for a domain: its own, or those of the closest domain above that has any.
    pub async fn signers(&self, domain: &Domain) -> Result<Arc<[Signer]>, Error> {
        for name in std::iter::once(domain.clone()).chain(domain.parents()) {
            let signers = self.signers_of(&name).await?;
            if !signers.is_empty() {
                return Ok(signers);
            }
        }
        Ok(Arc::from([]))
    }

    async fn signers_of(&self, domain: &Domain) -> Result<Arc<[Signer]>, Error> {
        let now = self.clock.now();
        if let Some((read_at, signers)) = self.locked().get(domain)
            && now.since(*read_at) < REMEMBERED
        {
            return Ok(Arc::clone(signers));
        }
        let keys = self.store.dkim_keys(domain).await?;
        let active = keys.into_iter().filter(|key| key.state == DkimState::Active);
        let signers: Arc<[Signer]> = active.map(signer).collect::<Result<_, _>>()?;
        remember(&mut self.locked(), domain, (now, Arc::clone(&signers)));
        Ok(signers)
    }

    /// Whether DNS has the record of a key.
    async fn is_published(&self, key: &DkimKey) -> bool {
        let name = format!("{}._domainkey.{}", key.selector, key.domain);
        match self.resolver.txt(&name).await {
            Lookup::Found { value, .. } => value == [key.record.as_bytes()],
            _ => false,
        }
    }

    fn forget(&self, domain: &Domain) {
        self.locked().remove(domain);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Domain, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what is too old to be used when there is no room for another domain, and everything if that is not enough.
fn remember(known: &mut HashMap<Domain, Known>, domain: &Domain, fresh: Known) {
    if !known.contains_key(domain) && known.len() >= MAX_KNOWN {
        known.retain(|_, (read_at, _)| fresh.0.since(*read_at) < REMEMBERED);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
    }
    known.insert(domain.clone(), fresh);
}

/// A key of each kind, with the last letter of its selector.
fn fresh() -> [(char, SigningKey); 2] {
    let ed25519 = ed25519::SigningKey::generate(&mut rand::rng());
    [
        ('r', SigningKey::Rsa(rsa::SigningKey::generate())),
        ('e', SigningKey::Ed25519(ed25519)),
    ]
}

/// The private half, as it is kept: PKCS #8 for RSA, the seed for Ed25519.
fn private(key: &SigningKey) -> Secret<Vec<u8>> {
    Secret::new(match key {
        SigningKey::Rsa(key) => key.pkcs8().to_vec(),
        SigningKey::Ed25519(key) => key.seed().to_vec(),
    })
}

fn signer(key: DkimKey) -> Result<Signer, Error> {
    let unreadable = || Error::Unreadable("DKIM key");
    let private = key.private.as_ref().ok_or_else(unreadable)?.expose();
    let signing = match Algorithm::parse(&key.algorithm).ok_or_else(unreadable)? {
        Algorithm::RsaSha256 => {
            SigningKey::Rsa(rsa::SigningKey::from_pkcs8(private).map_err(|_| unreadable())?)
        }
        Algorithm::Ed25519Sha256 => {
            let seed = private.as_slice().try_into().map_err(|_| unreadable())?;
            SigningKey::Ed25519(ed25519::SigningKey::from_seed(seed))
        }
    };
    Ok(Signer {
        domain: key.domain,
        selector: key.selector,
        key: signing,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn domains_that_are_remembered_are_bounded() {
        let (mut known, start) = (HashMap::new(), Timestamp(1_800_000_000_000));
        let mut put = |number: usize, now: Timestamp| {
            let domain = format!("d{number}.test").parse().unwrap();
            remember(&mut known, &domain, (now, Arc::from([])));
            known.len()
        };
        for number in 0..MAX_KNOWN {
            put(number, start);
        }
        assert_eq!(put(7, start), MAX_KNOWN);
        // All of them are fresh: there is nothing better to forget.
        assert_eq!(put(MAX_KNOWN, start), 1);
        for number in 0..MAX_KNOWN / 2 {
            put(number, start);
        }
        let later = start.after(REMEMBERED);
        for number in MAX_KNOWN / 2..MAX_KNOWN - 1 {
            put(number, later);
        }
        assert_eq!(put(MAX_KNOWN + 1, later), MAX_KNOWN / 2);
    }
}
