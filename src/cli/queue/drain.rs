//! `dimed queue drain`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::config::Config;
use crate::mail::address::Domain;

/// Time between two looks at what is under way.
const EVERY: Duration = Duration::from_millis(500);

/// Which node, and for how long to wait.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node with that `server.hostname`; without it, that of this configuration.
    #[arg(long, value_name = "HOST", conflicts_with = "all")]
    node: Option<Domain>,
    /// Every node that works with this database.
    #[arg(long)]
    all: bool,
    /// Have it take mail and try deliveries again. Without --node, for every node that was drained.
    #[arg(long, conflicts_with_all = ["wait", "all"])]
    end: bool,
    /// Wait until no attempt is under way, but no longer. Exit code 75: some still are.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Has nodes take nothing new, or take mail again.
pub async fn run(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    if arguments.end {
        let ended = context.store.end_drain(arguments.node.as_ref()).await?;
        let text = match ended {
            0 => "Nothing was drained.\n",
            _ => "Mail is taken and tried again, within seconds.\n",
        };
        let json = json!({ "result": if ended == 0 { "nothing" } else { "done" }, "ended": ended });
        Answer {
            text: text.into(),
            json,
        }
        .write(arguments.json, out)?;
        return Ok(if ended == 0 { Exit::No } else { Exit::Done });
    }
    let own = &context.config.server.hostname;
    let node = (!arguments.all).then(|| arguments.node.as_ref().unwrap_or(own));
    context.store.begin_drain(node, context.now()).await?;
    let trying = wait(&context, arguments.wait).await?;
    let name = node.map_or("Every node".to_owned(), ToString::to_string);
    let text = format!(
        "{name} takes no mail and begins no attempt until `dimed queue drain --end`; {trying} recipients are being tried.\n"
    );
    let json = json!({ "result": "done", "node": node.map(ToString::to_string), "trying": trying });
    Answer { text, json }.write(arguments.json, out)?;
    Ok(match arguments.wait.is_some() && trying > 0 {
        true => Exit::TryLater,
        false => Exit::Done,
    })
}

/// Recipients with an attempt under way, once there are none or the time is over. A node finds out within seconds, so that an
/// attempt may begin in the meantime.
async fn wait(context: &Context, most: Option<u64>) -> anyhow::Result<u64> {
    let started = Instant::now();
    let most = Duration::from_secs(most.unwrap_or(0));
    loop {
        let trying = context.store.queue_stats(0).await?.all.trying;
        let is_heard = started.elapsed() > crate::daemon::HEARD_WITHIN;
        if started.elapsed() >= most || (trying == 0 && is_heard) {
            return Ok(trying);
        }
        sleep(EVERY).await;
    }
}
