//! Log lines of delivery attempts (DESIGN.md §10).
//!
//! Lines of SMTP deliveries carry the message id and the destination. For DMTP mail no lines that can be joined by an
//! id name both ends: the line of a transfer carries an attempt id that no other line has, and sealing names no
//! destination. Local lines name nobody.

use std::time::Duration;

use crate::base::id::{AttemptId, QueueId};
use crate::base::machine::TlsInfo;
use crate::base::metrics;
use crate::base::observe;
use crate::delivery::{Outcome, dmtp, smtp};
use crate::dime::selection::{Actor, Choice, Hold};
use crate::routing::{Decision, Reason, Transport};
use crate::store::{self, Claim};

use super::plan;

/// Characters of an error that stand in a line.
const LONGEST_ERROR: usize = 300;

/// The outcome in one word, its status, and the code of the other side's reply: its text may name people.
struct Words<'a> {
    outcome: &'static str,
    status: String,
    code: &'a str,
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
            code: reply
                .and_then(|remote| remote.reply.split(' ').next())
                .unwrap_or(""),
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
    tracing::error!(event = observe::QUEUE_STORE_FAILED, message.id = %message, %error, "cannot decide on a route");
}

/// What it takes to return a message cannot be read now.
pub fn cannot_return(message: QueueId, error: &store::Error) {
    tracing::error!(event = observe::QUEUE_STORE_FAILED, message.id = %message, %error, "cannot return a message now");
}

/// An operator has deleted mail whose author is told.
pub fn condemned(message: QueueId) {
    tracing::info!(event = observe::QUEUE_CONDEMNED, message.id = %message, "mail that an operator has deleted is reported");
}

/// A recipient of ours was served, or not.
pub fn local(claim: &Claim, outcome: &Outcome, elapsed: Duration) {
    let words = Words::of(outcome);
    metrics::attempted("local", words.outcome, &claim.message);
    tracing::info!(
        event = observe::QUEUE_ATTEMPT_LOCAL,
        message.id = %claim.message,
        route.kind = "local",
        outcome = words.outcome,
        reply.enhanced = words.status,
        elapsed_ms = millis(elapsed),
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
pub fn smtp<'a>(
    claim: &Claim,
    (reasons, transport): (impl Iterator<Item = &'a Reason>, Option<&Transport>),
    report: &smtp::Report,
    elapsed: Duration,
) {
    for (host, protection) in &report.refused {
        tracing::warn!(
            event = observe::QUEUE_HOST_REFUSED,
            message.id = %claim.message,
            destination = %claim.destination,
            peer.host = %host,
            tls.demanded = protection.kind,
            tls.policy = protection.reason.code(),
            "a mail host got no mail because of its TLS"
        );
    }
    let host = report.host.as_deref().unwrap_or("");
    let protection = report.protection.as_ref();
    for (outcome, reason) in report.outcomes.iter().zip(reasons) {
        let words = Words::of(outcome);
        metrics::attempted("smtp", words.outcome, &claim.message);
        if let (Some(transport), Outcome::Deferred(why) | Outcome::Failed(why)) = (transport, outcome) {
            tracing::warn!(
                event = observe::QUEUE_TRANSPORT_FAILED,
                message.id = %claim.message,
                peer.host = %transport.host,
                outcome = words.outcome,
                reply.enhanced = words.status,
                reply.code = words.code,
                error = without_addresses(&why.to_string()),
                "the host that the configuration names did not take a message"
            );
        }
        tracing::info!(
            event = observe::QUEUE_ATTEMPT_SMTP,
            message.id = %claim.message,
            route.kind = "smtp",
            route.reason = reason.code(),
            destination = %claim.destination,
            peer.host = host,
            tls.version = version(report.tls.as_ref()),
            tls.demanded = protection.map_or("", |protection| protection.kind),
            tls.policy = protection.map_or("", |protection| protection.reason.code()),
            tls.verified = protection.is_some_and(|protection| protection.verified),
            outcome = words.outcome,
            reply.enhanced = words.status,
            reply.code = words.code,
            elapsed_ms = millis(elapsed),
            size_bytes = claim.size_bytes,
            "delivery by SMTP ended"
        );
    }
}

/// Words of others may name people: what has an at-sign is left out, and so is what no reader needs.
fn without_addresses(text: &str) -> String {
    let word = |word: &'_ str| match word.contains('@') {
        true => "…".to_owned(),
        false => word.to_owned(),
    };
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    words.join(" ").chars().take(LONGEST_ERROR).collect()
}

/// An attempt by DMTP ended.
pub fn dmtp(claim: &Claim, attempt: AttemptId, report: &dmtp::Report, elapsed: Duration) {
    let words = Words::of(&report.outcome);
    metrics::attempted("dmtp", words.outcome, &attempt);
    let peer = report.peer.as_ref();
    tracing::info!(
        event = observe::QUEUE_ATTEMPT_DMTP,
        attempt.id = %attempt,
        route.kind = "dmtp",
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
        elapsed_ms = millis(elapsed),
        "delivery by DMTP ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_logged_without_the_people_in_it() {
        assert_eq!(
            without_addresses("550 5.1.1 <bob@hismail.test>: no\r\n such user (alice@hermail.test)"),
            "550 5.1.1 … no such user …"
        );
        assert_eq!(without_addresses(&"x".repeat(1000)).len(), LONGEST_ERROR);
    }
}
