//! Files that are written piece by piece, and have a name only once they are complete.

use std::io::{BufWriter, Write};

use clap::Args;

use crate::base::durable::Staged;
use crate::cli::files::FileName;

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
    file.check_output(force)?;
    let mode = match access {
        Access::Public => 0o644,
        Access::Private => 0o600,
    };
    let mut staged = Staged::at(file.path(), mode).map_err(file.unwritable())?;
    let mut buffer = BufWriter::new(staged.file());
    write(&mut buffer)?;
    buffer.flush().map_err(file.unwritable())?;
    drop(buffer);
    Ok(staged.persist(force).map_err(file.unwritable())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::files::Error;

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
