//! `dimed queue drain`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::base::time::Timestamp;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, audit};
use crate::config::Config;
use crate::daemon::HEARD_WITHIN;
use crate::mail::address::Domain;
use crate::store::{NODE_SILENT_AFTER, NodeReport};

/// Time between two looks at what is under way.
const EVERY: Duration = Duration::from_millis(500);

/// With `--all`, a node that ended without a word is not asked for any more once it has been silent for so long.
const GONE_AFTER: Duration = Duration::from_secs(24 * 3600);

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
    /// Wait until the node says that it takes nothing new, and no attempt is under way, but no longer. Exit code 75: it is not so yet.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Has nodes take nothing new, or take mail again.
pub async fn run(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let (answer, exit) = match arguments.end {
        true => end(&context, arguments.node.as_ref()).await?,
        false => begin(&context, arguments).await?,
    };
    answer.write(arguments.json, out)?;
    Ok(exit)
}

async fn end(context: &Context, node: Option<&Domain>) -> anyhow::Result<(Answer, Exit)> {
    let ended = context.store.end_drain(node).await?;
    if ended > 0 {
        audit::drain(context, "ended");
    }
    let (text, result, exit) = match ended {
        0 => ("Nothing was drained.\n", "nothing", Exit::No),
        _ => (
            "A node that runs takes mail and tries it again, within seconds.\n",
            "done",
            Exit::Done,
        ),
    };
    let json = json!({ "result": result, "ended": ended });
    let text = text.to_owned();
    Ok((Answer { text, json }, exit))
}

async fn begin(context: &Context, arguments: &Arguments) -> anyhow::Result<(Answer, Exit)> {
    let own = &context.config.server.hostname;
    let node = (!arguments.all).then(|| arguments.node.as_ref().unwrap_or(own));
    let known = context.store.node_reports().await?;
    if let Some(node) = node.filter(|node| *node != own && is_unknown(node, &known)) {
        return Ok((unknown(node, &known), Exit::No));
    }
    let since = context.store.begin_drain(node, context.now()).await?;
    audit::drain(context, "begun");
    let drain = Begun { context, node, since };
    let seen = drain.wait(arguments.wait).await?;
    let exit = match arguments.wait.is_some() && !seen.is_over() {
        true => Exit::TryLater,
        false => Exit::Done,
    };
    Ok((seen.answer(node, context.now()), exit))
}

/// A node that nobody knows, where others are known. A name that is mistyped would drain nothing, and seem to.
fn is_unknown(node: &Domain, known: &[NodeReport]) -> bool {
    !known.is_empty() && known.iter().all(|known| known.name != *node)
}

fn unknown(node: &Domain, known: &[NodeReport]) -> Answer {
    let names: Vec<String> = known.iter().map(|node| node.name.to_string()).collect();
    Answer {
        text: format!(
            "No node called {node} works with this database; there are: {}. Nothing was changed.\n",
            names.join(", ")
        ),
        json: json!({ "result": "unknown_node", "node": node.to_string(), "known": names }),
    }
}

/// A drain that has begun.
struct Begun<'a> {
    context: &'a Context,
    /// For whom; `None` for all.
    node: Option<&'a Domain>,
    since: Timestamp,
}

impl Begun<'_> {
    /// What is to be seen once all is over, twice, as an attempt may begin while a node says that it stops; or once the time is over.
    async fn wait(&self, most: Option<u64>) -> anyhow::Result<Seen> {
        let started = Instant::now();
        let most = Duration::from_secs(most.unwrap_or(0));
        let mut was_over = false;
        loop {
            let seen = self.look().await?;
            let is_over = seen.is_over();
            if started.elapsed() >= most || is_over && was_over {
                return Ok(seen);
            }
            was_over = is_over;
            sleep(EVERY).await;
        }
    }

    async fn look(&self) -> anyhow::Result<Seen> {
        let now = self.context.now();
        let known = self.context.store.node_reports().await?;
        let is_meant = |known: &&NodeReport| match self.node {
            Some(node) => known.name == *node,
            None => known.stopped_at.is_some() || now.since(known.seen_at) < GONE_AFTER,
        };
        let mut nodes: Vec<_> = known
            .iter()
            .filter(is_meant)
            .map(|known| (known.name.clone(), State::of(known, self.since, now)))
            .collect();
        if nodes.is_empty() {
            let name = self.node.unwrap_or(&self.context.config.server.hostname);
            nodes.push((name.clone(), State::Unheard));
        }
        let trying = self.context.store.queue_stats(0).await?.all.trying;
        Ok(Seen { nodes, trying })
    }
}

/// How far a node is, by what it has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It takes nothing new.
    Drained,
    /// It does not run.
    Stopped,
    /// It has spoken lately, and not of this.
    Asked,
    /// It has said nothing since then.
    Silent(Timestamp),
    /// It has never said anything.
    Unheard,
}

impl State {
    fn of(node: &NodeReport, since: Timestamp, now: Timestamp) -> Self {
        let heeds = |heeded: Timestamp| heeded >= since;
        match node.stopped_at {
            Some(_) => Self::Stopped,
            // Until it hears of the end, however long that takes.
            None if node.drained_since.is_some_and(heeds) => Self::Drained,
            None if now.since(node.seen_at) >= NODE_SILENT_AFTER => Self::Silent(node.seen_at),
            None => Self::Asked,
        }
    }

    fn takes_nothing(self) -> bool {
        matches!(self, Self::Drained | Self::Stopped)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Stopped => "stopped",
            Self::Asked => "asked",
            Self::Silent(_) => "silent",
            Self::Unheard => "unheard",
        }
    }

    fn sentence(self, node: &Domain, now: Timestamp) -> String {
        match self {
            Self::Drained => format!("{node} takes no mail and begins no attempt."),
            Self::Stopped => format!("{node} does not run, and takes no mail when it starts."),
            Self::Asked => format!(
                "{node} is asked to take no mail and to begin no attempt, and stops within {} s, or once what is just coming in is there.",
                HEARD_WITHIN.as_secs()
            ),
            Self::Silent(seen_at) => format!(
                "{node} has said nothing for {} min: if it runs, it takes no mail once it reaches the database.",
                now.since(seen_at).as_secs() / 60
            ),
            Self::Unheard => {
                format!(
                    "{node} has never said that it works with this database: if it does, it is asked to take no mail."
                )
            }
        }
    }
}

/// What there is to say.
struct Seen {
    nodes: Vec<(Domain, State)>,
    /// Recipients with an attempt under way, by whichever node.
    trying: u64,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.trying == 0 && self.take_nothing()
    }

    fn take_nothing(&self) -> bool {
        self.nodes.iter().all(|(_, state)| state.takes_nothing())
    }

    fn answer(&self, node: Option<&Domain>, now: Timestamp) -> Answer {
        let lines = self.nodes.iter();
        let mut text: String = lines
            .map(|(node, state)| state.sentence(node, now) + "\n")
            .collect();
        text += &format!(
            "That holds until `dimed queue drain --end`. {} recipients are being tried.\n",
            self.trying
        );
        let object =
            |(node, state): &(Domain, State)| json!({ "node": node.to_string(), "state": state.name() });
        let json = json!({
            "result": if self.take_nothing() { "done" } else { "asked" },
            "node": node.map(ToString::to_string),
            "nodes": self.nodes.iter().map(object).collect::<Value>(),
            "trying": self.trying,
        });
        Answer { text, json }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn node(drained_since: Option<Timestamp>) -> NodeReport {
        NodeReport {
            name: "mx.example".parse().unwrap(),
            seen_at: NOW,
            stopped_at: None,
            drained_since,
        }
    }

    #[test]
    fn only_what_a_node_has_said_of_this_drain_counts() {
        let earlier = NOW.before(Duration::from_secs(60));
        assert_eq!(State::of(&node(None), NOW, NOW), State::Asked);
        assert_eq!(State::of(&node(Some(earlier)), NOW, NOW), State::Asked);
        assert_eq!(State::of(&node(Some(NOW)), NOW, NOW), State::Drained);
        let later = NOW.after(NODE_SILENT_AFTER);
        assert_eq!(State::of(&node(Some(NOW)), NOW, later), State::Drained);
        assert_eq!(State::of(&node(Some(earlier)), NOW, later), State::Silent(NOW));
        let stopped = NodeReport {
            stopped_at: Some(NOW),
            ..node(None)
        };
        assert_eq!(State::of(&stopped, NOW, later), State::Stopped);
    }

    #[test]
    fn nothing_is_said_to_be_over_that_nobody_has_said() {
        let seen = |state, trying| Seen {
            nodes: vec![("mx.example".parse().unwrap(), state)],
            trying,
        };
        assert!(seen(State::Drained, 0).is_over());
        assert!(seen(State::Stopped, 0).is_over());
        assert!(!seen(State::Drained, 1).is_over());
        for state in [State::Asked, State::Silent(NOW), State::Unheard] {
            assert!(!seen(state, 0).is_over(), "{state:?}");
            let answer = seen(state, 0).answer(None, NOW);
            assert_eq!(answer.json["result"], "asked");
            assert!(!answer.text.contains("example takes no mail"), "{}", answer.text);
        }
    }
}
