//! Whether anything new is to be begun, and how much is coming in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Set and cleared while the runner works and sessions take mail in; what is under way goes on.
#[derive(Debug, Default)]
pub struct Pause {
    is_set: AtomicBool,
    coming_in: AtomicUsize,
    given_up: Notify,
}

impl Pause {
    /// Begins or ends it. Returns whether that changed anything.
    pub fn set(&self, is_paused: bool) -> bool {
        self.is_set.swap(is_paused, Ordering::SeqCst) != is_paused
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// Begins to take something in, until that is dropped; `None` while it is set.
    pub fn enter(self: &Arc<Self>) -> Option<Entered> {
        // Counted first: who sets it and then sees nobody knows that nobody comes any more.
        self.coming_in.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(Arc::clone(self));
        (!self.is_set()).then_some(entered)
    }

    /// Tells whoever waits for more of what is coming in that it is not waited for any longer. It is told again and again, for somebody
    /// may be busy now.
    pub fn give_up(&self) {
        self.given_up.notify_waiters();
    }

    /// Waits until it is told.
    pub async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// Whether nothing is coming in now.
    pub fn is_quiet(&self) -> bool {
        self.coming_in.load(Ordering::SeqCst) == 0
    }
}

/// Something that is coming in, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Entered(Arc<Pause>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.coming_in.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_came_in_before_it_was_set_is_waited_for_and_nothing_else_comes_in() {
        let pause = Arc::new(Pause::default());
        let before = pause.enter().unwrap();
        assert!(pause.set(true) && !pause.set(true));
        assert!(pause.enter().is_none());
        assert!(!pause.is_quiet());
        drop(before);
        assert!(pause.is_quiet());
        pause.set(false);
        assert!(pause.enter().is_some());
    }
}
