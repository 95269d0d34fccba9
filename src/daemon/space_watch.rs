//! Room on the disk: below the floor nothing new is taken in, and what is here goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::base::observe;

/// Time between two looks when nobody asks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks again and again, until `stop`, so that the log says in time what is the matter.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    loop {
        services.has_space();
        if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

impl Services {
    /// Whether there is room for another message.
    pub fn has_space(&self) -> bool {
        let found = self.space.look();
        match (found.has_changed, found.is_short) {
            (true, true) => tracing::error!(
                event = observe::SPACE_SHORT,
                "the disk is nearly full: no mail is taken in until there is room again"
            ),
            (true, false) => tracing::info!(event = observe::SPACE_ENOUGH, "there is room on the disk again"),
            (false, _) => {}
        }
        !found.is_short
    }
}
