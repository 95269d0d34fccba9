//! Whether the next host of a relay domain knows a recipient, found out by asking it, and remembered.
//!
//! | What strangers can cause | Bound |
//! |---|---|
//! | questions at a time | 20, and 5 for one domain; others wait for a turn |
//! | time of one | `relay.callout_timeout_secs`, as long again for its turn, and as long for the question below |
//! | questions of one network (IPv4: an address, IPv6: a /64) | 100, and one more every 10 s |
//! | recipients known | on disk, 100,000; the oldest are forgotten |
//! | recipients unknown | in memory, 1 MiB |
//! | a host that does not answer | left alone for a while, as in the queue |
//!
//! Strangers choose the names that are asked for, so what a host does at one of them says nothing of the host. A refusal that does
//! not say what it is about (no enhanced status code) may be about us: it is believed if the host takes mail for its postmaster.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::listener::counted_as;
use crate::base::allowance::Allowance;
use crate::base::observe;
use crate::base::recent::Recent;
use crate::base::time::Clock;
use crate::config::Relay;
use crate::delivery::smtp::{Report, SmtpDelivery};
use crate::delivery::{Contact, Diagnosis, Outcome};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::EnhancedStatus;
use crate::queue::outages::{Outages, next_hop};
use crate::routing::{Route, SmtpTls, Transport};
use crate::store::{self, Store};

const AT_A_TIME: usize = 20;
const AT_A_TIME_PER_DOMAIN: usize = 5;
const PER_PEER: u32 = 100;
const REGAINED_IN: Duration = Duration::from_secs(10);

/// Memory for recipients that are not there, and what one takes beside its name.
const UNKNOWN_OCTETS: usize = 1 << 20;
const ENTRY_OCTETS: usize = 96;

/// What is known of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The next host takes mail for it, or did lately and cannot be asked now.
    Known,
    /// It does not, for good.
    NoSuchRecipient,
    /// It cannot be asked.
    Unreachable,
    /// It does not say, or too much was asked.
    NotNow,
}

impl Answer {
    fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::NoSuchRecipient => "no_such_recipient",
            Self::Unreachable => "unreachable",
            Self::NotNow => "not_now",
        }
    }
}

/// Asks, and remembers.
pub struct Callouts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    smtp: Arc<SmtpDelivery>,
    settings: Relay,
    outages: Outages,
    /// How long a next host is left alone at first.
    pause: Duration,
    turns: Semaphore,
    /// Of relay domains alone, so that strangers add none.
    turns_of: Mutex<HashMap<Domain, Arc<Semaphore>>>,
    peers: Allowance<IpAddr>,
    /// As they were written: a host may know another spelling.
    unknown: Mutex<Recent<String, Instant>>,
}

impl Callouts {
    /// With what is known in `store`.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        smtp: Arc<SmtpDelivery>,
        settings: Relay,
    ) -> Self {
        let pause = Duration::from_secs(settings.callout_timeout_secs.get());
        Self {
            store,
            clock,
            smtp,
            settings,
            outages: Outages::default(),
            pause,
            turns: Semaphore::new(AT_A_TIME),
            turns_of: Mutex::default(),
            peers: Allowance::new(PER_PEER, REGAINED_IN),
            unknown: Mutex::new(Recent::new(UNKNOWN_OCTETS)),
        }
    }

    /// Whether the recipient of a relay domain exists, for `peer`, who names it. `route` is the way of mail to it.
    pub async fn ask(
        &self,
        recipient: &Mailbox,
        route: &Route,
        peer: IpAddr,
    ) -> Result<Answer, store::Error> {
        let age = self.known_for(recipient).await?;
        if age.is_some_and(|age| age < secs(self.settings.callout_refresh_secs.get())) {
            return Ok(Answer::Known);
        }
        if self.is_known_as_missing(recipient) {
            return Ok(Answer::NoSuchRecipient);
        }
        let answer = self.find_out(recipient, route, peer).await;
        match answer {
            Answer::Known => self.note_known(recipient).await?,
            Answer::NoSuchRecipient => {
                self.note_missing(recipient);
                if age.is_some() && is_spelled_as_known(recipient) {
                    self.store.note_unknown(recipient).await?;
                }
            }
            // The host's last word counts as long as there is no other.
            Answer::Unreachable | Answer::NotNow if age.is_some() => return Ok(Answer::Known),
            Answer::Unreachable | Answer::NotNow => {}
        }
        Ok(answer)
    }

    /// How long ago the host said that it knows the recipient, if that still counts.
    async fn known_for(&self, recipient: &Mailbox) -> Result<Option<Duration>, store::Error> {
        let since = self.store.known_since(recipient).await?;
        let age = since.map(|since| self.clock.now().since(since));
        Ok(age.filter(|age| *age < secs(self.settings.callout_keep_secs.get())))
    }

    async fn note_known(&self, recipient: &Mailbox) -> Result<(), store::Error> {
        let now = self.clock.now();
        let expired = now.before(secs(self.settings.callout_keep_secs.get()));
        self.store.note_known(recipient, now, expired).await
    }

    async fn find_out(&self, recipient: &Mailbox, route: &Route, peer: IpAddr) -> Answer {
        // What waits for a record to be repaired, or for DNS, has no next host now.
        let Route::Smtp { tls, transport } = route else {
            return Answer::Unreachable;
        };
        let next_hop = next_hop(recipient.domain(), transport.as_deref());
        if self.outages.of(&next_hop).is_some() {
            return Answer::Unreachable;
        }
        let Some(_used) = self.peers.take(counted_as(peer), Instant::now()) else {
            return Answer::NotNow;
        };
        let patience = secs(self.settings.callout_timeout_secs.get());
        let turns_of = self.turns_of(recipient.domain());
        // That others are asked about says nothing of the host.
        let Some(_turn) = turn(&turns_of, &self.turns, patience).await else {
            return Answer::NotNow;
        };
        let (tls, transport) = (*tls, transport.as_deref());
        let report = self.asked(recipient, tls, transport).await;
        self.outages
            .note(&next_hop, report.contact, report.outcomes.first(), self.pause);
        let mut answer = judge(&report);
        let is_doubtful = answer == Answer::NoSuchRecipient && is_untold(&report);
        if is_doubtful && !self.takes_postmaster(recipient.domain(), tls, transport).await {
            answer = Answer::NotNow;
        }
        tracing::info!(
            event = observe::RELAY_CALLOUT,
            destination = %recipient.domain(),
            outcome = answer.name(),
            "a next host was asked whether it knows a recipient"
        );
        answer
    }

    /// What the host says in time.
    async fn asked(&self, recipient: &Mailbox, tls: SmtpTls, transport: Option<&Transport>) -> Report {
        let patience = secs(self.settings.callout_timeout_secs.get());
        let greeted = AtomicBool::new(false);
        let asked = self.smtp.ask(recipient, tls, transport, &greeted);
        let report = timeout(patience, asked).await;
        report.unwrap_or_else(|_| timed_out(greeted.load(Ordering::Relaxed)))
    }

    /// Every domain has a postmaster (RFC 5321 §4.5.1): a host that refuses that one, too, does not want us.
    async fn takes_postmaster(&self, domain: &Domain, tls: SmtpTls, transport: Option<&Transport>) -> bool {
        let Ok(postmaster) = Mailbox::parse(&format!("postmaster@{domain}")) else {
            return false;
        };
        judge(&self.asked(&postmaster, tls, transport).await) == Answer::Known
    }

    fn turns_of(&self, domain: &Domain) -> Arc<Semaphore> {
        let mut all = self.turns_of.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = all
            .entry(domain.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(AT_A_TIME_PER_DOMAIN)));
        Arc::clone(turns)
    }

    fn is_known_as_missing(&self, recipient: &Mailbox) -> bool {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let since = unknown.get(&recipient.to_string()).copied();
        since.is_some_and(|since| since.elapsed() < secs(self.settings.callout_refused_secs.get()))
    }

    fn note_missing(&self, recipient: &Mailbox) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let name = recipient.to_string();
        let octets = name.len() + ENTRY_OCTETS;
        unknown.insert(name, Instant::now(), octets);
    }
}

/// A turn for the domain, and one of all, if they come in time.
async fn turn<'a>(
    of_domain: &'a Semaphore,
    of_all: &'a Semaphore,
    patience: Duration,
) -> Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)> {
    let turns = async {
        let of_domain = of_domain.acquire().await.ok()?;
        Some((of_domain, of_all.acquire().await.ok()?))
    };
    timeout(patience, turns).await.ok().flatten()
}

/// Whether the name is surely the one in whose place it is looked up, and not another spelling of it.
fn is_spelled_as_known(recipient: &Mailbox) -> bool {
    let local = recipient.local();
    local.is_ascii() && !local.bytes().any(|octet| octet.is_ascii_uppercase())
}

/// Only a host's own word that it does not know the recipient says so. That the domain has no host may be a mistake in DNS.
fn judge(report: &Report) -> Answer {
    match report.outcomes.first() {
        Some(outcome) if outcome.is_success() => Answer::Known,
        Some(Outcome::Failed(diagnosis)) if is_unknown_there(diagnosis) => Answer::NoSuchRecipient,
        _ if report.contact == Contact::Unreachable => Answer::Unreachable,
        _ => Answer::NotNow,
    }
}

/// Hosts refuse recipients for other reasons as well: the mailbox is full, or they do not like this host. Codes: RFC 5321
/// §4.2.3; enhanced status: RFC 3463 §3.2, where 7 and 8 are about the sender.
fn is_unknown_there(diagnosis: &Diagnosis) -> bool {
    let is_about_mailbox = matches!(code(diagnosis), Some("550" | "551" | "553"));
    is_about_mailbox
        && told(diagnosis).is_none_or(|EnhancedStatus(class, subject, detail)| {
            (class, subject) == (5, 1) && !matches!(detail, 7 | 8)
        })
}

/// Whether the host's refusal leaves open what it is about.
fn is_untold(report: &Report) -> bool {
    match report.outcomes.first() {
        Some(Outcome::Failed(diagnosis)) => told(diagnosis).is_none(),
        _ => false,
    }
}

fn code(diagnosis: &Diagnosis) -> Option<&str> {
    diagnosis.remote.as_ref()?.reply.split(' ').next()
}

/// The enhanced status code of a reply.
fn told(diagnosis: &Diagnosis) -> Option<EnhancedStatus> {
    let status = diagnosis.remote.as_ref()?.reply.split(' ').nth(1);
    status.and_then(EnhancedStatus::parse)
}

/// A host that has greeted us is there, whatever it does at this name.
fn timed_out(greeted: bool) -> Report {
    let diagnosis = Diagnosis::local(EnhancedStatus(4, 4, 1), "the host did not answer in time");
    Report {
        contact: match greeted {
            true => Contact::Reached,
            false => Contact::Unreachable,
        },
        ..Report::same(1, &Outcome::Deferred(diagnosis))
    }
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::reply::Reply;

    fn report(outcome: &Outcome) -> Report {
        Report {
            host: Some("mx.main.test".to_owned()),
            contact: Contact::Reached,
            ..Report::same(1, outcome)
        }
    }

    fn judged(code: u16, enhanced: Option<EnhancedStatus>) -> Answer {
        let reply = Reply {
            code,
            enhanced,
            lines: vec!["No".to_owned()],
        };
        judge(&report(&Outcome::from_refusal("mx.main.test", &reply)))
    }

    #[test]
    fn only_the_word_that_there_is_no_such_mailbox_counts_as_that() {
        for code in [550, 551, 553] {
            for detail in [0, 1, 2, 3, 6, 10] {
                let answer = judged(code, Some(EnhancedStatus(5, 1, detail)));
                assert_eq!(answer, Answer::NoSuchRecipient, "{code} 5.1.{detail}");
            }
            assert_eq!(judged(code, None), Answer::NoSuchRecipient, "{code}");
        }
        for (subject, detail) in [(0, 0), (1, 7), (1, 8), (2, 1), (2, 2), (4, 6), (7, 1)] {
            let answer = judged(550, Some(EnhancedStatus(5, subject, detail)));
            assert_eq!(answer, Answer::NotNow, "550 5.{subject}.{detail}");
        }
        for code in [450, 451, 452, 500, 501, 502, 503, 521, 530, 552, 554] {
            assert_eq!(judged(code, None), Answer::NotNow, "{code}");
        }
        assert_eq!(judged(552, Some(EnhancedStatus(5, 1, 1))), Answer::NotNow);
    }

    #[test]
    fn what_the_host_was_not_asked_says_nothing_of_the_recipient() {
        let diagnosis = Diagnosis::local(EnhancedStatus(5, 6, 7), "the host does not take such addresses");
        assert_eq!(judge(&report(&Outcome::Failed(diagnosis))), Answer::NotNow);
        assert_eq!(judge(&timed_out(false)), Answer::Unreachable);
        assert_eq!(judge(&timed_out(true)), Answer::NotNow);
    }

    #[test]
    fn a_refusal_without_enhanced_status_does_not_say_what_it_is_about() {
        for (enhanced, expected) in [(None, true), (Some(EnhancedStatus(5, 1, 1)), false)] {
            let reply = Reply {
                code: 550,
                enhanced,
                lines: vec!["blocked using bl.example".to_owned()],
            };
            let outcome = Outcome::from_refusal("mx.main.test", &reply);
            assert_eq!(is_untold(&report(&outcome)), expected, "{enhanced:?}");
        }
    }

    #[test]
    fn another_spelling_does_not_stand_for_the_one_that_is_known() {
        for (name, is_as_known) in [
            ("kate@main.test", true),
            ("\"a b\"@MAIN.test", true),
            ("Kate@main.test", false),
            ("\u{212a}ate@main.test", false),
            ("\u{e9}va@main.test", false),
        ] {
            let recipient: Mailbox = name.parse().unwrap();
            assert_eq!(is_spelled_as_known(&recipient), is_as_known, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_in_time_is_none() {
        let patience = Duration::from_secs(20);
        let [domain, all, none] = [1, 2, 0].map(Semaphore::new);
        let first = turn(&domain, &all, patience).await;
        assert!(first.is_some());
        assert!(turn(&domain, &all, patience).await.is_none());
        drop(first);
        assert!(turn(&domain, &none, patience).await.is_none());
        assert!(turn(&domain, &all, patience).await.is_some());
    }
}
