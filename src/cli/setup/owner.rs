//! Who does it: what root makes the daemon could not read.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rustix::fs::{MemfdFlags, Mode, fchmod, fchown, memfd_create};
use rustix::process::Uid;

use super::plan;
use super::progress::Progress;
use crate::base::secret::Secret;
use crate::cli::files::FileName;

/// Who runs the daemon as a service of systemd.
const SERVICE: &str = "dimed";

/// As root, starts this again as the user who owns the data directory, with the right to use ports below 1024, on which an authority
/// asks. A password in a file is handed over: root may have it where nobody else can look. Returns where there is no such user, or it
/// is us; but not in the `usual` data directory if it should be the service's.
pub fn step_down(data: &Path, usual: &Path, password_file: Option<&FileName>) -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let Some((user, group)) = owner(data) else {
        anyhow::ensure!(
            data != usual || !is_user(SERVICE),
            "nothing is set up: this is root, and {SERVICE}, the user who runs the daemon, could not use what root makes; run `install -d \
             -o {SERVICE} -g {SERVICE} -m 0700 {}`, and this again",
            data.display()
        );
        return Ok(());
    };
    let program = std::env::current_exe()?;
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Open until the other program has taken our place.
    let handed = password_file
        .filter(|file| !file.is_standard())
        .map(|file| {
            handed_over(&plan::password_in(file)?, user).context("the password cannot be handed over")
        })
        .transpose()?;
    if let Some(handed) = &handed {
        words = with_password_file(words, &format!("/proc/self/fd/{}", handed.as_raw_fd()));
    }
    let error = Command::new("setpriv")
        .args([format!("--reuid={user}"), format!("--regid={group}")])
        .args([
            "--clear-groups",
            "--inh-caps=+net_bind_service",
            "--ambient-caps=+net_bind_service",
            "--",
        ])
        .arg(program)
        .args(words)
        .exec();
    // Only if that has failed.
    Err(error).with_context(|| {
        format!(
            "setpriv cannot be started: run this as user {user}, who owns {}",
            data.display()
        )
    })
}

/// A file in memory that outlives this program, for that user alone.
fn handed_over(password: &Secret<String>, user: u32) -> io::Result<File> {
    let mut file = File::from(memfd_create("password", MemfdFlags::empty())?);
    fchmod(&file, Mode::RUSR)?;
    fchown(&file, Some(Uid::from_raw(user)), None)?;
    file.write_all(password.expose().as_bytes())?;
    Ok(file)
}

/// The same words, with the password in another file.
fn with_password_file(words: Vec<OsString>, file: &str) -> Vec<OsString> {
    const OPTION: &str = "--password-file";
    let mut is_named_next = false;
    let renamed = |word: OsString| -> OsString {
        if std::mem::replace(&mut is_named_next, word == OPTION) {
            return file.into();
        }
        let joined = format!("{OPTION}=");
        match word.as_encoded_bytes().starts_with(joined.as_bytes()) {
            true => (joined + file).into(),
            false => word,
        }
    };
    words.into_iter().map(renamed).collect()
}

/// Says it where root goes on as root.
pub fn warn(data: &Path, progress: &mut Progress<'_>) -> anyhow::Result<()> {
    if !is_root() || owner(data).is_some() {
        return Ok(());
    }
    let text = format!(
        "this is root, so that all that is made is root's, and no daemon of another user can use it; to run it as the user {SERVICE}, make \
         that user, run `chown -R {SERVICE}: {}`, and give that user the configuration with the master key, too",
        data.display()
    );
    progress.warn("made_by_root", &text)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// User and group who own a folder that is there, unless that is root.
fn owner(folder: &Path) -> Option<(u32, u32)> {
    let found = folder.metadata().ok()?;
    (found.uid() != 0).then(|| (found.uid(), found.gid()))
}

fn is_user(name: &str) -> bool {
    let asked = Command::new("getent")
        .args(["passwd", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_password_file_is_another_however_it_is_named() {
        let renamed = |line: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            with_password_file(words, "x").join(OsStr::new(" "))
        };
        for (line, other) in [
            (
                "setup a.test --password-file p --yes",
                "setup a.test --password-file x --yes",
            ),
            ("setup --password-file=p a.test", "setup --password-file=x a.test"),
            ("setup a.test", "setup a.test"),
        ] {
            assert_eq!(renamed(line), other);
        }
    }
}
