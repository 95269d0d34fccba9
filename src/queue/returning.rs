//! Mail that came sealed as D/MIME 2 and cannot be delivered goes back to its origin as a returned message, which only
//! origin and author can read, and not as a report in the clear (`dmime2.md` §12).

use std::time::Duration;

use super::attempt::Mailer;
use super::log;
use super::runner::Settled;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::Sha512;
use crate::dime::dmime2::returned::{Status, Ticket};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::notify::MessageRequest;
use crate::mail::reply::EnhancedStatus;
use crate::signet_service::Error;
use crate::store::{
    self, Claim, Content, Envelope, FollowUp, NewMessage, Recipient, ReplayEntry, SettledState, Settlement,
    Source,
};

impl Mailer {
    /// Puts returned messages in the place of the reports that `concluded` has.
    ///
    /// Mail without a ticket (D/MIME 1), and of a domain whose key is gone, keeps its reports. If the store fails now, the
    /// next attempt decides: nothing is told in the clear because of that.
    pub(super) async fn return_sealed(&self, claim: &Claim, concluded: &mut Settled) {
        let Source::Dmtp(origin) = &claim.envelope.source else {
            return;
        };
        let failed: Vec<_> = concluded.settlements.iter().filter_map(failure).collect();
        if failed.is_empty() && concluded.follow_ups.is_empty() {
            return;
        }
        match self.means(claim).await {
            // Neither a failure nor a delay is told in the clear.
            Ok(Some((ticket, key))) => {
                let ours = sent_to(claim);
                concluded.follow_ups = failed
                    .into_iter()
                    .map(|status| self.returned(&ours, origin, &ticket, status, &key))
                    .map(|follow_up| once(&ticket, follow_up, self.schedules.usual.lifetime))
                    .collect();
            }
            Ok(None) => {}
            Err(error) => {
                log::cannot_return(claim.message, &error);
                concluded.follow_ups.clear();
                let due_at = self.clock.now().after(self.schedules.usual.first);
                for settlement in &mut concluded.settlements {
                    postpone(settlement, due_at);
                }
            }
        }
    }

    /// What it takes to return a message: its ticket and our domain's key.
    async fn means(&self, claim: &Claim) -> Result<Option<(Ticket, SigningKey)>, store::Error> {
        let ticket = readable(self.store.ticket(claim.message).await)?.flatten();
        let Some(ticket) = ticket.and_then(|ticket| Ticket::decode(&ticket).ok()) else {
            return Ok(None);
        };
        let organization = match self.planner.published.organization(&sent_to(claim)).await {
            Err(Error::Store(error)) => readable(Err(error))?.flatten(),
            other => other.ok().flatten(),
        };
        Ok(organization.map(|organization| (ticket, organization.keys.signing)))
    }

    fn returned(
        &self,
        ours: &Domain,
        origin: &Domain,
        ticket: &Ticket,
        status: Status,
        key: &SigningKey,
    ) -> FollowUp {
        let now = self.clock.now();
        let reported = u64::try_from(now.unix_secs()).unwrap_or(0);
        let message = NewMessage {
            id: QueueId::random(&mut rand::rng()),
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Domain(ours.clone()),
                smtputf8: false,
                eight_bit: true,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Returned,
            recipients: vec![Recipient::Sealed(origin.clone()).into()],
            accepted_at: now,
            due_at: now,
            ticket: None,
        };
        FollowUp::new(message, ticket.report(reported, status, key))
    }
}

/// The domain that the message was sealed for: an address of it may stand for others, in other domains of ours or elsewhere.
pub(super) fn sent_to(claim: &Claim) -> Domain {
    let original = claim
        .recipients
        .iter()
        .find_map(|recipient| recipient.request.original.as_ref());
    let address = original.and_then(|original| Mailbox::parse(original.typed().1).ok());
    address.map_or_else(|| claim.destination.clone(), |address| address.domain().clone())
}

/// A message is returned once, however many of those whom its recipient stands for it fails to reach, and in however many
/// copies it went on to them.
fn once(ticket: &Ticket, follow_up: FollowUp, lifetime: Duration) -> FollowUp {
    let digest = Sha512::of(&[b"returned once\0", &ticket.encode()]).finish();
    let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 32], &[]));
    let until = follow_up.message.accepted_at.after(lifetime);
    FollowUp {
        replay: Some(ReplayEntry::of_whole(*key, until)),
        ..follow_up
    }
}

/// What is damaged stays so, and is as good as nothing; any other failure may pass.
fn readable<T>(read: Result<T, store::Error>) -> Result<Option<T>, store::Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(store::Error::Unreadable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A failure that cannot be told yet is none yet.
fn postpone(settlement: &mut Settlement, due_at: Timestamp) {
    let told_of = match settlement.state {
        SettledState::Failed(_) => false,
        SettledState::Deferred { delay_reported, .. } => delay_reported,
        _ => return,
    };
    settlement.state = SettledState::Deferred {
        due_at,
        delay_reported: told_of,
    };
}

fn failure(settlement: &Settlement) -> Option<Status> {
    match settlement.state {
        SettledState::Failed(status) => Some(status_of(status)),
        _ => None,
    }
}

/// What a report in the clear may say of a status: no more than a returned message.
pub(super) fn shown(status: EnhancedStatus) -> EnhancedStatus {
    let shown = status_of(status);
    EnhancedStatus(status.0, shown.subject.into(), shown.detail.into())
}

/// The statuses of §12.2; everything else is a failure over here.
fn status_of(status: EnhancedStatus) -> Status {
    let (subject, detail) = match (status.1, status.2) {
        (1, 1 | 6) | (2, 1 | 2) | (4, 7) | (7, 1 | 5) => (status.1 as u8, status.2 as u8),
        _ => (3, 0),
    };
    Status { subject, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_the_chapter_does_not_list_is_a_local_failure() {
        assert_eq!(status_of(EnhancedStatus(5, 2, 2)).to_string(), "5.2.2");
        assert_eq!(status_of(EnhancedStatus(5, 6, 0)).to_string(), "5.3.0");
        assert_eq!(status_of(EnhancedStatus(5, 1, 257)).to_string(), "5.3.0");
    }
}
