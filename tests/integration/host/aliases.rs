//! `/etc/aliases`: who gets mail for names of the host, from programs and from elsewhere.

use super::{Host, feed, told};
use crate::support::eventually;
use crate::support::talk::Talk;

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_host_lead_where_the_file_says_as_soon_as_it_says_so() {
    let host = Host::new().await;
    host.organization.add_account("ben").await;
    let elsewhere = host
        .world
        .organization("plain.test")
        .accounts(&["carol"])
        .plain()
        .build()
        .await;
    host.aliases("postmaster: root\nroot: ben@hismail.test, carol@plain.test\n");
    let (daemon, there) = (host.organization.start().await, elsewhere.start().await);
    host.sent(&["postmaster"], "Subject: one\n\nx\n");
    host.organization.maildir("ben").only().await;
    let mail = elsewhere.maildir("carol").only().await;
    assert!(mail.contains("Subject: one\r\n"), "{mail}");
    host.aliases("root: bob@hismail.test\n");
    eventually("the change to hold", || {
        host.sent(
            &["-f", "a@a.test", "Root+cron@mx.hismail.test"],
            "Subject: two\n\nx\n",
        );
        std::thread::sleep(std::time::Duration::from_millis(500));
        (host.organization.maildir("bob").count() > 0).then_some(())
    })
    .await;
    daemon.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn root_is_the_postmaster_where_nobody_says_otherwise() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    host.sent(&["-f", "a@a.test", "root"], "Subject: s\n\nx\n");
    // The oldest account of the first domain.
    host.organization.maildir("bob").only().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_takes_what_is_nobodys() {
    let host = Host::with(|config| config.local.fallback = Some("bob@hismail.test".parse().unwrap())).await;
    let daemon = host.organization.start().await;
    host.sent(&["-f", "a@a.test", "daemon"], "Subject: s\n\nx\n");
    host.organization.maildir("bob").only().await;
    // It is no reason for other hosts to send there.
    let mut talk = Talk::smtp(host.organization.ip).await;
    talk.ask("MAIL FROM:<>", "250").await;
    talk.ask("RCPT TO:<daemon@mx.hismail.test>", "550 5.1.1").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_of_the_host_send_to_themselves_reaches_the_postmaster() {
    let host = Host::new().await;
    host.aliases("postmaster: root\nroot: bob@hismail.test\n");
    let daemon = host.organization.start().await;
    // As cron does for a user whom nobody knows here.
    host.sent(&["-f", "www-data", "www-data"], "Subject: output\n\nx\n");
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.contains("\r\nSubject: output\r\n"), "{mail}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postmaster_who_is_nobody_does_not_lose_mail() {
    let host = Host::new().await;
    host.aliases("postmaster: root\nroot: gone\n");
    let daemon = host.organization.start().await;
    host.sent(&["-f", "www-data", "www-data"], "Subject: s\n\nx\n");
    host.organization.maildir("bob").only().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_to_nobody_reaches_the_postmaster() {
    let host = Host::new().await;
    host.aliases("root: bob@hismail.test\npostmaster: root\n");
    let daemon = host.organization.start().await;
    let nobody_there = "nobody.of.that.name@hismail.test";
    host.sent(&["-f", "www-data", nobody_there], "Subject: lost\n\nx\n");
    let report = host.organization.maildir("bob").only().await;
    assert!(report.starts_with("Return-Path: <>\r\n"), "{report}");
    assert!(report.contains(nobody_there), "{report}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_and_the_short_name_are_the_host() {
    let host = Host::with(|config| config.local.origin = Some("hismail.test".parse().unwrap())).await;
    host.aliases("root: bob@hismail.test\n");
    let daemon = host.organization.start().await;
    for (count, name) in ["root@localhost", "root@localhost.localdomain", "root@mx"]
        .into_iter()
        .enumerate()
    {
        host.sent(&["-f", "bob", name], "Subject: s\n\nx\n");
        host.organization.maildir("bob").expect(count + 1).await;
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_nobody_vanishes_without_a_report() {
    let host = Host::new().await;
    host.aliases("void: /dev/null\n");
    let daemon = host.organization.start().await;
    host.sent(&["-f", "bob@hismail.test", "void"], "Subject: void\n\nx\n");
    host.sent(
        &["-f", "bob@hismail.test", "void", "bob@hismail.test"],
        "Subject: both\n\nx\n",
    );
    let mut talk = Talk::smtp(host.organization.ip).await;
    talk.ask("MAIL FROM:<>", "250").await;
    talk.ask("RCPT TO:<void@mx.hismail.test>", "250").await;
    talk.ask("DATA", "354").await;
    talk.ask("Subject: outside\r\nFrom: <a@plain.test>\r\n\r\nx\r\n.", "250")
        .await;
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.contains("\r\nSubject: both\r\n"), "{mail}");
    host.organization.idle().await;
    assert_eq!(host.organization.maildir("bob").count(), 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_does_not_take_the_others_with_it_at_the_start() {
    let host = Host::new().await;
    host.organization.add_account("ben").await;
    host.aliases("no alias\nops: ben@hismail.test # the boss\n");
    let daemon = host.organization.start().await;
    host.sent(&["-f", "a@a.test", "ops"], "Subject: s\n\nx\n");
    host.organization.maildir("ben").only().await;
    daemon.stop().await;
}

/// A file system that comes late must not have mail bounce.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_put_off_while_the_file_cannot_be_read_in_full() {
    let host = Host::new().await;
    let list = host.path("list");
    let all = format!("ops: bob@hismail.test, :include:{}\n", list.display());
    host.aliases(&all);
    let daemon = host.organization.start().await;
    let mut talk = Talk::smtp(host.organization.ip).await;
    talk.ask("MAIL FROM:<>", "250").await;
    for name in ["ops", "nobody"] {
        talk.ask(&format!("RCPT TO:<{name}@mx.hismail.test>"), "451 4.3.0")
            .await;
    }
    talk.ask("RCPT TO:<nobody@hismail.test>", "550 5.1.1").await;
    // What programs send waits, too.
    host.sent(&["-f", "bob@hismail.test", "ops"], "Subject: list\n\nx\n");
    std::fs::write(&list, "bob@hismail.test\n").unwrap();
    host.organization.maildir("bob").only().await;
    talk.ask("RCPT TO:<ops@mx.hismail.test>", "250").await;
    talk.ask("RCPT TO:<nobody@mx.hismail.test>", "550 5.1.1").await;
    daemon.stop().await;
    // The file itself.
    let aliases = host.organization.folder.join("aliases");
    std::fs::remove_file(&aliases).unwrap();
    std::fs::create_dir(&aliases).unwrap();
    let daemon = host.organization.start().await;
    let mut talk = Talk::smtp(host.organization.ip).await;
    talk.ask("MAIL FROM:<>", "250").await;
    talk.ask("RCPT TO:<ops@mx.hismail.test>", "451 4.3.0").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_reach_the_same_names() {
    let host = Host::new().await;
    host.aliases("ops: bob@hismail.test\n");
    let daemon = host.organization.start().await;
    let mut talk = Talk::smtp(host.organization.ip).await;
    talk.ask("MAIL FROM:<>", "250").await;
    talk.ask("RCPT TO:<nobody@mx.hismail.test>", "550 5.1.1").await;
    talk.ask("RCPT TO:<ops@mx.hismail.test>", "250").await;
    talk.ask("DATA", "354").await;
    talk.ask("Subject: report\r\nFrom: <a@plain.test>\r\n\r\nx\r\n.", "250")
        .await;
    host.organization.maildir("bob").only().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_and_is_told() {
    let host = Host::new().await;
    host.organization.add_account("ben").await;
    host.aliases("ops: ben@hismail.test\n");
    let newaliases = || feed(&mut host.command("newaliases"), "");
    let output = newaliases();
    assert_eq!(told(&output), (0, String::new()));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.ends_with("/aliases: 1 aliases, longest 1 addresses\n"),
        "{text}"
    );
    let daemon = host.organization.spawn().await;
    host.aliases("ops ben\n");
    eventually("an error", || {
        daemon.log().contains("\"aliases.unusable\"").then_some(())
    })
    .await;
    let (code, text) = told(&newaliases());
    assert_eq!(code, 65);
    assert!(
        text.contains("/aliases: line 1: not of the form `name: target, target`\n"),
        "{text}"
    );
    host.sent(&["-f", "a@a.test", "ops"], "Subject: s\n\nx\n");
    host.organization.maildir("ben").only().await;
    assert_eq!(daemon.log().matches("\"aliases.unusable\"").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_files_are_refused_in_words() {
    let host = Host::new().await;
    host.aliases("a: |/bin/cat, bob@hismail.test\nb: /var/mail/b\nA: b\n");
    let (code, text) = told(&feed(host.command("sendmail").arg("-bi"), ""));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("line 1: `|/bin/cat` would run a program, which dimed does not do"),
        "{text}"
    );
    assert!(
        text.contains("line 2: `/var/mail/b` would write to a file, which dimed does not do"),
        "{text}"
    );
    let checked = host.organization.cli(&["check"]).await;
    assert!(
        checked.contains("Look again: ") && checked.contains("would run a program"),
        "{checked}"
    );
    let daemon = host.organization.start().await;
    host.sent(&["-f", "a@a.test", "a"], "Subject: s\n\nx\n");
    host.organization.maildir("bob").only().await;
    host.sent(&["-f", "bob@hismail.test", "b"], "Subject: s\n\nx\n");
    let mails = host.organization.maildir("bob").expect(2).await;
    let unfolded = mails.concat().replace("\r\n\t", " ").replace("\r\n ", " ");
    assert!(
        unfolded.contains("its alias is a program or a file"),
        "{unfolded}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_is_told_and_mail_for_it_comes_back() {
    let host = Host::new().await;
    host.aliases("loop1: loop2\nloop2: loop1\n");
    let (code, text) = told(&feed(&mut host.command("newaliases"), ""));
    assert_eq!(code, 0, "{text}");
    let says = |name: &str| format!("the alias `{name}` leads to nobody but itself or others like it");
    for name in ["loop1", "loop2"] {
        assert!(text.contains(&format!("newaliases: {}", says(name))), "{text}");
    }
    let checked = host.organization.cli(&["check"]).await;
    assert!(
        checked.contains(&format!("Look again: {}", says("loop1"))),
        "{checked}"
    );
    // Who may not look at the accounts is told as much as can be known.
    let hidden = host.path("other.toml");
    let config = std::fs::read_to_string(&host.organization.config).unwrap();
    let data = host.organization.folder.join("data").display().to_string();
    std::fs::write(&hidden, config.replace(&data, "/nonexistent/data")).unwrap();
    let (code, text) = told(&feed(host.command("newaliases").env("DIMED_CONFIG", &hidden), ""));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("unless there is an account of that name\n"),
        "{text}"
    );
    let daemon = host.organization.start().await;
    host.sent(&["-f", "bob@hismail.test", "loop1"], "Subject: s\n\nx\n");
    let report = host.organization.maildir("bob").only().await;
    assert!(report.contains("\r\nStatus: 5.4.6\r\n"), "{report}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_an_account_comes_before_are_named() {
    let host = Host::with(|config| config.local.origin = Some("hismail.test".parse().unwrap())).await;
    host.aliases("bob: ben@elsewhere.test\nops: bob\n");
    let (code, text) = told(&feed(&mut host.command("newaliases"), ""));
    let expected = "newaliases: the alias `bob` is not used: the account bob@hismail.test comes first\n";
    assert_eq!((code, text.as_str()), (0, expected));
}
