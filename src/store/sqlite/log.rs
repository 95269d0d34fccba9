//! The log of a database after a sync of it has failed.
//!
//! What could not be written is no longer dirty for the system, so later syncs succeed, though it is missing on the disk. As long as
//! nobody has dropped it from memory it can be written again. Before that nothing may be put behind it, nor be brought from it into the
//! database: after a power cut SQLite would take the log only up to what is missing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::connection::Options;
use super::open_writer;
use crate::store::Error;

/// Octets that are read and written at a time.
const PIECE: usize = 1 << 20;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Where the index has the number of frames that are in use (`mxFrame`), in the order of octets of this machine.
const FRAMES_AT: u64 = 16;

/// Writes the log again, as it is read, and syncs it. Nobody else writes meanwhile.
///
/// Errors: [`Error::NotDurable`] if what is read is not what was written: a restart leaves out what follows it.
pub(in crate::store) async fn mend(options: &Options) -> Result<(), Error> {
    let options = options.clone();
    let mended = tokio::task::spawn_blocking(move || {
        let mut connection = open_writer(&options)?;
        connection.execute("BEGIN IMMEDIATE", Vec::new())?;
        let mended = rewrite(&options.log(), &options.index());
        connection.execute("ROLLBACK", Vec::new())?;
        mended
    });
    mended.await.map_err(io::Error::other).map_err(Error::File)?
}

fn rewrite(path: &Path, index: &Path) -> Result<(), Error> {
    let log = OpenOptions::new().read(true).write(true).open(path);
    let log = log.map_err(Error::File)?;
    let frames = frames(index).map_err(Error::File)?;
    if !is_whole(&log, frames).map_err(Error::File)? {
        let what = format!("{} is not as it was written: restart", path.display());
        return Err(Error::NotDurable(what));
    }
    write_again(&log).map_err(Error::File)
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

/// How many frames of the log are in use.
fn frames(index: &Path) -> io::Result<u32> {
    let mut number = [0; 4];
    File::open(index)?.read_exact_at(&mut number, FRAMES_AT)?;
    Ok(u32::from_ne_bytes(number))
}

/// Whether so many frames follow each other by their checksums (<https://www.sqlite.org/fileformat2.html#walformat>).
fn is_whole(log: &File, frames: u32) -> io::Result<bool> {
    if frames == 0 {
        return Ok(true);
    }
    let mut header = [0; HEADER];
    log.read_exact_at(&mut header, 0)?;
    let page = u32_at(&header, 8) as usize;
    if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
        return Ok(false);
    }
    let mut sum = Sum {
        is_big_endian: header[3] & 1 == 1,
        sums: [0, 0],
    };
    sum.add(&header[..24]);
    if sum.sums != [u32_at(&header, 24), u32_at(&header, 28)] {
        return Ok(false);
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    let size = frame.len() as u64;
    for number in 0..u64::from(frames) {
        log.read_exact_at(&mut frame, HEADER as u64 + number * size)?;
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER..]);
        let is_next = frame[8..16] == header[16..24];
        if !is_next || sum.sums != [u32_at(&frame, 16), u32_at(&frame, 20)] {
            return Ok(false);
        }
    }
    Ok(true)
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    octets[at..at + 4]
        .iter()
        .fold(0, |number, octet| number << 8 | u32::from(*octet))
}

/// The checksum of the log up to somewhere.
struct Sum {
    is_big_endian: bool,
    sums: [u32; 2],
}

impl Sum {
    /// Whole words of eight octets.
    fn add(&mut self, octets: &[u8]) {
        let word = |four: &[u8]| {
            let word = u32_at(four, 0);
            if self.is_big_endian {
                word
            } else {
                word.swap_bytes()
            }
        };
        let [mut first, mut second] = self.sums;
        for pair in octets.chunks_exact(8) {
            first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
            second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
        }
        self.sums = [first, second];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
        assert!(frames(&options.index()).unwrap() > 2);
        mend(&options).await.unwrap();
        assert_eq!(std::fs::read(options.log()).unwrap(), log);
        assert_eq!(std::fs::read(options.path()).unwrap(), file);
        connection
            .execute("INSERT INTO t VALUES (3)", Vec::new())
            .unwrap();
        mend(&options).await.unwrap();
    }

    /// What the system has dropped from memory comes from the disk, where it was never written.
    #[tokio::test]
    async fn a_log_that_is_not_as_it_was_written_is_not_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (options, _connection) = database(folder.path());
        let log = OpenOptions::new().write(true).open(options.log()).unwrap();
        log.write_all_at(&[7; 8], (HEADER + FRAME_HEADER + 100) as u64)
            .unwrap();
        let refused = mend(&options).await;
        assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
    }
}
