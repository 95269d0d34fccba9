//! The database file's mode, and who else has it open.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::store::Error;

/// Mode of the database; SQLite gives its log and index the same.
const MODE: u32 = 0o600;

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

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Opens or creates a file that only we may read.
fn protect(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
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
