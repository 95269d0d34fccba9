//! Nothing acknowledged is ever lost: the order of syncs, power cuts, kills, failing and full disks, and clocks that jump.
//!
//! `DIMED_LONG_TESTS=1` makes the tests that draw lots take more of them.

mod backup;
mod care;
mod clock;
mod crash;
mod disk;
mod faults;
mod host;
mod log;
mod master_key;
mod migration;
mod order;
mod power;
mod restore;
mod sealed;
mod space;
mod trace;

use std::path::{Path, PathBuf};

fn is_long() -> bool {
    std::env::var_os("DIMED_LONG_TESTS").is_some()
}

/// Where syncs cost nothing, if the machine has such a place: what they do to the disk is not what these tests look at.
fn in_memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}
