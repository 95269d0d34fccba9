//! Stopping in stages, by a real signal to a real process.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::eventually;
use crate::support::loopback::{DMTP, SMTP};
use crate::support::talk::Talk;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_idle_sessions_and_lets_transactions_finish() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.server.shutdown_grace_secs = 50)
        .build()
        .await;
    let mut daemon = hismail.spawn().await;
    let mut idle = Talk::smtp(hismail.ip).await;
    let mut undecided = Talk::open(hismail.ip, SMTP).await;
    undecided.expect("220 ").await;
    let mut sealed = Talk::dmtp(hismail.ip, "hermail.test").await;
    let mut busy = Talk::smtp(hismail.ip).await;
    busy.ask("MAIL FROM:<carol@plain.test>", "250").await;
    busy.ask("RCPT TO:<bob@hismail.test>", "250").await;
    busy.ask("DATA", "354").await;
    busy.send(b"From: carol@plain.test\r\n\r\nfirst half\r\n").await;

    let begun = Instant::now();
    daemon.terminate();
    for talk in [&mut idle, &mut undecided, &mut sealed] {
        talk.expect("421").await;
        talk.expect_end().await;
    }
    for port in [SMTP, DMTP] {
        let refused = || std::net::TcpStream::connect((hismail.ip, port)).err();
        eventually("the end of listening", refused).await;
    }
    daemon.check();
    busy.send(b"second half\r\n").await;
    busy.ask(".", "250").await;
    busy.expect("421").await;
    busy.expect_end().await;
    let status = daemon.ended().await;
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    for event in ["daemon.started", "daemon.stopped"] {
        assert_eq!(
            daemon.log().matches(event).count(),
            1,
            "{event}: {}",
            daemon.log()
        );
    }

    let _daemon = hismail.spawn().await;
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        delivered.ends_with("\r\n\r\nfirst half\r\nsecond half\r\n"),
        "{delivered}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_end_is_dropped_when_the_grace_is_over() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.server.shutdown_grace_secs = 1)
        .build()
        .await;
    let mut daemon = hismail.spawn().await;
    let mut stuck = Talk::smtp(hismail.ip).await;
    stuck.ask("MAIL FROM:<carol@plain.test>", "250").await;
    stuck.ask("RCPT TO:<bob@hismail.test>", "250").await;
    stuck.ask("DATA", "354").await;
    let begun = Instant::now();
    daemon.terminate();
    let status = daemon.ended().await;
    assert!(status.success(), "{status}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(daemon.log().contains("daemon.grace_over"), "{}", daemon.log());
    stuck.expect_end().await;
    assert_eq!(hismail.maildir("bob").count(), 0);
}
