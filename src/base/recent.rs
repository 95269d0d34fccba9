//! A bounded memory of what was used lately.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map within a bound of octets, as its user counts them, that forgets what has not been used for long.
///
/// Where there is no room for something new, what is in takes its turn: what was used since its last turn stays for another
/// round, the rest goes. So all stays as long as there is room, and later what is asked for again and again.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Every key once, in the order of their turns.
    turns: VecDeque<K>,
    octets: usize,
    most_octets: usize,
}

#[derive(Debug)]
struct Entry<V> {
    /// `None` once it was forgotten by order. Its place counts until its turn, or until it is filled again.
    value: Option<V>,
    octets: usize,
    used: bool,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Holds `most_octets` at most.
    pub fn new(most_octets: usize) -> Self {
        Self {
            entries: HashMap::new(),
            turns: VecDeque::new(),
            octets: 0,
            most_octets,
        }
    }

    /// What is known under that key.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.get_mut(key)?;
        entry.used = true;
        entry.value.as_ref()
    }

    /// Puts something in that takes so many octets, its key included. What is larger than half of the bound is not kept.
    pub fn insert(&mut self, key: K, value: V, octets: usize) {
        self.forget(&key);
        if octets > self.most_octets / 2 {
            return;
        }
        let before = self
            .entries
            .get_mut(&key)
            .map_or(0, |entry| std::mem::take(&mut entry.octets));
        self.octets -= before;
        self.make_room(octets);
        self.octets += octets;
        let entry = Entry {
            value: Some(value),
            octets,
            used: false,
        };
        if self.entries.insert(key.clone(), entry).is_none() {
            self.turns.push_back(key);
        }
    }

    /// Forgets what is known under that key.
    pub fn forget<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = None;
            entry.used = false;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.turns.clear();
        self.octets = 0;
    }

    fn make_room(&mut self, octets: usize) {
        while self.octets + octets > self.most_octets
            && let Some(key) = self.turns.pop_front()
        {
            let was_used = self
                .entries
                .get_mut(&key)
                .is_some_and(|entry| std::mem::take(&mut entry.used));
            if was_used {
                self.turns.push_back(key);
            } else if let Some(gone) = self.entries.remove(&key) {
                self.octets -= gone.octets;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(40);
        recent.insert("used", 0, 10);
        for number in 1..100 {
            recent.insert(if number % 2 == 0 { "even" } else { "odd" }, number, 10);
            assert_eq!(recent.get("used"), Some(&0), "{number}");
        }
        for other in ["a", "b", "c", "d", "e", "f"] {
            recent.insert(other, 1, 10);
        }
        assert_eq!(recent.get("used"), None);
        assert_eq!(recent.get("f"), Some(&1));
    }

    #[test]
    fn all_stays_as_long_as_there_is_room() {
        let mut recent = Recent::new(1000);
        for number in 0..100 {
            recent.insert(number, number, 10);
        }
        for number in (0..100).chain(0..100) {
            assert_eq!(recent.get(&number), Some(&number));
        }
        recent.insert(100, 100, 10);
        let left = (0..=100).filter(|number| recent.get(number).is_some());
        assert_eq!(left.count(), 100, "one makes room for one");
    }

    #[test]
    fn the_bound_holds() {
        let mut recent = Recent::new(1000);
        for number in 0..10_000 {
            recent.insert(number, (), 10);
            recent.get(&(number / 2));
            recent.forget(&(number - 3));
            recent.insert(number % 7, (), number as usize % 40);
            let held: usize = recent.entries.values().map(|entry| entry.octets).sum();
            assert!(held <= 1000 && held == recent.octets, "{held} {}", recent.octets);
            assert_eq!(recent.turns.len(), recent.entries.len());
        }
        recent.insert(0, (), 501);
        assert_eq!(recent.get(&0), None, "larger than half");
    }

    #[test]
    fn what_was_forgotten_is_gone_and_can_come_back() {
        let mut recent = Recent::new(40);
        recent.insert("a", 1, 10);
        recent.forget("a");
        recent.forget("never here");
        assert_eq!(recent.get("a"), None);
        recent.insert("a", 2, 20);
        assert_eq!(recent.get("a"), Some(&2));
        assert_eq!(recent.octets, 20);
    }

    #[test]
    fn the_last_value_counts() {
        let mut recent = Recent::new(40);
        for (key, value) in [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("a", 3)] {
            recent.insert(key, value, 10);
        }
        assert_eq!(recent.get("a"), Some(&3));
        recent.clear();
        assert_eq!(recent.get("a"), None);
    }
}
