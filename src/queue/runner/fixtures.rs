#![allow(clippy::unwrap_used)]

//! A runner with two slots on a store of its own, and mail for it.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::{Attempt, Runner};
use crate::base::id::QueueId;
use crate::base::time::{ManualClock, Timestamp};
use crate::crypto::at_rest::Key;
use crate::delivery::windows::Hosts;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::notify::MessageRequest;
use crate::queue::windows::Destinations;
use crate::store::sqlite::SqliteStore;
use crate::store::{Addressee, Content, Envelope, FollowUp, MasterKey, NewMessage, Source};

pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(super) const LEASE: Duration = Duration::from_secs(600);

pub(super) struct Bed {
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<SqliteStore>,
    pub(super) runner: Arc<Runner>,
    _folder: TempDir,
}

impl Bed {
    pub(super) async fn new(attempt: Arc<dyn Attempt>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let master = MasterKey::new(Key::from_bytes([1; 32]));
        let path = folder.path().join("dimed.db");
        let opened = SqliteStore::open(&path, master, clock.clone()).await;
        let store = Arc::new(opened.unwrap());
        let windows = Destinations::new(2, Arc::new(Hosts::new(2)));
        let runner = Runner::new(Arc::clone(&store) as _, clock.clone(), attempt, 2, windows, LEASE);
        Self {
            clock,
            store,
            runner: Arc::new(runner),
            _folder: folder,
        }
    }
}

/// One that is due now.
pub(super) fn message(domain: &str) -> FollowUp {
    let path: Mailbox = format!("bob@{domain}").parse().unwrap();
    let message = NewMessage {
        id: QueueId::random(&mut rand::rng()),
        envelope: Envelope {
            reverse_path: ReversePath::NULL,
            source: Source::Local,
            smtputf8: false,
            eight_bit: false,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        },
        content: Content::Mime,
        recipients: vec![Addressee::from(path)],
        accepted_at: NOW,
        due_at: NOW,
        ticket: None,
    };
    FollowUp::new(message, b"Subject: x\r\n\r\ny\r\n".to_vec())
}
