//! The database file's mode, and who else has it open.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::base::durable;
use crate::store::Error;

/// Mode of the database; SQLite gives its log and index the same.
const MODE: u32 = 0o600;

/// What the lock has in it while the log of the database must stay as it is.
const KEPT: &[u8] = b"The log is kept until all that has the database open is ended.\n";

/// A lock on `<database>.lock`, held while the database is open and gone with the process, however it ends.
///
/// The database file itself is not locked: closing any descriptor of it would drop SQLite's own locks.
pub(in crate::store) struct DatabaseFile {
    lock: File,
    alone: bool,
    stays_alone: bool,
}

impl DatabaseFile {
    /// Creates or protects the database file, and finds out whether anybody else has it open.
    pub(super) async fn take(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            // Created here and not by SQLite, so that it never exists with a wider mode.
            protect(&path)?;
            let lock = protect(&lock_path(&path))?;
            let alone = lock.try_lock().is_ok();
            if !alone {
                lock.lock_shared()?;
            }
            Ok(Self {
                lock,
                alone,
                stays_alone: false,
            })
        })
        .await
    }

    /// The same where nobody else may have it open, and nobody else gets in until this is dropped.
    pub(super) async fn take_alone(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let taken = blocking(move || {
            protect(&path)?;
            let lock = protect(&lock_path(&path))?;
            Ok(lock.try_lock().is_ok().then_some(Self {
                lock,
                alone: true,
                stays_alone: true,
            }))
        });
        taken.await?.ok_or(Error::InUse)
    }

    /// Whether no other store has the database open, in this process or another. True only until
    /// [`share`](Self::share).
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Takes the note away that was left by [`note_kept_log`]: whoever is alone has seen to that.
    pub(super) fn forget_kept_log(&self) -> Result<(), Error> {
        self.lock.set_len(0).map_err(Error::File)
    }

    /// Lets others in.
    pub(super) async fn share(self) -> Result<Self, Error> {
        if self.stays_alone {
            return Ok(self);
        }
        blocking(move || {
            if self.alone {
                self.lock.unlock()?;
                self.lock.lock_shared()?;
            }
            Ok(Self { alone: false, ..self })
        })
        .await
    }
}

/// Tells all who have the database open, or will before they are all gone, that nothing may be brought from the log into it any more.
pub(in crate::store) fn note_kept_log(database: &Path) -> io::Result<()> {
    protect(&lock_path(database))?.write_all_at(KEPT, 0)
}

/// Whether somebody has noted that.
pub(in crate::store) fn keeps_log(database: &Path) -> bool {
    let lock = lock_path(database).metadata();
    lock.is_ok_and(|lock| lock.len() > 0)
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Opens or creates a file that only we may read. No link is followed: whoever has the folder could lead root's commands elsewhere.
fn protect(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Opening a pipe that nobody reads would not return.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options
        .write(true)
        .mode(MODE)
        .custom_flags(flags.bits().cast_signed());
    let opened = match options.clone().create_new(true).open(path) {
        Ok(made) => return give_away(&made, path).map(|()| made),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    };
    let file = opened.map_err(|error| named(path, error))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(named(path, Errno::INVAL.into()));
    }
    if found.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// What root makes belongs to whoever has the folder: the daemon is to be able to open it.
fn give_away(file: &File, path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let folder = durable::folder_of(path).metadata()?;
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    let text = match is_link {
        true => format!("{} is a link: name the file itself", path.display()),
        false => format!("{}: {error}", path.display()),
    };
    io::Error::new(error.kind(), text)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined
        .map_err(io::Error::other)
        .and_then(|result| result)
        .map_err(Error::File)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_no_file_is_not_opened_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        std::fs::write(at("target"), "x").unwrap();
        std::fs::set_permissions(at("target"), Permissions::from_mode(0o644)).unwrap();
        symlink(at("target"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        for name in ["link", "dangling"] {
            let error = protect(&at(name)).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("{name} is a link: name the file itself")),
                "{error}"
            );
        }
        assert!(!at("nothing").exists());
        assert_eq!(
            at("target").metadata().unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert!(protect(folder.path()).is_err());
    }

    #[test]
    fn what_is_made_belongs_to_whoever_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        if geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(54_321), Some(54_321)).unwrap();
        }
        protect(&path).unwrap();
        protect(&path).unwrap();
        let (file, folder) = (path.metadata().unwrap(), folder.path().metadata().unwrap());
        assert_eq!((file.uid(), file.gid()), (folder.uid(), folder.gid()));
        assert_eq!(file.permissions().mode() & 0o777, MODE);
    }
}
