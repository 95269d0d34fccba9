//! Finds out whether an operator wants this node to take nothing new (`dimed queue drain`), and says whether it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::base::causes::Causes;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::mail::reply::Reply;
use crate::queue::pause::Entered;
use crate::smtp::server::replies;
use crate::store::{NODE_SPEAKS_EVERY, NodeReport};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// By then a running node that reaches the database has found out.
pub const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// How long a node that is stopped tries to say so.
const FAREWELL: Duration = Duration::from_secs(2);

/// Looks again and again, until `stop`.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    let mut watch = Watch::default();
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        watch.look(&services).await;
    }
}

/// Says that this node is stopped, once nothing is coming in any more.
pub async fn say_stopped(services: &Services) {
    // Without it, the node is waited for until it has been silent for long.
    let _ = timeout(FAREWELL, services.store.report_node(&node(services, None, true))).await;
}

/// Looks once. What cannot be read changes nothing.
pub async fn look(services: &Services) {
    Watch::default().look(services).await;
}

/// What this node has last said, and when.
#[derive(Default)]
struct Watch {
    said: Option<(Option<Timestamp>, Instant)>,
    /// Since when nothing new is taken.
    drained_at: Option<Instant>,
}

impl Watch {
    async fn look(&mut self, services: &Services) {
        let since = match services
            .store
            .drained_since(&services.config.server.hostname)
            .await
        {
            Ok(since) => since,
            Err(error) => {
                tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "it cannot be read whether this node is drained");
                return;
            }
        };
        heed(services, since.is_some());
        self.give_up_late(services, since.is_some());
        // Until what was coming in then is there or given up, it has not stopped to take mail.
        let has_said = self.said.is_some_and(|(said, _)| said == since);
        let since = since.filter(|_| has_said || services.pause.is_quiet());
        let is_due =
            |(said, at): (Option<Timestamp>, Instant)| said != since || at.elapsed() >= NODE_SPEAKS_EVERY;
        if !self.said.is_none_or(is_due) {
            return;
        }
        // What is said must hold by then, so it is heeded first.
        match services.store.report_node(&node(services, since, false)).await {
            Ok(()) => self.said = Some((since, Instant::now())),
            Err(error) => {
                tracing::error!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "it cannot be noted whether this node takes mail");
            }
        }
    }

    /// What is coming in may end as it does when the daemon is stopped, but no later: a stranger decides how long it takes.
    fn give_up_late(&mut self, services: &Services, is_drained: bool) {
        self.drained_at = match is_drained {
            true => self.drained_at.or_else(|| Some(Instant::now())),
            false => None,
        };
        let grace = Duration::from_secs(services.config.server.shutdown_grace_secs);
        if self.drained_at.is_some_and(|at| at.elapsed() >= grace) {
            services.pause.give_up();
        }
    }
}

/// Refuses for now what would come in while an operator wants nothing new.
pub fn demand_open(services: &Services) -> Result<(), Reply> {
    match services.pause.is_set() {
        true => Err(replies::not_accepting()),
        false => Ok(()),
    }
}

/// The same, and has the operator told that this node has stopped only after that was dropped.
pub fn enter(services: &Services) -> Result<Entered, Reply> {
    services.pause.enter().ok_or_else(replies::not_accepting)
}

fn heed(services: &Services, is_drained: bool) {
    match (services.pause.set(is_drained), is_drained) {
        (true, true) => tracing::warn!(
            event = observe::DAEMON_DRAINED,
            "no mail is taken and no attempt begun until `dimed queue drain --end`"
        ),
        (true, false) => tracing::info!(event = observe::DAEMON_RESUMED, "mail is taken and tried again"),
        (false, _) => {}
    }
}

fn node(services: &Services, drained_since: Option<Timestamp>, is_stopped: bool) -> NodeReport {
    let now = services.clock.now();
    NodeReport {
        name: services.config.server.hostname.clone(),
        seen_at: now,
        stopped_at: is_stopped.then_some(now),
        drained_since,
    }
}
