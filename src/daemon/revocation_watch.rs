//! Reads revocation lists again when they change. Sessions with hosts whose certificates were judged by those from before are ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::reload::Current;
use crate::base::observe;
use crate::net::tls::{self, WebPki};

/// Time between two looks at the files.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until the daemon stops. Lists that cannot be read leave those from before in use, and are told once.
pub async fn run(roots: WebPki, current: Arc<Current>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch(&roots, &current) => {}
    }
}

async fn watch(roots: &WebPki, current: &Current) {
    tracing::info!(
        event = observe::TLS_REVOCATION_LISTS_READ,
        count = roots.revocation_lists(),
        "the revocation lists are in use"
    );
    let mut failing = false;
    loop {
        sleep(EVERY).await;
        let looked = roots.clone();
        let Ok(looked) = tokio::task::spawn_blocking(move || looked.reload()).await else {
            continue;
        };
        if let Ok(true) = &looked {
            tracing::info!(
                event = observe::TLS_REVOCATION_LISTS_READ,
                count = roots.revocation_lists(),
                "the revocation lists have changed and are in use"
            );
            let services = current.get();
            tokio::join!(services.dx.end(), services.smtp.sessions.close());
        }
        let fails = looked.is_err();
        if let Err(error) = looked
            && !failing
        {
            log(&error);
        }
        failing = fails;
    }
}

fn log(error: &tls::Error) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(
        event = observe::TLS_REVOCATION_LISTS_UNREADABLE,
        reason = source,
        "{error}; the revocation lists from before stay in use"
    );
}
