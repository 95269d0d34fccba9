//! `dimed queue …`.

mod change;
mod show;

use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Exit;
use super::context::Context;
use crate::base::time::Timestamp;
use crate::config::Config;
use crate::store::{Content, QueueEntry, QueueState};

/// Entries read at once.
const PAGE: usize = 500;

/// Commands about messages on their way.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what waits, oldest first.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show where a message is for each recipient, and what has become of it so far.
    Show(show::Arguments),
    /// Keep mail from being delivered until it is released; what is being tried right now may arrive. What was held as it
    /// came is not deleted any more when its time is over.
    Hold(change::Arguments),
    /// Have held mail delivered, what was set aside as unreadable included.
    Release(change::Arguments),
    /// Have waiting mail tried at once instead of when its next attempt is due. Held mail stays held.
    Retry(change::Retried),
    /// Delete mail; what is being tried right now may still arrive. Nobody is told: where the author is to know that it did
    /// not arrive, write to the author.
    Delete(change::Arguments),
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::List { json } => list(json, config, out).await,
        Command::Show(arguments) => show::run(&arguments, config, out).await,
        Command::Hold(arguments) => change::run(change::Change::Hold, &arguments, config, out).await,
        Command::Release(arguments) => change::run(change::Change::Release, &arguments, config, out).await,
        Command::Retry(arguments) => change::retry(&arguments, config, out).await,
        Command::Delete(arguments) => change::run(change::Change::Delete, &arguments, config, out).await,
    }
}

async fn list(json: bool, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let now = context.now();
    let mut last = None;
    let mut count = 0usize;
    loop {
        let page = context.store.list(last, PAGE).await?;
        for entry in &page {
            let line = match json {
                true => object(entry).to_string(),
                false => sentence(entry, now),
            };
            writeln!(out, "{line}")?;
        }
        count += page.len();
        last = page.last().map(|entry| entry.position);
        if page.len() < PAGE {
            break;
        }
    }
    if count == 0 && !json {
        writeln!(out, "The queue is empty.")?;
    }
    Ok(Exit::Done)
}

/// One recipient on two lines: where it goes and when, and what came of the last attempt.
fn sentence(entry: &QueueEntry, now: Timestamp) -> String {
    let due = match (
        entry.in_progress,
        entry.due_at.map(|due| due.since(now).as_secs()),
    ) {
        (true, _) => String::from("being tried now"),
        (false, None) => held(entry, now),
        (false, Some(0)) => String::from("due"),
        (false, Some(secs)) => format!("due in {secs} s"),
    };
    let mut text = format!(
        "{}  <{}> to <{}>  {} octets, {}, {}, tried {} times, {due}",
        entry.message,
        entry.reverse_path,
        entry.forward_path,
        entry.size_bytes,
        content(entry.content),
        age(now, entry.accepted_at),
        entry.attempts,
    );
    if let Some(note) = &entry.last_note {
        text += &format!("\n    {note}");
    }
    text
}

fn held(entry: &QueueEntry, now: Timestamp) -> String {
    match entry.held_until {
        None => String::from("held"),
        Some(until) => format!("held, to be deleted in {} h", until.since(now).as_secs() / 3600),
    }
}

fn object(entry: &QueueEntry) -> Value {
    json!({
        "message": entry.message.to_string(),
        "recipient": entry.recipient.to_string(),
        "reverse_path": entry.reverse_path.to_string(),
        "forward_path": entry.forward_path.to_string(),
        "content": content(entry.content),
        "size_bytes": entry.size_bytes,
        "accepted_at": entry.accepted_at.unix_secs(),
        "due_at": entry.due_at.map(Timestamp::unix_secs),
        "held": entry.state == QueueState::Held,
        "held_until": entry.held_until.map(Timestamp::unix_secs),
        "attempts": entry.attempts,
        "in_progress": entry.in_progress,
        "last_note": entry.last_note,
    })
}

fn content(content: Content) -> &'static str {
    match content {
        Content::Mime => "MIME",
        Content::Dmime1 => "D/MIME 1",
        Content::Dmime2 => "D/MIME 2",
        Content::Returned => "returned D/MIME 2",
    }
}

fn age(now: Timestamp, accepted_at: Timestamp) -> String {
    let secs = now.since(accepted_at).as_secs();
    match secs {
        0..60 => format!("{secs} s old"),
        60..3600 => format!("{} min old", secs / 60),
        _ => format!("{} h old", secs / 3600),
    }
}
