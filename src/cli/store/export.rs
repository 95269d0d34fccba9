//! `dimed store export`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::base::durable::{self, Staged};
use crate::base::id::QueueId;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, Misuse, audit};
use crate::config::Config;
use crate::store::{Content, Error, Mark, Rescued};

/// Messages named at once.
const PAGE: usize = 500;

/// Which messages, and where to.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder, which is made if it is not there. No file in it is replaced.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Messages, by their ids; without any, all that are in the queue.
    #[arg(value_name = "ID")]
    messages: Vec<String>,
    /// Those alone of which recipients were set aside because something cannot be read.
    #[arg(long, conflicts_with = "messages")]
    quarantined: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What was written.
#[derive(Default)]
struct Written {
    whole: u64,
    in_part: u64,
    lost: u64,
}

/// Writes what can be read; the answer is no if anything cannot.
pub async fn run(arguments: &Export, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let to = &arguments.to;
    if to.symlink_metadata().is_ok() && !to.is_dir() {
        return Err(Misuse(format!("{} is no folder", to.display())).into());
    }
    durable::create_folder(to).with_context(|| format!("{} cannot be made", to.display()))?;
    audit::exported(&context);
    let mut written = Written::default();
    if arguments.messages.is_empty() {
        let mut mark = Mark::default();
        loop {
            let (ids, next) = context.store.spooled(&mark, arguments.quarantined, PAGE).await?;
            for id in ids {
                written.export(&context, &id, to).await?;
            }
            let Some(next) = next else { break };
            mark = next;
        }
    }
    for id in &arguments.messages {
        if QueueId::parse(id).is_none() {
            return Err(Misuse("an id has 25 characters, as `dimed queue list` shows".into()).into());
        }
        written.export(&context, id, to).await?;
    }
    let Written { whole, in_part, lost } = written;
    let text =
        format!("{whole} messages written, {in_part} written in part, {lost} cannot be read at all.\n");
    let is_whole = in_part + lost == 0;
    let json = json!({
        "result": if is_whole { "done" } else { "incomplete" }, "whole": whole, "in_part": in_part, "lost": lost,
    });
    Answer { text, json }.write(arguments.json, out)?;
    Ok(if is_whole { Exit::Done } else { Exit::No })
}

impl Written {
    async fn export(&mut self, context: &Context, id: &str, to: &Path) -> anyhow::Result<()> {
        let rescued = match QueueId::parse(id) {
            Some(message) => context
                .store
                .rescue(message)
                .await?
                .map(|rescued| (message, rescued)),
            None => None,
        };
        let Some((message, rescued)) = rescued else {
            self.lost += 1;
            return Ok(());
        };
        let body = match rescued.has_key {
            true => body(context, message, &rescued, to).await?,
            false => Body::default(),
        };
        let envelope = to.join(format!("{id}.json"));
        let mut file = Staged::at(&envelope, 0o600)?;
        let object = object(id, &rescued, &body.missing);
        writeln!(file.file(), "{object:#}")?;
        persist(file, &envelope)?;
        let is_whole = body.missing.is_empty()
            && i64::try_from(body.octets) == Ok(rescued.size_bytes)
            && rescued.envelope.is_some()
            && rescued
                .recipients
                .iter()
                .all(|recipient| recipient.path.is_some());
        match (rescued.has_key, is_whole) {
            (false, _) => self.lost += 1,
            (true, true) => self.whole += 1,
            (true, false) => self.in_part += 1,
        }
        Ok(())
    }
}

/// What was written of a body.
#[derive(Default)]
struct Body {
    octets: usize,
    /// The numbers of pieces that cannot be read.
    missing: Vec<u32>,
}

/// Writes the body piece by piece.
async fn body(context: &Context, message: QueueId, rescued: &Rescued, to: &Path) -> anyhow::Result<Body> {
    let end = match rescued.content {
        Some(Content::Mime) | None => "eml",
        Some(_) => "dmime",
    };
    let path = to.join(format!("{message}.{end}"));
    let mut file = Staged::at(&path, 0o600)?;
    let mut body = Body::default();
    for number in 0..rescued.pieces {
        match context.store.read_piece(message, number).await {
            Ok(Some(piece)) => {
                body.octets += piece.len();
                file.file().write_all(&piece)?;
            }
            Ok(None) => break,
            Err(Error::Unreadable(_)) => body.missing.push(number),
            Err(error) => return Err(error.into()),
        }
    }
    persist(file, &path)?;
    Ok(body)
}

fn persist(file: Staged, path: &Path) -> anyhow::Result<()> {
    match file.persist(false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let folder = path.parent().unwrap_or(path).display();
            let name = path.file_name().unwrap_or_default().display();
            let taken = format!(
                "{folder} has {name} already, and no file is replaced: name another folder with --to, or move away what is there"
            );
            Err(Misuse(taken).into())
        }
        persisted => persisted.with_context(|| format!("{} cannot be written", path.display())),
    }
}

fn object(id: &str, rescued: &Rescued, missing: &[u32]) -> Value {
    let recipients: Vec<Value> = rescued
        .recipients
        .iter()
        .map(|recipient| {
            json!({
                "recipient": recipient.id, "domain": recipient.destination, "state": recipient.state,
                "forward_path": recipient.path,
            })
        })
        .collect();
    json!({
        "message": id,
        "key": rescued.has_key,
        "accepted_at": rescued.accepted_at.unix_secs(),
        "size_bytes": rescued.size_bytes,
        "reverse_path": rescued.envelope.as_ref().map(|envelope| envelope.reverse_path.to_string()),
        "smtputf8": rescued.envelope.as_ref().map(|envelope| envelope.smtputf8),
        "recipients": recipients,
        "missing_pieces": missing,
    })
}
