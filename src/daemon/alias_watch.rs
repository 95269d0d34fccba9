//! Reads the file of aliases again when it changes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::accounts::HostNames;
use crate::base::observe;

/// Time between two looks at the file.
const EVERY: Duration = Duration::from_secs(1);

/// Looks until the daemon stops. What cannot be used is told once for each change.
pub async fn run(host: Arc<HostNames>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(EVERY))
        .await
        .is_some()
    {
        let looked = Arc::clone(&host);
        // What panicked has been told.
        let _ = tokio::task::spawn_blocking(move || look(&looked)).await;
    }
}

/// One look, and what came of it.
pub fn look(host: &HostNames) {
    match host.reload() {
        Ok(None) => {}
        Ok(Some(in_use)) if in_use.left_out == 0 => {
            let count = in_use.count;
            tracing::info!(
                event = observe::ALIASES_READ,
                count,
                "the file of aliases has been read"
            );
        }
        Ok(Some(in_use)) => {
            let count = in_use.count;
            let reason = format!("{} lines or targets are left out", in_use.left_out);
            tracing::warn!(
                event = observe::ALIASES_READ,
                count,
                reason,
                "the file of aliases has been read in part; newaliases says more"
            );
        }
        // What it quotes are names and addresses.
        Err(error) => {
            let reason = error.reason();
            tracing::error!(
                event = observe::ALIASES_UNUSABLE,
                reason,
                "the file of aliases cannot be used, and those from before stay in use; newaliases says more"
            );
        }
    }
}
