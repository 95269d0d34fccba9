//! Where lines go. If they cannot be written there, they are lost, and nobody else has to care: mail goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::{Batch, Queue};
use crate::base::observe::Class;
use crate::config::Error;

/// How often is looked whether a file was moved.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// What became of lines and of those before them.
#[derive(Debug, Default)]
pub struct Written {
    /// Lines that were lost before one that is there.
    pub lost: u64,
    /// Why the file cannot be made again; told once.
    pub trouble: Option<io::Error>,
}

/// Is told what became of lines of a class.
type Tell = fn(Class, &Written);

/// Standard error, and files in its place. Each is written by a thread of its own, so that none waits for another.
#[derive(Debug)]
pub struct Outputs {
    standard: Queue,
    /// One for each file; several classes may share it.
    files: Vec<(PathBuf, Arc<Queue>)>,
    classes: Vec<(Class, Arc<Queue>)>,
}

impl Outputs {
    /// With files, which are made if they are not there.
    ///
    /// Errors: [`Error::Unreadable`] if one of them cannot be made.
    pub fn make<'a>(file: impl Fn(Class) -> Option<&'a Path>, tell: Tell) -> Result<Self, Error> {
        let mut outputs = Self::standard(tell)?;
        for class in Class::ALL {
            if let Some(path) = file(class) {
                outputs.add(class, path, true, tell).map_err(unusable(path))?;
            }
        }
        Ok(outputs)
    }

    /// With those files that are there and can be written.
    ///
    /// Errors: [`Error::Unreadable`] if nothing can be written at all.
    pub fn existing<'a>(file: impl Fn(Class) -> Option<&'a Path>, tell: Tell) -> Result<Self, Error> {
        let mut outputs = Self::standard(tell)?;
        for class in Class::ALL {
            if let Some(path) = file(class) {
                // Without it, its lines go to standard error.
                let _ = outputs.add(class, path, false, tell);
            }
        }
        Ok(outputs)
    }

    fn standard(tell: Tell) -> Result<Self, Error> {
        let standard = Standard::open().and_then(|mut standard| {
            Queue::start(move |batch| tell(Class::Operations, &standard.write(batch)))
        });
        Ok(Self {
            standard: standard.map_err(unusable(Path::new("standard error")))?,
            files: Vec::new(),
            classes: Vec::new(),
        })
    }

    fn add(&mut self, class: Class, path: &Path, is_made: bool, tell: Tell) -> io::Result<()> {
        let known = self.files.iter().find(|(known, _)| known == path);
        let queue = match known {
            Some((_, queue)) => Arc::clone(queue),
            None => {
                let mut file = LogFile::open(path, is_made)?;
                let queue = Queue::start(move |batch| tell(class, &file.write(batch)))?;
                let queue = Arc::new(queue);
                self.files.push((path.to_owned(), Arc::clone(&queue)));
                queue
            }
        };
        self.classes.push((class, queue));
        Ok(())
    }

    /// Where lines of a class go.
    pub fn of(&self, class: Class) -> &Queue {
        let file = self.classes.iter().find(|(one, _)| *one == class);
        file.map_or(&self.standard, |(_, queue)| queue)
    }

    /// Waits for so long until everything is written.
    pub fn flush(&self, patience: Duration) {
        let begun = Instant::now();
        let files = self.files.iter().map(|(_, queue)| queue.as_ref());
        for queue in files.chain([&self.standard]) {
            queue.flush(patience.saturating_sub(begun.elapsed()));
        }
    }
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Unreadable { path, source }
}

/// Standard error, past the lock that everybody else takes who writes there.
#[derive(Debug)]
struct Standard {
    file: File,
    lost: Lost,
}

impl Standard {
    fn open() -> io::Result<Self> {
        Ok(Self {
            file: io::stderr().as_fd().try_clone_to_owned()?.into(),
            lost: Lost::default(),
        })
    }

    fn write(&mut self, batch: &Batch) -> Written {
        Written {
            lost: self.lost.put(&mut self.file, batch),
            trouble: None,
        }
    }
}

/// A file that lines are added to, and that may be moved away.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    is_made: bool,
    file: File,
    looked_at: Instant,
    is_in_trouble: bool,
    lost: Lost,
}

impl LogFile {
    fn open(path: &Path, is_made: bool) -> io::Result<Self> {
        Ok(Self {
            file: open(path, is_made)?,
            path: path.to_owned(),
            is_made,
            looked_at: Instant::now(),
            is_in_trouble: false,
            lost: Lost::default(),
        })
    }

    fn write(&mut self, batch: &Batch) -> Written {
        let trouble = match self.looked_at.elapsed() < LOOKED_AT_EVERY {
            true => None,
            false => self.look(),
        };
        Written {
            lost: self.lost.put(&mut self.file, batch),
            trouble,
        }
    }

    /// Makes the file again if it is not there any more.
    fn look(&mut self) -> Option<io::Error> {
        self.looked_at = Instant::now();
        if is_at(&self.file, &self.path) {
            self.is_in_trouble = false;
            return None;
        }
        match open(&self.path, self.is_made) {
            Ok(file) => {
                self.file = file;
                self.is_in_trouble = false;
                self.lost.is_torn = false;
                None
            }
            Err(error) => {
                let is_told = std::mem::replace(&mut self.is_in_trouble, true);
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
    lines: u64,
    /// The last line that was begun has no end.
    is_torn: bool,
}

impl Lost {
    /// Writes lines, or counts them, and those that are lost already. Says how many were lost before one that is there.
    fn put(&mut self, out: &mut impl Write, batch: &Batch) -> u64 {
        let count = match self.end_torn(out) {
            true => write(out, &batch.lines),
            false => 0,
        };
        let (there, rest) = batch.lines.split_at(count);
        if let Some(last) = there.last() {
            self.is_torn = *last != b'\n';
        }
        if rest.is_empty() {
            return std::mem::take(&mut self.lines) + batch.lost;
        }
        let told = match lines(there) {
            0 => 0,
            _ => std::mem::take(&mut self.lines),
        };
        self.lines += lines(rest) + batch.lost;
        told
    }

    fn end_torn(&mut self, out: &mut impl Write) -> bool {
        if self.is_torn {
            self.is_torn = write(out, b"\n") == 0;
        }
        !self.is_torn
    }
}

/// Writes as much as can be; how much that is.
fn write(out: &mut impl Write, octets: &[u8]) -> usize {
    let mut count = 0;
    while let Some(rest) = octets.get(count..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    count.min(octets.len())
}

/// How many end there.
fn lines(octets: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', octets).map(|_| 1).sum()
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

    /// Lines, and how many are lost that would follow them.
    fn batch(lines: &str, lost: u64) -> Batch {
        Batch {
            lines: lines.as_bytes().to_vec(),
            lost,
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once() {
        let mut lost = Lost::default();
        let mut disk = Disk {
            room: 8,
            ..Disk::default()
        };
        let mut put = |disk: &mut Disk, lines, missing| lost.put(disk, &batch(lines, missing));
        assert_eq!(put(&mut disk, "one\n", 0), 0);
        assert_eq!(put(&mut disk, "a long one\n", 0), 0);
        assert_eq!(put(&mut disk, "none\n", 0), 0);
        disk.room = 100;
        assert_eq!(put(&mut disk, "again\n", 0), 2);
        assert_eq!(put(&mut disk, "more\n", 0), 0);
        assert_eq!(disk.there, b"one\na lo\nagain\nmore\n");
    }

    #[test]
    fn of_several_lines_those_count_that_have_no_end() {
        let mut lost = Lost::default();
        let mut disk = Disk {
            room: 11,
            ..Disk::default()
        };
        let mut put = |disk: &mut Disk, lines, missing| lost.put(disk, &batch(lines, missing));
        assert_eq!(put(&mut disk, "one\ntwo\nthree\nfour\n", 3), 0);
        assert_eq!(put(&mut disk, "none\nnone\n", 0), 0);
        disk.room = 100;
        assert_eq!(put(&mut disk, "five\nsix\n", 0), 7);
        assert_eq!(disk.there, b"one\ntwo\nthr\nfive\nsix\n");
        // What had no room in memory is told when those before it are written.
        assert_eq!(put(&mut disk, "seven\n", 2), 2);
        assert_eq!(put(&mut disk, "eight\n", 0), 0);
    }

    /// As if a while had passed.
    fn later(file: &mut LogFile) {
        file.looked_at -= LOOKED_AT_EVERY;
    }

    /// Says nothing.
    fn nobody(_: Class, _: &Written) {}

    #[test]
    fn a_file_that_was_moved_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let (path, old) = (home.path().join("mail.log"), home.path().join("mail.log.1"));
        let mut file = LogFile::open(&path, true).unwrap();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o137,
            0,
            "others cannot read it"
        );
        file.write(&batch("one\n", 0));
        fs::rename(&path, &old).unwrap();
        file.write(&batch("two\n", 0));
        assert!(!path.exists());
        later(&mut file);
        file.write(&batch("three\n", 0));
        assert_eq!(fs::read(&old).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    #[test]
    fn a_file_that_cannot_be_made_again_is_told_of_once_and_the_old_one_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("log");
        fs::create_dir(&folder).unwrap();
        let mut file = LogFile::open(&folder.join("mail.log"), true).unwrap();
        let moved = home.path().join("moved");
        fs::rename(&folder, &moved).unwrap();
        later(&mut file);
        assert!(file.write(&batch("one\n", 0)).trouble.is_some());
        later(&mut file);
        assert!(file.write(&batch("two\n", 0)).trouble.is_none());
        assert_eq!(fs::read(moved.join("mail.log")).unwrap(), b"one\ntwo\n");
        // It is put right, and goes wrong again.
        fs::create_dir(&folder).unwrap();
        later(&mut file);
        assert!(file.write(&batch("three\n", 0)).trouble.is_none());
        assert_eq!(fs::read(folder.join("mail.log")).unwrap(), b"three\n");
        fs::remove_dir_all(&folder).unwrap();
        later(&mut file);
        assert!(file.write(&batch("four\n", 0)).trouble.is_some());
    }

    #[test]
    fn commands_make_no_files() {
        let home = tempfile::tempdir().unwrap();
        let (there, missing) = (home.path().join("audit.log"), home.path().join("mail.log"));
        fs::write(&there, "").unwrap();
        let file = |class| match class {
            Class::Audit => Some(there.as_path()),
            Class::Mail => Some(missing.as_path()),
            _ => None,
        };
        let outputs = Outputs::existing(file, nobody).unwrap();
        outputs.of(Class::Audit).put(b"order\n");
        outputs.flush(Duration::from_secs(60));
        assert_eq!(fs::read(&there).unwrap(), b"order\n");
        assert!(!missing.exists());
        let made = Outputs::make(|_| Some(home.path()), nobody);
        assert!(
            matches!(made, Err(Error::Unreadable { .. })),
            "a folder is no file"
        );
    }

    #[test]
    fn lines_of_classes_that_share_a_file_keep_their_order() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("all.log");
        let outputs = Outputs::make(|_| Some(path.as_path()), nobody).unwrap();
        let mut expected = String::new();
        for number in 0..1000 {
            let line = format!("{number}\n");
            let class = Class::ALL[number % Class::ALL.len()];
            outputs.of(class).put(line.as_bytes());
            expected += &line;
        }
        outputs.flush(Duration::from_secs(60));
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }
}
