//! A delivery into a Maildir that was made and never recorded is made again, by another node or after a restart: the user has one
//! copy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dimed::base::id::QueueId;
use dimed::base::time::Timestamp;
use dimed::config::Config;
use dimed::daemon::Services;
use dimed::mail::address::{Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::queue::runner::{Attempt, Times};
use dimed::store::{Addressee, Content, Envelope, FollowUp, NewMessage, SettledState, Source};

use crate::support::observer::Witness;
use crate::support::organization::Organization;
use crate::support::world::World;

const LEASE: Duration = Duration::from_secs(600);

async fn enqueue(services: &Services, now: Timestamp) {
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
        recipients: vec![Addressee::from(Mailbox::parse("bob@hismail.test").unwrap())],
        accepted_at: now,
        due_at: now,
        ticket: None,
    };
    let body = b"Subject: once\r\n\r\nHello\r\n".to_vec();
    services
        .store
        .enqueue(FollowUp::new(message, body))
        .await
        .unwrap();
}

/// Delivers, and dies before that is recorded. Returns how many attempts were counted before.
async fn deliver_and_die(services: &Services, now: Timestamp) -> u32 {
    let claim = services
        .store
        .claim(now, now.after(LEASE), 1)
        .await
        .unwrap()
        .remove(0);
    let settled = services.mailer().attempt(&claim, Times::from_now(LEASE)).await;
    assert_eq!(settled.settlements[0].state, SettledState::Delivered);
    claim.recipients[0].attempts
}

/// Everything in bob's mailbox.
fn found(hismail: &Organization) -> Vec<PathBuf> {
    let folder = hismail.maildir("bob").0;
    let entries = ["new", "cur"].map(|part| std::fs::read_dir(folder.join(part)).unwrap());
    entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_and_not_recorded_is_there_once_after_others_have_delivered_it_too() {
    let world = World::new().await;
    let builder = world.organization("hismail.test").plain().accounts(&["bob"]);
    let hismail = builder.build().await;
    let services = hismail.services().await;
    let now = services.clock.now();
    enqueue(&services, now).await;
    assert_eq!(deliver_and_die(&services, now).await, 0);
    let delivered = found(&hismail);
    let [path] = &delivered[..] else {
        panic!("{delivered:?}")
    };
    // The user reads it.
    let name = format!("{}:2,FS", path.file_name().unwrap().to_str().unwrap());
    let read = hismail.maildir("bob").0.join("cur").join(name);
    std::fs::rename(path, &read).unwrap();

    // The only daemon of a database ends all leases when it starts.
    let host = &services.config.server.hostname;
    assert_eq!(services.store.join(host, LEASE, now).await.unwrap(), 1);
    assert_eq!(deliver_and_die(&services, now).await, 1);
    assert_eq!(found(&hismail), std::slice::from_ref(&read));

    // Another node waits until a lease has run out.
    let mut config = Config::load(&hismail.config).unwrap();
    config.server.hostname = "mx2.hismail.test".parse().unwrap();
    let other = Services::open(config, Arc::new(Witness::default()))
        .await
        .unwrap();
    let later = now.after(LEASE + Duration::from_secs(1));
    assert_eq!(deliver_and_die(&other, later).await, 2);
    assert_eq!(found(&hismail), [read]);
}
