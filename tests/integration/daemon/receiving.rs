//! Mail from other hosts for accounts here.

use crate::support::maildir::split;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: carol@plain.test\r\nSubject: hi\r\n\r\nBody, with a\r\n.dot and caf\u{e9}.\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn mail_from_outside_lies_in_the_maildir_with_its_trace_and_unchanged() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], MESSAGE)
        .await;
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap();
    talk.ask("QUIT", "221").await;

    let delivered = hismail.maildir("bob").only().await;
    let date = delivered
        .split_once(&format!("{id};\r\n\t"))
        .or_else(|| delivered.split_once(&format!("{id}; ")))
        .and_then(|(_, rest)| rest.split_once("\r\n"))
        .map(|(date, _)| date)
        .unwrap();
    dimed_date(date);
    let (trace, rest) = delivered.split_once("From: carol").unwrap();
    assert_eq!(format!("From: carol{rest}"), MESSAGE);
    let unfolded = trace.replace("\r\n\t", " ").replace("\r\n ", " ");
    assert_eq!(
        unfolded,
        format!(
            "Return-Path: <carol@plain.test>\r\nDelivered-To: bob@hismail.test\r\n\
             Authentication-Results: mx.hismail.test; spf=none smtp.mailfrom=plain.test; \
             spf=none smtp.helo=client.test; dkim=none; dmarc=none header.from=plain.test\r\n\
             Received: from client.test ([127.0.0.1]) by mx.hismail.test with ESMTP id {id}; {date}\r\n"
        )
    );
    hismail.idle().await;
    served.stop().await;
}

/// A first line that looks like a fold would change what our trace field says, such as when the message came.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_adds_to_our_trace_field() {
    let world = World::new().await;
    let builder = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = builder.build().await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let message = "\t; Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: carol@plain.test\r\n\r\nhi\r\n";
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], message)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    let delivered = hismail.maildir("bob").only().await;
    let (header, body) = split(&delivered);
    assert!(
        header.contains("Received: ") && !header.contains("2024"),
        "{delivered}"
    );
    assert_eq!(body, message);
    served.stop().await;
}

/// Fails unless the text is a date of RFC 5322.
fn dimed_date(text: &str) {
    let words: Vec<_> = text.split(' ').collect();
    assert_eq!(words.len(), 6, "{text}");
    assert!(words[0].ends_with(','), "{text}");
    assert_eq!(words[4].len(), "00:00:00".len(), "{text}");
    assert_eq!(words[5], "+0000");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_reach_nobody_but_our_users() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<nobody@hismail.test>", "550 5.1.1").await;
    talk.ask("RCPT TO:<dave@plain.test>", "550 5.7.1").await;
    talk.ask("RCPT TO:<bob@mx.hismail.test>", "550 5.1.1").await;
    talk.ask("DATA", "554").await;
    // One good recipient among them gets the message, and it alone.
    talk.ask("RCPT TO:<BOB+shop@hismail.test>", "250").await;
    assert!(talk.data(MESSAGE).await.starts_with("250"));
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        delivered.contains("Delivered-To: bob@hismail.test\r\n"),
        "{delivered}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_for_two_users_is_delivered_to_each() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "eve"])
        .build()
        .await;
    let served = hismail.start().await;
    hismail
        .cli(&["alias", "add", "both@hismail.test", "bob@hismail.test"])
        .await;
    hismail
        .cli(&["alias", "add", "both@hismail.test", "eve@hismail.test"])
        .await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let to = ["bob@hismail.test", "both@hismail.test"];
    assert!(talk.transfer("", &to, MESSAGE).await.starts_with("250"));
    for local in ["bob", "eve"] {
        let delivered = hismail.maildir(local).only().await;
        assert!(delivered.starts_with("Return-Path: <>\r\n"));
        assert_eq!(split(&delivered).1, split(MESSAGE).1);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_domain_takes_no_mail_by_smtp_but_from_its_own_users() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "eve"])
        .policy("strict")
        .build()
        .await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "550 5.7.1").await;
    talk.ask("QUIT", "221").await;
    hismail.submit("eve", &["bob@hismail.test"], MESSAGE_OF_EVE).await;
    hismail.maildir("bob").only().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_leaves_a_line_that_names_nobody() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.build().await;
    let process = hismail.spawn().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    talk.ask("RCPT TO:<nobody@hismail.test>", "550 5.1.1 ").await;
    talk.ask("RCPT TO:<dave@other.test>", "550 5.7.1 ").await;
    let log = process.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("\"smtp.rcpt.refused\""))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, code) in lines.iter().zip(["5.1.1", "5.7.1"]) {
        assert!(line.contains(&format!("\"reply.enhanced\":\"{code}\"")), "{line}");
        assert!(line.contains("\"peer.ip\":\"127.0.0.1\""), "{line}");
        for named in ["carol", "plain.test", "nobody", "dave", "other.test"] {
            assert!(!line.contains(named), "{line}");
        }
    }
}

const MESSAGE_OF_EVE: &str = "From: eve@hismail.test\r\nSubject: hi\r\n\r\nfrom within\r\n";
