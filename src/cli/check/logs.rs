//! Files of the log: the daemon does not start where it cannot add lines to them, and they must be nobody else's.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::base::durable;
use crate::base::observe::Class;
use crate::config::{self, Config, Origin};

/// A file that lines cannot be added to, or must not.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be written: {}", .path.display())]
pub struct UnusableLog {
    path: PathBuf,
    #[source]
    why: Trouble,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("it has something else of the daemon in it, which lines would spoil")]
    Ours,
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Looks at each of them, and makes none.
pub fn demand(config: &Config) -> Result<(), UnusableLog> {
    let ours = ours(config);
    for path in Class::ALL.iter().filter_map(|class| config.log.file(*class)) {
        judge(path, &ours).map_err(|why| UnusableLog {
            path: path.to_owned(),
            why,
        })?;
    }
    Ok(())
}

fn judge(path: &Path, ours: &[PathBuf]) -> Result<(), Trouble> {
    if ours.iter().any(|other| is_same(path, other)) {
        return Err(Trouble::Ours);
    }
    let kind = match path.metadata() {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(can_be_made(path)?),
        Err(error) => return Err(error.into()),
    };
    // Opening it would wait for a reader.
    if kind.is_fifo() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a pipe, not a file").into());
    }
    OpenOptions::new().append(true).open(path)?;
    Ok(())
}

fn can_be_made(path: &Path) -> io::Result<()> {
    let folder = durable::folder_of(path);
    if !fs::metadata(folder)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    one == other || id(one).is_some_and(|one| id(other) == Some(one))
}

/// Files with something else in them.
fn ours(config: &Config) -> Vec<PathBuf> {
    let database = config.server.database();
    let beside = ["-wal", "-shm", ".lock"].map(|end| {
        let mut name = database.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    });
    let (certificate, key) = config.self_signed_pair();
    let mut found = vec![database, certificate, key, config.server.master_key_file.clone()];
    if let Origin::File(key) = config::find_master_key(config) {
        found.push(key);
    }
    found.extend(beside);
    found.extend(
        config
            .tls
            .pairs()
            .flat_map(|(certificate, key)| [certificate.to_owned(), key.to_owned()]),
    );
    let transports = config.outbound.transports.iter();
    found.extend(transports.filter_map(|transport| transport.credentials.clone()));
    found.extend(config.local.aliases_file());
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_there_or_can_be_made_will_do_and_nothing_is_made() {
        let home = tempfile::tempdir().unwrap();
        let (file, folder) = (home.path().join("mail.log"), home.path().join("folder"));
        fs::create_dir(&folder).unwrap();
        assert!(judge(&file, &[]).is_ok());
        assert!(!file.exists());
        for wrong in [&folder, &folder.join("missing/mail.log"), &file.join("mail.log")] {
            assert!(judge(wrong, &[]).is_err(), "{}", wrong.display());
        }
        fs::write(&file, "line\n").unwrap();
        assert!(judge(&file, &[]).is_ok());
        assert_eq!(fs::read(&file).unwrap(), b"line\n");
        let other = home.path().join("link");
        std::os::unix::fs::symlink(&file, &other).unwrap();
        assert!(matches!(
            judge(&other, std::slice::from_ref(&file)),
            Err(Trouble::Ours)
        ));
    }
}
