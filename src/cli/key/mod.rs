//! `dimed key …`: private key files, and where they are kept.

mod deposit;
mod master;
mod rotate;
mod set;
mod show;
mod unlock;
mod wrap;

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};

use super::{Exit, answer};

pub use rotate::without_keys;
pub use unlock::{Unlock, private_keys};

/// Private key files: what is in them, and putting them under a passphrase or the master key.
///
/// A key file is text with one or more armored blocks: an ORGANIZATIONAL KEY or USER KEY as libdime
/// reads them, an ED25519 PRIVATE KEY, KEY SET PRIVATE KEYS of D/MIME 2, or a WRAPPED PRIVATE KEY,
/// which is any of them under a passphrase or the master key. Files are written with mode 0600 and
/// never replaced without --force. A key file that others may read is used after a warning. The file
/// name - stands for standard input or output. No daemon and no configuration is needed but by `set
/// show`, `set renew`, `set accept`, `opt-out`, `rotate`, `rotate-master`, and `set import` without --submit, which are about an
/// installation.
///
/// Exit codes: 0 done; 1 the file is no valid key, or the passphrase does not open it; 2 usage, or a
/// file that cannot be read or written; 75 no room to write; 78 the master key file cannot be used.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Answer with a JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::Show),
    Wrap(wrap::Wrap),
    Unwrap(wrap::Unwrap),
    Upload(deposit::Upload),
    Download(deposit::Download),
    Set(Box<set::Set>),
    OptOut(set::OptOut),
    Rotate(rotate::Rotate),
    RotateMaster(master::RotateMaster),
}

/// Does as the command says.
pub async fn run(arguments: Arguments, config: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let json = arguments.json;
    let done = match arguments.command {
        Command::Show(show) => show::run(&show, json, out),
        Command::Wrap(wrap) => wrap::run(&wrap, json, out),
        Command::Unwrap(unwrap) => wrap::run_unwrap(&unwrap, json, out),
        Command::Upload(upload) => deposit::upload(&upload, json, out).await,
        Command::Download(download) => deposit::download(&download, json, out).await,
        Command::Set(set) => set::run(*set, config, json, out).await,
        Command::Rotate(rotate) => rotate::run(&rotate, config, json, out).await,
        Command::RotateMaster(rotate) => master::run(&rotate, config, json, out).await,
        Command::OptOut(opt_out) => set::opt_out(opt_out, config, json, out).await,
    };
    answer::conclude(done, json, out)
}
