//! `dimed queue show`.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::{change, object, sentence};
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::config::Config;
use crate::store::{AttemptEntry, QueueEntry};

/// Which message.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Its id.
    #[arg(value_name = "ID")]
    id: String,
    /// Show the message itself as it is stored, and nothing else: header and body, or the sealed object.
    #[arg(long, conflicts_with = "json")]
    message: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Every recipient that is left, with its history; the answer is no if there is no such message.
pub async fn run(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let id = change::message(&arguments.id)?;
    let context = Context::open(config).await?;
    let entries = context.store.entries(id).await?;
    if entries.is_empty() {
        let text = "There is no such message in the queue.\n".to_owned();
        let json = json!({ "result": "nothing", "recipients": [] });
        Answer { text, json }.write(arguments.json, out)?;
        return Ok(Exit::No);
    }
    if arguments.message {
        for index in 0.. {
            let Some(piece) = context.store.read_piece(id, index).await? else {
                break;
            };
            out.write_all(&piece)?;
        }
        return Ok(Exit::Done);
    }
    let (mut text, mut recipients) = (String::new(), Vec::new());
    for entry in &entries {
        let history = context.store.attempts(entry.recipient).await?;
        describe(&mut text, entry, &history, context.now());
        recipients.push(recipient(entry, &history));
    }
    let json = json!({ "result": "done", "recipients": recipients });
    Answer { text, json }.write(arguments.json, out)?;
    Ok(Exit::Done)
}

fn describe(
    text: &mut String,
    entry: &QueueEntry,
    history: &[AttemptEntry],
    now: crate::base::time::Timestamp,
) {
    let entry = QueueEntry {
        last_note: None,
        ..entry.clone()
    };
    let _ = writeln!(text, "{}", sentence(&entry, now));
    let _ = writeln!(text, "    recipient {}", entry.recipient);
    for attempt in history {
        let ended = crate::mail::date::rfc5322(attempt.ended_at);
        let _ = match attempt.number {
            0 => writeln!(text, "    {ended}: held: {}", attempt.note),
            number => writeln!(text, "    {ended}, attempt {number}: {}", attempt.note),
        };
    }
}

fn recipient(entry: &QueueEntry, history: &[AttemptEntry]) -> Value {
    let attempt = |attempt: &AttemptEntry| {
        json!({
            "number": attempt.number,
            "ended_at": attempt.ended_at.unix_secs(),
            "note": attempt.note,
        })
    };
    let mut object = object(entry);
    object["history"] = history.iter().map(attempt).collect();
    object
}
