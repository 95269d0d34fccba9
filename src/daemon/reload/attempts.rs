//! Attempts of the queue, each by the configuration of when it begins.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use crate::daemon::Services;
use crate::queue::attempt::Mailer;
use crate::queue::runner::{Attempt, Settled, Times};
use crate::store::Claim;

/// What makes attempts now.
pub struct Attempts(RwLock<Arc<Mailer>>);

impl Attempts {
    /// As the services of the start have it.
    pub fn new(services: &Services) -> Self {
        Self(RwLock::new(Arc::new(services.mailer())))
    }

    /// From now on as these have it. Next hosts that are not there are found out anew: others may be named.
    pub fn put(&self, services: &Services) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(services.mailer());
    }

    fn now(&self) -> Arc<Mailer> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Attempt for Attempts {
    async fn attempt(&self, claim: &Claim, times: Times) -> Settled {
        self.now().attempt(claim, times).await
    }

    async fn panicked(&self, claim: &Claim) -> Settled {
        self.now().panicked(claim).await
    }

    async fn end(&self) {
        self.now().end().await;
    }
}
