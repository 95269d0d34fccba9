//! Room in mailboxes for messages that are being written, so that two at the same time do not both take the last of it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Octets reserved in one mailbox. Who holds the lock counts what is there, or changes it.
type Octets = Arc<Mutex<u64>>;

/// What is reserved in all mailboxes.
#[derive(Debug, Default)]
pub(super) struct Reserved(Mutex<HashMap<PathBuf, Octets>>);

impl Reserved {
    /// What is reserved in the mailbox of that folder.
    pub(super) fn of(&self, folder: &Path) -> Mailbox {
        let mut all = locked(&self.0);
        // Only deliveries under way hold others.
        all.retain(|_, octets| Arc::strong_count(octets) > 1);
        Mailbox(Arc::clone(all.entry(folder.to_owned()).or_default()))
    }
}

/// One mailbox.
#[derive(Debug, Clone)]
pub(super) struct Mailbox(Octets);

impl Mailbox {
    /// Looks, with what is reserved, while nobody else changes anything.
    pub(super) fn look<T>(&self, look: impl FnOnce(u64) -> T) -> T {
        look(*locked(&self.0))
    }

    /// Reserves so much if that fits, which is decided with what is reserved already.
    pub(super) fn reserve(
        &self,
        octets: u64,
        fits: impl FnOnce(u64) -> io::Result<bool>,
    ) -> io::Result<Option<Reservation>> {
        let mut reserved = locked(&self.0);
        if !fits(*reserved)? {
            return Ok(None);
        }
        *reserved = reserved.saturating_add(octets);
        Ok(Some(Reservation {
            mailbox: self.clone(),
            octets,
        }))
    }
}

/// Room for one message, until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    mailbox: Mailbox,
    octets: u64,
}

impl Reservation {
    /// The message is put in its place and counted, and its room is not reserved any more: for everybody else all at once.
    pub(super) fn fill(mut self, place: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mailbox = self.mailbox.clone();
        let mut reserved = locked(&mailbox.0);
        let placed = place();
        *reserved = reserved.saturating_sub(std::mem::take(&mut self.octets));
        placed
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = locked(&self.mailbox.0);
        *reserved = reserved.saturating_sub(self.octets);
    }
}

/// Numbers are right at any moment, also if somebody panicked with them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn room_is_reserved_until_it_is_filled_or_given_back() {
        let all = Reserved::default();
        let bob = all.of(Path::new("bob"));
        let reserve = |octets| {
            bob.reserve(octets, |reserved| Ok(reserved + octets <= 100))
                .unwrap()
        };
        let first = reserve(60).unwrap();
        assert!(reserve(60).is_none());
        let second = reserve(40).unwrap();
        assert_eq!(bob.look(|reserved| reserved), 100);
        first.fill(|| Ok(())).unwrap();
        assert_eq!(bob.look(|reserved| reserved), 40);
        drop(second);
        assert_eq!(all.of(Path::new("bob")).look(|reserved| reserved), 0);
        assert_eq!(all.of(Path::new("pat")).look(|reserved| reserved), 0);
    }

    #[test]
    fn mailboxes_that_nothing_is_delivered_to_are_forgotten() {
        let all = Reserved::default();
        let held = all.of(Path::new("bob")).reserve(1, |_| Ok(true)).unwrap();
        for name in ["pat", "eve", "carol"] {
            all.of(Path::new(name));
        }
        assert_eq!(locked(&all.0).len(), 2, "bob, and the last one");
        assert_eq!(all.of(Path::new("bob")).look(|reserved| reserved), 1);
        drop(held);
    }
}
