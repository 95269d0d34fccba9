//! `dimed queue show`.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::filter;
use super::list::{object, sentence};
use crate::base::id::RecipientId;
use crate::base::time::Timestamp;
use crate::cli::Exit;
use crate::cli::answer::{Answer, printable};
use crate::cli::context::Context;
use crate::config::Config;
use crate::store::{Among, AttemptEntry, Error, QueueFilter, QueueLine};

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
    let id = filter::message(&arguments.id)?;
    let context = Context::open(config).await?;
    let of_message = QueueFilter {
        among: Among::Message(id),
        ..QueueFilter::default()
    };
    let page = context.store.queue_page(&of_message, None, usize::MAX).await?;
    if page.lines.is_empty() {
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
    for line in &page.lines {
        let history = history(&context, line).await?;
        describe(&mut text, line, &history, context.now());
        recipients.push(recipient(line, &history));
    }
    let json = json!({ "result": "done", "recipients": recipients });
    Answer { text, json }.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// What can be read of it.
async fn history(context: &Context, line: &QueueLine) -> Result<Vec<AttemptEntry>, Error> {
    let Some(recipient) = RecipientId::parse(&line.recipient) else {
        return Ok(Vec::new());
    };
    match context.store.attempts(recipient).await {
        Err(Error::Unreadable(_)) => Ok(Vec::new()),
        read => read,
    }
}

fn describe(text: &mut String, line: &QueueLine, history: &[AttemptEntry], now: Timestamp) {
    let _ = writeln!(text, "{}", sentence(line, now, false));
    let _ = writeln!(text, "    recipient {}", printable(&line.recipient));
    for attempt in history {
        let ended = crate::mail::date::rfc5322(attempt.ended_at);
        let note = printable(&attempt.note);
        let _ = match attempt.number {
            0 => writeln!(text, "    {ended}: held: {note}"),
            number => writeln!(text, "    {ended}, attempt {number}: {note}"),
        };
    }
}

fn recipient(line: &QueueLine, history: &[AttemptEntry]) -> Value {
    let attempt = |attempt: &AttemptEntry| {
        json!({
            "number": attempt.number,
            "ended_at": attempt.ended_at.unix_secs(),
            "note": attempt.note,
        })
    };
    let mut object = object(line);
    object["history"] = history.iter().map(attempt).collect();
    object
}
