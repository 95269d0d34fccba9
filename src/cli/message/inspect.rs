//! `dimed message inspect`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::input::{self, Kind};
use super::report::Report;
use super::{format1, format2, returned};
use crate::cli::Exit;
use crate::cli::files::FileName;
use crate::cli::refusal::Refusal;

/// Show what an outsider sees of a message. No key is used, and nothing is verified.
///
/// That is format, suite, time of sealing and message id (D/MIME 2), ephemeral key (D/MIME 1),
/// size, and of every chunk its type, place, size, padded size, and who may read it. Whoever
/// carries a message sees all this, and nobody without a key sees more.
///
/// Exit codes: 0 it is laid out as a message; 1 it is not, and the rule says why.
///
/// Examples:
///
///     dimed message inspect letter.dmime
///     dimed message inspect - --json < letter.dmime
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Inspect {
    /// Message, or a mail with one; - is standard input.
    file: FileName,
}

/// Inspects.
pub fn run(arguments: &Inspect, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let object = input::object(&arguments.file)?;
    let read = match object.kind {
        Kind::Format1 => format1::message(&object.file).map(|message| Report::of_format1(&message)),
        Kind::Format2 => format2::outline(&object.file).map(|outline| Report::of_format2(&outline)),
        Kind::Returned => returned::object(&object.file).map(|object| Report::of_returned(&object)),
    };
    let mut report = read.map_err(|error| of_file(error, &arguments.file))?;
    report.fact("wrapped", json!(object.wrapped));
    report.fact("counts", report.counts());
    report.answer("well_formed", None, None).write(json, out)?;
    Ok(Exit::Done)
}

/// Adds the file to a refusal.
pub fn of_file(error: anyhow::Error, file: &FileName) -> anyhow::Error {
    match error.downcast::<Refusal>() {
        Ok(refusal) if refusal.file.is_none() => refusal.of_file(file).into(),
        Ok(refusal) => refusal.into(),
        Err(error) => error,
    }
}
