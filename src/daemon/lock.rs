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

/// Whether a daemon works with a data directory. Changes nothing there, and says no where it cannot be seen.
pub fn is_running(data: &Path) -> bool {
    let opened = OpenOptions::new().write(true).open(data.join("daemon.lock"));
    opened.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_second_daemon_is_turned_away_while_the_first_runs() {
        let data = tempfile::tempdir().unwrap();
        assert!(!is_running(data.path()));
        let first = Lock::take(data.path()).unwrap();
        assert!(first.is_some());
        assert!(is_running(data.path()));
        assert!(Lock::take(data.path()).unwrap().is_none());
        drop(first);
        assert!(Lock::take(data.path()).unwrap().is_some());
    }
}
