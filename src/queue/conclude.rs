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
            Outcome::Relayed { remote, .. } => (
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::base::id::{LeaseToken, RecipientId};
    use crate::delivery::RemoteReply;
    use crate::mail::address::ReversePath;
    use crate::mail::demand::Demand;
    use crate::store::{Content, Envelope, Recipient, Source};

    const ACCEPTED: Timestamp = Timestamp(1_800_000_000_000);

    fn recipient(address: &str, delay_reported: bool) -> ClaimedRecipient {
        ClaimedRecipient {
            id: RecipientId::random(&mut rand::rng()),
            forward_path: Recipient::parse(address).unwrap(),
            attempts: 0,
            delay_reported,
        }
    }

    fn claim(reverse_path: &str, recipients: Vec<ClaimedRecipient>) -> Claim {
        Claim {
            message: QueueId::random(&mut rand::rng()),
            lease: LeaseToken::random(&mut rand::rng()),
            leased_until: ACCEPTED,
            envelope: Envelope {
                reverse_path: ReversePath(reverse_path.parse().ok()),
                source: Source::Smtp,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
            },
            content: Content::Mime,
            size_bytes: 1,
            accepted_at: ACCEPTED,
            destination: "hismail.test".parse().unwrap(),
            recipients,
        }
    }

    /// Settles the same outcome for all recipients, `age` after the message was accepted.
    fn settle(claim: &Claim, outcome: &Outcome, age: Duration) -> Settled {
        let results: Vec<_> = claim
            .recipients
            .iter()
            .map(|recipient| Result {
                recipient,
                outcome: outcome.clone(),
                route: "smtp: record_absent".into(),
            })
            .collect();
        let conclusion = Conclusion {
            schedule: &Schedule::default(),
            host: &"mx.hermail.test".parse().unwrap(),
            now: ACCEPTED.after(age),
            known: None,
        };
        conclusion.settle(claim, &results, b"Subject: hello\r\n\r\n")
    }

    fn deferred() -> Outcome {
        Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 1), "nobody answers"))
    }

    fn report(settled: &Settled) -> String {
        assert_eq!(settled.follow_ups.len(), 1);
        String::from_utf8(settled.follow_ups[0].body.whole().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn success_needs_no_report() {
        let claim = claim("alice@hermail.test", vec![recipient("bob@hismail.test", false)]);
        let reply = RemoteReply {
            host: "mx.hismail.test".into(),
            reply: "250 2.0.0 Ok".into(),
        };
        let settled = settle(
            &claim,
            &Outcome::Relayed {
                remote: reply,
                reports: true,
            },
            Duration::ZERO,
        );
        assert_eq!(settled.settlements[0].state, SettledState::Relayed);
        assert_eq!(
            settled.settlements[0].note,
            "smtp: record_absent; relayed to mx.hismail.test: 250 2.0.0 Ok"
        );
        assert!(settled.follow_ups.is_empty());
    }

    #[test]
    fn recipients_that_fail_together_share_one_report() {
        let recipients = vec![
            recipient("bob@hismail.test", false),
            recipient("eve@hismail.test", false),
        ];
        let claim = claim("alice@hermail.test", recipients);
        let failed = Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 1), "no such mailbox"));
        let settled = settle(&claim, &failed, Duration::ZERO);
        let failed = SettledState::Failed(EnhancedStatus(5, 1, 1));
        assert!(settled.settlements.iter().all(|one| one.state == failed));
        let report = report(&settled);
        assert!(report.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"));
        assert!(report.contains("Final-Recipient: rfc822; eve@hismail.test\r\n"));
    }

    #[test]
    fn a_young_message_is_tried_again_without_a_word() {
        let claim = claim("alice@hermail.test", vec![recipient("bob@hismail.test", false)]);
        let settled = settle(&claim, &deferred(), Duration::from_secs(60));
        let SettledState::Deferred {
            due_at,
            delay_reported,
        } = settled.settlements[0].state
        else {
            panic!("{:?}", settled.settlements);
        };
        let wait = due_at.since(ACCEPTED.after(Duration::from_secs(60)));
        assert!((262..=338).contains(&wait.as_secs()), "{wait:?}");
        assert!(!delay_reported && settled.follow_ups.is_empty());
    }

    #[test]
    fn a_delay_is_reported_once() {
        let age = Duration::from_secs(4 * 3600);
        let fresh = claim("alice@hermail.test", vec![recipient("bob@hismail.test", false)]);
        let settled = settle(&fresh, &deferred(), age);
        assert!(report(&settled).contains("Action: delayed\r\n"));
        let told = claim("alice@hermail.test", vec![recipient("bob@hismail.test", true)]);
        let settled = settle(&told, &deferred(), age);
        assert!(settled.follow_ups.is_empty());
        let SettledState::Deferred { delay_reported, .. } = settled.settlements[0].state else {
            panic!("{:?}", settled.settlements);
        };
        assert!(delay_reported);
    }

    #[test]
    fn an_old_message_goes_back_as_expired() {
        let claim = claim("alice@hermail.test", vec![recipient("@hismail.test", true)]);
        let settled = settle(&claim, &deferred(), Schedule::default().lifetime);
        assert_eq!(
            settled.settlements[0].state,
            SettledState::Failed(EnhancedStatus(5, 4, 7))
        );
        assert!(report(&settled).contains("Final-Recipient: x-dime; @hismail.test\r\n"));
    }

    #[test]
    fn a_report_is_never_reported_on() {
        let claim = claim("", vec![recipient("bob@hismail.test", false)]);
        let failed = Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 1), "no such mailbox"));
        assert!(settle(&claim, &failed, Duration::ZERO).follow_ups.is_empty());
    }
}
