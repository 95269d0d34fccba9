//! Looks over a daemon's shoulder: what it decided, and what came off the wire.

use std::sync::{Mutex, PoisonError};

use crate::base::id::QueueId;
use crate::mail::address::Mailbox;
use crate::queue::observer::Observer;
use crate::routing::Decision;

/// Remembers everything one daemon reports.
#[derive(Default)]
pub struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    decisions: Vec<(QueueId, Mailbox, Decision)>,
    objects: Vec<Vec<u8>>,
}

impl Watch {
    /// What was decided for a recipient of a message, in order, without repetitions.
    pub fn decisions(&self, message: QueueId, recipient: &Mailbox) -> Vec<Decision> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_message = seen
            .decisions
            .iter()
            .filter(|(id, mailbox, _)| *id == message && mailbox == recipient);
        let mut decisions: Vec<Decision> = of_message.map(|(_, _, decision)| decision.clone()).collect();
        decisions.dedup();
        decisions
    }

    /// The objects that have come over DMTP so far.
    pub fn objects(&self) -> Vec<Vec<u8>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.objects.clone()
    }
}

impl Observer for Watch {
    fn routed(&self, message: QueueId, recipient: &Mailbox, decision: &Decision) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.decisions
            .push((message, recipient.clone(), decision.clone()));
    }

    fn watches_objects(&self) -> bool {
        true
    }

    fn object_arrived(&self, octets: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.objects.push(octets.to_vec());
    }
}
