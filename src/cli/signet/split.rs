//! `dimed signet split`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Form, read};
use crate::cli::files::{FileName, Outputs};
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, answer};
use crate::dime::signet::{self, Level, Signet, id};

/// Cut a signet down to a shorter form.
///
/// A form is the beginning of the next: crypto has the keys, full also the profile, id also the
/// identifier. The signatures that remain stay valid. libdime's resolver takes the full form alone.
/// Nothing is verified here.
///
/// Exit codes: 0 done; 1 the object is no signet, or does not reach that form.
///
/// Examples:
///
///     dimed signet split example.org.signet --form full --out new.signet
///     dimed signet split example.org.signet --form crypto | dimed signet show -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Split {
    /// Signet; - is standard input.
    file: FileName,
    /// What to keep.
    #[arg(long, value_enum)]
    form: Form,
    /// Where to write it; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

/// Splits.
pub fn run(arguments: &Split, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let signet = read::signet(&arguments.file)?;
    let part = split(&signet, arguments.form.into()).map_err(|refusal| refusal.of_file(&arguments.file))?;
    write_signet(&part, &arguments.out, arguments.force, json, out)
}

fn split(signet: &Signet, level: Level) -> Result<Signet, Refusal> {
    let refused = |error| Refusal::in_signet(&error, signet);
    match (signet.split(level), signet.kind().signature_of(level)) {
        (Some(part), _) => Ok(part),
        (None, Some(field)) => Err(refused(signet::Error::Missing(field))),
        (None, None) => Err(refused(signet::Error::Missing(id::FULL_SIGNATURE))),
    }
}

/// Writes a signet that was made, armored; with JSON on standard output, in an object.
pub fn write_signet(
    signet: &Signet,
    file: &FileName,
    force: bool,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let armored = signet.to_armor();
    if !file.is_standard() {
        Outputs::new(force).public(file, armored.as_bytes()).write(out)?;
    }
    let answer = answer::Answer {
        text: match file.is_standard() {
            true => armored.clone(),
            false => format!("{} in {file}\n", signet.kind()),
        },
        json: json!({
            "result": "done",
            "file": file.to_string(),
            "type": super::fingerprint::type_name(signet.kind()),
            "signet": armored,
            "fingerprints": super::fingerprint::all(signet),
        }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}
