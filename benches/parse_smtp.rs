//! Parsing of SMTP: commands, a pipelined envelope, and message data in both directions.

#![allow(missing_docs, clippy::expect_used)] // generated items have no documentation; a bench may panic

use std::hint::black_box;
use std::time::Duration;

use dimed::base::machine::Machine;
use dimed::smtp::command;
use dimed::smtp::data::{BareLineEnds, Bounds, Decoder, Encoder};
use dimed::smtp::server::{Event, Limits, Params, Profile, Session};
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

const COMMANDS: [&[u8]; 6] = [
    b"EHLO client.example.test",
    b"MAIL FROM:<alice@hermail.test> SIZE=4096 BODY=8BITMIME",
    b"RCPT TO:<bob@hismail.test>",
    b"RCPT TO:<\"quoted local part\"@hismail.test>",
    b"DATA",
    b"QUIT",
];

#[divan::bench]
fn commands(bencher: divan::Bencher) {
    bencher.counter(ItemsCount::new(COMMANDS.len())).bench(|| {
        for line in COMMANDS {
            let _ = black_box(command::parse(black_box(line)));
        }
    });
}

/// A message of `size` octets in lines of 76, every tenth starting with a dot.
fn message(size: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line| {
            let first = if line % 10 == 0 { '.' } else { 'x' };
            format!("{first}{}\r\n", "y".repeat(75)).into_bytes()
        })
        .take(size - 2)
        .chain(*b"\r\n")
        .collect()
}

fn wire(size: usize) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut wire = Vec::new();
    encoder.encode(&message(size), &mut wire);
    encoder.finish(&mut wire);
    wire
}

const SIZES: [usize; 2] = [4 << 10, 10 << 20];

#[divan::bench(args = SIZES)]
fn decode_data(bencher: divan::Bencher, size: usize) {
    let wire = wire(size);
    let bounds = Bounds {
        message: 1 << 30,
        line: 1 << 16,
        bare: BareLineEnds::Refused,
    };
    bencher.counter(BytesCount::new(wire.len())).bench(|| {
        let mut decoder = Decoder::new(bounds);
        let mut piece = Vec::with_capacity(64 * 1024);
        for octets in wire.chunks(64 * 1024) {
            piece.clear();
            decoder.decode(black_box(octets), &mut piece);
            black_box(&piece);
        }
        assert!(decoder.is_complete() && decoder.fault().is_none());
    });
}

#[divan::bench(args = SIZES)]
fn encode_data(bencher: divan::Bencher, size: usize) {
    let message = message(size);
    bencher.counter(BytesCount::new(message.len())).bench(|| {
        let mut encoder = Encoder::default();
        let mut wire = Vec::with_capacity(80 * 1024);
        for octets in message.chunks(64 * 1024) {
            wire.clear();
            encoder.encode(black_box(octets), &mut wire);
            black_box(&wire);
        }
    });
}

/// A whole session of one 4 KiB message, as fast as the machine goes.
#[divan::bench]
fn session(bencher: divan::Bencher) {
    let envelope = b"EHLO a.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@hismail.test>\r\nDATA\r\n";
    let script = [envelope.to_vec(), wire(4 << 10), b"QUIT\r\n".to_vec()].concat();
    let params = Params {
        host: "mx.hismail.test".parse().expect("a domain"),
        profile: Profile::Transfer,
        starttls: true,
        scram: true,
        banner_tokens: Vec::new(),
        dsn: false,
        origin: None,
        limits: Limits::default(),
    };
    bencher.counter(BytesCount::new(script.len())).bench(|| {
        let mut session = Session::new(params.clone(), None);
        assert!(hold(&mut session, &script));
    });
}

/// Accepts everything; true if a message was among it.
fn hold(session: &mut Session, script: &[u8]) -> bool {
    let mut rest = script;
    let mut has_message = false;
    while !session.is_closed() {
        let taken = session.receive(Duration::ZERO, rest);
        rest = &rest[taken..];
        while let Some(event) = session.poll_event() {
            has_message |= matches!(event, Event::DataEnd { .. });
            session.accept();
        }
        black_box(session.poll_transmit());
    }
    has_message
}
