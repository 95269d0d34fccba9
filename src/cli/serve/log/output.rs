//! Where lines go. If they cannot be written there, they are lost, and nobody else has to care: mail goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::observe::Class;
use crate::config::Error;

/// How often is looked whether a file was moved.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// What became of a line and of those before it.
#[derive(Debug, Default)]
pub struct Written {
    /// Lines that were lost before this one, which is there.
    pub lost: u64,
    /// Why the file cannot be made again; told once.
    pub trouble: Option<io::Error>,
}

/// Standard error, and files in its place.
#[derive(Debug)]
pub struct Outputs {
    standard: Lost,
    files: BTreeMap<Class, LogFile>,
}

impl Outputs {
    /// With files, which are made if they are not there.
    pub fn make<'a>(file: impl Fn(Class) -> Option<&'a Path>) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for class in Class::ALL {
            if let Some(path) = file(class) {
                let opened = LogFile::open(path, true).map_err(|source| Error::Unreadable {
                    path: path.to_owned(),
                    source,
                })?;
                files.insert(class, opened);
            }
        }
        Ok(Self {
            standard: Lost::default(),
            files,
        })
    }

    /// With those files that are there and can be written.
    pub fn existing<'a>(file: impl Fn(Class) -> Option<&'a Path>) -> Self {
        let opened = |class| Some((class, LogFile::open(file(class)?, false).ok()?));
        Self {
            standard: Lost::default(),
            files: Class::ALL.into_iter().filter_map(opened).collect(),
        }
    }

    /// Writes a line, its end included.
    pub fn write(&self, class: Class, line: &[u8]) -> Written {
        match self.files.get(&class) {
            Some(file) => file.write(line),
            None => Written {
                lost: self.standard.put(&mut io::stderr().lock(), line),
                trouble: None,
            },
        }
    }
}

/// A file that lines are added to, and that may be moved away.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    is_made: bool,
    open: Mutex<Open>,
    lost: Lost,
}

#[derive(Debug)]
struct Open {
    file: File,
    looked_at: Instant,
    is_in_trouble: bool,
}

impl LogFile {
    fn open(path: &Path, is_made: bool) -> io::Result<Self> {
        Ok(Self {
            open: Mutex::new(Open {
                file: open(path, is_made)?,
                looked_at: Instant::now(),
                is_in_trouble: false,
            }),
            path: path.to_owned(),
            is_made,
            lost: Lost::default(),
        })
    }

    fn write(&self, line: &[u8]) -> Written {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = match open.looked_at.elapsed() < LOOKED_AT_EVERY {
            true => None,
            false => self.look(&mut open),
        };
        Written {
            lost: self.lost.put(&mut open.file, line),
            trouble,
        }
    }

    /// Makes the file again if it is not there any more.
    fn look(&self, now: &mut Open) -> Option<io::Error> {
        now.looked_at = Instant::now();
        if is_at(&now.file, &self.path) {
            now.is_in_trouble = false;
            return None;
        }
        match open(&self.path, self.is_made) {
            Ok(file) => {
                now.file = file;
                now.is_in_trouble = false;
                self.lost.is_torn.store(false, Ordering::Relaxed);
                None
            }
            Err(error) => {
                let is_told = std::mem::replace(&mut now.is_in_trouble, true);
                (!is_told).then_some(error)
            }
        }
    }
}

fn open(path: &Path, is_made: bool) -> io::Result<File> {
    // Opening it would wait for a reader.
    if path.metadata().is_ok_and(|found| found.file_type().is_fifo()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a pipe, not a file"));
    }
    OpenOptions::new()
        .append(true)
        .create(is_made)
        .mode(0o640)
        .open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(opened), Ok(found)) => (opened.dev(), opened.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

/// What could not be written.
#[derive(Debug, Default)]
struct Lost {
    lines: AtomicU64,
    /// The last line that was begun has no end.
    is_torn: AtomicBool,
}

impl Lost {
    /// Writes a line, or counts it. Says how many were lost before the first that is written again.
    fn put(&self, out: &mut impl Write, line: &[u8]) -> u64 {
        match self.end_torn(out) && self.put_all(out, line) {
            true => self.lines.swap(0, Ordering::Relaxed),
            false => {
                self.lines.fetch_add(1, Ordering::Relaxed);
                0
            }
        }
    }

    fn end_torn(&self, out: &mut impl Write) -> bool {
        if !self.is_torn.load(Ordering::Relaxed) {
            return true;
        }
        let has_ended = self.put_all(out, b"\n");
        self.is_torn.store(!has_ended, Ordering::Relaxed);
        has_ended
    }

    /// Writes as much of it as can be; whether that is all.
    fn put_all(&self, out: &mut impl Write, octets: &[u8]) -> bool {
        let mut rest = octets;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => break,
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if !rest.is_empty() && rest.len() < octets.len() {
            self.is_torn.store(true, Ordering::Relaxed);
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// So much room, and what is there.
    #[derive(Default)]
    struct Disk {
        room: usize,
        there: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let count = octets.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.there.extend_from_slice(&octets[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once() {
        let lost = Lost::default();
        let mut disk = Disk {
            room: 8,
            ..Disk::default()
        };
        assert_eq!(lost.put(&mut disk, b"one\n"), 0);
        assert_eq!(lost.put(&mut disk, b"a long one\n"), 0);
        assert_eq!(lost.put(&mut disk, b"none\n"), 0);
        disk.room = 100;
        assert_eq!(lost.put(&mut disk, b"again\n"), 2);
        assert_eq!(lost.put(&mut disk, b"more\n"), 0);
        assert_eq!(disk.there, b"one\na lo\nagain\nmore\n");
    }

    /// As if a while had passed.
    fn later(file: &LogFile) {
        file.open.lock().unwrap().looked_at -= LOOKED_AT_EVERY;
    }

    #[test]
    fn a_file_that_was_moved_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let (path, old) = (home.path().join("mail.log"), home.path().join("mail.log.1"));
        let file = LogFile::open(&path, true).unwrap();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o137,
            0,
            "others cannot read it"
        );
        file.write(b"one\n");
        fs::rename(&path, &old).unwrap();
        file.write(b"two\n");
        assert!(!path.exists());
        later(&file);
        file.write(b"three\n");
        assert_eq!(fs::read(&old).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    #[test]
    fn a_file_that_cannot_be_made_again_is_told_of_once_and_the_old_one_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("log");
        fs::create_dir(&folder).unwrap();
        let file = LogFile::open(&folder.join("mail.log"), true).unwrap();
        let moved = home.path().join("moved");
        fs::rename(&folder, &moved).unwrap();
        later(&file);
        assert!(file.write(b"one\n").trouble.is_some());
        later(&file);
        assert!(file.write(b"two\n").trouble.is_none());
        assert_eq!(fs::read(moved.join("mail.log")).unwrap(), b"one\ntwo\n");
        // It is put right, and goes wrong again.
        fs::create_dir(&folder).unwrap();
        later(&file);
        assert!(file.write(b"three\n").trouble.is_none());
        assert_eq!(fs::read(folder.join("mail.log")).unwrap(), b"three\n");
        fs::remove_dir_all(&folder).unwrap();
        later(&file);
        assert!(file.write(b"four\n").trouble.is_some());
    }

    #[test]
    fn commands_make_no_files() {
        let home = tempfile::tempdir().unwrap();
        let (there, missing) = (home.path().join("audit.log"), home.path().join("mail.log"));
        fs::write(&there, "").unwrap();
        let outputs = Outputs::existing(|class| match class {
            Class::Audit => Some(there.as_path()),
            Class::Mail => Some(missing.as_path()),
            _ => None,
        });
        outputs.write(Class::Audit, b"order\n");
        assert_eq!(fs::read(&there).unwrap(), b"order\n");
        assert!(!missing.exists());
        let made = Outputs::make(|_| Some(home.path()));
        assert!(
            matches!(made, Err(Error::Unreadable { .. })),
            "a folder is no file"
        );
    }
}
