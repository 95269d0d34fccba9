//! One daemon for each data directory: at its start it takes over whatever work the one before it left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as the daemon runs; the operating system gives it back even after a kill.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock of a data directory; `None` if another daemon has it.
    pub fn take(data: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(data.join("daemon.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_second_daemon_is_turned_away_while_the_first_runs() {
        let data = tempfile::tempdir().unwrap();
        let first = Lock::take(data.path()).unwrap();
        assert!(first.is_some());
        assert!(Lock::take(data.path()).unwrap().is_none());
        drop(first);
        assert!(Lock::take(data.path()).unwrap().is_some());
    }
}
