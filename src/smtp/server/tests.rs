#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::mail::reply::EnhancedStatus;
use crate::smtp::MAX_LINE;

const START: Duration = Duration::ZERO;

fn params() -> Params {
    Params {
        host: "mx.hismail.test".parse().unwrap(),
        profile: Profile::Transfer,
        starttls: true,
        scram: true,
        banner_tokens: Vec::new(),
        dsn: false,
        origin: None,
        limits: Limits::default(),
    }
}

/// A session that has been told so much, all of it taken.
fn session_after(wire: &str) -> Session {
    let mut session = Session::greeted(params(), None);
    let mut rest = wire.as_bytes();
    while !rest.is_empty() {
        let taken = session.receive(START, rest);
        rest = &rest[taken..];
        let answered = drain_events(&mut session);
        assert!(taken > 0 || answered, "stuck before {rest:?}");
    }
    session.poll_transmit();
    session
}

/// Accepts everything asked.
fn drain_events(session: &mut Session) -> bool {
    let mut any = false;
    while session.poll_event().is_some() {
        session.accept();
        any = true;
    }
    any
}

fn said(session: &mut Session) -> String {
    let octets = std::iter::from_fn(|| session.poll_transmit()).flatten().collect();
    String::from_utf8(octets).unwrap()
}

const ENVELOPE: &str = "EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@hismail.test>\r\n";

#[test]
fn banner_comes_first_unless_it_has_been_sent() {
    let mut new = Session::new(params(), None);
    assert_eq!(said(&mut new), "220 mx.hismail.test ESMTP\r\n");
    let mut greeted = Session::greeted(params(), None);
    assert_eq!(greeted.poll_transmit(), None);
    assert_eq!(greeted.receive(START, b"NOOP\r\n"), 6);
    assert_eq!(said(&mut greeted), "250 2.0.0 Ok\r\n");
}

#[test]
fn nothing_is_consumed_while_an_answer_is_due() {
    let mut session = session_after("EHLO a.test\r\n");
    let wire = b"MAIL FROM:<a@b.test>\r\nNOOP\r\n";
    assert_eq!(session.receive(START, wire), 22);
    assert!(matches!(session.poll_event(), Some(Event::MailFrom(_))));
    assert_eq!(session.receive(START, &wire[22..]), 0);
    assert_eq!(session.poll_transmit(), None);
    session.accept();
    assert_eq!(session.receive(START, &wire[22..]), 6);
    assert_eq!(said(&mut session), "250 2.1.0 Ok\r\n250 2.0.0 Ok\r\n");
}

#[test]
fn answers_without_a_question_change_nothing() {
    let mut session = session_after("EHLO a.test\r\n");
    session.accept();
    session.refuse(replies::local_error());
    session.tls_started(TlsInfo {
        version: String::new(),
        cipher: String::new(),
        exporter: None,
    });
    assert_eq!(session.poll_transmit(), None);
    assert!(session.tls().is_none() && session.hello().is_some());
}

#[test]
fn the_owners_time_is_not_the_clients() {
    let at = Duration::from_secs;
    let mut session = session_after("EHLO a.test\r\n");
    session.receive(at(10), b"MAIL FROM:<a@b.test>\r\n");
    session.poll_event();
    assert_eq!(session.timeout(), None);
    session.expire(at(5000));
    assert!(!session.is_closed());
    session.accept();
    session.receive(at(400), b"");
    assert_eq!(session.timeout(), Some(at(700)));
    session.expire(at(699));
    assert!(!session.is_closed());
}

#[test]
fn refused_data_ends_the_transaction() {
    let mut session = session_after(ENVELOPE);
    session.receive(START, b"DATA\r\n");
    assert_eq!(session.poll_event(), Some(Event::DataStart));
    session.refuse(replies::local_error());
    session.receive(START, b"DATA\r\n");
    assert_eq!(
        said(&mut session),
        "451 4.3.0 Local error, try again later\r\n503 5.5.1 MAIL first\r\n"
    );
}

#[test]
fn refused_message_ends_the_transaction_and_the_session_goes_on() {
    let mut session = session_after(&format!("{ENVELOPE}DATA\r\n"));
    session.receive(START, b"hello\r\n.\r\n");
    assert_eq!(session.poll_event(), Some(Event::Data(b"hello\r\n".to_vec())));
    assert_eq!(session.poll_event(), Some(Event::DataEnd { size_bytes: 7 }));
    session.refuse(Reply::new(554, EnhancedStatus(5, 7, 1), "No"));
    session.receive(START, b"DATA\r\nQUIT\r\n");
    assert_eq!(
        said(&mut session),
        "554 5.7.1 No\r\n503 5.5.1 MAIL first\r\n221 2.0.0 Bye\r\n"
    );
}

#[test]
fn replies_nobody_reads_do_not_pile_up() {
    let mut params = params();
    params.limits.idle_commands = u32::MAX;
    let mut session = Session::greeted(params, None);
    let wire = b"NOOP\r\n".repeat(10_000);
    let taken = session.receive(START, &wire);
    assert!((1..wire.len()).contains(&taken));
    assert!(session.poll_transmit().unwrap().len() < OUT_MAX + 100);
    assert!(session.receive(START, &wire[taken..]) > 0);
}

#[test]
fn message_comes_in_bounded_pieces_one_at_a_time() {
    let mut session = session_after(&format!("{ENVELOPE}DATA\r\n"));
    let wire = b"0123456\r\n".repeat(50_000);
    assert_eq!(session.receive(START, &wire), PIECE);
    assert_eq!(session.receive(START, &wire[PIECE..]), 0);
    assert!(matches!(session.poll_event(), Some(Event::Data(piece)) if piece.len() <= PIECE));
    assert_eq!(session.receive(START, &wire[PIECE..]), PIECE);
}

#[test]
fn debug_of_a_login_shows_no_password() {
    let mut params = params();
    params.profile = Profile::Submission;
    let tls = TlsInfo {
        version: "TLS1.3".into(),
        cipher: String::new(),
        exporter: None,
    };
    let mut session = Session::greeted(params, Some(tls));
    session.receive(START, b"EHLO a.test\r\n");
    session.poll_event();
    session.receive(START, b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
    assert!(!format!("{session:?}").contains("tanstaaf"));
    let event = session.poll_event().unwrap();
    assert!(matches!(event, Event::Authenticate(_)));
    assert!(!format!("{event:?}").contains("tanstaaf"));
}

/// Everything a session says and reports when octets arrive in these pieces and everything is accepted. Ends at
/// STARTTLS, where the rest of the octets is dropped.
fn run(pieces: &[&[u8]]) -> (String, Vec<String>) {
    let mut session = Session::greeted(params(), None);
    let (mut unread, mut out, mut events, mut message) = (Vec::new(), String::new(), Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let taken = session.receive(START, &unread);
            unread.drain(..taken);
            let before = events.len();
            while let Some(event) = session.poll_event() {
                match event {
                    Event::Data(piece) => message.extend(piece),
                    Event::DataEnd { .. } => {
                        events.push(format!("message {:?}", std::mem::take(&mut message)))
                    }
                    Event::DataAborted(abort) => {
                        message.clear();
                        events.push(format!("{abort:?}"));
                    }
                    Event::StartTls => return (out + &said(&mut session), events),
                    other => events.push(format!("{other:?}")),
                }
                session.accept();
            }
            out.push_str(&said(&mut session));
            if taken == 0 && before == events.len() {
                break;
            }
        }
        assert!(
            unread.len() < MAX_LINE,
            "{} octets wait with the driver",
            unread.len()
        );
    }
    session.end_of_input(START);
    events.extend(std::iter::from_fn(|| session.poll_event()).map(|event| format!("{event:?}")));
    (out, events)
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let long = [vec![b'x'; 2100], b"\r\n".to_vec()].concat();
    let fragments: Vec<Vec<u8>> = [
        "EHLO a.test\r\n",
        "MAIL FROM:<a@b.test>\r\n",
        "RCPT TO:<b@c.test>\r\n",
        "DATA\r\n",
        "DATA\r\n",
        "MAIL FROM:<>\r\nRCPT TO:<b@c.test>\r\nDATA\r\n",
        "x\r\n",
        "\r\n.\r\n",
        ".\r\n",
        "..\r\n",
        "\n",
        "\r",
        "\0",
        "RSET\r\n",
        "NOOP\r\n",
        "STARTTLS\r\n",
        "AUTH PLAIN\r\n",
        "QUIT\r\n",
        "é\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([long])
    .collect();
    prop::sample::select(fragments)
}

proptest! {
    #[test]
    fn cutting_the_input_changes_nothing(
        fragments in proptest::collection::vec(fragment(), 0..25),
        lengths in proptest::collection::vec(1usize..700, 1..20),
    ) {
        let wire = [b"EHLO a.test\r\n".to_vec(), fragments.concat()].concat();
        let mut pieces = Vec::new();
        let mut rest = wire.as_slice();
        for length in lengths.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(run(&pieces), run(&[&wire]));
    }

    #[test]
    fn arbitrary_octets_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
        run(&[b"EHLO a.test\r\n", &wire]);
        run(&[ENVELOPE.as_bytes(), b"DATA\r\n", &wire]);
    }
}
