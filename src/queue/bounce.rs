//! Reports to the reverse-path: that a message failed, or that it is delayed.
//!
//! A report is a follow-up of the settlement that calls for it, so both become durable in one transaction.

use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::delivery::Diagnosis;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::dsn::{Action, FinalRecipient, RecipientReport, RemoteDiagnostic, Report};
use crate::store::{Claim, Content, Envelope, FollowUp, NewMessage, Recipient, Source};

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The recipients will not get the message.
    Failed,
    /// They are still being tried.
    Delayed {
        /// Until when.
        will_retry_until: Timestamp,
    },
}

/// One recipient, and why.
#[derive(Debug, Clone)]
pub struct Affected<'a> {
    /// Who.
    pub recipient: FinalRecipient,
    /// Why.
    pub diagnosis: &'a Diagnosis,
}

impl From<&Recipient> for FinalRecipient {
    fn from(recipient: &Recipient) -> Self {
        match recipient {
            Recipient::Mailbox(mailbox) => Self::Mailbox(mailbox.clone()),
            Recipient::Sealed(domain) => Self::Sealed(domain.clone()),
        }
    }
}

/// What all reports of one host have in common, and what is new about this one.
#[derive(Debug, Clone)]
pub struct Bounce<'a> {
    /// The name this host reports under.
    pub host: &'a Domain,
    /// The id that the report gets in the spool.
    pub id: QueueId,
    /// Now: the time of the attempt, and of the report.
    pub now: Timestamp,
    /// What it says.
    pub occasion: Occasion,
}

impl Bounce<'_> {
    /// The report on some recipients of a claim; `None` if nobody is to be told.
    ///
    /// A message with a null reverse-path is never reported on (RFC 5321 §4.5.5). `header` is the
    /// start of the original, whose header goes back with the report; empty if nobody here can read it. The report goes
    /// by SMTP, so what came sealed is not told to those on the way: neither its header nor who its recipient is.
    pub fn report(&self, claim: &Claim, affected: &[Affected<'_>], header: &[u8]) -> Option<FollowUp> {
        let to = claim.envelope.reverse_path.0.as_ref()?;
        if affected.is_empty() {
            return None;
        }
        let recipients: Vec<_> = affected
            .iter()
            .map(|affected| RecipientReport {
                recipient: shown(claim, &affected.recipient),
                ..self.recipient(affected)
            })
            .collect();
        let report = Report {
            id: self.id,
            reporting_host: self.host,
            to,
            date: self.now,
            arrived_at: claim.accepted_at,
            recipients: &recipients,
            original: match came_sealed(claim) {
                true => &[],
                false => header,
            },
        };
        Some(FollowUp::new(self.message(to), report.render()))
    }

    fn recipient(&self, affected: &Affected<'_>) -> RecipientReport {
        let Affected { recipient, diagnosis } = affected;
        let (action, will_retry_until) = match self.occasion {
            Occasion::Failed => (Action::Failed, None),
            Occasion::Delayed { will_retry_until } => (Action::Delayed, Some(will_retry_until)),
        };
        RecipientReport {
            recipient: recipient.clone(),
            action,
            status: diagnosis.status,
            explanation: diagnosis.text.clone(),
            remote: diagnosis.remote.as_ref().map(|remote| RemoteDiagnostic {
                host: remote.host.clone(),
                reply: remote.reply.clone(),
            }),
            last_attempt_at: self.now,
            will_retry_until,
        }
    }

    fn message(&self, to: &Mailbox) -> NewMessage {
        NewMessage {
            id: self.id,
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Local,
                smtputf8: to.needs_utf8(),
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
            },
            content: Content::Mime,
            recipients: vec![to.clone().into()],
            accepted_at: self.now,
            due_at: self.now,
            ticket: None,
        }
    }
}

/// The message came over DMTP from an author elsewhere.
fn came_sealed(claim: &Claim) -> bool {
    matches!(claim.envelope.source, Source::Dmtp(_))
}

fn shown(claim: &Claim, recipient: &FinalRecipient) -> FinalRecipient {
    match recipient {
        FinalRecipient::Mailbox(mailbox) if came_sealed(claim) => {
            FinalRecipient::Sealed(mailbox.domain().clone())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::id::LeaseToken;
    use crate::delivery::RemoteReply;
    use crate::mail::reply::EnhancedStatus;

    const ARRIVED: Timestamp = Timestamp(1_728_892_800_000);
    const NOW: Timestamp = Timestamp(1_728_892_860_000);

    fn claim(reverse_path: &str, content: Content) -> Claim {
        Claim {
            message: QueueId::random(&mut rand::rng()),
            lease: LeaseToken::random(&mut rand::rng()),
            leased_until: NOW,
            envelope: Envelope {
                reverse_path: ReversePath(reverse_path.parse().ok()),
                source: Source::Smtp,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
            },
            content,
            size_bytes: 20,
            accepted_at: ARRIVED,
            destination: "hismail.test".parse().unwrap(),
            recipients: Vec::new(),
        }
    }

    fn report(claim: &Claim, occasion: Occasion) -> Option<FollowUp> {
        let bounce = Bounce {
            host: &"mx.hermail.test".parse().unwrap(),
            id: QueueId::parse("0123456789BCDFGHJKLMNPQRS").unwrap(),
            now: NOW,
            occasion,
        };
        let diagnosis = Diagnosis {
            status: EnhancedStatus(5, 1, 1),
            text: "mx.hismail.test refused the message".into(),
            remote: Some(RemoteReply {
                host: "mx.hismail.test".into(),
                reply: "550 5.1.1 no such user".into(),
            }),
        };
        let affected = Affected {
            recipient: FinalRecipient::Mailbox("bob@hismail.test".parse().unwrap()),
            diagnosis: &diagnosis,
        };
        bounce.report(claim, &[affected], b"Subject: hello\r\n\r\nbody\r\n")
    }

    #[test]
    fn a_report_goes_to_the_reverse_path_and_cannot_itself_be_bounced() {
        let FollowUp { message, body, .. } =
            report(&claim("alice@hermail.test", Content::Mime), Occasion::Failed).unwrap();
        assert_eq!(
            message.recipients,
            [Recipient::parse("alice@hermail.test").unwrap()]
        );
        assert_eq!(message.envelope.reverse_path, ReversePath::NULL);
        assert_eq!(message.envelope.source, Source::Local);
        assert_eq!((message.accepted_at, message.due_at), (NOW, NOW));
        assert!(!message.envelope.smtputf8);
        let body = String::from_utf8(body.whole().unwrap().to_vec()).unwrap();
        for line in [
            "Arrival-Date: Mon, 14 Oct 2024 08:00:00 +0000",
            "Final-Recipient: rfc822; bob@hismail.test",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.hismail.test",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user",
            "Last-Attempt-Date: Mon, 14 Oct 2024 08:01:00 +0000",
            "Subject: hello",
        ] {
            assert!(body.lines().any(|found| found == line), "{line}");
        }
        assert!(!body.contains("body\r\n"), "only the header goes back");
    }

    #[test]
    fn a_report_on_what_came_sealed_names_neither_recipient_nor_subject() {
        let mut claim = claim("alice@hermail.test", Content::Mime);
        claim.envelope.source = Source::Dmtp("hermail.test".parse().unwrap());
        let FollowUp { body, .. } = report(&claim, Occasion::Failed).unwrap();
        let body = String::from_utf8(body.whole().unwrap().to_vec()).unwrap();
        assert!(body.contains("Final-Recipient: x-dime; @hismail.test\r\n"));
        assert!(
            !body.contains("bob") && !body.contains("Subject: hello"),
            "{body}"
        );
    }

    #[test]
    fn a_null_reverse_path_gets_no_report() {
        assert!(report(&claim("", Content::Mime), Occasion::Failed).is_none());
        let bounce = Bounce {
            host: &"mx.hermail.test".parse().unwrap(),
            id: QueueId::random(&mut rand::rng()),
            now: NOW,
            occasion: Occasion::Failed,
        };
        let nobody = bounce.report(&claim("alice@hermail.test", Content::Mime), &[], b"");
        assert!(nobody.is_none(), "nor does a report on nobody go out");
    }

    #[test]
    fn a_delay_is_no_failure() {
        let occasion = Occasion::Delayed {
            will_retry_until: Timestamp(ARRIVED.0 + 432_000_000),
        };
        let delayed = report(&claim("alice@hermail.test", Content::Mime), occasion).unwrap();
        let body = String::from_utf8(delayed.body.whole().unwrap().to_vec()).unwrap();
        assert!(body.contains("\r\nAction: delayed\r\nStatus: 4.1.1\r\n"));
        assert!(body.contains("\r\nWill-Retry-Until: Sat, 19 Oct 2024 08:00:00 +0000\r\n"));
    }

    #[test]
    fn a_sender_beyond_ascii_needs_smtputf8() {
        let utf8 = report(&claim("zoë@hermail.test", Content::Mime), Occasion::Failed).unwrap();
        assert!(utf8.message.envelope.smtputf8);
    }
}
