//! Mail that came sealed as D/MIME 2 and cannot be delivered goes back to its origin as a returned message, which only
//! origin and author can read, and not as a report in the clear (`dmime2.md` §12).

use super::attempt::Mailer;
use super::runner::Settled;
use crate::base::id::QueueId;
use crate::crypto::ed25519::SigningKey;
use crate::dime::dmime2::returned::{Status, Ticket};
use crate::mail::address::{Domain, ReversePath};
use crate::mail::reply::EnhancedStatus;
use crate::store::{Claim, Content, Envelope, FollowUp, NewMessage, Recipient, SettledState, Source};

impl Mailer {
    /// Puts returned messages in the place of the reports that `concluded` has. Mail without a ticket keeps its reports.
    pub(super) async fn return_sealed(&self, claim: &Claim, concluded: &mut Settled) {
        let Source::Dmtp(origin) = &claim.envelope.source else {
            return;
        };
        let failed: Vec<_> = concluded.settlements.iter().filter_map(failure).collect();
        if failed.is_empty() && concluded.follow_ups.is_empty() {
            return;
        }
        let Some((ticket, key)) = self.means(claim).await else {
            return;
        };
        // Neither a failure nor a delay is told in the clear.
        concluded.follow_ups = failed
            .into_iter()
            .map(|status| self.returned(&claim.destination, origin, &ticket, status, &key))
            .collect();
    }

    /// What it takes to return a message: its ticket and our domain's key.
    async fn means(&self, claim: &Claim) -> Option<(Ticket, SigningKey)> {
        let ticket = self.store.ticket(claim.message).await.ok()??;
        let ticket = Ticket::decode(&ticket).ok()?;
        let organization = self.planner.published.organization(&claim.destination).await;
        Some((ticket, organization.ok()??.keys.signing))
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
            },
            content: Content::Returned,
            recipients: vec![Recipient::Sealed(origin.clone())],
            accepted_at: now,
            due_at: now,
            ticket: None,
        };
        FollowUp::new(message, ticket.report(reported, status, key))
    }
}

fn failure(settlement: &crate::store::Settlement) -> Option<Status> {
    match settlement.state {
        SettledState::Failed(status) => Some(status_of(status)),
        _ => None,
    }
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
