//! Files of the tools that need no daemon: read from a path or standard input, written whole or not at all.
//!
//! Private keys are written with mode 0600. A private key that others may read is used, after a warning on standard
//! error: keys come from backups and version control in odd modes, and refusing them would not undo who has read them.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Exit;
use crate::base::durable::Staged;

/// Most octets of a signet or a key file: the largest signet, armored, with some text around it.
pub const MAX_OBJECT: usize = 24 << 20;

/// A file that cannot be read or written. That says nothing about what is in it, so it is no answer "not valid".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading failed.
    #[error("{file} cannot be read")]
    Read {
        /// The file.
        file: FileName,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("{file} cannot be written")]
    Write {
        /// The file.
        file: FileName,
        /// Why.
        source: io::Error,
    },
    /// The file is there already.
    #[error("{0} exists already; --force replaces it")]
    Exists(FileName),
    /// A folder, a device, a pipe: to be written to, perhaps, but not to be replaced.
    #[error("{0} is no file that can be replaced; - is standard output")]
    NotAFile(FileName),
    /// More octets than an object can have.
    #[error("{file} has more than {most} octets")]
    TooLarge {
        /// The file.
        file: FileName,
        /// The limit.
        most: usize,
    },
    /// Standard input can be read once.
    #[error("standard input (-) is named more than once")]
    StdinTwice,
    /// Two outputs have the same name.
    #[error("{0} would be written twice")]
    SameName(FileName),
}

impl Error {
    /// Room may come back; everything else is for whoever gave the arguments.
    pub fn exit(&self) -> Exit {
        match self {
            // Reading includes the copy that is made of a message.
            Self::Read { source, .. } | Self::Write { source, .. } if is_out_of_room(source.kind()) => {
                Exit::TryLater
            }
            _ => Exit::Usage,
        }
    }
}

/// Whether room is what is missing.
pub fn is_out_of_room(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A path, or `-` for standard input or output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName(PathBuf);

impl From<OsString> for FileName {
    fn from(name: OsString) -> Self {
        Self(name.into())
    }
}

impl From<PathBuf> for FileName {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

impl FileName {
    /// Whether it stands for standard input or output.
    pub fn is_standard(&self) -> bool {
        self.0.as_os_str() == "-"
    }

    /// The path; for standard input or output, `-`.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Everything in it, if that is at most `most` octets. The octets are wiped on drop, as they may be a key.
    pub fn read(&self, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let octets = match self.is_standard() {
            true => read_all(io::stdin().lock(), most),
            false => File::open(&self.0).and_then(|file| read_all(file, most)),
        };
        let file = || self.clone();
        let octets = octets.map_err(|source| Error::Read { file: file(), source })?;
        octets.ok_or_else(|| Error::TooLarge { file: file(), most })
    }

    /// The same for a private key or passphrase: others who may read the file are worth a warning.
    pub fn read_private(&self, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let octets = self.read(most)?;
        self.warn_if_exposed();
        Ok(octets)
    }

    /// Warns if others may read the file, which holds a private key or a passphrase.
    pub fn warn_if_exposed(&self) {
        if let Some(mode) = self.exposed_mode() {
            // Nobody is left to be warned if this fails.
            let _ = writeln!(
                io::stderr(),
                "dimed: warning: {self} is read as a secret, and others may read it too (mode {mode:04o}); do: chmod 600 {self}"
            );
        }
    }

    /// Demands that a file of this name can be made: nothing has it, or, with `force`, a file.
    pub fn check_output(&self, force: bool) -> Result<(), Error> {
        let is_there = !self.is_standard() && self.0.symlink_metadata().is_ok();
        // Such as /dev/stdout, which is the link whatever it leads to.
        let is_special_link = self.0.read_link().is_ok_and(|target| target.starts_with("/proc"));
        let leads_elsewhere = self.0.metadata().is_ok_and(|target| !target.is_file());
        if is_there && (is_special_link || leads_elsewhere) {
            return Err(Error::NotAFile(self.clone()));
        }
        match is_there && !force {
            true => Err(Error::Exists(self.clone())),
            false => Ok(()),
        }
    }

    /// Whether both are the same entry of the same folder, however that is written.
    fn is_same(&self, other: &Self) -> bool {
        self == other || self.entry().is_some_and(|entry| other.entry() == Some(entry))
    }

    /// Folder and name; `None` for what is in no folder.
    fn entry(&self) -> Option<PathBuf> {
        let name = self.0.file_name().filter(|_| !self.is_standard())?;
        let folder = match self.0.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        Some(folder.canonicalize().ok()?.join(name))
    }

    /// An error of writing that file.
    pub fn unwritable(&self) -> impl FnOnce(io::Error) -> Error + use<> {
        let file = self.clone();
        |source| match source.kind() {
            ErrorKind::AlreadyExists => Error::Exists(file),
            _ => Error::Write { file, source },
        }
    }

    fn exposed_mode(&self) -> Option<u32> {
        let metadata = std::fs::metadata(&self.0).ok()?;
        let mode = metadata.permissions().mode() & 0o777;
        (metadata.is_file() && mode & 0o077 != 0).then_some(mode)
    }
}

/// Demands that at most one of the inputs is standard input.
pub fn check_inputs<'a>(inputs: impl IntoIterator<Item = &'a FileName>) -> Result<(), Error> {
    match inputs.into_iter().filter(|name| name.is_standard()).count() {
        0 | 1 => Ok(()),
        _ => Err(Error::StdinTwice),
    }
}

/// Files that belong together: all are ready before the first gets its name.
pub struct Outputs {
    force: bool,
    files: Vec<Output>,
}

struct Output {
    file: FileName,
    mode: u32,
    octets: Zeroizing<Vec<u8>>,
}

impl Outputs {
    /// Existing files are replaced if `force`, and otherwise an error.
    pub fn new(force: bool) -> Self {
        let files = Vec::new();
        Self { force, files }
    }

    /// Adds a file that everybody may read.
    pub fn public(mut self, file: &FileName, octets: &[u8]) -> Self {
        self.push(file, 0o644, octets);
        self
    }

    /// Adds a file that its owner alone may read.
    pub fn private(mut self, file: &FileName, octets: &[u8]) -> Self {
        self.push(file, 0o600, octets);
        self
    }

    fn push(&mut self, file: &FileName, mode: u32, octets: &[u8]) {
        let octets = Zeroizing::new(octets.to_vec());
        let file = file.clone();
        self.files.push(Output { file, mode, octets });
    }

    /// Writes all files, and what goes to standard output to `out`, last.
    ///
    /// On an error no file is there that was not there before. With `force`, one that was may have been replaced already.
    pub fn write(self, out: &mut dyn Write) -> Result<(), Error> {
        self.check()?;
        let (standard, files): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|output| output.file.is_standard());
        let staged = files.into_iter().map(|output| Ok((output, stage(output)?)));
        let staged: Vec<_> = staged.collect::<Result<_, Error>>()?;
        let mut named = Named::default();
        for (output, file) in staged {
            named.persist(output, file, self.force)?;
        }
        for output in standard {
            out.write_all(&output.octets)
                .and_then(|()| out.flush())
                .map_err(output.file.unwritable())?;
        }
        named.keep();
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        for (place, output) in self.files.iter().enumerate() {
            let mut before = self.files.iter().take(place);
            if before.any(|other| other.file.is_same(&output.file)) {
                return Err(Error::SameName(output.file.clone()));
            }
            output.file.check_output(self.force)?;
        }
        Ok(())
    }
}

/// Files that were given their names; taken away again unless they are kept.
#[derive(Default)]
struct Named(Vec<PathBuf>);

impl Named {
    fn persist(&mut self, output: &Output, file: Staged, force: bool) -> Result<(), Error> {
        file.persist(force).map_err(output.file.unwritable())?;
        if !force {
            self.0.push(output.file.0.clone());
        }
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that led here is the one to be told.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a file that does not have its name yet.
fn stage(output: &Output) -> Result<Staged, Error> {
    let written = Staged::at(&output.file.0, output.mode).and_then(|mut staged| {
        staged.file().write_all(&output.octets)?;
        Ok(staged)
    });
    written.map_err(output.file.unwritable())
}

/// `None` if there are more than `most` octets.
fn read_all(source: impl Read, most: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut octets = Zeroizing::new(Vec::new());
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut octets)?;
    Ok((octets.len() <= most).then_some(octets))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::Permissions;

    use super::*;

    fn name(folder: &Path, name: &str) -> FileName {
        folder.join(name).into()
    }

    fn mode(file: &FileName) -> u32 {
        file.path().metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn private_files_are_for_their_owner_alone_and_standard_output_comes_last() {
        let home = tempfile::tempdir().unwrap();
        let (key, signet) = (name(home.path(), "a.key"), name(home.path(), "a.signet"));
        let mut out = Vec::new();
        Outputs::new(false)
            .public(&OsString::from("-").into(), b"told")
            .private(&key, b"secret")
            .public(&signet, b"public")
            .write(&mut out)
            .unwrap();
        assert_eq!((mode(&key), out.as_slice()), (0o600, &b"told"[..]));
        assert_eq!(mode(&signet) & 0o700, 0o600);
        assert_eq!(key.exposed_mode(), None);
        assert_eq!(key.read(6).unwrap().as_slice(), b"secret");
        assert!(matches!(key.read(5), Err(Error::TooLarge { most: 5, .. })));
    }

    #[test]
    fn nothing_is_written_where_one_file_exists_unless_forced() {
        let home = tempfile::tempdir().unwrap();
        let (key, signet) = (name(home.path(), "a.key"), name(home.path(), "a.signet"));
        std::fs::write(signet.path(), "old").unwrap();
        let outputs = |force| Outputs::new(force).private(&key, b"new").public(&signet, b"new");
        let refused = outputs(false).write(&mut Vec::new());
        assert!(matches!(refused, Err(Error::Exists(file)) if file == signet));
        assert!(!key.path().exists());
        outputs(true).write(&mut Vec::new()).unwrap();
        assert_eq!(std::fs::read(signet.path()).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn no_file_stays_behind_when_a_later_one_fails() {
        let home = tempfile::tempdir().unwrap();
        let key = name(home.path(), "a.key");
        let nowhere = name(home.path(), "missing/a.signet");
        let error = Outputs::new(false)
            .private(&key, b"secret")
            .public(&nowhere, b"public")
            .write(&mut Vec::new())
            .unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        let mut full = [0; 2];
        let error = Outputs::new(false)
            .private(&key, b"secret")
            .public(&OsString::from("-").into(), b"too long")
            .write(&mut full.as_mut_slice())
            .unwrap_err();
        assert!(matches!(error, Error::Write { .. }));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        let twice = Outputs::new(true).private(&key, b"1").private(&key, b"2");
        assert!(matches!(twice.write(&mut Vec::new()), Err(Error::SameName(_))));
    }

    #[test]
    fn one_file_under_two_spellings_is_not_written_twice() {
        let home = tempfile::tempdir().unwrap();
        let plain = name(home.path(), "a.key");
        std::fs::create_dir(home.path().join("b")).unwrap();
        for spelling in ["./a.key", "b/../a.key"] {
            let twice = Outputs::new(true).private(&plain, b"secret");
            let twice = twice.public(&name(home.path(), spelling), b"public");
            let refused = twice.write(&mut Vec::new());
            assert!(matches!(refused, Err(Error::SameName(_))), "{spelling}");
            assert!(!plain.path().exists());
        }
    }

    #[test]
    fn devices_and_folders_are_never_replaced_and_links_to_them_neither() {
        let home = tempfile::tempdir().unwrap();
        let (link, file) = (name(home.path(), "link"), name(home.path(), "file"));
        std::os::unix::fs::symlink("/dev/null", link.path()).unwrap();
        let stdout = name(home.path(), "stdout");
        std::os::unix::fs::symlink("/proc/self/exe", stdout.path()).unwrap();
        for target in [
            &link,
            &stdout,
            &name(home.path(), "."),
            &PathBuf::from("/dev/null").into(),
        ] {
            for force in [false, true] {
                let refused = Outputs::new(force).public(target, b"x").write(&mut Vec::new());
                assert!(matches!(refused, Err(Error::NotAFile(_))), "{target}");
            }
        }
        // A link to a file is replaced itself; what it names stays.
        std::fs::write(file.path(), "old").unwrap();
        std::fs::remove_file(link.path()).unwrap();
        std::os::unix::fs::symlink(file.path(), link.path()).unwrap();
        Outputs::new(true)
            .public(&link, b"new")
            .write(&mut Vec::new())
            .unwrap();
        assert!(link.path().symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read(file.path()).unwrap(), b"old");
    }

    #[test]
    fn a_key_that_others_may_read_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let key = name(home.path(), "a.key");
        std::fs::write(key.path(), "secret").unwrap();
        for (bits, exposed) in [(0o600, None), (0o640, Some(0o640)), (0o604, Some(0o604))] {
            std::fs::set_permissions(key.path(), Permissions::from_mode(bits)).unwrap();
            assert_eq!(key.exposed_mode(), exposed);
        }
        let standard = FileName::from(OsString::from("-"));
        assert!(check_inputs([&standard, &key]).is_ok());
        assert!(matches!(
            check_inputs([&standard, &standard]),
            Err(Error::StdinTwice)
        ));
    }
}
