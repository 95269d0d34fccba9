//! Files that somebody names, read without waiting for anybody.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Opens a file to read it.
///
/// Errors: of kind `InvalidInput` for what is no regular file. A pipe would be waited for until somebody writes into it.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
    }
}

/// Reads a whole file, which may hold a secret, of `most` octets at most.
///
/// Errors: also of kind `FileTooLarge`.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    // Room for everything at once, so that no copy is left behind by growing.
    let room = usize::try_from(size.min(most)).unwrap_or_default();
    let mut octets = Zeroizing::new(Vec::with_capacity(room.saturating_add(1)));
    let count = file.take(most.saturating_add(1)).read_to_end(&mut octets)?;
    match u64::try_from(count).is_ok_and(|count| count <= most) {
        true => Ok(octets),
        false => Err(ErrorKind::FileTooLarge.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_file_is_read_and_nobody_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap().as_slice(), b"12345");
        assert_eq!(read(&file, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read(&link, 5).unwrap().as_slice(), b"12345");
        let pipe = home.path().join("pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        for other in [pipe.as_path(), home.path()] {
            assert_eq!(open(other).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(
            open(&home.path().join("none")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
