//! An observer that keeps what it saw.

use std::sync::Mutex;

use dimed::base::id::QueueId;
use dimed::mail::address::Mailbox;
use dimed::queue::observer::Observer;
use dimed::routing::Decision;

/// Keeps objects and decisions.
#[derive(Debug, Default)]
pub struct Witness {
    objects: Mutex<Vec<Vec<u8>>>,
    routes: Mutex<Vec<(String, String)>>,
}

impl Witness {
    /// What arrived over DMTP.
    pub fn objects(&self) -> Vec<Vec<u8>> {
        self.objects.lock().unwrap().clone()
    }

    /// The kinds of route taken to a mailbox, one for each decision.
    pub fn routes_to(&self, mailbox: &str) -> Vec<String> {
        let routes = self.routes.lock().unwrap();
        let matching = routes.iter().filter(|(recipient, _)| recipient == mailbox);
        matching.map(|(_, kind)| kind.clone()).collect()
    }
}

impl Observer for Witness {
    fn routed(&self, _message: QueueId, recipient: &Mailbox, decision: &Decision) {
        let route = (recipient.to_string(), decision.route.kind().to_string());
        self.routes.lock().unwrap().push(route);
    }

    fn watches_objects(&self) -> bool {
        true
    }

    fn object_arrived(&self, octets: &[u8]) {
        self.objects.lock().unwrap().push(octets.to_vec());
    }
}
