//! Waiting for mail, as a mail program does that looks into a Maildir.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A Maildir, and what was in it before.
pub struct Inbox {
    new: PathBuf,
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
    /// Starts to watch a Maildir, which may not be there yet.
    pub fn watch(maildir: &Path) -> io::Result<Self> {
        let new = maildir.join("new");
        let known = entries(&new)?;
        Ok(Self { new, known })
    }

    /// The next message; `None` if none comes in time.
    pub async fn next(&self) -> io::Result<Option<Arrived>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(path) = entries(&self.new)?.difference(&self.known).next() {
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

fn entries(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}
