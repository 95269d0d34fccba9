#![allow(clippy::unwrap_used)]

use tokio::task::yield_now;

use super::*;
use crate::base::id::QueueId;
use crate::base::time::ManualClock;
use crate::crypto::at_rest::Key;
use crate::delivery::windows::Hosts;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::notify::MessageRequest;
use crate::store::sqlite::SqliteStore;
use crate::store::{Addressee, Content, Desk as _, Envelope, MasterKey, NewMessage, Source, Spool as _};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const LEASE: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(60);

/// Attempts that last until they are let go.
struct Waiting {
    begun: AtomicUsize,
    end: Semaphore,
}

impl Waiting {
    async fn until_begun(&self, count: usize) {
        let begun = async {
            while self.begun.load(Ordering::SeqCst) < count {
                yield_now().await;
            }
        };
        timeout(PATIENCE, begun).await.unwrap();
    }
}

#[async_trait]
impl Attempt for Waiting {
    async fn attempt(&self, claim: &Claim, _times: Times) -> Settled {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.end.acquire().await.unwrap().forget();
        let delivered = |recipient: &crate::store::ClaimedRecipient| Settlement {
            recipient: recipient.id,
            state: SettledState::Delivered,
            note: String::new(),
            instead: Vec::new(),
        };
        Settled {
            settlements: claim.recipients.iter().map(delivered).collect(),
            ..Settled::default()
        }
    }

    async fn panicked(&self, _claim: &Claim) -> Settled {
        Settled::default()
    }
}

fn message(domain: &str) -> FollowUp {
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

#[tokio::test]
async fn what_is_claimed_waits_for_a_slot_that_the_desk_has_given_away_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let master = MasterKey::new(Key::from_bytes([1; 32]));
    let path = folder.path().join("dimed.db");
    let opened = SqliteStore::open(&path, master, clock.clone());
    let store = Arc::new(opened.await.unwrap());
    for domain in ["plain.test", "elsewhere.test"] {
        store.enqueue(message(domain)).await.unwrap();
    }
    let waiting = Arc::new(Waiting {
        begun: AtomicUsize::new(0),
        end: Semaphore::new(0),
    });
    let runner = Arc::new(Runner::new(
        Arc::clone(&store) as _,
        clock,
        Arc::clone(&waiting) as _,
        2,
        Destinations::new(2, Arc::new(Hosts::new(2))),
        LEASE,
    ));
    let first = Arc::clone(&runner.slots).acquire_owned().await.unwrap();
    // There are two slots, so two are claimed, and meanwhile something comes in.
    let claims = store.claim(NOW, NOW.after(LEASE), 2).await.unwrap();
    assert_eq!(claims.len(), 2);
    runner.others_wait.store(false, Ordering::Relaxed);
    let desk = RunnersDesk(Arc::downgrade(&runner));
    let seat = desk.reserve(&"hismail.test".parse().unwrap(), false).unwrap();
    runner.start(claims, first);
    waiting.until_begun(1).await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(waiting.begun.load(Ordering::SeqCst), 1);
    drop(seat);
    waiting.until_begun(2).await;
    waiting.end.add_permits(2);
    runner.tasks.close();
    timeout(PATIENCE, runner.tasks.wait()).await.unwrap();
    assert_eq!(runner.slots.available_permits(), 2);
    assert_eq!(store.next_due().await.unwrap(), None);
}
