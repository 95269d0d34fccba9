//! What is kept of the clock, so that a jump between two runs is noticed.

use async_trait::async_trait;

use super::Error;
use crate::base::time::Timestamp;

/// What is known of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRecord {
    /// The last time that the daemon trusted.
    pub trusted_at: Timestamp,
    /// The daemon does not trust the clock.
    pub is_doubted: bool,
    /// How often an operator has confirmed the time.
    pub confirmations: i64,
}

/// The clock's record.
#[async_trait]
pub trait ClockRecords: Send + Sync {
    /// `None` before the daemon has run for the first time.
    async fn clock_record(&self) -> Result<Option<ClockRecord>, Error>;
    /// The daemon's view of the time.
    async fn note_clock(&self, trusted_at: Timestamp, is_doubted: bool) -> Result<(), Error>;
    /// An operator says that `now` is the time. The daemon finds out by itself.
    async fn confirm_clock(&self, now: Timestamp) -> Result<(), Error>;
}
