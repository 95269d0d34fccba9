//! Who does it: what root makes the daemon could not read.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::progress::Progress;

/// Who runs the daemon as a service of systemd.
const SERVICE: &str = "dimed";

/// As root, starts this again as the user who owns the data directory, with the right to use ports below 1024, on which an authority
/// asks. Returns where there is no such user, or it is us; but not in the `usual` data directory if it should be the service's.
pub fn step_down(data: &Path, usual: &Path) -> anyhow::Result<()> {
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
    let error = Command::new("setpriv")
        .args([format!("--reuid={user}"), format!("--regid={group}")])
        .args([
            "--clear-groups",
            "--inh-caps=+net_bind_service",
            "--ambient-caps=+net_bind_service",
            "--",
        ])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .exec();
    // Only if that has failed.
    Err(error).with_context(|| {
        format!(
            "setpriv cannot be started: run this as user {user}, who owns {}",
            data.display()
        )
    })
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
