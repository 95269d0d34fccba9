//! A bounded memory of what was used lately.

use std::collections::HashMap;
use std::hash::Hash;

/// A map within a bound of octets, as its user counts them, that forgets what has not been used for long.
///
/// There are two halves. What is put in or used goes into the young one; when that is full it becomes the old one, and
/// what was in the old one is gone. So something is forgotten after at least half of the bound in other things was used.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, Entry<V>>,
    old: HashMap<K, Entry<V>>,
    young_octets: usize,
    half_octets: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    octets: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Holds `most_octets` at most.
    pub fn new(most_octets: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_octets: 0,
            half_octets: most_octets / 2,
        }
    }

    /// What is known under that key.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if !self.young.contains_key(key) {
            let (key, entry) = self.old.remove_entry(key)?;
            self.put(key, entry);
        }
        self.young.get(key).map(|entry| &entry.value)
    }

    /// Puts something in that takes so many octets, its key included. What is larger than half of the bound is not kept.
    pub fn insert(&mut self, key: K, value: V, octets: usize) {
        self.forget(&key);
        if octets <= self.half_octets {
            self.put(key, Entry { value, octets });
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_octets = 0;
    }

    fn forget(&mut self, key: &K) {
        self.old.remove(key);
        if let Some(entry) = self.young.remove(key) {
            self.young_octets -= entry.octets;
        }
    }

    /// The key is in neither half.
    fn put(&mut self, key: K, entry: Entry<V>) {
        if self.young_octets + entry.octets > self.half_octets {
            self.old = std::mem::take(&mut self.young);
            self.young_octets = 0;
        }
        self.young_octets += entry.octets;
        self.young.insert(key, entry);
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
            assert_eq!(recent.get(&"used"), Some(&0), "{number}");
        }
        for other in ["a", "b", "c", "d"] {
            recent.insert(other, 1, 10);
        }
        assert_eq!(recent.get(&"used"), None);
        assert_eq!(recent.get(&"d"), Some(&1));
    }

    #[test]
    fn the_bound_holds() {
        let mut recent = Recent::new(1000);
        for number in 0..10_000 {
            recent.insert(number, (), 10);
            recent.get(&(number / 2));
            let held: usize = [&recent.young, &recent.old]
                .iter()
                .flat_map(|half| half.values())
                .map(|entry| entry.octets)
                .sum();
            assert!(held <= 1000, "{held}");
        }
        recent.insert(0, (), 501);
        assert_eq!(recent.get(&0), None, "larger than half");
    }

    #[test]
    fn the_last_value_counts_in_either_half() {
        let mut recent = Recent::new(40);
        recent.insert("a", 1, 10);
        recent.insert("b", 1, 10);
        recent.insert("c", 1, 10);
        // "a" is in the old half now.
        recent.insert("a", 2, 10);
        recent.insert("a", 3, 10);
        assert_eq!(recent.get(&"a"), Some(&3));
        recent.clear();
        assert_eq!(recent.get(&"a"), None);
    }
}
