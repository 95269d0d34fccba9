//! `dimed store …`: looking after the database.

mod backup;
mod export;
mod restore;
mod verify;

use std::io::Write;
use std::path::Path;

use clap::Subcommand;

use super::Exit;
use crate::config::Config;

/// Commands about the database. All but `restore` work while the daemon runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read every row, and say what does not open, cannot be parsed, has a wrong value, or refers to nothing. Exit code 1: there is
    /// something.
    ///
    /// Mail that is set aside already is counted, and is no fault. Copies of others' signets, pinned keys of others, the greylist and the
    /// like are kept under hashes, and do not open without the name: sizes and times are looked at there.
    Verify(verify::Verify),
    /// Set aside mail that cannot be read, so that everything else goes on, and make anew what is made from other rows: indexes, and
    /// the lanes of domains. No mail is deleted. Exit code 1: something is wrong that this cannot repair, or not now, because the daemon
    /// works on it.
    Repair(verify::Repair),
    /// Write messages of the queue into files, as far as they can be read: ID.eml, or ID.dmime if it is sealed, and ID.json with
    /// the envelope. They are not encrypted, and stay in the queue. No file is replaced.
    Export(export::Export),
    /// Copy the database of SQLite into a file, as it is at one moment, with the master key and the certificates that were made here.
    ///
    /// It is for SQLite. With PostgreSQL, use pg_dump or a base backup of the server, and keep a copy of the master key apart from it.
    ///
    /// Whoever has the file can read everything, unless --without-keys leaves out the master key and the certificates. Private keys in
    /// the database are always encrypted under the master key, and so is mail. Mailboxes are not in it.
    Backup(backup::Backup),
    /// Make the installation of this configuration, on SQLite, from a backup. Its data directory must be empty or missing.
    ///
    /// If it is cut off, nothing else can be done with the installation until the same command is run again, or what it has left is
    /// removed. It is for SQLite. With PostgreSQL, restore the database of the server with its own tools, and put the master key back.
    ///
    /// All mail is held, because it may have gone out after the backup was made: `dimed queue list --reason "restored from a backup"`
    /// shows it, and `queue release` or `queue delete` with the same option decide about it.
    Restore(restore::Restore),
}

/// Does as the command says; the configuration is at `path`.
pub async fn run(command: Command, path: &Path, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Verify(arguments) => verify::run(&arguments, config, out).await,
        Command::Repair(arguments) => verify::repair(&arguments, config, out).await,
        Command::Export(arguments) => export::run(&arguments, config, out).await,
        Command::Backup(arguments) => backup::run(&arguments, config, out).await,
        Command::Restore(arguments) => restore::run(&arguments, path, config, out).await,
    }
}
