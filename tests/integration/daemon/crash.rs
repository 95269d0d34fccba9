//! The daemon is killed while messages are being submitted; none that was acknowledged is lost (RFC 5321 §6.1).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::loopback::SMTP;
use crate::support::maildir::split;
use crate::support::world::World;

const MESSAGES: usize = 200;
const SESSIONS: usize = 8;
/// A kill comes after so many messages have been acknowledged since the last one.
const ACKNOWLEDGED: std::ops::Range<usize> = 10..40;

/// What became of the messages, by number.
#[derive(Default)]
struct Ledger {
    next: usize,
    acknowledged: BTreeSet<usize>,
    /// Sent whole, and not answered yet.
    in_flight: BTreeSet<usize>,
}

impl Ledger {
    fn take(&mut self) -> Option<usize> {
        let number = self.next;
        self.next += 1;
        (number < MESSAGES).then_some(number)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_message_is_lost_when_the_daemon_is_killed() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let mut rng = StdRng::seed_from_u64(2);
    let ledger = Arc::<Mutex<Ledger>>::default();
    let mut kills = 0;
    let mut caught = 0;
    while ledger.lock().unwrap().next < MESSAGES {
        let mut daemon = hismail.spawn().await;
        let goal = ledger.lock().unwrap().acknowledged.len() + rng.random_range(ACKNOWLEDGED);
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|_| tokio::spawn(session(hismail.ip, Arc::clone(&ledger))))
            .collect();
        eventually("acknowledgements", || {
            let ledger = ledger.lock().unwrap();
            let over = ledger.next >= MESSAGES && ledger.in_flight.is_empty();
            let due = ledger.acknowledged.len() >= goal && !ledger.in_flight.is_empty();
            (over || due).then_some(())
        })
        .await;
        daemon.kill();
        for session in sessions {
            session.await.unwrap();
        }
        kills += 1;
        caught += std::mem::take(&mut ledger.lock().unwrap().in_flight).len();
    }
    assert!(kills >= 3, "{kills} kills");
    assert!(caught > 0, "no transaction was in flight at any of {kills} kills");

    let mut daemon = hismail.spawn().await;
    let acknowledged = ledger.lock().unwrap().acknowledged.clone();
    eventually("the queue to empty", || {
        daemon.check();
        let found = delivered(&hismail.maildir("bob").messages());
        acknowledged
            .iter()
            .all(|number| found.contains_key(number))
            .then_some(())
    })
    .await;
    hismail.idle().await;
    let found = delivered(&hismail.maildir("bob").messages());
    let duplicates: usize = found.values().map(|count| count - 1).sum();
    println!(
        "{kills} kills, {caught} transactions in flight; {} of {MESSAGES} acknowledged, all delivered; \
         {} delivered without acknowledgement, {duplicates} duplicates",
        acknowledged.len(),
        found.len() - acknowledged.len(),
    );
}

/// Sealed mail drains from one spool to the other while both daemons are killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn no_sealed_message_is_lost_when_either_daemon_is_killed() {
    const COUNT: usize = 40;
    let world = World::new().await;
    let quick = |config: &mut dimed::config::Config| {
        config.queue.retry_max_secs = std::num::NonZeroU64::new(1).unwrap();
    };
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(quick).build().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.policy("mixed").build().await;
    let mut here = hermail.spawn().await;
    for number in 0..COUNT {
        let message = format!("From: alice@hermail.test\r\n\r\n{}", body(number));
        hermail.submit("alice", &["bob@hismail.test"], &message).await;
    }
    let mut there = hismail.spawn().await;
    let maildir = hismail.maildir("bob");
    let mut midway = 0;
    for (round, goal) in [5, 12, 20, 30].into_iter().enumerate() {
        eventually("some deliveries", || (maildir.count() >= goal).then_some(())).await;
        midway += usize::from(maildir.count() < COUNT);
        match round % 2 {
            0 => {
                there.kill();
                there = hismail.spawn().await;
            }
            _ => {
                here.kill();
                here = hermail.spawn().await;
            }
        }
    }
    assert!(midway >= 2, "{midway} kills came before the end");
    eventually("all messages", || {
        here.check();
        there.check();
        (delivered(&maildir.messages()).len() == COUNT).then_some(())
    })
    .await;
    hermail.idle().await;
    hismail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 0, "no bounce");
    let duplicates = maildir.count() - COUNT;
    println!(
        "4 kills, {midway} of them midway; {COUNT} sealed messages, all delivered, {duplicates} duplicates"
    );
}

/// How often each message was delivered; each that was is whole.
fn delivered(messages: &[String]) -> HashMap<usize, usize> {
    let mut found = HashMap::new();
    for message in messages {
        let body = split(message).1;
        let number = body.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(body, self::body(number));
        *found.entry(number).or_insert(0) += 1;
    }
    found
}

fn body(number: usize) -> String {
    format!("{number} {}\r\n", "x".repeat(900)).repeat(1 + number % 5)
}

/// Submits messages until there are none left, or the daemon has gone.
async fn session(ip: IpAddr, ledger: Arc<Mutex<Ledger>>) {
    let Ok(tcp) = TcpStream::connect((ip, SMTP)).await else {
        return;
    };
    let mut stream = BufReader::new(tcp);
    if answer(&mut stream, None).await.is_none()
        || answer(&mut stream, Some("HELO client.test")).await.is_none()
    {
        return;
    }
    loop {
        let Some(number) = ledger.lock().unwrap().take() else {
            return;
        };
        if submit(&mut stream, number, &ledger).await.is_none() {
            return;
        }
    }
}

async fn submit(stream: &mut BufReader<TcpStream>, number: usize, ledger: &Mutex<Ledger>) -> Option<()> {
    for (command, code) in [
        ("MAIL FROM:<carol@plain.test>", "250"),
        ("RCPT TO:<bob@hismail.test>", "250"),
        ("DATA", "354"),
    ] {
        let reply = answer(stream, Some(command)).await?;
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    let message = format!("From: carol@plain.test\r\n\r\n{}.", body(number));
    ledger.lock().unwrap().in_flight.insert(number);
    let reply = answer(stream, Some(&message)).await?;
    assert!(reply.starts_with("250"), "{reply}");
    let mut ledger = ledger.lock().unwrap();
    ledger.in_flight.remove(&number);
    ledger.acknowledged.insert(number);
    Some(())
}

/// Sends a line and reads another; `None` once the daemon has gone.
async fn answer(stream: &mut BufReader<TcpStream>, line: Option<&str>) -> Option<String> {
    if let Some(line) = line {
        stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    }
    let mut reply = String::new();
    match stream.read_line(&mut reply).await {
        // A line that was cut off acknowledges nothing.
        Ok(_) if reply.ends_with("\r\n") => Some(reply),
        _ => None,
    }
}
