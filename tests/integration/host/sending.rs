//! What `sendmail` makes of arguments and messages, seen in the mailbox.

use super::{Host, User, feed, is_root, told};
use crate::support::loopback::Loopback;
use crate::support::maildir::split;
use crate::support::sink::{Behaviour, Sink};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_complete_and_says_who_sent_it() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    host.sent(
        &["-oi", "-FAlice Ä", "bob@hismail.test"],
        "To: bob\nBcc: carol\nSubject: hello\n\none\n.\ntwo\rthree\0\r\nfour",
    );
    let mail = host.organization.maildir("bob").only().await;
    let (header, body) = split(&mail);
    assert_eq!(body, "one\r\n.\r\ntwo\r\nthree\r\nfour\r\n");
    let me = if is_root() { "root" } else { &User::ordinary().name };
    for line in [
        format!("\r\nFrom: =?utf-8?B?QWxpY2Ugw4Q=?= <{me}@mx.hismail.test>\r\n"),
        "\r\nTo: bob@mx.hismail.test\r\n".to_owned(),
        "\r\nMessage-ID: <".to_owned(),
        "\r\nDate: ".to_owned(),
        format!("Return-Path: <{me}@mx.hismail.test>\r\n"),
    ] {
        assert!(header.contains(&line), "{line} {mail}");
    }
    assert!(!header.contains("carol"), "{mail}");
    let uid = host_uid();
    assert!(
        header.contains(&format!(
            "Received: by mx.hismail.test (from userid {uid})\r\n\tid "
        )),
        "{mail}"
    );
    assert!(host.dropped().is_empty());
    daemon.stop().await;
}

fn host_uid() -> u32 {
    if is_root() { 0 } else { User::ordinary().ids().0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_leaves_mail_without_any_rights() {
    let host = Host::new().await;
    // Nobody takes it yet: the file is there, and is the user's.
    let sent = feed(
        host.as_other("sendmail").args(["-f", "shop@shop.test", "-t"]),
        "To: Bob <bob@hismail.test>\nFrom: shop@shop.test\nSubject: s\n\nx\n",
    );
    assert_eq!(told(&sent), (0, String::new()));
    assert_eq!(host.dropped().len(), 1);
    let daemon = host.organization.start().await;
    let mail = host.organization.maildir("bob").only().await;
    let uid = User::ordinary().ids().0;
    assert!(mail.contains(&format!(" (from userid {uid})\r\n")), "{mail}");
    assert!(mail.starts_with("Return-Path: <shop@shop.test>\r\n"), "{mail}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sent_it_is_not_said_where_the_operator_does_not_want_it() {
    let host = Host::with(|config| {
        config.local.names_user = false;
        config.local.origin = Some("hismail.test".parse().unwrap());
    })
    .await;
    let daemon = host.organization.start().await;
    host.sent(&["-f", "bob", "bob"], "hello\n");
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.contains("Received: by mx.hismail.test\r\n\tid "), "{mail}");
    assert!(
        mail.contains("\r\nFrom: bob@hismail.test\r\n\r\nhello\r\n"),
        "{mail}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_learns_that_nobody_has_that_name() {
    let host =
        Host::with(|config| config.accounts.postmaster = Some("bob@hismail.test".parse().unwrap())).await;
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "bob@hismail.test", "nobody.of.that.name"],
        "Subject: lost\n\nx\n",
    );
    let report = host.organization.maildir("bob").only().await;
    assert!(report.contains("nobody.of.that.name@mx.hismail.test"), "{report}");
    assert!(report.contains("\r\nStatus: 5.1.1\r\n"), "{report}");
    // From nobody to nobody: nothing can come back, and the postmaster gets it.
    host.sent(&["-f", "", "nobody.of.that.name"], "Subject: found\n\nx\n");
    let mails = host.organization.maildir("bob").expect(2).await;
    let found = |mail: &&String| mail.contains("\r\nSubject: found\r\n");
    assert_eq!(mails.iter().filter(found).count(), 1);
    daemon.stop().await;
}

/// The domain promises that nothing in its name goes by SMTP, whoever wrote it.
#[tokio::test(flavor = "multi_thread")]
async fn what_programs_write_for_a_strict_domain_does_not_go_by_smtp() {
    let host = Host::made(|_| {}, |builder| builder.policy("strict")).await;
    let loopback = Loopback::take();
    host.world.plain_domain("plain.test", loopback.ip);
    let sink = Sink::start(loopback.ip, Behaviour::default()).await;
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "bob@hismail.test", "carol@plain.test"],
        "Subject: out\n\nx\n",
    );
    let report = host.organization.maildir("bob").only().await;
    assert!(
        report.contains("Final-Recipient: rfc822; carol@plain.test\r\nAction: failed\r\nStatus: 5.7.1\r\n"),
        "{report}"
    );
    host.organization.idle().await;
    assert_eq!(sink.sessions(), 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_the_host_leaves_signed_by_smtp() {
    let host = Host::new().await;
    let sink = host
        .world
        .organization("plain.test")
        .accounts(&["carol"])
        .plain()
        .build()
        .await;
    host.organization.cli(&["dkim", "add", "hismail.test"]).await;
    host.organization.publish_texts(&host.world).await;
    host.organization.cli(&["dkim", "rotate", "hismail.test"]).await;
    let (here, there) = (host.organization.start().await, sink.start().await);
    host.sent(
        &["-f", "bob@hismail.test", "carol@plain.test"],
        "Subject: out\n\nx\n",
    );
    let mail = sink.maildir("carol").only().await;
    assert!(mail.contains("Return-Path: <bob@hismail.test>\r\n"), "{mail}");
    assert!(mail.contains("\r\nSubject: out\r\n"), "{mail}");
    assert!(mail.contains("dkim=pass header.d=hismail.test "), "{mail}");
    here.stop().await;
    there.stop().await;
}

/// What Postfix sends, programs rely on.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_not_quite_right_are_no_reason_to_lose_mail() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    let mut message = b"To: B\xf6b <bob@hismail.test>\n".to_vec();
    message.extend(b"From: cron@a.test\nFrom: b@b.test\nSubject: one\nSubject: two\n\nx\n");
    host.sent(&["-f", "bob@hismail.test", "-t"], &message);
    let mail = host.organization.maildir("bob").only().await;
    for line in [
        "To: Böb <bob@hismail.test>",
        "From: cron@a.test",
        "Repeated-From: b@b.test",
        "Subject: one",
        "Repeated-Subject: two",
    ] {
        assert!(mail.contains(&format!("\r\n{line}\r\n")), "{line}: {mail}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_was_wrong() {
    let host = Host::new().await;
    for (arguments, message, code, words) in [
        (&[][..], "x\n", 64, "name recipients as arguments"),
        (&["-t"], "Subject: x\n\nx\n", 64, "the header names no recipients"),
        (&["-Z", "bob"], "x\n", 64, "there is no option -Z"),
        (&["-bd"], "", 64, "dimed serve"),
        (
            &["-f", "a@b@", "bob"],
            "x\n",
            64,
            "the sender `a@b@` is no address",
        ),
        (&["a b"], "x\n", 67, "the recipient `a b` is no address"),
        (&["-t"], "To: a b\n\nx\n", 65, "cannot be read"),
        (&["bob"], "DIME-Required: perhaps\n\nx\n", 65, "DIME-Required"),
        (
            &["-C/nonexistent/x", "bob"],
            "x\n",
            78,
            "the configuration cannot be used",
        ),
    ] {
        let (found, text) = told(&host.send(arguments, message));
        assert_eq!(found, code, "{arguments:?}: {text}");
        assert!(text.starts_with("sendmail: ") && text.contains(words), "{text}");
    }
    assert!(host.dropped().is_empty());
    // What is not there cannot be written to.
    std::fs::remove_dir(host.drop()).unwrap();
    let (code, text) = told(&host.send(&["bob"], "x\n"));
    assert!(code == 78 && text.contains("there is no drop folder"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_at_once() {
    let host = Host::with(|config| config.limits.message_bytes = 1000.try_into().unwrap()).await;
    let (code, text) = told(&host.send(&["bob"], "x".repeat(1001)));
    assert_eq!(
        (code, text.as_str()),
        (65, "sendmail: the message is larger than 1000 octets\n")
    );
    assert!(host.dropped().is_empty());
    // Who cannot read the limit may leave more, and it is taken.
    let sent = feed(
        host.as_other("sendmail")
            .args(["-f", "a@a.test", "bob@hismail.test"]),
        "x\n".repeat(1001),
    );
    assert_eq!(told(&sent), (0, String::new()));
    let daemon = host.organization.start().await;
    host.organization.maildir("bob").only().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_shown_to_those_who_may_see_it() {
    let host = Host::new().await;
    let listed = feed(&mut host.command("mailq"), "");
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "Mail queue is empty\n");
    // Its host never answers.
    host.world.plain_domain("away.test", "192.0.2.1".parse().unwrap());
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "bob@hismail.test", "carol@away.test", "dan@away.test"],
        "Subject: s\n\nx\n",
    );
    crate::support::eventually("the message to be queued", || {
        host.dropped().is_empty().then_some(())
    })
    .await;
    let listed = feed(host.command("sendmail").arg("-bp"), "");
    let text = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("-Queue ID-"), "{text}");
    assert!(lines[1].ends_with(" bob@hismail.test"), "{text}");
    for recipient in ["carol@away.test", "dan@away.test"] {
        assert!(lines.iter().any(|line| line.trim() == recipient), "{text}");
    }
    assert!(text.ends_with("\n-- 1 Kbytes in 1 Request.\n"), "{text}");
    daemon.stop().await;
    if is_root() {
        let mut other = host.as_other("mailq");
        other.env("DIMED_CONFIG", &host.organization.config);
        let (code, text) = told(&feed(&mut other, ""));
        assert_eq!(code, 77, "{text}");
        assert!(text.contains("only root and the user of dimed"), "{text}");
    }
}

/// Whoever calls `-q` after an outage does not want to wait.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_due_at_once_when_somebody_says_so() {
    let host = Host::new().await;
    host.world.plain_domain("away.test", "192.0.2.1".parse().unwrap());
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "bob@hismail.test", "carol@away.test"],
        "Subject: s\n\nx\n",
    );
    crate::support::eventually("the message to be queued", || {
        host.dropped().is_empty().then_some(())
    })
    .await;
    daemon.stop().await;
    let later = "UPDATE recipients SET due_at = due_at + 3600000, lease = NULL, leased_until = NULL";
    host.organization.change_database(later).await;
    let secs = async || {
        let listed = host.organization.cli(&["queue", "list", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
        listed["due_at"].as_i64().unwrap()
    };
    let before = secs().await;
    for (argument, is_due) in [("-q15m", false), ("-qRb.test", false), ("-qRaway.test", true)] {
        assert_eq!(
            told(&host.send(&[argument], "")),
            (0, String::new()),
            "{argument}"
        );
        assert_eq!(secs().await < before - 3000, is_due, "{argument}");
    }
    host.organization.change_database(later).await;
    assert_eq!(told(&host.send(&["-q"], "")), (0, String::new()));
    assert!(secs().await < before - 3000);
}

#[test]
fn commands_say_what_they_do() {
    for (name, words) in [
        ("sendmail", "-t            recipients from To, Cc and Bcc"),
        ("mailq", "Usage: mailq"),
        ("newaliases", "Usage: newaliases"),
    ] {
        let mut command = std::process::Command::new(crate::support::child::DIMED);
        let said = feed(command.args([name, "--help"]), "");
        assert_eq!(told(&said), (0, String::new()), "{name}");
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_without_a_header_may_be_long() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    let text = "no header and no empty line\n".repeat(50_000);
    // By the other way to call it, too.
    let config = host.organization.config.to_str().unwrap();
    let mut command = host.command("dimed");
    command.args([
        "--config",
        config,
        "sendmail",
        "-i",
        "-f",
        "a@a.test",
        "--",
        "bob@hismail.test",
    ]);
    assert_eq!(
        told(&feed(command.env_remove("DIMED_CONFIG"), &text)),
        (0, String::new())
    );
    let mail = host.organization.maildir("bob").only().await;
    assert_eq!(split(&mail).1, text.replace('\n', "\r\n"));
    daemon.stop().await;
}
