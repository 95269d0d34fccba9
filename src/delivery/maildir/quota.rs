//! How much a Maildir holds: counted in its file `maildirsize`, as Maildir++ has it, so that Courier and Dovecot (quota driver
//! "maildir") share the count with us. Source: <https://www.courier-mta.org/imap/README.maildirquota.html>.
//!
//! | Line | What it is |
//! |---|---|
//! | first | the quota, as in `1048576S`; whoever counts anew writes their own, and we read past it |
//! | others | octets and messages that came, or went (negative), as in `4096 1` |
//!
//! A delivery adds a line. The messages themselves are gone through, by their names alone where those say a size, when there
//! is no file, when it is longer than [`MOST_OCTETS`], and when the mailbox seems full and that may be outdated: mail
//! programs that do not know the file remove messages without a word. So a look costs one small read, and of a mailbox that
//! is full one count every [`COUNTED_FOR`]. Deliveries at the same time reserve their room.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const FILE: &str = "maildirsize";

/// Octets of the file from which on it is written anew.
const MOST_OCTETS: u64 = 5120;

/// How long a mailbox that was counted to be full is taken to be so.
const COUNTED_FOR: Duration = Duration::from_secs(15 * 60);

/// Octets in all messages of a Maildir, the folders in it included. `wanted` is how much more there is to be.
pub(super) fn used(folder: &Path, quota: u64, wanted: u64, now: SystemTime) -> io::Result<u64> {
    let Some(kept) = Kept::read(folder)? else {
        return count(folder, quota);
    };
    let is_full = kept.octets >= quota || quota - kept.octets < wanted;
    let is_fresh = kept.lines <= 1
        && now
            .duration_since(kept.changed_at)
            .is_ok_and(|age| age < COUNTED_FOR);
    match is_full && !is_fresh {
        true => count(folder, quota),
        false => Ok(kept.octets),
    }
}

/// A message has come. Without a file there is nothing to keep: it will be counted.
pub(super) fn add(folder: &Path, octets: u64) -> io::Result<()> {
    match File::options().append(true).open(folder.join(FILE)) {
        Ok(mut file) => file.write_all(format!("{octets} 1\n").as_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the file says.
struct Kept {
    octets: u64,
    lines: usize,
    changed_at: SystemTime,
}

impl Kept {
    /// `None` if there is no file, or one that is to be written anew.
    fn read(folder: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(folder.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let changed_at = file.metadata()?.modified()?;
        let mut text = Vec::new();
        file.take(MOST_OCTETS + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MOST_OCTETS {
            return Ok(None);
        }
        let text = String::from_utf8(text).unwrap_or_default();
        let mut lines = text.lines();
        let is_ours = lines.next().is_some();
        let changes: Option<Vec<i64>> = lines.map(change).collect();
        Ok(changes
            .filter(|changes| is_ours && !changes.is_empty())
            .map(|changes| Self {
                octets: changes.iter().sum::<i64>().max(0).unsigned_abs(),
                lines: changes.len(),
                changed_at,
            }))
    }
}

/// The octets of a line; more than any disk has is no number of octets.
fn change(line: &str) -> Option<i64> {
    let (octets, _) = line.split_once(' ')?;
    octets
        .parse()
        .ok()
        .filter(|octets: &i64| octets.unsigned_abs() < 1 << 50)
}

/// Counts all messages, and writes the file.
fn count(folder: &Path, quota: u64) -> io::Result<u64> {
    let (mut octets, mut messages) = (0u64, 0u64);
    let mut folders = vec![folder.to_owned()];
    for entry in entries(folder)? {
        let entry = entry?;
        let is_folder = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_folder && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    for part in folders
        .iter()
        .flat_map(|folder| [folder.join("cur"), folder.join("new")])
    {
        for entry in entries(&part)? {
            octets = octets.saturating_add(size(&entry?)?);
            messages += 1;
        }
    }
    write(folder, &format!("{quota}S\n{octets} {messages}\n"))?;
    Ok(octets)
}

/// What is in a folder; nothing if it is not there.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// The size that the name says (`,S=`), or else that of the file, unless that has gone meanwhile.
fn size(entry: &fs::DirEntry) -> io::Result<u64> {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let named = name.split_once(",S=").and_then(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    });
    match named {
        Some(octets) => Ok(octets),
        None => match entry.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        },
    }
}

/// Puts the file in place whole. A count that is lost is made again, so it is not synced.
fn write(folder: &Path, text: &str) -> io::Result<()> {
    let temporary = folder.join("tmp").join(format!(
        "{FILE}.{}.{:016x}",
        std::process::id(),
        rand::random::<u64>()
    ));
    let opened = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary);
    let mut file = match opened {
        // There is no Maildir yet, or somebody is just making it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    file.write_all(text.as_bytes())?;
    fs::rename(&temporary, folder.join(FILE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn maildir() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for part in ["tmp", "new", "cur", ".Sent/cur", ".Sent/new", "other/cur"] {
            fs::create_dir_all(home.path().join(part)).unwrap();
        }
        fs::write(home.path().join("new/1.a.host,S=100"), "short").unwrap();
        fs::write(home.path().join("cur/2.b.host,S=50,W=52:2,S"), "").unwrap();
        fs::write(home.path().join(".Sent/cur/3.c.host:2,S"), "seven..").unwrap();
        fs::write(home.path().join("other/cur/4.d.host,S=1000"), "").unwrap();
        home
    }

    #[test]
    fn a_maildir_that_is_being_made_has_no_count_yet() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "1000S\n").unwrap();
        write(&home.path().join("none"), "1000S\n").unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    fn text(home: &tempfile::TempDir) -> String {
        fs::read_to_string(home.path().join(FILE)).unwrap()
    }

    fn look(home: &tempfile::TempDir, quota: u64, wanted: u64) -> u64 {
        used(home.path(), quota, wanted, SystemTime::now()).unwrap()
    }

    #[test]
    fn messages_of_all_folders_are_counted_once_and_then_added_up() {
        let home = maildir();
        add(home.path(), 9).unwrap();
        assert!(!home.path().join(FILE).exists(), "nothing to add to");
        assert_eq!(look(&home, 1000, 0), 157);
        assert_eq!(text(&home), "1000S\n157 3\n");
        add(home.path(), 43).unwrap();
        assert_eq!(look(&home, 1000, 0), 200);
        assert_eq!(text(&home), "1000S\n157 3\n43 1\n");
        assert!(fs::read_dir(home.path().join("tmp")).unwrap().next().is_none());
    }

    #[test]
    fn what_others_have_written_counts_and_what_they_did_not_is_found_when_it_matters() {
        let home = maildir();
        fs::write(home.path().join(FILE), "77S,9C\n500 5\n-100 -1\n").unwrap();
        assert_eq!(look(&home, 1000, 0), 400);
        assert_eq!(text(&home), "77S,9C\n500 5\n-100 -1\n");
        // It seems full, and more than one line says so: mail has gone without a word.
        assert_eq!(look(&home, 450, 51), 157);
        assert_eq!(text(&home), "450S\n157 3\n");
    }

    #[test]
    fn a_full_mailbox_is_counted_again_after_a_while_only() {
        let home = maildir();
        assert_eq!(look(&home, 150, 0), 157);
        fs::remove_file(home.path().join("new/1.a.host,S=100")).unwrap();
        assert_eq!(look(&home, 150, 0), 157, "counted just now");
        let later = SystemTime::now() + COUNTED_FOR;
        assert_eq!(used(home.path(), 150, 0, later).unwrap(), 57);
    }

    #[test]
    fn a_file_that_is_long_or_no_count_is_written_anew() {
        for text in [
            "",
            "1000S\n",
            "1000S\nmuch 1\n",
            "1000S\n9223372036854775807 1\n9223372036854775807 1\n",
            &format!("1000S\n{}", "1 1\n".repeat(1300)),
        ] {
            let home = maildir();
            fs::write(home.path().join(FILE), text).unwrap();
            assert_eq!(look(&home, 1000, 0), 157, "{text:.20}");
        }
        let home = tempfile::tempdir().unwrap();
        let nowhere = home.path().join("none");
        assert_eq!(used(&nowhere, 10, 0, SystemTime::now()).unwrap(), 0);
    }
}
