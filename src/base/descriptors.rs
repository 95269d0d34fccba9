//! How many files and sockets this process may have open, and how many connections that is enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open before the first connection, more or less: listeners, the database, the log.
pub const AT_START: usize = 64;

/// Left to the queue and to files.
const LEFT: usize = 200;

/// That part of a small limit is left, if it is less.
const PART: usize = 4;

/// Raises the limit as far as we may, and returns it; `None` if there is none.
pub fn raise() -> Option<usize> {
    let found = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: found.maximum,
        ..found
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => counted(wanted.current),
        // What we have is less, and has to do.
        Err(_) => counted(found.current),
    }
}

/// The limit that [`raise`] would lead to.
pub fn most() -> Option<usize> {
    counted(getrlimit(Resource::Nofile).maximum)
}

fn counted(limit: Option<u64>) -> Option<usize> {
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many are open now.
pub fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(AT_START, Iterator::count)
}

/// Of so many wanted connections, each of which takes so many descriptors, those that leave enough of the limit to everything
/// else. One at least.
pub fn connections(wanted: usize, each: usize, limit: usize, open: usize) -> usize {
    let left = LEFT.min(limit / PART);
    let most = limit.saturating_sub(open + left) / each.max(1);
    wanted.min(most).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_left_of_every_limit() {
        for (limit, each, expected) in [
            (65_536, 1, 1000),
            (1264, 1, 1000),
            (1263, 1, 999),
            (1024, 1, 760),
            (1024, 2, 380),
            (256, 1, 128),
            (64, 1, 1),
            (0, 0, 1),
        ] {
            let most = connections(1000, each, limit, 64);
            assert_eq!(most, expected, "{limit}, {each}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        assert_eq!(raise(), most());
        assert_eq!(counted(getrlimit(Resource::Nofile).current), most());
    }
}
