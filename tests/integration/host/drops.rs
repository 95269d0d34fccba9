//! The drop folder: nothing that was left is lost or doubled by kills, and nothing but mail is taken from it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::{Host, feed, set, told};
use crate::support::eventually;
use crate::support::organization::Organization;

const MESSAGES: usize = 60;

fn subjects(organization: &Organization) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for mail in organization.maildir("bob").messages() {
        let line = mail
            .lines()
            .find(|line| line.starts_with("Subject: "))
            .unwrap()
            .to_owned();
        *counts.entry(line).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_survives_kills() {
    let host = Host::new().await;
    let mut left = 0;
    while left < MESSAGES {
        let mut daemon = host.organization.spawn().await;
        let before = subjects(&host.organization).len();
        for _ in 0..15 {
            host.sent(
                &["-i", "-f", "a@a.test", "bob@hismail.test"],
                format!("Subject: number {left}\n\nx\n"),
            );
            left += 1;
        }
        // Somewhere among them.
        eventually("some mail", || {
            (subjects(&host.organization).len() > before).then_some(())
        })
        .await;
        daemon.kill();
    }
    let _daemon = host.organization.spawn().await;
    eventually("all mail", || {
        (subjects(&host.organization).len() >= MESSAGES).then_some(())
    })
    .await;
    eventually("the folder to be empty", || {
        host.dropped().is_empty().then_some(())
    })
    .await;
    host.organization.idle().await;
    let counts = subjects(&host.organization);
    assert_eq!(counts.len(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_back_after_the_commit_is_known() {
    let host = Host::new().await;
    host.sent(&["-f", "a@a.test", "bob@hismail.test"], "Subject: once\n\nx\n");
    let file = host.dropped().remove(0);
    let copy = fs::read(&file).unwrap();
    let daemon = host.organization.start().await;
    host.organization.maildir("bob").only().await;
    eventually("the file to go", || host.dropped().is_empty().then_some(())).await;
    daemon.stop().await;
    // As after a kill between the commit and the removal.
    fs::write(&file, &copy).unwrap();
    set(&file, 0o644);
    let daemon = host.organization.start().await;
    eventually("the file to go", || host.dropped().is_empty().then_some(())).await;
    host.organization.idle().await;
    assert_eq!(host.organization.maildir("bob").count(), 1);
    daemon.stop().await;
}

/// A whole file, as `sendmail` writes it.
fn letter(sender: &str, recipient: &str, message: &str) -> String {
    format!(
        "dimed 1 {}\nsender: {sender}\nrecipient: {recipient}\n\n{message}",
        message.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn another_message_under_a_name_that_was_used_before_is_taken() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    for count in 1..=3 {
        let text = format!("Subject: number {count}\n\nx\n");
        let elsewhere = host.path("job");
        fs::write(&elsewhere, letter("a@a.test", "bob@hismail.test", &text)).unwrap();
        set(&elsewhere, 0o644);
        fs::rename(elsewhere, host.drop().join("job")).unwrap();
        host.organization.maildir("bob").expect(count).await;
        eventually("the file to go", || host.dropped().is_empty().then_some(())).await;
    }
    assert_eq!(subjects(&host.organization).len(), 3);
    daemon.stop().await;
}

/// RFC 5321 §6.3. `sendmail` does not leave such messages; others may.
#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_told_of_a_message_that_goes_in_circles() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    let trace = "Received: from a.test by b.test; Tue, 3 Jun 2025 10:00:00 +0000\n".repeat(150);
    let message = format!("{trace}Subject: circles\n\nx\n");
    let elsewhere = host.path("circles");
    fs::write(
        &elsewhere,
        letter("bob@hismail.test", "carol@plain.test", &message),
    )
    .unwrap();
    set(&elsewhere, 0o644);
    fs::rename(elsewhere, host.drop().join("circles")).unwrap();
    let report = host.organization.maildir("bob").only().await;
    eventually("the file to go", || host.dropped().is_empty().then_some(())).await;
    for line in [
        "Return-Path: <>\r\n",
        "\r\nFinal-Recipient: rfc822; carol@plain.test\r\n",
        "\r\nStatus: 5.4.6\r\n",
        "\r\nSubject: circles\r\n",
    ] {
        assert!(report.contains(line), "{line:?}: {report}");
    }
    host.organization.idle().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_removed_and_hurt_nobody() {
    let host = Host::new().await;
    let drop = host.drop();
    let good = letter("a@a.test", "bob@hismail.test", "Subject: evil\n\nx\n");
    let put = |name: &str, content: &str, mode: u32| {
        fs::write(drop.join(name), content).unwrap();
        set(&drop.join(name), mode);
    };
    let secret = host.path("secret");
    fs::write(&secret, &good).unwrap();
    set(&secret, 0o644);
    symlink(&secret, drop.join("symlink")).unwrap();
    fs::hard_link(&secret, drop.join("hardlink")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(drop.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(drop.join("folder")).unwrap();
    put("mode", &good, 0o666);
    put("foreign", "From: a@a.test\n\nx\n", 0o644);
    put("empty", "", 0o644);
    put("longer", &format!("{good}more"), 0o644);
    put("shorter", &good[..good.len() - 1], 0o644);
    put("address", &letter("a@b@c", "bob@hismail.test", "x\n"), 0o644);
    put("recipient", &letter("a@a.test", "bo b", "x\n"), 0o644);
    put(
        "header",
        &letter("a@a.test", "bob@hismail.test", "DIME-Required: perhaps\n\nx\n"),
        0o644,
    );
    let huge = fs::File::create(drop.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    set(&drop.join("huge"), 0o644);
    // Of a later version: not for us to judge.
    put("later", "dimed 2 5\nwhatever\n\n", 0o644);
    put("unfinished", &good, 0o600);
    let mut daemon = host.organization.spawn().await;
    host.sent(&["-f", "a@a.test", "bob@hismail.test"], "Subject: good\n\nx\n");
    host.organization.maildir("bob").expect(1).await;
    eventually("the rest to go", || (host.dropped().len() == 2).then_some(())).await;
    let mut names: Vec<_> = host
        .dropped()
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["later", "unfinished"]);
    assert!(secret.exists());
    let only = subjects(&host.organization);
    assert!(only.len() == 1 && only.contains_key("Subject: good"), "{only:?}");
    daemon.check();
    let log = daemon.log();
    assert!(log.contains("\"local.file.refused\""), "{log}");
    assert!(!log.contains("bob@"), "{log}");
    assert!(daemon.peak_kib() < 400_000, "{} KiB", daemon.peak_kib());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_folder_is_not_used_and_that_is_told() {
    let host = Host::new().await;
    host.sent(&["-f", "a@a.test", "bob@hismail.test"], "Subject: s\n\nx\n");
    set(&host.drop(), 0o1777);
    let mut daemon = host.organization.spawn().await;
    eventually("a warning", || {
        daemon.log().contains("\"local.folder.unusable\"").then_some(())
    })
    .await;
    daemon.check();
    assert_eq!(host.organization.maildir("bob").count(), 0);
    set(&host.drop(), 0o1733);
    host.organization.maildir("bob").only().await;
    assert_eq!(daemon.log().matches("\"local.folder.unusable\"").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_writes_leaves_nothing_that_is_sent() {
    let host = Host::new().await;
    let mut child = host
        .command("sendmail")
        .args(["-i", "bob@hismail.test"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"Subject: half\n\nx\n").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    std::mem::drop(input);
    let daemon = host.organization.start().await;
    host.sent(&["-f", "a@a.test", "bob@hismail.test"], "Subject: whole\n\nx\n");
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.contains("Subject: whole"), "{mail}");
    daemon.stop().await;
    assert_eq!(told(&host.send(&["-bx"], "")).0, 64);
}

/// A file, its content, and only then the mode that says that it is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_on_the_disk_before_it_is_complete_and_complete_before_sendmail_ends() {
    let host = Host::new().await;
    let record = host.path("record");
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-y",
            "-q",
            "-e",
            "trace=openat,fchmod,write,fsync,exit_group",
            "-o",
        ])
        .arg(&record)
        .arg(host.path("sendmail"))
        .args(["-i", "-f", "a@a.test", "bob@hismail.test"])
        .env("DIMED_CONFIG", &host.organization.config);
    assert_eq!(told(&feed(&mut command, "Subject: s\n\nx\n")), (0, String::new()));
    let file = host.dropped().remove(0);
    let record = fs::read_to_string(record).unwrap();
    let of_file = |line: &&str| line.contains(file.to_str().unwrap()) || line.contains("exit_group");
    let calls: Vec<&str> = record
        .lines()
        .filter(of_file)
        .map(|line| line.split(' ').find(|word| word.contains('(')).unwrap())
        .map(|word| word.split('(').next().unwrap())
        .collect();
    assert_eq!(
        calls,
        [
            "openat",
            "fchmod",
            "write",
            "write",
            "fsync",
            "fchmod",
            "fsync",
            "exit_group"
        ],
        "{record}"
    );
    assert!(
        record.contains("O_EXCL") && record.contains(", 0600)") && record.contains(", 0644)"),
        "{record}"
    );
}
