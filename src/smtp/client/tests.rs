#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::notify::MessageRequest;

const START: Duration = Duration::ZERO;

fn params(tls: TlsPolicy) -> Params {
    Params {
        hello: "mx.hermail.test".parse().unwrap(),
        protocol: Protocol::Smtp,
        tls,
        login: None,
        timeouts: Timeouts::default(),
    }
}

fn transaction(recipients: usize) -> Transaction {
    Transaction {
        reverse_path: ReversePath::parse("<alice@hermail.test>").unwrap(),
        recipients: (0..recipients)
            .map(|n| format!("r{n}@hismail.test").parse::<Mailbox>().unwrap().into())
            .collect(),
        size_bytes: 7,
        eight_bit: false,
        require_tls: false,
        smtputf8: false,
        request: MessageRequest::default(),
    }
}

fn client_after(tls: TlsPolicy, replies: &str) -> Client {
    let mut client = Client::new(params(tls), None);
    assert_eq!(client.receive(START, replies.as_bytes()), replies.len());
    if client.events.front() == Some(&Event::Ready) {
        client.poll_event();
    }
    client
}

fn said(client: &mut Client) -> String {
    let octets = std::iter::from_fn(|| client.poll_transmit()).flatten().collect();
    String::from_utf8(octets).unwrap()
}

const READY: &str = "220 mx\r\n250-mx\r\n250 PIPELINING\r\n";

#[test]
fn commands_ahead_of_replies_are_bounded() {
    let mut client = client_after(TlsPolicy::Never, READY);
    said(&mut client);
    assert!(client.start(transaction(200)));
    assert_eq!(said(&mut client).lines().count(), WINDOW);
    client.receive(START, &b"250 Ok\r\n".repeat(10));
    assert_eq!(said(&mut client).lines().count(), 10);
}

#[test]
fn one_transaction_at_a_time() {
    let mut client = Client::new(params(TlsPolicy::Never), None);
    assert!(client.start(transaction(1)));
    assert!(!client.start(transaction(1)));
    client.receive(START, READY.as_bytes());
    assert!(!client.start(transaction(1)));
    client.end_of_input(START);
    assert!(!client.start(transaction(1)));
}

fn verdicts(client: &mut Client) -> Vec<(bool, u16)> {
    match client.poll_event() {
        Some(Event::Done(Outcome::Verdicts(verdicts))) => verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Accepted(reply) => (true, reply.code),
                Verdict::Rejected(reply) => (false, reply.code),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_ends_before_the_message_and_the_next_message_is_one() {
    let mut client = client_after(
        TlsPolicy::Never,
        "220 mx\r\n250-mx\r\n250-SIZE\r\n250 PIPELINING\r\n",
    );
    said(&mut client);
    assert!(client.ask(transaction(3)));
    let asked = "MAIL FROM:<alice@hermail.test>\r\nRCPT TO:<r0@hismail.test>\r\n\
                 RCPT TO:<r1@hismail.test>\r\nRCPT TO:<r2@hismail.test>\r\n";
    assert_eq!(said(&mut client), asked);
    client.receive(START, b"250 Ok\r\n250 Ok\r\n550 Nobody\r\n451 Later\r\n");
    assert_eq!(verdicts(&mut client), [(true, 250), (false, 550), (false, 451)]);
    assert_eq!(said(&mut client), "");
    assert!(client.start(transaction(1)));
    let sent = "RSET\r\nMAIL FROM:<alice@hermail.test> SIZE=7\r\nRCPT TO:<r0@hismail.test>\r\n";
    assert_eq!(said(&mut client), sent);
    client.receive(START, b"250 Ok\r\n250 Ok\r\n250 Ok\r\n");
    assert_eq!(said(&mut client), "DATA\r\n");
}

/// What was lacking for a question does not turn the message after it into another.
#[test]
fn a_question_that_cannot_be_asked_leaves_nothing_behind() {
    let mut client = client_after(TlsPolicy::Never, READY);
    said(&mut client);
    let mut eight_bit = transaction(1);
    eight_bit.eight_bit = true;
    assert!(client.ask(eight_bit));
    assert_eq!(
        client.poll_event(),
        Some(Event::Done(Outcome::Lacking(Need::EightBitMime)))
    );
    assert!(client.start(transaction(1)));
    client.receive(START, b"250 Ok\r\n250 Ok\r\n");
    assert!(said(&mut client).ends_with("DATA\r\n"));
}

/// A host that refuses reports says nothing of the recipients.
#[test]
fn a_refused_reverse_path_is_no_answer_to_a_question() {
    let mut client = client_after(TlsPolicy::Never, READY);
    said(&mut client);
    assert!(client.ask(transaction(1)));
    client.receive(START, b"550 No reports\r\n503 Sender first\r\n");
    assert_eq!(verdicts(&mut client), [(false, 451)]);
}

#[test]
fn reply_to_nothing_ends_the_session() {
    let mut client = client_after(TlsPolicy::Never, READY);
    client.receive(START, b"250 more\r\n");
    let failure = Failure::UnexpectedReply(Stage::Idle, Reply::plain(250, "more"));
    assert_eq!(
        client.poll_event(),
        Some(Event::Failed {
            failure,
            verdicts: Vec::new()
        })
    );
    assert!(client.is_closed());
}

#[test]
fn injected_reply_after_starttls_ends_the_session() {
    let wire = "220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 Go\r\n250 mx\r\n";
    let mut client = client_after(TlsPolicy::Opportunistic, wire);
    let failed = Event::Failed {
        failure: Failure::TlsInjection,
        verdicts: Vec::new(),
    };
    assert_eq!(client.poll_event(), Some(failed));
    assert_eq!(client.poll_event(), None);
}

#[test]
fn octets_handed_over_after_starttls_end_the_session_too() {
    let mut client = client_after(
        TlsPolicy::Required,
        "220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 Go\r\n",
    );
    assert_eq!(client.poll_event(), Some(Event::StartTls));
    assert_eq!(client.timeout(), None);
    client.receive(START, b"2");
    assert!(matches!(
        client.poll_event(),
        Some(Event::Failed {
            failure: Failure::TlsInjection,
            ..
        })
    ));
}

#[test]
fn failed_handshake_is_reported_for_each_recipient() {
    let mut client = Client::new(params(TlsPolicy::Opportunistic), None);
    client.start(transaction(2));
    client.receive(START, b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 Go\r\n");
    assert_eq!(client.poll_event(), Some(Event::StartTls));
    client.tls_failed();
    let failed = Event::Failed {
        failure: Failure::TlsHandshake,
        verdicts: vec![None, None],
    };
    assert_eq!(client.poll_event(), Some(failed));
}

#[test]
fn aborted_body_sends_no_end_of_data() {
    let mut client = client_after(TlsPolicy::Never, READY);
    client.start(transaction(1));
    client.receive(START, b"250 Ok\r\n250 Ok\r\n354 Go\r\n");
    said(&mut client);
    client.body(b"half");
    client.body_abort();
    assert_eq!(said(&mut client), "");
    assert!(client.is_closed());
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    let failed = Event::Failed {
        failure: Failure::BodyAborted,
        verdicts: vec![None],
    };
    assert_eq!(events.last(), Some(&failed));
}

#[test]
fn body_is_asked_for_piece_by_piece() {
    let mut client = client_after(TlsPolicy::Never, READY);
    client.start(transaction(1));
    client.receive(START, b"250 Ok\r\n250 Ok\r\n354 Go\r\n");
    said(&mut client);
    let wants_body = |client: &mut Client| {
        std::iter::from_fn(|| client.poll_event()).any(|event| event == Event::NeedBody)
    };
    assert!(wants_body(&mut client));
    client.body(b"one");
    assert!(!wants_body(&mut client));
    assert_eq!(said(&mut client), "one");
    assert!(wants_body(&mut client));
    client.body(b"");
    assert!(wants_body(&mut client));
    client.body_end();
    assert_eq!(said(&mut client), "\r\n.\r\n");
    assert!(!wants_body(&mut client));
}

#[test]
fn quit_waits_for_the_set_up() {
    let mut client = Client::new(params(TlsPolicy::Never), None);
    client.quit();
    assert!(!client.start(transaction(1)));
    client.receive(START, READY.as_bytes());
    assert!(said(&mut client).ends_with("QUIT\r\n"));
}

#[test]
fn debug_shows_no_password() {
    use crate::base::secret::Secret;
    use crate::smtp::auth::Credentials;
    let mut params = params(TlsPolicy::Never);
    params.login = Some(Login {
        credentials: Credentials {
            identity: "tim".into(),
            password: Secret::new("tanstaaf".into()),
        },
        nonce: "fresh".into(),
        in_clear: false,
    });
    let client = Client::new(params, None);
    assert!(!format!("{client:?}").contains("tanstaaf"));
}

/// Everything a client says and reports when a server's octets arrive in these pieces.
fn run(pieces: &[&[u8]]) -> (String, Vec<Event>) {
    let mut client = Client::new(params(TlsPolicy::Never), None);
    client.start(transaction(3));
    let (mut unread, mut out, mut events) = (Vec::new(), String::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let taken = client.receive(START, &unread);
            unread.drain(..taken);
            out.push_str(&said(&mut client));
            let before = events.len();
            while let Some(event) = client.poll_event() {
                match event {
                    Event::NeedBody => client.body_end(),
                    Event::Done(_) => client.quit(),
                    _ => (),
                }
                events.push(event);
            }
            if taken == 0 && before == events.len() {
                break;
            }
        }
    }
    client.end_of_input(START);
    events.extend(std::iter::from_fn(|| client.poll_event()));
    (out + &said(&mut client), events)
}

fn reply() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "220 mx\r\n",
        "250 Ok\r\n",
        "250 Ok\r\n",
        "250-mx\r\n250 PIPELINING\r\n",
        "354 Go\r\n",
        "354 Go\r\n",
        "550 5.1.1 no\r\n",
        "451 later\r\n",
        "421 bye\r\n",
        "250-half\r\n",
        "502 what\r\n",
        "junk\r\n",
        "\n",
        "2",
    ])
}

proptest! {
    #[test]
    fn cutting_the_input_changes_nothing(
        replies in proptest::collection::vec(reply(), 0..12),
        length in 1usize..20,
    ) {
        let wire = format!("220 mx\r\n{}", replies.concat()).into_bytes();
        let pieces: Vec<_> = wire.chunks(length).collect();
        prop_assert_eq!(run(&pieces), run(&[&wire]));
    }

    #[test]
    fn each_recipient_gets_at_most_one_verdict(replies in proptest::collection::vec(reply(), 0..12)) {
        let wire = format!("{READY}{}", replies.concat()).into_bytes();
        let (_, events) = run(&[&wire]);
        let counts: Vec<_> = events.iter().filter_map(|event| match event {
            Event::Done(Outcome::Verdicts(verdicts)) => Some(verdicts.len()),
            Event::Failed { verdicts, .. } if !verdicts.is_empty() => Some(verdicts.len()),
            _ => None,
        }).collect();
        prop_assert_eq!(counts, [3]);
    }

    #[test]
    fn arbitrary_octets_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
        run(&[&wire]);
        run(&[READY.as_bytes(), &wire]);
    }
}
