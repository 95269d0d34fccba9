//! Parsing of DMTP: commands in both grammars, a lookup session, a message going in, and a signet coming back.

#![allow(missing_docs, clippy::expect_used)] // generated items have no documentation; a bench may panic

use std::hint::black_box;
use std::time::Duration;

use dimed::base::machine::Machine;
use dimed::dmtp::client::{self, Client};
use dimed::dmtp::command::{self, CommitHash};
use dimed::dmtp::name::Name;
use dimed::dmtp::reply::{self, TransactionId};
use dimed::dmtp::server::{Entry, Event, Limits, Parameters, Session};
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

const FINGERPRINT: &str =
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ";

fn commands() -> [String; 8] {
    [
        "EHLO <hermail.test>".into(),
        format!("MAIL FROM: <hermail.test> [{FINGERPRINT}] SIZE=4096 RETURN=DISPLAY"),
        format!("RCPT TO: <hismail.test> [{FINGERPRINT}]"),
        "DATA [c51e]".into(),
        format!("SGNT <bob@hismail.test> [{FINGERPRINT}]"),
        format!("SGNT USER=<bob@hismail.test> FINGERPRINT=[{FINGERPRINT}]"),
        format!("HIST <bob@hismail.test> [{FINGERPRINT}] [{FINGERPRINT}]"),
        "QUIT".into(),
    ]
}

#[divan::bench]
fn parse(bencher: divan::Bencher) {
    let commands = commands();
    bencher.counter(ItemsCount::new(commands.len())).bench(|| {
        for line in &commands {
            let _ = black_box(command::parse(black_box(line.as_bytes())));
        }
    });
}

fn session() -> Session {
    let parameters = Parameters {
        host: "mx.hismail.test".parse().expect("a domain"),
        limits: Limits::default(),
        nonce: CommitHash::parse("nonce").expect("a commit hash"),
    };
    Session::new(parameters, Entry::Single)
}

/// Runs a whole session over what a client sends; returns the octets received as messages.
fn run(session: &mut Session, mut input: &[u8]) -> usize {
    let transaction = TransactionId::parse("transaction-1").expect("a transaction id");
    let mut received = 0;
    while !session.is_closed() {
        while let Some(line) = session.poll_transmit() {
            black_box(line);
        }
        match session.poll_event() {
            Some(Event::DataChunk(octets)) => received += octets.len(),
            Some(Event::DataEnd) => session.committed(&transaction),
            Some(Event::Signet { .. }) => session.signet(&[7; 400]),
            Some(_) => session.accept(),
            None => input = &input[session.receive(Duration::ZERO, &input[..input.len().min(16 * 1024)])..],
        }
    }
    received
}

#[divan::bench]
fn lookup_session(bencher: divan::Bencher) {
    let input = b"SGNT <hismail.test>\r\nSGNT <bob@hismail.test>\r\nQUIT\r\n";
    bencher.bench(|| run(&mut session(), black_box(input)));
}

#[divan::bench(args = [4 * 1024, 10 * 1024 * 1024])]
fn message_in(bencher: divan::Bencher, size: usize) {
    let body = u32::try_from(size - 6).expect("a small message");
    let begin = format!(
        "EHLO <hermail.test>\r\nMAIL FROM: <hermail.test> [{FINGERPRINT}] SIZE={size}\r\n\
         RCPT TO: <hismail.test> [{FINGERPRINT}]\r\nDATA [c51e]\r\n"
    );
    let mut input = begin.into_bytes();
    input.extend_from_slice(&[0x07, 0x37]);
    input.extend_from_slice(&body.to_be_bytes());
    input.resize(input.len() + size - 6, 0xA5);
    input.extend_from_slice(b"\r\nQUIT\r\n");
    bencher
        .counter(BytesCount::new(size))
        .bench(|| assert_eq!(run(&mut session(), black_box(&input)), size));
}

#[divan::bench(args = [400, 100 * 1024])]
fn signet_back(bencher: divan::Bencher, size: usize) {
    let name = Name::parse("bob@hismail.test").expect("a name");
    let reply: Vec<u8> = reply::lines(&reply::signet(&vec![7; size]), usize::MAX)
        .flatten()
        .collect();
    bencher.counter(BytesCount::new(reply.len())).bench(|| {
        let mut client = Client::new(client::Entry::Single, client::Limits::default());
        client.receive(Duration::ZERO, b"220 mx.hismail.test DMTPv1 ready\r\n");
        assert_eq!(client.poll_event(), Some(client::Event::Ready));
        client.signet(&name, None).expect("the session is ready");
        black_box(client.poll_transmit());
        for piece in reply.chunks(16 * 1024) {
            client.receive(Duration::ZERO, black_box(piece));
        }
        client.poll_event()
    });
}
