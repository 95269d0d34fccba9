//! Files and folders that are still there after a power cut.

mod staged;

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

pub use staged::Staged;

/// Makes a folder with mode 0700 if it is not there, and those above it, each durably in the one above.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    create_folder(above)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        // Somebody else was quicker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made?,
    }
    sync_folder(above)
}

/// Makes the entries of a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a file as a whole, in place of one of the same name: whoever looks sees the old one or the new one, and none that is
/// half written, also where several write it. The folder must be there.
pub fn replace(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    write(path, octets, mode, true)
}

/// Writes a file as a whole, as a new one. The folder must be there.
///
/// Errors: also of kind `AlreadyExists`.
pub fn create(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    write(path, octets, mode, false)
}

fn write(path: &Path, octets: &[u8], mode: u32, replaces: bool) -> io::Result<()> {
    let mut staged = Staged::at(path, mode)?;
    staged.file().write_all(octets)?;
    staged.persist(replaces)?;
    sync_folder(folder_of(path))
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_made_only_where_there_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key.pem");
        create(&path, b"old", 0o644).unwrap();
        let exists = create(&path, b"other", 0o644).unwrap_err();
        assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn several_who_replace_a_file_leave_one_that_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("chain.pem");
        let texts = ["a".repeat(300_000), "b".repeat(100_000)];
        replace(&path, texts[0].as_bytes(), 0o600).unwrap();
        std::thread::scope(|scope| {
            for text in &texts {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        replace(path, text.as_bytes(), 0o600).unwrap();
                        let found = std::fs::read_to_string(path).unwrap();
                        assert!([300_000, 100_000].contains(&found.len()), "{}", found.len());
                    }
                });
            }
        });
        assert!(texts.contains(&std::fs::read_to_string(&path).unwrap()));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
