//! Whether the runner is to begin nothing new.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set and cleared while the runner works; what is under way goes on.
#[derive(Debug, Default)]
pub struct Pause(AtomicBool);

impl Pause {
    /// Begins or ends it. Returns whether that changed anything.
    pub fn set(&self, is_paused: bool) -> bool {
        self.0.swap(is_paused, Ordering::Relaxed) != is_paused
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
