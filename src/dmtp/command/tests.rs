#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is how a test fails

use proptest::prelude::*;

use super::*;

fn fingerprint(fill: u8) -> AnyFingerprint {
    AnyFingerprint([fill; 64])
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn mail(size: Option<u64>, fingerprint: Option<AnyFingerprint>) -> Mail {
    Mail {
        origin: domain("sender.test"),
        fingerprint,
        size,
        returning: None,
        width: None,
    }
}

fn parse_text(line: &str) -> Result<Command, Error> {
    parse(line.as_bytes())
}

#[test]
fn reads_starttls_in_every_form() {
    let upgrade = |mode| {
        Ok(Command::StartTls(Some(Upgrade {
            host: domain("dx.example.com"),
            mode,
        })))
    };
    assert_eq!(parse_text("STARTTLS"), Ok(Command::StartTls(None)));
    assert_eq!(parse_text("starttls <DX.example.com>"), upgrade(None));
    for line in [
        "STARTTLS <dx.example.com> MODE=DMTPv1",
        "STARTTLS HOST=<dx.example.com> MODE=DMTP",
    ] {
        assert_eq!(parse_text(line), upgrade(Some(Protocol::Dmtp)), "{line}");
    }
    for line in [
        "STARTTLS <dx.example.com> MODE=SMTP",
        "STARTTLS HOST=<dx.example.com>\tmode=esmtp ",
    ] {
        assert_eq!(parse_text(line), upgrade(Some(Protocol::Smtp)), "{line}");
    }
    for bad in [
        "STARTTLS dx.example.com",
        "STARTTLS <>",
        "STARTTLS <dx.example.com",
        "STARTTLS <dx..example.com>",
        "STARTTLS <dx.example.com> MODE=",
        "STARTTLS <dx.example.com> MODE=DMTPv2",
        "STARTTLS <dx.example.com> DMTPv1",
        "STARTTLS <dx.example.com>MODE=DMTPv1",
        "STARTTLS <dx.example.com> MODE=DMTPv1 x",
        "STARTTLS MODE=DMTP",
        "STARTTLS <ada@example.com>",
    ] {
        assert!(matches!(parse_text(bad), Err(Error::Arguments(_))), "{bad}");
    }
}

#[test]
fn angle_brackets_tell_a_dmtp_greeting() {
    assert_eq!(parse_text("EHLO <a.test>"), Ok(Command::Ehlo(domain("a.test"))));
    assert_eq!(
        parse_text("helo host=<a.test>"),
        Ok(Command::Helo(domain("a.test")))
    );
    assert_eq!(parse_text("EHLO a.test"), Err(Error::SmtpOnly));
    assert_eq!(parse_text("HELO a.test"), Err(Error::SmtpOnly));
    for bad in [
        "EHLO",
        "EHLO <>",
        "EHLO HOST=a.test",
        "EHLO <a.test> x",
        "EHLO <a.test>x",
        "EHLO <[127.0.0.1]>",
    ] {
        assert!(matches!(parse_text(bad), Err(Error::Arguments(_))), "{bad}");
    }
}

#[test]
fn mail_needs_a_size_in_brackets_and_a_fingerprint_otherwise() {
    let fp = fingerprint(1);
    assert_eq!(
        parse_text("MAIL FROM: <sender.test> [fingerprint] SIZE=7"),
        Ok(Command::Mail(mail(Some(7), None)))
    );
    let full = Mail {
        returning: Some(Return::Display),
        width: Some(Width::Seven),
        ..mail(Some(7), Some(fp))
    };
    assert_eq!(
        parse_text(&format!(
            "mail from:<sender.test> [{fp}] data=7bit Return=Display size=7"
        )),
        Ok(Command::Mail(full))
    );
    assert_eq!(
        parse_text(&format!("MAIL FROM=<sender.test> FINGERPRINT=[{fp}]")),
        Ok(Command::Mail(mail(None, Some(fp))))
    );
    for bad in [
        "MAIL",
        "MAIL FROM: <sender.test> [x]",
        "MAIL FROM: <sender.test> SIZE=7",
        "MAIL FROM: <sender.test> [x] SIZE=0",
        "MAIL FROM: <sender.test> [x] SIZE=+7",
        "MAIL FROM: <sender.test> [x] SIZE=",
        "MAIL FROM: <sender.test> [x] SIZE=99999999999999999999",
        "MAIL FROM: <sender.test> [x] SIZE=7 SIZE=7",
        "MAIL FROM: <sender.test> [x] SIZE=7 RETURN=ALL",
        "MAIL FROM: <sender.test> [x] SIZE=7 DATA=9BIT",
        "MAIL FROM: <sender.test> [x] SIZE=7 BODY=8BITMIME",
        "MAIL FROM: <alice@sender.test> [x] SIZE=7",
        "MAIL FROM: <> [x] SIZE=7",
        "MAIL FROM: <sender.test> [] SIZE=7",
        "MAIL FROM=<sender.test>",
        "MAIL FROM=<sender.test> FINGERPRINT=[fingerprint]",
        "MAIL FROM : <sender.test> [x] SIZE=7",
    ] {
        assert!(matches!(parse_text(bad), Err(Error::Arguments(_))), "{bad}");
    }
    let reordered = format!("MAIL FINGERPRINT=[{fp}] FROM=<sender.test>");
    assert!(matches!(parse_text(&reordered), Err(Error::Arguments(_))));
}

#[test]
fn nothing_follows_the_bracket_of_rcpt() {
    let rcpt = |fingerprint| {
        Ok(Command::Rcpt {
            destination: domain("a.test"),
            fingerprint,
        })
    };
    let fp = fingerprint(2);
    assert_eq!(parse_text("RCPT TO: <a.test> [fingerprint]"), rcpt(None));
    assert_eq!(parse_text(&format!("RCPT TO:<a.test> [{fp}]")), rcpt(Some(fp)));
    assert_eq!(
        parse_text(&format!("RCPT TO=<a.test> FINGERPRINT=[{fp}]")),
        rcpt(Some(fp))
    );
    for bad in [
        "RCPT TO: <a.test> [x] SIZE=7",
        "RCPT TO: <a.test>",
        "RCPT TO: <bob@a.test> [x]",
    ] {
        assert!(matches!(parse_text(bad), Err(Error::Arguments(_))), "{bad}");
    }
}

#[test]
fn data_keeps_a_commit_hash_of_sane_form() {
    let data = |text: &str| Ok(Command::Data(CommitHash::parse(text)));
    assert_eq!(parse_text("DATA"), Ok(Command::Data(None)));
    assert_eq!(parse_text("DATA [c51e]"), data("c51e"));
    assert_eq!(parse_text("DATA [c5 1e]"), Ok(Command::Data(None)));
    assert!(matches!(parse_text("DATA c51e"), Err(Error::Arguments(_))));
    assert!(matches!(parse_text("DATA [c51e] x"), Err(Error::Arguments(_))));
    assert_eq!(CommitHash::parse(&"x".repeat(129)), None);
}

#[test]
fn signet_commands_name_users_and_organizations() {
    let (one, two) = (fingerprint(1), fingerprint(2));
    let user = name("ada@a.test");
    for line in ["SGNT <Ada@A.test>", "SGNT USER=<ada@a.test>"] {
        let expected = Command::Signet {
            name: user.clone(),
            fingerprint: None,
        };
        assert_eq!(parse_text(line), Ok(expected));
    }
    for line in [
        format!("VRFY <a.test> [{one}]"),
        format!("VRFY DOMAIN=<a.test> FINGERPRINT=[{one}]"),
    ] {
        let expected = Command::Verify {
            name: name("a.test"),
            fingerprint: one,
        };
        assert_eq!(parse_text(&line), Ok(expected));
    }
    let history = |start, stop| {
        Ok(Command::History {
            address: user.address().unwrap().clone(),
            start,
            stop,
        })
    };
    assert_eq!(
        parse_text(&format!("HIST <ada@a.test> [{one}] [{two}]")),
        history(Some(one), Some(two))
    );
    assert_eq!(parse_text("HIST USER=<ada@a.test>"), history(None, None));
    assert_eq!(
        parse_text(&format!("HIST USER=<ada@a.test> STOP=[{two}]")),
        history(None, Some(two))
    );
}

#[test]
fn signet_commands_refuse_their_neighbours() {
    let fp = fingerprint(1);
    for bad in [
        "SGNT".to_owned(),
        "SGNT ada@a.test".to_owned(),
        "SGNT <a.test> [fingerprint]".to_owned(),
        "SGNT USER=<a.test>".to_owned(),
        "SGNT DOMAIN=<ada@a.test>".to_owned(),
        "SGNT USER=<ada@a.test> DOMAIN=<a.test>".to_owned(),
        format!("SGNT <a.test> [{fp}] [{fp}]"),
        format!("SGNT <a.test> [{fp}=]"),
        "VRFY <a.test>".to_owned(),
        "VRFY USER=<ada@a.test>".to_owned(),
        "HIST <ada@a.test>".to_owned(),
        format!("HIST <a.test> [{fp}]"),
        format!("HIST USER=<ada@a.test> STOP=[{fp}] START=[{fp}]"),
    ] {
        assert!(matches!(parse_text(&bad), Err(Error::Arguments(_))), "{bad}");
    }
    assert_eq!(
        parse_text(&format!("HIST <example.com> [{fp}]")),
        Err(Error::Arguments("user address required"))
    );
}

#[test]
fn commands_without_arguments_take_none_but_noop_help_and_stats() {
    for (verb, command) in [
        ("MODE", Command::Mode),
        ("RSET", Command::Rset),
        ("QUIT", Command::Quit),
    ] {
        assert_eq!(parse_text(verb), Ok(command.clone()));
        assert_eq!(parse_text(&format!("{verb} \t")), Ok(command));
        assert!(matches!(
            parse_text(&format!("{verb} x")),
            Err(Error::Arguments(_))
        ));
    }
    assert_eq!(parse_text("NOOP =a any thing"), Ok(Command::Noop));
    assert_eq!(parse_text("HELP SGNT"), Ok(Command::Help));
    assert_eq!(parse_text("STATS [bm9uY2U]"), Ok(Command::Stats));
    assert_eq!(parse_text("VERB"), Ok(Command::Verb));
}

#[test]
fn login_and_keys_are_commands_of_the_submission_port() {
    let auth = |initial: Option<&str>| Command::Auth {
        mechanism: "PLAIN".into(),
        initial: initial.map(|response| Secret::new(response.to_owned())),
    };
    assert_eq!(parse_text("auth PLAIN"), Ok(auth(None)));
    assert_eq!(parse_text("AUTH PLAIN ="), Ok(auth(Some("="))));
    assert!(!format!("{:?}", auth(Some("c2VjcmV0"))).contains("c2VjcmV0"));
    let deposit = Deposit { replaces: 0, size: 7 };
    assert_eq!(parse_text("ssr"), Ok(Command::Request(None)));
    assert_eq!(parse_text("SSR size=7"), Ok(Command::Request(Some(7))));
    assert_eq!(parse_text("Sets SIZE=7"), Ok(Command::KeySets(7)));
    assert_eq!(parse_text("KEYS"), Ok(Command::Keys(None)));
    assert_eq!(parse_text("keys [0] size=7"), Ok(Command::Keys(Some(deposit))));
    for command in [
        auth(None),
        auth(Some("=")),
        Command::Keys(None),
        Command::Keys(Some(deposit)),
        Command::Request(None),
        Command::Request(Some(9)),
        Command::KeySets(9),
    ] {
        let line = command.format(Dialect::Bracket).unwrap();
        assert_eq!(parse(line.trim_end().as_bytes()), Ok(command));
    }
    for bad in [
        "AUTH",
        "AUTH PLAIN = x",
        "KEYS [x] SIZE=1",
        "KEYS [1]",
        "KEYS [1] SIZE=1 x",
        "KEYS x",
        "SSR x",
        "SSR [0] SIZE=1",
        "SETS",
        "SETS SIZE=1 x",
    ] {
        assert!(matches!(parse_text(bad), Err(Error::Arguments(_))), "{bad}");
    }
}

#[test]
fn tells_unknown_verbs_from_those_of_smtp() {
    for line in [
        "",
        " NOOP",
        "FROB",
        "HELPX",
        "NOOP:",
        "M",
        "EHLO<a.test>",
        "\u{7f}",
    ] {
        assert_eq!(parse_text(line), Err(Error::UnknownVerb), "{line:?}");
    }
    for line in ["bdat 7", "EXPN x"] {
        assert_eq!(parse_text(line), Err(Error::SmtpOnly), "{line:?}");
    }
    for line in [&b"NOOP \xff"[..], b"NOOP \0", b"QUIT\x0b", b"NOOP a\rb"] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}

#[test]
fn formats_refuse_what_the_grammar_cannot_say() {
    let fp = fingerprint(3);
    let start_missing = Command::History {
        address: name("ada@a.test").address().unwrap().clone(),
        start: None,
        stop: None,
    };
    for (command, dialect) in [
        (Command::Mail(mail(None, Some(fp))), Dialect::Bracket),
        (Command::Mail(mail(Some(0), Some(fp))), Dialect::Bracket),
        (Command::Mail(mail(Some(7), Some(fp))), Dialect::KeyValue),
        (Command::Mail(mail(None, None)), Dialect::KeyValue),
        (Command::Data(None), Dialect::Bracket),
        (Command::Data(CommitHash::parse("x")), Dialect::KeyValue),
        (Command::Stats, Dialect::KeyValue),
        (Command::Verb, Dialect::KeyValue),
        (start_missing, Dialect::Bracket),
    ] {
        assert_eq!(
            command.format(dialect),
            Err(Error::Inexpressible),
            "{command:?} {dialect:?}"
        );
    }
}

#[test]
fn formats_refuse_values_that_would_change_the_command() {
    for address in [r#""a> [x"@a.test"#, r#""a]"@a.test"#, "ä@a.test"] {
        let address: Mailbox = address.parse().unwrap();
        let commands = [
            Command::Signet {
                name: Name::User(address.clone()),
                fingerprint: None,
            },
            Command::History {
                address,
                start: Some(fingerprint(1)),
                stop: None,
            },
        ];
        for command in commands {
            for dialect in [Dialect::Bracket, Dialect::KeyValue] {
                assert_eq!(command.format(dialect), Err(Error::UnsafeValue), "{command:?}");
            }
        }
    }
}

#[test]
fn formats_stay_within_the_longest_line() {
    let label = "x".repeat(61);
    let longest = format!("{}@{label}.{label}.{label}.{label}", "l".repeat(64));
    let history = Command::History {
        address: longest.parse().unwrap(),
        start: Some(fingerprint(1)),
        stop: Some(fingerprint(2)),
    };
    assert!(history.format(Dialect::Bracket).unwrap().len() <= MAX_LINE);
    assert_eq!(history.format(Dialect::KeyValue), Err(Error::TooLong));
}

fn any_domain() -> impl Strategy<Value = Domain> {
    "[a-z][a-z0-9]{0,8}(\\.[a-z]{1,8}){0,3}".prop_map(|text| domain(&text))
}

fn any_address() -> impl Strategy<Value = Mailbox> {
    (
        "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}(\\.[a-z0-9]{1,4})?",
        any_domain(),
    )
        .prop_map(|(local, domain)| format!("{local}@{domain}").parse().unwrap())
}

fn any_name() -> impl Strategy<Value = Name> {
    prop_oneof![
        any_domain().prop_map(Name::Organization),
        any_address().prop_map(Name::User)
    ]
}

fn any_fingerprint() -> impl Strategy<Value = AnyFingerprint> {
    any::<u8>().prop_map(fingerprint)
}

fn any_command() -> impl Strategy<Value = Command> {
    let fp = || prop::option::of(any_fingerprint());
    let mode = prop::option::of(prop::sample::select(vec![Protocol::Smtp, Protocol::Dmtp]));
    let returning = prop::option::of(prop::sample::select(vec![
        Return::Full,
        Return::Display,
        Return::Header,
    ]));
    let width = prop::option::of(prop::sample::select(vec![Width::Seven, Width::Eight]));
    let mail = (any_domain(), fp(), prop::option::of(1u64..), returning, width);
    prop_oneof![
        Just(Command::StartTls(None)),
        (any_domain(), mode).prop_map(|(host, mode)| Command::StartTls(Some(Upgrade { host, mode }))),
        any_domain().prop_map(Command::Ehlo),
        any_domain().prop_map(Command::Helo),
        mail.prop_map(
            |(origin, fingerprint, size, returning, width)| Command::Mail(Mail {
                origin,
                fingerprint,
                size,
                returning,
                width
            })
        ),
        (any_domain(), fp()).prop_map(|(destination, fingerprint)| Command::Rcpt {
            destination,
            fingerprint
        }),
        prop::option::of("[A-Za-z0-9+/=_-]{1,128}")
            .prop_map(|text| Command::Data(text.map(|text| CommitHash::parse(&text).unwrap()))),
        (any_name(), fp()).prop_map(|(name, fingerprint)| Command::Signet { name, fingerprint }),
        (any_name(), any_fingerprint()).prop_map(|(name, fingerprint)| Command::Verify { name, fingerprint }),
        (any_address(), fp(), fp()).prop_map(|(address, start, stop)| Command::History {
            address,
            start,
            stop
        }),
        prop::sample::select(vec![
            Command::Stats,
            Command::Mode,
            Command::Noop,
            Command::Rset,
            Command::Help,
            Command::Verb,
            Command::Quit
        ]),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(command in any_command()) {
        let mut written = 0;
        for (dialect, end) in [(Dialect::Bracket, "\r\n"), (Dialect::KeyValue, "\n")] {
            match command.format(dialect) {
                Ok(line) => {
                    prop_assert_eq!(parse(line.strip_suffix(end).unwrap().as_bytes()), Ok(command.clone()));
                    written += 1;
                }
                Err(error) => prop_assert_eq!(error, Error::Inexpressible),
            }
        }
        let neither = matches!(&command, Command::Mail(Mail { size: None, .. }));
        prop_assert!(written > 0 || neither, "{:?}", command);
    }

    #[test]
    fn arbitrary_lines_never_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&line);
    }

    #[test]
    fn almost_right_lines_never_panic(
        verb in prop::sample::select(vec!["STARTTLS ", "EHLO ", "MAIL FROM", "RCPT TO", "DATA", "SGNT ", "VRFY ", "HIST "]),
        rest in "[ \t<>\\[\\]=:@.A-Za-z0-9é]{0,40}",
    ) {
        if let Ok(command) = parse(format!("{verb}{rest}").as_bytes()) {
            // Whatever was understood can be said again in one grammar or the other.
            let said = [Dialect::Bracket, Dialect::KeyValue].map(|dialect| command.format(dialect).is_ok());
            prop_assert!(said.contains(&true), "{:?}", command);
        }
    }
}
