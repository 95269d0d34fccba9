//! Leaves a message in the drop folder.
//!
//! The file gets a name that nobody can guess, and mode 0600 while it is written. The mode says when it is complete: the daemon
//! must be able to read it then, and nobody else finds it, as the folder cannot be listed. Content comes to the disk before
//! the mode does. The name of a new file comes to the disk with the file on the file systems of Linux that keep a journal; where
//! the folder can be opened, it is synced as well.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::place::Place;
use super::{Failure, Status};
use crate::base::id::QueueId;
use crate::daemon::pickup::{READY, UNFINISHED};
use crate::mail::dropped::Dropped;

/// Makes a message durable.
pub fn leave(place: &Place, envelope: &Dropped, message: &[u8]) -> Result<(), Failure> {
    let Some(envelope) = envelope.encode(message.len()) else {
        let text = "there are too many recipients, or an address has a control character";
        return Err(Failure::new(Status::Usage, text));
    };
    // Any random name will do.
    let path = place.drop.join(QueueId::random(&mut rand::rng()).to_string());
    write(&path, &[&envelope, message]).map_err(|error| {
        // Whatever there is of it is not complete.
        let _ = fs::remove_file(&path);
        failure(&place.drop, &error)
    })?;
    if let Ok(folder) = File::open(&place.drop) {
        // It may be one that cannot be synced.
        let _ = folder.sync_all();
    }
    Ok(())
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(UNFINISHED)
        .open(path)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(UNFINISHED))?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    file.set_permissions(Permissions::from_mode(READY))?;
    file.sync_all()
}

fn failure(folder: &Path, error: &io::Error) -> Failure {
    let folder = folder.display();
    match error.kind() {
        ErrorKind::NotFound => Failure::new(
            Status::Config,
            format!("there is no drop folder {folder}: make it as deploy/dimed.tmpfiles says"),
        ),
        ErrorKind::PermissionDenied => {
            let text = format!("messages cannot be left in {folder}: {error}");
            Failure::new(Status::NoPerm, text)
        }
        _ => {
            let text = format!("the message cannot be left in {folder}: {error}");
            Failure::new(Status::TempFail, text)
        }
    }
}
