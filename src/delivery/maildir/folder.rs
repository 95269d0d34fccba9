//! Folders: their names, their making, and what is left behind in them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::base::durable::create_folder;
use crate::mail::address::Mailbox;
use crate::store::fold_name;

/// A part of an address as the name of exactly one folder.
///
/// Lower case; letters, digits, `-`, `_`, `+`, `=` and dots after the first character stand for themselves, every
/// other octet is written `%XX`. So nothing can leave its folder or hide, and no two names become one.
pub fn folder_name(part: &str) -> String {
    let mut name = String::with_capacity(part.len());
    for octet in fold_name(part).bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'+' | b'=' => name.push(octet.into()),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{octet:02X}")),
        }
    }
    name
}

/// Puts an address into a pattern.
pub(super) fn fill(pattern: &Path, account: &Mailbox) -> PathBuf {
    let domain = folder_name(account.domain().as_str());
    let local = folder_name(account.local());
    let fill = |name: &std::ffi::OsStr| match name.to_str() {
        // `{domain}` first: what it brings holds no braces, so nothing is filled in twice.
        Some(name) => name
            .replace("{domain}", &domain)
            .replace("{local}", &local)
            .into(),
        None => name.to_owned(),
    };
    pattern.iter().map(fill).collect()
}

/// Makes the folder and its three subfolders, each durably in the one above it.
pub(super) fn create_maildir(folder: &Path) -> io::Result<()> {
    ["tmp", "new", "cur"]
        .iter()
        .try_for_each(|name| create_folder(&folder.join(name)))
}

/// Removes the files of a folder that have not changed for `age`.
pub(super) fn sweep(folder: &Path, now: SystemTime, age: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let changed = entry.metadata()?.modified()?;
        if now.duration_since(changed).is_ok_and(|since| since > age) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    use super::*;

    #[test]
    fn ordinary_names_stand_for_themselves() {
        assert_eq!(folder_name("Bob.Smith+x_1-2=3"), "bob.smith+x_1-2=3");
    }

    #[test]
    fn nothing_leaves_its_folder_or_hides() {
        for (part, name) in [
            ("..", "%2E."),
            (".", "%2E"),
            (".ssh", "%2Essh"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a/b", "a%2Fb"),
            ("a\0b", "a%00b"),
            ("a b", "a%20b"),
            ("50%", "50%25"),
            ("{domain}", "%7Bdomain%7D"),
            ("bücher", "b%C3%BCcher"),
        ] {
            assert_eq!(folder_name(part), name, "{part:?}");
        }
    }

    #[test]
    fn the_longest_name_fits_a_file_system() {
        assert!(folder_name(&"\u{7f}".repeat(64)).len() <= 255);
        assert!(folder_name(&"İ".repeat(32)).len() <= 255);
    }

    #[test]
    fn fills_patterns_in_one_pass() {
        let account: Mailbox = "\"{domain}/..\"@hismail.test".parse().unwrap();
        assert_eq!(
            fill(Path::new("/mail/{local}@{domain}/Maildir"), &account),
            Path::new("/mail/%7Bdomain%7D%2F..@hismail.test/Maildir")
        );
    }

    #[test]
    fn sweeps_only_what_has_long_been_left() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("1.2.host");
        File::create(&file).unwrap();
        let (now, age) = (SystemTime::now(), Duration::from_secs(60));
        sweep(home.path(), now, age).unwrap();
        assert!(file.exists());
        sweep(home.path(), now + Duration::from_secs(120), age).unwrap();
        assert!(!file.exists());
    }
}
