//! Whether there was an installation here before. Where its database is missing, its disk may be: a new one beside it would refuse
//! and return everybody's mail.
//!
//! Whoever is cut off before there is a database leaves traces as well: so a note comes first, which says that there was none, and
//! which goes when there is one, or when whoever has made it fails before anything else is made.

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

/// A note that was not there before, and what there was of an installation then.
pub struct Begun {
    config: Config,
    path: PathBuf,
    before: [bool; 3],
}

impl Begun {
    /// Takes the note away again where nothing has been made after it: it would stand for any database that is gone later.
    pub fn call_off(self) {
        if made(&self.config, &self.path) == self.before {
            // Whoever may not do that has not made it either, as a rule.
            let _ = end(&self.path);
        }
    }
}

/// Notes beside the configuration that there is no database yet, if that is so. `None` where it is not, or noted already.
pub fn begin(config: &Config, path: &Path) -> io::Result<Option<Begun>> {
    if !is_without_database(config) {
        return Ok(None);
    }
    let begun = Begun {
        config: config.clone(),
        path: path.to_owned(),
        before: made(config, path),
    };
    let text = b"A database is being made, and there was none before.\n";
    match durable::create(&note_of(path), text, 0o644) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        done => done.map(|()| Some(begun)),
    }
}

/// What there is that makes an installation: a master key in its file, a database, a configuration of a set-up.
fn made(config: &Config, path: &Path) -> [bool; 3] {
    let has_key = matches!(config::find_master_key(config), Origin::File(key) if key.exists());
    [has_key, config.server.database().exists(), setup::is_ours(path)]
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_note_goes_where_nothing_was_made_after_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("dimed.toml");
        let mut config = Config::for_host("mx.example".parse().unwrap());
        config.server.data_directory = home.path().join("data");
        config.server.master_key_file = home.path().join("master.key");
        begin(&config, &path).unwrap().unwrap().call_off();
        assert!(!note_of(&path).exists());
        let begun = begin(&config, &path).unwrap().unwrap();
        // It is not ours to be taken away.
        assert!(begin(&config, &path).unwrap().is_none());
        std::fs::write(&config.server.master_key_file, "").unwrap();
        begun.call_off();
        assert!(note_of(&path).exists());
    }
}
