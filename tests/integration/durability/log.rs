//! A log that cannot be written: mail goes on as before, each message once.

use std::ffi::OsString;
use std::net::TcpStream;

use super::faults::Faults;
use crate::support::child::{Launch, Process};
use crate::support::eventually;
use crate::support::loopback::SMTP;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

/// Runs the daemon from a shell, which redirects its standard error; `$0` is a name that nothing has.
async fn start(hismail: &Organization, script: &str, name: &str) -> Process {
    let nothing = hismail.folder.join(name);
    let mut before: Vec<OsString> = ["sh", "-c", script].map(OsString::from).into();
    before.push(nothing.into());
    let launch = Launch {
        before,
        ..Launch::default()
    };
    let process = Process::start(&hismail.config, &hismail.log(), &launch);
    let connected = || TcpStream::connect((hismail.ip, SMTP)).ok();
    eventually("the daemon to listen", connected).await;
    process
}

async fn hismail(world: &World) -> Organization {
    world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await
}

/// A message that comes by SMTP, and is delivered.
async fn take(hismail: &Organization, text: &str) {
    let mut talk = Talk::smtp(hismail.ip).await;
    let message = format!("From: alice@plain.test\r\n\r\n{text}\r\n");
    let reply = talk
        .transfer("alice@plain.test", &["bob@hismail.test"], &message)
        .await;
    assert!(reply.starts_with("250"), "{text}: {reply}");
    talk.ask("QUIT", "221").await;
    hismail.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_on_though_no_line_of_the_log_can_be_written() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let mut expected = Vec::new();
    for (name, script) in [
        ("full", "exec \"$@\" 2>/dev/full"),
        // It has a reader for as long as it is opened, and none from then on.
        (
            "unread",
            "mkfifo \"$0\" && exec 3<>\"$0\" && exec \"$@\" 2>\"$0\" 3>&-",
        ),
        ("closed", "exec \"$@\" 2>&-"),
    ] {
        let mut process = start(&hismail, script, name).await;
        for number in 1..=3 {
            let text = format!("{name} {number}");
            take(&hismail, &text).await;
            expected.push(text);
        }
        process.terminate();
        let status = process.ended().await;
        assert!(status.success(), "{name}: {status}");
    }
    let messages = hismail.maildir("bob").messages();
    let mut found: Vec<_> = messages.iter().map(|mail| split(mail).1.trim_end()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// A pipe whose other end is open, and which is full: whoever writes there waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_on_and_the_daemon_stops_though_nobody_reads_the_log() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let fill = "dd if=/dev/zero of=\"$0\" bs=4096 oflag=nonblock 2>/dev/null";
    let script = format!("mkfifo \"$0\" && exec 3<>\"$0\" && {{ {fill}; exec \"$@\" 2>\"$0\"; }}");
    let mut process = start(&hismail, &script, "pipe").await;
    for number in 1..=3 {
        take(&hismail, &format!("message {number}")).await;
    }
    process.terminate();
    let status = process.ended().await;
    assert!(status.success(), "{status}");
    assert_eq!(hismail.maildir("bob").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_once_how_many_lines_are_lost() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let faults = Faults::new(world.home());
    let mut process = hismail.spawn_with(&faults.launch()).await;
    take(&hismail, "before").await;
    faults.begin("write", "hismail.test/log", "error 28");
    take(&hismail, "meanwhile").await;
    faults.happened().await;
    assert!(!process.log().contains("\"log.resumed\""));
    faults.end();
    take(&hismail, "after").await;
    take(&hismail, "and again").await;
    process.terminate();
    assert!(process.ended().await.success());
    let log = process.log();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("\"log.resumed\""))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert_eq!(hismail.maildir("bob").count(), 4);
}
