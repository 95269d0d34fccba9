//! Where the demo lives: a directory of the user's choice, or one that vanishes.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// A directory with nothing in it.
pub enum Home {
    /// Stays.
    Kept(PathBuf),
    /// Is removed when this is dropped.
    Temporary(TempDir),
}

impl Home {
    /// Makes `keep` if it is not there; it must be empty. Without it, makes a temporary directory.
    pub fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(folder) = keep else {
            let temporary = tempfile::Builder::new()
                .prefix("dimed-demo-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir();
            return Ok(Self::Temporary(temporary.context(
                "no temporary directory can be made (set TMPDIR, or name one with --keep)",
            )?));
        };
        let failed = || format!("{} cannot be used", folder.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(failed)?;
        let is_empty = fs::read_dir(folder).with_context(failed)?.next().is_none();
        anyhow::ensure!(
            is_empty,
            "{} is not empty: name a new directory",
            folder.display()
        );
        // The configurations hold it, and must not depend on where a command is run later.
        Ok(Self::Kept(folder.canonicalize().with_context(failed)?))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Kept(folder) => folder,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// The directory, if it stays.
    pub fn kept(&self) -> Option<&Path> {
        match self {
            Self::Kept(folder) => Some(folder),
            Self::Temporary(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("precious");
        fs::write(&file, "x").unwrap();
        assert!(Home::new(Some(folder.path())).is_err());
        assert!(file.exists());
        let new = folder.path().join("a/b");
        assert_eq!(
            Home::new(Some(&new)).unwrap().kept(),
            Some(new.canonicalize().unwrap().as_path())
        );
    }

    #[test]
    fn a_temporary_directory_is_private_and_vanishes() {
        let home = Home::new(None).unwrap();
        let path = home.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(home);
        assert!(!path.exists());
    }
}
