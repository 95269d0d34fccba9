//! The spool on SQLite, synced to disk: enqueueing alone and together, and claiming from a short and a long queue.

#![allow(missing_docs, clippy::unwrap_used)] // generated items have no documentation; a bench may panic

use std::sync::Arc;
use std::time::Duration;

use dimed::base::id::QueueId;
use dimed::base::time::{Clock, SystemClock};
use dimed::crypto::at_rest::Key;
use dimed::mail::address::{Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::store::sqlite::SqliteStore;
use dimed::store::{Content, Envelope, FollowUp, MasterKey, NewMessage, Source, Spool};
use divan::Bencher;
use divan::counter::ItemsCount;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const BODY_BYTES: usize = 4096;

fn main() {
    divan::main();
}

/// A store in a folder of its own, and the runtime its writer lives on.
struct Bed {
    runtime: Runtime,
    store: SqliteStore,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        // Not in the folder for temporary files, which may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let master = MasterKey::new(Key::from_bytes([1; 32]));
        let path = folder.path().join("dimed.db");
        let opened = SqliteStore::open(&path, master, Arc::new(SystemClock));
        let store = runtime.block_on(opened).unwrap();
        Self {
            runtime,
            store,
            _folder: folder,
        }
    }

    /// Enqueues from several sessions at once.
    fn enqueue(&self, sessions: usize, each: usize) {
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for session in 0..sessions {
                let store = self.store.clone();
                tasks.spawn(async move {
                    for number in 0..each {
                        store.enqueue(message(session + number)).await.unwrap();
                    }
                });
            }
            tasks.join_all().await;
        });
    }
}

fn message(number: usize) -> FollowUp {
    let now = SystemClock.now();
    let mailbox = |text: &str| Mailbox::parse(text).unwrap();
    FollowUp {
        message: NewMessage {
            id: QueueId::random(&mut rand::rng()),
            envelope: Envelope {
                reverse_path: ReversePath(Some(mailbox("alice@hermail.test"))),
                source: Source::Smtp,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![mailbox(&format!("bob@d{}.test", number % 100)).into()],
            accepted_at: now,
            due_at: now,
            ticket: None,
        },
        body: vec![b'x'; BODY_BYTES].into(),
        replay: None,
    }
}

/// Messages per second that reach the disk before they are acknowledged.
#[divan::bench(args = [1, 20, 200], sample_count = 5, sample_size = 1)]
fn enqueue(bencher: Bencher, sessions: usize) {
    const EACH: usize = 20;
    let bed = Bed::new();
    bencher
        .counter(ItemsCount::new(sessions * EACH))
        .bench_local(|| bed.enqueue(sessions, EACH));
}

/// Groups claimed from a queue of that length. The figure for a long queue is to be that of a short one.
#[divan::bench(args = [200, 20_000, 1_000_000], sample_count = 10, sample_size = 1)]
fn claim(bencher: Bencher, queued: usize) {
    const GROUPS: usize = 20;
    let bed = Bed::new();
    bed.enqueue(100, queued / 100);
    bencher.counter(ItemsCount::new(GROUPS)).bench_local(|| {
        let now = SystemClock.now();
        let until = now.after(Duration::from_secs(3600));
        let claims = bed.runtime.block_on(bed.store.claim(now, until, GROUPS)).unwrap();
        assert_eq!(claims.len(), GROUPS);
    });
}
