//! The names of this host: those without a domain, and what `/etc/aliases` makes of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::OFlags;

use crate::mail::address::{Domain, Mailbox};
use crate::mail::aliases::{self, Aliases, MAX_OCTETS, Target};
use crate::mail::local;

use super::Error;

/// Files that all aliases together may include.
const MAX_INCLUDED: usize = 100;

/// Targets of one alias at most.
const MAX_TARGETS: usize = 10_000;

/// Who is meant by a name of this host.
pub struct HostNames {
    /// The domain of names without one.
    pub origin: Domain,
    /// This host.
    pub hostname: Domain,
    /// `/etc/aliases`.
    pub aliases: AliasFile,
    /// Who gets mail of programs, and reports, for names that are nobody's.
    pub fallback: Option<Mailbox>,
}

impl HostNames {
    /// Whether names at that domain are names of this host.
    pub fn is_here(&self, domain: &Domain) -> bool {
        *domain == self.origin || *domain == self.hostname
    }

    /// The address of somebody whom a program of this host names, with or without a domain.
    pub fn named(&self, text: &str) -> Option<Mailbox> {
        local::qualified(text, &self.origin).map(|mailbox| self.meant(mailbox))
    }

    /// The address as programs of this host mean it: `localhost` is the domain of names without one.
    pub fn meant(&self, mailbox: Mailbox) -> Mailbox {
        local::at_origin(mailbox, &self.origin, &self.hostname)
    }

    /// Looks whether the file of aliases has changed, as [`AliasFile::reload`].
    pub fn reload(&self) -> Result<Option<InUse>, Unusable> {
        self.aliases.reload(&self.origin)
    }

    /// Whether a name leads to programs or files alone by the file of aliases: to nobody here.
    pub fn is_unserved(&self, name: &str) -> bool {
        self.aliases.current().unserved.contains(&name.to_lowercase())
    }

    /// Where a name leads by the file of aliases: to nobody if its mail is not wanted; `None` if it is not there.
    ///
    /// Errors: [`Error::AliasesUnread`] for an alias of which a file could not be read.
    pub fn alias(&self, name: &str) -> Result<Option<Vec<Mailbox>>, Error> {
        let (current, name) = (self.aliases.current(), name.to_ascii_lowercase());
        if current.incomplete.contains(&name) {
            return Err(Error::AliasesUnread);
        }
        let targets = current.entries.get(&name).cloned();
        Ok(targets.map(|targets| targets.into_iter().map(|target| self.meant(target)).collect()))
    }

    /// Whether there may be names that are not known: the file of aliases as it is now could not be read in full.
    pub fn may_lack_names(&self) -> bool {
        self.aliases.is_unread.load(Ordering::Acquire)
    }
}

/// What is used of a file of aliases that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse {
    /// How many aliases.
    pub count: usize,
    /// Lines and targets that are not used.
    pub left_out: usize,
}

/// Why a file of aliases is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is wrong in some lines.
    #[error("{}: {}", path.display(), problems.join("; "))]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// The first few of them.
        problems: Vec<String>,
    },
}

impl Unusable {
    /// The same without any name or address.
    pub fn reason(&self) -> String {
        match self {
            Self::Unreadable { source, .. } => source.to_string(),
            Self::Wrong { problems, .. } => format!("{} or more lines are wrong", problems.len()),
        }
    }
}

/// A file of aliases, read again when it changes.
pub struct AliasFile {
    path: Option<PathBuf>,
    current: RwLock<Arc<Loaded>>,
    /// What it says now is not in use, or in part.
    is_unread: AtomicBool,
    /// When it was looked at last, in use or not.
    seen: Mutex<Option<Vec<Stamp>>>,
}

/// What a file of aliases says, the files that it includes with it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// By name, in lower case. To nobody: the mail is not wanted.
    pub entries: HashMap<String, Vec<Mailbox>>,
    /// Names whose targets are not all known, in lower case.
    incomplete: HashSet<String>,
    /// Names that lead to programs and files alone, in lower case.
    unserved: BTreeSet<String>,
    /// Lines that cannot be used.
    pub wrong: Vec<String>,
    /// What is understood, and is not done here.
    pub refused: Vec<String>,
    included: Vec<PathBuf>,
}

/// By which a change of a file is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    file: Option<(u64, u64, u64, i64, i64, i64, i64)>,
}

impl Stamp {
    fn of(path: &Path) -> Self {
        let marks = |file: Metadata| {
            (
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            )
        };
        Self {
            path: path.to_owned(),
            file: std::fs::metadata(path).ok().map(marks),
        }
    }
}

impl AliasFile {
    /// The file at that path, not read yet; `None` for no aliases.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            current: RwLock::default(),
            is_unread: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }

    fn current(&self) -> Arc<Loaded> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the file if it has changed since the last look; what is used of it then. A file that is not there has no aliases.
    /// Where some of its lines cannot be used, the aliases of a whole file from before stay in use; without such, the other
    /// lines are used.
    ///
    /// Errors: [`Unusable`], once for each change; the aliases from before stay in use.
    pub fn reload(&self, origin: &Domain) -> Result<Option<InUse>, Unusable> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let before = self.current();
        let included = &before.included;
        let stamps = stamps(path, included);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&stamps) {
            return Ok(None);
        }
        *seen = Some(stamps);
        self.is_unread.store(true, Ordering::Release);
        let loaded = match Loaded::read(path, origin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Loaded::default(),
            Err(source) => {
                let path = path.clone();
                return Err(Unusable::Unreadable { path, source });
            }
            Ok(loaded) => loaded,
        };
        if !loaded.wrong.is_empty() && before.is_whole() {
            return Err(Unusable::Wrong {
                path: path.clone(),
                problems: loaded.wrong.into_iter().take(5).collect(),
            });
        }
        // A change of a file while it was read is noticed next time: what was looked at is from before.
        let is_first_with = loaded.included != *included;
        let (in_use, is_unread) = (loaded.in_use(), !loaded.wrong.is_empty());
        if is_first_with {
            let new = stamps_after(path, &loaded.included, seen.as_deref());
            *seen = Some(new);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        self.is_unread.store(is_unread, Ordering::Release);
        Ok(Some(in_use))
    }
}

fn stamps(path: &Path, included: &[PathBuf]) -> Vec<Stamp> {
    let all = std::iter::once(path).chain(included.iter().map(PathBuf::as_path));
    all.map(Stamp::of).collect()
}

/// The stamp of the file itself as it was before it was read, and of what it includes now.
fn stamps_after(path: &Path, included: &[PathBuf], before: Option<&[Stamp]>) -> Vec<Stamp> {
    let mut new = stamps(path, included);
    if let (Some(first), Some(old)) = (new.first_mut(), before.and_then(<[Stamp]>::first)) {
        *first = old.clone();
    }
    new
}

impl Loaded {
    /// Reads a file of aliases, and the files that it includes. Names without a domain are at `origin`.
    pub fn read(path: &Path, origin: &Domain) -> io::Result<Self> {
        let parsed = Aliases::parse(&text(path)?);
        let mut loaded = Self {
            unserved: parsed.unserved,
            ..Self::default()
        };
        for problem in &parsed.problems {
            loaded.note(path, problem);
        }
        for (name, targets) in parsed.entries {
            let is_unwanted = targets == [Target::Discard];
            let mut mailboxes = Vec::new();
            for target in targets {
                loaded.add(&name, target, origin, &mut mailboxes);
            }
            if mailboxes.len() > MAX_TARGETS {
                let text = format!("`{name}` leads to more than {MAX_TARGETS} addresses");
                loaded.leave_open(&name, text);
            } else if is_unwanted || !mailboxes.is_empty() {
                loaded.entries.insert(name, mailboxes);
            }
        }
        Ok(loaded)
    }

    /// Whether there are aliases, and no line was left out that cannot be used.
    fn is_whole(&self) -> bool {
        !self.entries.is_empty() && self.wrong.is_empty()
    }

    fn in_use(&self) -> InUse {
        InUse {
            count: self.entries.len(),
            left_out: self.wrong.len() + self.refused.len(),
        }
    }

    /// How many addresses the longest alias leads to.
    pub fn longest(&self) -> usize {
        self.entries.values().map(Vec::len).max().unwrap_or(0)
    }

    /// The names, in alphabetical order, with the addresses that they have here.
    pub fn addresses(&self, origin: &Domain) -> Vec<(&str, Mailbox)> {
        let mut all: Vec<_> = self
            .entries
            .keys()
            .filter_map(|name| Some((name.as_str(), local::qualified(&quoted(name), origin)?)))
            .collect();
        all.sort_by_key(|(name, _)| *name);
        all
    }

    /// Names that lead to nobody but each other, in alphabetical order, if none of them is an account.
    pub fn circles(&self, host: &HostNames) -> Vec<&str> {
        let mut left: BTreeSet<&str> = self.entries.keys().map(String::as_str).collect();
        loop {
            let leads_out = |target: &Mailbox| {
                let target = host.meant(target.clone());
                !host.is_here(target.domain()) || !left.contains(target.local().to_lowercase().as_str())
            };
            let out: Vec<&str> = self
                .entries
                .iter()
                .filter(|(name, targets)| {
                    left.contains(name.as_str()) && (targets.is_empty() || targets.iter().any(leads_out))
                })
                .map(|(name, _)| name.as_str())
                .collect();
            if out.is_empty() {
                return left.into_iter().collect();
            }
            for name in out {
                left.remove(name);
            }
        }
    }

    fn note(&mut self, path: &Path, problem: &aliases::Problem) {
        let text = format!("{}: {problem}", path.display());
        match problem.fault.is_refused() {
            true => self.refused.push(text),
            false => self.wrong.push(text),
        }
    }

    fn add(&mut self, name: &str, target: Target, origin: &Domain, mailboxes: &mut Vec<Mailbox>) {
        match target {
            Target::Address(mailbox) => mailboxes.push(mailbox),
            Target::Discard => {}
            Target::Name(name) => match local::qualified(&quoted(&name), origin) {
                Some(mailbox) => mailboxes.push(mailbox),
                None => self.wrong.push(format!("`{name}` is no name")),
            },
            Target::Include(file) => self.include(name, &file, origin, mailboxes),
        }
    }

    /// All of an alias waits: who is among the rest is not known.
    fn leave_open(&mut self, name: &str, why: String) {
        self.incomplete.insert(name.to_owned());
        self.wrong.push(why);
    }

    fn include(&mut self, name: &str, file: &str, origin: &Domain, mailboxes: &mut Vec<Mailbox>) {
        let path = PathBuf::from(file);
        if self.included.len() >= MAX_INCLUDED {
            return self.leave_open(name, format!("more than {MAX_INCLUDED} files are included"));
        }
        self.included.push(path.clone());
        match text(&path) {
            Err(error) => self.leave_open(name, format!("`{name}`: {file} cannot be read: {error}")),
            Ok(text) => {
                let (targets, problems) = aliases::included(&text);
                for problem in &problems {
                    self.note(&path, problem);
                }
                for target in targets {
                    self.add(name, target, origin, mailboxes);
                }
            }
        }
    }
}

/// A local-part in the form that is read back.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What is not UTF-8 is told of its line alone.
fn text(path: &Path) -> io::Result<String> {
    let most = u64::try_from(MAX_OCTETS).unwrap_or(u64::MAX);
    // Whoever could put a pipe here could have us wait forever.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut octets = Vec::new();
    file.take(most + 1).read_to_end(&mut octets)?;
    if octets.len() > MAX_OCTETS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large"));
    }
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(path: &Path) -> HostNames {
        HostNames {
            origin: "h.test".parse().unwrap(),
            hostname: "mx.h.test".parse().unwrap(),
            aliases: AliasFile::new(Some(path.to_owned())),
            fallback: None,
        }
    }

    fn of(names: &HostNames, name: &str) -> Vec<String> {
        let targets = names.alias(name).unwrap().unwrap_or_default();
        targets.iter().map(ToString::to_string).collect()
    }

    /// How many aliases a change brought.
    fn reloaded(names: &HostNames) -> Option<usize> {
        names.reload().unwrap().map(|in_use| in_use.count)
    }

    #[test]
    fn a_file_is_read_again_when_it_or_what_it_includes_changes() {
        let home = tempfile::tempdir().unwrap();
        let (path, list) = (home.path().join("aliases"), home.path().join("list"));
        let names = names(&path);
        assert_eq!(reloaded(&names), Some(0));
        assert_eq!(reloaded(&names), None);
        std::fs::write(&list, "bob@b.test\n").unwrap();
        std::fs::write(&path, format!("Root: alice, :include:{}\n", list.display())).unwrap();
        assert_eq!(reloaded(&names), Some(1));
        assert_eq!(of(&names, "rOOt"), ["alice@h.test", "bob@b.test"]);
        assert_eq!(reloaded(&names), None);
        std::fs::write(&list, "carol@b.test\n").unwrap();
        assert_eq!(reloaded(&names), Some(1));
        assert_eq!(of(&names, "root"), ["alice@h.test", "carol@b.test"]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(reloaded(&names), Some(0));
        assert_eq!(of(&names, "root"), Vec::<String>::new());
    }

    #[test]
    fn a_broken_file_leaves_the_aliases_from_before_and_is_told_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("aliases");
        let names = names(&path);
        std::fs::write(&path, "root: alice\n").unwrap();
        assert_eq!(reloaded(&names), Some(1));
        for broken in ["root alice bob\n", "root: :include:/nonexistent/x\n"] {
            std::fs::write(&path, broken).unwrap();
            let error = names.reload().unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert_eq!(reloaded(&names), None);
            assert_eq!(of(&names, "root"), ["alice@h.test"]);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(names.reload(), Err(Unusable::Unreadable { .. })));
        assert_eq!(of(&names, "root"), ["alice@h.test"]);
    }

    #[test]
    fn an_alias_whose_file_cannot_be_read_waits_and_names_may_be_lacking() {
        let home = tempfile::tempdir().unwrap();
        let (path, list) = (home.path().join("aliases"), home.path().join("list"));
        let names = names(&path);
        let all = format!("Ops: bob@b.test, :include:{}\nroot: alice\n", list.display());
        std::fs::write(&path, &all).unwrap();
        assert_eq!(names.reload().unwrap().unwrap().left_out, 1);
        for name in ["ops", "OPS"] {
            assert!(matches!(names.alias(name), Err(Error::AliasesUnread)), "{name}");
        }
        assert_eq!(of(&names, "root"), ["alice@h.test"]);
        assert!(names.may_lack_names());
        std::fs::write(&list, "carol@b.test\n").unwrap();
        assert_eq!(reloaded(&names), Some(2));
        assert_eq!(of(&names, "ops"), ["bob@b.test", "carol@b.test"]);
        assert!(!names.may_lack_names());
        // Those from before stay, and there may be others.
        std::fs::write(&path, "no alias\n").unwrap();
        assert!(names.reload().is_err());
        assert!(names.may_lack_names());
    }

    #[test]
    fn what_is_refused_is_left_out_and_kept_to_be_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("aliases");
        std::fs::write(&path, "a: |x, b@b.test\nc: /dev/full\n").unwrap();
        let loaded = Loaded::read(&path, &"h.test".parse().unwrap()).unwrap();
        assert_eq!((loaded.entries.len(), loaded.longest()), (1, 1));
        assert_eq!((loaded.wrong.len(), loaded.refused.len()), (0, 2));
        assert!(loaded.refused[0].contains(": line 1: `|x` would run a program"));
    }

    #[test]
    fn without_aliases_from_before_the_good_lines_are_used() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("aliases");
        let names = names(&path);
        std::fs::write(&path, b"root: alice\nno alias\nops: b\xff\nRoot: bob\n").unwrap();
        let in_use = InUse {
            count: 1,
            left_out: 3,
        };
        assert_eq!(names.reload().unwrap(), Some(in_use));
        assert_eq!(of(&names, "root"), ["alice@h.test"]);
        // They are no better than what comes next.
        std::fs::write(&path, "root: bob\nstill no alias\n").unwrap();
        assert_eq!(reloaded(&names), Some(1));
        assert_eq!(of(&names, "root"), ["bob@h.test"]);
        std::fs::write(&path, "root: carol\n").unwrap();
        assert_eq!(reloaded(&names), Some(1));
        std::fs::write(&path, "root: dave\nno alias once more\n").unwrap();
        assert!(names.reload().is_err());
        assert_eq!(of(&names, "root"), ["carol@h.test"]);
        // What is refused or there twice is no reason to go on with them.
        std::fs::write(&path, "root: dave, |x\nroot: erin\n").unwrap();
        assert_eq!(reloaded(&names), Some(1));
        assert_eq!(of(&names, "root"), ["dave@h.test"]);
    }

    #[test]
    fn targets_at_short_names_of_the_host_are_names_of_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("aliases");
        let names = names(&path);
        std::fs::write(
            &path,
            "root: a@localhost, b@mx, c@mx.h.test, d\nvoid: /dev/null\n",
        )
        .unwrap();
        assert_eq!(reloaded(&names), Some(2));
        let expected = ["a@h.test", "b@h.test", "c@mx.h.test", "d@h.test"];
        assert_eq!(of(&names, "root"), expected);
        assert_eq!(names.alias("void").unwrap(), Some(Vec::new()));
        assert_eq!(names.alias("nobody").unwrap(), None);
        for text in ["root", "root@localhost", "root@MX", "root@h.test"] {
            assert_eq!(names.named(text).unwrap().to_string(), "root@h.test", "{text}");
        }
    }

    #[test]
    fn circles_are_those_that_nothing_leads_out_of() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("aliases");
        let text = "a: b\nb: A@localhost, c@mx.h.test\nc: c\ninto: a\n\
                    out: out, d@b.test\nto: out\nvoid: /dev/null\nops: root\nwith: with, void\n";
        std::fs::write(&path, text).unwrap();
        let loaded = Loaded::read(&path, &"h.test".parse().unwrap()).unwrap();
        assert_eq!(loaded.wrong, Vec::<String>::new());
        assert_eq!(loaded.circles(&names(&path)), ["a", "b", "c", "into"]);
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(
            text(Path::new("/dev/zero")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let pipe = home.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(text(&pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let path = home.path().join("large");
        std::fs::write(&path, vec![b'#'; MAX_OCTETS + 1]).unwrap();
        assert_eq!(text(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
