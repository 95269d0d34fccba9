//! How the last day went, minute by minute, in memory: for the chart.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Operations;
use crate::base::lately::Lately;
use crate::base::metrics;

/// Time between two moments.
pub const EVERY: Duration = Duration::from_secs(60);

/// A day of them.
pub const MOST: usize = 24 * 60;

/// What happened until a moment since the one before, and how things stood then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Messages taken in.
    pub accepted: u64,
    /// Recipients delivered to, here or to the next host.
    pub delivered: u64,
    /// Age of the oldest recipient that waits. Seconds.
    pub oldest_secs: u64,
}

/// The moments so far.
pub type History = Lately<Moment>;

/// Notes a moment again and again, until `stop`.
pub async fn run(operations: Arc<Operations>, stop: CancellationToken) {
    let mut before = metrics::totals();
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        let now = metrics::totals();
        let queue = operations.queue().await;
        operations.history.push(Moment {
            accepted: now.accepted.saturating_sub(before.accepted),
            delivered: now.delivered.saturating_sub(before.delivered),
            oldest_secs: queue.as_ref().as_ref().map_or(0, |queue| queue.oldest_secs()),
        });
        before = now;
    }
}
