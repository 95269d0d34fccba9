//! `dimed serve`.

use super::Exit;
use crate::config::Config;

/// Runs the daemon until it is told to stop.
pub async fn run(_config: Config) -> anyhow::Result<Exit> {
    anyhow::bail!("the daemon is not part of this build")
}
