//! What `dimed check` finds out by asking DNS. Every wait is bounded, and nothing of it keeps the daemon from starting: local mail
//! needs no DNS, and other mail waits.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::surroundings::Finding;
use crate::config::Config;
use crate::daemon::health;
use crate::net::dns::{Resolver, SelfTest};
use crate::screening::lists::{self, List, Tested};

/// How long the name servers may take to show what they can.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is odd about the name servers; if nothing is, about the lists that hosts are measured by.
pub async fn findings(config: &Config) -> Vec<Finding> {
    // It has been made before, or the configuration would have been refused.
    let Ok(resolver) = config.dns.resolver() else {
        return Vec::new();
    };
    let resolver = resolver.as_ref();
    let tested = timeout(PATIENCE, resolver.self_test()).await;
    match health::name_servers(tested.unwrap_or(SelfTest::Unreachable)) {
        None => of_lists(resolver, &config.screening().lists).await,
        Some(failed) => vec![failed.into()],
    }
}

async fn of_lists(resolver: &dyn Resolver, all: &[List]) -> Vec<Finding> {
    let tested = join_all(all.iter().map(|list| lists::test(resolver, list))).await;
    let found = all.iter().zip(tested).map(|(list, tested)| of_list(list, tested));
    found.flatten().collect()
}

fn of_list(list: &List, tested: Tested) -> Option<Finding> {
    let what_follows = match tested {
        Tested::Passed => return None,
        Tested::HasEverybody | Tested::Refuses => "it is not asked until it passes the test of RFC 5782",
        Tested::LacksTestEntry | Tested::Unanswered => "it keeps nobody out as long as that is so",
    };
    let (name, words) = (&list.name, tested.words());
    Some(Finding {
        code: "screening_list",
        message: format!(
            "{name} (screening.lists) {words}: {what_follows}; look whether there still is such a list"
        ),
    })
}
