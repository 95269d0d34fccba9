//! Keeps the certificate for SMTP that an authority issues (`tls.acme`) from running out, for as long as the daemon runs. Another one
//! is put into its file, where the daemon finds it as it does any other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::base::causes::Causes;
use crate::base::observe;
use crate::config::Tls;
use crate::net::acme::{self, Door};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);
/// Time after one that failed: authorities count those.
const AFTER_FAILURE: Duration = Duration::from_secs(4 * 3600);

/// Looks at once, every hour, and when another configuration says something else of certificates, until `stop`. The authority is
/// answered at the `door`, if there is one.
pub async fn run(mut services: watch::Receiver<Arc<Services>>, door: Option<Door>, stop: CancellationToken) {
    let passes = async {
        loop {
            let now = Arc::clone(&services.borrow_and_update());
            let wait = match pass(&now, door.as_ref()).await {
                true => EVERY,
                false => AFTER_FAILURE,
            };
            // In vain, as a rule: then it is time for the next look.
            let _ = timeout(wait, another(&mut services, &now.config.tls)).await;
        }
    };
    stop.run_until_cancelled(passes).await;
}

/// Waits until something else is configured.
async fn another(services: &mut watch::Receiver<Arc<Services>>, tls: &Tls) {
    while services.changed().await.is_ok() {
        if services.borrow_and_update().config.tls != *tls {
            return;
        }
    }
    // Nobody is left who could configure any.
    std::future::pending().await
}

/// Whether the certificate is as it should be.
async fn pass(services: &Services, door: Option<&Door>) -> bool {
    let (host, tls) = (&services.config.server.hostname, &services.config.tls);
    let (Some(_), Some(certificate)) = (&tls.acme, &tls.smtp_certificate) else {
        return true;
    };
    // By a clock that is far ahead every new one would be due again at once, and authorities count what they issue.
    let now = services.clock.certain(services.clock.now());
    if !acme::is_due(certificate, host, now.unix_secs()) {
        return true;
    }
    let issued = match services.config.issuer(&services.resolver) {
        Ok(Some(issuer)) => issuer
            .issue(host, door)
            .await
            .map_err(|error| Causes(&error).to_string()),
        Ok(None) => return true,
        Err(error) => Err(Causes(&error).to_string()),
    };
    // Else it would be asked for every hour.
    let issued = issued.and_then(|()| match acme::is_due(certificate, host, now.unix_secs()) {
        true => Err(
            "what was issued does not name this host, or is to be renewed already by this clock".to_owned(),
        ),
        false => Ok(()),
    });
    match &issued {
        Ok(()) => tracing::info!(
            event = observe::TLS_CERTIFICATE_ISSUED,
            "the authority has issued a new certificate for SMTP"
        ),
        Err(error) => tracing::error!(
            event = observe::TLS_CERTIFICATE_NOT_ISSUED,
            error = error.as_str(),
            "there is no new certificate for SMTP; it is asked for again in four hours"
        ),
    }
    issued.is_ok()
}
