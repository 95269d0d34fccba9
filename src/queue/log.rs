//! Log lines of delivery attempts (DESIGN.md §10).
//!
//! Lines of SMTP deliveries carry the message id and the destination. For DMTP mail no lines that can be joined by an
//! id name both ends: the line of a transfer carries an attempt id that no other line has, and so does that of a local delivery of
//! what came by DMTP; sealing names no destination. Who is named, and how, is in [`names`](super::names).

use std::time::Duration;

use crate::base::causes::{Causes, without_addresses};
use crate::base::id::{AttemptId, QueueId};
use crate::base::machine::TlsInfo;
use crate::base::metrics;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::delivery::{Diagnosis, Outcome, RemoteReply, dmtp, smtp};
use crate::dime::selection::{Actor, Choice, Hold};
use crate::mail::address::Mailbox;
use crate::routing::{Decision, Reason, Transport};
use crate::store::{self, Claim, Source};

use super::names::Names;
use super::plan::{self, Planned};

/// When a line is written, and how long after the beginning of the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// The present.
    pub now: Timestamp,
    /// Since the attempt began.
    pub elapsed: Duration,
}

/// What a line about a recipient needs.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Writes addresses.
    pub names: &'a Names,
    /// When it is.
    pub time: Time,
}

/// The outcome in one word, its status, and the other side's reply.
struct Words<'a> {
    outcome: &'static str,
    status: String,
    code: Option<u16>,
    reply: Option<&'a RemoteReply>,
}

impl<'a> Words<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let (word, diagnosis, reply) = match outcome {
            Outcome::Delivered => ("delivered", None, None),
            Outcome::Relayed { remote, .. } => ("relayed", None, Some(remote)),
            Outcome::Expanded => ("expanded", None, None),
            Outcome::Deferred(diagnosis) => ("deferred", Some(diagnosis), diagnosis.remote.as_ref()),
            Outcome::Failed(diagnosis) => ("failed", Some(diagnosis), diagnosis.remote.as_ref()),
        };
        Self {
            outcome: word,
            status: diagnosis.map_or_else(|| "2.0.0".to_owned(), |diagnosis| diagnosis.status.to_string()),
            code: reply.and_then(code),
            reply,
        }
    }

    /// What the other side said, where people may be named in the clear: it may name anybody, and quote what was sent.
    fn text(&self, is_clear: bool) -> Option<String> {
        let reply = self.reply.filter(|_| is_clear)?;
        Some(without_addresses(&reply.reply))
    }
}

fn code(remote: &RemoteReply) -> Option<u16> {
    let digits = remote.reply.get(..3)?;
    digits.parse().ok()
}

/// The parts of the time between MAIL and the outcome, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delays {
    before_queue: u64,
    in_queue: u64,
    connecting: u64,
    transmitting: u64,
    elapsed: u64,
}

impl Delays {
    fn of(claim: &Claim, time: Time, transmitting: Duration) -> Self {
        let since_accepted = time.now.since(claim.accepted_at);
        Self {
            before_queue: u64::from(claim.envelope.received_in_ms),
            in_queue: millis(since_accepted.saturating_sub(time.elapsed)),
            connecting: millis(time.elapsed.saturating_sub(transmitting)),
            transmitting: millis(transmitting),
            elapsed: millis(time.elapsed),
        }
    }

    /// In whole seconds, so that nobody finds the line of a message's acceptance by its time.
    fn coarse(self) -> Self {
        let up = |millis: u64| millis.div_ceil(1000).saturating_mul(1000);
        Self {
            before_queue: up(self.before_queue),
            in_queue: up(self.in_queue),
            connecting: up(self.connecting),
            transmitting: up(self.transmitting),
            elapsed: up(self.elapsed),
        }
    }
}

/// Who is named in a line, each as it may be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    sender: Option<String>,
    recipient: Option<String>,
    /// People may be named as they are.
    is_clear: bool,
}

impl Named {
    /// Of a recipient to whom the message goes by SMTP.
    fn of_planned(names: &Names, claim: &Claim, planned: &Planned<'_>) -> Self {
        let recipient = planned.recipient.forward_path.mailbox();
        Self::of(names, claim, (recipient, is_apart(planned)))
    }

    /// Where mail goes `apart`, others of the message may get it sealed, in the same domain: nothing leads to its sender.
    fn of(names: &Names, claim: &Claim, (recipient, apart): (Option<&Mailbox>, bool)) -> Self {
        let path = &claim.envelope.reverse_path;
        let hidden = || recipient.and_then(|one| names.hidden(one));
        match &claim.envelope.source {
            Source::Dmtp(_) => Self {
                recipient: hidden(),
                ..Self::default()
            },
            _ if apart => Self {
                recipient: hidden(),
                ..Self::default()
            },
            // It may be a report on sealed mail.
            _ if path.is_null() => Self {
                sender: names.hidden_sender(path),
                recipient: hidden(),
                is_clear: false,
            },
            _ => Self {
                sender: names.plain_sender(path),
                recipient: recipient.and_then(|one| names.plain(one)),
                is_clear: names.are_clear(),
            },
        }
    }
}

fn version(tls: Option<&TlsInfo>) -> &str {
    tls.map_or("none", |tls| &tls.version)
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Nothing can be decided now.
pub fn cannot_plan(message: QueueId, error: &plan::Error) {
    tracing::error!(event = observe::QUEUE_STORE_FAILED, message.id = %message, error = %Causes(error), "cannot decide on a route");
}

/// What it takes to return a message cannot be read now.
pub fn cannot_return(message: QueueId, error: &store::Error) {
    tracing::error!(event = observe::QUEUE_STORE_FAILED, message.id = %message, error = %Causes(error), "cannot return a message now");
}

/// An operator has deleted mail whose author is told.
pub fn condemned(message: QueueId) {
    tracing::info!(event = observe::QUEUE_CONDEMNED, message.id = %message, "mail that an operator has deleted is reported");
}

/// What a line of an attempt is found by: its message, or, where no id may lead on from it, the attempt alone.
struct LineId {
    message: Option<String>,
    attempt: Option<String>,
}

impl LineId {
    fn of(claim: &Claim, is_apart: bool) -> Self {
        Self {
            message: (!is_apart).then(|| claim.message.to_string()),
            attempt: is_apart.then(|| AttemptId::random(&mut rand::rng()).to_string()),
        }
    }

    fn shown(&self) -> String {
        self.message
            .as_ref()
            .or(self.attempt.as_ref())
            .cloned()
            .unwrap_or_default()
    }
}

/// A recipient of ours was served, or not. What was sealed for somebody here names nobody.
pub fn local(claim: &Claim, planned: &Planned<'_>, outcome: &Outcome, line: Line<'_>) {
    let words = Words::of(outcome);
    let is_by_dmtp = matches!(claim.envelope.source, Source::Dmtp(_));
    let id = LineId::of(claim, is_by_dmtp);
    metrics::attempted("local", words.outcome, &id.shown());
    let recipient = planned.recipient.forward_path.mailbox();
    let named = match &planned.sealing {
        Some(_) => Named::default(),
        None => Named::of(line.names, claim, (recipient, false)),
    };
    let delays = Delays::of(claim, line.time, line.time.elapsed);
    let delays = if is_by_dmtp { delays.coarse() } else { delays };
    tracing::info!(
        event = observe::QUEUE_ATTEMPT_LOCAL,
        message.id = id.message,
        attempt.id = id.attempt,
        route.kind = "local",
        route.reason = planned.decision.reason.code(),
        sender = named.sender,
        recipient = named.recipient,
        outcome = words.outcome,
        reply.enhanced = words.status,
        reply.code = words.code,
        reply.text = words.text(named.is_clear),
        delay.before_queue_ms = delays.before_queue,
        delay.in_queue_ms = delays.in_queue,
        delay.transmitting_ms = delays.transmitting,
        elapsed_ms = delays.elapsed,
        size_bytes = claim.size_bytes,
        "local delivery ended"
    );
}

/// Nothing was tried for one recipient, because no way is open. Names no domain: the message may be one to be sealed.
pub fn closed(claim: &Claim, decision: &Decision) {
    tracing::info!(
        event = observe::QUEUE_ROUTE_CLOSED,
        message.id = %claim.message,
        route.kind = decision.route.kind(),
        route.reason = decision.reason.code(),
        "no way is open to the recipient"
    );
}

/// A message waits for one recipient because of somebody's key set; whose, in one word.
pub fn held(claim: &Claim, hold: Hold, reason: &Reason) {
    tracing::warn!(
        event = observe::QUEUE_HELD,
        message.id = %claim.message,
        rule = %hold.rule,
        actor = hold.actor.map_or("", Actor::name),
        route.reason = reason.code(),
        "the message waits: the parties' key sets do not allow to send it"
    );
}

/// A message was sealed for one recipient.
pub fn sealed(claim: &Claim, choice: Choice, elapsed: Duration) {
    tracing::info!(
        event = observe::QUEUE_SEALED,
        message.id = %claim.message,
        choice = %choice,
        elapsed_ms = millis(elapsed),
        "sealed for one recipient"
    );
}

/// A message goes back to be sealed again, because its recipient has new keys.
pub fn sealed_again(claim: &Claim) {
    tracing::info!(
        event = observe::QUEUE_SEALED_AGAIN,
        message.id = %claim.message,
        times = claim.envelope.resealed + 1,
        "the recipient has new keys: the message is to be sealed again"
    );
}

/// An attempt by SMTP ended; one line for each recipient, with the reason for the recipient's route.
pub fn smtp(
    claim: &Claim,
    (planned, transport): (&[Planned<'_>], Option<&Transport>),
    report: &smtp::Report,
    line: Line<'_>,
) {
    // These lines are about all of them.
    let id = LineId::of(claim, planned.iter().any(is_apart));
    for (host, protection) in &report.refused {
        tracing::warn!(
            event = observe::QUEUE_HOST_REFUSED,
            message.id = id.message.as_deref(),
            destination = %claim.destination,
            peer.host = %host,
            tls.demanded = protection.kind,
            tls.policy = protection.reason.code(),
            "a mail host got no mail because of its TLS"
        );
    }
    for (outcome, one) in report.outcomes.iter().zip(planned) {
        if let (Some(transport), Outcome::Deferred(why) | Outcome::Failed(why)) = (transport, outcome) {
            let words = Words::of(outcome);
            let named = Named::of_planned(line.names, claim, one);
            tracing::warn!(
                event = observe::QUEUE_TRANSPORT_FAILED,
                message.id = LineId::of(claim, is_apart(one)).message,
                peer.host = %transport.host,
                outcome = words.outcome,
                reply.enhanced = words.status,
                reply.code = words.code,
                error = told(why, named.is_clear),
                "the host that the configuration names did not take a message"
            );
        }
        sent(claim, one, outcome, report, line);
    }
}

/// Whether others of the message may get it sealed, in the same domain: then no id leads from a line to its sender.
fn is_apart(planned: &Planned<'_>) -> bool {
    matches!(planned.decision.reason, Reason::Dime { .. })
}

/// Why an attempt has failed; without what the other side said where it must not be quoted.
fn told(why: &Diagnosis, is_clear: bool) -> String {
    match is_clear {
        true => without_addresses(&why.to_string()),
        false => without_addresses(&why.text),
    }
}

fn sent(claim: &Claim, planned: &Planned<'_>, outcome: &Outcome, report: &smtp::Report, line: Line<'_>) {
    let words = Words::of(outcome);
    let named = Named::of_planned(line.names, claim, planned);
    let id = LineId::of(claim, is_apart(planned));
    metrics::attempted("smtp", words.outcome, &id.shown());
    let protection = report.protection.as_ref();
    let delays = Delays::of(claim, line.time, report.transmitting);
    tracing::info!(
        event = observe::QUEUE_ATTEMPT_SMTP,
        message.id = id.message,
        attempt.id = id.attempt,
        route.kind = "smtp",
        route.reason = planned.decision.reason.code(),
        sender = named.sender,
        recipient = named.recipient,
        destination = %claim.destination,
        peer.host = report.host.as_deref().unwrap_or(""),
        tls.version = version(report.tls.as_ref()),
        tls.demanded = protection.map_or("", |protection| protection.kind),
        tls.policy = protection.map_or("", |protection| protection.reason.code()),
        tls.verified = protection.is_some_and(|protection| protection.verified),
        outcome = words.outcome,
        reply.enhanced = words.status,
        reply.code = words.code,
        reply.text = words.text(named.is_clear),
        delay.before_queue_ms = delays.before_queue,
        delay.in_queue_ms = delays.in_queue,
        delay.connecting_ms = delays.connecting,
        delay.transmitting_ms = delays.transmitting,
        elapsed_ms = delays.elapsed,
        size_bytes = claim.size_bytes,
        "delivery by SMTP ended"
    );
}

/// An attempt by DMTP ended, for that reason of its route.
pub fn dmtp(claim: &Claim, (attempt, reason): (AttemptId, &'static str), report: &dmtp::Report, time: Time) {
    let words = Words::of(&report.outcome);
    metrics::attempted("dmtp", words.outcome, &attempt);
    let peer = report.peer.as_ref();
    let delays = Delays::of(claim, time, report.transmitting).coarse();
    tracing::info!(
        event = observe::QUEUE_ATTEMPT_DMTP,
        attempt.id = %attempt,
        route.kind = "dmtp",
        route.reason = reason,
        destination = %claim.destination,
        peer.host = peer.map_or("", |(host, _)| host.as_str()),
        tls.version = version(peer.map(|(_, tls)| tls)),
        // A host whose certificate its domain's record does not stand by is never spoken to.
        tls.demanded = "dx_certificate",
        tls.policy = "management_record",
        tls.verified = peer.is_some(),
        outcome = words.outcome,
        reply.enhanced = words.status,
        reply.code = words.code,
        delay.before_queue_ms = delays.before_queue,
        delay.in_queue_ms = delays.in_queue,
        delay.connecting_ms = delays.connecting,
        delay.transmitting_ms = delays.transmitting,
        elapsed_ms = delays.elapsed,
        "delivery by DMTP ended"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::id::LeaseToken;
    use crate::base::secret::Secret;
    use crate::mail::address::ReversePath;
    use crate::mail::demand::Demand;
    use crate::mail::notify::MessageRequest;
    use crate::mail::reply::EnhancedStatus;
    use crate::queue::names::Form;
    use crate::store::{Content, Envelope, Tenure};

    fn claim(source: Source, reverse_path: &str) -> Claim {
        Claim {
            message: QueueId::random(&mut rand::rng()),
            lease: LeaseToken::random(&mut rand::rng()),
            tenure: Tenure::default(),
            leased_until: Timestamp(0),
            envelope: Envelope {
                reverse_path: ReversePath::parse(reverse_path).unwrap(),
                source,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 250,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            size_bytes: 10,
            accepted_at: Timestamp(1000),
            counted_from: Timestamp(1000),
            destination: "hismail.test".parse().unwrap(),
            is_ours: true,
            recipients: Vec::new(),
            body: None,
        }
    }

    #[test]
    fn what_came_by_dmtp_and_reports_name_one_end_and_never_in_the_clear() {
        let names = Names::new(Form::Clear, Secret::new([1; 32]));
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let named = |source, path: &str, apart| Named::of(&names, &claim(source, path), (Some(&bob), apart));
        let origin = Source::Dmtp("hermail.test".parse().unwrap());
        let one_end = Named {
            sender: None,
            recipient: Some(names.hash(&bob)),
            is_clear: false,
        };
        assert_eq!(named(origin, "<alice@hermail.test>", false), one_end);
        // The domain has DIME, and this recipient has no signet.
        assert_eq!(
            named(Source::Trusted(None), "<alice@hermail.test>", true),
            one_end
        );
        let expected = Named {
            sender: Some("<>".to_owned()),
            ..one_end
        };
        assert_eq!(named(Source::Smtp, "<>", false), expected);
        let expected = Named {
            sender: Some("alice@plain.test".to_owned()),
            recipient: Some(bob.to_string()),
            is_clear: true,
        };
        assert_eq!(named(Source::Smtp, "<alice@plain.test>", false), expected);
    }

    #[test]
    fn the_parts_of_the_time_add_up_and_those_of_sealed_mail_are_coarse() {
        let time = Time {
            now: Timestamp(3500),
            elapsed: Duration::from_millis(700),
        };
        let delays = Delays::of(&claim(Source::Smtp, "<>"), time, Duration::from_millis(300));
        let expected = Delays {
            before_queue: 250,
            in_queue: 1800,
            connecting: 400,
            transmitting: 300,
            elapsed: 700,
        };
        assert_eq!(delays, expected);
        let coarse = Delays {
            before_queue: 1000,
            in_queue: 2000,
            connecting: 1000,
            transmitting: 1000,
            elapsed: 1000,
        };
        assert_eq!(delays.coarse(), coarse);
    }

    #[test]
    fn a_reply_has_its_code_and_its_text_where_people_are_named_in_the_clear() {
        let outcome = Outcome::Relayed {
            remote: RemoteReply {
                host: "mx.plain.test".to_owned(),
                reply: "250 2.0.0 <eve@plain.test> queued \"the subject\" for user=carol".to_owned(),
            },
            reports: false,
        };
        let words = Words::of(&outcome);
        assert_eq!(words.code, Some(250));
        assert_eq!(words.text(false), None);
        assert_eq!(
            words.text(true).as_deref(),
            Some("250 2.0.0 … queued \"the subject\" for user=carol")
        );
    }

    #[test]
    fn why_a_host_did_not_take_mail_is_told_in_its_words_only_in_the_clear() {
        let why = Diagnosis {
            status: EnhancedStatus(5, 7, 1),
            text: "mx.plain.test refused the message".to_owned(),
            remote: Some(RemoteReply {
                host: "mx.plain.test".to_owned(),
                reply: "550 5.7.1 user=carol".to_owned(),
            }),
        };
        assert_eq!(told(&why, false), "mx.plain.test refused the message");
        assert_eq!(
            told(&why, true),
            "mx.plain.test refused the message: 550 5.7.1 user=carol"
        );
    }
}
