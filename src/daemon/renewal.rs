//! Looks after our key sets for as long as the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::base::observe;
use crate::signet_service::{Renewal, Times};

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(3600);

/// Makes a pass at once and every hour, until `stop`.
pub async fn run(renewal: Renewal, stop: CancellationToken) {
    loop {
        let pass = async {
            if let Err(error) = renewal.pass().await {
                tracing::error!(event = observe::KEY_SET_FAILED, %error, "key sets cannot be looked after");
            }
            sleep(EVERY).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = pass => {}
        }
    }
}

/// What looks after the key sets in `services`.
pub fn of(services: &Services) -> Renewal {
    Renewal::new(
        Arc::clone(&services.store),
        Arc::clone(&services.clock),
        Arc::clone(&services.published),
        Times::from(&services.config.dmime),
        services.config.server.hostname.clone(),
    )
}
