#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is how a test fails

use proptest::prelude::*;

use super::*;
use crate::dime::fingerprint::FullFingerprint;
use crate::dmtp::command::{CommitHash, Return};
use crate::dmtp::reply::{TransactionId, Verdict};

const BANNER: &str = "220 dx.example.com DMTPv1 ready\r\n";

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn fp(fill: u8) -> FullFingerprint {
    FullFingerprint([fill; 64])
}

fn message(size: u64) -> Message {
    Message {
        origin: domain("sender.test"),
        origin_signet: Some(fp(1)),
        destination: domain("example.com"),
        destination_signet: Some(fp(2)),
        size,
        returning: Some(Return::Display),
        commit: CommitHash::parse("c51e").unwrap(),
    }
}

/// A client and what it says to a server.
struct Dialogue {
    client: Client,
    unread: Vec<u8>,
}

impl Dialogue {
    fn new(entry: Entry) -> Self {
        Self::with(entry, Limits::default())
    }

    fn with(entry: Entry, limits: Limits) -> Self {
        Self {
            client: Client::new(entry, limits),
            unread: Vec::new(),
        }
    }

    /// A session past its banner.
    fn ready() -> Self {
        Self::ready_with(Limits::default())
    }

    fn ready_with(limits: Limits) -> Self {
        let mut dialogue = Self::with(Entry::Single, limits);
        assert_eq!(dialogue.hear(BANNER), (String::new(), vec![Event::Ready]));
        dialogue
    }

    /// What the client says, and tells its owner, on hearing something.
    fn hear(&mut self, input: impl AsRef<[u8]>) -> (String, Vec<Event>) {
        self.unread.extend_from_slice(input.as_ref());
        let (mut said, mut events) = (Vec::new(), Vec::new());
        loop {
            let taken = self.client.receive(Duration::ZERO, &self.unread);
            self.unread.drain(..taken);
            let before = said.len() + events.len();
            said.extend(std::iter::from_fn(|| self.client.poll_transmit()).flatten());
            events.extend(std::iter::from_fn(|| self.client.poll_event()));
            if taken == 0 && said.len() + events.len() == before {
                break;
            }
        }
        (String::from_utf8(said).unwrap(), events)
    }

    fn said(&mut self) -> String {
        self.hear("").0
    }

    /// How the request in progress ends on hearing something.
    fn outcome(&mut self, input: impl AsRef<[u8]>) -> Outcome {
        self.said();
        match self.hear(input).1.as_slice() {
            [Event::Finished(outcome)] => outcome.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Why the session ends on hearing something.
    fn failure(&mut self, input: impl AsRef<[u8]>) -> Error {
        self.said();
        let events = self.hear(input).1;
        assert!(self.client.is_closed());
        match events.as_slice() {
            [Event::Failed(error)] => error.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn dual() -> Dialogue {
    Dialogue::new(Entry::Dual(domain("mx1.example.com")))
}

fn organization() -> Name {
    Name::parse("example.com").unwrap()
}

#[test]
fn a_banner_must_offer_dmtp() {
    for (banner, error) in [
        ("220 mx.example.com ESMTP\r\n", Error::NotDmtp),
        ("220 <stub.example> (DMTPv1)\r\n", Error::NotDmtp),
        ("554 go away\r\n", Error::Refused(Reply::plain(554, "go away"))),
        ("421 busy\r\n", Error::Refused(Reply::plain(421, "busy"))),
        ("SSH-2.0\r\n", Error::Malformed("reply line without a code")),
    ] {
        assert_eq!(Dialogue::new(Entry::Single).failure(banner), error, "{banner}");
    }
}

/// `dmtp.md` §5.3 and §13.2.
#[test]
fn dual_mode_upgrades_at_once_and_waits_for_the_server() {
    let mut dialogue = dual();
    let (said, events) = dialogue.hear("220 mx1.example.com ESMTP DMTPv1 ready\r\n");
    assert_eq!(said, "STARTTLS <mx1.example.com> MODE=DMTPv1\r\n");
    assert_eq!(events, []);
    let (said, events) = dialogue.hear("220-certificate follows\r\n220 READY\r\n");
    assert_eq!((said.as_str(), events), ("", vec![Event::StartTls]));
    assert_eq!(dialogue.client.noop(), Err(Error::NotReady));
    dialogue.client.tls_established();
    assert_eq!(dialogue.client.noop(), Err(Error::NotReady));
    assert_eq!(dialogue.hear("220 OK DMTPv1\r\n").1, [Event::Ready]);
}

#[test]
fn another_mode_after_the_upgrade_ends_the_session() {
    for (line, error) in [
        ("250 OK ESMTP\r\n", Error::NotDmtp),
        ("250 DMTPv1\r\n", Error::Malformed("no mode after STARTTLS")),
        ("250 OK DMTPv1 x\r\n", Error::Malformed("no mode after STARTTLS")),
        ("454 later\r\n", Error::Refused(Reply::plain(454, "later"))),
    ] {
        let mut dialogue = dual();
        dialogue.hear("220 mx1.example.com DMTPv1\r\n");
        dialogue.hear("250 OK\r\n");
        dialogue.client.tls_established();
        assert_eq!(dialogue.failure(line), error, "{line}");
    }
}

#[test]
fn a_refused_upgrade_ends_the_session() {
    let mut dialogue = dual();
    dialogue.hear("220 mx1.example.com DMTPv1\r\n");
    let refused = Error::Refused(Reply::plain(554, "unknown host"));
    assert_eq!(dialogue.failure("554 unknown host\r\n"), refused);
}

/// `dmtp.md` §11 no. 1.
#[test]
fn clear_text_behind_starttls_is_an_attack() {
    let mut together = dual();
    together.hear("220 mx1.example.com DMTPv1\r\n");
    let forged = "220 READY\r\n250 OK DMTPv1\r\n";
    assert_eq!(together.failure(forged), Error::ClearTextSurplus);

    let mut later = dual();
    later.hear("220 mx1.example.com DMTPv1\r\n");
    assert_eq!(later.hear("220 READY\r\n").1, [Event::StartTls]);
    assert_eq!(later.failure("2"), Error::ClearTextSurplus);

    let mut early = dual();
    assert_eq!(
        early.failure("220 mx1.example.com DMTPv1\r\n220 READY\r\n"),
        Error::ClearTextSurplus
    );
}

#[test]
fn signets_are_fetched_with_and_without_a_fingerprint() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.signet(&organization(), None).unwrap();
    assert_eq!(dialogue.said(), "SGNT <example.com>\r\n");
    let signet = Outcome::Done(Answer::Signet(b"signet".to_vec()));
    assert_eq!(dialogue.outcome("250 OK [c2lnbmV0]\r\n"), signet);
    let user = Name::parse("ada@example.com").unwrap();
    dialogue.client.signet(&user, Some(fp(3).into())).unwrap();
    assert_eq!(dialogue.said(), format!("SGNT <ada@example.com> [{}]\r\n", fp(3)));
    assert_eq!(dialogue.outcome("280 OK [c2lnbmV0]\r\n"), signet);
}

#[test]
fn replies_are_sorted_by_what_can_be_done_about_them() {
    let long = Reply {
        code: 250,
        enhanced: None,
        lines: vec!["[c2lnbmV0]".into(), "OK".into()],
    };
    for (reply, outcome) in [
        ("450 no such signet\r\n", Outcome::NotFound),
        (
            "451 try later\r\n",
            Outcome::Transient(Reply::plain(451, "try later")),
        ),
        ("550 no\r\n", Outcome::Permanent(Reply::plain(550, "no"))),
        (
            "250 ok [c2lnbmV0]\r\n",
            Outcome::Unusable(Reply::plain(250, "ok [c2lnbmV0]")),
        ),
        (
            "354 OK [c2lnbmV0]\r\n",
            Outcome::Unusable(Reply::plain(354, "OK [c2lnbmV0]")),
        ),
        ("250-[c2lnbmV0]\r\n250 OK\r\n", Outcome::Unusable(long)),
    ] {
        let mut dialogue = Dialogue::ready();
        dialogue.client.signet(&organization(), None).unwrap();
        assert_eq!(dialogue.outcome(reply), outcome, "{reply}");
        // In each case the session goes on.
        dialogue.client.noop().unwrap();
        assert_eq!(dialogue.outcome("250 OK\r\n"), Outcome::Done(Answer::Nothing));
    }
}

#[test]
fn verdicts_and_histories_are_read() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.verify(&organization(), fp(3).into()).unwrap();
    assert_eq!(dialogue.said(), format!("VRFY <example.com> [{}]\r\n", fp(3)));
    let update = format!("250 UPDATE {}\r\n", fp(4));
    let expected = Outcome::Done(Answer::Verdict(Verdict::Update(fp(4))));
    assert_eq!(dialogue.outcome(update), expected);
    let ada: Mailbox = "ada@example.com".parse().unwrap();
    dialogue
        .client
        .history(&ada, Some(fp(3).into()), Some(fp(4).into()))
        .unwrap();
    assert_eq!(
        dialogue.said(),
        format!("HIST <ada@example.com> [{}] [{}]\r\n", fp(3), fp(4))
    );
    let expected = Outcome::Done(Answer::History(vec![b"one".to_vec(), b"two".to_vec()]));
    assert_eq!(
        dialogue.outcome("250-[b25l]\r\n250-[dHdv]\r\n250 OK\r\n"),
        expected
    );
    dialogue.client.history(&ada, Some(fp(3).into()), None).unwrap();
    assert_eq!(dialogue.outcome("450 unknown\r\n"), Outcome::NotFound);
    dialogue.said();
    dialogue.client.history(&ada, None, None).unwrap();
    assert_eq!(dialogue.said(), "HIST USER=<ada@example.com>\n");
}

/// `dmtp.md` §13.5.
#[test]
fn a_message_is_sent_step_by_step() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.ehlo(&domain("sender.test")).unwrap();
    assert_eq!(dialogue.said(), "EHLO <sender.test>\r\n");
    let extensions = Extensions {
        size_bytes: Some(52_428_800),
        returning: true,
        pipelining: false,
        auth: Vec::new(),
    };
    assert_eq!(
        dialogue.outcome("250-example.com\r\n250-RETURN\r\n250-SIZE 52428800\r\n250 OK\r\n"),
        Outcome::Done(Answer::Extensions(extensions))
    );
    dialogue.client.send(message(8)).unwrap();
    let mail = format!("MAIL FROM: <sender.test> [{}] SIZE=8 RETURN=DISPLAY\r\n", fp(1));
    assert_eq!(dialogue.said(), mail);
    assert_eq!(
        dialogue.hear("250 OK\r\n").0,
        format!("RCPT TO: <example.com> [{}]\r\n", fp(2))
    );
    assert_eq!(dialogue.hear("250 OK\r\n").0, "DATA [c51e]\r\n");
    assert_eq!(dialogue.hear("354 CONTINUE [c51e]\r\n").1, [Event::WantBody]);
    dialogue.client.body(b"mess".to_vec()).unwrap();
    assert_eq!(dialogue.hear(""), ("mess".to_owned(), vec![Event::WantBody]));
    assert_eq!(dialogue.client.body(b"age.!".to_vec()), Err(Error::MessageLength));
    assert_eq!(dialogue.client.body(Vec::new()), Err(Error::MessageLength));
    dialogue.client.body(b"age.".to_vec()).unwrap();
    assert_eq!(dialogue.said(), "age.\r\n");
    let id = TransactionId::parse("20240611-7f3a9c");
    assert_eq!(
        dialogue.outcome("250 OK [20240611-7f3a9c]\r\n"),
        Outcome::Done(Answer::Committed(id))
    );
    dialogue.client.quit().unwrap();
    assert_eq!(dialogue.said(), "QUIT\r\n");
    assert_eq!(dialogue.outcome("221 BYE\r\n"), Outcome::Done(Answer::Nothing));
    assert!(dialogue.client.is_closed());
}

#[test]
fn a_refusal_at_any_step_ends_the_request_but_not_the_session() {
    let steps = ["250 OK\r\n", "250 OK\r\n", "354 CONTINUE [x]\r\n"];
    for refused_at in 0..=3 {
        let mut dialogue = Dialogue::ready();
        dialogue.client.send(message(1)).unwrap();
        for step in &steps[..refused_at] {
            dialogue.hear(step);
        }
        if refused_at == 3 {
            dialogue.client.body(b"m".to_vec()).unwrap();
        }
        let refusal = Outcome::Permanent(Reply::plain(554, "no"));
        assert_eq!(dialogue.outcome("554 no\r\n"), refusal, "{refused_at}");
        dialogue.client.send(message(1)).unwrap();
    }
}

/// A session with a server that takes commands together, which has just been given a message.
fn together() -> Dialogue {
    let mut dialogue = Dialogue::ready();
    dialogue.client.ehlo(&domain("sender.test")).unwrap();
    let offered = dialogue.outcome("250-dx.example.com\r\n250-PIPELINING\r\n250 OK\r\n");
    assert!(matches!(offered, Outcome::Done(Answer::Extensions(offered)) if offered.pipelining));
    dialogue.client.send(message(9)).unwrap();
    dialogue
}

#[test]
fn commands_go_together_where_the_server_takes_them() {
    let mut dialogue = together();
    let said = dialogue.said();
    let verbs: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs, ["MAIL", "RCPT", "DATA"], "{said}");
    // However the answers come.
    assert_eq!(dialogue.hear("250 OK\r\n250 O"), (String::new(), vec![]));
    assert_eq!(dialogue.hear("K\r\n").1, []);
    assert_eq!(dialogue.client.noop(), Err(Error::NotReady));
    assert_eq!(dialogue.hear("354 CONTINUE [c51e]\r\n").1, [Event::WantBody]);
    dialogue.client.body(b"message.!".to_vec()).unwrap();
    assert!(matches!(
        dialogue.outcome("250 OK [20240611-7f3a9c]\r\n"),
        Outcome::Done(Answer::Committed(Some(_)))
    ));
    // The next message, with all answers at once.
    dialogue.client.send(message(9)).unwrap();
    dialogue.said();
    assert_eq!(
        dialogue.hear("250 OK\r\n250 OK\r\n354 CONTINUE [c51e]\r\n").1,
        [Event::WantBody]
    );
}

#[test]
fn the_first_refusal_of_several_counts_once_all_are_answered() {
    for (answers, code) in [
        (["451 later", "503 MAIL first", "503 RCPT first"], 451),
        (["250 OK", "550 no", "451 what?"], 550),
        (["250 OK", "250 OK", "452 full"], 452),
    ] {
        let mut dialogue = together();
        dialogue.said();
        let [first, second, third] = answers.map(|answer| format!("{answer}\r\n"));
        assert_eq!(dialogue.hear(first).1, [], "{answers:?}");
        assert_eq!(dialogue.hear(second).1, [], "{answers:?}");
        match dialogue.outcome(third) {
            Outcome::Transient(reply) | Outcome::Permanent(reply) => assert_eq!(reply.code, code),
            other => panic!("{other:?}"),
        }
        dialogue.client.noop().unwrap();
        assert_eq!(dialogue.outcome("250 OK\r\n"), Outcome::Done(Answer::Nothing));
    }
}

#[test]
fn a_server_that_goes_on_after_a_refusal_gets_no_message() {
    let mut dialogue = together();
    let outcome = dialogue.outcome("250 OK\r\n550 no\r\n354 CONTINUE [c51e]\r\n");
    assert!(
        matches!(&outcome, Outcome::Permanent(reply) if reply.code == 550),
        "{outcome:?}"
    );
    assert!(dialogue.client.is_closed());
    assert_eq!(dialogue.client.body(b"message.!".to_vec()), Err(Error::NotReady));
}

#[test]
fn a_server_may_hang_up_once_it_has_refused() {
    let mut dialogue = together();
    dialogue.said();
    assert_eq!(dialogue.hear("421 closing\r\n").1, []);
    dialogue.client.end_of_input(Duration::ZERO);
    let events = dialogue.hear("").1;
    assert!(matches!(&events[..], [Event::Finished(Outcome::Transient(reply))] if reply.code == 421));
    assert!(dialogue.client.is_closed());
    let mut silent = together();
    silent.said();
    assert_eq!(silent.hear("250 OK\r\n").1, []);
    silent.client.end_of_input(Duration::ZERO);
    assert_eq!(silent.hear("").1, [Event::Failed(Error::Closed)]);
}

#[test]
fn a_message_accepted_in_unusual_words_is_accepted() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.send(message(1)).unwrap();
    dialogue.said();
    dialogue.hear("250 \r\n");
    dialogue.hear("251 fine\r\n");
    dialogue.hear("399 continue [] more\r\n");
    dialogue.client.body(b"m".to_vec()).unwrap();
    assert_eq!(
        dialogue.outcome("254 ACCEPTED=x\r\n"),
        Outcome::Done(Answer::Committed(None))
    );
}

#[test]
fn a_go_ahead_in_smtp_words_ends_the_session() {
    for reply in [
        "354 End data with <CR><LF>.<CR><LF>\r\n",
        "250 OK\r\n",
        "354 CONTINUE x\r\n",
    ] {
        let mut dialogue = Dialogue::ready();
        dialogue.client.send(message(1)).unwrap();
        dialogue.said();
        dialogue.hear("250 OK\r\n");
        dialogue.hear("250 OK\r\n");
        let malformed = Error::Malformed("DATA is not answered with CONTINUE");
        assert_eq!(dialogue.failure(reply), malformed, "{reply}");
    }
}

#[test]
fn how_much_may_come_back_depends_on_what_was_asked() {
    let limits = Limits {
        reply_line_bytes: 100,
        signet_bytes: 3000,
        ..Limits::default()
    };
    let reply = String::from_utf8(
        reply::lines(&reply::signet(&[7; 3000]), usize::MAX)
            .next()
            .unwrap(),
    )
    .unwrap();
    let mut dialogue = Dialogue::ready_with(limits);
    dialogue.client.signet(&organization(), None).unwrap();
    assert_eq!(
        dialogue.outcome(&reply),
        Outcome::Done(Answer::Signet(vec![7; 3000]))
    );
    dialogue.client.noop().unwrap();
    assert_eq!(dialogue.failure(&reply), Error::TooLong);

    let mut dialogue = Dialogue::ready_with(limits);
    dialogue.client.signet(&organization(), None).unwrap();
    assert_eq!(
        dialogue.failure("250 OK [".to_owned() + &"A".repeat(4200)),
        Error::TooLong
    );
}

#[test]
fn the_largest_signet_fits_the_default_limits() {
    let limits = Limits::default();
    let line = "250 OK []\r\n".len() + limits.signet_bytes.div_ceil(3) * 4;
    assert!(bound(&Request::Signet, &limits).line_bytes >= line);
}

#[test]
fn a_valid_answer_counts_even_if_the_server_says_goodbye_behind_it() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.noop().unwrap();
    dialogue.said();
    let events = dialogue.hear("250 OK\r\n421 shutting down\r\n").1;
    let goodbye = Event::Failed(Error::Refused(Reply::plain(421, "shutting down")));
    assert_eq!(events, [Event::Finished(Outcome::Done(Answer::Nothing)), goodbye]);
}

#[test]
fn a_second_reply_is_never_taken_for_the_answer_to_the_next_request() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.noop().unwrap();
    dialogue.client.poll_transmit().unwrap();
    dialogue
        .client
        .receive(Duration::ZERO, b"250 OK\r\n250 OK [c2lnbmV0]\r\n");
    assert_eq!(
        dialogue.client.signet(&organization(), None),
        Err(Error::NotReady)
    );

    let mut dialogue = Dialogue::ready();
    dialogue.client.send(message(1)).unwrap();
    let eager = Error::Malformed("more replies than requests");
    assert_eq!(dialogue.failure("250 OK\r\n250 OK\r\n"), eager);
}

#[test]
fn one_request_at_a_time() {
    let mut dialogue = Dialogue::new(Entry::Single);
    assert_eq!(dialogue.client.noop(), Err(Error::NotReady));
    let mut dialogue = Dialogue::ready();
    dialogue.client.noop().unwrap();
    assert_eq!(dialogue.client.reset(), Err(Error::NotReady));
    assert_eq!(dialogue.client.body(b"x".to_vec()), Err(Error::NotReady));
    assert_eq!(dialogue.said(), "NOOP\r\n");
}

#[test]
fn a_request_without_a_wire_form_is_not_sent() {
    let mut dialogue = Dialogue::ready();
    let quoted: Mailbox = r#""a> [b"@example.com"#.parse().unwrap();
    let unsafe_value = Error::Request(command::Error::UnsafeValue);
    assert_eq!(
        dialogue.client.signet(&Name::User(quoted), None),
        Err(unsafe_value)
    );
    assert_eq!(
        dialogue.client.send(message(0)),
        Err(Error::Request(command::Error::Inexpressible))
    );
    assert_eq!(dialogue.said(), "");
    assert_eq!(dialogue.client.noop(), Ok(()));
}

#[test]
fn waits_end() {
    let limits = Limits::default();
    let mut silent = Dialogue::new(Entry::Single);
    assert_eq!(silent.client.timeout(), Some(limits.reply_timeout));
    silent.client.expire(Duration::ZERO);
    assert!(!silent.client.is_closed());
    silent.client.expire(limits.reply_timeout);
    assert_eq!(silent.hear("").1, [Event::Failed(Error::Timeout)]);

    let mut slow = Dialogue::ready();
    assert_eq!(slow.client.timeout(), None);
    slow.client.send(message(1)).unwrap();
    slow.said();
    slow.hear("250 OK\r\n");
    slow.hear("250 OK\r\n");
    slow.hear("354 CONTINUE [x]\r\n");
    slow.client.body(b"m".to_vec()).unwrap();
    slow.said();
    slow.hear("2");
    assert_eq!(slow.client.timeout(), Some(limits.commit_timeout));
}

#[test]
fn a_lost_connection_fails_everything_but_quit() {
    let mut dialogue = Dialogue::ready();
    dialogue.client.noop().unwrap();
    dialogue.said();
    dialogue.client.end_of_input(Duration::ZERO);
    assert_eq!(dialogue.hear("").1, [Event::Failed(Error::Closed)]);

    let mut leaving = Dialogue::ready();
    leaving.client.quit().unwrap();
    leaving.said();
    leaving.client.end_of_input(Duration::ZERO);
    assert_eq!(
        leaving.hear("").1,
        [Event::Finished(Outcome::Done(Answer::Nothing))]
    );
    assert!(leaving.client.is_closed());
}

proptest! {
    /// Arbitrary replies never panic, and how they are chopped changes nothing.
    #[test]
    fn pieces_do_not_matter(
        lines in prop::collection::vec(
            prop_oneof![
                "[245][0-9]{2}[ -][ -~]{0,20}\r\n".prop_map(String::into_bytes),
                prop::sample::select(vec![
                    b"250 OK [c2lnbmV0]\r\n".to_vec(),
                    b"250-[b25l]\r\n".to_vec(),
                    b"250 OK\r\n".to_vec(),
                    b"250 OK\n".to_vec(),
                ]),
                prop::collection::vec(any::<u8>(), 0..20),
            ],
            0..5,
        ),
        piece in 1usize..40,
    ) {
        let asked = || {
            let mut dialogue = Dialogue::ready();
            let ada: Mailbox = "ada@example.com".parse().unwrap();
            dialogue.client.history(&ada, Some(fp(3).into()), None).unwrap();
            dialogue.said();
            dialogue
        };
        let input = lines.concat();
        let whole = asked().hear(&input).1;
        let mut chopped = asked();
        let in_pieces: Vec<_> = input.chunks(piece).flat_map(|chunk| chopped.hear(chunk).1).collect();
        prop_assert_eq!(in_pieces, whole);
    }
}
