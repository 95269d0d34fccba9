//! Whether the next host of a relay domain knows a recipient, found out by asking it, and remembered.
//!
//! | What strangers can cause | Bound |
//! |---|---|
//! | questions at a time | 20, and 5 for one domain; others wait for a turn |
//! | time of one, its turn included | `relay.callout_timeout_secs` |
//! | questions of one network (IPv4: an address, IPv6: a /64) | 100, and one more every 10 s |
//! | recipients known | on disk, 100,000; the oldest are forgotten |
//! | recipients unknown | in memory, 1 MiB |
//! | a host that does not answer | left alone for a while, as in the queue |

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
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
use crate::routing::Route;
use crate::store::{self, Store, fold};

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
    turns: Semaphore,
    /// Of relay domains alone, so that strangers add none.
    turns_of: Mutex<HashMap<Domain, Arc<Semaphore>>>,
    peers: Allowance<IpAddr>,
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
            outages: Outages::new(pause),
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
            Answer::Known => {
                let now = self.clock.now();
                let expired = now.before(secs(self.settings.callout_keep_secs.get()));
                self.store.note_known(recipient, now, expired).await?;
            }
            Answer::NoSuchRecipient => {
                self.note_missing(recipient);
                if age.is_some() {
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
        let turns_of = self.turns_of(recipient.domain());
        let asked = async {
            let _turn_of = turns_of.acquire().await.ok();
            let _turn = self.turns.acquire().await.ok();
            self.smtp.ask(recipient, *tls, transport.as_deref()).await
        };
        let patience = secs(self.settings.callout_timeout_secs.get());
        let report = timeout(patience, asked).await;
        let report = report.unwrap_or_else(|_| timed_out());
        self.outages
            .note(&next_hop, report.contact, report.outcomes.first());
        let answer = judge(&report);
        tracing::info!(
            event = observe::RELAY_CALLOUT,
            destination = %recipient.domain(),
            outcome = answer.name(),
            "a next host was asked whether it knows a recipient"
        );
        answer
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
        let since = unknown.get(&fold(recipient)).copied();
        since.is_some_and(|since| since.elapsed() < secs(self.settings.callout_refused_secs.get()))
    }

    fn note_missing(&self, recipient: &Mailbox) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let name = fold(recipient);
        let octets = name.len() + ENTRY_OCTETS;
        unknown.insert(name, Instant::now(), octets);
    }
}

/// Only a host's own refusal of the recipient says that there is none. That the domain has no host may be a mistake in DNS.
fn judge(report: &Report) -> Answer {
    match report.outcomes.first() {
        Some(outcome) if outcome.is_success() => Answer::Known,
        Some(Outcome::Failed(_)) if report.host.is_some() => Answer::NoSuchRecipient,
        _ if report.contact == Contact::Unreachable => Answer::Unreachable,
        _ => Answer::NotNow,
    }
}

fn timed_out() -> Report {
    let diagnosis = Diagnosis::local(EnhancedStatus(4, 4, 1), "the host did not answer in time");
    Report {
        contact: Contact::Unreachable,
        ..Report::same(1, &Outcome::Deferred(diagnosis))
    }
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
