//! `dimed queue hold|release|retry|flush|delete`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::filter::Filter;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, Misuse};
use crate::config::Config;
use crate::store::{QueueLine, QueuePosition, Selection, Status};

/// What it is about, and how to say what was done.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// The same where it may be about everything.
#[derive(Debug, Args)]
pub struct OrAll {
    #[command(flatten)]
    arguments: Arguments,
    /// Everything there is.
    #[arg(long)]
    all: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing is tried until it is released.
    Hold,
    /// It is tried at once.
    Release,
    /// It is tried at once, if it waits.
    Retry,
    /// It is gone.
    Delete,
}

impl Change {
    fn done(self) -> &'static str {
        match self {
            Self::Hold => "held",
            Self::Release => "released",
            Self::Retry => "retried",
            Self::Delete => "deleted",
        }
    }

    /// Whether the store would do it for that one.
    fn applies_to(self, line: &QueueLine) -> bool {
        let is_to_be_deleted = || line.entry.as_ref().is_ok_and(|entry| entry.held_until.is_some());
        match self {
            Self::Hold => matches!(line.status, Status::Waiting | Status::Trying) || is_to_be_deleted(),
            Self::Release => matches!(line.status, Status::Held | Status::Quarantined),
            Self::Retry => line.status == Status::Waiting,
            Self::Delete => true,
        }
    }

    async fn apply(self, context: &Context, rows: Vec<QueuePosition>) -> anyhow::Result<u64> {
        let rows = Selection::Rows(rows);
        Ok(match self {
            Self::Hold => context.store.hold(rows).await?,
            Self::Release => context.store.release(rows, context.now()).await?,
            Self::Retry => context.store.retry(rows, context.now()).await?,
            Self::Delete => context.store.delete(rows).await?,
        })
    }
}

/// Deletes what is named.
pub async fn delete(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    some(&arguments.filter)?;
    run(Change::Delete, arguments, config, out).await
}

/// Changes what is named, or everything if that is said.
pub async fn some_or_all(
    change: Change,
    what: &OrAll,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    match what.all {
        true if !what.arguments.filter.is_empty() => {
            return Err(Misuse("with --all, nothing else says which mail".into()).into());
        }
        true => {}
        false => some(&what.arguments.filter)?,
    }
    run(change, &what.arguments, config, out).await
}

fn some(filter: &Filter) -> Result<(), Misuse> {
    match filter.is_empty() {
        true => Err(Misuse(
            "say which mail: name ids, or what it has in common (see --help)".into(),
        )),
        false => Ok(()),
    }
}

/// Does so, page by page, and says how many recipients it was done for; the answer is no if there were none.
pub async fn run(
    change: Change,
    arguments: &Arguments,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let mut walk = arguments.filter.walk(&context).await?;
    let mut count = 0;
    while let Some(lines) = walk.next(&context, |line| change.applies_to(line)).await? {
        let rows: Vec<QueuePosition> = lines.iter().map(|line| line.position).collect();
        count += match arguments.dry_run {
            true => rows.len() as u64,
            false if rows.is_empty() => 0,
            false => change.apply(&context, rows).await?,
        };
    }
    answer(change, count, arguments.dry_run).write(arguments.json, out)?;
    Ok(if count == 0 { Exit::No } else { Exit::Done })
}

fn answer(change: Change, count: u64, is_dry_run: bool) -> Answer {
    let done = change.done();
    let text = match (count, change) {
        (0, _) => format!("There was nothing to be {done}.\n"),
        (1, _) if is_dry_run => format!("One recipient would be {done}.\n"),
        (count, _) if is_dry_run => format!("{count} recipients would be {done}.\n"),
        (1, Change::Retry) => "One recipient is due now.\n".to_owned(),
        (count, Change::Retry) => format!("{count} recipients are due now.\n"),
        (1, _) => format!("One recipient {done}.\n"),
        (count, _) => format!("{count} recipients {done}.\n"),
    };
    let result = match count {
        0 => "nothing",
        _ if is_dry_run => "would_be_done",
        _ => done,
    };
    Answer {
        text,
        json: json!({ "result": result, "recipients": count, "dry_run": is_dry_run }),
    }
}
