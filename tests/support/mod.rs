//! What integration tests of the daemon share: complete organizations on loopback addresses of their own, with real
//! sockets, signed zones, databases and processes.

pub mod certificates;
pub mod child;
pub mod home;
pub mod loopback;
pub mod mailbox_server;
pub mod maildir;
pub mod milter;
pub mod name_server;
pub mod observer;
pub mod organization;
pub mod postgres;
pub mod sink;
pub mod talk;
pub mod tool;
pub mod unbound;
pub mod watcher;
pub mod web;
pub mod world;

use std::time::Duration;

/// The longest that any single wait of a test takes. Nothing comes near it but on a machine that is very busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something, and fails the test if it does not within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
