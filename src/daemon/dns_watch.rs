//! Looks at the name servers when the daemon starts and from then on: often until they are as they should be, then now and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::base::observe;
use crate::net::dns::{Resolver, SelfTest};

/// Time between two tests while they fail.
const EVERY: Duration = Duration::from_secs(60);

/// Time between two tests while they are passed.
const EVERY_PASSED: Duration = Duration::from_secs(600);

/// What the name servers were found to be last.
#[derive(Debug, Default)]
pub struct DnsWatch(Mutex<Option<SelfTest>>);

impl DnsWatch {
    /// The last result; `None` before there is one.
    pub fn last(&self) -> Option<SelfTest> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tests at once, and again until the daemon stops. Every new result is logged once.
    ///
    /// The daemon serves whatever the result: local mail needs no DNS, and other mail waits in the queue.
    pub async fn run(self: Arc<Self>, resolver: Arc<dyn Resolver>, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch(&*resolver)).await;
    }

    async fn watch(&self, resolver: &dyn Resolver) {
        loop {
            let found = resolver.self_test().await;
            if self.note(found) != Some(found) {
                log(found);
            }
            let is_passed = found == SelfTest::Passed;
            sleep(if is_passed { EVERY_PASSED } else { EVERY }).await;
        }
    }

    /// What was known before.
    fn note(&self, found: SelfTest) -> Option<SelfTest> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(found)
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
