//! Peers that break the rules: each gets a clear answer and one log line, and everybody else is served as before.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use dimed::dime::dmime1::Message;
use dimed::dime::dmime2::Outline;
use tokio::net::TcpStream;

use crate::support::child::Process;
use crate::support::eventually;
use crate::support::loopback::{DMTP, SMTP, SUBMISSION, SUBMISSIONS};
use crate::support::organization::{Organization, Served};
use crate::support::talk::Talk;
use crate::support::world::World;

const ORIGIN: &str = "hermail.test";
const DESTINATION: &str = "hismail.test";

/// Two organizations, the second a process, and an object that went from the first to the second before.
struct Pair {
    hermail: Organization,
    hismail: Organization,
    _here: Served,
    there: Process,
    object: Vec<u8>,
    _world: World,
}

impl Pair {
    /// With an object of D/MIME 2.
    async fn new() -> Self {
        Self::of_format(2).await
    }

    async fn of_format(format: u8) -> Self {
        let world = World::new().await;
        let hermail = world.organization(ORIGIN).accounts(&["alice"]).build().await;
        let hismail = world.organization(DESTINATION).accounts(&["bob"]);
        let hismail = match format {
            1 => hismail.opted_out().build().await,
            _ => hismail.build().await,
        };
        let here = hermail.start().await;
        let there = hismail.start().await;
        exchange(&hermail, &hismail, 1).await;
        let object = there.witness.objects().remove(0);
        hismail.idle().await;
        there.stop().await;
        Self {
            there: hismail.spawn().await,
            hermail,
            hismail,
            _here: here,
            object,
            _world: world,
        }
    }

    /// The daemon still serves: a message sent the ordinary way arrives beside the first.
    async fn still_serves(&mut self) {
        self.there.check();
        exchange(&self.hermail, &self.hismail, 2).await;
    }

    /// How many objects were refused, going by the log.
    fn refused(&self) -> usize {
        self.there.log().matches("\"dmtp.message.refused\"").count()
    }
}

/// Sends a message from one to the other, which makes `count` in all.
async fn exchange(hermail: &Organization, hismail: &Organization, count: usize) {
    let message = format!("From: alice@hermail.test\r\nSubject: {count}\r\n\r\nnumber {count}\r\n");
    hermail.submit("alice", &["bob@hismail.test"], &message).await;
    let delivered = hismail.maildir("bob").expect(count).await;
    let body = format!("\r\n\r\nnumber {count}\r\n");
    assert!(delivered.iter().any(|text| text.ends_with(&body)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_comes_again_is_answered_like_the_first_and_delivered_once() {
    let mut pair = Pair::new().await;
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    for _ in 0..3 {
        let reply = talk.object(ORIGIN, DESTINATION, &pair.object).await;
        assert!(reply.starts_with("250 OK ["), "{reply}");
    }
    talk.ask("QUIT", "221").await;
    pair.still_serves().await;
    pair.hismail.idle().await;
    assert_eq!(pair.hismail.maildir("bob").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_objects_of_format_1_are_refused_and_harm_nobody() {
    let pair = Pair::of_format(1).await;
    // A bit of every part, from the ephemeral key to the last signed chunk. The last chunk's keyslots for others are covered by no
    // signature (libdime's way), so the end is left out.
    let end = pair.object.len() - 4 * 64;
    refuses_damage(pair, 6, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_objects_of_format_2_are_refused_and_harm_nobody() {
    let pair = Pair::of_format(2).await;
    // No octet of format 2 is without a signature.
    let end = pair.object.len();
    refuses_damage(pair, 8, end).await;
}

/// Flips bits behind the header, whose last four octets say where the object ends, and cuts the object off.
async fn refuses_damage(mut pair: Pair, header: usize, end: usize) {
    let object = pair.object.clone();
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    for step in 0..=40 {
        let mut damaged = object.clone();
        let at = header + step * (end - 1 - header) / 40;
        damaged[at] ^= 0x40;
        let reply = talk.object(ORIGIN, DESTINATION, &damaged).await;
        let code: u16 = reply[..3].parse().unwrap();
        assert!((550..=599).contains(&code), "octet {at}: {reply}");
    }
    // Cut off, with the length in the header put right.
    for length in [header + 1, 40, 200, object.len() / 2, object.len() - 1] {
        let mut cut = object[..length].to_vec();
        let payload = u32::try_from(length - header).unwrap().to_be_bytes();
        cut[header - 4..header].copy_from_slice(&payload);
        let reply = talk.object(ORIGIN, DESTINATION, &cut).await;
        assert!(reply.starts_with("55"), "{length} octets: {reply}");
    }
    assert_eq!(pair.refused(), 41 + 5, "one line each");
    pair.still_serves().await;
}

/// A place inside every chunk but the first, which is not encrypted, in the middle of what only keys can check.
fn places_inside(object: &[u8]) -> Vec<usize> {
    match Message::parse(object.to_vec(), &Default::default()) {
        Ok(message) => {
            let chunks = message.chunks()[1..].iter();
            chunks
                .map(|chunk| (chunk.payload_range().start + chunk.payload_range().end) / 2)
                .collect()
        }
        Err(_) => {
            let outline = Outline::read(object, &Default::default()).expect("an object of either format");
            let chunks = outline.chunks()[1..].iter();
            chunks
                .map(|chunk| chunk.offset as usize + chunk.size / 2)
                .collect()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_does_not_tell_which_part_of_an_object_is_damaged() {
    let mut pair = Pair::new().await;
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    let places = places_inside(&pair.object);
    let mut replies = BTreeSet::new();
    for place in &places {
        let mut damaged = pair.object.clone();
        damaged[*place] ^= 1;
        replies.insert(talk.object(ORIGIN, DESTINATION, &damaged).await);
    }
    assert_eq!((replies.len(), pair.refused()), (1, places.len()), "{replies:?}");
    pair.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_libdime_for_other_people_are_refused() {
    let mut pair = Pair::new().await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/libdime/messages");
    let mut talk = Talk::dmtp(pair.hismail.ip, ORIGIN).await;
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dmime") {
            let object = std::fs::read(&path).unwrap();
            let reply = talk.object(ORIGIN, DESTINATION, &object).await;
            assert!(
                reply.starts_with("578") || reply.starts_with("554"),
                "{}: {reply}",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count >= 30, "{count}");
    assert_eq!(pair.refused(), count, "one line each");
    pair.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_under_another_origin_or_size_is_refused() {
    let mut pair = Pair::new().await;
    let ip = pair.hismail.ip;
    // Sealed for bob by alice, and handed over under another name.
    let mut talk = Talk::dmtp(ip, "evil.test").await;
    let reply = talk.object("evil.test", DESTINATION, &pair.object).await;
    assert_eq!(reply, "554 the message could not be verified");
    talk.ask("MAIL FROM: <hermail.test> [x] SIZE=52428801", "552")
        .await;
    talk.ask("MAIL FROM: <hermail.test> [x] SIZE=0", "501").await;
    talk.ask("MAIL FROM: <hermail.test> [x] SIZE=10", "250").await;
    talk.ask("RCPT TO: <plain.test> [x]", "510").await;
    talk.ask("QUIT", "221").await;

    for wrong in [pair.object.len() - 1, pair.object.len() + 1] {
        let mut talk = Talk::dmtp(ip, ORIGIN).await;
        talk.ask(&format!("MAIL FROM: <hermail.test> [x] SIZE={wrong}"), "250")
            .await;
        talk.ask("RCPT TO: <hismail.test> [x]", "250").await;
        talk.ask("DATA [x]", "354").await;
        talk.send(&pair.object).await;
        talk.send(b"\r\n").await;
        talk.expect("451").await;
        talk.expect_end().await;
    }
    // Announced, begun, and never finished.
    let mut talk = Talk::dmtp(ip, ORIGIN).await;
    let size = pair.object.len();
    talk.ask(&format!("MAIL FROM: <hermail.test> [x] SIZE={size}"), "250")
        .await;
    talk.ask("RCPT TO: <hismail.test> [x]", "250").await;
    talk.ask("DATA [x]", "354").await;
    talk.send(&pair.object[..size / 2]).await;
    drop(talk);
    pair.still_serves().await;
}

/// One organization as a process, with tight limits.
async fn lone(world: &World, connections: usize) -> (Organization, Process) {
    let hismail = world
        .organization(DESTINATION)
        .accounts(&["bob"])
        .config(move |config| {
            config.limits.connections_per_address = NonZeroUsize::new(connections).unwrap();
            config.limits.errors = NonZeroU32::new(5).unwrap();
            config.limits.message_bytes = NonZeroU64::new(200_000).unwrap();
        })
        .build()
        .await;
    let process = hismail.spawn().await;
    (hismail, process)
}

/// A message from outside arrives, which makes `count` in all.
async fn served(hismail: &Organization, process: &mut Process, count: usize) {
    process.check();
    let mut talk = Talk::smtp(hismail.ip).await;
    let message = format!("From: carol@plain.test\r\n\r\nnumber {count}\r\n");
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], &message)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    talk.ask("QUIT", "221").await;
    hismail.maildir("bob").expect(count).await;
}

/// Waits until a session of `service` has ended with that event, once.
async fn logged_once(process: &Process, event: &str, service: &str, before: &str) {
    let count = |log: &str| {
        log.lines()
            .filter(|line| line.contains(event) && line.contains(&format!("\"{service}\"")))
            .count()
    };
    let earlier = count(before);
    eventually("a log line", || (count(&process.log()) > earlier).then_some(())).await;
    assert_eq!(
        count(&process.log()),
        earlier + 1,
        "{event} of {service}: {}",
        process.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_lines_and_garbage_end_in_a_clear_reply() {
    let world = World::new().await;
    let (hismail, mut process) = lone(&world, 10).await;
    let endless = vec![b'x'; 1 << 20];

    // A line in SMTP that does not end is discarded as it comes; one reply once it does.
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.send(&endless).await;
    talk.ask("", "500 5.5.2 Line too long").await;
    talk.ask("NOOP", "250").await;
    let before = process.log();
    for _ in 0..4 {
        talk.ask("GARBAGE", "500").await;
    }
    talk.expect("421").await;
    talk.expect_end().await;
    logged_once(&process, "session.closed", "dual", &before).await;

    // Before either protocol is chosen, and in DMTP.
    for mut talk in [
        Talk::open(hismail.ip, SMTP).await,
        Talk::open_tls(hismail.ip, DMTP).await,
    ] {
        talk.expect("220 ").await;
        talk.send(&endless).await;
        talk.ask("", "500").await;
        for _ in 0..20 {
            talk.send(b"\x16\x03\x01 garbage\r\n").await;
        }
        while let Some(reply) = talk.reply().await {
            assert!(reply.starts_with("500") || reply.starts_with("421"), "{reply}");
        }
    }
    served(&hismail, &mut process, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_off_or_are_no_tls_leave_one_line_each() {
    let world = World::new().await;
    let (hismail, mut process) = lone(&world, 1000).await;
    for (port, service) in [(DMTP, "dmtp"), (SUBMISSIONS, "submissions")] {
        let before = process.log();
        let mut talk = Talk::open(hismail.ip, port).await;
        talk.send(b"EHLO client.test\r\nMAIL FROM:<a@b.test>\r\n").await;
        // An alert of TLS, which is no text, and then the end.
        while talk.try_send(b"more\r\n", Duration::from_secs(1)).await {}
        logged_once(&process, "session.broken", service, &before).await;
    }
    for (port, service) in [(SMTP, "dual"), (SUBMISSION, "submission")] {
        let before = process.log();
        let mut talk = Talk::open(hismail.ip, port).await;
        talk.expect("220 ").await;
        talk.ask("EHLO client.test", "250").await;
        talk.ask("STARTTLS", "220").await;
        talk.send(b"not a handshake, whatever it looks like\r\n").await;
        while talk.try_send(b"more\r\n", Duration::from_secs(1)).await {}
        logged_once(&process, "session.broken", service, &before).await;
    }
    // Commands behind STARTTLS in the same packet are not executed, in clear or later.
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.send(b"STARTTLS\r\nMAIL FROM:<evil@plain.test>\r\n").await;
    talk.expect("220").await;
    talk.start_tls().await;
    talk.ask("RCPT TO:<bob@hismail.test>", "503").await;

    // Broken off at once, and opened only to be silent.
    let mut silent = Vec::new();
    for _ in 0..20 {
        for port in [SMTP, DMTP, SUBMISSION, SUBMISSIONS] {
            drop(TcpStream::connect((hismail.ip, port)).await.unwrap());
            silent.push(TcpStream::connect((hismail.ip, port)).await.unwrap());
        }
    }
    // Closed in the middle of a message.
    let mut cut = Talk::smtp(hismail.ip).await;
    cut.ask("MAIL FROM:<carol@plain.test>", "250").await;
    cut.ask("RCPT TO:<bob@hismail.test>", "250").await;
    cut.ask("DATA", "354").await;
    cut.send(b"half\r\n").await;
    drop(cut);
    drop(talk);
    let over = |log: &str| log.matches("\"event\":\"session.").count();
    eventually("the last line", || {
        (over(&process.log()) >= 4 + 80 + 2).then_some(())
    })
    .await;
    assert_eq!(
        over(&process.log()),
        4 + 80 + 2,
        "one line each: {}",
        process.log()
    );
    served(&hismail, &mut process, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_from_one_address_are_told_so() {
    let world = World::new().await;
    let (hismail, mut process) = lone(&world, 10).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut talk = Talk::open(hismail.ip, SMTP).await;
        talk.expect("220 ").await;
        held.push(talk);
    }
    let before = process.log().matches("listener.refused").count();
    let mut talk = Talk::open(hismail.ip, SMTP).await;
    talk.expect("421 ").await;
    talk.expect_end().await;
    Talk::open(hismail.ip, SUBMISSIONS).await.expect_end().await;
    let after = process.log().matches("listener.refused").count();
    assert_eq!(after, before + 2);
    // Others are served, and the address is, too, as soon as it lets go.
    for mut talk in held {
        talk.ask("QUIT", "221").await;
        talk.expect_end().await;
    }
    served(&hismail, &mut process, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_beyond_the_total_wait_for_their_turn() {
    let world = World::new().await;
    let builder = world.organization(DESTINATION).accounts(&["bob"]);
    let builder = builder.config(|config| config.limits.connections = NonZeroUsize::new(3).unwrap());
    let hismail = builder.build().await;
    let mut process = hismail.spawn().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Talk::smtp(hismail.ip).await);
    }
    let mut waiting = Talk::open(hismail.ip, SMTP).await;
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.reply()).await;
    assert!(early.is_err(), "served beyond the limit: {early:?}");
    held.remove(0).ask("QUIT", "221").await;
    waiting.expect("220 ").await;
    drop((held, waiting));
    served(&hismail, &mut process, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_costs_nothing_but_itself() {
    let world = World::new().await;
    let (hismail, mut process) = lone(&world, 10).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test> SIZE=200001", "552 5.3.4")
        .await;
    let large = format!("From: carol@plain.test\r\n\r\n{}", "x".repeat(100) + "\r\n").repeat(2000);
    let to = ["bob@hismail.test"];
    let reply = talk.transfer("carol@plain.test", &to, &large).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let small = "From: carol@plain.test\r\n\r\nsmall\r\n";
    let reply = talk.transfer("carol@plain.test", &to, small).await;
    assert!(reply.starts_with("250"), "{reply}");
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.ends_with("\r\n\r\nsmall\r\n"), "{delivered}");
    talk.ask("QUIT", "221").await;
    served(&hismail, &mut process, 2).await;
}
