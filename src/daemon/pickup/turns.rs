//! Whose file is taken next: everybody who left some has a turn, and files that stay keep nobody waiting.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use rustix::fs::Stat;

/// Files that wait for one pass, of everybody. Each owner has at least one.
const AT_ONCE: usize = 5000;
/// The same, of one owner.
const OF_ONE: usize = 500;

/// Files that are known to stay.
const DELAYED: usize = 100_000;

/// Tells a file from others, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(u64);

impl Mark {
    /// Of a file that stands like this.
    pub fn of(stat: &Stat) -> Self {
        let mut hasher = DefaultHasher::new();
        (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A file that may be complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
    /// By which it is known if it stays.
    pub mark: Mark,
}

/// The files of one pass.
#[derive(Debug, Default)]
pub struct Waiting {
    owners: BTreeMap<u32, Vec<Candidate>>,
    count: usize,
}

impl Waiting {
    /// Adds a file, unless there are enough.
    pub fn add(&mut self, candidate: Candidate) {
        let of_owner = self.owners.entry(candidate.uid).or_default();
        let has_room = self.count < AT_ONCE && of_owner.len() < OF_ONE;
        if of_owner.is_empty() || has_room {
            of_owner.push(candidate);
            self.count += 1;
        }
    }

    /// The owners take turns, and the first is the one behind who had the last turn.
    pub fn by_turns(self, last: Option<u32>) -> Vec<Candidate> {
        let owners = self.owners.into_iter();
        let mut owners: Vec<_> = owners.map(|(uid, files)| (uid, files.into_iter())).collect();
        let first = owners.partition_point(|(uid, _)| last.is_some_and(|last| *uid <= last));
        owners.rotate_left(first);
        let mut turns = Vec::with_capacity(self.count);
        while !owners.is_empty() {
            owners.retain_mut(|(_, files)| {
                let next = files.next();
                let has_one = next.is_some();
                turns.extend(next);
                has_one
            });
        }
        turns
    }
}

/// Files that stay, and until when they are not looked at.
#[derive(Debug, Default)]
pub struct Delayed {
    until: HashMap<Mark, Instant>,
}

impl Delayed {
    /// The file stays until then. If very many do, it has its turn as before.
    pub fn add(&mut self, mark: Mark, until: Instant) {
        if self.until.len() < DELAYED {
            self.until.insert(mark, until);
        }
    }

    /// Forgets those whose time has come.
    pub fn forget_until(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }

    /// Whether it is too early for a file.
    pub fn has(&self, mark: Mark) -> bool {
        self.until.contains_key(&mark)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn candidate(uid: u32, number: usize) -> Candidate {
        Candidate {
            name: format!("{uid}-{number}"),
            uid,
            mark: Mark(0),
        }
    }

    fn waiting(counts: &[(u32, usize)]) -> Waiting {
        let mut waiting = Waiting::default();
        for (uid, count) in counts {
            (0..*count).for_each(|number| waiting.add(candidate(*uid, number)));
        }
        waiting
    }

    fn names(turns: Vec<Candidate>) -> Vec<String> {
        turns.into_iter().map(|candidate| candidate.name).collect()
    }

    #[test]
    fn owners_take_turns() {
        let counts = [(7, 3), (0, 1), (9, 2)];
        let turns = |last| names(waiting(&counts).by_turns(last));
        let from_the_first = ["0-0", "7-0", "9-0", "7-1", "9-1", "7-2"];
        assert_eq!(turns(None), from_the_first);
        assert_eq!(turns(Some(9)), from_the_first);
        assert_eq!(turns(Some(5)), ["7-0", "9-0", "0-0", "7-1", "9-1", "7-2"]);
        assert_eq!(turns(Some(7)), ["9-0", "0-0", "7-0", "9-1", "7-1", "7-2"]);
        assert!(Waiting::default().by_turns(Some(1)).is_empty());
    }

    #[test]
    fn many_files_leave_room_for_others() {
        let mut many: Vec<(u32, usize)> = (1..=20).map(|uid| (uid, OF_ONE + 1)).collect();
        many.push((100, 2));
        let turns = waiting(&many).by_turns(None);
        let of = |uid| turns.iter().filter(|candidate| candidate.uid == uid).count();
        assert_eq!((of(1), of(20), of(100)), (OF_ONE, 1, 1));
        assert!(turns.len() <= AT_ONCE + many.len());
    }

    #[test]
    fn a_file_is_delayed_until_its_time_has_come() {
        let start = Instant::now();
        let mut delayed = Delayed::default();
        delayed.add(Mark(1), start + Duration::from_secs(1));
        delayed.add(Mark(2), start + Duration::from_secs(2));
        delayed.forget_until(start + Duration::from_secs(1));
        assert!(!delayed.has(Mark(1)));
        assert!(delayed.has(Mark(2)));
        (3..200_000).for_each(|number| delayed.add(Mark(number), start));
        assert_eq!(delayed.until.len(), DELAYED);
    }
}
