//! `dimed queue list`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::filter::{Filter, class_of, old};
use crate::base::time::Timestamp;
use crate::cli::Exit;
use crate::cli::answer::printable;
use crate::cli::context::Context;
use crate::config::Config;
use crate::queue::class::Class;
use crate::store::{Content, QueueEntry, QueueLine, QueueState, Status, Way};

/// What to show.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Every recipient that fits, oldest first, and how many they are.
pub async fn run(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let now = context.now();
    let mut walk = arguments.filter.walk(&context)?;
    let mut count = 0usize;
    while let Some(lines) = walk.next(&context, |_| true).await? {
        for line in &lines {
            match arguments.json {
                true => writeln!(out, "{}", object(line))?,
                false => writeln!(out, "{}", sentence(line, now, true))?,
            }
        }
        count += lines.len();
    }
    if !arguments.json {
        match count {
            0 if arguments.filter.is_empty() => writeln!(out, "The queue is empty.")?,
            0 => writeln!(out, "There is no such mail in the queue.")?,
            1 => writeln!(out, "One recipient.")?,
            count => writeln!(out, "{count} recipients.")?,
        }
    }
    Ok(Exit::Done)
}

/// Where a recipient's mail goes and when, and, on another line if that is wanted, what came of the last attempt.
pub fn sentence(line: &QueueLine, now: Timestamp, with_note: bool) -> String {
    let mut text = match &line.entry {
        Ok(entry) => readable(entry, now),
        Err(what) => format!(
            "{}  to somebody at {}, {}: its {what} cannot be read",
            printable(&line.message),
            printable(&line.destination),
            line.status.name(),
        ),
    };
    match (&line.fault, line.status) {
        (Some(fault), Status::Held) => text += &format!("\n    {}", printable(fault)),
        (Some(fault), _) => text += &format!("\n    cannot be read: {}", printable(fault)),
        (None, _) => {}
    }
    let note = line
        .entry
        .as_ref()
        .ok()
        .and_then(|entry| entry.last_note.as_ref());
    if let Some(note) = note.filter(|_| with_note) {
        text += &format!("\n    {}", printable(note));
    }
    text
}

fn readable(entry: &QueueEntry, now: Timestamp) -> String {
    let due = match (
        entry.in_progress,
        entry.state,
        entry.due_at.map(|due| due.since(now).as_secs()),
    ) {
        (true, ..) => String::from("being tried now"),
        (false, QueueState::Quarantined, _) => String::from("quarantined"),
        (false, _, None) => held(entry, now),
        (false, _, Some(0)) => String::from("due"),
        (false, _, Some(secs)) => format!("due in {secs} s"),
    };
    format!(
        "{}  <{}> to <{}>  {} octets, {}, {}, tried {} times, {due}",
        entry.message,
        printable(&entry.reverse_path.to_string()),
        printable(&entry.forward_path.to_string()),
        entry.size_bytes,
        content(entry.content),
        old(now, entry.accepted_at),
        entry.attempts,
    )
}

fn held(entry: &QueueEntry, now: Timestamp) -> String {
    match entry.held_until {
        None => String::from("held"),
        Some(until) => format!("held, to be deleted in {} h", until.since(now).as_secs() / 3600),
    }
}

/// The same for programs; what cannot be read is not there.
pub fn object(line: &QueueLine) -> Value {
    let mut object = json!({
        "message": line.message,
        "recipient": line.recipient,
        "domain": line.destination,
        "status": line.status.name(),
        "route": line.way.map(Way::name),
        "class": class_of(line).map(Class::name),
        "fault": line.fault,
    });
    match &line.entry {
        Ok(entry) => {
            object["reverse_path"] = entry.reverse_path.to_string().into();
            object["forward_path"] = entry.forward_path.to_string().into();
            object["content"] = content(entry.content).into();
            object["size_bytes"] = entry.size_bytes.into();
            object["accepted_at"] = entry.accepted_at.unix_secs().into();
            object["due_at"] = entry.due_at.map(Timestamp::unix_secs).into();
            object["held"] = (entry.state == QueueState::Held).into();
            object["held_until"] = entry.held_until.map(Timestamp::unix_secs).into();
            object["attempts"] = entry.attempts.into();
            object["in_progress"] = entry.in_progress.into();
            object["last_note"] = entry.last_note.clone().into();
        }
        Err(what) => object["unreadable"] = (*what).into(),
    }
    object
}

fn content(content: Content) -> &'static str {
    match content {
        Content::Mime => "MIME",
        Content::Dmime1 => "D/MIME 1",
        Content::Dmime2 => "D/MIME 2",
        Content::Returned => "returned D/MIME 2",
    }
}
