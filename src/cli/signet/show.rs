//! `dimed signet show`.

use std::io::Write;

use clap::Args;

use super::read;
use super::report::{self, Judgement};
use crate::base::time::{Clock, SystemClock};
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::files::FileName;

/// Say everything that a signet or signing request says.
///
/// Prints the type, the form that it reaches, every fingerprint, and every field with its place,
/// id, name and content; a key set of D/MIME 2 is decoded and held to its rules. Only the layout is
/// checked: who signed is for `dimed signet verify`.
///
/// Exit codes: 0 the object is laid out rightly; 1 it is not, and the name of the error, the octet and
/// the field say where.
///
/// Examples:
///
///     dimed signet show example.org.signet
///     dimed signet show alice-example.org.ssr --json
///     cat example.org.signet | dimed signet show -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Show {
    /// Signet or signing request; - is standard input.
    file: FileName,
}

/// Shows.
pub fn run(arguments: &Show, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let signet = read::signet(&arguments.file)?;
    let now = SystemClock.now();
    let mut object = report::json(&signet, Judgement::Unverified, now);
    object["file"] = arguments.file.to_string().into();
    let answer = Answer {
        text: report::text(&signet, Judgement::Unverified, now),
        json: object,
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}
