//! Sealed messages on their way to the destination.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::attempt::{Mailer, results_for_all, too_long};
use super::log;
use super::reseal::to_be_sealed_again;
use super::runner::{Settled, Times};
use super::schedule::Trouble;
use crate::base::id::AttemptId;
use crate::base::time::Timestamp;
use crate::delivery::body::Body;
use crate::delivery::dmtp::{Job, Report};
use crate::delivery::windows::HostAddress;
use crate::delivery::{Contact, Diagnosis, Outcome};
use crate::dime::dmime2::layout::{CHUNK_HEADER_SIZE, HEADER_SIZE};
use crate::dime::dmime2::returned::Returned;
use crate::dime::dmime2::time::QUEUE_LIFE_SECS;
use crate::dime::dmime2::{Limits, Outline};
use crate::dime::fingerprint::FullFingerprint;
use crate::dmtp::command::Return;
use crate::domains::Unpublished;
use crate::mail::address::Domain;
use crate::mail::reply::EnhancedStatus;
use crate::routing::{self, Route};
use crate::signet_service::Wanted;
use crate::store::blocking::Reader;
use crate::store::{Claim, Content, FollowUp, Pieces, SettledState, Settlement, Source, Term};

/// How long an attempt that took too long already may look for its message's recipient, for the report.
const REOPENED_WITHIN: Duration = Duration::from_secs(5);

impl Mailer {
    /// One attempt to hand a sealed message over, piece by piece.
    pub(super) async fn transfer(&self, claim: &Claim, times: Times) -> Settled {
        let started = Instant::now();
        let attempt = AttemptId::random(&mut rand::rng());
        let mut body = Body::new(Arc::clone(&self.store), claim);
        let mut reason = "";
        let term = times.talking(claim);
        let handing_over = self.hand_over(claim, &mut body, (attempt, &term), &mut reason);
        let handed_over = timeout_at(times.talk, handing_over).await;
        let (report, contact) = match handed_over {
            Ok(report) => {
                let contact = report.contact();
                (report, contact)
            }
            Err(_) => (
                Report::without_session(Outcome::Deferred(too_long())),
                Contact::Unreachable,
            ),
        };
        if let Some(host) = report.crowded {
            return crowded(claim, host, self.clock.now());
        }
        let time = log::Time {
            now: self.clock.now(),
            elapsed: started.elapsed(),
        };
        log::dmtp(claim, (attempt, reason), &report, time);
        let report = match report.stale_signet {
            true => match timeout_at(times.work, self.seal_again(claim, &mut body)).await {
                Ok(Some(follow_up)) => return replaced(claim, follow_up),
                Ok(None) | Err(_) => to_be_sealed_again(report),
            },
            false => report,
        };
        let left = times.work.saturating_duration_since(Instant::now());
        let within = left.max(REOPENED_WITHIN.min(times.last_words()));
        let mut settled = self
            .conclude_sealed(claim, &report.outcome, "dmtp", &mut body, within)
            .await;
        settled.unreadable = body.unreadable();
        settled.contact = contact;
        settled
    }

    /// Nothing is tried, and this became of it.
    pub(super) async fn fail_transfer(&self, claim: &Claim, outcome: &Outcome, route: &str) -> Settled {
        let mut body = Body::new(Arc::clone(&self.store), claim);
        self.conclude_sealed(claim, outcome, route, &mut body, REOPENED_WITHIN)
            .await
    }

    /// The report names the recipient if that can be found out: the object is opened again, for at most `within`, only if there
    /// is a report to write.
    async fn conclude_sealed(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        route: &str,
        body: &mut Body,
        within: Duration,
    ) -> Settled {
        let results = results_for_all(claim, outcome, route);
        let settled = self.conclusion(Duration::ZERO, None).settle(claim, &results, &[]);
        if settled.follow_ups.is_empty() {
            return settled;
        }
        let known = timeout(within, self.reopen(claim, body)).await.ok().flatten();
        let (recipient, header) = match known {
            Some((recipient, header)) => (Some(recipient), header),
            None => (None, name_of(claim, body).await),
        };
        let conclusion = self.conclusion(Duration::ZERO, recipient.as_ref());
        conclusion.settle(claim, &results, &header)
    }

    /// Says the reason for the route as soon as it is known.
    async fn hand_over(
        &self,
        claim: &Claim,
        object: &mut Body,
        (attempt, term): (AttemptId, &Term),
        reason: &mut &'static str,
    ) -> Report {
        let origin = match &claim.envelope.source {
            Source::Submission(author) => author.domain(),
            Source::Domain(domain) => domain,
            _ => return fault("the message has no author here"),
        };
        if self.is_out_of_time(claim, object).await {
            return expired();
        }
        let destination = &claim.destination;
        let facts = self.planner.facts_of_sealed(destination, &claim.envelope.source);
        let Ok(facts) = facts.await else {
            return fault("the domain's records cannot be read");
        };
        let decision = routing::decide(&facts);
        *reason = decision.reason.code();
        let Route::Dmtp { record, proof } = &decision.route else {
            return fault(&format!(
                "the message is sealed and cannot go by DMTP now: {}",
                decision.reason
            ));
        };
        if let Some(why) = self.unpublished(origin).await {
            *reason = why.code();
            return fault(&format!(
                "{}, and others refuse what is sealed without it",
                why.of(origin.as_str())
            ));
        }
        let (Some(origin_signet), Some(destination_signet)) = (
            self.signing_signet(claim, origin, object).await,
            self.their_fingerprint(destination).await,
        ) else {
            return fault("a signet of the two domains cannot be had, or is incomplete");
        };
        let job = Job {
            origin,
            origin_signet,
            destination,
            destination_signet,
            record,
            proof: *proof,
            // The token is ours to choose (`dmtp.md` §8); this id tells the destination nothing.
            commit: attempt.into(),
            object,
            returning: match claim.content {
                Content::Dmime2 => Some(Return::Header),
                _ => None,
            },
            term,
        };
        // Others of its messages have just found out.
        let next_hop = format!("dmtp:{destination}");
        if let Some(diagnosis) = self.outages.of(&next_hop) {
            return Report::without_session(Outcome::Deferred(diagnosis));
        }
        let report = self.dmtp.deliver(job).await;
        let retry_first = self.schedules.of(destination, Trouble::Unreachable).first;
        self.outages
            .note(&next_hop, report.contact(), Some(&report.outcome), retry_first);
        report
    }

    /// Why the destination would not believe what has been sealed in the name of a domain of ours.
    async fn unpublished(&self, origin: &Domain) -> Option<Unpublished> {
        let organization = self.planner.published.organization(origin).await.ok()??;
        let key = organization.signet.primary_key();
        self.planner.domains.unpublished(origin, &key).await
    }

    /// A message of format 2 is not sent after its time, however long the queue keeps others (`dmime2.md` §11).
    async fn is_out_of_time(&self, claim: &Claim, object: &mut Body) -> bool {
        if claim.content != Content::Dmime2 {
            return false;
        }
        let first = object.piece(0).await.ok().flatten().unwrap_or_default();
        let now = u64::try_from(self.clock.now().unix_secs()).unwrap_or(0);
        created(&first).is_some_and(|created| created.saturating_add(QUEUE_LIFE_SECS) < now)
    }

    /// The signet of ours that the peer is to check the object by: the current one; for a returned message, which waits
    /// signed, the one that has the key it was signed with (`dmime2.md` §12.3, B4).
    async fn signing_signet(
        &self,
        claim: &Claim,
        domain: &Domain,
        object: &mut Body,
    ) -> Option<FullFingerprint> {
        let published = &self.planner.published;
        let current = published.organization(domain).await.ok()??.signet;
        if claim.content != Content::Returned {
            return current.full_fingerprint();
        }
        let limits = Limits { size: u64::MAX };
        let returned = Returned::decode(object.whole().await.ok()?, &limits).ok()?;
        if returned.is_signed_by(&current) {
            return current.full_fingerprint();
        }
        let history = self.store.signet_history(domain.as_str()).await.ok()?;
        for stored in history.into_iter().rev() {
            let older = published.organization_by(domain, stored.signet.full.into()).await;
            if let Ok(Some(older)) = older
                && returned.is_signed_by(&older.signet)
            {
                return Some(stored.signet.full);
            }
        }
        current.full_fingerprint()
    }

    async fn their_fingerprint(&self, domain: &Domain) -> Option<FullFingerprint> {
        let organization = self
            .planner
            .directory
            .organization(domain, Wanted::Current)
            .await
            .ok()?;
        organization.full_fingerprint()
    }
}

/// What an author whose keys are at home can tell the message by: its id, which sealing it has told.
async fn name_of(claim: &Claim, body: &mut Body) -> Vec<u8> {
    let is_theirs = matches!(claim.envelope.source, Source::Submission(_));
    if claim.content != Content::Dmime2 || !is_theirs {
        return Vec::new();
    }
    let mut source = Reader::new(body.stored());
    let read = move || Outline::read(&mut source, &Limits { size: u64::MAX });
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(outline)) => format!(
            "Content-Type: application/vnd.dime\r\nX-DIME-Message: {}\r\n\r\n",
            outline.message_id()
        )
        .into_bytes(),
        _ => Vec::new(),
    }
}

/// Nothing was tried: it is the turn of others at that host.
fn crowded(claim: &Claim, host: HostAddress, now: Timestamp) -> Settled {
    let settlement = |recipient: &crate::store::ClaimedRecipient| Settlement {
        recipient: recipient.id,
        state: SettledState::Postponed { due_at: now },
        note: "dmtp; left to the next attempt".to_owned(),
        instead: Vec::new(),
    };
    Settled {
        settlements: claim.recipients.iter().map(settlement).collect(),
        crowded: Some(host),
        ..Settled::default()
    }
}

/// The message is another one from here on.
fn replaced(claim: &Claim, follow_up: FollowUp) -> Settled {
    let settlement = |recipient: &crate::store::ClaimedRecipient| Settlement {
        recipient: recipient.id,
        state: SettledState::Expanded,
        note: "dmtp; the recipient has new keys: to be sealed again".to_owned(),
        instead: Vec::new(),
    };
    Settled {
        settlements: claim.recipients.iter().map(settlement).collect(),
        follow_ups: vec![follow_up],
        ..Settled::default()
    }
}

/// When the author sealed an object of format 2, in unix seconds: the first field of its first chunk.
fn created(object: &[u8]) -> Option<u64> {
    let start = HEADER_SIZE + CHUNK_HEADER_SIZE;
    object
        .get(start..start + 8)?
        .try_into()
        .ok()
        .map(u64::from_be_bytes)
}

fn expired() -> Report {
    let status = EnhancedStatus(5, 4, 7);
    Report::without_session(Outcome::Failed(Diagnosis::local(
        status,
        "the sealed message has become too old",
    )))
}

fn fault(text: &str) -> Report {
    Report::without_session(Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 3), text)))
}
