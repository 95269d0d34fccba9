//! From the outcomes of an attempt to what the store is to record: final states, retries, and reports.

use rand::Rng;

use super::bounce::{Affected, Bounce, Occasion};
use super::runner::Settled;
use super::schedule::{Next, Schedule};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::delivery::{Diagnosis, Outcome};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::dsn::FinalRecipient;
use crate::mail::reply::EnhancedStatus;
use crate::store::{Claim, ClaimedRecipient, FollowUp, SettledState, Settlement};

/// What an attempt did for one claimed recipient.
#[derive(Debug)]
pub struct Result<'a> {
    /// Who.
    pub recipient: &'a ClaimedRecipient,
    /// What.
    pub outcome: Outcome,
    /// The route taken and why; part of the recipient's history.
    pub route: String,
}

/// The rules by which outcomes become records.
#[derive(Debug, Clone)]
pub struct Conclusion<'a> {
    /// When to try again, and when to give up.
    pub schedule: &'a Schedule,
    /// The name this host reports under.
    pub host: &'a Domain,
    /// The end of the attempt.
    pub now: Timestamp,
    /// Who the recipient of a sealed message is, where the author's keys are kept here and say it.
    pub known: Option<&'a Mailbox>,
}

/// A recipient's new state, and what its sender is to be told.
struct Concluded<'a> {
    recipient: &'a ClaimedRecipient,
    state: SettledState,
    report: Option<(Occasion, Diagnosis)>,
    note: String,
}

impl Conclusion<'_> {
    /// Settles all results; `header` is the start of the message, for reports.
    pub fn settle(&self, claim: &Claim, results: &[Result<'_>], header: &[u8]) -> Settled {
        let concluded: Vec<_> = results
            .iter()
            .map(|result| self.conclude(claim, result))
            .collect();
        let failed = |occasion: &Occasion| matches!(occasion, Occasion::Failed);
        let reports = [
            self.report(claim, &concluded, header, failed),
            self.report(claim, &concluded, header, |occasion| !failed(occasion)),
        ];
        Settled {
            settlements: concluded.into_iter().map(settlement).collect(),
            follow_ups: reports.into_iter().flatten().collect(),
            unreadable: None,
        }
    }

    fn conclude<'a>(&self, claim: &Claim, result: &Result<'a>) -> Concluded<'a> {
        let (state, report, words) = match &result.outcome {
            Outcome::Delivered => (SettledState::Delivered, None, "delivered".to_owned()),
            Outcome::Relayed(remote) => (
                SettledState::Relayed,
                None,
                format!("relayed to {}: {}", remote.host, remote.reply),
            ),
            Outcome::Failed(diagnosis) => failed(diagnosis),
            Outcome::Deferred(diagnosis) => self.deferred(claim, result.recipient, diagnosis),
        };
        Concluded {
            recipient: result.recipient,
            state,
            report,
            note: format!("{}; {words}", result.route),
        }
    }

    fn deferred(
        &self,
        claim: &Claim,
        recipient: &ClaimedRecipient,
        diagnosis: &Diagnosis,
    ) -> (SettledState, Option<(Occasion, Diagnosis)>, String) {
        let age = self.now.since(claim.accepted_at);
        let jitter = rand::rng().next_u32() as u16;
        match self.schedule.next(recipient.attempts + 1, age, jitter) {
            Next::GiveUp => failed(&given_up(diagnosis)),
            Next::Retry { after, warn } => {
                let warn = warn && !recipient.delay_reported;
                let state = SettledState::Deferred {
                    due_at: self.now.after(after),
                    delay_reported: warn || recipient.delay_reported,
                };
                let will_retry_until = claim.accepted_at.after(self.schedule.lifetime);
                let report = warn.then(|| (Occasion::Delayed { will_retry_until }, diagnosis.clone()));
                (state, report, format!("deferred: {diagnosis}"))
            }
        }
    }

    fn report(
        &self,
        claim: &Claim,
        concluded: &[Concluded<'_>],
        header: &[u8],
        wanted: impl Fn(&Occasion) -> bool,
    ) -> Option<FollowUp> {
        let concerned: Vec<_> = concluded
            .iter()
            .filter_map(|one| Some((one.recipient, one.report.as_ref()?)))
            .filter(|(_, (occasion, _))| wanted(occasion))
            .collect();
        let (_, (occasion, _)) = concerned.first()?;
        let affected: Vec<_> = concerned
            .iter()
            .map(|(recipient, (_, diagnosis))| Affected {
                recipient: self.known.map_or_else(
                    || FinalRecipient::from(&recipient.forward_path),
                    |mailbox| FinalRecipient::Mailbox(mailbox.clone()),
                ),
                diagnosis,
            })
            .collect();
        let bounce = Bounce {
            host: self.host,
            id: QueueId::random(&mut rand::rng()),
            now: self.now,
            occasion: *occasion,
        };
        bounce.report(claim, &affected, header)
    }
}

fn failed(diagnosis: &Diagnosis) -> (SettledState, Option<(Occasion, Diagnosis)>, String) {
    (
        SettledState::Failed(diagnosis.status),
        Some((Occasion::Failed, diagnosis.clone())),
        format!("failed: {diagnosis}"),
    )
}

/// The last deferral, as a failure: 4.4.7 is "delivery time expired" (RFC 3463 §3.5).
fn given_up(diagnosis: &Diagnosis) -> Diagnosis {
    Diagnosis {
        status: EnhancedStatus(5, 4, 7),
        text: format!("gave up after trying for too long; last: {}", diagnosis.text),
        remote: diagnosis.remote.clone(),
    }
}

fn settlement(concluded: Concluded<'_>) -> Settlement {
    Settlement {
        recipient: concluded.recipient.id,
        state: concluded.state,
        note: concluded.note,
    }
}
