//! `dimed queue hold|release|retry|delete`.

use std::io::Write;

use clap::{ArgGroup, Args};
use serde_json::json;

use crate::base::id::{QueueId, RecipientId};
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, Misuse};
use crate::config::Config;
use crate::mail::address::Domain;
use crate::store::Selection;

/// What it is about.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["messages", "recipient", "domain"]))]
pub struct Arguments {
    /// Messages, by their ids.
    #[arg(value_name = "ID")]
    messages: Vec<String>,
    /// One recipient of a message, by its id, as `show` has it.
    #[arg(long, value_name = "ID")]
    recipient: Option<String>,
    /// All recipients in a domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What is to be tried at once.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["messages", "recipient", "domain", "all"]))]
pub struct Retried {
    /// Messages, by their ids.
    #[arg(value_name = "ID")]
    messages: Vec<String>,
    /// One recipient of a message, by its id, as `show` has it.
    #[arg(long, value_name = "ID")]
    recipient: Option<String>,
    /// All recipients in a domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// Everything that waits.
    #[arg(long)]
    all: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
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
}

/// Does so, and says how many recipients it was done for; the answer is no if there were none.
pub async fn run(
    change: Change,
    arguments: &Arguments,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    apply(change, arguments.selections()?, arguments.json, config, out).await
}

/// Has what waits tried at once.
pub async fn retry(arguments: &Retried, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    apply(
        Change::Retry,
        arguments.selections()?,
        arguments.json,
        config,
        out,
    )
    .await
}

async fn apply(
    change: Change,
    selections: Vec<Selection>,
    json: bool,
    config: Config,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let mut count = 0;
    for selection in selections {
        count += match change {
            Change::Hold => context.store.hold(selection).await?,
            Change::Release => context.store.release(selection, context.now()).await?,
            Change::Retry => context.store.retry(selection, context.now()).await?,
            Change::Delete => context.store.delete(selection).await?,
        };
    }
    let done = change.done();
    let text = match (count, change) {
        (0, _) => format!("There was nothing to be {done}.\n"),
        (1, Change::Retry) => "One recipient is due now.\n".to_owned(),
        (count, Change::Retry) => format!("{count} recipients are due now.\n"),
        (1, _) => format!("One recipient {done}.\n"),
        (count, _) => format!("{count} recipients {done}.\n"),
    };
    let (result, exit) = match count {
        0 => ("nothing", Exit::No),
        _ => (done, Exit::Done),
    };
    let answer = Answer {
        text,
        json: json!({ "result": result, "recipients": count }),
    };
    answer.write(json, out)?;
    Ok(exit)
}

impl Arguments {
    fn selections(&self) -> Result<Vec<Selection>, Misuse> {
        selections(&self.messages, self.recipient.as_deref(), self.domain.as_ref())
    }
}

impl Retried {
    fn selections(&self) -> Result<Vec<Selection>, Misuse> {
        match self.all {
            true => Ok(vec![Selection::All]),
            false => selections(&self.messages, self.recipient.as_deref(), self.domain.as_ref()),
        }
    }
}

fn selections(
    messages: &[String],
    recipient: Option<&str>,
    domain: Option<&Domain>,
) -> Result<Vec<Selection>, Misuse> {
    if let Some(domain) = domain {
        return Ok(vec![Selection::Destination(domain.clone())]);
    }
    if let Some(id) = recipient {
        let id = RecipientId::parse(id).ok_or_else(|| not_an_id(id))?;
        return Ok(vec![Selection::Recipient(id)]);
    }
    let message = |id: &String| message(id).map(Selection::Message);
    messages.iter().map(message).collect()
}

/// The id of a message.
pub fn message(id: &str) -> Result<QueueId, Misuse> {
    QueueId::parse(id).ok_or_else(|| not_an_id(id))
}

fn not_an_id(id: &str) -> Misuse {
    let id: String = id
        .chars()
        .take(40)
        .filter(|letter| !letter.is_control())
        .collect();
    Misuse(format!(
        "`{id}` is not an id: they have 25 characters, as `dimed queue list` shows"
    ))
}
