//! What becomes of mail from other hosts after it has been examined.

use std::net::IpAddr;
use std::sync::Arc;

use crate::authentication::{Examination, Outcome, Sender, Summary};
use crate::base::id::{QueueId, SessionId};
use crate::base::observe;
use crate::config::{Incoming, OnQuarantine};
use crate::daemon::Services;
use crate::daemon::intake::MAX_HEADER;
use crate::mail::address::ReversePath;
use crate::mail::reply::{EnhancedStatus, Reply};

/// What examines a message from a host that has not logged in, of which `results` are known already; `None` if the configuration
/// wants nothing.
pub(super) fn examination(
    services: &Services,
    address: IpAddr,
    hello: &str,
    reverse_path: &ReversePath,
    results: Vec<String>,
) -> Option<Examination> {
    let enforced = match services.config.authentication.incoming {
        Incoming::Off => return None,
        Incoming::Mark => false,
        Incoming::Enforce => true,
    };
    let sender = Sender {
        address,
        hello: hello.to_owned(),
        reverse_path: reverse_path.clone(),
        results,
    };
    let now = u64::try_from(services.clock.now().unix_secs()).unwrap_or(0);
    Some(Examination::new(
        Arc::clone(&services.resolver),
        services.config.server.hostname.clone(),
        sender,
        enforced,
        MAX_HEADER,
        now,
    ))
}

/// Says what was found, and refuses what is not to be taken. What is to be held is taken for a reason.
pub(super) fn judge(
    services: &Services,
    session: &SessionId,
    message: QueueId,
    examined: Option<Summary>,
) -> Result<Option<String>, Reply> {
    let Some(summary) = examined else {
        return Ok(None);
    };
    tracing::info!(
        event = observe::SMTP_MESSAGE_AUTHENTICATED,
        session.id = %session,
        message.id = %message,
        spf = summary.spf,
        dkim = summary.dkim,
        dmarc = summary.dmarc,
        "authentication of a message was checked"
    );
    match summary.outcome {
        Outcome::Accept => Ok(None),
        Outcome::Quarantine => {
            let is_held = services.config.authentication.on_quarantine == OnQuarantine::Hold;
            Ok(is_held.then(|| "the author's domain asks for quarantine by DMARC".to_owned()))
        }
        Outcome::Reject => Err(Reply::new(
            550,
            EnhancedStatus(5, 7, 1),
            "The domain in From says by DMARC that it does not send this; ask its postmaster about SPF and DKIM",
        )),
        Outcome::NoAuthor => Err(Reply::new(
            550,
            EnhancedStatus(5, 7, 1),
            "The header must consist of fields, and one From field must name an author of one domain",
        )),
        Outcome::TryLater => Err(Reply::new(
            451,
            EnhancedStatus(4, 7, 1),
            "The DNS of the domain in From does not answer, so the message cannot be authenticated now",
        )),
    }
}
