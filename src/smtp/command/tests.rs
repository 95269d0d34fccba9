#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn mail(line: &str) -> Result<MailFrom, Error> {
    match parse(line.as_bytes()) {
        Ok(Command::Mail(mail)) => Ok(mail),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    }
}

#[test]
fn verbs_are_read_in_any_case() {
    let client = Hello {
        extended: true,
        name: "client.test".into(),
    };
    assert_eq!(parse(b"eHLo  client.test "), Ok(Command::Hello(client)));
    for (line, command) in [
        ("data", Command::Data),
        ("Rset ", Command::Rset),
        ("NOOP whatever", Command::Noop),
        ("quit", Command::Quit),
        ("VRFY bob", Command::Vrfy),
        ("HELP MAIL", Command::Help),
        ("STARTTLS", Command::StartTls),
        ("EXPN list", Command::Unimplemented),
    ] {
        assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
    }
}

#[test]
fn a_chunk_has_a_size_and_may_be_the_last() {
    let chunk = |size_bytes, last| Ok(Command::Bdat(Chunk { size_bytes, last }));
    for (line, expected) in [
        ("BDAT 0", chunk(0, false)),
        ("bdat 86 last", chunk(86, true)),
        ("BDAT 18446744073709551615 LAST", chunk(u64::MAX, true)),
        ("BDAT 18446744073709551616", Err(Error::ChunkSize)),
        ("BDAT 000000000000000000001", Err(Error::ChunkSize)),
        ("BDAT", Err(Error::ChunkSize)),
        ("BDAT LAST", Err(Error::ChunkSize)),
        ("BDAT +1", Err(Error::ChunkSize)),
        ("BDAT 1 FIRST", Err(Error::ChunkSize)),
        ("BDAT 1 LAST now", Err(Error::ChunkSize)),
    ] {
        assert_eq!(parse(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn refuses_arguments_where_none_belong_and_missing_ones() {
    for line in [
        "DATA now",
        "RSET x",
        "QUIT x",
        "STARTTLS mx.test",
        "VRFY",
        "EHLO",
        "HELO",
        "EHLO a b",
        "EHLO <a.test>",
        "EHLO a(b)",
        "EHLO bücher.test",
        "AUTH",
        "AUTH PLAIN a b",
        "MAIL",
        "MAIL FROM",
        "MAIL TO:<a@b.test>",
        "MAIL FROM:a@b.test",
        "MAIL FROM:<a@b.test>SIZE=1",
        "MAIL FROM:<a@b.test",
        "RCPT TO bob",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Error::Arguments), "{line}");
    }
}

#[test]
fn refuses_what_is_not_text() {
    for line in [
        b"NOOP \0".as_slice(),
        b"NOOP \x7F",
        b"NOOP \xFF",
        b"\x1BNOOP",
        b"NOOP \xC2\x85",
    ] {
        assert_eq!(parse(line), Err(Error::NotText), "{line:?}");
    }
    for line in ["", " ", "NOOPS", "MAILFROM:<>", "GET / HTTP/1.1"] {
        assert_eq!(parse(line.as_bytes()), Err(Error::UnknownVerb), "{line:?}");
    }
}

#[test]
fn mail_reads_its_parameters() {
    let plain = mail("MAIL FROM:<a@b.test>").unwrap();
    assert_eq!(
        plain,
        MailFrom {
            reverse_path: ReversePath::parse("<a@b.test>").unwrap(),
            size_bytes: None,
            body: Body::SevenBit,
            smtputf8: false,
            require_tls: false,
            auth: false,
            request: MessageRequest::default(),
            is_international: false,
        }
    );
    let full = mail("mail from: <ä@b.test> size=10 Body=8bitmime SMTPUTF8 AUTH=<>").unwrap();
    assert_eq!(full.size_bytes, Some(10));
    assert_eq!(full.body, Body::EightBitMime);
    assert!(full.smtputf8 && full.auth && full.is_international);
    assert!(mail("MAIL FROM:<>").unwrap().reverse_path.is_null());
}

#[test]
fn mail_refuses_wrong_parameters() {
    for (parameters, error) in [
        ("SIZE", Error::Value("SIZE")),
        ("SIZE=", Error::Value("SIZE")),
        ("SIZE=-1", Error::Value("SIZE")),
        ("SIZE=123456789012345678901", Error::Value("SIZE")),
        ("SIZE=1 size=2", Error::Value("SIZE")),
        ("BODY=9BIT", Error::Value("BODY")),
        ("BODY=BINARYMIME", Error::Parameter),
        ("SMTPUTF8=yes", Error::Value("SMTPUTF8")),
        ("AUTH=a=b", Error::Value("AUTH")),
        ("AUTH=a+2x", Error::Value("AUTH")),
        ("RET", Error::Value("RET")),
        ("RET=ALL", Error::Value("RET")),
        ("RET=FULL ret=HDRS", Error::Value("RET")),
        ("ENVID=", Error::Value("ENVID")),
        ("ENVID=a=b", Error::Value("ENVID")),
        ("ENVID=a+0Ab", Error::Value("ENVID")),
        ("NOTIFY=NEVER", Error::Parameter),
        ("FOO", Error::Parameter),
        ("=", Error::Parameter),
    ] {
        let line = format!("MAIL FROM:<a@b.test> {parameters}");
        assert_eq!(mail(&line), Err(error), "{parameters}");
    }
    assert_eq!(
        mail("MAIL FROM:<> SIZE=99999999999999999999").unwrap().size_bytes,
        Some(u64::MAX)
    );
}

#[test]
fn paths_end_at_the_bracket_outside_quotes() {
    let quoted = parse(br#"RCPT TO:<"a>\" b"@hismail.test>"#).unwrap();
    let Command::Rcpt(RcptTo {
        forward_path: ForwardPath::Mailbox(mailbox),
        ..
    }) = quoted
    else {
        panic!("{quoted:?}")
    };
    assert_eq!(mailbox.local(), "a>\" b");
    assert_eq!(parse(b"RCPT TO:<postmaster>"), parse(b"rcpt to:<Postmaster>"));
}

#[test]
fn address_literals_are_refused_at_rcpt() {
    let literal = parse(b"RCPT TO:<bob@[192.0.2.1]>");
    assert_eq!(literal, Err(Error::ForwardPath(address::Error::Domain)));
    assert!(matches!(parse(b"RCPT TO:<>"), Err(Error::ForwardPath(_))));
    assert!(matches!(
        parse(b"MAIL FROM:<a@[IPv6:::1]>"),
        Err(Error::ReversePath(_))
    ));
}

#[test]
fn requests_for_reports_are_read() {
    let mail = mail("MAIL FROM:<a@b.test> ret=hdrs ENVID=QQ+2B314").unwrap();
    assert_eq!(mail.request.ret, Some(Ret::Headers));
    assert_eq!(mail.request.envelope_id, EnvelopeId::parse("QQ+2B314"));
    let line = "RCPT TO:<bob@b.test> NOTIFY=success,DELAY orcpt=rfc822;sales@b.test";
    let Ok(Command::Rcpt(rcpt)) = parse(line.as_bytes()) else {
        panic!("{line}")
    };
    assert_eq!(Some(rcpt.request.notify), Notify::parse("SUCCESS,DELAY"));
    assert_eq!(
        rcpt.request.original,
        OriginalRecipient::parse("rfc822;sales@b.test")
    );
    assert!(!rcpt.is_international);
    let Ok(Command::Rcpt(rcpt)) = parse("RCPT TO:<bob@b.test> ORCPT=utf-8;zoë@b.test".as_bytes()) else {
        panic!("not a recipient")
    };
    assert!(rcpt.is_international, "that takes SMTPUTF8");
}

#[test]
fn rcpt_refuses_wrong_parameters() {
    for (parameters, error) in [
        ("NOTIFY", Error::Value("NOTIFY")),
        ("NOTIFY=", Error::Value("NOTIFY")),
        ("NOTIFY=NEVER,FAILURE", Error::Value("NOTIFY")),
        ("NOTIFY=NEVER NOTIFY=NEVER", Error::Value("NOTIFY")),
        ("ORCPT=bob@b.test", Error::Value("ORCPT")),
        ("ORCPT=rfc822;b+0D+0Ab", Error::Value("ORCPT")),
        ("ORCPT=rfc822;bü@b.test", Error::Value("ORCPT")),
        ("RET=FULL", Error::Parameter),
        ("FOO", Error::Parameter),
    ] {
        let line = format!("RCPT TO:<bob@b.test> {parameters}");
        assert_eq!(parse(line.as_bytes()), Err(error), "{parameters}");
    }
}

#[test]
fn auth_keeps_its_response_secret() {
    let command = parse(b"AUTH plain AHRpbQBz").unwrap();
    assert!(!format!("{command:?}").contains("AHRp"));
    let expected = Command::Auth {
        mechanism: "PLAIN".into(),
        initial: Some(Secret::new("AHRpbQBz".to_owned())),
    };
    assert_eq!(command, expected);
}

proptest! {
    #[test]
    fn arbitrary_lines_never_panic(line in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&line);
    }

    #[test]
    fn command_like_lines_never_panic(line in "(MAIL FROM:|RCPT TO:|RCPT TO:<a@b.c> NOTIFY=|RCPT TO:<a@b.c> ORCPT=|AUTH |EHLO )[<>\"\\\\@:;{}, =a-zé+.]{0,40}") {
        let _ = parse(line.as_bytes());
    }
}

#[test]
fn names_without_a_domain_get_one_if_they_are_to() {
    let origin = "h.test".parse().unwrap();
    for (line, completed) in [
        ("MAIL FROM:<root>", Some("MAIL FROM:<root@h.test>")),
        ("rcpt to: <root> X=y", Some("rcpt to: <root@h.test> X=y")),
        ("MAIL FROM:<>", None),
        ("RCPT TO:<a@a.test>", None),
        ("RCPT TO:<@a.test:a>", None),
        ("RCPT TO:root", None),
        ("RCPT TO:<root", None),
        ("VRFY <root>", None),
        ("MAIL", None),
    ] {
        let found = with_domain(line.as_bytes(), &origin);
        assert_eq!(found.as_deref(), completed.map(str::as_bytes), "{line}");
    }
}
