//! The log of a database after a sync of it has failed.
//!
//! What could not be written is no longer dirty for the system, so later syncs succeed, though it is missing on the disk. As long as
//! nobody has dropped it from memory it can be written again. Before that nothing may be put behind it, nor be brought from it into the
//! database: after a power cut SQLite would take the log only up to what is missing.
//!
//! What the system has dropped reads as it was before. So each frame is checked before it is written again, as SQLite does when it takes up
//! a log (<https://sqlite.org/fileformat2.html#walformat>): the log says with checksums how far it goes, and SQLite, which remembers, how
//! far it has to go. One case is not found out: all that was written of a log that SQLite has begun anew was dropped, and what stood there
//! before ends a transaction at the same frame. SQLite's index, which would tell, must not be opened here, for closing it would give
//! SQLite's own locks away.
//!
//! # When it cannot be brought into the database
//!
//! After a sync of the database that failed, pages that were brought there may be missing on the disk, whatever later syncs say. Once the
//! system has dropped them they are read as they were before. SQLite reads a page in the log, unless it counts that frame of the log among
//! those that were brought over. It counts them after a sync if that was the whole log, but without one if somebody who was reading kept
//! it from a part; a failure leaves the count as it is. So:
//!
//! - If it counts none, it reads in the log whatever is there, and the rest of the database was synced when this log was begun. What is
//!   read is right, and what rests on it may be written.
//! - If it counts some, pages of those may be read wrongly, until all that has the database open is ended. Nothing is written that would
//!   rest on them ([`doubtful_pages`]).
//!
//! In either case nobody brings over anything more: whoever has failed leaves a note for the others ([`note_kept_log`]). And the writer
//! pins the log: it goes on reading it as it is then. That does not change where pages are read. It keeps SQLite from beginning the log
//! anew, should somebody who knows of no note bring all of it over: the log is what has every page for certain.
//!
//! When all are gone, SQLite begins to count at none, and reads everything in the log. Whoever comes next, and is alone, makes sure of that
//! ([`demand_begun_anew`]), and brings all over again.
//!
//! [`note_kept_log`]: super::note_kept_log

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use rusqlite::types::Value;

use super::connection::{Options, SqliteConnection};
use super::open_writer;
use crate::store::Error;

/// Octets of the header of a log, and of that of a frame.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// How a log begins. The last bit says whether the words that are summed up have their highest octet first.
const MAGIC: u32 = 0x377f_0682;

/// Sizes of a page.
const PAGE_SIZES: RangeInclusive<u32> = 512..=65_536;

/// Writes the log again, as it is read, and syncs it. Nobody else writes meanwhile.
///
/// Errors: [`Error::NotDurable`] if what SQLite has written is not there any more.
pub(in crate::store) async fn mend(options: &Options) -> Result<(), Error> {
    let options = options.clone();
    let mended = tokio::task::spawn_blocking(move || {
        let mut connection = open_writer(&options)?;
        let mut other = open_writer(&options)?;
        connection.execute("BEGIN IMMEDIATE", Vec::new())?;
        let mended = write_again(&options, &mut other);
        connection.execute("ROLLBACK", Vec::new())?;
        mended
    });
    mended.await.map_err(io::Error::other).map_err(Error::File)?
}

fn write_again(options: &Options, connection: &mut SqliteConnection) -> Result<(), Error> {
    let frames = frames(connection)?.written;
    let log = OpenOptions::new().read(true).write(true).open(options.log());
    let log = log.map_err(Error::File)?;
    if frames > 0 && !write_frames(&log, frames).map_err(Error::File)? {
        return Err(Error::NotDurable(
            "the log of the database is not what was written there: end all that has it open, and start again".to_owned(),
        ));
    }
    log.sync_data().map_err(Error::File)
}

/// What is done about pages that may be read wrongly.
pub(in crate::store) fn doubtful_pages() -> Error {
    Error::NotDurable(
        "pages that could not be synced may be read as they were before: end all that has the database open, start again, and run \
         `dimed store verify`"
            .to_owned(),
    )
}

/// That SQLite reads everything in the log that is there: [`doubtful_pages`] if somebody has had the database open all the time since something
/// was brought over.
pub(super) fn demand_begun_anew(connection: &mut SqliteConnection) -> Result<(), Error> {
    match frames(connection)?.brought {
        0 => Ok(()),
        _ => Err(doubtful_pages()),
    }
}

/// Frames that SQLite has written, and counts on, and how many of them it counts as brought into the database.
struct Frames {
    written: u64,
    brought: u64,
}

/// A connection with an open transaction cannot be asked.
fn frames(connection: &mut SqliteConnection) -> Result<Frames, Error> {
    // What comes first is whether others were in the way.
    let rows = connection.fetch("PRAGMA wal_checkpoint(NOOP)", Vec::new(), 1)?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let count = |index| -> Result<u64, sqlx::Error> {
        match row.at(index)? {
            Value::Integer(count) => Ok(u64::try_from(*count).unwrap_or(0)),
            _ => Err(sqlx::Error::RowNotFound),
        }
    };
    Ok(Frames {
        written: count(1)?,
        brought: count(2)?,
    })
}

/// Whether they are all there. Those before the first that is not are written again.
fn write_frames(log: &File, frames: u64) -> io::Result<bool> {
    let mut header = [0; HEADER];
    let Some(mut chain) = read(log, &mut header, 0)?.then(|| Chain::of(&header)).flatten() else {
        return Ok(false);
    };
    log.write_all_at(&header, 0)?;
    let mut frame = vec![0; FRAME_HEADER + chain.page_size];
    let mut at = HEADER as u64;
    for number in 1..=frames {
        let is_next = read(log, &mut frame, at)? && chain.goes_on(&frame);
        // What SQLite counts on ends with a transaction.
        if !is_next || number == frames && !ends_transaction(&frame) {
            return Ok(false);
        }
        log.write_all_at(&frame, at)?;
        at += frame.len() as u64;
    }
    Ok(true)
}

/// Whether there is as much.
fn read(log: &File, into: &mut [u8], at: u64) -> io::Result<bool> {
    match log.read_exact_at(into, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn ends_transaction(frame: &[u8]) -> bool {
    word(frame, 4) != 0
}

/// What the frames of a log have in common, and the checksum of all so far.
struct Chain {
    page_size: usize,
    is_big_endian: bool,
    salts: [u32; 2],
    sum: [u32; 2],
}

impl Chain {
    /// `None` if that is no header of a log.
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        let (magic, page_size) = (word(header, 0), word(header, 8));
        let is_known = magic & !1 == MAGIC && PAGE_SIZES.contains(&page_size) && page_size.is_power_of_two();
        let mut chain = Self {
            page_size: usize::try_from(page_size).ok()?,
            is_big_endian: magic & 1 == 1,
            salts: [word(header, 16), word(header, 20)],
            sum: [0, 0],
        };
        chain.add(&header[..24]);
        (is_known && chain.sum == [word(header, 24), word(header, 28)]).then_some(chain)
    }

    /// Whether that is the next frame.
    fn goes_on(&mut self, frame: &[u8]) -> bool {
        self.add(&frame[..8]);
        self.add(&frame[FRAME_HEADER..]);
        let salts = [word(frame, 8), word(frame, 12)];
        let sum = [word(frame, 16), word(frame, 20)];
        salts == self.salts && sum == self.sum
    }

    fn add(&mut self, octets: &[u8]) {
        let [mut first, mut second] = self.sum;
        for pair in octets.chunks_exact(8) {
            first = first.wrapping_add(self.summand(&pair[..4])).wrapping_add(second);
            second = second.wrapping_add(self.summand(&pair[4..])).wrapping_add(first);
        }
        self.sum = [first, second];
    }

    fn summand(&self, octets: &[u8]) -> u32 {
        match self.is_big_endian {
            true => word(octets, 0),
            false => word(octets, 0).swap_bytes(),
        }
    }
}

/// Four octets, the highest first.
fn word(octets: &[u8], at: usize) -> u32 {
    octets[at..at + 4]
        .iter()
        .fold(0, |word, octet| (word << 8) | u32::from(*octet))
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

    /// The system has dropped what it could not write: what stood there before is read.
    #[tokio::test]
    async fn a_log_in_which_something_is_missing_is_not_taken_for_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (options, connection) = database(folder.path());
        let whole = std::fs::read(options.log()).unwrap();
        let log = OpenOptions::new().write(true).open(options.log()).unwrap();
        let last = whole.len() - 10;
        // Where SQLite does not look.
        for at in [0, 17, HEADER + 1, HEADER + FRAME_HEADER + 2_000, last] {
            log.write_all_at(&[!whole[at]], at as u64).unwrap();
            let refused = mend(&options).await;
            assert!(matches!(refused, Err(Error::NotDurable(_))), "{at}: {refused:?}");
            log.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
        log.set_len(last as u64).unwrap();
        assert!(matches!(mend(&options).await, Err(Error::NotDurable(_))));
        log.write_all_at(&whole[last..], last as u64).unwrap();
        mend(&options).await.unwrap();
        assert_eq!(std::fs::read(options.log()).unwrap(), whole);
        drop(connection);
    }

    /// What stands behind the frames that SQLite counts on is of an earlier time.
    #[tokio::test]
    async fn a_log_that_was_begun_anew_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (options, mut connection) = database(folder.path());
        connection
            .fetch("PRAGMA wal_checkpoint(FULL)", Vec::new(), 1)
            .unwrap();
        mend(&options).await.unwrap();
        connection
            .execute("INSERT INTO t VALUES (3)", Vec::new())
            .unwrap();
        assert!(frames(&mut connection).unwrap().written < 3);
        mend(&options).await.unwrap();
    }
}
