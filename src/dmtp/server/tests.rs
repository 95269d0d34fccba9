#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is how a test fails

use proptest::prelude::*;

use super::*;
use crate::dmtp::name::Name;

const EHLO: &str = "EHLO <sender.test>\r\n";
const MAIL: &str = "MAIL FROM: <sender.test> [fingerprint] SIZE=10\r\n";
const RCPT: &str = "RCPT TO: <example.com> [fingerprint]\r\n";
/// A whole D/MIME 1 object of ten octets and the line behind it.
const OBJECT: &[u8] = b"\x07\x37\0\0\0\x04body\r\n";

fn parameters() -> Parameters {
    Parameters {
        host: Domain::parse("dx.example.com").unwrap(),
        limits: Limits {
            message_bytes: 1000,
            violations: 3,
            ..Limits::default()
        },
        nonce: CommitHash::parse("nonce").unwrap(),
    }
}

/// A session with an owner that serves example.com, where ada has two signets.
struct Dialogue {
    session: Session,
    unread: Vec<u8>,
    said: Vec<u8>,
    events: Vec<Event>,
    now: Duration,
}

impl Dialogue {
    fn new(entry: Entry) -> Self {
        Self::with(parameters(), entry)
    }

    fn with(parameters: Parameters, entry: Entry) -> Self {
        let mut dialogue = Self {
            session: Session::new(parameters, entry),
            unread: Vec::new(),
            said: Vec::new(),
            events: Vec::new(),
            now: Duration::ZERO,
        };
        dialogue.hear("");
        dialogue.said.clear();
        dialogue
    }

    /// Says something and returns the answer.
    fn hear(&mut self, input: impl AsRef<[u8]>) -> String {
        self.unread.extend_from_slice(input.as_ref());
        loop {
            let spoke = self.drain();
            let taken = self.session.receive(self.now, &self.unread);
            self.unread.drain(..taken);
            if taken == 0 && !spoke && !self.drain() {
                break;
            }
        }
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    fn drain(&mut self) -> bool {
        let mut spoke = false;
        loop {
            while let Some(item) = self.session.poll_transmit() {
                assert!(item.ends_with(b"\r\n"), "an item is a line");
                assert_eq!(item.iter().filter(|octet| **octet == b'\n').count(), 1);
                self.said.extend(item);
                spoke = true;
            }
            let Some(event) = self.session.poll_event() else {
                return spoke;
            };
            spoke = true;
            self.answer(&event);
            self.events.push(event);
        }
    }

    fn answer(&mut self, event: &Event) {
        let session = &mut self.session;
        match event {
            Event::MailFrom { .. } | Event::Data { .. } => session.accept(),
            Event::RcptTo { destination, .. } if destination.as_str() == "example.com" => session.accept(),
            Event::RcptTo { .. } => session.refuse(&Reply::plain(510, "not here")),
            Event::DataEnd => session.committed(&TransactionId::parse("id-1").unwrap()),
            Event::Signet { name, .. } if name.to_string().starts_with("nobody@") => session.not_found(),
            Event::Signet { .. } => session.signet(b"signet"),
            Event::Verify { fingerprint, .. } if fingerprint.0 == [2; 64] => session.current(),
            Event::Verify { .. } => session.update(FullFingerprint([2; 64])),
            Event::History { .. } => session.history(&[b"one".to_vec(), b"two".to_vec()]),
            Event::Verifier { .. }
            | Event::LoginRefused
            | Event::Keys
            | Event::Deposit { .. }
            | Event::Pending
            | Event::HandIn(_)
            | Event::KeySets(_) => {
                panic!("not asked of a session without logins: {event:?}")
            }
            Event::Authenticate(login) => panic!("not asked of a session without logins: {login:?}"),
            Event::Ehlo { .. } | Event::Reset | Event::DataChunk(_) => {}
        }
    }
}

/// What one line is answered with in each of the states.
fn in_every_state(line: &str) -> [String; 4] {
    let prefixes = [
        String::new(),
        EHLO.to_owned(),
        format!("{EHLO}{MAIL}"),
        format!("{EHLO}{MAIL}{RCPT}"),
    ];
    prefixes.map(|prefix| {
        let mut dialogue = Dialogue::new(Entry::Single);
        dialogue.hear(prefix);
        dialogue.hear(line)
    })
}

fn codes(line: &str) -> [u16; 4] {
    in_every_state(line).map(|reply| reply[..3].parse().unwrap())
}

#[test]
fn first_line_depends_on_the_way_in() {
    let first =
        |entry| String::from_utf8(Session::new(parameters(), entry).poll_transmit().unwrap()).unwrap();
    assert_eq!(first(Entry::Single), "220 dx.example.com DMTPv1 ready\r\n");
    assert_eq!(first(Entry::Upgraded), "250 OK DMTPv1\r\n");
}

/// `dmtp.md` §5.5, row by row: connected, greeted, mail, recipient.
#[test]
fn every_row_of_the_state_table() {
    let fp = AnyFingerprint([1; 64]);
    assert_eq!(codes("STARTTLS <dx.example.com> MODE=DMTPv1\r\n"), [454; 4]);
    assert_eq!(codes("STARTTLS\r\n"), [454; 4]);
    assert_eq!(codes(EHLO), [250; 4]);
    assert_eq!(codes("HELO HOST=<sender.test>\n"), [250; 4]);
    assert_eq!(codes(MAIL), [503, 250, 250, 250]);
    assert_eq!(codes(RCPT), [503, 503, 250, 431]);
    assert_eq!(codes("DATA [c51e]\r\n"), [503, 503, 503, 354]);
    assert_eq!(codes("DATA\n"), [503, 503, 503, 354]);
    assert_eq!(codes("SGNT <example.com>\r\n"), [250; 4]);
    assert_eq!(codes(&format!("VRFY <example.com> [{fp}]\r\n")), [250; 4]);
    assert_eq!(codes(&format!("HIST <ada@example.com> [{fp}]\r\n")), [250; 4]);
    assert_eq!(codes("STATS\r\n"), [502; 4]);
    assert_eq!(codes("VERB\r\n"), [502; 4]);
    assert_eq!(codes("HELP\r\n"), [214; 4]);
    assert_eq!(codes("MODE\r\n"), [250; 4]);
    assert_eq!(codes("NOOP ping\r\n"), [250; 4]);
    assert_eq!(codes("RSET\r\n"), [250; 4]);
    assert_eq!(codes("QUIT\r\n"), [221; 4]);
}

#[test]
fn rset_and_ehlo_end_a_transaction_but_keep_the_greeting() {
    for line in ["RSET\r\n", EHLO, "HELO <sender.test>\r\n"] {
        let mut dialogue = Dialogue::new(Entry::Single);
        dialogue.hear(format!("{EHLO}{MAIL}{RCPT}{line}"));
        assert!(dialogue.events.contains(&Event::Reset), "{line}");
        assert_eq!(
            dialogue.hear("DATA [x]\r\n"),
            "503 EHLO, MAIL and RCPT come first\r\n"
        );
        assert_eq!(dialogue.hear(MAIL), "250 OK\r\n");
    }
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear("RSET\r\n");
    assert_eq!(dialogue.events, []);
    assert_eq!(dialogue.hear(MAIL), "503 EHLO comes first\r\n");
}

#[test]
fn a_second_mail_restarts_the_transaction() {
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!("{EHLO}{MAIL}{RCPT}{MAIL}"));
    assert_eq!(
        dialogue.hear("DATA [x]\r\n"),
        "503 EHLO, MAIL and RCPT come first\r\n"
    );
    assert_eq!(dialogue.hear(RCPT), "250 OK\r\n");
}

/// `dmtp.md` §6: the exact form of every reply.
#[test]
fn replies_have_the_forms_that_libdime_reads() {
    let mut dialogue = Dialogue::new(Entry::Single);
    let fp = |fill| AnyFingerprint([fill; 64]);
    for (line, reply) in [
        ("MODE\r\n".to_owned(), "250 OK DMTPv1\r\n".to_owned()),
        ("SGNT <example.com>\r\n".into(), "250 OK [c2lnbmV0]\r\n".into()),
        (
            "SGNT <nobody@example.com>\r\n".into(),
            "450 no such signet\r\n".into(),
        ),
        (
            format!("VRFY <example.com> [{}]\r\n", fp(2)),
            "250 CURRENT\r\n".into(),
        ),
        (
            format!("VRFY <example.com> [{}]\r\n", fp(1)),
            format!("250 UPDATE [{}]\r\n", fp(2)),
        ),
        (
            format!("HIST <ada@example.com> [{}]\r\n", fp(1)),
            "250-[b25l]\r\n250-[dHdv]\r\n250 OK\r\n".into(),
        ),
        (
            EHLO.into(),
            "250-dx.example.com\r\n250-PIPELINING\r\n250-8BITDIME\r\n250-RETURN\r\n250-SIZE 1000\r\n250 OK\r\n".into(),
        ),
        (
            "HELO HOST=<sender.test>\n".into(),
            "250 dx.example.com\r\n".into(),
        ),
        (MAIL.into(), "250 OK\r\n".into()),
        (RCPT.into(), "250 OK\r\n".into()),
        ("DATA [c51e]\r\n".into(), "354 CONTINUE [c51e]\r\n".into()),
    ] {
        assert_eq!(dialogue.hear(&line), reply, "{line}");
    }
    assert_eq!(dialogue.hear(OBJECT), "250 OK [id-1]\r\n");
    assert_eq!(dialogue.hear("QUIT\r\n"), "221 BYE\r\n");
    assert!(dialogue.session.is_closed());
}

#[test]
fn help_ends_with_ok() {
    let help = Dialogue::new(Entry::Single).hear("HELP\r\n");
    assert!(help.starts_with("214-STARTTLS\r\n214-EHLO\r\n"), "{help}");
    assert!(help.ends_with("\r\n214 OK\r\n"), "{help}");
}

#[test]
fn data_without_a_commit_hash_is_answered_with_our_nonce() {
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!("{EHLO}{MAIL}{RCPT}"));
    assert_eq!(dialogue.hear("DATA [a b]\r\n"), "354 CONTINUE [nonce]\r\n");
}

/// What the owner saw of the message.
fn received(dialogue: &Dialogue) -> Vec<u8> {
    let chunk = |event: &Event| match event {
        Event::DataChunk(octets) => octets.clone(),
        _ => Vec::new(),
    };
    dialogue.events.iter().flat_map(chunk).collect()
}

#[test]
fn a_message_is_counted_not_read_by_lines() {
    let object = b"\x07\x37\0\0\0\x0a\r\n.\r\nQUIT\n";
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!(
        "{EHLO}MAIL FROM: <sender.test> [x] SIZE=16\r\n{RCPT}DATA [x]\r\n"
    ));
    assert_eq!(dialogue.hear(object), "");
    assert_eq!(dialogue.hear("\r\nNOOP\r\n"), "250 OK [id-1]\r\n250 OK\r\n");
    assert_eq!(received(&dialogue), object);
    assert_eq!(dialogue.hear(RCPT), "503 MAIL comes first\r\n");
}

#[test]
fn without_a_size_the_object_delimits_itself() {
    let fp = AnyFingerprint([1; 64]);
    let begin = format!(
        "EHLO HOST=<sender.test>\nMAIL FROM=<sender.test> FINGERPRINT=[{fp}]\n\
         RCPT TO=<example.com> FINGERPRINT=[{fp}]\nDATA\n"
    );
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(&begin);
    assert_eq!(
        dialogue.hear([&OBJECT[..10], b"\nNOOP\n"].concat()),
        "250 OK [id-1]\r\n250 OK\r\n"
    );
    assert_eq!(received(&dialogue), &OBJECT[..10]);

    let mut too_large = Dialogue::new(Entry::Single);
    too_large.hear(&begin);
    assert_eq!(too_large.hear(b"\x07\x37\0\0\x10\0"), "552 message too large\r\n");
    assert!(too_large.session.is_closed());
}

/// `dmtp.md` §8: a stream that cannot be resynchronised is given up.
#[test]
fn a_wrong_size_closes_the_session() {
    let damaged = "451 message size and octets sent differ\r\n";
    for (size, octets) in [
        (9, OBJECT),
        (11, OBJECT),
        (10, &b"\x07\x37\0\0\0\x04bodyX\r\n"[..]),
        (10, b"\x07\x37\0\0\0\x04body\rX"),
        (5, b"hello, world\r\n"),
    ] {
        let mut dialogue = Dialogue::new(Entry::Single);
        dialogue.hear(format!(
            "{EHLO}MAIL FROM: <sender.test> [x] SIZE={size}\r\n{RCPT}DATA [x]\r\n"
        ));
        assert_eq!(dialogue.hear(octets), damaged, "{size} {octets:?}");
        assert!(dialogue.session.is_closed());
        assert!(!dialogue.events.contains(&Event::DataEnd));
    }
}

#[test]
fn an_unknown_object_of_the_right_size_is_for_the_owner_to_judge() {
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!(
        "{EHLO}MAIL FROM: <sender.test> [x] SIZE=5\r\n{RCPT}DATA [x]\r\n"
    ));
    assert_eq!(dialogue.hear("hello\r\n"), "250 OK [id-1]\r\n");
}

#[test]
fn refusals_are_one_line_and_keep_the_state() {
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!("{EHLO}{MAIL}"));
    assert_eq!(dialogue.hear("RCPT TO: <other.test> [x]\r\n"), "510 not here\r\n");
    assert_eq!(dialogue.hear(RCPT), "250 OK\r\n");
    assert_eq!(
        dialogue.hear("MAIL FROM: <sender.test> [x] SIZE=1001\r\n"),
        "552 message too large\r\n"
    );
}

#[test]
fn exactly_one_final_reply_follows_data() {
    let mut session = Session::new(parameters(), Entry::Single);
    let mut input = format!("{EHLO}{MAIL}{RCPT}DATA [x]\r\n").into_bytes();
    input.extend_from_slice(OBJECT);
    let mut ended = false;
    while !ended {
        while session.poll_transmit().is_some() {}
        match session.poll_event() {
            Some(Event::DataEnd) => ended = true,
            Some(_) => session.accept(),
            None => {
                let taken = session.receive(Duration::ZERO, &input);
                input.drain(..taken);
            }
        }
    }
    assert_eq!(session.poll_transmit(), None);
    assert_eq!(session.receive(Duration::ZERO, b"NOOP\r\n"), 0);
    let many = Reply {
        code: 578,
        enhanced: None,
        lines: vec!["bad".into(), "signature".into()],
    };
    session.refuse(&many);
    session.refuse(&many);
    session.committed(&TransactionId::parse("id").unwrap());
    assert_eq!(session.poll_transmit(), Some(b"578 bad signature\r\n".to_vec()));
    assert_eq!(session.poll_transmit(), None);
}

/// `dmtp.md` §10.
#[test]
fn errors_have_their_codes_and_end_the_session_when_repeated() {
    let mut dialogue = Dialogue::new(Entry::Single);
    assert_eq!(dialogue.hear("FROB\r\n"), "500 unknown command\r\n");
    assert_eq!(dialogue.hear("MODE x\r\n"), "501 unexpected argument\r\n");
    assert_eq!(dialogue.hear(vec![b'x'; 2000]), "");
    assert_eq!(dialogue.hear("\r\n"), "500 line too long\r\n");
    assert_eq!(dialogue.hear("\r\n"), "421 too many errors\r\n");
    assert!(dialogue.session.is_closed());
}

#[test]
fn smtp_is_not_spoken_here() {
    for (entry, reply) in [
        (Entry::Single, "554 SMTP is not available\r\n"),
        (Entry::Upgraded, "554 cannot fall back to SMTP\r\n"),
    ] {
        for line in ["EHLO mail.sender.test\r\n", "HELO x\r\n", "AUTH PLAIN\r\n"] {
            assert_eq!(Dialogue::new(entry).hear(line), reply, "{line}");
        }
    }
}

#[test]
fn a_signet_that_does_not_fit_is_refused() {
    let mut session = Session::new(parameters(), Entry::Single);
    while session.poll_transmit().is_some() {}
    for (size, start) in [(3063, "250 OK ["), (3064, "552 ")] {
        session.receive(Duration::ZERO, b"SGNT <example.com>\r\n");
        session.poll_event().unwrap();
        session.signet(&vec![0; size]);
        let line = session.poll_transmit().unwrap();
        assert!(line.starts_with(start.as_bytes()), "{size}");
        assert!(line.len() <= reply::MAX_LINE);
    }
}

#[test]
fn an_empty_history_is_not_found_and_a_wrong_answer_is_our_fault() {
    let mut session = Session::new(parameters(), Entry::Single);
    while session.poll_transmit().is_some() {}
    session.receive(Duration::ZERO, b"HIST USER=<ada@example.com>\n");
    session.history(&[]);
    assert_eq!(session.poll_transmit(), Some(b"450 no such signet\r\n".to_vec()));
    session.poll_event().unwrap();
    session.receive(Duration::ZERO, b"SGNT <example.com>\r\n");
    session.current();
    assert_eq!(session.poll_transmit(), Some(b"451 internal error\r\n".to_vec()));
}

#[test]
fn waits_end() {
    let limits = Limits::default();
    let mut dialogue = Dialogue::new(Entry::Single);
    // Half a line does not buy time.
    dialogue.hear("NO");
    dialogue.now = limits.command_timeout - Duration::from_secs(1);
    dialogue.hear("O");
    dialogue.session.expire(dialogue.now);
    assert!(!dialogue.session.is_closed());
    dialogue.now = limits.command_timeout;
    assert_eq!(dialogue.session.timeout(), Some(dialogue.now));
    dialogue.session.expire(dialogue.now);
    assert_eq!(dialogue.hear(""), "421 timeout\r\n");
    assert!(dialogue.session.is_closed());
}

#[test]
fn a_trickled_message_has_an_end_too() {
    let limits = Limits::default();
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!(
        "{EHLO}MAIL FROM: <sender.test> [x] SIZE=1000\r\n{RCPT}DATA [x]\r\n"
    ));
    let step = limits.data_timeout - Duration::from_secs(1);
    let mut pieces = 0;
    while dialogue
        .session
        .timeout()
        .is_some_and(|at| at > dialogue.now + step)
    {
        dialogue.now += step;
        dialogue.hear(if pieces == 0 {
            &b"\x07\x37\0\0\x03\xe2"[..]
        } else {
            b"x"
        });
        pieces += 1;
    }
    assert_eq!(pieces, limits.message_timeout.as_secs() / step.as_secs());
    assert_eq!(dialogue.session.timeout(), Some(limits.message_timeout));
}

#[test]
fn an_owner_may_take_its_time() {
    let mut session = Session::new(parameters(), Entry::Single);
    while session.poll_transmit().is_some() {}
    session.receive(Duration::ZERO, b"SGNT <example.com>\r\n");
    session.poll_event().unwrap();
    assert_eq!(session.timeout(), None);
    session.not_found();
    session.poll_transmit().unwrap();
    let late = Duration::from_secs(10_000);
    session.expire(late);
    assert!(!session.is_closed());
    assert_eq!(session.timeout(), Some(late + Limits::default().command_timeout));
}

#[test]
fn shutting_down_lets_a_transaction_finish() {
    let mut idle = Dialogue::new(Entry::Single);
    idle.session.shut_down();
    assert_eq!(idle.hear(""), "421 shutting down\r\n");
    assert!(idle.session.is_closed());

    let mut busy = Dialogue::new(Entry::Single);
    busy.hear(format!("{EHLO}{MAIL}"));
    busy.session.shut_down();
    assert_eq!(busy.hear(RCPT), "250 OK\r\n");
    assert_eq!(busy.hear("DATA [x]\r\n"), "354 CONTINUE [x]\r\n");
    assert_eq!(busy.hear(OBJECT), "250 OK [id-1]\r\n421 shutting down\r\n");
    assert!(busy.session.is_closed());
}

#[test]
fn a_message_that_is_coming_in_is_given_up_and_nothing_else() {
    let mut idle = Dialogue::new(Entry::Single);
    idle.session.give_up_message();
    assert_eq!(idle.hear(""), "");
    assert!(!idle.session.is_closed());

    let mut busy = Dialogue::new(Entry::Single);
    busy.hear(format!("{EHLO}{MAIL}{RCPT}"));
    busy.session.give_up_message();
    assert_eq!(busy.hear("DATA [x]\r\n"), "354 CONTINUE [x]\r\n");
    busy.session.give_up_message();
    assert_eq!(busy.hear(""), "421 no mail is taken for now\r\n");
    assert!(busy.session.is_closed());
}

#[test]
fn end_of_input_ends_the_session_without_a_word() {
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear("NOO");
    dialogue.session.end_of_input(Duration::ZERO);
    assert_eq!(dialogue.hear(""), "");
    assert!(dialogue.session.is_closed());

    let mut session = Session::new(parameters(), Entry::Single);
    while session.poll_transmit().is_some() {}
    session.receive(Duration::ZERO, b"SGNT <example.com>\r\n");
    session.end_of_input(Duration::ZERO);
    session.not_found();
    assert_eq!(session.poll_transmit(), Some(b"450 no such signet\r\n".to_vec()));
    assert_eq!(session.poll_transmit(), None);
    assert!(session.is_closed());
}

#[test]
fn events_carry_what_the_commands_said() {
    let fp = AnyFingerprint([9; 64]);
    let mut dialogue = Dialogue::new(Entry::Single);
    dialogue.hear(format!(
        "{EHLO}MAIL FROM: <sender.test> [{fp}] SIZE=10 RETURN=FULL\r\nSGNT <Ada@Example.com> [{fp}]\r\n"
    ));
    let domain = |text| Domain::parse(text).unwrap();
    let expected = [
        Event::Ehlo {
            domain: domain("sender.test"),
        },
        Event::MailFrom {
            origin: domain("sender.test"),
            fingerprint: Some(fp),
            size: Some(10),
            returning: Some(command::Return::Full),
        },
        Event::Signet {
            name: Name::parse("ada@example.com").unwrap(),
            fingerprint: Some(fp),
        },
    ];
    assert_eq!(dialogue.events, expected);
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![
            EHLO.as_bytes().to_vec(),
            MAIL.as_bytes().to_vec(),
            RCPT.as_bytes().to_vec(),
            b"DATA [x]\r\n".to_vec(),
            OBJECT.to_vec(),
            b"SGNT <example.com>\r\n".to_vec(),
            b"MODE\n".to_vec(),
            b"RSET\r\n".to_vec(),
        ]),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (500usize..600).prop_map(|length| vec![b'x'; length]),
        1 => Just(b"\r\n".to_vec()),
    ]
}

proptest! {
    /// Arbitrary input never panics, and how it is chopped changes nothing.
    #[test]
    fn pieces_do_not_matter(steps in prop::collection::vec(step(), 0..16), piece in 1usize..60) {
        let input = steps.concat();
        let mut whole = Dialogue::new(Entry::Single);
        let said = whole.hear(&input);
        let mut chopped = Dialogue::new(Entry::Single);
        let mut said_in_pieces = String::new();
        for chunk in input.chunks(piece) {
            said_in_pieces += &chopped.hear(chunk);
            // What stays with the driver is less than a line.
            prop_assert!(chopped.session.is_closed() || chopped.unread.len() < command::MAX_LINE);
        }
        prop_assert_eq!(said_in_pieces, said);
        prop_assert_eq!(received(&chopped), received(&whole));
        prop_assert_eq!(chopped.session.is_closed(), whole.session.is_closed());
    }
}

/// A connection is held by nobody who wants nothing.
#[test]
fn commands_without_effect_end_the_session_unless_something_comes_of_it() {
    let mut limited = parameters();
    limited.limits.idle_commands = 3;
    let end = "421 too many commands without effect\r\n";
    let mut dialogue = Dialogue::with(limited.clone(), Entry::Single);
    for _ in 0..3 {
        for command in ["NOOP\r\n", "RSET\r\n", EHLO] {
            assert!(dialogue.hear(command).starts_with("250"), "{command}");
        }
        assert!(dialogue.hear("SGNT <example.com>\r\n").starts_with("250 OK ["));
    }
    for _ in 0..3 {
        assert_eq!(dialogue.hear("VERB\r\n"), "502 not implemented\r\n");
    }
    assert_eq!(dialogue.hear("MODE\r\n"), end);
    assert!(dialogue.session.is_closed());

    // A transaction that is begun again and again is none.
    let mut dialogue = Dialogue::with(limited, Entry::Single);
    dialogue.hear(EHLO);
    for _ in 0..3 {
        assert_eq!(dialogue.hear(MAIL), "250 OK\r\n");
    }
    assert_eq!(dialogue.hear(MAIL), end);
}
