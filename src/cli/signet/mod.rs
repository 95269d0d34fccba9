//! `dimed signet …`: signets and signing requests in files, without a daemon or configuration; those that are
//! published here; and those of others.

mod fetch;
pub mod fingerprint;
mod import;
mod key_set;
mod life;
mod make;
mod profile;
pub mod read;
mod renew;
mod report;
mod request;
mod show;
mod sign;
mod split;
mod verify;

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};

use super::{Exit, answer};
use crate::dime::signet::Level;

/// Signets and signing requests: in files, and those that this server publishes.
///
/// Objects are read in any of their forms (armored, binary, or one line of base64) and written
/// armored. The file name - stands for standard input or output. Files are never replaced without
/// --force. No daemon and no configuration is needed, but for publish, approve, reject, history
/// and revoke, and for request without --submit, which are about the signets that this server
/// publishes. fetch asks other domains.
///
/// Exit codes: 0 done, or the object is valid; 1 it is not valid, and the name of the error says why;
/// 2 usage, or a file that cannot be read or written; 75 no room to write, or nobody to ask now.
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
    NewOrg(make::NewOrg),
    NewRequest(make::NewRequest),
    Sign(sign::Sign),
    Renew(renew::Renew),
    Show(show::Show),
    Verify(verify::Verify),
    Split(split::Split),
    Fingerprint(fingerprint::Fingerprint),
    Import(import::Import),
    Request(Box<request::Request>),
    Fetch(fetch::Fetch),
    #[command(flatten)]
    Life(life::Command),
}

/// Forms of a signet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Keys, up to the cryptographic signature.
    Crypto,
    /// Keys and profile, up to the full signature.
    Full,
    /// Everything, with the identifier.
    Id,
}

impl From<Form> for Level {
    fn from(form: Form) -> Self {
        match form {
            Form::Crypto => Self::Crypto,
            Form::Full => Self::Full,
            Form::Id => Self::Id,
        }
    }
}

/// Does as the command says; the configuration at `config` is read where it is needed.
pub async fn run(arguments: Arguments, config: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let json = arguments.json;
    let done = match arguments.command {
        Command::NewOrg(new) => make::run_org(&new, json, out),
        Command::NewRequest(new) => make::run_request(&new, json, out),
        Command::Sign(sign) => sign::run(&sign, json, out),
        Command::Renew(renew) => renew::run(&renew, json, out),
        Command::Show(show) => show::run(&show, json, out),
        Command::Verify(verify) => verify::run(&verify, json, out),
        Command::Import(import) => import::run(&import, json, out),
        Command::Split(split) => split::run(&split, json, out),
        Command::Fingerprint(fingerprint) => fingerprint::run(&fingerprint, json, out),
        Command::Request(request) => request::run(&request, config, json, out).await,
        Command::Fetch(fetch) => fetch::run(&fetch, config, json, out).await,
        Command::Life(command) => life::run(command, config, json, out).await,
    };
    answer::conclude(done, json, out)
}
