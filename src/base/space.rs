//! Room on a file system, with a floor below which nothing new is taken in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What must be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Octets; 0 for none.
    pub octets: u64,
    /// Files that can still be made; 0 for none.
    pub inodes: u64,
}

/// What is left for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Octets.
    pub octets: u64,
    /// Files that can still be made; `None` where the file system does not count them.
    pub inodes: Option<u64>,
}

impl Free {
    /// On the file system of a folder.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(Self {
            octets: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: (found.f_files > 0).then_some(found.f_favail),
        })
    }

    /// Whether that is too little.
    pub fn is_below(self, floor: Floor) -> bool {
        self.octets < floor.octets || self.inodes.is_some_and(|inodes| inodes < floor.inodes)
    }
}

/// Whether there is room, with some distance between too little and enough again, so that it does not change all the time.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    floor: Floor,
    is_short: Mutex<bool>,
}

/// What was found, and whether that is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// There is too little.
    pub is_short: bool,
    /// It was otherwise at the last look.
    pub has_changed: bool,
}

impl Space {
    /// Watches the file system of a folder.
    pub fn new(folder: &Path, floor: Floor) -> Self {
        Self {
            folder: folder.to_owned(),
            floor,
            is_short: Mutex::new(false),
        }
    }

    /// Looks. What cannot be measured is not short: whatever is written then tells by itself.
    pub fn look(&self) -> Found {
        match Free::of(&self.folder) {
            Ok(free) => self.judge(free),
            Err(_) => Found {
                is_short: false,
                has_changed: false,
            },
        }
    }

    fn judge(&self, free: Free) -> Found {
        let mut was_short = self.is_short.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short = match *was_short {
            // An eighth above the floor there is enough again.
            true => free.is_below(Floor {
                octets: self.floor.octets.saturating_add(self.floor.octets / 8),
                inodes: self.floor.inodes.saturating_add(self.floor.inodes / 8),
            }),
            false => free.is_below(self.floor),
        };
        let has_changed = std::mem::replace(&mut *was_short, is_short) != is_short;
        Found {
            is_short,
            has_changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        let floor = Floor {
            octets: 800,
            inodes: 80,
        };
        Space::new(Path::new("/"), floor)
    }

    fn free(octets: u64, inodes: u64) -> Free {
        Free {
            octets,
            inodes: Some(inodes),
        }
    }

    #[test]
    fn there_is_too_little_below_the_floor_and_enough_again_an_eighth_above_it() {
        for [short, still, enough] in [
            [free(799, 1000), free(899, 1000), free(900, 1000)],
            [free(10_000, 79), free(10_000, 89), free(10_000, 90)],
        ] {
            let space = space();
            let judged =
                [free(800, 80), short, short, still, enough, free(800, 80)].map(|free| space.judge(free));
            let judged = judged.map(|found| (found.is_short, found.has_changed));
            let expected = [
                (false, false),
                (true, true),
                (true, false),
                (true, false),
                (false, true),
                (false, false),
            ];
            assert_eq!(judged, expected);
        }
    }

    #[test]
    fn where_files_are_not_counted_octets_alone_count() {
        let uncounted = Free {
            octets: 800,
            inodes: None,
        };
        assert!(!space().judge(uncounted).is_short);
    }

    #[test]
    fn without_a_floor_there_is_always_enough() {
        let floor = Floor { octets: 0, inodes: 0 };
        assert!(!Space::new(Path::new("/"), floor).judge(free(0, 0)).is_short);
    }
}
