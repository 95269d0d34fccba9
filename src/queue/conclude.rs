//! From the outcomes of an attempt to what the store is to record: final states, retries, and reports.

use std::time::Duration;

use rand::Rng;

use super::bounce::{Affected, Bounce, Kind, News};
use super::class::Class;
use super::runner::Settled;
use super::schedule::{Next, Schedule, Schedules};
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
    pub schedules: &'a Schedules,
    /// How long mail for this destination is kept at least.
    pub kept_for: Duration,
    /// The name this host reports under.
    pub host: &'a Domain,
    /// The end of the attempt.
    pub now: Timestamp,
    /// The same, as far as it is certain to have come: age counts to here.
    pub certain: Timestamp,
    /// Who the recipient of a sealed message is, where the author's keys are kept here and say it.
    pub known: Option<&'a Mailbox>,
}

/// A recipient's new state, and what its sender is to be told.
struct Concluded<'a> {
    recipient: &'a ClaimedRecipient,
    state: SettledState,
    news: Option<News>,
    note: String,
}

impl Conclusion<'_> {
    /// Settles all results; `start` is the start of the message, for reports.
    pub fn settle(&self, claim: &Claim, results: &[Result<'_>], start: &[u8]) -> Settled {
        let concluded: Vec<_> = results
            .iter()
            .map(|result| self.conclude(claim, result))
            .collect();
        let kinds = [Kind::Failure, Kind::Delay, Kind::Success];
        let reports = kinds.map(|kind| self.report(claim, &concluded, start, kind));
        Settled {
            settlements: concluded.into_iter().map(settlement).collect(),
            follow_ups: reports.into_iter().flatten().collect(),
            ..Settled::default()
        }
    }

    fn conclude<'a>(&self, claim: &Claim, result: &Result<'a>) -> Concluded<'a> {
        let (state, news, words) = match &result.outcome {
            Outcome::Delivered => (
                SettledState::Delivered,
                Some(News::Delivered),
                "delivered".to_owned(),
            ),
            Outcome::Relayed { remote, reports } => (
                SettledState::Relayed,
                (!reports).then(|| News::Relayed(remote.clone())),
                format!("relayed to {}: {}", remote.host, remote.reply),
            ),
            Outcome::Expanded => (
                SettledState::Expanded,
                Some(News::Expanded),
                "sent on to those whom it stands for".to_owned(),
            ),
            Outcome::Failed(diagnosis) => failed(diagnosis),
            Outcome::Deferred(diagnosis) => self.deferred(claim, result, diagnosis),
        };
        let notify = result.recipient.request.notify;
        Concluded {
            recipient: result.recipient,
            state,
            news: news.filter(|news| news.is_wanted(notify)),
            note: format!("{}; {words}", result.route),
        }
    }

    /// Tried again as the schedule of the destination has it after such a failure, or not any more.
    fn deferred(
        &self,
        claim: &Claim,
        result: &Result<'_>,
        diagnosis: &Diagnosis,
    ) -> (SettledState, Option<News>, String) {
        let (recipient, class) = (result.recipient, Class::of(&result.route, diagnosis));
        let age = self.certain.since(claim.counted_from);
        let jitter = rand::rng().next_u32() as u16;
        let schedule = self.schedules.of(&claim.destination, class.trouble());
        let schedule = Schedule {
            lifetime: schedule.lifetime.max(self.kept_for),
            ..schedule
        };
        match schedule.next(recipient.attempts + 1, age, jitter) {
            Next::GiveUp => failed(&given_up(diagnosis)),
            Next::Retry { after, warn } => {
                let warn = warn && !recipient.delay_reported;
                let state = SettledState::Deferred {
                    due_at: self.now.after(after),
                    delay_reported: warn || recipient.delay_reported,
                };
                let news = warn.then(|| News::Delayed {
                    diagnosis: diagnosis.clone(),
                    will_retry_until: claim.counted_from.after(schedule.lifetime),
                });
                (state, news, class.deferred(diagnosis))
            }
        }
    }

    fn report(
        &self,
        claim: &Claim,
        concluded: &[Concluded<'_>],
        start: &[u8],
        kind: Kind,
    ) -> Option<FollowUp> {
        let affected: Vec<_> = concluded
            .iter()
            .filter_map(|one| Some((one.recipient, one.news.as_ref()?)))
            .filter(|(_, news)| news.kind() == kind)
            .map(|(recipient, news)| Affected {
                recipient: self.known.map_or_else(
                    || FinalRecipient::from(&recipient.forward_path),
                    |mailbox| FinalRecipient::Mailbox(mailbox.clone()),
                ),
                original: recipient.request.original.as_ref(),
                news,
            })
            .collect();
        let bounce = Bounce {
            host: self.host,
            id: QueueId::random(&mut rand::rng()),
            now: self.now,
        };
        bounce.report(claim, &affected, start)
    }
}

fn failed(diagnosis: &Diagnosis) -> (SettledState, Option<News>, String) {
    (
        SettledState::Failed(diagnosis.status),
        Some(News::Failed(diagnosis.clone())),
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
        instead: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::id::{LeaseToken, RecipientId};
    use crate::delivery::RemoteReply;
    use crate::mail::address::ReversePath;
    use crate::mail::demand::Demand;
    use crate::mail::notify::{MessageRequest, Notify, RecipientRequest};
    use crate::store::{Content, Envelope, Recipient, Source, Tenure};

    const ACCEPTED: Timestamp = Timestamp(1_800_000_000_000);

    fn recipient(address: &str, delay_reported: bool) -> ClaimedRecipient {
        ClaimedRecipient {
            id: RecipientId::random(&mut rand::rng()),
            forward_path: Recipient::parse(address).unwrap(),
            request: RecipientRequest::default(),
            expanded: false,
            named: None,
            attempts: 0,
            delay_reported,
            condemned: false,
        }
    }

    fn claim(reverse_path: &str, recipients: Vec<ClaimedRecipient>) -> Claim {
        Claim {
            message: QueueId::random(&mut rand::rng()),
            lease: LeaseToken::random(&mut rand::rng()),
            tenure: Tenure::default(),
            leased_until: ACCEPTED,
            envelope: Envelope {
                reverse_path: ReversePath(reverse_path.parse().ok()),
                source: Source::Smtp,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            size_bytes: 1,
            accepted_at: ACCEPTED,
            counted_from: ACCEPTED,
            destination: "hismail.test".parse().unwrap(),
            is_ours: false,
            recipients,
            body: None,
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
            schedules: &Schedules::default(),
            kept_for: Duration::ZERO,
            host: &"mx.hermail.test".parse().unwrap(),
            now: ACCEPTED.after(age),
            certain: ACCEPTED.after(age),
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
    fn a_message_that_was_released_late_has_its_time_all_the_same() {
        let lifetime = Schedule::default().lifetime;
        let mut claim = claim("alice@hermail.test", vec![recipient("bob@hismail.test", true)]);
        claim.counted_from = ACCEPTED.after(2 * lifetime);
        for (age, is_tried_again) in [
            (3 * lifetime - Duration::from_secs(1), true),
            (3 * lifetime, false),
        ] {
            let settled = settle(&claim, &deferred(), age);
            let state = settled.settlements[0].state;
            assert_eq!(
                matches!(state, SettledState::Deferred { .. }),
                is_tried_again,
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_report_is_never_reported_on() {
        let claim = claim("", vec![recipient("bob@hismail.test", false)]);
        let failed = Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 1), "no such mailbox"));
        assert!(settle(&claim, &failed, Duration::ZERO).follow_ups.is_empty());
    }

    fn asking(notify: &str) -> Claim {
        let mut bob = recipient("bob@hismail.test", false);
        bob.request.notify = Notify::parse(notify).unwrap();
        claim("alice@hermail.test", vec![bob])
    }

    fn relayed(reports: bool) -> Outcome {
        let remote = RemoteReply {
            host: "mx.hismail.test".into(),
            reply: "250 2.0.0 Ok".into(),
        };
        Outcome::Relayed { remote, reports }
    }

    #[test]
    fn a_success_is_told_to_those_who_asked_for_it() {
        let old = Duration::from_secs(4 * 3600);
        let failed = Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 1), "no such mailbox"));
        for (outcome, action) in [
            (Outcome::Delivered, "delivered"),
            (relayed(false), "relayed"),
            (Outcome::Expanded, "expanded"),
        ] {
            let settled = settle(&asking("SUCCESS"), &outcome, Duration::ZERO);
            assert!(report(&settled).contains(&format!("Action: {action}\r\n")));
            for others in ["NEVER", "FAILURE,DELAY"] {
                let settled = settle(&asking(others), &outcome, Duration::ZERO);
                assert!(settled.follow_ups.is_empty(), "{others} {action}");
            }
        }
        // The next host does it.
        assert!(
            settle(&asking("SUCCESS"), &relayed(true), Duration::ZERO)
                .follow_ups
                .is_empty()
        );
        assert!(
            settle(&asking("SUCCESS"), &failed, Duration::ZERO)
                .follow_ups
                .is_empty()
        );
        assert!(settle(&asking("SUCCESS"), &deferred(), old).follow_ups.is_empty());
    }

    #[test]
    fn failures_and_delays_are_told_as_asked() {
        let old = Duration::from_secs(4 * 3600);
        let failed = Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 1), "no such mailbox"));
        assert!(report(&settle(&asking("FAILURE"), &failed, old)).contains("Action: failed\r\n"));
        assert!(report(&settle(&asking("DELAY"), &deferred(), old)).contains("Action: delayed\r\n"));
        for (notify, outcome) in [
            ("DELAY", &failed),
            ("NEVER", &failed),
            ("FAILURE", &deferred()),
            ("NEVER", &deferred()),
        ] {
            let settled = settle(&asking(notify), outcome, old);
            assert!(settled.follow_ups.is_empty(), "{notify} {outcome:?}");
            assert_eq!(settled.settlements.len(), 1, "and is settled all the same");
        }
    }

    #[test]
    fn recipients_with_other_fates_stand_in_other_reports() {
        let mut recipients = [
            recipient("bob@hismail.test", false),
            recipient("eve@hismail.test", false),
        ];
        for one in &mut recipients {
            one.request.notify = Notify::parse("SUCCESS,FAILURE").unwrap();
        }
        let claim = claim("alice@hermail.test", recipients.to_vec());
        let failed = Outcome::Failed(Diagnosis::local(EnhancedStatus(5, 1, 1), "no such mailbox"));
        let results: Vec<_> = claim
            .recipients
            .iter()
            .zip([Outcome::Delivered, failed])
            .map(|(recipient, outcome)| Result {
                recipient,
                outcome,
                route: "local: local".into(),
            })
            .collect();
        let conclusion = Conclusion {
            schedules: &Schedules::default(),
            kept_for: Duration::ZERO,
            host: &"mx.hermail.test".parse().unwrap(),
            now: ACCEPTED,
            certain: ACCEPTED,
            known: None,
        };
        let settled = conclusion.settle(&claim, &results, b"");
        let texts: Vec<_> = settled
            .follow_ups
            .iter()
            .map(|report| String::from_utf8(report.body.whole().unwrap().to_vec()).unwrap())
            .collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains("eve@hismail.test") && !texts[0].contains("bob@hismail.test"));
        assert!(texts[1].contains("bob@hismail.test") && !texts[1].contains("eve@hismail.test"));
    }
}
