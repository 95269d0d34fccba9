//! `dimed block …`: who is refused on DMTP.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::answer::{Answer, printable};
use super::context::Context;
use super::serve::start_log;
use super::{Exit, Misuse};
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::config::Config;
use crate::mail::date::rfc5322;
use crate::store::{Block, BlockEvent, Deed, Doer, Identity};

/// Entries fetched at a time.
const PAGE: u32 = 500;

/// Characters of a reason at most.
const MAX_REASON: usize = 200;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Commands about the block list. A running daemon goes by it at once.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show who is refused, since when, until when, and why.
    List(List),
    /// Refuse the mail of a domain or key, or change how long and why.
    Add(Add),
    /// Take mail of a domain or key again.
    Remove(Remove),
    /// Show what happened to the list and because of it, newest first.
    ///
    /// Messages refused because of one entry within an hour share a line. The newest 10,000 lines each of operators, traps,
    /// ends of time and refusals are kept.
    Log(Log),
}

/// Whom.
#[derive(Debug, Args)]
struct Subject {
    /// What is refused.
    #[arg(value_enum)]
    kind: Kind,
    /// The domain; or the key, 43 characters of base64.
    value: String,
}

/// What can be refused. All of it is checked once it is proven, and never by what a peer claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An origin domain, and all domains below it.
    Domain,
    /// The primary organizational key of an origin, as `pok=` in its record has it, whatever domain uses it.
    Pok,
    /// The signing key of an author. Holds for recipients whose keys are kept here; for others the author is sealed.
    AuthorKey,
}

/// How to show it.
#[derive(Debug, Args)]
pub struct List {
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

/// Whom to refuse.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    subject: Subject,
    /// Why, for those who read the list. Nobody else is told.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// For how many days; without it, until it is removed.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Whom to take mail of again.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    subject: Subject,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// How much to show.
#[derive(Debug, Args)]
pub struct Log {
    /// Lines at most.
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    limit: u32,
    /// JSON, one object on a line.
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=MAX_REASON => Ok(text.to_owned()),
        _ => Err(format!("a reason has 1 to {MAX_REASON} characters")),
    }
}

impl Subject {
    fn identity(&self) -> Result<Identity, Misuse> {
        let (kind, form) = match self.kind {
            Kind::Domain => ("domain", "a domain"),
            Kind::Pok => ("pok", "a key: 43 characters of base64"),
            Kind::AuthorKey => ("author-key", "a key: 43 characters of base64"),
        };
        let identity = Identity::parse(kind, &self.value);
        identity.ok_or_else(|| Misuse(format!("{} is not {form}", printable(&self.value))))
    }
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::List(list) => self::list(&list, config, out).await,
        Command::Add(add) => self::add(add, config, out).await,
        Command::Remove(remove) => self::remove(&remove, config, out).await,
        Command::Log(log) => self::log(&log, config, out).await,
    }
}

async fn list(list: &List, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    end_due(&context).await?;
    let (mut after, mut is_empty) = (None, true);
    loop {
        let page = context.store.list_blocks(after.as_ref(), PAGE).await?;
        for entry in &page {
            match list.json {
                true => writeln!(out, "{}", object(entry))?,
                false => out.write_all(text(entry).as_bytes())?,
            }
        }
        is_empty &= page.is_empty();
        after = page.last().map(|entry| entry.identity.clone());
        if page.len() < PAGE as usize {
            break;
        }
    }
    if is_empty && !list.json {
        writeln!(out, "Nobody is blocked.")?;
    }
    Ok(Exit::Done)
}

async fn add(add: Add, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let identity = add.subject.identity()?;
    let context = Context::open(config).await?;
    if let Identity::Domain(domain) = &identity {
        anyhow::ensure!(
            !context.gate().is_exempt(domain).await?,
            "{domain} is never blocked: it is served here, or abuse.never_blocked has it"
        );
    }
    let now = context.now();
    let entry = Block {
        identity,
        by: Doer::Operator,
        reason: add.reason,
        origin: None,
        since: now,
        until: add.days.map(|days| now.after(DAY * days)),
    };
    let blocked = context.store.block(entry.clone()).await;
    blocked.with_context(|| format!("{} cannot be blocked", entry.identity))?;
    start_log(&context.config);
    tracing::warn!(
        event = observe::BLOCK_ADDED,
        kind = entry.identity.kind(),
        "by order of an operator, somebody is on the block list"
    );
    let answer = Answer {
        text: format!("Blocked:\n{}", text(&entry)),
        json: json!({ "result": "done", "entry": object(&entry) }),
    };
    answer.write(add.json, out)?;
    Ok(Exit::Done)
}

async fn remove(remove: &Remove, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let identity = remove.subject.identity()?;
    let context = Context::open(config).await?;
    let removed = context.store.unblock(&identity, context.now()).await?;
    if removed {
        start_log(&context.config);
        tracing::warn!(
            event = observe::BLOCK_REMOVED,
            kind = identity.kind(),
            "by order of an operator, somebody is off the block list"
        );
    }
    let answer = Answer {
        text: match removed {
            true => format!("Not blocked any more: {identity}.\n"),
            false => format!("Not blocked: {identity}.\n"),
        },
        json: json!({
            "result": "done", "kind": identity.kind(), "value": identity.value(), "removed": removed,
        }),
    };
    answer.write(remove.json, out)?;
    Ok(if removed { Exit::Done } else { Exit::No })
}

async fn log(log: &Log, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    end_due(&context).await?;
    let (mut before, mut left) = (None, log.limit);
    while left > 0 {
        let page = context.store.block_events(before, left.min(PAGE)).await?;
        for event in &page {
            match log.json {
                true => writeln!(out, "{}", event_object(event))?,
                false => writeln!(out, "{}", event_text(event))?,
            }
        }
        before = page.last().map(|event| event.place);
        left -= page.len() as u32;
        if page.is_empty() {
            break;
        }
    }
    Ok(Exit::Done)
}

/// What has ended shows as ended, whether or not a daemon runs.
async fn end_due(context: &Context) -> anyhow::Result<()> {
    while context.store.expire_blocks(context.now()).await? > 0 {}
    Ok(())
}

fn text(entry: &Block) -> String {
    let origin = entry.origin.as_ref();
    let origin = origin.map(|origin| format!("of {origin}, ")).unwrap_or_default();
    let until = match entry.until {
        Some(until) => format!("until {}", rfc5322(until)),
        None => String::from("without end"),
    };
    format!(
        "{}\n    {origin}by {} since {}, {until}: {}\n",
        entry.identity,
        entry.by.name(),
        rfc5322(entry.since),
        printable(&entry.reason)
    )
}

fn object(entry: &Block) -> Value {
    json!({
        "kind": entry.identity.kind(),
        "value": entry.identity.value(),
        "by": entry.by.name(),
        "reason": entry.reason,
        "origin": entry.origin.as_ref().map(ToString::to_string),
        "since": entry.since.unix_secs(),
        "until": entry.until.map(Timestamp::unix_secs),
    })
}

fn event_text(event: &BlockEvent) -> String {
    let count = match event.deed {
        Deed::Refused => format!(", {} within the hour", event.count),
        _ => String::new(),
    };
    format!(
        "{}  {} {} {}: {}{count}",
        rfc5322(event.at),
        event.doer.name(),
        event.deed.name(),
        event.identity,
        printable(&event.reason)
    )
}

fn event_object(event: &BlockEvent) -> Value {
    json!({
        "at": event.at.unix_secs(),
        "by": event.doer.name(),
        "what": event.deed.name(),
        "kind": event.identity.kind(),
        "value": event.identity.value(),
        "reason": event.reason,
        "count": event.count,
    })
}
