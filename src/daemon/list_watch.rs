//! Tests the lists in DNS that hosts are measured by when the daemon starts, and every so often.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::screening::Screening;

/// Time between two tests. What is believed of a list holds longer.
const EVERY: Duration = Duration::from_secs(30 * 60);

/// Tests until the daemon stops, and at once when another configuration names other lists.
pub async fn run(mut services: watch::Receiver<Arc<Services>>, stop: CancellationToken) {
    let testing = async {
        loop {
            let screening = Arc::clone(&services.borrow_and_update().screening);
            screening.test_lists().await;
            // In vain, as a rule: then it is time for the next test.
            let _ = timeout(EVERY, another(&mut services, &screening)).await;
        }
    };
    stop.run_until_cancelled(testing).await;
}

/// Waits until other lists are configured.
async fn another(services: &mut watch::Receiver<Arc<Services>>, screening: &Arc<Screening>) {
    while services.changed().await.is_ok() {
        let now = Arc::clone(&services.borrow_and_update());
        if !Arc::ptr_eq(&now.screening, screening) {
            return;
        }
    }
    // Nobody is left who could configure any.
    std::future::pending().await
}
