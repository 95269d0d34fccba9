//! `dimed queue stats`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::filter::old;
use crate::base::time::{Clock as _, SystemClock, Timestamp};
use crate::cli::Exit;
use crate::cli::answer::{Answer, printable};
use crate::cli::context::{self, Context};
use crate::config::Config;
use crate::daemon::health::{self, Finding};
use crate::store::{Amount, Drain, QueueStats};

/// How much to tell.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many domains to name, those with the most recipients first.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1000))]
    domains: u16,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// The queue in numbers.
pub async fn run(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let found = read(config, arguments.domains.into()).await?;
    let answer = Answer {
        text: text(&found),
        json: object(&found),
    };
    answer.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// What is told.
struct Found {
    stats: QueueStats,
    drains: Vec<Drain>,
    keeps_log: bool,
    now: Timestamp,
}

async fn read(config: Config, largest: usize) -> anyhow::Result<Found> {
    if let Some(numbers) = context::numbers(&config).await? {
        let now = SystemClock.now();
        return Ok(Found {
            stats: numbers.queue_stats(now, largest).await?,
            drains: numbers.drains().await?,
            keeps_log: numbers.keeps_log(),
            now,
        });
    }
    let context = Context::open(config).await?;
    Ok(Found {
        stats: context.store.queue_stats(largest).await?,
        drains: context.store.drains().await?,
        keeps_log: context.store.keeps_log().await,
        now: context.now(),
    })
}

fn text(found: &Found) -> String {
    let Found { stats, now, .. } = found;
    let mut text = match stats.oldest {
        None => String::from("The queue is empty.\n"),
        Some(oldest) => format!(
            "{} messages of {} octets, the oldest {}\n{} recipients in {} domains: {}\n",
            stats.messages,
            stats.octets,
            old(*now, oldest),
            stats.all.recipients(),
            stats.destinations,
            words(&stats.all),
        ),
    };
    for (name, amount) in &stats.largest {
        let name = printable(name);
        text += &format!("    {name}: {}: {}\n", amount.recipients(), words(amount));
    }
    for drain in &found.drains {
        let node = drain
            .node
            .as_ref()
            .map_or("Every node".to_owned(), ToString::to_string);
        text += &format!("{node} is to take nothing new until `dimed queue drain --end`\n");
    }
    if let Some(Finding { what, advice, .. }) = health::kept_log(found.keeps_log) {
        text += &format!("! {what}: {advice}\n");
    }
    text
}

fn words(amount: &Amount) -> String {
    let Amount {
        waiting,
        due,
        trying,
        held,
        quarantined,
    } = amount;
    format!("{waiting} waiting ({due} due), {trying} being tried, {held} held, {quarantined} quarantined")
}

fn object(found: &Found) -> Value {
    let stats = &found.stats;
    let domain = |(name, amount): &(String, Amount)| {
        let mut object = numbers(amount);
        object["domain"] = name.as_str().into();
        object
    };
    let drain = |drain: &Drain| json!({ "node": drain.node.as_ref().map(ToString::to_string), "since": drain.since.unix_secs() });
    json!({
        "result": "done",
        "messages": stats.messages,
        "size_bytes": stats.octets,
        "oldest_accepted_at": stats.oldest.map(Timestamp::unix_secs),
        "recipients": numbers(&stats.all),
        "domains": stats.destinations,
        "largest": stats.largest.iter().map(domain).collect::<Value>(),
        "drained": found.drains.iter().map(drain).collect::<Value>(),
        "log_kept": found.keeps_log,
    })
}

fn numbers(amount: &Amount) -> Value {
    json!({
        "all": amount.recipients(),
        "waiting": amount.waiting,
        "due": amount.due,
        "trying": amount.trying,
        "held": amount.held,
        "quarantined": amount.quarantined,
    })
}
