//! Numbers that are read from the store when they are asked for.

use std::time::Duration;

use tokio::time::timeout;

use crate::base::time::{Clock as _, Timestamp};
use crate::daemon::Services;
use crate::dime::key_set::SignedKeySet;
use crate::dime::record::Policy;
use crate::mail::address::Domain;
use crate::store::{QueueDepth, Status};

/// How long reading may take; a queue of a million recipients takes some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Domains shown.
const MAX_ROWS: usize = 100;

/// Signets counted.
const MAX_COUNTED: u32 = 10_000;

/// The queue at some moment.
#[derive(Debug)]
pub struct Queue {
    /// When it was looked at.
    pub at: Timestamp,
    /// By way and status.
    pub depths: Vec<QueueDepth>,
}

impl Queue {
    /// The queue now; `None` if it cannot be read.
    pub async fn of(services: &Services) -> Option<Self> {
        let at = services.clock.now();
        let read = timeout(PATIENCE, services.store.queue_depths()).await;
        Some(Self {
            at,
            depths: read.ok()?.ok()?,
        })
    }
}

impl Queue {
    /// How long the message of the oldest recipient that waits has been here. Seconds.
    pub fn oldest_secs(&self) -> u64 {
        let waiting = self.depths.iter().filter(|depth| depth.status == Status::Waiting);
        let oldest = waiting.filter_map(|depth| depth.oldest).min();
        oldest.map_or(0, |oldest| self.at.since(oldest).as_secs())
    }
}

/// A domain that is served here.
#[derive(Debug)]
pub struct DomainRow {
    /// Its name.
    pub name: Domain,
    /// What its management record says; `None` without DIME.
    pub policy: Option<Policy>,
    /// When its key set expires. Unix seconds.
    pub key_set_expires: Option<u64>,
}

/// The domains that are served here, and when their keys run out. Those of users are renewed before by themselves, or their owners
/// are told.
#[derive(Debug, Default)]
pub struct Domains {
    /// The first of them.
    pub rows: Vec<DomainRow>,
    /// There are more.
    pub has_more: bool,
    /// When the first key set of any of them expires. Unix seconds.
    pub first_key_set: Option<u64>,
    /// Users who have a signet, as far as they were counted.
    pub users: usize,
    /// There may be more.
    pub has_more_users: bool,
}

impl Domains {
    /// All of them; what cannot be read is left out.
    pub async fn of(services: &Services) -> Self {
        let found = timeout(PATIENCE, Self::read(services)).await;
        found.ok().flatten().unwrap_or_default()
    }

    async fn read(services: &Services) -> Option<Self> {
        let mut found = Self::default();
        for domain in services.store.list_domains().await.ok()? {
            let expires = match &domain.dime {
                Some(_) => key_set_expires(services, &domain.name).await,
                None => None,
            };
            found.first_key_set = [found.first_key_set, expires].into_iter().flatten().min();
            found.has_more = found.rows.len() >= MAX_ROWS;
            if !found.has_more {
                found.rows.push(DomainRow {
                    policy: domain.dime.as_ref().map(|dime| dime.policy),
                    name: domain.name,
                    key_set_expires: expires,
                });
            }
        }
        let names = services.store.signet_names(None, MAX_COUNTED).await.ok()?;
        found.users = names.iter().filter(|name| name.contains('@')).count();
        found.has_more_users = names.len() >= MAX_COUNTED as usize;
        Some(found)
    }
}

/// 0 is for those who want none.
async fn key_set_expires(services: &Services, domain: &Domain) -> Option<u64> {
    let organization = services.published.organization(domain).await.ok()??;
    let set = SignedKeySet::of(organization.signet.signet()).ok().flatten()?;
    Some(set.expires()).filter(|expires| *expires > 0)
}
