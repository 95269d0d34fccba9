//! Tests the lists in DNS that hosts are measured by when the daemon starts, and every so often.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::screening::Screening;

/// Time between two tests. What is believed of a list holds longer.
const EVERY: Duration = Duration::from_secs(30 * 60);

/// Tests until the daemon stops.
pub async fn run(screening: Arc<Screening>, stop: CancellationToken) {
    let testing = async {
        loop {
            screening.test_lists().await;
            tokio::time::sleep(EVERY).await;
        }
    };
    stop.run_until_cancelled(testing).await;
}
