//! The drop folder: everybody on this host may put files there, and nobody but its owner can list them.
//!
//! | What stands there | What becomes of it |
//! |---|---|
//! | a file with mode 0644 and one name | `sendmail` has finished it: it is taken |
//! | the same, of another version of `sendmail` | it stays for a day, and then it goes |
//! | one with mode 0600 | it is being written; after a day nobody goes on with it, and it goes |
//! | a file with more names, or another mode | it goes: it may be somebody else's |
//! | anything else | it goes, unless it is a folder with something in it |
//!
//! A file is opened first and judged then, so that what was judged is what is read. The user is the file's owner, as the
//! kernel says.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::turns::{Candidate, Delayed, Mark, Waiting};

/// The mode of a file that is complete.
pub const READY: u32 = 0o644;
/// The mode of one that is not.
pub const UNFINISHED: u32 = 0o600;

/// How long a file may be unfinished, or of another version.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Why the folder is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It is not there.
    #[error("there is no drop folder")]
    Missing,
    /// It cannot be opened or listed.
    #[error("the drop folder cannot be read")]
    Io(#[from] io::Error),
    /// Others could take files out of it, or put others in their place.
    #[error(
        "the drop folder must belong to the daemon's user, with mode 1733 (or 0700, for that user alone)"
    )]
    Unsafe,
}

/// The folder, opened.
pub struct Folder {
    folder: OwnedFd,
}

/// A file that is complete.
pub struct LeftFile {
    /// Its name, which nobody could have known before.
    pub name: String,
    /// Open, at its start.
    pub file: File,
    /// Whose it is.
    pub uid: u32,
    /// Octets of the file.
    pub size: u64,
    /// It has been there for longer than one that is not complete may be.
    pub is_old: bool,
}

/// What one look found.
#[derive(Default)]
pub struct Found {
    /// Files that may be complete.
    pub waiting: Waiting,
    /// Things that had no place there and are gone, and an owner of one of them.
    pub removed: usize,
    /// Whose the last of them was.
    pub removed_of: Option<u32>,
}

impl Found {
    fn note(&mut self, uid: u32) {
        self.removed += 1;
        self.removed_of = Some(uid);
    }
}

impl Folder {
    /// Opens the folder if only its owner, who must be the user of this process, can take files out of it.
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        Self::open_of(path, rustix::process::geteuid().as_raw())
    }

    /// The same for whoever looks at it in the place of its owner, who must be `user`.
    pub fn open_of(path: &Path, user: u32) -> Result<Self, Unusable> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => Unusable::Missing,
            error => Unusable::Io(error.into()),
        })?;
        let stat = rustix::fs::fstat(&folder).map_err(io::Error::from)?;
        let is_ours = stat.st_uid == user;
        let others_write = stat.st_mode & 0o022 != 0;
        let others_list = stat.st_mode & 0o044 != 0;
        let is_sticky = stat.st_mode & 0o1000 != 0;
        match is_ours && !others_list && (is_sticky || !others_write) {
            true => Ok(Self { folder }),
            false => Err(Unusable::Unsafe),
        }
    }

    /// Looks at everything there but what is delayed, and removes what has no place there.
    pub fn look(&self, delayed: &Delayed) -> io::Result<Found> {
        let mut found = Found::default();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // Gone meanwhile, or not for us to know.
            let Ok(stat) = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            match (judge(&stat), name.to_str()) {
                (Verdict::Ready, Ok(text)) => {
                    let mark = Mark::of(&stat);
                    if !delayed.has(mark) {
                        found.waiting.add(Candidate {
                            name: text.to_owned(),
                            uid: stat.st_uid,
                            mark,
                        });
                    }
                }
                (Verdict::Unfinished, _) => {}
                (Verdict::Ready | Verdict::Foreign, _) => {
                    let flags = match FileType::from_raw_mode(stat.st_mode) {
                        FileType::Directory => AtFlags::REMOVEDIR,
                        _ => AtFlags::empty(),
                    };
                    if rustix::fs::unlinkat(&self.folder, name, flags).is_ok() {
                        found.note(stat.st_uid);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Opens a file, if it is complete.
    pub fn take(&self, name: String) -> io::Result<Option<LeftFile>> {
        // A pipe or a lease does not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, name.as_str(), flags, Mode::empty()) {
            Ok(file) => file,
            // It is something else by now, or somebody holds it back.
            Err(Errno::NOENT | Errno::LOOP | Errno::AGAIN | Errno::NXIO | Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(file.as_fd())?;
        if !matches!(judge(&stat), Verdict::Ready) {
            return Ok(None);
        }
        Ok(Some(LeftFile {
            name,
            uid: stat.st_uid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            is_old: is_abandoned(&stat),
            file: File::from(file),
        }))
    }

    /// Removes a file. If a folder has taken its place, it is gone.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

enum Verdict {
    Ready,
    Unfinished,
    Foreign,
}

fn judge(stat: &Stat) -> Verdict {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
        return Verdict::Foreign;
    }
    match stat.st_mode & 0o7777 {
        READY => Verdict::Ready,
        UNFINISHED if !is_abandoned(stat) => Verdict::Unfinished,
        _ => Verdict::Foreign,
    }
}

fn is_abandoned(stat: &Stat) -> bool {
    // Not by the time of the last change of its content, which its owner may set.
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or(0));
    let age = SystemTime::now().duration_since(changed);
    age.is_ok_and(|age| age > ABANDONED_AFTER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn drop_folder() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        set(home.path(), 0o1733);
        home
    }

    fn put(home: &Path, name: &str, mode: u32) {
        fs::write(home.join(name), name).unwrap();
        set(&home.join(name), mode);
    }

    #[test]
    fn a_folder_that_others_could_empty_or_list_is_not_used() {
        let home = drop_folder();
        for (mode, usable) in [
            (0o1733, true),
            (0o700, true),
            (0o1777, false),
            (0o733, false),
            (0o755, false),
            (0o1723, true),
        ] {
            set(home.path(), mode);
            let opened = Folder::open(home.path());
            assert_eq!(opened.is_ok(), usable, "{mode:o}");
        }
        let us = rustix::process::geteuid().as_raw();
        assert!(Folder::open_of(home.path(), us).is_ok());
        let of_others = Folder::open_of(home.path(), us + 1);
        assert!(matches!(of_others, Err(Unusable::Unsafe)));
        let nowhere = Folder::open(&home.path().join("x"));
        assert!(matches!(nowhere, Err(Unusable::Missing)));
    }

    #[test]
    fn only_finished_files_are_found_and_the_rest_goes() {
        let home = drop_folder();
        let at = home.path();
        put(at, "ready", 0o644);
        put(at, "unfinished", 0o600);
        put(at, "odd", 0o666);
        put(at, "executable", 0o4755);
        let elsewhere = tempfile::tempdir_in(at.parent().unwrap()).unwrap();
        put(elsewhere.path(), "theirs", 0o644);
        for name in ["linked", "again"] {
            fs::hard_link(elsewhere.path().join("theirs"), at.join(name)).unwrap();
        }
        symlink("/etc/passwd", at.join("symlink")).unwrap();
        fs::create_dir(at.join("empty")).unwrap();
        fs::create_dir(at.join("full")).unwrap();
        fs::write(at.join("full/x"), "").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at.join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let found = Folder::open(at).unwrap().look(&Delayed::default()).unwrap();
        let waiting = found.waiting.by_turns(None);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].name, "ready");
        let mut left: Vec<_> = fs::read_dir(at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["full", "ready", "unfinished"]);
        assert_eq!(found.removed, 7);
        assert!(elsewhere.path().join("theirs").exists());
    }

    #[test]
    fn what_has_become_something_else_is_not_opened() {
        let home = drop_folder();
        let folder = Folder::open(home.path()).unwrap();
        symlink("/etc/passwd", home.path().join("symlink")).unwrap();
        put(home.path(), "unfinished", 0o600);
        for name in ["symlink", "unfinished", "gone"] {
            assert!(folder.take(name.into()).unwrap().is_none(), "{name}");
        }
        put(home.path(), "ready", 0o644);
        let letter = folder.take("ready".into()).unwrap().unwrap();
        assert_eq!(
            (letter.size, letter.uid),
            (5, rustix::process::geteuid().as_raw())
        );
        assert!(!letter.is_old);
        folder.remove("ready").unwrap();
        folder.remove("ready").unwrap();
        fs::create_dir(home.path().join("ready")).unwrap();
        folder.remove("ready").unwrap();
    }

    #[test]
    fn what_is_delayed_is_looked_at_again_after_a_change() {
        let home = drop_folder();
        let folder = Folder::open(home.path()).unwrap();
        put(home.path(), "stays", 0o644);
        let waiting = |delayed: &Delayed| folder.look(delayed).unwrap().waiting.by_turns(None);
        let mut delayed = Delayed::default();
        let mark = waiting(&delayed)[0].mark;
        delayed.add(mark, std::time::Instant::now());
        assert!(waiting(&delayed).is_empty());
        // The time of a change has the grain of the kernel's clock.
        std::thread::sleep(Duration::from_millis(50));
        put(home.path(), "stays", 0o644);
        assert_eq!(waiting(&delayed).len(), 1);
    }
}
