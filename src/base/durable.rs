//! Folders that are still there after a power cut.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder with mode 0700 if it is not there, and those above it, each durably in the one above.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(above) = folder.parent() else {
        return Err(ErrorKind::NotFound.into());
    };
    // Of a relative path.
    let above = match above.as_os_str().is_empty() {
        true => Path::new("."),
        false => above,
    };
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
