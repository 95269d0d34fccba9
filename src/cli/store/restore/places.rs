//! What a restore makes where, and what of it is left if it is cut off.
//!
//! The copy is made first and gets the name of the database last; so while it is there and the database is not, everything that is named
//! here is of a restore that was not finished, for the data directory was empty when it began. Whoever is at work has the copy locked.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::base::durable;
use crate::config::{self, Config};
use crate::crypto::at_rest::Key;
use crate::store::sqlite::backup;

/// What daemons and commands make before they find out that there is no installation, or leave when they are killed.
const LOCKS: [&str; 3] = ["daemon.lock", "dimed.db.lock", "control.socket"];

/// Files and folders.
pub(super) struct Places {
    pub(super) data: PathBuf,
    pub(super) database: PathBuf,
    /// Where the database is made ready.
    pub(super) copy: PathBuf,
    certificates: PathBuf,
    master_key: PathBuf,
}

impl Places {
    pub(super) fn of(config: &Config) -> Self {
        let database = config.server.database();
        Self {
            data: config.server.data_directory.clone(),
            copy: backup::unfinished(&database),
            database,
            certificates: config.server.certificates(),
            master_key: config.server.master_key_file.clone(),
        }
    }

    /// Takes away what a restore has left that was cut off.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        if self.database.exists() {
            // Also if there is a copy: nobody knows which of the two is wanted.
            return Ok(());
        }
        let left = match File::open(&self.copy) {
            Ok(left) => Some(left),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| self.copy.display().to_string()),
        };
        if let Some(left) = &left {
            self.lock(left)?;
        }
        self.remove()
            .with_context(|| format!("{} cannot be cleared", self.data.display()))
    }

    /// There is no installation, and nothing of anybody else.
    pub(super) fn demand_empty(&self) -> anyhow::Result<()> {
        let data = self.data.display();
        let entries = match fs::read_dir(&self.data) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("{data} cannot be read"))?,
        };
        for entry in entries {
            let name = entry?.file_name();
            anyhow::ensure!(
                LOCKS.iter().any(|lock| OsStr::new(lock) == name),
                "{data} is not empty: a backup is restored into a new data directory"
            );
        }
        Ok(())
    }

    /// Makes the copy, with nothing in it.
    pub(super) fn begin(&self) -> anyhow::Result<File> {
        let copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.copy)
            .with_context(|| format!("{} cannot be made", self.copy.display()))?;
        self.lock(&copy)?;
        Ok(copy)
    }

    fn lock(&self, copy: &File) -> anyhow::Result<()> {
        match copy.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("another restore is at work on {}", self.data.display())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| self.copy.display().to_string()),
        }
    }

    /// Takes away whatever was made, the copy last, so that it is known what the rest is as long as anything is there. Not once the
    /// database has its name.
    pub(super) fn remove(&self) -> io::Result<()> {
        if self.copy.exists() {
            if is_same(&self.staged_key(), &self.master_key) {
                backup::remove_file(&self.master_key)?;
            }
            remove_folder(&self.certificates)?;
        }
        self.remove_staged_key()?;
        backup::remove(&self.copy)
    }

    /// Puts a master key into its place, in one step, and in a way that shows that it was put there.
    pub(super) fn put_key(&self, path: &Path, key: &Key) -> anyhow::Result<()> {
        let staged = self.staged_key();
        config::create_master_key(&staged, key)?;
        fs::hard_link(&staged, path).with_context(|| format!("{} cannot be made", path.display()))?;
        durable::sync_folder(durable::folder_of(path))?;
        Ok(())
    }

    /// Takes away the other name of a master key that was put into its place.
    pub(super) fn remove_staged_key(&self) -> io::Result<()> {
        backup::remove_file(&self.staged_key())
    }

    fn staged_key(&self) -> PathBuf {
        let mut name = self.master_key.as_os_str().to_owned();
        name.push(".restored");
        name.into()
    }

    /// Names in a backup are of files, not of ways to other folders.
    pub(super) fn write_certificate(&self, name: &str, octets: &[u8]) -> anyhow::Result<()> {
        anyhow::ensure!(
            !name.contains('/') && name != "." && name != "..",
            "the backup has a file with a wrong name"
        );
        let folder = &self.certificates;
        durable::create_folder(folder)?;
        let path = folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        file.write_all(octets)?;
        file.sync_all()?;
        durable::sync_folder(folder)?;
        Ok(())
    }
}

/// Whether both are names of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.symlink_metadata(), other.symlink_metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// A folder with files in it.
fn remove_folder(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        backup::remove_file(&entry?.path())?;
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The places of an installation below a folder, with a master key beside them.
    fn places(home: &Path) -> Places {
        let data = home.join("data");
        fs::create_dir(&data).unwrap();
        let database = data.join("dimed.db");
        Places {
            copy: backup::unfinished(&database),
            certificates: data.join("tls"),
            data,
            database,
            master_key: home.join("master.key"),
        }
    }

    fn key() -> Key {
        Key::from_bytes([7; 32])
    }

    /// What is left at the latest moment before the database gets its name.
    fn cut_off(places: &Places) {
        drop(places.begin().unwrap());
        places.write_certificate("certificate.pem", b"public").unwrap();
        places.put_key(&places.master_key, &key()).unwrap();
        for end in ["-journal", "-wal", "-shm"] {
            fs::write(format!("{}{end}", places.copy.display()), "").unwrap();
        }
        fs::write(places.data.join("daemon.lock"), "").unwrap();
    }

    #[test]
    fn whatever_was_left_is_taken_away() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        cut_off(&places);
        assert!(places.demand_empty().is_err());
        places.clear().unwrap();
        places.demand_empty().unwrap();
        let left: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["data"], "with the key of what was not restored");
    }

    #[test]
    fn a_master_key_that_was_there_before_stays() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        config::create_master_key(&places.master_key, &key()).unwrap();
        drop(places.begin().unwrap());
        places.clear().unwrap();
        assert!(places.master_key.exists());
        // Nor does one go that has the same text.
        drop(places.begin().unwrap());
        fs::copy(&places.master_key, places.staged_key()).unwrap();
        places.clear().unwrap();
        assert!(places.master_key.exists() && !places.staged_key().exists());
    }

    #[test]
    fn nothing_is_taken_from_an_installation_or_from_somebody_at_work() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        let at_work = places.begin().unwrap();
        let refused = places.clear().unwrap_err().to_string();
        assert!(refused.starts_with("another restore is at work"), "{refused}");
        assert!(places.copy.exists());
        drop(at_work);
        fs::write(&places.database, "mail").unwrap();
        places.clear().unwrap();
        assert!(places.copy.exists() && places.database.exists());
        let refused = places.demand_empty().unwrap_err().to_string();
        assert!(refused.contains("is not empty"), "{refused}");
    }

    #[test]
    fn no_file_of_a_backup_gets_out_of_its_folder() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        for name in ["..", ".", "../dimed.db", "/tmp/x"] {
            assert!(places.write_certificate(name, b"x").is_err(), "{name}");
        }
    }
}
