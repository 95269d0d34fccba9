//! A fault of ours ends what it is in, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dimed::queue::attempt::Mailer;
use dimed::queue::runner::{Attempt, Runner, Settled, Times};
use dimed::queue::windows::Destinations;
use dimed::store::Claim;
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;
use crate::support::organization::Organization;
use crate::support::world::World;

struct Panics {
    mailer: Mailer,
    count: AtomicUsize,
}

#[async_trait]
impl Attempt for Panics {
    async fn attempt(&self, _claim: &Claim, _times: Times) -> Settled {
        self.count.fetch_add(1, Ordering::SeqCst);
        panic!("as this test wants it");
    }

    async fn panicked(&self, claim: &Claim) -> Settled {
        self.mailer.panicked(claim).await
    }
}

/// Waits until what waits has been tried that often at least, and is not being tried; how often it has been.
async fn until_tried(hismail: &Organization, times: usize) -> usize {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = hismail.cli(&["queue", "list"]).await;
        if let Some(tried) = tried(&listed).filter(|tried| *tried >= times) {
            return tried;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tried(listed: &str) -> Option<usize> {
    let (_, rest) = listed.split_once("tried ")?;
    let (times, then) = rest.split_once(" times, ")?;
    then.starts_with("due").then(|| times.parse().unwrap())
}

/// The lease would end in an hour.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_panics_is_made_again_later_and_not_when_its_lease_ends() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.build().await;
    hismail.block_mailbox("bob");
    let served = hismail.start().await;
    let letter = "From: bob@hismail.test\r\n\r\nwaits\r\n";
    hismail.submit("bob", &["bob@hismail.test"], letter).await;
    until_tried(&hismail, 1).await;
    served.stop().await;
    let before = until_tried(&hismail, 1).await;

    let services = hismail.services().await;
    let mailer = services.mailer();
    let hosts = Arc::clone(&mailer.smtp.hosts);
    let panics = Arc::new(Panics {
        mailer,
        count: AtomicUsize::new(0),
    });
    let runner = Runner::new(
        Arc::clone(&services.store),
        Arc::clone(&services.clock),
        Arc::clone(&panics) as _,
        2,
        Destinations::new(2, hosts),
        Duration::from_secs(3600),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner.run(stop.clone()));
    until_tried(&hismail, before + 2).await;
    stop.cancel();
    running.await.unwrap();
    let after = until_tried(&hismail, before + 2).await;
    assert_eq!(panics.count.load(Ordering::SeqCst), after - before);
    drop(services);

    // It is as good as before.
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    let served = hismail.start().await;
    assert!(hismail.maildir("bob").only().await.ends_with("waits\r\n"));
    hismail.idle().await;
    served.stop().await;
}
