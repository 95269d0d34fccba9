//! The drop folder when much is left there: files that stay keep nobody waiting, and limits hold.

use std::fs;

use super::{Host, set};
use crate::support::eventually;

/// Leaves a file that is whole from the start.
fn leave(host: &Host, name: &str, content: &str) {
    let elsewhere = host.path(name);
    fs::write(&elsewhere, content).unwrap();
    set(&elsewhere, 0o644);
    fs::rename(elsewhere, host.drop().join(name)).unwrap();
}

/// A whole file for so many recipients, who are all bob.
fn letter(recipients: usize) -> String {
    let recipients = "recipient: bob@hismail.test\n".repeat(recipients);
    format!("dimed 1 14\nsender: a@a.test\n{recipients}\nSubject: s\n\nx\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_version_stay_and_keep_nobody_waiting() {
    const FILES: usize = 700;
    let host = Host::new().await;
    for number in 0..FILES {
        leave(&host, &format!("later{number}"), "dimed 2 5\nwhatever\n\n");
    }
    let mut daemon = host.organization.spawn().await;
    for count in 1..=3 {
        host.sent(&["-f", "a@a.test", "bob@hismail.test"], "Subject: s\n\nx\n");
        host.organization.maildir("bob").expect(count).await;
    }
    eventually("the messages to go", || {
        (host.dropped().len() == FILES).then_some(())
    })
    .await;
    daemon.check();
    let log = daemon.log();
    let lines = log.matches("\"local.message.left\"").count();
    assert!((1..20).contains(&lines), "{lines}");
    assert!(!log.contains("\"local.file.refused\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_too_many_is_removed_and_told() {
    let host = Host::new().await;
    leave(&host, "many", &letter(1001));
    let mut daemon = host.organization.spawn().await;
    eventually("the file to go", || host.dropped().is_empty().then_some(())).await;
    assert!(daemon.log().contains("a damaged envelope"));
    leave(&host, "fewer", &letter(1000));
    host.organization.maildir("bob").only().await;
    eventually("the file to go", || host.dropped().is_empty().then_some(())).await;
    host.organization.idle().await;
    // However often he is named.
    assert_eq!(host.organization.maildir("bob").count(), 1);
    daemon.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_once_more_loses_what_its_first_delivery_added() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "a@a.test", "bob@hismail.test"],
        "Return-Path: <first@a.test>\nSubject: s\nDELIVERED-TO:\n bob@hismail.test\nX: y\n\n\
         Return-Path: <stays@a.test>\n",
    );
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.starts_with("Return-Path: <a@a.test>\r\n"), "{mail}");
    assert!(!mail.contains("first@a.test"), "{mail}");
    assert!(!mail.contains("DELIVERED-TO"), "{mail}");
    assert!(mail.contains("\r\nSubject: s\r\nX: y\r\n"), "{mail}");
    assert!(
        mail.ends_with("\r\n\r\nReturn-Path: <stays@a.test>\r\n"),
        "{mail}"
    );
    daemon.stop().await;
}
