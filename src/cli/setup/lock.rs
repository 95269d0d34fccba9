//! One set-up at a time: two would ask for the same, and be in each other's way.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::base::durable;

/// Somebody else sets up.
#[derive(Debug, thiserror::Error)]
pub enum Busy {
    /// It goes on.
    #[error("another `dimed setup` is running ({} is locked): wait until it has ended, and say this again", .0.display())]
    Running(PathBuf),
    /// Both began where there was nothing, and it was quicker.
    #[error("another `dimed setup` has written {} meanwhile: say this again", .0.display())]
    Quicker(PathBuf),
}

/// Held until it is dropped, or this process ends. Nothing is made for it: what is locked is the folder of the configuration, and no
/// other, which is not ours. Where that is not there yet, nothing can be changed in it before it is made, and locked.
#[derive(Debug)]
pub struct Lock(Option<File>);

impl Lock {
    /// Locks the folder of the configuration at `path`, if it is there.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let folder = durable::folder_of(path);
        let held = folder.is_dir().then(|| locked(folder)).transpose()?;
        Ok(Self(held))
    }

    /// Locks it once it has been made; whether that is only now, so that somebody else may have had it since [`take`](Self::take).
    pub fn follow(&mut self, path: &Path) -> anyhow::Result<bool> {
        if self.0.is_some() {
            return Ok(false);
        }
        self.0 = Some(locked(durable::folder_of(path))?);
        Ok(true)
    }
}

fn locked(folder: &Path) -> anyhow::Result<File> {
    let file = File::open(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Busy::Running(folder.to_owned()).into()),
        // Where a file system has no locks, two at a time do no harm: they only say less well what is the matter.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
