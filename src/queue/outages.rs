//! Next hosts that are not there. Every message waits by itself for its next attempt, and none of them shall have to find
//! out again what the one before it has just found out.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::delivery::{Contact, Diagnosis, Outcome};
use crate::mail::address::Domain;
use crate::routing::Transport;

/// The longest time for which a next host is left alone. Mail for it that comes meanwhile waits without an attempt.
const LONGEST: Duration = Duration::from_secs(600);

/// A host that took something not longer ago is there, whatever it says to one session more: that it has enough of them, say.
const ANSWERED: Duration = Duration::from_secs(30);

/// Outages remembered; beyond that nobody is left alone.
const MOST: usize = 10_000;

/// What is known of next hosts that did not answer.
#[derive(Default)]
pub struct Outages {
    known: Mutex<HashMap<String, Outage>>,
    /// When next hosts last answered, lately.
    answered: Mutex<HashMap<String, Instant>>,
}

#[derive(Debug)]
struct Outage {
    failures: u32,
    until: Instant,
    why: Diagnosis,
}

/// Where mail for a domain is taken by SMTP: what is not there for one of those mails is not there for the others.
pub fn next_hop(destination: &Domain, transport: Option<&Transport>) -> String {
    match transport {
        Some(transport) => transport.to_string(),
        None => destination.to_string(),
    }
}

impl Outages {
    /// Why the next host is left alone now, if it is.
    pub fn of(&self, next_hop: &str) -> Option<Diagnosis> {
        self.at(next_hop, Instant::now())
    }

    fn at(&self, next_hop: &str, now: Instant) -> Option<Diagnosis> {
        let known = self.locked();
        let outage = known.get(next_hop).filter(|outage| now < outage.until)?;
        Some(Diagnosis {
            text: format!("{}; it is left alone for a while", outage.why.text),
            ..outage.why.clone()
        })
    }

    /// Learns from an attempt. The message that found a host missing waits for `retry_first` before it is tried again. Others wait
    /// for a little less, so that it is the first to find out.
    pub fn note(&self, next_hop: &str, contact: Contact, outcome: Option<&Outcome>, retry_first: Duration) {
        self.note_at(next_hop, contact, (outcome, retry_first), Instant::now());
    }

    fn note_at(
        &self,
        next_hop: &str,
        contact: Contact,
        (outcome, retry_first): (Option<&Outcome>, Duration),
        now: Instant,
    ) {
        let has_answered = self.has_answered(next_hop, contact, now);
        let mut known = self.locked();
        match (contact, outcome) {
            (Contact::Unknown, _) => {}
            (Contact::Unreachable, _) if has_answered => {}
            (Contact::Unreachable, Some(Outcome::Deferred(why))) => {
                if known.len() >= MOST {
                    known.retain(|_, outage| now < outage.until);
                }
                let failures = known.get(next_hop).map_or(0, |outage| outage.failures);
                if known.len() < MOST || failures > 0 {
                    let outage = Outage {
                        failures: failures.saturating_add(1),
                        until: now + pause(retry_first, failures),
                        why: why.clone(),
                    };
                    known.insert(next_hop.to_owned(), outage);
                }
            }
            _ => {
                known.remove(next_hop);
            }
        }
    }

    /// Whether the next host answered lately. An answer is remembered.
    fn has_answered(&self, next_hop: &str, contact: Contact, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < ANSWERED;
        let mut answered = self
            .answered
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if matches!(contact, Contact::Reached | Contact::Busy) {
            if answered.len() >= MOST {
                answered.retain(|_, at| is_recent(*at));
            }
            if answered.len() < MOST {
                answered.insert(next_hop.to_owned(), now);
            }
        }
        answered.get(next_hop).copied().is_some_and(is_recent)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Outage>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn pause(retry_first: Duration, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
    (retry_first * 3 / 4).saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::reply::EnhancedStatus;

    const HOP: &str = "plain.test";
    const FIRST: Duration = Duration::from_secs(200);

    fn unreachable() -> Outcome {
        Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 1), "nobody is there"))
    }

    #[test]
    fn a_host_that_is_not_there_is_left_alone_longer_and_longer_until_it_is_back() {
        let outages = Outages::default();
        let mut now = Instant::now();
        for secs in [150, 300, 600, 600] {
            assert_eq!(outages.at(HOP, now), None);
            outages.note_at(HOP, Contact::Unreachable, (Some(&unreachable()), FIRST), now);
            let why = outages.at(HOP, now).unwrap();
            assert_eq!(why.text, "nobody is there; it is left alone for a while");
            assert_eq!(outages.at("other.test", now), None);
            now += Duration::from_secs(secs);
            assert!(
                outages.at(HOP, now - Duration::from_millis(1)).is_some(),
                "{secs}"
            );
        }
        outages.note_at(HOP, Contact::Reached, (None, FIRST), now);
        outages.note_at(HOP, Contact::Unreachable, (Some(&unreachable()), FIRST), now);
        assert_eq!(outages.at(HOP, now), None, "it is there for others");
        now += ANSWERED;
        outages.note_at(HOP, Contact::Unreachable, (Some(&unreachable()), FIRST), now);
        assert!(outages.at(HOP, now).is_some());
        assert_eq!(outages.at(HOP, now + Duration::from_secs(150)), None);
    }

    #[test]
    fn what_says_nothing_of_the_host_changes_nothing() {
        let outages = Outages::default();
        let now = Instant::now();
        outages.note_at(HOP, Contact::Unknown, (Some(&unreachable()), FIRST), now);
        assert_eq!(outages.at(HOP, now), None);
        outages.note_at(HOP, Contact::Unreachable, (Some(&unreachable()), FIRST), now);
        outages.note_at(HOP, Contact::Unknown, (None, FIRST), now);
        assert!(outages.at(HOP, now).is_some());
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let outages = Outages::default();
        let now = Instant::now();
        for number in 0..MOST + 10 {
            outages.note_at(
                &number.to_string(),
                Contact::Unreachable,
                (Some(&unreachable()), FIRST),
                now,
            );
        }
        assert_eq!(outages.locked().len(), MOST);
        let later = now + LONGEST;
        outages.note_at(HOP, Contact::Unreachable, (Some(&unreachable()), FIRST), later);
        assert_eq!(outages.locked().len(), 1);
    }
}
