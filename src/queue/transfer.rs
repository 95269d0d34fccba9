//! Sealed messages on their way to the destination.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Mailer;
use super::conclude::{Conclusion, Result as Concluded};
use super::log;
use super::runner::Settled;
use crate::base::id::AttemptId;
use crate::delivery::body::Body;
use crate::delivery::dmtp::{Job, Report};
use crate::delivery::{Diagnosis, Outcome};
use crate::dime::convert;
use crate::dime::dmime1::{Limits, Message, open};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::EnhancedStatus;
use crate::routing::{self, Route};
use crate::signet_service::Wanted;
use crate::store::{Claim, Source};

impl Mailer {
    /// One attempt to hand a sealed message over.
    pub(super) async fn transfer(&self, claim: &Claim) -> Settled {
        let started = Instant::now();
        let attempt = AttemptId::random(&mut rand::rng());
        let mut body = Body::new(Arc::clone(&self.store), claim.message);
        let _share = self.budget.wait_for(claim.size_bytes).await;
        let (report, object) = match body.whole(claim.size_bytes).await {
            Ok(object) => (self.hand_over(claim, &object, attempt).await, object),
            Err(_) => (fault("the message cannot be read"), Vec::new()),
        };
        log::dmtp(claim, attempt, &report, started.elapsed());
        let results: Vec<_> = claim
            .recipients
            .iter()
            .map(|recipient| Concluded {
                recipient,
                outcome: report.outcome.clone(),
                route: "dmtp".to_owned(),
            })
            .collect();
        let known = match report.outcome {
            Outcome::Failed(_) | Outcome::Deferred(_) => self.reopen(claim, object).await,
            _ => None,
        };
        let (recipient, header) = known.unzip();
        let conclusion = Conclusion {
            schedule: &self.schedule,
            host: &self.host,
            now: self.clock.now(),
            known: recipient.as_ref(),
        };
        let mut settled = conclusion.settle(claim, &results, &header.unwrap_or_default());
        settled.unreadable = body.unreadable();
        settled
    }

    async fn hand_over(&self, claim: &Claim, object: &[u8], attempt: AttemptId) -> Report {
        let Source::Submission(author) = &claim.envelope.source else {
            return fault("the message has no author here");
        };
        let destination = &claim.destination;
        let Ok(facts) = self.planner.facts(destination, &claim.envelope.source).await else {
            return fault("the domain's records cannot be read");
        };
        let decision = routing::decide(&facts);
        let Route::Dmtp { record, proof } = &decision.route else {
            return fault(&format!(
                "the message is sealed and cannot go by DMTP now: {}",
                decision.reason
            ));
        };
        let (Some(origin_signet), Some(destination_signet)) = (
            self.our_fingerprint(author.domain()).await,
            self.their_fingerprint(destination).await,
        ) else {
            return fault("a signet of the two domains cannot be had, or is incomplete");
        };
        let job = Job {
            origin: author.domain(),
            origin_signet,
            destination,
            destination_signet,
            record,
            proof: *proof,
            // The token is ours to choose (`dmtp.md` §8); this id tells the destination nothing.
            commit: attempt.into(),
            object,
        };
        self.dmtp.deliver(&job).await
    }

    async fn our_fingerprint(&self, domain: &Domain) -> Option<crate::dime::fingerprint::FullFingerprint> {
        let organization = self.planner.published.organization(domain).await.ok()??;
        organization.signet.full_fingerprint()
    }

    async fn their_fingerprint(&self, domain: &Domain) -> Option<crate::dime::fingerprint::FullFingerprint> {
        let organization = self
            .planner
            .directory
            .organization(domain, Wanted::Current)
            .await
            .ok()?;
        organization.full_fingerprint()
    }

    /// For the report to a trustful author: whom the message was for, and its header, read with the author's own keys.
    async fn reopen(&self, claim: &Claim, object: Vec<u8>) -> Option<(Mailbox, Vec<u8>)> {
        let Source::Submission(author) = &claim.envelope.source else {
            return None;
        };
        let limits = Limits {
            size: object.len(),
            ..Limits::default()
        };
        let message = Message::parse(object, &limits).ok()?;
        let user = self.planner.published.user(author).await.ok()??;
        let view = open::open_sent_envelope(&message, user.keys.as_ref()?).ok()?;
        let recipient = view.envelope().destination.recipient.clone();
        let address = view.envelope().origin.author.clone();
        let opened = open::open_sent(&view, &address, &user.signet).ok()?;
        Some((recipient, convert::from_dmime1(&opened.content).mime.to_vec()))
    }
}

fn fault(text: &str) -> Report {
    Report {
        outcome: Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 3), text)),
        peer: None,
    }
}
