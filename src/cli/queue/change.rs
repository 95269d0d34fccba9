//! `dimed queue hold|release|retry|flush|delete`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::filter::Filter;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, Misuse, audit};
use crate::config::Config;
use crate::store::{Changed, QueueLine, QueuePosition, Selection, Status};

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

/// What is deleted, and how.
#[derive(Debug, Args)]
pub struct Deleted {
    #[command(flatten)]
    arguments: Arguments,
    /// Report it to its author as failed, by the next attempt that the daemon makes. Not what was set aside as unreadable, of which
    /// nothing can be said, and which stays.
    #[arg(long)]
    report: bool,
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
    /// It is gone, without a word.
    Delete,
    /// It fails, with a report.
    Fail,
}

impl Change {
    fn done(self) -> &'static str {
        match self {
            Self::Hold => "held",
            Self::Release => "released",
            Self::Retry => "retried",
            Self::Delete | Self::Fail => "deleted",
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
            Self::Fail => line.status != Status::Quarantined,
        }
    }

    async fn apply(self, context: &Context, rows: Vec<QueuePosition>) -> anyhow::Result<Changed> {
        let (rows, now) = (Selection::Rows(rows), context.now());
        Ok(match self {
            Self::Hold => context.store.hold(rows, now).await?,
            Self::Release => all(context.store.release(rows, now).await?),
            Self::Retry => all(context.store.retry(rows, now).await?),
            Self::Delete => context.store.delete(rows, now).await?,
            Self::Fail => context.store.condemn(rows, now).await?,
        })
    }
}

/// No attempt is under way for any of them, or it does not matter.
fn all(recipients: u64) -> Changed {
    Changed {
        recipients,
        being_tried: 0,
    }
}

/// What is to be done to them, and has not been.
fn would_be(lines: &[QueueLine]) -> Changed {
    let is_tried = |line: &&QueueLine| line.status == Status::Trying;
    Changed {
        recipients: lines.len() as u64,
        being_tried: lines.iter().filter(is_tried).count() as u64,
    }
}

/// Deletes what is named, with or without a report.
pub async fn delete(deleted: &Deleted, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Deleted { arguments, report } = deleted;
    some(&arguments.filter)?;
    let change = match report {
        true => Change::Fail,
        false => Change::Delete,
    };
    run(change, arguments, config, out).await
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

/// Does so, and says how many recipients it was done for; the answer is no if there were none.
pub async fn run(
    change: Change,
    arguments: &Arguments,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let (mut changed, mut rest) = (Changed::default(), Rest::default());
    let walked = walk(change, arguments, &context, &mut changed, &mut rest).await;
    // Also what was done before it failed.
    if changed.recipients > 0 && !arguments.dry_run {
        audit::queue(&context, change.done(), changed.recipients);
    }
    walked?;
    answer(change, changed, &rest, arguments.dry_run).write(arguments.json, out)?;
    Ok(match changed.recipients {
        0 => Exit::No,
        _ => Exit::Done,
    })
}

/// Page by page; what was done until then is in `changed`, also where it fails.
async fn walk(
    change: Change,
    arguments: &Arguments,
    context: &Context,
    changed: &mut Changed,
    rest: &mut Rest,
) -> anyhow::Result<()> {
    let mut walk = arguments.filter.walk(context)?;
    while let Some(lines) = walk
        .next(context, |line| change.applies_to(line) || rest.note(line))
        .await?
    {
        let rows: Vec<QueuePosition> = lines.iter().map(|line| line.position).collect();
        *changed += match arguments.dry_run {
            true => would_be(&lines),
            false if rows.is_empty() => Changed::default(),
            false => change.apply(context, rows).await?,
        };
    }
    Ok(())
}

/// What a change passes by.
#[derive(Default)]
struct Rest {
    is_held: bool,
    /// Recipients that are being tried.
    being_tried: u64,
}

impl Rest {
    /// Never wanted.
    fn note(&mut self, line: &QueueLine) -> bool {
        self.is_held |= line.status == Status::Held;
        self.being_tried += u64::from(line.status == Status::Trying);
        false
    }
}

fn answer(change: Change, changed: Changed, rest: &Rest, is_dry_run: bool) -> Answer {
    let (count, done) = (changed.recipients, change.done());
    let mut text = match (count, change) {
        (0, Change::Retry) if rest.being_tried == 1 => "One recipient is being tried now.\n".to_owned(),
        (0, Change::Retry) if rest.being_tried > 1 => {
            format!("{} recipients are being tried now.\n", rest.being_tried)
        }
        (0, Change::Retry) if rest.is_held => {
            "It is held, and not tried before `dimed queue release`.\n".to_owned()
        }
        (0, _) => format!("There was nothing to be {done}.\n"),
        (1, _) if is_dry_run => format!("One recipient would be {done}.\n"),
        (count, _) if is_dry_run => format!("{count} recipients would be {done}.\n"),
        (1, Change::Retry) => "One recipient is due now.\n".to_owned(),
        (count, Change::Retry) => format!("{count} recipients are due now.\n"),
        (1, Change::Fail) => "One recipient deleted; the next attempt reports it.\n".to_owned(),
        (count, Change::Fail) => format!("{count} recipients deleted; the next attempts report them.\n"),
        (1, _) => format!("One recipient {done}.\n"),
        (count, _) => format!("{count} recipients {done}.\n"),
    };
    text += &match (changed.being_tried, change) {
        (0, _) | (_, Change::Release | Change::Retry) => String::new(),
        (1, _) => "One of them is being tried right now, and may still arrive.\n".to_owned(),
        (tried, _) => format!("{tried} of them are being tried right now, and may still arrive.\n"),
    };
    let result = match count {
        0 => "nothing",
        _ if is_dry_run => "would_be_done",
        _ => done,
    };
    Answer {
        text,
        json: json!({
            "result": result,
            "recipients": count,
            "being_tried": changed.being_tried + rest.being_tried,
            "dry_run": is_dry_run,
        }),
    }
}
