//! `dimed message origin-sign`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use clap::Args;
use serde_json::json;

use super::actors::Actors;
use super::input::{self, Kind};
use super::inspect::of_file;
use super::keys::{KeyFiles, Keys};
use super::names::Role;
use super::output::{self, Access};
use super::read::{Checked, now};
use super::refused::NotAMessage;
use super::report::Report;
use super::{format1, format2};
use crate::cli::Exit;
use crate::cli::answer::check_output;
use crate::cli::files::{FileName, check_inputs};
use crate::cli::refusal::Refusal;
use crate::dime::dmime1::origin;
use crate::dime::dmime2::origin::SignedChunk;

/// Check a sealed message as its origin, and sign it.
///
/// Everything is checked that `verify --as origin` checks: author, destination, the author's
/// signature, and that no origin has signed yet. The primary key signs if it is among the keys,
/// else a secondary key that may sign messages. Signing again with the same key gives the same
/// octets. Sign a message with one key only: nothing here remembers that it was signed before.
///
/// Exit codes: 0 signed; 1 not valid, or no key may sign; 2 usage; 75 no room to write.
///
/// Examples:
///
///     dimed message origin-sign --key example.org.key --key example.org.kem \
///         --origin-signet example.org.signet --author-signet alice-example.org.signet \
///         --destination-signet example.net.signet sealed.dmime --out signed.dmime
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct OriginSign {
    #[command(flatten)]
    keys: KeyFiles,
    #[command(flatten)]
    actors: Actors,
    /// The time to judge by, in unix seconds. The present by default.
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// Where to write the signed message; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Sealed message; - is standard input.
    file: FileName,
}

/// A message with the origin's signature.
enum Signed {
    Whole(Vec<u8>),
    /// A message with another last chunk.
    Changed(File, SignedChunk),
}

/// Checks and signs.
pub fn run(arguments: &OriginSign, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_output(json, &arguments.out)?;
    let inputs = arguments.keys.key.iter().chain(arguments.actors.files());
    check_inputs(
        inputs
            .chain([&arguments.file])
            .chain(&arguments.keys.unlock.passphrase_file),
    )?;
    let mut report = Report::default();
    let signed = sign(arguments, &mut report);
    let signed = signed.map_err(|error| of_file(error, &arguments.file));
    let signed = signed.map_err(|error| match error.downcast::<Refusal>() {
        Ok(refusal) => report.located(refusal).into(),
        Err(error) => error,
    });
    let signed = match (signed, arguments.actors.trouble()) {
        (Err(error), Some(because)) if error.is::<Refusal>() && !json => {
            return Err(anyhow::Error::new(because).context(error));
        }
        (signed, _) => signed?,
    };
    let write = |to: &mut dyn Write| Ok(signed.write(to)?);
    output::write(&arguments.out, arguments.force, Access::Public, out, write)?;
    if json {
        report.fact("written_to", json!(arguments.out.to_string()));
        report.answer("signed", None, None).write(true, out)?;
    } else if !arguments.out.is_standard() {
        writeln!(out, "signed; in {}", arguments.out)?;
    }
    Ok(Exit::Done)
}

fn sign(arguments: &OriginSign, report: &mut Report) -> anyhow::Result<Signed> {
    let object = input::object(&arguments.file)?;
    let keys = Keys::read(&arguments.keys.key, &arguments.keys.unlock)?;
    let known = (&arguments.actors, &keys);
    match object.kind {
        Kind::Format1 => {
            let message = format1::message(&object.file)?;
            *report = Report::of_format1(&message);
            match format1::check(Role::Origin, &message, known, report)? {
                Checked::Submission(checked) => sign_format1(&checked, known),
                _ => Err(Refusal::new(&NotAMessage).into()),
            }
        }
        Kind::Format2 => {
            let outline = format2::outline(&object.file)?;
            *report = Report::of_format2(&outline);
            let at = arguments.at.unwrap_or_else(now);
            let source = (&outline, &object.file);
            match format2::check(Role::Origin, source, known, at, report)? {
                Checked::Submission(admissible) => {
                    let chunk = sign_format2(&admissible, known)?;
                    Ok(Signed::Changed(object.file, chunk))
                }
                _ => Err(Refusal::new(&NotAMessage).into()),
            }
        }
        Kind::Returned => Err(Refusal::new(&NotAMessage).into()),
    }
}

fn sign_format1(
    checked: &origin::CheckedSubmission,
    (actors, keys): (&Actors, &Keys),
) -> anyhow::Result<Signed> {
    let own = own(actors)?;
    let key = keys.message_signer(&own.current().signet)?;
    let signed = origin::sign(checked, key, origin::Bounces::default());
    Ok(Signed::Whole(signed.map_err(|error| Refusal::new(&error))?))
}

/// With a key of the signet that the author used, as the chapter demands.
fn sign_format2(
    admissible: &crate::dime::dmime2::origin::Admissible,
    (actors, keys): (&Actors, &Keys),
) -> anyhow::Result<SignedChunk> {
    let own = own(actors)?;
    let used = own.of_full(&admissible.own_signet());
    let (version, _) = used.ok_or_else(|| Refusal::new(&super::refused::WrongKeys::NotASigner))?;
    Ok(admissible.sign(keys.message_signer(&version.signet)?))
}

/// The organization's own signets. They were verified with the message, or the check would have failed.
fn own(actors: &Actors) -> anyhow::Result<super::actors::Organization> {
    let domain = actors.own_domain(Role::Origin)?;
    let own = actors.organization(Role::Origin, &domain)?;
    Ok(own.ok_or_else(|| Refusal::new(&super::refused::WrongKeys::NotASigner))?)
}

impl Signed {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Whole(octets) => out.write_all(octets),
            Self::Changed(file, chunk) => {
                let mut file = file;
                file.rewind()?;
                io::copy(&mut file.take(chunk.offset), out)?;
                out.write_all(&chunk.octets)
            }
        }
    }
}
