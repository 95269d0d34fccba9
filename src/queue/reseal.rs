//! A sealed message whose recipient has other keys by now (586): of a trustful author it is opened once more with the
//! author's own keys, and goes back into the queue as it was before it was sealed.
//!
//! What took the plain message's place gives it back: its author copy. So nothing more than before is kept while a message
//! waits, and the plain message exists again only inside the one ciphertext that sealing replaces. Without an author
//! copy, and for authors whose keys are at home, the failure stands, and the report says what to do.

use super::attempt::Mailer;
use super::log;
use super::reopen::Reopened;
use crate::base::id::QueueId;
use crate::delivery::body::Body;
use crate::delivery::dmtp::Report;
use crate::delivery::{Diagnosis, Outcome};
use crate::dime::fingerprint::AnyFingerprint;
use crate::mail::address::Mailbox;
use crate::mail::reply::EnhancedStatus;
use crate::signet_service::Wanted;
use crate::store::{
    self, Addressee, Claim, Content, Envelope, FollowUp, FollowUpBody, MAX_RESEALED, NewMessage, Source,
};

impl Mailer {
    /// What takes the place of a message that its destination refused because of the recipient's signet.
    ///
    /// `None` if it cannot be opened, if the recipient has no newer signet, or if it was sealed again often enough: a host
    /// that has a new signet at every try does not keep a message going round.
    pub(super) async fn seal_again(&self, claim: &Claim, body: &mut Body) -> Option<FollowUp> {
        let Source::Submission(author) = &claim.envelope.source else {
            return None;
        };
        if claim.envelope.resealed >= MAX_RESEALED {
            return None;
        }
        let id = QueueId::random(&mut rand::rng());
        let writer = self.store.begin(id).await.ok()?;
        let reopened = self.reopen_whole(claim, author, body, writer).await?;
        if !self.has_newer(&reopened.recipient, reopened.sealed_for).await {
            return None;
        }
        let request = claim.recipients.first().map(|one| one.request.clone());
        let request = request.unwrap_or_default();
        log::sealed_again(claim);
        let Reopened {
            recipient, writer, ..
        } = reopened;
        let message = NewMessage {
            id,
            envelope: Envelope {
                resealed: claim.envelope.resealed + 1,
                ..claim.envelope.clone()
            },
            content: Content::Mime,
            recipients: vec![Addressee::new(recipient, request)],
            accepted_at: claim.counted_from,
            due_at: self.clock.now(),
            ticket: None,
        };
        Some(FollowUp::new(message, FollowUpBody::Spooled(writer.finish())))
    }

    /// Asks again, whatever was remembered. If that fails now, it is asked once more when the message is planned.
    async fn has_newer(&self, recipient: &Mailbox, sealed_for: AnyFingerprint) -> bool {
        for name in [recipient.domain().to_string(), store::fold(recipient)] {
            if self.store.forget_remote_signets(&name).await.is_err() {
                return false;
            }
        }
        match self.planner.directory.user(recipient, Wanted::Current).await {
            Ok((_, signet)) => {
                let full = signet.full_fingerprint().map(AnyFingerprint::from);
                full != Some(sealed_for) && AnyFingerprint::from(signet.crypto_fingerprint()) != sealed_for
            }
            Err(_) => true,
        }
    }
}

/// What an author is told whose message cannot be sealed again here.
pub(super) fn to_be_sealed_again(report: Report) -> Report {
    let Outcome::Failed(diagnosis) = report.outcome else {
        return report;
    };
    let text = "the recipient has other keys than those the message was sealed for: fetch the recipient's signet, seal the \
                message again, and send it again";
    Report {
        outcome: Outcome::Failed(Diagnosis {
            status: EnhancedStatus(5, 7, 5),
            text: text.to_owned(),
            ..diagnosis
        }),
        ..report
    }
}
