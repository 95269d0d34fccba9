//! A disk of which the power may fail at any moment.
//!
//! What is written is on it after a sync of the file; that a name is there or gone, after a sync of its folder, and never by
//! a sync of the file. Everything else may be lost, whole or in sectors, and in any order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::trace::Call;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Names the file behind a path, which may be renamed.
type Node = usize;

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, octets: Vec<u8> },
    Cut(usize),
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// With the time at which each was done.
    pending: Vec<(usize, Change)>,
}

/// A name in a folder, and what it stands for from now on.
#[derive(Debug, Clone)]
struct Naming {
    done: usize,
    folder: PathBuf,
    path: PathBuf,
    node: Option<Node>,
}

/// Everything below one folder.
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    /// Names as the process sees them.
    live: HashMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Naming>,
    folders: HashSet<PathBuf>,
}

impl Disk {
    /// As it is now, all of it durable.
    pub fn of(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            live: HashMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            folders: HashSet::new(),
        };
        disk.read(root);
        disk
    }

    fn read(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let node = self.files.len();
            self.files.push(File::default());
            match path.is_dir() {
                true => {
                    self.folders.insert(path.clone());
                    self.read(&path);
                }
                false if path.is_file() => self.files[node].durable = std::fs::read(&path).unwrap(),
                // The socket for `dimed reload` has nothing in it.
                false => {}
            }
            self.live.insert(path.clone(), node);
            self.durable.insert(path, node);
        }
    }

    /// Takes notice of a call. Calls must come in the order in which they ended.
    pub fn see(&mut self, call: &Call) {
        match call.name.as_str() {
            "pwrite64" => self.write(call, call.last_number() as usize),
            "write" => {
                let end = self.file_of(call).map(|file| self.files[file].end());
                self.write(call, end.unwrap_or(0));
            }
            "ftruncate" => {
                if let Some(node) = self.file_of(call) {
                    let change = Change::Cut(call.last_number() as usize);
                    self.files[node].pending.push((call.ended, change));
                }
            }
            "openat" | "open" => self.open(call),
            "mkdir" => self.make(call, call.path(0), true),
            "rename" => {
                let node = self.live.remove(&call.path(0));
                self.name(call, call.path(0), None);
                self.name(call, call.path(1), node);
            }
            "link" => self.name(call, call.path(1), self.live.get(&call.path(0)).copied()),
            "unlink" => {
                self.live.remove(&call.path(0));
                self.name(call, call.path(0), None);
            }
            "fsync" | "fdatasync" => self.sync(call),
            "pwritev" | "writev" | "truncate" | "fallocate" | "renameat" | "renameat2" | "linkat"
            | "unlinkat" | "mkdirat" | "creat" | "rmdir" | "msync" | "sync_file_range" => {
                assert!(
                    !call.target.starts_with(self.root.to_str().unwrap()),
                    "not modelled: {call:?}"
                );
            }
            _ => {}
        }
    }

    fn file_of(&self, call: &Call) -> Option<Node> {
        self.live.get(Path::new(&call.target)).copied()
    }

    fn write(&mut self, call: &Call, offset: usize) {
        if let Some(node) = self.file_of(call) {
            let octets = call.octets();
            self.files[node]
                .pending
                .push((call.ended, Change::Write { offset, octets }));
        }
    }

    fn open(&mut self, call: &Call) {
        let path = call.path(0);
        if call.rest.contains("O_CREAT") && !self.live.contains_key(&path) {
            self.make(call, path, false);
        } else if call.rest.contains("O_TRUNC")
            && let Some(node) = self.live.get(&path)
        {
            self.files[*node].pending.push((call.ended, Change::Cut(0)));
        }
    }

    fn make(&mut self, call: &Call, path: PathBuf, is_folder: bool) {
        let node = self.files.len();
        self.files.push(File::default());
        if is_folder {
            self.folders.insert(path.clone());
        }
        self.name(call, path, Some(node));
    }

    fn name(&mut self, call: &Call, path: PathBuf, node: Option<Node>) {
        if !path.starts_with(&self.root) {
            return;
        }
        if let Some(node) = node {
            self.live.insert(path.clone(), node);
        }
        self.pending.push(Naming {
            done: call.ended,
            folder: path.parent().unwrap().to_owned(),
            path,
            node,
        });
    }

    /// What was done before the sync began is durable.
    fn sync(&mut self, call: &Call) {
        let target = Path::new(&call.target);
        if let Some(node) = self.file_of(call) {
            let file = &mut self.files[node];
            let (before, after) = std::mem::take(&mut file.pending)
                .into_iter()
                .partition(|(done, _)| *done < call.begun);
            file.pending = after;
            let before: Vec<_> = before;
            before
                .iter()
                .for_each(|(_, change)| change.apply(&mut file.durable));
        }
        let is_durable = |naming: &Naming| naming.folder == target && naming.done < call.begun;
        let (durable, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(is_durable);
        self.pending = pending;
        let durable: Vec<_> = durable;
        for naming in durable {
            naming.apply(&mut self.durable);
        }
    }

    /// Builds what is left if the power fails now. With `chance`, some of what was not synced is there all the same.
    pub fn build(&self, at: &Path, mut chance: Option<&mut StdRng>) {
        let mut names = self.durable.clone();
        for naming in &self.pending {
            if chance.as_mut().is_some_and(|rng| rng.random_bool(0.5)) {
                naming.apply(&mut names);
            }
        }
        // A folder comes before what is in it, and nothing is in a folder that is not there.
        for (path, node) in names {
            let target = at.join(path.strip_prefix(&self.root).unwrap());
            if !target.parent().unwrap().is_dir() {
                continue;
            }
            if self.folders.contains(&path) {
                std::fs::create_dir(target).unwrap();
            } else if !path.ends_with("dimed.db-shm") {
                std::fs::write(target, self.files[node].left(&mut chance)).unwrap();
            }
        }
    }
}

impl File {
    /// Where the next octets go: files that are not written at an offset are only ever appended to.
    fn end(&self) -> usize {
        self.pending
            .iter()
            .fold(self.durable.len(), |end, (_, change)| match change {
                Change::Write { offset, octets } => end.max(offset + octets.len()),
                Change::Cut(length) => *length,
            })
    }

    fn left(&self, chance: &mut Option<&mut StdRng>) -> Vec<u8> {
        let mut octets = self.durable.clone();
        if let Some(rng) = chance {
            for (_, change) in &self.pending {
                change.tear(&mut octets, rng);
            }
        }
        octets
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Cut(length) => file.resize(*length, 0),
            Self::Write { offset, octets } => {
                let end = offset + octets.len();
                file.resize(file.len().max(end), 0);
                file[*offset..end].copy_from_slice(octets);
            }
        }
    }

    /// As some sectors of it reach the disk.
    fn tear(&self, file: &mut Vec<u8>, rng: &mut StdRng) {
        let Self::Write { offset, octets } = self else {
            if rng.random_bool(0.5) {
                self.apply(file);
            }
            return;
        };
        let mut start = 0;
        while start < octets.len() {
            let end = (start + SECTOR - (offset + start) % SECTOR).min(octets.len());
            if rng.random_bool(0.5) {
                let octets = octets[start..end].to_vec();
                let offset = offset + start;
                Self::Write { offset, octets }.apply(file);
            }
            start = end;
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self.node {
            Some(node) => names.insert(self.path.clone(), node),
            None => names.remove(&self.path),
        };
    }
}
