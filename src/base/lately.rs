//! The last few things that happened, of many: for people who look.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Forgets the oldest of more than so many.
#[derive(Debug)]
pub struct Lately<T> {
    most: usize,
    items: Mutex<VecDeque<T>>,
}

impl<T: Clone> Lately<T> {
    /// Keeps that many.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            items: Mutex::new(VecDeque::new()),
        }
    }

    /// Something happened.
    pub fn push(&self, item: T) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if items.len() >= self.most {
            items.pop_front();
        }
        items.push_back(item);
    }

    /// All that is kept, oldest first.
    pub fn all(&self) -> Vec<T> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let lately = Lately::new(2);
        for item in 1..=3 {
            lately.push(item);
        }
        assert_eq!(lately.all(), [2, 3]);
    }
}
