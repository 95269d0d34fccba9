//! One attempt for the recipients of a claim: seal, send or deliver, and conclude.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::conclude::{Conclusion, Result as Concluded};
use super::letter::Outgoing;
use super::log;
use super::names::Names;
use super::observer::Observer;
use super::outages::{Outages, next_hop};
use super::plan::{Planned, Planner};
use super::runner::{Attempt, Settled, Times};
use super::schedule::{Schedules, Trouble};
use super::signing::Signing;
use crate::authentication::Srs;
use crate::base::budget::{Budget, Share};
use crate::base::id::RecipientId;
use crate::base::time::{Clock, Timestamp};
use crate::delivery::body::Body;
use crate::delivery::dmtp::DmtpDelivery;
use crate::delivery::local::LocalDelivery;
use crate::delivery::session::TOO_LONG;
use crate::delivery::smtp::{self, SmtpDelivery};
use crate::delivery::{Contact, Diagnosis, Outcome};
use crate::domains::Unpublished;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::EnhancedStatus;
use crate::routing::{Decision, DmtpFinding, Reason, Route, SmtpTls};
use crate::store::{
    Addressee, Claim, ClaimedRecipient, Content, SettledState, Settlement, Source, Store, Term,
};

/// Makes the attempts of this host.
pub struct Mailer {
    /// The spool.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Finds each recipient's way.
    pub planner: Planner,
    /// For domains of ours.
    pub local: LocalDelivery,
    /// For plain mail to others.
    pub smtp: Arc<SmtpDelivery>,
    /// Rewrites the reverse-paths of what aliases pass on.
    pub srs: Arc<Srs>,
    /// What signs mail that leaves by SMTP.
    pub signing: Signing,
    /// For sealed mail to others.
    pub dmtp: DmtpDelivery,
    /// When to try again.
    pub schedules: Schedules,
    /// Age at which mail for relay domains is given up.
    pub relay_lifetime: Duration,
    /// The name this host reports under.
    pub host: Domain,
    /// Memory for messages that are held whole.
    pub budget: Budget,
    /// Writes addresses for the log.
    pub names: Names,
    /// Next hosts that are not there.
    pub outages: Outages,
    /// Is told what was decided.
    pub observer: Arc<dyn Observer>,
}

/// The results of a claim as they come in.
pub(super) struct Progress<'a> {
    pub(super) claim: &'a Claim,
    /// How long it may be given to anybody.
    pub(super) term: Term,
    pub(super) body: Body,
    /// The body as a whole, once it was needed, and the memory for it.
    whole: Option<(Bytes, Share)>,
    budget: &'a Budget,
    names: &'a Names,
    clock: &'a dyn Clock,
    results: Vec<Concluded<'a>>,
    /// Who takes the place of recipients that stand for others.
    pub(super) instead: HashMap<RecipientId, Vec<Addressee>>,
    pub(super) settled: Settled,
    started: Instant,
}

#[async_trait]
impl Attempt for Mailer {
    async fn attempt(&self, claim: &Claim, times: Times) -> Settled {
        if claim.recipients.iter().any(|recipient| recipient.condemned) {
            return self.fail_condemned(claim).await;
        }
        match claim.content {
            Content::Mime => self.by_route(claim, times).await,
            Content::Dmime1 | Content::Dmime2 | Content::Returned => self.transfer(claim, times).await,
        }
    }

    async fn panicked(&self, claim: &Claim) -> Settled {
        let outcome = Outcome::Deferred(our_fault());
        match claim.content {
            Content::Mime => self.conclude_all(claim, &outcome, "undecided").await,
            Content::Dmime1 | Content::Dmime2 | Content::Returned => {
                self.fail_transfer(claim, &outcome, "undecided").await
            }
        }
    }

    async fn end(&self) {
        // Each may wait for hosts that do not answer.
        tokio::join!(self.smtp.sessions.close(), self.dmtp.dx.end(), self.local.close());
    }
}

impl Mailer {
    /// A MIME message. What is known when its time is over is settled, and the rest deferred.
    async fn by_route(&self, claim: &Claim, times: Times) -> Settled {
        let planned = match timeout_at(times.work, self.planner.plan(claim)).await {
            Ok(Ok(planned)) => planned,
            Ok(Err(error)) => {
                log::cannot_plan(claim.message, &error);
                return self
                    .conclude_all(claim, &Outcome::Deferred(our_fault()), "undecided")
                    .await;
            }
            Err(_) => {
                return self
                    .conclude_all(claim, &Outcome::Deferred(too_long()), "undecided")
                    .await;
            }
        };
        let mut progress = Progress::new(self, claim, times);
        let in_time = timeout_at(times.work, self.each_its_way(&mut progress, planned)).await;
        if in_time.is_err() {
            progress.cut_off();
        }
        self.conclude(progress).await
    }

    /// Every recipient its own way, those that go by SMTP together.
    async fn each_its_way<'a>(&'a self, progress: &mut Progress<'a>, planned: Vec<Planned<'a>>) {
        let claim = progress.claim;
        let (mut here, mut by_smtp) = (Vec::new(), Vec::new());
        for one in planned {
            if one.recipient.expanded {
                progress.add(&one, Outcome::Expanded);
                continue;
            }
            self.report_route(claim, &one);
            match (&one.decision.route, &one.sealing) {
                (Route::Local, Some(sealing)) => self.deliver_sealed(progress, &one, sealing).await,
                (Route::Local, None) => here.push(one),
                (Route::Dmtp { .. }, Some(sealing)) => self.seal(progress, &one, sealing).await,
                (Route::Dmtp { .. } | Route::Defer, _) => {
                    progress.add(&one, Outcome::Deferred(waits(claim, &one.decision.reason)));
                }
                (Route::Bounce, _) => {
                    progress.add(&one, Outcome::Failed(refusal(5, &one.decision.reason)));
                }
                (Route::Smtp { .. }, _) => by_smtp.push(one),
            }
        }
        self.deliver(progress, here).await;
        self.send(progress, by_smtp).await;
    }

    /// An operator has deleted some of the recipients, and their author is told; the others wait for the next attempt.
    async fn fail_condemned(&self, claim: &Claim) -> Settled {
        let outcome = Outcome::Failed(Diagnosis::local(
            EnhancedStatus(5, 7, 1),
            "an operator of this server has deleted the message",
        ));
        log::condemned(claim.message);
        if claim.content != Content::Mime {
            return self.fail_transfer(claim, &outcome, "deleted").await;
        }
        let mut progress = Progress::new(self, claim, Times::from_now(Duration::ZERO));
        for recipient in &claim.recipients {
            match recipient.condemned {
                true => progress.results.push(Concluded {
                    recipient,
                    outcome: outcome.clone(),
                    route: "deleted".to_owned(),
                }),
                false => progress.leave(recipient, "deleted", self.clock.now()),
            }
        }
        self.conclude(progress).await
    }

    fn report_route(&self, claim: &Claim, planned: &Planned<'_>) {
        let Decision { route, reason } = &planned.decision;
        match (reason, route) {
            (
                Reason::Dime {
                    finding: DmtpFinding::Held(hold),
                    ..
                }
                | Reason::LocalHeld(hold),
                _,
            ) => log::held(claim, *hold, reason),
            (_, Route::Defer | Route::Bounce) => log::closed(claim, &planned.decision),
            _ => {}
        }
        if let Some(mailbox) = planned.recipient.forward_path.mailbox() {
            self.observer.routed(claim.message, mailbox, &planned.decision);
        }
    }

    async fn send<'a>(&'a self, progress: &mut Progress<'a>, planned: Vec<Planned<'a>>) {
        let recipients: Vec<smtp::Recipient> = planned
            .iter()
            .filter_map(|one| {
                Some(smtp::Recipient {
                    mailbox: one.recipient.forward_path.mailbox()?.clone(),
                    request: one.recipient.request.clone(),
                })
            })
            .collect();
        let Some(Route::Smtp { transport, .. }) = planned.first().map(|one| &one.decision.route) else {
            return;
        };
        let claim = progress.claim;
        let Ok(onward) = self.onward(claim).await else {
            for one in &planned {
                progress.add(one, Outcome::Deferred(our_fault()));
            }
            return;
        };
        let job = smtp::Job {
            reverse_path: &onward.reverse_path,
            recipients: &recipients,
            wanted: planned
                .iter()
                .filter_map(wanted_tls)
                .max()
                .unwrap_or(SmtpTls::Opportunistic),
            demand: claim.envelope.demand.tls,
            request: &claim.envelope.request,
            transport: transport.as_deref(),
            is_relayed: onward.is_relayed,
            only_asks: false,
            term: &progress.term,
        };
        let next_hop = next_hop(&claim.destination, transport.as_deref());
        let report = match self.outages.of(&next_hop) {
            Some(diagnosis) => smtp::Report::same(recipients.len(), &Outcome::Deferred(diagnosis)),
            None => {
                let mut letter = Outgoing::elsewhere(self, claim, &mut progress.body);
                let report = self.smtp.deliver(&claim.destination, &job, &mut letter).await;
                let outcome = report.outcomes.first();
                let retry_first = self.schedules.of(&claim.destination, Trouble::Unreachable).first;
                self.outages.note(&next_hop, report.contact, outcome, retry_first);
                report
            }
        };
        log::smtp(
            claim,
            (&planned[..], transport.as_deref()),
            &report,
            progress.line(),
        );
        progress.settled.contact = report.contact;
        progress.settled.crowded = report.crowded;
        for one in planned.iter().skip(report.outcomes.len()) {
            progress.postpone(one, self.clock.now());
        }
        for (one, outcome) in planned.iter().zip(report.outcomes) {
            progress.add(one, outcome);
        }
        progress.body.as_stored();
    }

    async fn conclude(&self, mut progress: Progress<'_>) -> Settled {
        let untold = |result: &Concluded<'_>| {
            result.outcome.is_success() && !result.recipient.request.notify.of_success()
        };
        let header = match progress.results.iter().all(untold) {
            true => Vec::new(),
            false => progress.first_piece().await,
        };
        let kept_for = self.kept_for(progress.claim, &progress.results).await;
        let mut concluded =
            self.conclusion(kept_for, None)
                .settle(progress.claim, &progress.results, &header);
        self.return_sealed(progress.claim, &mut concluded).await;
        for settlement in &mut concluded.settlements {
            settlement.instead = progress.instead.remove(&settlement.recipient).unwrap_or_default();
        }
        let mut settled = progress.settled;
        settled.settlements.extend(concluded.settlements);
        settled.follow_ups.extend(concluded.follow_ups);
        settled.unreadable = settled.unreadable.or(progress.body.unreadable());
        settled
    }

    pub(super) fn conclusion<'a>(&'a self, kept_for: Duration, known: Option<&'a Mailbox>) -> Conclusion<'a> {
        let now = self.clock.now();
        Conclusion {
            schedules: &self.schedules,
            kept_for,
            host: &self.host,
            now,
            certain: self.clock.certain(now),
            known,
        }
    }

    /// The same for all recipients of a MIME message, whose header is not at hand.
    async fn conclude_all(&self, claim: &Claim, outcome: &Outcome, route: &str) -> Settled {
        let results = results_for_all(claim, outcome, route);
        let kept_for = self.kept_for(claim, &results).await;
        let mut settled = self.conclusion(kept_for, None).settle(claim, &results, &[]);
        self.return_sealed(claim, &mut settled).await;
        settled
    }
}

impl<'a> Progress<'a> {
    fn new(mailer: &'a Mailer, claim: &'a Claim, times: Times) -> Self {
        Self {
            claim,
            term: times.talking(claim),
            body: Body::new(Arc::clone(&mailer.store), claim),
            whole: None,
            budget: &mailer.budget,
            names: &mailer.names,
            clock: mailer.clock.as_ref(),
            results: Vec::new(),
            instead: HashMap::new(),
            settled: Settled::default(),
            started: Instant::now(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What a line of the log about this attempt needs.
    fn line(&self) -> log::Line<'a> {
        log::Line {
            names: self.names,
            time: log::Time {
                now: self.clock.now(),
                elapsed: self.elapsed(),
            },
        }
    }

    pub(super) fn add(&mut self, planned: &Planned<'a>, outcome: Outcome) {
        self.results.push(Concluded {
            recipient: planned.recipient,
            outcome,
            route: route_note(&planned.decision),
        });
    }

    /// The same for an account of ours, with a line in the log.
    pub(super) fn add_local(&mut self, planned: &Planned<'a>, outcome: Outcome) {
        if outcome.is_success() {
            self.settled.contact = Contact::Reached;
        }
        log::local(self.claim, planned, &outcome, self.line());
        self.add(planned, outcome);
    }

    pub(super) fn follow_up_bytes(&self) -> usize {
        let follow_ups = &self.settled.follow_ups;
        follow_ups
            .iter()
            .map(|follow_up| follow_up.body.held_bytes())
            .sum()
    }

    /// Leaves a recipient to the next attempt, at once.
    pub(super) fn postpone(&mut self, planned: &Planned<'a>, now: Timestamp) {
        self.leave(planned.recipient, &route_note(&planned.decision), now);
    }

    fn leave(&mut self, recipient: &ClaimedRecipient, route: &str, now: Timestamp) {
        self.settled.settlements.push(Settlement {
            recipient: recipient.id,
            state: SettledState::Postponed { due_at: now },
            note: format!("{route}; left to the next attempt"),
            instead: Vec::new(),
        });
    }

    /// There is no more time: those of whom nothing is known are deferred.
    fn cut_off(&mut self) {
        let known: HashSet<RecipientId> = self
            .results
            .iter()
            .map(|result| result.recipient.id)
            .chain(self.settled.settlements.iter().map(|settled| settled.recipient))
            .collect();
        let claim = self.claim;
        for recipient in claim.recipients.iter().filter(|one| !known.contains(&one.id)) {
            self.results.push(Concluded {
                recipient,
                outcome: Outcome::Deferred(too_long()),
                route: "abandoned".to_owned(),
            });
        }
        self.settled.contact = Contact::Unreachable;
    }

    /// Octets of the message as it goes by DATA. What was opened here may hold anything, and is first made safe; all else
    /// was cleaned when it came in.
    pub(super) async fn safe_size(&mut self) -> Result<u64, Diagnosis> {
        match self.claim.envelope.source {
            Source::Dmtp(_) => self.body.make_safe().await.map_err(|_| our_fault()),
            _ => Ok(self.claim.size_bytes),
        }
    }

    pub(super) async fn whole(&mut self) -> Result<Bytes, Diagnosis> {
        if let Some((whole, _)) = &self.whole {
            return Ok(whole.clone());
        }
        let size_bytes = self.claim.size_bytes;
        let share = self.budget.wait_for(size_bytes).await.ok_or_else(our_fault)?;
        let whole = self.body.whole().await.map_err(|_| our_fault())?;
        let (whole, _) = self.whole.insert((whole.into(), share));
        Ok(whole.clone())
    }

    /// The start of the message, for reports; empty if it cannot be read.
    async fn first_piece(&mut self) -> Vec<u8> {
        self.body.as_stored();
        self.body.next().await.ok().flatten().unwrap_or_default()
    }
}

/// The same outcome for everybody.
pub(super) fn results_for_all<'a>(claim: &'a Claim, outcome: &Outcome, route: &str) -> Vec<Concluded<'a>> {
    let result = |recipient| Concluded {
        recipient,
        outcome: outcome.clone(),
        route: route.to_owned(),
    };
    claim.recipients.iter().map(result).collect()
}

pub(super) fn route_note(decision: &Decision) -> String {
    format!("{}: {}", decision.route.kind(), decision.reason.code())
}

fn wanted_tls(planned: &Planned<'_>) -> Option<SmtpTls> {
    match planned.decision.route {
        Route::Smtp { tls, .. } => Some(tls),
        _ => None,
    }
}

pub(super) fn too_long() -> Diagnosis {
    Diagnosis::local(EnhancedStatus(4, 4, 7), TOO_LONG)
}

pub(super) fn our_fault() -> Diagnosis {
    Diagnosis::local(
        EnhancedStatus(4, 3, 0),
        "a fault of this server, which tries again",
    )
}

/// The reason for waiting. Whose record is missing is said by name: its operator is the one to act.
fn waits(claim: &Claim, reason: &Reason) -> Diagnosis {
    let diagnosis = refusal(4, reason);
    match (reason, &claim.envelope.source) {
        (
            Reason::Dime {
                finding: DmtpFinding::OwnRecord(why),
                ..
            },
            Source::Submission(author),
        ) => Diagnosis {
            text: format!(
                "{}, and others refuse what is sealed without it",
                why.of(author.domain().as_str())
            ),
            ..diagnosis
        },
        _ => diagnosis,
    }
}

/// The reason for not sending, as a status: the recipient's signet, the sender's keys, or the way there.
pub(super) fn refusal(class: u8, reason: &Reason) -> Diagnosis {
    let (subject, detail) = match reason {
        Reason::Dime {
            finding: DmtpFinding::NoSuchSignet,
            ..
        } => (1, 1),
        Reason::Dime {
            finding: DmtpFinding::KeysElsewhere | DmtpFinding::NoAuthor,
            ..
        }
        | Reason::SenderIsStrict { .. }
        | Reason::SenderDemandsDime { .. }
        | Reason::ParentIsStrict { .. } => (7, 1),
        Reason::Dime {
            finding:
                DmtpFinding::CertificateRejected
                | DmtpFinding::NotCovered
                | DmtpFinding::SignetInvalid
                | DmtpFinding::Held(_)
                | DmtpFinding::OwnRecord(Unpublished::Missing | Unpublished::WithoutKey),
            ..
        }
        | Reason::LocalHeld(_)
        | Reason::RecordBogus
        | Reason::KeysConflict => (7, 5),
        _ => (4, 3),
    };
    Diagnosis::local(EnhancedStatus(class, subject, detail), reason.to_string())
}
