//! `dimed message verify` and `dimed message open`.

use std::fs::File;
use std::io::Write;

use clap::Args;
use serde_json::json;

use super::actors::Actors;
use super::input::{self, Kind};
use super::inspect::of_file;
use super::keys::{KeyFiles, Keys};
use super::names::Role;
use super::output::{self, Access, Output};
use super::report::Report;
use super::{format1, format2, returned};
use crate::base::time::{Clock, SystemClock};
use crate::cli::files::{FileName, check_inputs};
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, Misuse};
use crate::dime::convert;

/// Verify a message as one of its parties: everything that this party can check.
///
/// The origin checks a message before it signs, the destination one that arrived, recipient and
/// author one that they read. Needed are the signets of all parties that the reader learns of:
/// author and recipient name all four (the recipient's own, as recipient), an organization its own,
/// the other one's, and that of its own user.
///
/// A refusal names the rule of D/MIME 2 that is broken; D/MIME 1 has none, and says only that it
/// refuses. The rule is for you: do not tell it to whoever sent the message.
///
/// A returned message is checked by the origin that sent the message in it, before it is passed on,
/// and by the author, who believes nothing that the origin alone could have made up. The origin
/// names all signets that it has had, and all of the destination, with --origin-signet and
/// --destination-signet. That a message came back once before is not noticed (rule B6).
///
/// Exit codes: 0 valid; 1 not valid; 2 usage.
///
/// Examples:
///
///     dimed message verify --as destination --key example.net.key --key example.net.kem \
///         --destination-signet example.net.signet --origin-signet example.org.signet \
///         --recipient-signet bob-example.net.signet letter.dmime
///     dimed message verify --as recipient --key bob-example.net.kem \
///         --recipient-signet bob-example.net.signet --author-signet alice-example.org.signet \
///         --origin-signet example.org.signet --destination-signet example.net.signet letter.dmime
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Verify {
    #[command(flatten)]
    reader: Reader,
}

/// Open a message as one of its parties, once all of it has been verified.
///
/// Author and recipient get the message back: its canonical header and its body, octet for octet.
/// Origin and destination get what is theirs to know: who wrote it and where it goes, or for whom
/// it is and where it comes from. Nothing is written before every check has been made, signatures
/// and content alike; a message with one bad part gives nothing. With --json and without --out, the
/// report alone is written.
///
/// A message that was sealed without a copy for its author does not open for the author (rule K1).
/// A returned message opens for its author, and says why the destination gave up and what came
/// back; for its origin, it says who the author is.
///
/// Exit codes: 0 valid and written; 1 not valid; 2 usage; 75 no room to write.
///
/// Examples:
///
///     dimed message open --as recipient --key bob-example.net.kem \
///         --recipient-signet bob-example.net.signet --author-signet alice-example.org.signet \
///         --origin-signet example.org.signet --destination-signet example.net.signet \
///         letter.dmime --out opened.eml
///     dimed message open --as origin --key example.org.kem --origin-signet example.org.signet \
///         --author-signet alice-example.org.signet \
///         --destination-signet example.net.signet sealed.dmime
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Open {
    #[command(flatten)]
    reader: Reader,
    #[command(flatten)]
    output: Output,
}

/// Who reads what, with which keys and signets.
#[derive(Debug, Args)]
pub struct Reader {
    /// As whom.
    #[arg(long = "as", value_enum, value_name = "PARTY")]
    role: Role,
    #[command(flatten)]
    keys: KeyFiles,
    #[command(flatten)]
    actors: Actors,
    /// The time to judge by, in unix seconds: for the recipient, when the message arrived. The present by default.
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// Id of a message that the author sent to the destination without a copy; a returned message counts only if it is one of these, or has
    /// a copy. May be given more than once.
    #[arg(long, value_name = "ID")]
    sent_id: Vec<String>,
    /// Message, or a mail with one; - is standard input.
    file: FileName,
}

/// A message that passed every check of an actor, and what it allows.
pub enum Checked<Submission, Content> {
    /// The origin may sign it.
    Submission(Box<Submission>),
    /// The destination may take it.
    Arrival,
    /// A reader may read it.
    Content(Box<Content>),
}

/// What there is to write after a check.
enum View {
    /// Nothing but the report.
    Report,
    /// A message of D/MIME 1, rebuilt.
    Mime(Vec<u8>),
    /// A message of D/MIME 2, and the file that it is still sealed in.
    Sealed(Box<crate::dime::dmime2::content::Opened>, File),
}

/// Verifies.
pub fn verify(arguments: &Verify, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match arguments.reader.judge()? {
        (report, Ok(_)) => {
            report.answer("valid", None, None).write(json, out)?;
            Ok(Exit::Done)
        }
        (report, Err(refusal)) => arguments.reader.refuse(&report, refusal, json, out),
    }
}

/// Opens.
pub fn open(arguments: &Open, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let output = &arguments.output;
    let file = output.out.clone();
    if json && file.as_ref().is_some_and(FileName::is_standard) {
        return Err(Misuse("--json and the message cannot both go to standard output".into()).into());
    }
    let (mut report, view) = match arguments.reader.judge()? {
        (report, Ok(view)) => (report, view),
        (report, Err(refusal)) => return arguments.reader.refuse(&report, refusal, json, out),
    };
    if let View::Report = view {
        let answer = report.answer("valid", None, None);
        match file.filter(|file| !file.is_standard()) {
            Some(file) => write_view(&file, output.force, out, |to| answer.write(json, to))?,
            None => answer.write(json, out)?,
        }
        return Ok(Exit::Done);
    }
    let file = file.or((!json).then(|| std::ffi::OsString::from("-").into()));
    if let Some(file) = &file {
        write_view(file, output.force, out, |to| view.write(to))?;
    }
    report.fact("written_to", json!(file.as_ref().map(ToString::to_string)));
    match (json, file) {
        (true, _) => report.answer("valid", None, None).write(true, out)?,
        (false, Some(file)) if !file.is_standard() => writeln!(out, "valid; written to {file}")?,
        _ => {}
    }
    Ok(Exit::Done)
}

fn write_view(
    file: &FileName,
    force: bool,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    output::write(file, force, Access::Private, out, write)
}

impl View {
    fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Report => Ok(()),
            Self::Mime(mime) => Ok(out.write_all(mime)?),
            Self::Sealed(opened, file) => format2::write(opened, file, out),
        }
    }
}

impl Reader {
    /// Makes every check. The outer error is no judgement on the message.
    fn judge(&self) -> anyhow::Result<(Report, Result<View, Refusal>)> {
        check_inputs(
            self.keys
                .key
                .iter()
                .chain(self.actors.files())
                .chain([&self.file])
                .chain(&self.keys.unlock.passphrase_file),
        )?;
        let mut report = Report::default();
        let judged = self.view(&mut report).map_err(|error| of_file(error, &self.file));
        match judged {
            Ok(view) => Ok((report, Ok(view))),
            Err(error) => match error.downcast::<Refusal>() {
                Ok(refusal) => {
                    let refusal = report.located(refusal);
                    Ok((report, Err(refusal)))
                }
                Err(error) => Err(error),
            },
        }
    }

    fn view(&self, report: &mut Report) -> anyhow::Result<View> {
        let object = input::object(&self.file)?;
        let keys = Keys::read(&self.keys.key, &self.keys.unlock)?;
        let at = self.at.unwrap_or_else(now);
        match object.kind {
            Kind::Format1 => {
                let message = format1::message(&object.file)?;
                *report = Report::of_format1(&message);
                self.say(report, object.wrapped);
                Ok(
                    match format1::check(self.role, &message, (&self.actors, &keys), report)? {
                        Checked::Content(opened) => View::Mime(convert::from_dmime1(&opened.content).mime),
                        _ => View::Report,
                    },
                )
            }
            Kind::Format2 => {
                let outline = format2::outline(&object.file)?;
                *report = Report::of_format2(&outline);
                self.say(report, object.wrapped);
                let source = (&outline, &object.file);
                let checked = format2::check(self.role, source, (&self.actors, &keys), at, report)?;
                Ok(match checked {
                    Checked::Content(opened) => View::Sealed(opened, object.file),
                    _ => View::Report,
                })
            }
            Kind::Returned => {
                let returned = returned::object(&object.file)?;
                *report = Report::of_returned(&returned);
                self.say(report, object.wrapped);
                let known = (&self.actors, &keys);
                match self.role {
                    Role::Author => returned::check_as_author(returned, known, &self.sent_id, at, report)?,
                    Role::Origin => returned::check_as_origin(returned, known, at, report)?,
                    _ => {
                        let text = "a returned message is for the origin and the author of the message in it: \
                                    --as origin or --as author";
                        return Err(Misuse(text.into()).into());
                    }
                }
                Ok(View::Report)
            }
        }
    }

    fn say(&self, report: &mut Report, wrapped: bool) {
        report.fact("wrapped", json!(wrapped));
        report.fact("as", json!(self.role.name()));
    }

    /// Says that a message is not valid: to programs on standard output, with all that is known of it; to people on standard error.
    fn refuse(
        &self,
        report: &Report,
        refusal: Refusal,
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<Exit> {
        let because = self.actors.trouble();
        if json {
            let answer = report.answer("not_valid", Some(&refusal), because.as_ref());
            answer.write(true, out)?;
            return Ok(Exit::No);
        }
        match because {
            Some(because) => Err(anyhow::Error::new(because).context(refusal)),
            None => Err(refusal.into()),
        }
    }
}

/// The present, in unix seconds.
pub fn now() -> u64 {
    u64::try_from(SystemClock.now().0 / 1000).unwrap_or(0)
}
