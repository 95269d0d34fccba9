//! The log of a database after a sync of it has failed.
//!
//! What could not be written is no longer dirty for the system, so later syncs succeed, though it is missing on the disk. As long as
//! nobody has dropped it from memory it can be written again. Before that nothing may be put behind it, nor be brought from it into the
//! database: after a power cut SQLite would take the log only up to what is missing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use super::connection::Options;
use super::open_writer;
use crate::store::Error;

/// Octets that are read and written at a time.
const PIECE: usize = 1 << 20;

/// Writes the log again, as it is read, and syncs it. Nobody else writes meanwhile.
///
/// What the system has dropped from memory, because it took it for written, cannot be told from what was: SQLite's index, which knows, must
/// not be opened here, for closing it would give SQLite's own locks away.
pub(in crate::store) async fn mend(options: &Options) -> Result<(), Error> {
    let options = options.clone();
    let mended = tokio::task::spawn_blocking(move || {
        let mut connection = open_writer(&options)?;
        connection.execute("BEGIN IMMEDIATE", Vec::new())?;
        let log = OpenOptions::new().read(true).write(true).open(options.log());
        let mended = log.and_then(|log| write_again(&log)).map_err(Error::File);
        connection.execute("ROLLBACK", Vec::new())?;
        mended
    });
    mended.await.map_err(io::Error::other).map_err(Error::File)?
}

fn write_again(log: &File) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = log.read_at(&mut piece, at)?;
        if read == 0 {
            return log.sync_data();
        }
        log.write_all_at(&piece[..read], at)?;
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn database(folder: &Path) -> (Options, crate::store::sqlite::SqliteConnection) {
        let options = super::super::options(&folder.join("x.db"));
        let mut connection = open_writer(&options).unwrap();
        for sql in [
            "CREATE TABLE t (id)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
        ] {
            connection.execute(sql, Vec::new()).unwrap();
        }
        (options, connection)
    }

    #[tokio::test]
    async fn a_log_is_written_again_as_it_is_and_nothing_is_brought_into_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let (options, mut connection) = database(folder.path());
        let (log, file) = (
            std::fs::read(options.log()).unwrap(),
            std::fs::read(options.path()).unwrap(),
        );
        assert!(!log.is_empty());
        mend(&options).await.unwrap();
        assert_eq!(std::fs::read(options.log()).unwrap(), log);
        assert_eq!(std::fs::read(options.path()).unwrap(), file);
        connection
            .execute("INSERT INTO t VALUES (3)", Vec::new())
            .unwrap();
        mend(&options).await.unwrap();
    }
}
