//! Reports to the reverse-path: that a message failed, that it is delayed, or, where the sender asked for it, that all is well.
//!
//! A report is a follow-up of the settlement that calls for it, so both become durable in one transaction.

use super::returning::{sent_to, shown};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::delivery::{Diagnosis, RemoteReply};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::demand::{Demand, TlsDemand};
use crate::mail::dsn::{Action, FinalRecipient, Original, RecipientReport, RemoteDiagnostic, Report};
use crate::mail::notify::{MessageRequest, Notify, OriginalRecipient, Ret};
use crate::mail::reply::EnhancedStatus;
use crate::store::{Claim, Content, Envelope, FollowUp, NewMessage, Recipient, Source};

/// What a sender is told of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The recipient will not get the message.
    Failed(Diagnosis),
    /// It is still being tried.
    Delayed {
        /// Why it has not worked yet.
        diagnosis: Diagnosis,
        /// Until when.
        will_retry_until: Timestamp,
    },
    /// It is in the recipient's mailbox.
    Delivered,
    /// This host has it, which does not report what becomes of it.
    Relayed(RemoteReply),
    /// Others have it in the place of the address.
    Expanded,
}

/// What may stand in one report together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing more is tried.
    Failure,
    /// It goes on.
    Delay,
    /// All is well.
    Success,
}

impl News {
    /// In which report it stands.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Failed(_) => Kind::Failure,
            Self::Delayed { .. } => Kind::Delay,
            Self::Delivered | Self::Relayed(_) | Self::Expanded => Kind::Success,
        }
    }

    /// Whether a sender wants to be told who asked for this.
    pub fn is_wanted(&self, notify: Notify) -> bool {
        match self.kind() {
            Kind::Failure => notify.of_failure(),
            Kind::Delay => notify.of_delay(),
            Kind::Success => notify.of_success(),
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::Failed(_) => Action::Failed,
            Self::Delayed { .. } => Action::Delayed,
            Self::Delivered => Action::Delivered,
            Self::Relayed(_) => Action::Relayed,
            Self::Expanded => Action::Expanded,
        }
    }

    fn status(&self) -> EnhancedStatus {
        match self {
            Self::Failed(diagnosis) | Self::Delayed { diagnosis, .. } => diagnosis.status,
            Self::Delivered | Self::Relayed(_) | Self::Expanded => EnhancedStatus(2, 0, 0),
        }
    }

    fn explanation(&self) -> String {
        match self {
            Self::Failed(diagnosis) | Self::Delayed { diagnosis, .. } => diagnosis.text.clone(),
            Self::Delivered => "It is in the mailbox.".to_owned(),
            Self::Relayed(remote) => {
                format!(
                    "{} took it. No more is heard of it, unless it fails later.",
                    remote.host
                )
            }
            Self::Expanded => {
                "The address stands for others, to whom it was sent on. No more is heard of it, unless it fails."
                    .to_owned()
            }
        }
    }

    fn remote(&self) -> Option<&RemoteReply> {
        match self {
            Self::Failed(diagnosis) | Self::Delayed { diagnosis, .. } => diagnosis.remote.as_ref(),
            Self::Relayed(remote) => Some(remote),
            Self::Delivered | Self::Expanded => None,
        }
    }
}

/// One recipient, and what there is to tell.
#[derive(Debug, Clone)]
pub struct Affected<'a> {
    /// Who.
    pub recipient: FinalRecipient,
    /// Whom the sender named first, if that was said.
    pub original: Option<&'a OriginalRecipient>,
    /// What.
    pub news: &'a News,
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
}

impl Bounce<'_> {
    /// The report on some recipients of a claim, with news of one kind; `None` if nobody is to be told.
    ///
    /// A message with a null reverse-path is never reported on (RFC 5321 §4.5.5). `start` is the
    /// start of the original: of a failure all of it goes back with the report unless the sender asked for its header alone, and of
    /// other news the header (RFC 3461 §6.2); empty if nobody here can read it. The report goes
    /// by SMTP, so what came sealed is not told to those on the way: neither its header nor who its recipient is.
    pub fn report(&self, claim: &Claim, affected: &[Affected<'_>], start: &[u8]) -> Option<FollowUp> {
        let to = claim.envelope.reverse_path.0.as_ref()?;
        let kind = affected.first()?.news.kind();
        let all = affected.iter().map(|affected| self.recipient(affected));
        let recipients: Vec<_> = match came_sealed(claim) {
            // It was sealed for one recipient, whomever the address stands for.
            true => all.take(1).map(|report| as_if_sealed(claim, report)).collect(),
            false => all.collect(),
        };
        let report = Report {
            id: self.id,
            reporting_host: self.host,
            to,
            date: self.now,
            arrived_at: claim.accepted_at,
            envelope_id: claim.envelope.request.envelope_id.as_ref(),
            recipients: &recipients,
            original: match kind {
                _ if came_sealed(claim) => Original::Header(&[]),
                Kind::Failure if is_wanted_whole(claim, start) => Original::Whole(start),
                _ => Original::Header(start),
            },
        };
        let octets = report.render();
        Some(FollowUp::new(self.message(to, octets.is_ascii()), octets))
    }

    fn recipient(&self, affected: &Affected<'_>) -> RecipientReport {
        let news = affected.news;
        RecipientReport {
            recipient: affected.recipient.clone(),
            original: affected.original.cloned(),
            action: news.action(),
            status: news.status(),
            explanation: news.explanation(),
            remote: news.remote().map(|remote| RemoteDiagnostic {
                host: remote.host.clone(),
                reply: remote.reply.clone(),
            }),
            last_attempt_at: self.now,
            will_retry_until: match news {
                News::Delayed { will_retry_until, .. } => Some(*will_retry_until),
                _ => None,
            },
        }
    }

    fn message(&self, to: &Mailbox, is_ascii: bool) -> NewMessage {
        NewMessage {
            id: self.id,
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Local,
                smtputf8: to.needs_utf8(),
                eight_bit: !is_ascii,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![to.clone().into()],
            accepted_at: self.now,
            due_at: self.now,
            ticket: None,
        }
    }
}

/// `start` is all of the message, and its sender may have it back: what is longer than a piece comes back with its header alone.
///
/// Without RET the choice is ours (RFC 3461 §4.3); Postfix gives the message back, up to a limit, and so do we. What must not go
/// by SMTP, or only under verified TLS, does not come back whole, whatever RET says: its report might (RFC 8689 §5).
fn is_wanted_whole(claim: &Claim, start: &[u8]) -> bool {
    let demand = claim.envelope.demand;
    claim.envelope.request.ret != Some(Ret::Headers)
        && !demand.dime
        && demand.tls != TlsDemand::Required
        && claim.content == Content::Mime
        && claim.size_bytes == start.len() as u64
}

/// The message came over DMTP from an author elsewhere.
fn came_sealed(claim: &Claim) -> bool {
    matches!(claim.envelope.source, Source::Dmtp(_))
}

/// No more than a returned message tells (`dmime2.md` §12): that somebody at the domain that the message was sealed for does not
/// get it. Neither for whom it was, nor where it went on to, nor what was said there.
fn as_if_sealed(claim: &Claim, report: RecipientReport) -> RecipientReport {
    let explanation = match report.action {
        Action::Failed => "It arrived where it was sealed for, and could not be delivered there.",
        _ => "It arrived where it was sealed for, and has not been delivered there yet.",
    };
    RecipientReport {
        recipient: FinalRecipient::Sealed(sent_to(claim)),
        original: None,
        status: shown(report.status),
        explanation: explanation.to_owned(),
        remote: None,
        ..report
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::id::{LeaseToken, RecipientId};
    use crate::mail::notify::{EnvelopeId, RecipientRequest};
    use crate::store::{ClaimedRecipient, Tenure};

    const ARRIVED: Timestamp = Timestamp(1_728_892_800_000);
    const NOW: Timestamp = Timestamp(1_728_892_860_000);

    fn claim(reverse_path: &str, content: Content) -> Claim {
        Claim {
            message: QueueId::random(&mut rand::rng()),
            lease: LeaseToken::random(&mut rand::rng()),
            tenure: Tenure::default(),
            leased_until: NOW,
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
            content,
            size_bytes: 20,
            accepted_at: ARRIVED,
            counted_from: ARRIVED,
            destination: "hismail.test".parse().unwrap(),
            is_ours: false,
            recipients: Vec::new(),
            body: None,
        }
    }

    fn diagnosis() -> Diagnosis {
        Diagnosis {
            status: EnhancedStatus(5, 1, 1),
            text: "mx.hismail.test refused the message".into(),
            remote: Some(RemoteReply {
                host: "mx.hismail.test".into(),
                reply: "550 5.1.1 no such user".into(),
            }),
        }
    }

    fn bounce(claim: &Claim, affected: &[Affected<'_>]) -> Option<FollowUp> {
        let bounce = Bounce {
            host: &"mx.hermail.test".parse().unwrap(),
            id: QueueId::parse("0123456789BCDFGHJKLMNPQRS").unwrap(),
            now: NOW,
        };
        bounce.report(claim, affected, b"Subject: hello\r\n\r\nbody\r\n")
    }

    fn report(claim: &Claim, news: &News) -> Option<FollowUp> {
        let affected = Affected {
            recipient: FinalRecipient::Mailbox("bob@hismail.test".parse().unwrap()),
            original: None,
            news,
        };
        bounce(claim, &[affected])
    }

    fn text(report: &FollowUp) -> String {
        String::from_utf8(report.body.whole().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_report_goes_to_the_reverse_path_and_cannot_itself_be_bounced() {
        let FollowUp { message, body, .. } = report(
            &claim("alice@hermail.test", Content::Mime),
            &News::Failed(diagnosis()),
        )
        .unwrap();
        assert_eq!(
            message.recipients,
            [Recipient::parse("alice@hermail.test").unwrap().into()]
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
        let FollowUp { body, .. } = report(&claim, &News::Failed(diagnosis())).unwrap();
        let body = String::from_utf8(body.whole().unwrap().to_vec()).unwrap();
        assert!(body.contains("Final-Recipient: x-dime; @hismail.test\r\n"));
        assert!(
            !body.contains("bob") && !body.contains("Subject: hello"),
            "{body}"
        );
    }

    /// An address that stands for others, some of them elsewhere.
    #[test]
    fn a_report_on_what_was_opened_and_sent_on_says_no_more_than_a_returned_message() {
        let mut claim = claim("alice@hermail.test", Content::Mime);
        claim.envelope.source = Source::Dmtp("hermail.test".parse().unwrap());
        claim.destination = "elsewhere.test".parse().unwrap();
        let original = OriginalRecipient::parse("rfc822;sales@hismail.test").unwrap();
        let recipient = |address: &str| ClaimedRecipient {
            id: RecipientId::random(&mut rand::rng()),
            forward_path: Recipient::parse(address).unwrap(),
            named: None,
            request: RecipientRequest {
                original: Some(original.clone()),
                ..RecipientRequest::default()
            },
            expanded: false,
            attempts: 0,
            delay_reported: false,
            condemned: false,
        };
        claim.recipients = ["carol@elsewhere.test", "dave@elsewhere.test"]
            .map(recipient)
            .into();
        let news = News::Failed(Diagnosis {
            status: EnhancedStatus(5, 7, 30),
            text: "mx.elsewhere.test refused the message".into(),
            remote: Some(RemoteReply {
                host: "mx.elsewhere.test".into(),
                reply: "550 5.7.30 carol is away".into(),
            }),
        });
        let affected: Vec<_> = claim
            .recipients
            .iter()
            .map(|recipient| Affected {
                recipient: FinalRecipient::from(&recipient.forward_path),
                original: recipient.request.original.as_ref(),
                news: &news,
            })
            .collect();
        let body = text(&bounce(&claim, &affected).unwrap());
        assert!(
            body.contains("Final-Recipient: x-dime; @hismail.test\r\nAction: failed\r\nStatus: 5.3.0\r\n")
        );
        assert_eq!(body.matches("Final-Recipient").count(), 1);
        for secret in ["elsewhere.test", "carol", "dave", "sales", "away", "hello"] {
            assert!(!body.contains(secret), "{secret}: {body}");
        }
    }

    #[test]
    fn a_null_reverse_path_gets_no_report() {
        let failed = News::Failed(diagnosis());
        assert!(report(&claim("", Content::Mime), &failed).is_none());
        let nobody = bounce(&claim("alice@hermail.test", Content::Mime), &[]);
        assert!(nobody.is_none(), "nor does a report on nobody go out");
    }

    #[test]
    fn a_delay_is_no_failure() {
        let news = News::Delayed {
            diagnosis: diagnosis(),
            will_retry_until: Timestamp(ARRIVED.0 + 432_000_000),
        };
        let body = text(&report(&claim("alice@hermail.test", Content::Mime), &news).unwrap());
        assert!(body.contains("\r\nAction: delayed\r\nStatus: 4.1.1\r\n"));
        assert!(body.contains("\r\nWill-Retry-Until: Sat, 19 Oct 2024 08:00:00 +0000\r\n"));
    }

    #[test]
    fn a_sender_beyond_ascii_needs_smtputf8() {
        let utf8 = report(
            &claim("zoë@hermail.test", Content::Mime),
            &News::Failed(diagnosis()),
        )
        .unwrap();
        assert!(utf8.message.envelope.smtputf8 && utf8.message.envelope.eight_bit);
    }

    /// RFC 3461 §4.3 and §6.2: of failures, and as far as we have the message at hand.
    #[test]
    fn a_message_that_failed_comes_back_whole_unless_its_header_will_do() {
        let mut claim = claim("alice@hermail.test", Content::Mime);
        claim.size_bytes = b"Subject: hello\r\n\r\nbody\r\n".len() as u64;
        let failed = News::Failed(diagnosis());
        for ret in [None, Some(Ret::Full)] {
            claim.envelope.request.ret = ret;
            let whole = text(&report(&claim, &failed).unwrap());
            assert!(whole.contains("Content-Type: message/rfc822\r\n") && whole.contains("\r\nbody\r\n"));
        }
        for (dime, tls) in [(false, TlsDemand::Required), (true, TlsDemand::Policy)] {
            claim.envelope.demand = Demand { dime, tls };
            assert!(!text(&report(&claim, &failed).unwrap()).contains("\r\nbody\r\n"));
        }
        claim.envelope.demand = Demand::default();
        claim.envelope.request.ret = Some(Ret::Headers);
        assert!(!text(&report(&claim, &failed).unwrap()).contains("\r\nbody\r\n"));
        claim.envelope.request.ret = None;
        let delivered = text(&report(&claim, &News::Delivered).unwrap());
        assert!(!delivered.contains("\r\nbody\r\n"));
        claim.size_bytes += 1;
        assert!(!text(&report(&claim, &failed).unwrap()).contains("\r\nbody\r\n"));
        claim.size_bytes -= 1;
        claim.envelope.source = Source::Dmtp("hermail.test".parse().unwrap());
        assert!(!text(&report(&claim, &failed).unwrap()).contains("\r\nbody\r\n"));
    }

    #[test]
    fn a_report_says_by_which_names_the_sender_knows_message_and_recipient() {
        let mut claim = claim("alice@hermail.test", Content::Mime);
        claim.envelope.request.envelope_id = EnvelopeId::parse("QQ314");
        let original = OriginalRecipient::parse("rfc822;sales@hismail.test").unwrap();
        let affected = Affected {
            recipient: FinalRecipient::Mailbox("bob@hismail.test".parse().unwrap()),
            original: Some(&original),
            news: &News::Expanded,
        };
        let body = text(&bounce(&claim, &[affected]).unwrap());
        assert!(body.contains("Original-Envelope-Id: QQ314\r\n"));
        assert!(body.contains("Original-Recipient: rfc822; sales@hismail.test\r\n"));
        assert!(body.contains("Action: expanded\r\nStatus: 2.0.0\r\n"));
    }
}
