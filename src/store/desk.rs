//! Mail that is worked on as soon as it is accepted, without being claimed from the database first.

use std::fmt;

use super::Claim;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;

/// Who works on mail at once.
pub trait Desk: Send + Sync {
    /// A seat for a message to that destination, which may be one of ours. `None` if it has to wait in the queue: because there is no
    /// room, or because others wait there.
    fn reserve(&self, destination: &Domain, is_ours: bool) -> Option<Seat>;
}

/// Room for one message; given back when it is dropped.
pub struct Seat {
    leased_until: Timestamp,
    begin: Box<dyn FnOnce(Claim) + Send>,
}

impl Seat {
    /// `begin` is called once the message is durable, and leased until then.
    pub fn new(leased_until: Timestamp, begin: Box<dyn FnOnce(Claim) + Send>) -> Self {
        Self { leased_until, begin }
    }

    /// When the lease is to end.
    pub fn leased_until(&self) -> Timestamp {
        self.leased_until
    }

    /// The message is there.
    pub fn begin(self, claim: Claim) {
        (self.begin)(claim);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.leased_until).finish()
    }
}
