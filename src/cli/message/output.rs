//! Files that are written piece by piece, and have a name only once they are complete.

use std::fs::Permissions;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Args;
use tempfile::{Builder, NamedTempFile};

use crate::cli::files::{Error, FileName};

/// Where a result goes.
#[derive(Debug, Args)]
pub struct Output {
    /// Where to write it; - is standard output. With --json and without this option, it is checked and not written.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<FileName>,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Its owner: plaintext.
    Private,
}

/// Writes a file, or to standard output; what `write` needs has been checked before.
///
/// A file is there after this only if all of it was written.
pub fn write(
    file: &FileName,
    force: bool,
    access: Access,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if file.is_standard() {
        write(out)?;
        return Ok(out.flush()?);
    }
    if !force && file.path().symlink_metadata().is_ok() {
        return Err(Error::Exists(file.clone()).into());
    }
    let mut staged = stage(file, access).map_err(failed(file))?;
    let mut buffer = BufWriter::new(staged.as_file_mut());
    write(&mut buffer)?;
    buffer.flush().map_err(failed(file))?;
    drop(buffer);
    staged.as_file().sync_all().map_err(failed(file))?;
    persist(staged, file, force)
}

/// An error of writing that file.
fn failed(file: &FileName) -> impl FnOnce(io::Error) -> Error {
    let file = file.clone();
    |source| Error::Write { file, source }
}

fn stage(file: &FileName, access: Access) -> io::Result<NamedTempFile> {
    let folder = file
        .path()
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mode = match access {
        Access::Public => 0o644,
        Access::Private => 0o600,
    };
    Builder::new()
        .prefix(".dimed-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn persist(staged: NamedTempFile, file: &FileName, force: bool) -> anyhow::Result<()> {
    let done = match force {
        true => staged.persist(file.path()),
        false => staged.persist_noclobber(file.path()),
    };
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            Err(Error::Exists(file.clone()).into())
        }
        Err(error) => Err(failed(file)(error.error).into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn plaintext_is_for_its_owner_and_nothing_is_left_of_half_a_file() {
        let home = tempfile::tempdir().unwrap();
        let file: FileName = home.path().join("a.eml").into();
        let mode = |file: &FileName| file.path().metadata().unwrap().permissions().mode() & 0o777;
        let put = |text: &'static [u8]| move |to: &mut dyn Write| Ok(to.write_all(text)?);
        write(&file, false, Access::Private, &mut io::sink(), put(b"one")).unwrap();
        assert_eq!(mode(&file), 0o600);
        let exists = write(&file, false, Access::Private, &mut io::sink(), put(b"two")).unwrap_err();
        assert!(matches!(exists.downcast_ref(), Some(Error::Exists(_))));
        let half = |to: &mut dyn Write| {
            to.write_all(b"half")?;
            anyhow::bail!("no")
        };
        assert!(write(&file, true, Access::Private, &mut io::sink(), half).is_err());
        assert_eq!(std::fs::read(file.path()).unwrap(), b"one");
        write(&file, true, Access::Public, &mut io::sink(), put(b"two")).unwrap();
        assert_eq!(
            (mode(&file) & 0o700, std::fs::read(file.path()).unwrap()),
            (0o600, b"two".to_vec())
        );
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
