#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is how a test fails

use proptest::prelude::*;

use super::*;

const UPGRADE: &str = "STARTTLS <mx.example.com> MODE=DMTPv1\r\n";

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn params() -> Params {
    Params {
        smtp: smtp::server::Params {
            host: domain("mx.example.com"),
            profile: smtp::server::Profile::Transfer,
            starttls: true,
            scram: true,
            banner_tokens: vec!["DMTPv1".into()],
            dsn: false,
            origin: None,
            limits: smtp::server::Limits::default(),
        },
        dmtp: dmtp::server::Parameters {
            host: domain("mx.example.com"),
            limits: dmtp::server::Limits {
                violations: 2,
                ..Default::default()
            },
            nonce: command::CommitHash::parse("nonce").unwrap(),
        },
        hosts: vec![domain("example.com")],
    }
}

fn tls() -> TlsInfo {
    TlsInfo {
        version: "TLS1.3".into(),
        cipher: "TLS13_AES_256_GCM_SHA384".into(),
        exporter: None,
    }
}

struct Dialogue {
    dual: Dual,
    unread: Vec<u8>,
    events: Vec<Event>,
}

impl Dialogue {
    fn new() -> Self {
        Self::with(params())
    }

    fn with(params: Params) -> Self {
        let mut dialogue = Self {
            dual: Dual::new(params),
            unread: Vec::new(),
            events: Vec::new(),
        };
        assert_eq!(dialogue.hear(""), "220 mx.example.com ESMTP DMTPv1 ready\r\n");
        dialogue
    }

    fn hear(&mut self, input: impl AsRef<[u8]>) -> String {
        self.unread.extend_from_slice(input.as_ref());
        let mut said = Vec::new();
        loop {
            let taken = self.dual.receive(Duration::ZERO, &self.unread);
            self.unread.drain(..taken);
            let before = said.len() + self.events.len();
            said.extend(std::iter::from_fn(|| self.dual.poll_transmit()).flatten());
            self.events.extend(std::iter::from_fn(|| self.dual.poll_event()));
            if taken == 0 && said.len() + self.events.len() == before {
                break;
            }
        }
        String::from_utf8(said).unwrap()
    }

    /// The handshake as a driver does it.
    fn handshake(&mut self) -> String {
        self.unread.clear();
        self.dual.tls_started(tls());
        self.hear("")
    }
}

fn start_tls(protocol: Protocol, host: Option<&str>) -> Event {
    Event::StartTls {
        protocol,
        host: host.map(domain),
    }
}

fn hello(name: &str) -> Event {
    Event::Smtp(smtp::server::Event::Hello(smtp::command::Hello {
        extended: true,
        name: name.into(),
    }))
}

/// `dmtp.md` §5.4: the line that decides, and everything behind it, reaches the SMTP session.
#[test]
fn ehlo_without_brackets_becomes_smtp_with_nothing_lost() {
    let mut dialogue = Dialogue::new();
    let said = dialogue.hear("EHLO mail.sender.test\r\nNOOP\r\nQUIT\r\n");
    assert!(said.starts_with("250-mx.example.com"), "{said}");
    assert!(said.contains("STARTTLS"), "{said}");
    let last: Vec<_> = said.lines().rev().take(2).map(|line| &line[..4]).collect();
    assert_eq!(last, ["221 ", "250 "]);
    assert_eq!(dialogue.events[0], hello("mail.sender.test"));
    assert!(dialogue.dual.smtp().is_some());
    assert!(dialogue.dual.is_closed());
}

#[test]
fn every_way_into_smtp() {
    for line in [
        "EHLO mail.sender.test\r\n",
        "HELO mail.sender.test\r\n",
        "EHLO\r\n",
        "EHLO [127.0.0.1]\r\n",
        "EHLO b\u{fc}cher.test\r\n",
        "STARTTLS\r\n",
        "AUTH PLAIN\r\n",
        "EXPN x\r\n",
    ] {
        let mut dialogue = Dialogue::new();
        dialogue.hear(line);
        assert!(dialogue.dual.smtp().is_some(), "{line}");
        let said = dialogue.hear(UPGRADE);
        assert!(
            dialogue.dual.dmtp().is_none() && !said.starts_with("220"),
            "{line}: {said}"
        );
    }
}

#[test]
fn a_session_that_became_smtp_never_becomes_dmtp() {
    let mut dialogue = Dialogue::new();
    dialogue.hear("EHLO mail.sender.test\r\n");
    let said = dialogue.hear(UPGRADE);
    assert!(said.starts_with("501"), "{said}");
    assert!(
        !dialogue
            .events
            .iter()
            .any(|event| matches!(event, Event::StartTls { .. }))
    );
    let said = dialogue.hear("SGNT <example.com>\r\n");
    assert!(said.starts_with("500"), "{said}");
}

#[test]
fn bare_starttls_is_the_one_of_smtp() {
    let mut dialogue = Dialogue::new();
    let said = dialogue.hear("STARTTLS\r\nEHLO injected.test\r\n");
    assert!(said.starts_with("220"), "{said}");
    assert_eq!(dialogue.events, [start_tls(Protocol::Smtp, None)]);
    assert_eq!(dialogue.handshake(), "");
    let said = dialogue.hear("EHLO mail.sender.test\r\n");
    assert!(
        said.starts_with("250-mx.example.com") && !said.contains("STARTTLS"),
        "{said}"
    );
    assert_eq!(dialogue.events[1..], [hello("mail.sender.test")]);
    assert_eq!(dialogue.dual.smtp().unwrap().tls(), Some(&tls()));
}

/// `dmtp.md` §5.3.
#[test]
fn starttls_with_a_host_becomes_dmtp() {
    for line in [
        UPGRADE,
        "STARTTLS <mx.example.com>\r\n",
        "STARTTLS HOST=<mx.example.com>\n",
        "STARTTLS HOST=<mx.example.com> MODE=DMTP\n",
    ] {
        let mut dialogue = Dialogue::new();
        assert_eq!(dialogue.hear(line), "220 READY\r\n", "{line}");
        assert_eq!(
            dialogue.events,
            [start_tls(Protocol::Dmtp, Some("mx.example.com"))]
        );
        assert_eq!(dialogue.handshake(), "250 OK DMTPv1\r\n");
        assert_eq!(
            dialogue.hear("EHLO mail.sender.test\r\n"),
            "554 cannot fall back to SMTP\r\n"
        );
        assert!(dialogue.dual.dmtp().is_some() && dialogue.dual.smtp().is_none());
    }
}

#[test]
fn a_domain_we_serve_is_a_host_too() {
    let mut dialogue = Dialogue::new();
    assert_eq!(
        dialogue.hear("STARTTLS <Example.COM> MODE=DMTPv1\r\n"),
        "220 READY\r\n"
    );
    assert_eq!(dialogue.events, [start_tls(Protocol::Dmtp, Some("example.com"))]);
}

#[test]
fn starttls_may_ask_for_smtp_by_name() {
    let mut dialogue = Dialogue::new();
    assert_eq!(
        dialogue.hear("STARTTLS <mx.example.com> MODE=ESMTP\r\n"),
        "220 READY\r\n"
    );
    assert_eq!(
        dialogue.events,
        [start_tls(Protocol::Smtp, Some("mx.example.com"))]
    );
    assert_eq!(dialogue.handshake(), "250 OK ESMTP\r\n");
    let said = dialogue.hear("EHLO mail.sender.test\r\n");
    assert!(
        said.starts_with("250-mx.example.com") && !said.contains("STARTTLS"),
        "{said}"
    );
}

#[test]
fn a_refused_starttls_leaves_the_choice_open() {
    for (line, code) in [
        ("STARTTLS <other.test> MODE=DMTPv1\r\n", "554"),
        ("STARTTLS <mx.example.com> MODE=X\r\n", "501"),
        ("STARTTLS <>\r\n", "501"),
        ("STARTTLS mx.example.com\r\n", "501"),
    ] {
        let mut dialogue = Dialogue::new();
        let said = dialogue.hear(line);
        assert!(said.starts_with(code), "{line}: {said}");
        assert!(
            dialogue.hear("EHLO mail.sender.test\r\n").starts_with("250-"),
            "{line}"
        );
    }
}

#[test]
fn without_tls_nothing_is_upgraded() {
    let mut params = params();
    params.smtp.starttls = false;
    let mut dialogue = Dialogue::with(params);
    assert_eq!(dialogue.hear(UPGRADE), "454 TLS is not available\r\n");
    assert_eq!(dialogue.events, []);
}

/// Injected commands must not be answered inside TLS, by either protocol.
#[test]
fn nothing_behind_starttls_survives() {
    for line in [UPGRADE, "STARTTLS <mx.example.com> MODE=SMTP\r\n", "STARTTLS\r\n"] {
        let mut dialogue = Dialogue::new();
        dialogue.hear(format!("{line}QUIT\r\n"));
        assert_eq!(dialogue.unread, b"", "{line}");
        // What arrives while the handshake is due is dropped as well.
        dialogue.hear("QUIT\r\n");
        assert_eq!(dialogue.unread, b"", "{line}");
        let said = dialogue.handshake();
        assert!(
            !said.contains("221") && !dialogue.dual.is_closed(),
            "{line}: {said}"
        );
    }
}

#[test]
fn some_commands_are_answered_before_the_choice() {
    let mut dialogue = Dialogue::new();
    assert_eq!(dialogue.hear("MODE\r\n"), "250 OK ESMTP\r\n");
    assert_eq!(dialogue.hear("NOOP x\r\nRSET\r\n"), "250 OK\r\n250 OK\r\n");
    assert!(dialogue.hear("HELP\r\n").ends_with("214 OK\r\n"));
    assert!(dialogue.dual.smtp().is_none() && dialogue.dual.dmtp().is_none());
    assert_eq!(dialogue.hear("QUIT\r\n"), "221 BYE\r\n");
    assert!(dialogue.dual.is_closed());
}

#[test]
fn other_commands_of_dmtp_need_tls() {
    for line in [
        "EHLO <sender.test>\r\n",
        "HELO HOST=<sender.test>\n",
        "MAIL FROM: <sender.test> [x] SIZE=7\r\n",
        "MAIL FROM:<alice@sender.test>\r\n",
        "RCPT TO: <example.com> [x]\r\n",
        "DATA\r\n",
        "SGNT <example.com>\r\n",
        "VRFY x\r\n",
        "HIST\r\n",
        "STATS\r\n",
        "VERB\r\n",
    ] {
        let mut dialogue = Dialogue::new();
        assert_eq!(
            dialogue.hear(line),
            "503 STARTTLS or EHLO comes first\r\n",
            "{line}"
        );
    }
}

#[test]
fn errors_have_their_codes_and_end_the_session_when_repeated() {
    let mut dialogue = Dialogue::new();
    assert_eq!(dialogue.hear("FROB\r\n"), "500 unknown command\r\n");
    dialogue.hear(vec![b'x'; 3000]);
    assert_eq!(dialogue.hear("\r\n"), "500 line too long\r\n");
    assert_eq!(dialogue.hear("RSET x\r\n"), "421 too many errors\r\n");
    assert!(dialogue.dual.is_closed());
}

#[test]
fn a_silent_peer_is_sent_away() {
    let mut dialogue = Dialogue::new();
    let at = dialogue.dual.timeout().unwrap();
    dialogue.dual.expire(at - Duration::from_millis(1));
    assert!(!dialogue.dual.is_closed());
    dialogue.dual.expire(at);
    assert_eq!(dialogue.hear(""), "421 timeout\r\n");
    assert!(dialogue.dual.is_closed());
}

#[test]
fn shutting_down_and_end_of_input_close_an_undecided_connection() {
    let mut dialogue = Dialogue::new();
    dialogue.dual.shut_down();
    assert_eq!(dialogue.hear(""), "421 shutting down\r\n");
    assert!(dialogue.dual.is_closed());
    let mut gone = Dialogue::new();
    gone.dual.end_of_input(Duration::ZERO);
    assert!(gone.dual.is_closed());
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        lines in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec!["NOOP\r\n", "EHLO a.test\r\n", "EHLO <a.test>\r\n", "MODE\n", "STARTTLS\r\n", UPGRADE])
                    .prop_map(|line| line.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..30),
                Just(vec![b'\n']),
                Just(vec![b'x'; 600]),
            ],
            0..6,
        ),
        piece in 1usize..60,
    ) {
        let input = lines.concat();
        let mut whole = Dialogue::new();
        let said = whole.hear(&input);
        let mut chopped = Dialogue::new();
        let in_pieces: String = input.chunks(piece).map(|chunk| chopped.hear(chunk)).collect();
        prop_assert_eq!(in_pieces, said);
        prop_assert_eq!(chopped.events, whole.events);
    }
}

#[test]
fn nobody_takes_for_ever_to_choose() {
    let mut limited = params();
    limited.dmtp.limits.idle_commands = 4;
    let mut dialogue = Dialogue::with(limited);
    for command in ["NOOP", "RSET", "MODE", "HELP"] {
        assert!(
            dialogue.hear(format!("{command}\r\n")).starts_with('2'),
            "{command}"
        );
    }
    assert_eq!(
        dialogue.hear("NOOP\r\n"),
        "421 too many commands without effect\r\n"
    );
    assert!(dialogue.dual.is_closed());
}
