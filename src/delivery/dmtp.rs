//! Sealed mail to the delivery hosts of other domains.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::windows::{HostAddress, Hosts, Place};
use super::{Contact, Diagnosis, Outcome, RemoteReply};
use crate::base::machine::TlsInfo;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::record::ManagementRecord;
use crate::dmtp::client::Message;
use crate::dmtp::command::{CommitHash, Return};
use crate::domains::{Admission, DxConnector, DxError, DxSession};
use crate::mail::address::Domain;
use crate::mail::reply::EnhancedStatus;
use crate::net::dns::Proof;
use crate::store::{Pieces, Term};

/// Hands D/MIME objects over.
pub struct DmtpDelivery {
    /// Opens sessions.
    pub dx: Arc<DxConnector>,
    /// How many attempts hosts have room for, those by SMTP included.
    pub hosts: Arc<Hosts>,
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
    /// How long it is ours to transfer.
    pub term: &'a Term,
}

/// What an attempt brought.
#[derive(Debug)]
pub struct Report {
    /// Relayed, deferred or failed.
    pub outcome: Outcome,
    /// The host and TLS towards it, if a session was had.
    pub peer: Option<(Domain, TlsInfo)>,
    /// How long the object took, from MAIL to the last reply; what came before was the way there.
    pub transmitting: Duration,
    /// The recipient has other keys than those the message was sealed for, says the host.
    pub stale_signet: bool,
    /// The host that has no room for another attempt; then nothing was tried.
    pub crowded: Option<HostAddress>,
}

impl Report {
    /// Nobody was spoken to.
    pub fn without_session(outcome: Outcome) -> Self {
        Self {
            outcome,
            peer: None,
            transmitting: Duration::ZERO,
            stale_signet: false,
            crowded: None,
        }
    }

    /// Whether the other side was there.
    pub fn contact(&self) -> Contact {
        match (&self.peer, &self.outcome) {
            (Some(_), _) => Contact::Reached,
            (None, _) if self.crowded.is_some() => Contact::Unknown,
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
        let mut door = Door {
            hosts: &self.hosts,
            place: None,
        };
        let (report, session) = match self.through(&mut door, job).await {
            Ok((report, session)) => (report, Some(session)),
            Err(report) => (report, None),
        };
        let place = door.left_with(report.contact());
        if let Some(session) = session {
            self.dx.keep_in(session, place);
        }
        report
    }

    /// With the session, if one was had.
    async fn through(&self, door: &mut Door<'_>, job: Job<'_>) -> Result<(Report, DxSession), Report> {
        let opened = self
            .dx
            .open_admitted(job.destination, job.record, job.proof, door)
            .await;
        let mut session = match opened {
            Ok(session) => session,
            Err(error) => return Err(nobody_there(&error)),
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
        let mut started = Instant::now();
        let mut sent = session
            .send(job.origin, message.clone(), job.object, job.term)
            .await;
        if let Err(error) = &sent
            && session.was_given_up(error)
        {
            door.leave();
            session = match self.dx.open_instead(session, door).await {
                Ok(session) => session,
                Err(error) => return Err(nobody_there(&error)),
            };
            started = Instant::now();
            sent = session.send(job.origin, message, job.object, job.term).await;
        }
        Ok((told(&session, &sent, started.elapsed()), session))
    }
}

fn nobody_there(error: &DxError) -> Report {
    let crowded = match error {
        DxError::Crowded { address, .. } => Some(HostAddress::from(*address)),
        _ => None,
    };
    Report {
        crowded,
        ..Report::without_session(outcome_of(error))
    }
}

/// What the host made of the message.
fn told(session: &DxSession, sent: &Result<Option<String>, DxError>, transmitting: Duration) -> Report {
    let outcome = match sent {
        Ok(id) => Outcome::Relayed {
            remote: RemoteReply {
                host: session.host().to_string(),
                reply: format!("250 OK [{}]", id.as_deref().unwrap_or_default()),
            },
            reports: false,
        },
        Err(error) => outcome_of(error),
    };
    Report {
        outcome,
        peer: Some((session.host().clone(), session.tls().clone())),
        transmitting,
        stale_signet: matches!(sent, Err(DxError::Permanent { reply, .. }) if reply.code == STALE_SIGNET),
        crowded: None,
    }
}

/// The hosts that are tried one after the other, of which each takes a place.
struct Door<'a> {
    hosts: &'a Arc<Hosts>,
    place: Option<Place>,
}

impl Door<'_> {
    /// Nothing came of it that says anything of the host.
    fn leave(&mut self) {
        self.place = None;
    }

    /// What came of it at the last one.
    fn close(&mut self, contact: Contact) {
        drop(self.left_with(contact));
    }

    /// The same, for whoever keeps the place for a while.
    fn left_with(&mut self, contact: Contact) -> Option<Place> {
        let mut place = self.place.take()?;
        place.contact = contact;
        Some(place)
    }
}

impl Admission for Door<'_> {
    /// At the first address, whichever answers in the end, as by SMTP.
    fn admit(&mut self, host: &Domain, addresses: &[IpAddr]) -> Result<(), DxError> {
        // The one before was of no use.
        self.close(Contact::Unreachable);
        let Some(address) = addresses.first() else {
            return Ok(());
        };
        self.place = Place::take(self.hosts, HostAddress::from(*address));
        match self.place {
            Some(_) => Ok(()),
            None => Err(DxError::Crowded {
                host: host.clone(),
                address: *address,
            }),
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
        DxError::TooLate => local(EnhancedStatus(4, 4, 7), error.to_string()),
        _ => local(UNREACHABLE, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::reply::Reply;

    #[test]
    fn sessions_of_both_protocols_share_the_room_of_a_host() {
        let hosts = Arc::new(Hosts::new(2));
        let name = "dx.hismail.test".parse().unwrap();
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let door = || Door {
            hosts: &hosts,
            place: None,
        };
        let by_smtp = Place::take(&hosts, HostAddress::from(addresses[0])).unwrap();
        let (mut first, mut second) = (door(), door());
        first.admit(&name, &addresses).unwrap();
        let refused = second.admit(&name, &addresses).unwrap_err();
        assert!(matches!(refused, DxError::Crowded { address, .. } if address == addresses[0]));
        second.admit(&name, &addresses[1..]).unwrap();
        first.close(Contact::Reached);
        second.admit(&name, &addresses).unwrap();
        // The host does not answer, and has room for one from then on.
        second.close(Contact::Unreachable);
        drop(by_smtp);
        first.admit(&name, &addresses).unwrap();
        assert!(second.admit(&name, &addresses).is_err());
    }

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
