//! A window for the demo and for tests: what was decided, and what came off the wire.

use crate::base::id::QueueId;
use crate::mail::address::Mailbox;
use crate::routing::Decision;

/// Is told of things as they happen. The daemon itself has no use for it, hence the empty default.
pub trait Observer: Send + Sync {
    /// A route was chosen for one recipient of a message.
    fn routed(&self, _message: QueueId, _recipient: &Mailbox, _decision: &Decision) {}

    /// Whether [`object_arrived`](Self::object_arrived) is to be told; for that, objects are held whole.
    fn watches_objects(&self) -> bool {
        false
    }

    /// These octets arrived as a message over DMTP; nothing has been checked yet.
    fn object_arrived(&self, _octets: &[u8]) {}
}

/// Looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Observer for Nobody {}
