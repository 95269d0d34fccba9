//! What is durable before what is said or done, in system calls of the real binary. The order is written down in
//! [`dimed::store`].

use std::ops::Range;
use std::path::Path;

use dimed::config::Local;
use dimed::net::service::Service;
use serde_json::Value;

use super::trace::{Call, Recorder};
use crate::support::loopback::Loopback;
use crate::support::mailbox_server::MailboxServer;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    Subject: order\r\n\r\nhello\r\n";

/// Octets before each page in SQLite's log; those from 4 to 8 are zero but in the last frame of a transaction
/// (<https://sqlite.org/fileformat2.html#walformat>).
const FRAME_HEADER: usize = 24;

/// What is written into SQLite's log between two syncs.
#[derive(Debug)]
struct Written {
    begun: usize,
    octets: Vec<u8>,
    /// The last frame says that a transaction ends with it.
    commits: bool,
    /// The sync that follows.
    synced: Range<usize>,
}

/// What was written and synced, in order. What was written and not synced is left out.
fn written(calls: &[Call]) -> Vec<Written> {
    let mut all = Vec::new();
    let mut open: Option<Written> = None;
    for call in calls.iter().filter(|call| call.target.ends_with("/dimed.db-wal")) {
        if call.is_write() {
            let octets = call.octets();
            let written = open.get_or_insert_with(|| Written {
                begun: call.begun,
                octets: Vec::new(),
                commits: false,
                synced: 0..0,
            });
            if octets.len() == FRAME_HEADER {
                written.commits = octets[4..8] != [0; 4];
            }
            written.octets.extend(octets);
        } else if call.is_sync() {
            all.extend(open.take().map(|written| Written {
                synced: call.begun..call.ended,
                ..written
            }));
        }
    }
    all
}

/// The transaction that brought the message in.
fn commit_of(calls: &[Call], id: &str) -> Written {
    let has_id = |written: &Written| contains(&written.octets, id);
    let commit = written(calls).into_iter().find(has_id);
    let commit = commit.unwrap_or_else(|| panic!("{id} was never committed and synced"));
    assert!(commit.commits, "{id} was synced in the middle of a transaction");
    commit
}

/// The transaction that comes next.
fn next_commit(calls: &[Call], after: usize) -> Written {
    let next = written(calls).into_iter().find(|written| written.begun > after);
    let next = next.expect("a transaction that was synced");
    assert!(next.commits);
    next
}

fn contains(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

fn sent<'a>(calls: &'a [Call], text: &str) -> &'a Call {
    let found = calls
        .iter()
        .find(|call| call.is_send() && contains(&call.octets(), text));
    found.unwrap_or_else(|| panic!("{text} was not sent"))
}

fn renamed_into<'a>(calls: &'a [Call], folder: &Path) -> &'a Call {
    let is_into = |call: &&Call| call.name == "rename" && call.path(1).parent() == Some(folder);
    calls.iter().find(is_into).expect("a message in the Maildir")
}

fn synced<'a>(calls: &'a [Call], path: &Path, after: usize) -> &'a Call {
    let is_sync = |call: &&Call| call.is_sync() && call.begun > after && Path::new(&call.target) == path;
    calls.iter().find(is_sync).expect("a sync")
}

async fn hismail(world: &World) -> Organization {
    world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await
}

/// RFC 5321 §6.1; RFC 3030 §2.
#[tokio::test(flavor = "multi_thread")]
async fn data_and_bdat_are_answered_after_the_commit_is_synced() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let recorder = Recorder::new(world.home());
    let process = hismail.spawn_with(&recorder.launch()).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let (from, to) = ("alice@hermail.test", ["bob@hismail.test"]);
    // The second comes in several pieces.
    let long = MESSAGE.to_owned() + &"and so on\r\n".repeat(60_000);
    let mut replies = vec![
        talk.transfer(from, &to, MESSAGE).await,
        talk.transfer(from, &to, &long).await,
    ];
    talk.ask(&format!("MAIL FROM:<{from}>"), "250").await;
    talk.ask(&format!("RCPT TO:<{}>", to[0]), "250").await;
    let (start, end) = MESSAGE.split_at(40);
    for chunk in [
        format!("BDAT {}\r\n{start}", start.len()),
        format!("BDAT {} LAST\r\n{end}", end.len()),
    ] {
        talk.send(chunk.as_bytes()).await;
        replies.push(talk.expect("250 2.0.0").await);
    }
    replies.remove(2);
    talk.send(b"QUIT\r\n").await;
    hismail.maildir("bob").expect(3).await;
    let calls = recorder.stop(process).await;
    for reply in replies {
        let (_, id) = reply.split_once("queued as ").unwrap();
        let commit = commit_of(&calls, id);
        let reply = sent(&calls, &format!("queued as {id}"));
        assert!(commit.synced.end < reply.begun, "{commit:?} {reply:?}");
        // Pieces are no later than the message that they are of.
        let log = |call: &&Call| call.target.contains("/dimed.db") && call.is_write();
        let before = calls
            .iter()
            .filter(log)
            .filter(|call| call.begun < commit.synced.start);
        assert!(before.clone().all(|call| call.ended < commit.synced.start));
        assert!(before.count() > 0);
    }
}

/// A file, its name, and only then the end of the message in the spool.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_settled_after_its_file_and_its_folder_are_synced() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let recorder = Recorder::new(world.home());
    let process = hismail.spawn_with(&recorder.launch()).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.transfer("alice@hermail.test", &["bob@hismail.test"], MESSAGE)
        .await;
    hismail.idle().await;
    let calls = recorder.stop(process).await;

    let maildir = hismail.maildir("bob").0;
    let new = maildir.join("new");
    let renamed = renamed_into(&calls, &new);
    let file = renamed.path(0);
    let is_of_file = |call: &&Call| call.is_write() && Path::new(&call.target) == file;
    let last_write = calls.iter().rfind(is_of_file).unwrap().ended;
    let file = synced(&calls, &file, last_write);
    assert!(file.ended < renamed.begun, "the name before the octets");
    let folder = synced(&calls, &new, renamed.ended);
    // New folders are durable in those above them.
    for made in calls.iter().filter(|call| call.name == "mkdir") {
        let path = made.path(0);
        if maildir.starts_with(&path) || path.starts_with(&maildir) {
            assert!(
                synced(&calls, path.parent().unwrap(), made.ended).ended < renamed.begun,
                "{path:?}"
            );
        }
    }
    let settled = next_commit(&calls, renamed.ended);
    assert!(
        folder.ended < settled.begun,
        "settled before the folder was synced"
    );
}

/// Submits a message whose delivery is to be reported.
async fn submit_reported(from: &Organization, to: &str) {
    let alice = from.address("alice");
    let mut talk = Talk::submission(from.ip, &alice).await;
    talk.ask(&format!("MAIL FROM:<{alice}>"), "250").await;
    talk.ask(&format!("RCPT TO:<{to}> NOTIFY=SUCCESS"), "250").await;
    talk.data(MESSAGE).await;
    talk.send(b"QUIT\r\n").await;
}

/// The reply of the other side to the end of the data.
fn reply_to_data(calls: &[Call]) -> &Call {
    let is_end = |octets: &[u8]| octets == b".\r\n" || octets.ends_with(b"\r\n.\r\n");
    let dot = calls.iter().find(|call| call.is_send() && is_end(&call.octets()));
    let dot = dot.expect("the end of the message");
    let is_reply = |call: &&Call| call.is_receive() && call.target == dot.target && call.begun >= dot.begun;
    let reply = calls.iter().find(is_reply).unwrap();
    assert!(reply.octets().starts_with(b"250"));
    let between = written(calls)
        .into_iter()
        .filter(|written| (dot.begun..reply.ended).contains(&written.begun));
    assert_eq!(between.count(), 0, "settled before the reply");
    reply
}

/// RFC 2033; the report is in the transaction that settles, and goes out after its sync.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_mailbox_server_says_is_recorded_before_anything_follows_from_it() {
    let world = World::new().await;
    let socket = world.home().join("lmtp");
    let server = MailboxServer::start(&socket, &[]);
    let builder = world
        .organization("hermail.test")
        .plain()
        .accounts(&["alice", "bob"]);
    let hermail = builder
        .config(|config| {
            config.delivery.local = Local::Lmtp;
            config.delivery.lmtp = Some(Service::Unix(socket.clone()));
        })
        .build()
        .await;
    let recorder = Recorder::new(world.home());
    let process = hermail.spawn_with(&recorder.launch()).await;
    submit_reported(&hermail, "bob@hermail.test").await;
    server.handed(2).await;
    hermail.idle().await;
    let calls = recorder.stop(process).await;
    let settled = next_commit(&calls, reply_to_data(&calls).ended);
    let report = sent(&calls, "MAIL FROM:<>");
    assert!(settled.synced.end < report.begun, "{settled:?} {report:?}");
}

/// RFC 5321 §6.1: once the next host has taken a message, it is ours no more as soon as that is durable.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_next_host_says_is_recorded_before_anything_follows_from_it() {
    let world = World::new().await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = world
        .organization("hermail.test")
        .plain()
        .accounts(&["alice"])
        .build()
        .await;
    let recorder = Recorder::new(world.home());
    let process = hermail.spawn_with(&recorder.launch()).await;
    submit_reported(&hermail, "carol@plain.test").await;
    sink.taken(1).await;
    hermail.maildir("alice").only().await;
    let calls = recorder.stop(process).await;
    let settled = next_commit(&calls, reply_to_data(&calls).ended);
    let report = renamed_into(&calls, &hermail.maildir("alice").0.join("new"));
    assert!(settled.synced.end < report.begun, "{settled:?} {report:?}");
}

/// `250 OK [id]` of DMTP. It is encrypted, so all that is sent on the connection counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_answered_after_the_commit_is_synced() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = hismail(&world).await;
    let recorder = Recorder::new(world.home());
    let process = hismail.spawn_with(&recorder.launch()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["bob@hismail.test"], MESSAGE).await;
    hismail.maildir("bob").only().await;
    hermail.idle().await;
    served.stop().await;
    let log = process.log();
    let calls = recorder.stop(process).await;

    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_accepted = |line: &Value| line["event"] == "dmtp.message.accepted";
    let id = lines.clone().find(is_accepted).unwrap()["message.id"]
        .as_str()
        .unwrap()
        .to_owned();
    let commit = commit_of(&calls, &id);
    let is_data =
        |call: &&Call| call.is_receive() && call.target.contains(":10026->") && call.ended < commit.begun;
    // While the author is verified, their signet is asked for on other connections, which we opened.
    let last = calls.iter().rfind(is_data).expect("the object");
    let is_reply = |call: &&Call| call.is_send() && call.target == last.target && call.begun > last.begun;
    let reply = calls.iter().find(is_reply).expect("a reply");
    assert!(commit.synced.end < reply.begun, "{reply:?}");
}
