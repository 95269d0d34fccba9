//! Waiting for mail, as a mail program does that looks into a Maildir.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest wait for a message of no size.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets for which it may take a second longer.
const OCTETS_PER_SEC: usize = 512 * 1024;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Maildirs, and what was in them before.
pub struct Inbox {
    folders: Vec<PathBuf>,
    known: BTreeSet<PathBuf>,
}

/// A message that has come in.
pub struct Arrived {
    /// Where it lies.
    pub path: PathBuf,
    /// All of it.
    pub octets: Vec<u8>,
}

impl Inbox {
    /// Starts to watch Maildirs, which may not be there yet.
    pub fn watch(maildirs: &[PathBuf]) -> io::Result<Self> {
        let folders: Vec<PathBuf> = maildirs.iter().map(|maildir| maildir.join("new")).collect();
        let known = entries(&folders)?;
        Ok(Self { folders, known })
    }

    /// The next message for which `is_wanted`; `None` if none comes within `patience`.
    pub async fn next(
        &mut self,
        patience: Duration,
        is_wanted: impl Fn(&Arrived) -> bool,
    ) -> io::Result<Option<Arrived>> {
        let deadline = Instant::now() + patience;
        loop {
            for path in entries(&self.folders)? {
                if self.known.insert(path.clone()) {
                    let octets = fs::read(&path)?;
                    let arrived = Arrived { path, octets };
                    if is_wanted(&arrived) {
                        return Ok(Some(arrived));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(PAUSE).await;
        }
    }
}

/// How long to wait for a message of that size.
pub fn patience(size_bytes: usize) -> Duration {
    PATIENCE + Duration::from_secs((size_bytes / OCTETS_PER_SEC) as u64)
}

fn entries(folders: &[PathBuf]) -> io::Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for folder in folders {
        match fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries {
                    all.insert(entry?.path());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
