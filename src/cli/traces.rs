//! Whether there was an installation here before. Where its database is missing, its disk may be: a new one beside it would refuse
//! and return everybody's mail.
//!
//! Whoever is cut off before there is a database leaves traces as well: so a note comes first, which says that there was none, and
//! which goes when there is one.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::setup;
use crate::base::durable;
use crate::config::{self, Config, Database, Origin};
use crate::store::{self, Place};

/// Behind the name of the configuration.
const NOTE: &str = ".begun";

/// An installation without its database.
#[derive(Debug, thiserror::Error)]
#[error(
    "no database is made: {trace}, and its database is not there ({}): mount its disk, or restore a backup (`dimed store restore`); only \
     if there never was one, or nobody needs it, begin afresh with --new",
    .database.display()
)]
pub struct Gone {
    trace: String,
    database: PathBuf,
}

/// Whether the database is a file that is not there.
pub fn is_without_database(config: &Config) -> bool {
    let place = Place::File(config.server.database());
    config.storage.database == Database::Sqlite
        && matches!(place.demand_there(), Err(store::Error::NoDatabase(_)))
}

/// Demands that the database is there, or that there never was one: [`Gone`]. `is_written` says that the configuration is in its file,
/// at `path`.
pub fn demand_whole(config: &Config, path: &Path, is_written: bool) -> Result<(), Gone> {
    if !is_without_database(config) || note_of(path).exists() {
        return Ok(());
    }
    let trace = match config::find_master_key(config) {
        Origin::File(key) if key.exists() => {
            format!("there is the master key of an installation in {}", key.display())
        }
        Origin::Credential(_) | Origin::Environment if is_written => {
            format!(
                "there is the configuration of an installation in {}, and a master key",
                path.display()
            )
        }
        // The note was there before it.
        _ if is_written && setup::is_ours(path) => {
            format!("{} was written by a set-up that made a database", path.display())
        }
        _ => return Ok(()),
    };
    Err(Gone {
        trace,
        database: config.server.database(),
    })
}

/// Notes beside the configuration that there is no database yet, if that is so.
pub fn begin(config: &Config, path: &Path) -> io::Result<()> {
    if !is_without_database(config) {
        return Ok(());
    }
    let text = b"A database is being made, and there was none before.\n";
    match durable::create(&note_of(path), text, 0o644) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Takes the note away: there is a database.
pub fn end(path: &Path) -> anyhow::Result<()> {
    let note = note_of(path);
    let removed = std::fs::remove_file(&note);
    match note.symlink_metadata() {
        // Where nothing can be written, removing fails also where there is none.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => removed.with_context(|| format!("{} cannot be removed", note.display())),
    }
}

fn note_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(NOTE);
    name.into()
}
