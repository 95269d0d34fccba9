//! A recipient's own sealed message in the place of the recipient.

use std::sync::Arc;

use super::attempt::{Mailer, Progress, our_fault, refusal, route_note};
use super::log;
use super::plan::{Planned, Sealing};
use super::priority::Priority;
use crate::base::id::QueueId;
use crate::crypto::suite::hpke::Suite;
use crate::delivery::seal::{self, seal_and_sign};
use crate::delivery::{Contact, Diagnosis, Outcome};
use crate::dime::selection::Choice;
use crate::dime::{convert, dmime2};
use crate::mail::notify::RecipientRequest;
use crate::mail::reply::EnhancedStatus;
use crate::store::{
    self, Addressee, Claim, Content, Envelope, FollowUp, FollowUpBody, NewMessage, Recipient, SettledState,
    Settlement,
};

/// Octets of sealed objects that one attempt makes, at least one object. They are held until the attempt is settled,
/// and a message may have as many recipients as it likes; those left over are served by the next attempt.
const SEALED_PER_ATTEMPT: usize = 32 << 20;

impl Mailer {
    /// Replaces the recipient by a sealed message of its own, in the transaction that settles it.
    pub(super) async fn seal<'a>(
        &'a self,
        progress: &mut Progress<'a>,
        planned: &Planned<'a>,
        sealing: &Sealing,
    ) {
        if progress.follow_up_bytes() >= SEALED_PER_ATTEMPT {
            return progress.postpone(planned, self.clock.now());
        }
        let sealed = match sealing.choice {
            Choice::Format2 { suite, author_copy } => self
                .seal_format2(progress, sealing, (suite, author_copy))
                .await
                .map(|sealed| self.in_place(progress.claim, planned, sealed)),
            Choice::Format1 => {
                let object = self.seal_format1(progress, sealing).await;
                object.map(|object| {
                    let id = QueueId::random(&mut rand::rng());
                    FollowUp::new(
                        self.sealed_message(progress.claim, planned, id, Content::Dmime1),
                        object,
                    )
                })
            }
            Choice::Hold(_) => Err(Outcome::Deferred(refusal(4, &planned.decision.reason))),
        };
        match sealed {
            Ok(follow_up) => {
                log::sealed(progress.claim, sealing.choice, progress.elapsed());
                progress.settled.follow_ups.push(follow_up);
                // Its signets were had.
                progress.settled.contact = Contact::Reached;
                progress.settled.settlements.push(Settlement {
                    recipient: planned.recipient.id,
                    state: SettledState::Expanded,
                    note: format!("{}; {}", route_note(&planned.decision), sealing.choice),
                    instead: Vec::new(),
                });
            }
            Err(outcome) => progress.add(planned, outcome),
        }
    }

    pub(super) async fn seal_format1(
        &self,
        progress: &mut Progress<'_>,
        sealing: &Sealing,
    ) -> Result<Vec<u8>, Outcome> {
        // What does not fit is found out before it is held whole: it comes back as too large (§16.5 F2).
        let fits = seal::check_format1(progress.body.stored()).await;
        progress.note(&fits);
        fits.map_err(|error| unsealable(&error))?;
        let mime = progress.whole().await.map_err(Outcome::Deferred)?;
        let object = seal_and_sign(
            Arc::clone(&sealing.author),
            sealing.recipient.clone(),
            sealing.destination.clone(),
            sealing.signet.clone(),
            mime,
        );
        object.await.map_err(|error| unsealable(&error))
    }

    /// From spool to spool, signed by the origin.
    pub(super) async fn seal_format2(
        &self,
        progress: &mut Progress<'_>,
        sealing: &Sealing,
        (suite, author_copy): (Suite, bool),
    ) -> Result<seal::Sealed, Outcome> {
        let request = seal::Request {
            author: Arc::clone(&sealing.author),
            recipient: sealing.recipient.clone(),
            destination: sealing.destination.clone(),
            signet: sealing.signet.clone(),
            suite,
            author_copy,
        };
        let (mime, now) = (progress.body.stored(), self.clock.now());
        let (published, store) = (&self.planner.published, self.store.as_ref());
        let sealed = seal::seal_in_spool(published, store, request, mime, now).await;
        progress.note(&sealed);
        sealed.map_err(|error| unsealable(&error))
    }

    /// The origin remembers the object in the transaction that settles.
    fn in_place(&self, claim: &Claim, planned: &Planned<'_>, sealed: seal::Sealed) -> FollowUp {
        FollowUp {
            message: self.sealed_message(claim, planned, sealed.id, Content::Dmime2),
            body: FollowUpBody::Spooled(sealed.writer.finish()),
            replay: Some(sealed.replay),
        }
    }

    /// The sealed message names its author only in its encrypted envelope, and its recipient nowhere but inside: whom the
    /// author named first (ORCPT) is forgotten.
    fn sealed_message(
        &self,
        claim: &Claim,
        planned: &Planned<'_>,
        id: QueueId,
        content: Content,
    ) -> NewMessage {
        let request = RecipientRequest {
            notify: planned.recipient.request.notify,
            original: None,
        };
        NewMessage {
            id,
            envelope: Envelope {
                smtputf8: false,
                eight_bit: true,
                ..claim.envelope.clone()
            },
            content,
            recipients: vec![Addressee::new(
                Recipient::Sealed(claim.destination.clone()),
                request,
            )],
            accepted_at: claim.counted_from,
            due_at: Priority::of(&claim.envelope.reverse_path, 1, claim.size_bytes).due(self.clock.now()),
            ticket: None,
        }
    }
}

impl Progress<'_> {
    /// Remembers that the message cannot be read, if that is what sealing failed for.
    fn note<T>(&mut self, sealed: &Result<T, seal::Error>) {
        if let Err(seal::Error::Store(store::Error::Unreadable(what))) = sealed {
            self.settled.unreadable = Some(what);
        }
    }
}

fn unsealable(error: &seal::Error) -> Outcome {
    let status = match error {
        seal::Error::Convert(convert::Error::TooLarge) => EnhancedStatus(5, 3, 4),
        seal::Error::Seal2(dmime2::seal::Error::TooLarge) => EnhancedStatus(5, 3, 4),
        seal::Error::Seal2(dmime2::seal::Error::Names | dmime2::seal::Error::Content(_)) => {
            EnhancedStatus(5, 6, 0)
        }
        seal::Error::Convert(_) | seal::Error::Seal(_) => EnhancedStatus(5, 6, 0),
        _ => return Outcome::Deferred(our_fault()),
    };
    Outcome::Failed(Diagnosis::local(status, error.to_string()))
}
