//! One set-up at a time: two would ask for the same, and be in each other's way.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::base::durable;

/// Somebody else sets up.
#[derive(Debug, thiserror::Error)]
#[error("another `dimed setup` is running ({} is locked): wait until it has ended, and say this again", .0.display())]
pub struct Busy(PathBuf);

/// Held until it is dropped, or this process ends. Nothing is made for it: what is locked is a folder.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    held: Vec<File>,
}

impl Lock {
    /// Locks the folder of the configuration at `path`, or of those above it the next one that is there.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let folder = nearest(path)?;
        let held = vec![locked(&folder)?];
        Ok(Self { folder, held })
    }

    /// The same once the folder itself has been made.
    pub fn follow(&mut self, path: &Path) -> anyhow::Result<()> {
        let folder = nearest(path)?;
        if folder != self.folder {
            self.held.push(locked(&folder)?);
            self.folder = folder;
        }
        Ok(())
    }
}

fn nearest(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut above = durable::folder_of(&path).ancestors();
    Ok(above
        .find(|folder| folder.is_dir())
        .map_or_else(|| PathBuf::from("/"), Path::to_owned))
}

fn locked(folder: &Path) -> anyhow::Result<File> {
    let file = File::open(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Busy(folder.to_owned()).into()),
        // Where a file system has no locks, two at a time do no harm: they only say less well what is the matter.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
