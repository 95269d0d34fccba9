//! Where mail and keys are: whether what is synced there stays, whether there is room, and who can read it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::space::Free;
use crate::config::Config;
use crate::daemon::health::{self, Finding};

/// Everything about files.
pub fn findings(config: &Config) -> Vec<Finding> {
    let data = &config.server.data_directory;
    let mut found = Vec::new();
    let free = Free::of(data).ok();
    found.extend(free.and_then(|free| health::room(free, (&config.storage).into())));
    found.extend(kept(data, "server.data_directory"));
    if let Some(maildirs) = maildirs(config).filter(|maildirs| !maildirs.starts_with(data)) {
        found.extend(kept(&maildirs, "delivery.maildir"));
    }
    found.extend(open_files(config));
    found
}

/// The part of the pattern that is the same for everybody, as far as it is there.
fn maildirs(config: &Config) -> Option<PathBuf> {
    let pattern = config.delivery.maildir.in_data(&config.server.data_directory);
    let pattern = pattern.to_string_lossy();
    let fixed = pattern.split('{').next()?;
    let there = Path::new(fixed).ancestors().find(|folder| folder.is_dir())?;
    Some(there.to_owned())
}

/// Whether what is synced in that folder outlives a loss of power.
fn kept(folder: &Path, setting: &str) -> Option<Finding> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = Mount::of(&folder, &mounts)?;
    let place = format!("{} ({setting})", folder.display());
    match mount.trust() {
        Trust::Full => None,
        Trust::None(what) => Some(Finding::wrong(
            "not_kept",
            format!("{place} {what}"),
            "mail that was acknowledged is lost with the power",
            "use a file system on a disk, such as ext4 or xfs, with its usual options",
        )),
        Trust::Unknown(what) => Some(Finding::risky(
            "sync_unproven",
            format!("{place} is on {what}"),
            "whether a sync there outlives a loss of power, and locks hold between hosts, is up to what is behind it",
            "use a file system on a disk of this host, or make sure that its server syncs before it answers",
        )),
    }
}

/// A line of `/proc/self/mountinfo`.
struct Mount<'a> {
    place: String,
    kind: &'a str,
    options: &'a str,
}

/// Whether a file system keeps what was synced.
#[derive(Debug, PartialEq, Eq)]
enum Trust {
    Full,
    /// It does not.
    None(String),
    /// Somebody else decides.
    Unknown(String),
}

impl<'a> Mount<'a> {
    /// The mount that a folder is on: the last of those with the longest path.
    fn of(folder: &Path, mounts: &'a str) -> Option<Self> {
        let mounts = mounts.lines().filter_map(Self::parse);
        mounts
            .filter(|mount| folder.starts_with(&mount.place))
            .max_by_key(|mount| Path::new(&mount.place).components().count())
    }

    /// proc(5): the place is the fifth field, and the kind and the options of the file system are the first and third after a dash.
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Self {
            place: unescaped(before.split(' ').nth(4)?),
            kind: after.next()?,
            options: after.nth(1).unwrap_or_default(),
        })
    }

    fn trust(&self) -> Trust {
        let has = |option: &str| self.options.split(',').any(|one| one == option);
        match self.kind {
            "tmpfs" | "ramfs" | "rootfs" => Trust::None(format!("is in memory ({})", self.kind)),
            _ if has("nobarrier") || has("barrier=0") => {
                Trust::None("is on a file system that is mounted without barriers".to_owned())
            }
            "btrfs" if has("notreelog") || has("flushoncommit") => Trust::Full,
            "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "glusterfs" | "afs" | "virtiofs" => {
                Trust::Unknown(format!("another host's disk ({})", self.kind))
            }
            kind if kind == "fuse" || kind.starts_with("fuse.") => {
                Trust::Unknown(format!("a program's file system ({kind})"))
            }
            _ => Trust::Full,
        }
    }
}

/// Blanks and the like stand there as `\040`.
fn unescaped(field: &str) -> String {
    let mut text = field.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(code, character);
    }
    text
}

/// What others on this machine can read that is not theirs. The daemon itself refuses a master key that is open.
fn open_files(config: &Config) -> Vec<Finding> {
    let database = config.server.database();
    let (_, own_key) = config.self_signed_pair();
    let keys = config.tls.pairs().map(|(_, key)| key.to_owned());
    let keys = keys
        .chain([own_key])
        .filter(|key| is_open(key, 0o007))
        .map(|key| {
            Finding::wrong(
                "key_readable",
                format!(
                    "everybody on this machine can use the private key in {}",
                    key.display()
                ),
                "whoever has it can stand in for this host",
                format!(
                    "run `chmod o= {}`, and get another one if you do not trust them all",
                    key.display()
                ),
            )
        });
    let wal = database.with_extension("db-wal");
    let databases = [database, wal].into_iter().filter(|file| is_open(file, 0o077));
    let databases = databases.map(|file| {
        Finding::risky(
            "database_readable",
            format!("others on this machine can read {}", file.display()),
            "what is private in it is encrypted; names of domains and accounts are not",
            format!("run `chmod go= {}`", file.display()),
        )
    });
    keys.chain(databases).collect()
}

fn is_open(file: &Path, bits: u32) -> bool {
    fs::metadata(file).is_ok_and(|found| found.permissions().mode() & bits != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:5 / /run rw - tmpfs tmpfs rw,size=4m
24 22 8:2 / /var rw - ext4 /dev/sda2 rw,nobarrier
25 24 0:9 / /var/lib/dimed rw - nfs4 files.example.org:/dimed rw,vers=4.2
26 22 0:7 / /my\\040mail rw - fuse.sshfs me@example.org: rw
27 23 0:8 / /run rw - tmpfs again rw
";

    #[test]
    fn the_innermost_mount_says_whether_what_is_synced_is_kept() {
        let trust = |folder: &str| Mount::of(Path::new(folder), MOUNTS).unwrap().trust();
        assert_eq!(trust("/srv/dimed"), Trust::Full);
        assert_eq!(trust("/variable"), Trust::Full);
        assert_eq!(trust("/run/dimed"), Trust::None("is in memory (tmpfs)".into()));
        assert!(matches!(trust("/var/lib"), Trust::None(_)));
        assert!(matches!(trust("/var/lib/dimed/mail"), Trust::Unknown(_)));
        assert!(matches!(trust("/my mail/in"), Trust::Unknown(_)));
    }
}
