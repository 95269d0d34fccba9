//! A file that has no name until it is complete: whatever ends the process before that, nothing of it is left behind.
//!
//! It may be plaintext or a private key. Where the file system has no files without a name, it has a hidden one, which only
//! a kill leaves behind.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use tempfile::{Builder, TempPath};

use super::folder_of;

const PREFIX: &str = ".dimed-";

/// A file on its way into a folder.
#[derive(Debug)]
pub struct Staged {
    file: File,
    path: PathBuf,
    /// Where it stands, if it has a name.
    named: Option<TempPath>,
}

impl Staged {
    /// Starts the file that will be at `path`, with these permissions as far as the umask lets them.
    pub fn at(path: &Path, mode: u32) -> io::Result<Self> {
        let folder = folder_of(path);
        let (file, named) = match unnamed(folder, mode) {
            Some(file) => (file, None),
            None => {
                let named = builder(mode).tempfile_in(folder)?;
                let (file, path) = named.into_parts();
                (file, Some(path))
            }
        };
        let path = path.to_owned();
        Ok(Self { file, path, named })
    }

    /// To be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, once it is on disk. What has the name already is replaced only if `force`.
    pub fn persist(self, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        let named = match (self.named, force) {
            (None, false) => return link(&self.file, &self.path),
            // No link replaces a file, but a file that has a name can take that of another.
            (None, true) => Builder::new()
                .prefix(PREFIX)
                .make_in(folder_of(&self.path), |path| link(&self.file, path))?
                .into_temp_path(),
            (Some(named), _) => named,
        };
        match force {
            true => named.persist(&self.path).map_err(|error| error.error),
            false => named.persist_noclobber(&self.path).map_err(|error| error.error),
        }
    }
}

fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).permissions(Permissions::from_mode(mode));
    builder
}

/// `None` where there are no such files, or none that can be given a name.
fn unnamed(folder: &Path, mode: u32) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(open(folder, flags, Mode::from_raw_mode(mode)).ok()?);
    handle(&file).symlink_metadata().ok()?;
    Some(file)
}

/// What stands for an open file among the names.
fn handle(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, handle(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    fn count(folder: &Path) -> usize {
        folder.read_dir().unwrap().count()
    }

    fn staged(path: &Path, text: &[u8]) -> Staged {
        let mut staged = Staged::at(path, 0o600).unwrap();
        staged.file().write_all(text).unwrap();
        staged
    }

    #[test]
    fn a_file_has_no_name_before_it_is_complete() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        let new = staged(&path, b"new");
        assert_eq!(count(home.path()), 0, "what a kill would leave behind");
        drop(new);
        assert_eq!(count(home.path()), 0);
        staged(&path, b"old").persist(false).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let exists = staged(&path, b"new").persist(false).unwrap_err();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        staged(&path, b"new").persist(true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(count(home.path()), 1);
    }

    #[test]
    fn a_folder_that_is_missing_is_told_before_anything_is_written() {
        let home = tempfile::tempdir().unwrap();
        let error = Staged::at(&home.path().join("missing/a"), 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn where_every_file_has_a_name_it_goes_with_the_value() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        let named = |text: &[u8]| {
            let (mut file, named) = builder(0o600).tempfile_in(home.path()).unwrap().into_parts();
            file.write_all(text).unwrap();
            let path = path.clone();
            Staged {
                file,
                path,
                named: Some(named),
            }
        };
        drop(named(b"half"));
        assert_eq!(count(home.path()), 0);
        named(b"old").persist(false).unwrap();
        assert!(named(b"new").persist(false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        named(b"new").persist(true).unwrap();
        assert_eq!(
            (std::fs::read(&path).unwrap(), count(home.path())),
            (b"new".to_vec(), 1)
        );
    }
}
