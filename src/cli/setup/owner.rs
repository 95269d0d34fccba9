//! Who does it: what root makes the daemon could not read.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// As root, starts this again as the user who owns the data directory, with the right to use ports below 1024, on which an authority
/// asks. Returns where there is no such user, or it is us.
pub fn step_down(data: &Path) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Ok(metadata) = data.metadata() else {
        return Ok(());
    };
    let (user, group) = (metadata.uid(), metadata.gid());
    if user == 0 {
        return Ok(());
    }
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
