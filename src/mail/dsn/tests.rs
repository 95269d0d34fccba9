#![allow(clippy::unwrap_used)]

use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;

use super::parts::quoted_printable;
use super::*;

/// Mon, 14 Oct 2024 08:00:00 UTC.
const ARRIVED: Timestamp = Timestamp(1_728_892_800_000);

fn id() -> QueueId {
    QueueId::parse("0123456789BCDFGHJKLMNPQRS").unwrap()
}

fn failed(address: &str) -> RecipientReport {
    RecipientReport {
        recipient: FinalRecipient::Mailbox(address.parse().unwrap()),
        original: None,
        action: Action::Failed,
        status: EnhancedStatus(5, 1, 1),
        explanation: "mx.hismail.test refused the message".into(),
        remote: Some(RemoteDiagnostic {
            host: "mx.hismail.test".into(),
            reply: "550 5.1.1 no such user".into(),
        }),
        last_attempt_at: Timestamp(ARRIVED.0 + 60_000),
        will_retry_until: None,
    }
}

fn render(recipients: &[RecipientReport], original: &[u8]) -> String {
    render_for("alice@hermail.test", recipients, Original::Header(original))
}

fn render_for(to: &str, recipients: &[RecipientReport], original: Original<'_>) -> String {
    let envelope_id = EnvelopeId::parse("QQ+20314");
    let report = Report {
        id: id(),
        reporting_host: &"mx.hermail.test".parse().unwrap(),
        to: &to.parse().unwrap(),
        date: Timestamp(ARRIVED.0 + 61_000),
        arrived_at: ARRIVED,
        envelope_id: envelope_id.as_ref(),
        recipients,
        original,
    };
    String::from_utf8(report.render()).unwrap()
}

#[test]
fn a_failure_is_reported_like_this() {
    let original = b"Subject: hello\r\nTo: bob@hismail.test\r\n\r\nsecret body\r\n";
    let expected = "\
From: Mail delivery <MAILER-DAEMON@mx.hermail.test>\r
To: alice@hermail.test\r
Subject: Your message could not be delivered\r
Date: Mon, 14 Oct 2024 08:01:01 +0000\r
Message-ID: <0123456789BCDFGHJKLMNPQRS@mx.hermail.test>\r
Auto-Submitted: auto-replied\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status;\r
\tboundary=\"=_report_0123456789BCDFGHJKLMNPQRS\"\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 7bit\r
\r
This is the mail host mx.hermail.test. It accepted a message of yours on\r
Mon, 14 Oct 2024 08:00:00 +0000 and could not deliver it to:\r
\r
<bob@hismail.test>\r
    mx.hismail.test refused the message\r
    mx.hismail.test said: 550 5.1.1 no such user\r
\r
It has given up. Send your message again only once the cause is gone.\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS\r
Content-Type: message/delivery-status\r
Content-Transfer-Encoding: 7bit\r
\r
Original-Envelope-Id: QQ 314\r
Reporting-MTA: dns; mx.hermail.test\r
Arrival-Date: Mon, 14 Oct 2024 08:00:00 +0000\r
\r
Final-Recipient: rfc822; bob@hismail.test\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; mx.hismail.test\r
Diagnostic-Code: smtp; 550 5.1.1 no such user\r
Last-Attempt-Date: Mon, 14 Oct 2024 08:01:00 +0000\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS\r
Content-Type: text/rfc822-headers\r
Content-Transfer-Encoding: 7bit\r
\r
Subject: hello\r
To: bob@hismail.test\r
\r
--=_report_0123456789BCDFGHJKLMNPQRS--\r
";
    assert_eq!(render(&[failed("bob@hismail.test")], original), expected);
}

#[test]
fn a_delay_says_how_long_it_will_be_tried() {
    let delayed = RecipientReport {
        action: Action::Delayed,
        status: EnhancedStatus(5, 4, 1),
        explanation: "no host answered".into(),
        remote: None,
        will_retry_until: Some(Timestamp(ARRIVED.0 + 432_000_000)),
        ..failed("bob@hismail.test")
    };
    let report = render(&[delayed], b"");
    for line in [
        "Subject: Your message is delayed\r\n",
        "    It will be tried until Sat, 19 Oct 2024 08:00:00 +0000.\r\n",
        "Action: delayed\r\n",
        "Status: 4.4.1\r\n",
        "Will-Retry-Until: Sat, 19 Oct 2024 08:00:00 +0000\r\n",
    ] {
        assert!(report.contains(line), "{line}");
    }
    for absent in ["Remote-MTA", "Diagnostic-Code", "rfc822-headers", "given up"] {
        assert!(!report.contains(absent), "{absent}");
    }
}

#[test]
fn a_mail_program_finds_the_parts() {
    let recipients = [failed("bob@hismail.test"), failed("carol@plain.test")];
    let report = render(&recipients, b"Subject: hello\r\n\r\n");
    let parsed = MessageParser::default().parse(report.as_bytes()).unwrap();
    assert_eq!(parsed.content_type().unwrap().subtype(), Some("report"));
    assert_eq!(parsed.parts.len(), 4, "the multipart and its three parts");
    let kinds: Vec<_> = parsed.parts[1..]
        .iter()
        .map(|part| part.content_type().unwrap().subtype().unwrap())
        .collect();
    assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
    assert_eq!(report.matches("\r\nFinal-Recipient: ").count(), 2);
}

#[test]
fn foreign_words_cannot_add_lines_or_octets() {
    let mut hostile = failed("bob@hismail.test");
    hostile.remote = Some(RemoteDiagnostic {
        host: "mx\r\nAction: delivered".into(),
        reply: format!("550 né\r\n\r\nAction: delivered {}", "x".repeat(100_000)),
    });
    let report = render(&[hostile], b"");
    assert!(report.is_ascii());
    assert!(report.len() < 10_000);
    assert!(!report.contains("\r\nAction: delivered"));
    assert!(report.contains("Diagnostic-Code: smtp; 550 n? Action: delivered"));
    assert!(report.contains("said: 550 n=C3=A9"), "people read it as it was");
}

#[test]
fn addresses_beyond_ascii_are_escaped() {
    let utf8 = "bü+c=k@hismail.test".parse().unwrap();
    assert_eq!(
        FinalRecipient::Mailbox(utf8).typed(false),
        r"utf-8; b\x{FC}\x{2B}c\x{3D}k@hismail.test"
    );
    let report = render(&[failed("bü@hismail.test")], b"");
    assert!(report.is_ascii());
    assert!(report.contains("<b=C3=BC@hismail.test>\r\n"));
}

fn succeeded(address: &str, action: Action) -> RecipientReport {
    RecipientReport {
        action,
        status: EnhancedStatus(2, 0, 0),
        remote: None,
        explanation: "it is there".into(),
        ..failed(address)
    }
}

#[test]
fn a_success_says_so_in_subject_and_text() {
    let delivered = succeeded("bob@hismail.test", Action::Delivered);
    let report = render(std::slice::from_ref(&delivered), b"");
    for line in [
        "Subject: Your message was delivered\r\n",
        " and reports on it, as you asked:\r\n\r\n<bob@hismail.test>\r\n    it is there\r\n",
        "Nothing is wrong: your message was sent with the wish to be told so.\r\n",
        "Action: delivered\r\nStatus: 2.0.0\r\n",
    ] {
        assert!(report.contains(line), "{line}");
    }
    let relayed = succeeded("carol@plain.test", Action::Relayed);
    let report = render(&[delivered, relayed], b"");
    assert!(report.contains("Subject: Your message was passed on\r\n"));
}

#[test]
fn the_recipient_whom_the_sender_named_is_reported_too() {
    let original = |text: &str| RecipientReport {
        original: OriginalRecipient::parse(text),
        ..failed("bob@hismail.test")
    };
    let report = render(&[original("rfc822;sales+2Bx@hismail.test")], b"");
    assert!(report.contains(
        "\r\n\r\nOriginal-Recipient: rfc822; sales+x@hismail.test\r\nFinal-Recipient: rfc822; bob@hismail.test\r\n"
    ));
    let zoe = original("utf-8;zo\\x{EB}@hismail.test");
    let report = render(std::slice::from_ref(&zoe), b"");
    assert!(report.contains("Original-Recipient: utf-8; zo\\x{EB}@hismail.test\r\n"));
    let report = render_for("zoë@hermail.test", &[zoe], Original::Header(b""));
    assert!(report.contains("Original-Recipient: utf-8; zoë@hismail.test\r\n"));
}

/// RFC 6533 §4.
#[test]
fn a_sender_beyond_ascii_gets_an_international_report() {
    let header = "Subject: Grüße\r\n\r\nbody\r\n";
    let report = render_for(
        "zoë@hermail.test",
        &[failed("bü@hismail.test")],
        Original::Header(header.as_bytes()),
    );
    for line in [
        "To: zoë@hermail.test\r\n",
        "\tboundary=\"=_report_0123456789BCDFGHJKLMNPQRS\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Final-Recipient: utf-8; bü@hismail.test\r\n",
        "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: Grüße\r\n\r\n--",
    ] {
        assert!(report.contains(line), "{line}");
    }
    let whole = render_for(
        "zoë@hermail.test",
        &[failed("bü@hismail.test")],
        Original::Whole(header.as_bytes()),
    );
    assert!(whole.contains(
        "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: Grüße\r\n\r\nbody\r\n\r\n--"
    ));
}

#[test]
fn a_message_comes_back_whole_if_it_can_go_as_it_is() {
    let whole = |message: &str| {
        let original = Original::Whole(message.as_bytes());
        render_for("alice@hermail.test", &[failed("bob@hismail.test")], original)
    };
    let report = whole("Subject: hello\r\n\r\nall of it");
    assert!(report.contains(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: hello\r\n\r\nall of it\r\n\r\n--"
    ));
    let report = whole("Subject: hello\r\n\r\nf\u{fc}nf\r\n");
    assert!(report.contains("\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--=_report"));
    assert!(report.contains("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"));
    let long = format!("Subject: hello\r\n\r\n{}\r\n", "x".repeat(999));
    for unfit in [
        "Subject: f\u{fc}nf\r\n\r\nbody\r\n",
        "Subject: hello\r\n\r\nbody\n",
        "Subject: hello\r\n\r\nbo\0dy\r\n",
        long.as_str(),
    ] {
        let report = whole(unfit);
        assert!(report.is_ascii());
        assert!(
            report.contains("Content-Type: text/rfc822-headers\r\n"),
            "{unfit:?}"
        );
        assert!(!report.contains("body"), "{unfit:?}");
    }
}

#[test]
fn header_is_cut_between_fields() {
    let long = [
        b"A: 1\r\nB: ".as_slice(),
        &[b'x'; HEADER_BYTES],
        b"\r\nC: 3\r\n\r\n",
    ]
    .concat();
    assert_eq!(header_of(&long), b"A: 1\r\n");
    assert_eq!(
        header_of(b"A: 1\r\n\tfolded\r\nB: unfinished"),
        b"A: 1\r\n\tfolded\r\n"
    );
    assert_eq!(header_of(b"A: 1\r\n\r\nB: body\r\n"), b"A: 1\r\n");
    assert_eq!(header_of(b""), b"");
}

#[test]
fn headers_beyond_ascii_or_too_long_are_encoded() {
    let report = render(
        &[failed("bob@hismail.test")],
        "Subject: fünf=5 \r\n\r\n".as_bytes(),
    );
    assert!(report.contains(
        "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         Subject: f=C3=BCnf=3D5=20\r\n"
    ));
    let long = format!("Subject: {}\r\n\r\n", "x".repeat(999));
    let report = render(&[failed("bob@hismail.test")], long.as_bytes());
    assert!(report.lines().all(|line| line.len() <= 78), "no line is long");
}

#[test]
fn a_reply_that_fits_into_no_line_leaves_the_fields_unencoded() {
    for (to, word, part) in [
        ("alice@hermail.test", "x", "message/delivery-status"),
        ("zoë@hermail.test", "ë", "message/global-delivery-status"),
    ] {
        let mut long = failed("bob@hismail.test");
        long.remote.as_mut().unwrap().reply = format!("550 {}", word.repeat(2000));
        let report = render_for(to, &[long], Original::Header(b""));
        let start = report.find(&format!("Content-Type: {part}\r\n")).unwrap();
        let fields = &report[start..];
        let encoding = fields.lines().nth(1).unwrap();
        assert_eq!(encoding, "Content-Transfer-Encoding: 7bit", "{fields}");
        let (_, code) = fields.split_once("\r\nDiagnostic-Code: smtp; 550\r\n ").unwrap();
        assert!(code.lines().all(|line| line.len() <= 998), "{code}");
    }
}

#[test]
fn long_fields_are_folded_at_spaces() {
    let mut out = String::new();
    put_field(&mut out, "Diagnostic-Code", &"word ".repeat(20));
    assert_eq!(
        out,
        "Diagnostic-Code: word word word word word word word word word word word word\r\n \
         word word word word word word word word\r\n"
    );
}

proptest! {
    #[test]
    fn quoted_printable_is_undone_by_a_mail_parser(text in "[ -~äöü=\t]{0,200}") {
        let mut message = b"Content-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\n".to_vec();
        quoted_printable(&mut message, format!("{text}\r\n").as_bytes());
        let parsed = MessageParser::default().parse(&message).unwrap();
        let read = parsed.body_text(0).unwrap();
        prop_assert_eq!(read.trim_end_matches(['\r', '\n']), text);
    }

    #[test]
    fn any_original_makes_an_ascii_report(original: Vec<u8>) {
        let report = render(&[failed("bob@hismail.test")], &original);
        prop_assert!(report.is_ascii());
        prop_assert!(report.split("\r\n").all(|line| !line.contains(['\r', '\n'])));
    }
}
