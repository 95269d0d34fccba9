//! A message far larger than the memory that the daemons may take for it.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

/// Octets of the body.
const BODY: usize = 100 << 20;

/// The most that a daemon's peak may be above what it has when idle, in KiB.
const ALLOWED_KIB: u64 = 48 << 10;

/// How long sealing, transfer and opening may take on a machine that is very busy.
const LONGEST: Duration = Duration::from_secs(300);

async fn organization(world: &World, name: &str, account: &str) -> Organization {
    world
        .organization(name)
        .accounts(&[account])
        .config(|config| config.limits.message_bytes = NonZeroU64::new(160 << 20).unwrap())
        .build()
        .await
}

/// Lines that differ from each other, so that nothing lost or moved goes unnoticed.
fn body() -> Vec<u8> {
    let mut body = Vec::with_capacity(BODY + 80);
    let mut number = 0_u64;
    while body.len() < BODY {
        number += 1;
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        body.extend_from_slice(format!("{number:>12} {scattered:016x} {:>44}\r\n", "line").as_bytes());
    }
    body
}

async fn submit(from: &Organization, header: &[u8], body: &[u8]) {
    let mut talk = Talk::submission(from.ip, "alice@hermail.test").await;
    talk.ask("MAIL FROM:<alice@hermail.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    talk.ask("DATA", "354").await;
    talk.send(header).await;
    for part in body.chunks(1 << 20) {
        talk.send(part).await;
    }
    talk.ask(".", "250").await;
    talk.ask("QUIT", "221").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_100_mib_is_sealed_and_opened_in_bounded_memory() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    let idle = [here.resident_kib(), there.resident_kib()];
    here.forget_peak();
    there.forget_peak();

    let header = b"Date: Tue, 3 Jun 2025 10:00:00 +0200\r\nFrom: Alice <alice@hermail.test>\r\n\
        To: Bob <bob@hismail.test>\r\nSubject: large\r\nMessage-ID: <large@hermail.test>\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n";
    let body = body();
    submit(&hermail, header, &body).await;
    let deadline = Instant::now() + LONGEST;
    while hismail.maildir("bob").count() == 0 {
        assert!(Instant::now() < deadline, "waited in vain: {}", here.log());
        sleep(Duration::from_millis(100)).await;
    }
    let delivered = hismail.maildir("bob").only().await.into_bytes();
    let peaks = [here.peak_kib(), there.peak_kib()];

    let start = delivered.len() - body.len();
    assert!(delivered[start..] == body[..], "the body came back changed");
    let header = std::str::from_utf8(&delivered[..start]).unwrap();
    assert!(header.ends_with("\r\n\r\n"), "{header}");
    assert!(header.contains("result=pass; format=2; suite=xwing"), "{header}");
    for (daemon, (idle, peak)) in ["hermail", "hismail"].iter().zip(idle.iter().zip(peaks)) {
        let above = peak.saturating_sub(*idle);
        println!("{daemon}: {idle} KiB idle, {above} KiB above at the peak");
        assert!(above < ALLOWED_KIB, "{daemon}: {above} KiB above {idle} KiB idle");
    }
}
