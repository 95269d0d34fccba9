//! Looks at the name servers when the daemon starts, and until they are as they should be.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::base::observe;
use crate::net::dns::{Resolver, SelfTest};

/// Time between two tests while they fail.
const EVERY: Duration = Duration::from_secs(60);

/// Tests at once, and again until the test is passed or the daemon stops. Every new result is logged once.
///
/// The daemon serves whatever the result: local mail needs no DNS, and other mail waits in the queue.
pub async fn run(resolver: Arc<dyn Resolver>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch(&*resolver) => {}
    }
}

async fn watch(resolver: &dyn Resolver) {
    let mut last = None;
    loop {
        let found = resolver.self_test().await;
        if last.replace(found) != Some(found) {
            log(found);
        }
        if found == SelfTest::Passed {
            return;
        }
        sleep(EVERY).await;
    }
}

fn log(found: SelfTest) {
    match found {
        SelfTest::Passed => tracing::info!(event = observe::DNS_SELF_TEST_PASSED, "{found}"),
        _ => tracing::error!(
            event = observe::DNS_SELF_TEST_FAILED,
            reason = found.code(),
            "{found}; mail to other domains waits until this is put right"
        ),
    }
}
