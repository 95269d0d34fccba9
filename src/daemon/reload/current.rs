//! What new sessions work with.

use std::sync::Arc;

use tokio::sync::watch;

use crate::daemon::Services;

/// The services as the configuration that was read last has them. Whoever has taken them keeps them as they are: a session under
/// way goes on with what it began with.
pub struct Current(watch::Sender<Arc<Services>>);

impl Current {
    /// Those of the start.
    pub fn new(services: Services) -> Self {
        Self(watch::Sender::new(Arc::new(services)))
    }

    /// Those of now.
    pub fn get(&self) -> Arc<Services> {
        Arc::clone(&self.0.borrow())
    }

    /// From now on these.
    pub fn put(&self, services: Services) {
        self.0.send_replace(Arc::new(services));
    }

    /// For whoever has to hear of each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Services>> {
        self.0.subscribe()
    }
}
