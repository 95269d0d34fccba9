//! What follows from a value alone and takes work to find: found once, however often the value is copied.

use std::sync::{Arc, OnceLock};

/// A finding about the value that it is part of, which says nothing new: two values are the same whatever of them was found.
#[derive(Debug, Clone)]
pub(super) struct Once<T>(Arc<OnceLock<T>>);

impl<T> Once<T> {
    /// The finding; all copies have it from now on.
    pub(super) fn get(&self, find: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(find)
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> PartialEq for Once<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<T> Eq for Once<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_what_was_found() {
        let first = Once::default();
        let copy = first.clone();
        assert_eq!(*first.get(|| 7), 7);
        assert_eq!(*copy.get(|| unreachable!()), 7);
        assert_eq!(copy, Once::default());
    }
}
