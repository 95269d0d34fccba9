//! `dimed demo`.

use std::path::PathBuf;

use super::Exit;

/// What the demo sends, keeps and prints.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Send this message instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub eml: Option<PathBuf>,
    /// Leave configurations, spools, Maildirs and the sealed object in this directory.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Print the result for programs.
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo.
pub async fn run(_arguments: Arguments) -> anyhow::Result<Exit> {
    anyhow::bail!("the demo is not part of this build")
}
