//! Keeps MTA-STS policies fresh for as long as the daemon runs (RFC 8461 §3.3).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::base::observe;
use crate::domains::sts::MtaSts;

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(3600);

/// Makes a pass at once and every hour, until `stop`.
pub async fn run(sts: Arc<MtaSts>, stop: CancellationToken) {
    let passes = async {
        loop {
            if let Err(error) = sts.refresh().await {
                tracing::error!(event = observe::STS_STORE_FAILED, %error, "MTA-STS policies cannot be refreshed");
            }
            sleep(EVERY).await;
        }
    };
    stop.run_until_cancelled(passes).await;
}
