//! Whether a running daemon is ready, and why not.

use std::time::Duration;

use tokio::time::timeout;

use super::{Finding, judged};
use crate::base::time::Clock as _;
use crate::daemon::Services;

/// How long the store may take to show that it can be used.
const PATIENCE: Duration = Duration::from_secs(5);

/// What keeps a daemon from being ready: the codes of all that [`unready`] can find.
pub const REASONS: [&str; 9] = [
    "space_short",
    "clock_doubted",
    "name_servers",
    "drained",
    "store_unusable",
    "store_not_durable",
    "store_log_kept",
    "certificate_ended",
    "certificate_not_begun",
];

/// Everything that keeps the daemon from being ready; it is, if there is nothing.
pub async fn unready(services: &Services) -> Vec<Finding> {
    let now = services.clock.now();
    let (smtp, dmtp) = (services.smtp_tls.period(), services.dmtp_tls.period());
    let found = [
        judged::space(!services.has_space()),
        judged::clock(services.guarded_clock.look().is_some()),
        services.dns_watch.last().and_then(judged::name_servers),
        drained(services),
        store(services).await,
        judged::kept_log(services.store.keeps_log().await),
        judged::certificate("the certificate for SMTP", smtp, now),
        judged::certificate("the certificate for DMTP", dmtp, now).filter(|_| dmtp != smtp),
    ];
    found.into_iter().flatten().collect()
}

fn drained(services: &Services) -> Option<Finding> {
    services.pause.is_set().then(|| {
        Finding::wrong(
            "drained",
            "an operator has drained this node",
            "it takes no mail in and begins no attempt",
            "run `dimed queue drain --end` when the maintenance is over",
        )
    })
}

async fn store(services: &Services) -> Option<Finding> {
    match timeout(PATIENCE, services.store.probe()).await {
        Ok(probed) => judged::store(probed.as_ref().err()),
        Err(_) => Some(Finding::wrong(
            "store_unusable",
            format!(
                "the database has not answered within {} seconds",
                PATIENCE.as_secs()
            ),
            "no mail is taken in, and nothing is delivered",
            "look at what else uses the disk, or at the server of the database",
        )),
    }
}
