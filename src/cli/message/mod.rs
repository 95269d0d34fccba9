//! `dimed message …`: sealed messages in files, without configuration. No daemon of ours is needed but to send.

mod actors;
mod format1;
mod format2;
mod input;
mod inspect;
mod keys;
mod names;
mod output;
mod read;
mod refused;
mod report;
mod returned;
mod seal;
mod send;
mod sign;

use std::io::Write;

use clap::{Args, Subcommand};

use super::{Exit, answer};

/// Sealed messages in files: seal, send, sign, verify, open and inspect them.
///
/// Both formats are read, told apart by their first octets: D/MIME 1 (1847) and D/MIME 2 (1984),
/// and returned messages (1985). A message may also stand in a mail of the type
/// application/vnd.dime, as daemons deliver it to users who keep their keys. The file name - stands
/// for standard input or output. Files with plaintext are written with mode 0600. Files are never
/// replaced without --force. No configuration is needed, and no daemon but to send.
///
/// Whom to trust: a signet counts because you name its file. An organization's signet must be
/// signed by its own primary key, and that key must be listed with --pok for its domain if --pok is
/// given at all; a user's signet must be signed by the organization's. Keys for --pok are those of
/// the management record in DNS, which is not asked here. A signet that bears a name must bear the
/// right one. One that bears none counts for nobody until you say whose it is, with --from, --to,
/// --origin or --destination.
///
/// Nothing is remembered between calls: no pinned keys are looked at, and a message that was seen
/// before is not noticed (rule T3).
///
/// Exit codes: 0 done, or the message is valid; 1 it is not valid, or must not be sealed so, and
/// the rule says why; 2 usage, or a file that cannot be read or written; 75 no room to write; 78
/// the master key file cannot be used.
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
    Seal(seal::Seal),
    OriginSign(sign::OriginSign),
    Send(send::Send),
    Verify(read::Verify),
    Open(read::Open),
    Inspect(inspect::Inspect),
}

/// Does as the command says.
pub async fn run(arguments: Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let json = arguments.json;
    let done = match arguments.command {
        Command::Seal(seal) => seal::run(&seal, json, out),
        Command::OriginSign(sign) => sign::run(&sign, json, out),
        Command::Send(send) => send::run(&send, json, out).await,
        Command::Verify(verify) => read::verify(&verify, json, out),
        Command::Open(open) => read::open(&open, json, out),
        Command::Inspect(inspect) => inspect::run(&inspect, json, out),
    };
    answer::conclude(done, json, out)
}
