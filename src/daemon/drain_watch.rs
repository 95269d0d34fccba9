//! Finds out whether an operator wants this node to take nothing new (`dimed queue drain`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::base::observe;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// By then a running node has found out.
pub const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// Looks again and again, until `stop`.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        look(&services).await;
    }
}

/// Looks once. What cannot be read changes nothing.
pub async fn look(services: &Services) {
    let node = &services.config.server.hostname;
    let is_drained = match services.store.is_drained(node).await {
        Ok(is_drained) => is_drained,
        Err(error) => {
            tracing::error!(event = observe::QUEUE_STORE_FAILED, %error, "it cannot be read whether this node is drained");
            return;
        }
    };
    match (services.pause.set(is_drained), is_drained) {
        (true, true) => tracing::warn!(
            event = observe::DAEMON_DRAINED,
            "no mail is taken and no attempt begun until `dimed queue drain --end`"
        ),
        (true, false) => tracing::info!(event = observe::DAEMON_RESUMED, "mail is taken and tried again"),
        (false, _) => {}
    }
}
