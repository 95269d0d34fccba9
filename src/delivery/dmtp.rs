//! Sealed mail to the delivery hosts of other domains.

use std::sync::Arc;

use super::{Contact, Diagnosis, Outcome, RemoteReply};
use crate::base::machine::TlsInfo;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::record::ManagementRecord;
use crate::dmtp::client::Message;
use crate::dmtp::command::{CommitHash, Return};
use crate::domains::{DxConnector, DxError};
use crate::mail::address::Domain;
use crate::mail::reply::EnhancedStatus;
use crate::net::dns::Proof;
use crate::store::Pieces;

/// Hands D/MIME objects over.
pub struct DmtpDelivery {
    /// Opens sessions.
    pub dx: Arc<DxConnector>,
}

/// One object and where it goes.
pub struct Job<'a> {
    /// Our domain that signed it.
    pub origin: &'a Domain,
    /// Its signet.
    pub origin_signet: FullFingerprint,
    /// The recipient's domain.
    pub destination: &'a Domain,
    /// Its signet.
    pub destination_signet: FullFingerprint,
    /// Its record.
    pub record: &'a ManagementRecord,
    /// How far the record is proven.
    pub proof: Proof,
    /// What DATA calls the message.
    pub commit: CommitHash,
    /// The object, all of which goes over.
    pub object: &'a mut dyn Pieces,
    /// How much of it a failure report should return.
    pub returning: Option<Return>,
}

/// What an attempt brought.
#[derive(Debug)]
pub struct Report {
    /// Relayed, deferred or failed.
    pub outcome: Outcome,
    /// The host and TLS towards it, if a session was had.
    pub peer: Option<(Domain, TlsInfo)>,
    /// The recipient has other keys than those the message was sealed for, says the host.
    pub stale_signet: bool,
}

impl Report {
    /// Nobody was spoken to.
    pub fn without_session(outcome: Outcome) -> Self {
        Self {
            outcome,
            peer: None,
            stale_signet: false,
        }
    }

    /// Whether the other side was there.
    pub fn contact(&self) -> Contact {
        match (&self.peer, &self.outcome) {
            (Some(_), _) => Contact::Reached,
            (None, Outcome::Deferred(why)) if why.status == UNREACHABLE => Contact::Unreachable,
            (None, _) => Contact::Unknown,
        }
    }
}

/// No host answered.
const UNREACHABLE: EnhancedStatus = EnhancedStatus(4, 4, 1);

/// The reply to MAIL on a submission port, where we come when nobody takes a connection on the right one (`dmtp.md` §9.1).
const LOGIN_FIRST: u16 = 530;

/// The reply to DATA that says so (`dmime2.md` §14, `dmtp.md` §7).
const STALE_SIGNET: u16 = 586;

impl DmtpDelivery {
    /// Transfers the object to the first delivery host that can be reached.
    pub async fn deliver(&self, job: Job<'_>) -> Report {
        let mut session = match self.dx.open(job.destination, job.record, job.proof).await {
            Ok(session) => session,
            Err(error) => {
                return Report {
                    outcome: outcome_of(&error),
                    peer: None,
                    stale_signet: false,
                };
            }
        };
        let message = Message {
            origin: job.origin.clone(),
            origin_signet: Some(job.origin_signet),
            destination: job.destination.clone(),
            destination_signet: Some(job.destination_signet),
            size: job.object.size_bytes(),
            returning: job.returning,
            commit: job.commit,
        };
        let peer = Some((session.host().clone(), session.tls().clone()));
        let sent = session.send(job.origin, message, job.object).await;
        let stale_signet =
            matches!(&sent, Err(DxError::Permanent { reply, .. }) if reply.code == STALE_SIGNET);
        let outcome = match sent {
            Ok(id) => {
                let remote = RemoteReply {
                    host: session.host().to_string(),
                    reply: format!("250 OK [{}]", id.unwrap_or_default()),
                };
                let outcome = Outcome::Relayed {
                    remote,
                    reports: false,
                };
                session.quit().await;
                outcome
            }
            Err(error) => outcome_of(&error),
        };
        Report {
            outcome,
            peer,
            stale_signet,
        }
    }
}

/// Only a 5xx is final; a rejected certificate may be replaced by the right one.
fn outcome_of(error: &DxError) -> Outcome {
    let local = |status, text: String| Outcome::Deferred(Diagnosis::local(status, text));
    match error {
        DxError::Permanent { host, reply } if reply.code == LOGIN_FIRST => local(
            EnhancedStatus(4, 4, 1),
            format!("{host} answers on its submission port alone"),
        ),
        DxError::Transient { host, reply } | DxError::Permanent { host, reply } => {
            Outcome::from_refusal(host.as_str(), reply)
        }
        DxError::NullMx => Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 10), error.to_string())),
        DxError::Certificate { .. } => local(EnhancedStatus(4, 7, 5), error.to_string()),
        _ => local(UNREACHABLE, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::reply::Reply;

    #[test]
    fn a_submission_port_is_no_answer_of_the_domain() {
        let refused = |code| DxError::Permanent {
            host: "mx.hismail.test".parse().unwrap(),
            reply: Reply::plain(code, "no"),
        };
        assert!(matches!(outcome_of(&refused(530)), Outcome::Deferred(_)));
        assert!(matches!(outcome_of(&refused(550)), Outcome::Failed(_)));
    }
}
