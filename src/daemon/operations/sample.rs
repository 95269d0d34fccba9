//! Numbers that are read from the store when they are asked for.

use std::time::Duration;

use tokio::time::timeout;

use crate::base::time::{Clock as _, Timestamp};
use crate::daemon::Services;
use crate::dime::key_set::SignedKeySet;
use crate::store::QueueDepth;

/// How long reading may take; a queue of a million recipients takes some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// When keys of ours run out. Those of users are renewed before by themselves, or their owners are told.
#[derive(Debug, Default)]
pub struct KeyDates {
    /// When the first key set of a domain expires. Unix seconds.
    pub first_key_set: Option<u64>,
}

impl KeyDates {
    /// Of every domain that is served here; what cannot be read is left out.
    pub async fn of(services: &Services) -> Self {
        let found = timeout(PATIENCE, Self::read(services)).await;
        found.ok().flatten().unwrap_or_default()
    }

    async fn read(services: &Services) -> Option<Self> {
        let mut first: Option<u64> = None;
        for domain in services.store.list_domains().await.ok()? {
            let Ok(Some(organization)) = services.published.organization(&domain.name).await else {
                continue;
            };
            let set = SignedKeySet::of(organization.signet.signet()).ok().flatten();
            let expires = set.map(|set| set.expires()).filter(|expires| *expires > 0);
            first = [first, expires].into_iter().flatten().min();
        }
        Some(Self { first_key_set: first })
    }
}
