//! What an earlier delivery of the same copy has left.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::durable::sync_folder;

/// The message whose name starts so, new or taken by a mail program, which has put flags behind the name. It stays there
/// through a power cut.
///
/// `new` is looked through first: mail programs move messages from there into `cur`, and never back.
pub(super) fn find(folder: &Path, start: &str) -> io::Result<Option<PathBuf>> {
    for part in ["new", "cur"].map(|part| folder.join(part)) {
        if let Some(path) = find_in(&part, start)? {
            // Whoever brought it may have died before doing this.
            sync_folder(&part)?;
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn find_in(part: &Path, start: &str) -> io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(part) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(start.as_bytes()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
