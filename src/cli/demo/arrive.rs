//! Waiting for mail, as a mail program does that looks into a Maildir.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(20);
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

    /// The next message in any of them; `None` if none comes in time.
    pub async fn next(&self) -> io::Result<Option<Arrived>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(path) = entries(&self.folders)?.difference(&self.known).next() {
                return Ok(Some(Arrived {
                    path: path.clone(),
                    octets: fs::read(path)?,
                }));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(PAUSE).await;
        }
    }
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
