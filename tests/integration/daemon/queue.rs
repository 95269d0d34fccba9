//! `dimed queue …` on the real binary, beside a running daemon and without one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use dimed::base::id::QueueId;
use dimed::config::Config;
use dimed::daemon::Services;
use dimed::mail::address::{Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::store::{Addressee, Content, Envelope, FollowUp, NewMessage, Source};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::child::DIMED;
use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;
use crate::support::{PATIENCE, eventually};

const MESSAGE: &str = "From: alice@hermail.test\r\nTo: somebody\r\nSubject: waits\r\n\r\nHello\r\n";

/// The objects that `queue list` prints for programs.
fn list(organization: &Organization, options: &[&str]) -> Vec<Value> {
    let (code, out, err) = organization.binary(&[&["queue", "list", "--json"], options].concat());
    assert_eq!(code, 0, "{err}");
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn forward_paths(organization: &Organization, options: &[&str]) -> Vec<String> {
    let list = list(organization, options);
    list.iter()
        .map(|object| object["forward_path"].as_str().unwrap().to_owned())
        .collect()
}

/// What a command that changes the queue answers.
fn change(organization: &Organization, arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = organization.binary(&[&["queue"], arguments, &["--json"]].concat());
    let answer = serde_json::from_str(&out);
    (code, answer.unwrap_or_else(|_| panic!("{out} {err}")))
}

/// An organization with mail for bob, whose mailbox cannot be used, and for two at plain.test, whose host takes nothing; all of it
/// has been tried and waits for long.
struct Waiting {
    hermail: Organization,
    sink: Sink,
    _host: Loopback,
    _world: World,
}

async fn waiting() -> Waiting {
    let world = World::new().await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        refusal: Some("451 4.7.1 Come back on Tuesday"),
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| config.queue.retry_first_secs = 3600.try_into().unwrap())
        .build()
        .await;
    hermail.block_mailbox("bob");
    Waiting {
        hermail,
        sink,
        _host: host,
        _world: world,
    }
}

async fn all_tried(hermail: &Organization, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while list(hermail, &["--status", "waiting"])
        .iter()
        .filter(|object| object["attempts"] == 1)
        .count()
        < count
    {
        assert!(Instant::now() < deadline, "{:?}", list(hermail, &[]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const BOB: &str = "bob@hermail.test";
const CAROL: &str = "carol@plain.test";
const DAVE: &str = "dave@plain.test";

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_down_what_is_shown_and_changed_with_and_without_a_daemon() {
    let Waiting { hermail, .. } = &waiting().await;
    let mut process = hermail.spawn().await;
    hermail.submit("alice", &[BOB, CAROL], MESSAGE).await;
    hermail.submit("alice", &[DAVE], MESSAGE).await;
    all_tried(hermail, 3).await;
    for round in ["beside the daemon", "without it"] {
        let shown = |options: &[&str]| forward_paths(hermail, options);
        assert_eq!(shown(&[]), [BOB, CAROL, DAVE], "{round}");
        assert_eq!(shown(&["--domain", "plain.test"]), [CAROL, DAVE]);
        assert_eq!(shown(&["--route", "local"]), [BOB]);
        assert_eq!(shown(&["--route", "smtp"]), [CAROL, DAVE]);
        assert_eq!(shown(&["--route", "dmtp"]), [""; 0]);
        assert_eq!(shown(&["--reason", "come BACK on tuesday"]), [CAROL, DAVE]);
        assert_eq!(shown(&["--reason", "4.7.1"]), [CAROL, DAVE]);
        assert_eq!(shown(&["--class", "refused"]), [CAROL, DAVE]);
        assert_eq!(shown(&["--class", "storage"]), [BOB]);
        assert_eq!(shown(&["--class", "other"]), [BOB], "storage is a part of it");
        assert_eq!(shown(&["--class", "unreachable"]), [""; 0]);
        assert_eq!(shown(&["--class", "refused", "--limit", "1"]), [CAROL]);
        let classes = list(hermail, &[]);
        let classes: Vec<_> = classes.iter().map(|object| &object["class"]).collect();
        assert_eq!(classes, ["storage", "refused", "refused"]);
        assert_eq!(shown(&["--older-than", "1h"]), [""; 0]);
        assert_eq!(shown(&["--newer-than", "1h"]), [BOB, CAROL, DAVE]);
        assert_eq!(shown(&["--older-than", "0s", "--route", "smtp"]), [CAROL, DAVE]);
        assert_eq!(shown(&["--limit", "2"]), [BOB, CAROL]);
        assert_eq!(shown(&["--status", "held"]), [""; 0]);
        let first = list(hermail, &[])[0].clone();
        assert_eq!(shown(&[first["message"].as_str().unwrap()]), [BOB, CAROL]);
        assert_eq!(
            shown(&["--recipient", first["recipient"].as_str().unwrap()]),
            [BOB]
        );

        // Nothing changes when it is only asked what would.
        let (code, said) = change(hermail, &["hold", "--route", "smtp", "--dry-run"]);
        assert_eq!(
            (code, &said["result"], &said["recipients"]),
            (0, &"would_be_done".into(), &2.into())
        );
        assert_eq!(shown(&["--status", "held"]), [""; 0]);
        let (code, said) = change(hermail, &["hold", "--route", "smtp", "--limit", "1"]);
        assert_eq!(
            (code, &said["result"], &said["recipients"]),
            (0, &"held".into(), &1.into())
        );
        assert_eq!(shown(&["--status", "held"]), [CAROL]);
        // The limit counts those that there is something to do for.
        let (_, said) = change(hermail, &["hold", "--domain", "plain.test", "--limit", "1"]);
        assert_eq!(said["recipients"], 1);
        assert_eq!(shown(&["--status", "held"]), [CAROL, DAVE]);
        let (code, _) = change(hermail, &["hold", "--domain", "plain.test"]);
        assert_eq!(code, 1, "nothing is left to hold");
        if round == "beside the daemon" {
            process.kill();
        }
        let (_, said) = change(hermail, &["release", "--all"]);
        assert_eq!(said["recipients"], 2);
    }
    let (code, said) = change(hermail, &["delete", "--domain", "plain.test", "--dry-run"]);
    assert_eq!((code, &said["recipients"]), (0, &2.into()));
    let (_, said) = change(hermail, &["delete", "--domain", "plain.test"]);
    assert_eq!(said["recipients"], 2);
    assert_eq!(forward_paths(hermail, &[]), [BOB]);
    for wrong in [
        &["list", "--route", "fax"][..],
        &["list", "--status", "lost"],
        &["list", "--class", "timeout"],
        &["list", "--older-than", "1"],
        &["delete"],
        &["hold"],
        &["hold", "--all", "--domain", "plain.test"],
        &["retry", "--recipient", "x"],
    ] {
        let (code, _, err) = hermail.binary(&[&["queue"], wrong].concat());
        assert_eq!(code, 2, "{wrong:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_count_what_there_is() {
    let Waiting { hermail, .. } = &waiting().await;
    let _process = hermail.spawn().await;
    hermail.submit("alice", &[BOB, CAROL], MESSAGE).await;
    hermail.submit("alice", &[DAVE], MESSAGE).await;
    all_tried(hermail, 3).await;
    change(hermail, &["hold", "--domain", "hermail.test"]);
    let (code, said) = change(hermail, &["stats"]);
    assert_eq!(
        (code, &said["messages"], &said["domains"]),
        (0, &2.into(), &2.into())
    );
    let amounts = |value: &Value| {
        ["all", "waiting", "due", "trying", "held", "quarantined"].map(|name| value[name].as_u64().unwrap())
    };
    assert_eq!(amounts(&said["recipients"]), [3, 2, 0, 0, 1, 0]);
    assert_eq!(said["largest"][0]["domain"], "plain.test");
    assert_eq!(amounts(&said["largest"][0]), [2, 2, 0, 0, 0, 0]);
    assert_eq!(amounts(&said["largest"][1]), [1, 0, 0, 0, 1, 0]);
    let (_, text, _) = hermail.binary(&["queue", "stats", "--domains", "1"]);
    assert!(
        text.contains("3 recipients in 2 domains: 2 waiting (0 due), 0 being tried, 1 held, 0 quarantined\n"),
        "{text}"
    );
    assert!(!text.contains("hermail.test:"), "{text}");
}

/// Somebody writes all the time, and the key is not there.
#[tokio::test(flavor = "multi_thread")]
async fn stats_wait_for_nobody_and_change_nothing() {
    let Waiting { hermail, .. } = &waiting().await;
    let mut process = hermail.spawn().await;
    hermail.submit("alice", &[BOB, CAROL], MESSAGE).await;
    all_tried(hermail, 2).await;
    process.kill();
    let config = Config::load(&hermail.config).unwrap();
    let database = config.server.database();
    let key = hermail.folder.join("elsewhere.key");
    std::fs::rename(&config.server.master_key_file, &key).unwrap();
    let options = SqliteConnectOptions::new().filename(&database);
    let mut writer = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
    let before = std::fs::read(&database).unwrap();
    let (code, said) = change(hermail, &["stats"]);
    assert_eq!((code, &said["messages"]), (0, &1.into()), "{said}");
    assert_eq!(said["recipients"]["waiting"], 2);
    assert!(std::fs::read(&database).unwrap() == before);
    sqlx::query("ROLLBACK").execute(&mut writer).await.unwrap();
    writer.close().await.unwrap();

    // One of an earlier version is brought up to date first, for which the key is needed.
    hermail
        .change_database(
            "DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)",
        )
        .await;
    let (code, _, err) = hermail.binary(&["queue", "stats"]);
    assert_eq!(code, 78, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_has_everything_tried_that_waits() {
    let Waiting { hermail, .. } = &waiting().await;
    let _process = hermail.spawn().await;
    hermail.submit("alice", &[CAROL], MESSAGE).await;
    hermail.submit("alice", &[DAVE], MESSAGE).await;
    all_tried(hermail, 2).await;
    let (code, said) = change(hermail, &["flush"]);
    assert_eq!((code, &said["recipients"]), (0, &2.into()));
    let deadline = Instant::now() + PATIENCE;
    while list(hermail, &[]).iter().any(|object| object["attempts"] != 2) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_takes_nothing_new_until_that_ends_even_if_it_is_restarted() {
    let Waiting { hermail, sink, .. } = &waiting().await;
    let mut process = hermail.spawn().await;
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    let (code, said) = change(hermail, &["drain", "--wait", "60"]);
    assert_eq!((code, &said["trying"]), (0, &0.into()), "{said}");
    assert_eq!(
        (&said["result"], &said["node"]),
        (&"done".into(), &"mx.hermail.test".into())
    );
    talk.ask("MAIL FROM:<alice@hermail.test>", "451 4.3.2").await;
    let mut dmtp = Talk::dmtp(hermail.ip, "hismail.test").await;
    dmtp.ask("MAIL FROM: <hismail.test> [x] SIZE=10", "451 ").await;
    process.kill();
    let _process = hermail.spawn().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "451 4.3.2").await;
    let (_, said) = change(hermail, &["stats"]);
    assert_eq!(said["drained"][0]["node"], "mx.hermail.test");
    let (code, _) = change(hermail, &["drain", "--end"]);
    assert_eq!(code, 0);
    eventually("the end of it", || {
        let log = std::fs::read_to_string(hermail.log()).unwrap();
        log.contains("\"daemon.resumed\"").then_some(())
    })
    .await;
    // What waits is not tried while the node is drained.
    hermail.submit("alice", &[CAROL], MESSAGE).await;
    all_tried(hermail, 1).await;
    let before = sink.attempts().len();
    assert_eq!(change(hermail, &["drain", "--all"]).0, 0);
    eventually("it to be drained again", || {
        let log = std::fs::read_to_string(hermail.log()).unwrap();
        (log.matches("\"daemon.drained\"").count() == 3).then_some(())
    })
    .await;
    assert_eq!(change(hermail, &["flush"]).0, 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sink.attempts().len(), before);
    assert_eq!(change(hermail, &["drain", "--end"]).0, 0);
    eventually("an attempt", || (sink.attempts().len() > before).then_some(())).await;
    assert_eq!(change(hermail, &["drain", "--end"]).0, 1);
}

/// Nor can it change the direction of what follows, or begin another line.
#[tokio::test(flavor = "multi_thread")]
async fn what_hosts_say_is_shown_as_it_is_and_does_nothing() {
    let world = World::new().await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        refusal: Some("451 4.7.1 Come \u{202e}back\u{2028}on Tuesday"),
        ..Behaviour::default()
    };
    let _sink = Sink::start(host.ip, behaviour).await;
    let hermail = &world
        .organization("hermail.test")
        .accounts(&["alice"])
        .config(|config| config.queue.retry_first_secs = 3600.try_into().unwrap())
        .build()
        .await;
    let _process = hermail.spawn().await;
    hermail.submit("alice", &[CAROL], MESSAGE).await;
    all_tried(hermail, 1).await;
    let id = list(hermail, &[])[0]["message"].as_str().unwrap().to_owned();
    for command in [&["queue", "list"][..], &["queue", "show", &id], &["mailq"]] {
        let (code, text, err) = hermail.binary(command);
        assert_eq!(code, 0, "{err}");
        assert!(
            text.contains("Come \\u{202e}back\\u{2028}on Tuesday"),
            "{command:?}: {text}"
        );
        assert!(!text.contains(['\u{202e}', '\u{2028}']), "{command:?}: {text}");
    }
}

/// One that was begun is finished, and waited for; one that has only said MAIL is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_once_what_was_coming_in_is_there() {
    let world = World::new().await;
    let hermail = &world
        .organization("hermail.test")
        .accounts(&["bob"])
        .config(|config| config.server.shutdown_grace_secs = 600)
        .build()
        .await;
    let process = hermail.spawn().await;
    let mut begun = Talk::smtp(hermail.ip).await;
    let mut waiting = Talk::smtp(hermail.ip).await;
    let mut named = Talk::smtp(hermail.ip).await;
    for talk in [&mut begun, &mut waiting, &mut named] {
        talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    }
    for talk in [&mut begun, &mut named] {
        talk.ask("RCPT TO:<bob@hermail.test>", "250").await;
    }
    begun.ask("DATA", "354").await;
    let (code, said) = change(hermail, &["drain", "--wait", "0"]);
    assert_eq!((code, &said["result"]), (75, &"asked".into()), "{said}");
    eventually("it to be drained", || {
        process.log().contains("\"daemon.drained\"").then_some(())
    })
    .await;
    waiting.ask("RCPT TO:<bob@hermail.test>", "451 4.3.2").await;
    named.ask("DATA", "451 4.3.2").await;
    // By then it has looked again.
    let (code, said) = change(hermail, &["drain", "--wait", "5"]);
    assert_eq!((code, &said["result"]), (75, &"asked".into()), "{said}");
    begun.send(b"From: carol@plain.test\r\n\r\nhello\r\n").await;
    begun.ask(".", "250").await;
    let (code, said) = change(hermail, &["drain", "--wait", "60"]);
    assert_eq!((code, &said["result"]), (0, &"done".into()), "{said}");
    assert_eq!(change(hermail, &["stats"]).1["messages"], 1);
    assert_eq!(change(hermail, &["drain", "--end"]).0, 0);
    hermail.maildir("bob").only().await;
}

/// A stranger who sends a message without an end does not keep a node from being drained.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_to_its_end_is_given_up_when_a_node_is_drained() {
    let world = World::new().await;
    let hermail = &world
        .organization("hermail.test")
        .accounts(&["bob"])
        .config(|config| config.server.shutdown_grace_secs = 1)
        .build()
        .await;
    let _process = hermail.spawn().await;
    let [mut data, mut chunks] = [Talk::smtp(hermail.ip).await, Talk::smtp(hermail.ip).await];
    for talk in [&mut data, &mut chunks] {
        talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
        talk.ask("RCPT TO:<bob@hermail.test>", "250").await;
    }
    data.ask("DATA", "354").await;
    data.send(b"From: carol@plain.test\r\n\r\nhello\r\n").await;
    chunks.ask("BDAT 4\r\nX:", "250").await;
    let mut idle = Talk::smtp(hermail.ip).await;
    let (code, said) = change(hermail, &["drain", "--wait", "60"]);
    assert_eq!((code, &said["result"]), (0, &"done".into()), "{said}");
    for talk in [&mut data, &mut chunks] {
        talk.expect("421 4.3.2").await;
        talk.expect_end().await;
    }
    // Whoever sends nothing is left alone.
    idle.ask("NOOP", "250").await;
    assert_eq!(change(hermail, &["stats"]).1["messages"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_node_takes_nothing_new_is_said_once_it_has_said_so() {
    let world = World::new().await;
    let hermail = &world.organization("hermail.test").build().await;
    let state = |said: &Value| said["nodes"][0]["state"].clone();
    // Before it has ever run, nothing is known of any node.
    let (code, said) = change(hermail, &["drain", "--wait", "0"]);
    assert_eq!((code, &said["result"]), (75, &"asked".into()), "{said}");
    assert_eq!(state(&said), "unheard");
    assert_eq!(change(hermail, &["drain", "--end"]).0, 0);

    let mut process = hermail.spawn().await;
    let (code, said) = change(hermail, &["drain", "--node", "mx.hismail.test"]);
    assert_eq!((code, &said["result"]), (1, &"unknown_node".into()), "{said}");
    assert_eq!(said["known"], serde_json::json!(["mx.hermail.test"]));
    let (code, said) = change(hermail, &["drain", "--end", "--node", "mx.hismail.test"]);
    assert_eq!(code, 1, "nothing was drained: {said}");

    // It stands still, and hears nothing. Not in the middle of what it writes at its start, or nobody else could write either.
    tokio::time::sleep(Duration::from_secs(3)).await;
    process.signal("-STOP");
    for wait in ["0", "1", "5"] {
        let (code, said) = change(hermail, &["drain", "--wait", wait]);
        assert_eq!((code, &said["result"]), (75, &"asked".into()), "{said}");
        assert_eq!(state(&said), "asked");
    }
    let (code, text, err) = hermail.binary(&["queue", "drain"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        text.starts_with(
            "mx.hermail.test is asked to take no mail and to begin no attempt, and stops within 3 s, or once what is just coming in \
             is there.\n"
        ),
        "{text}"
    );
    process.signal("-CONT");
    let (code, said) = change(hermail, &["drain", "--all", "--wait", "60"]);
    assert_eq!((code, &said["result"]), (0, &"done".into()), "{said}");
    assert_eq!(state(&said), "drained");

    process.terminate();
    process.ended().await;
    let (code, said) = change(hermail, &["drain", "--wait", "60"]);
    assert_eq!((code, state(&said)), (0, "stopped".into()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_why_the_store_failed() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let process = hermail.spawn().await;
    hermail
        .change_database("DROP TABLE drains; UPDATE local_domains SET name = name")
        .await;
    let line = eventually("a line on the failure", || {
        let log = process.log();
        let line = log.lines().find(|line| line.contains("\"queue.store_failed\""));
        line.map(str::to_owned)
    })
    .await;
    assert!(line.contains("the database failed: "), "{line}");
    assert!(line.contains("no such table: drains"), "{line}");
}

/// Puts messages with a hundred recipients each into the queue.
async fn fill(hermail: &Organization, messages: usize) {
    let Services { store, clock, .. } = hermail.services().await;
    for _ in 0..messages {
        let recipient = |number| Addressee::from(Mailbox::parse(&format!("r{number}@plain.test")).unwrap());
        let message = NewMessage {
            id: QueueId::random(&mut rand::rng()),
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Local,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: (0..100).map(recipient).collect(),
            accepted_at: clock.now(),
            due_at: clock.now(),
            ticket: None,
        };
        let body = MESSAGE.as_bytes().to_vec();
        store.enqueue(FollowUp::new(message, body)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_commands_does_not_grow_with_the_queue() {
    const MESSAGES: usize = 200;
    const LINES: usize = MESSAGES * 100;
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    fill(&hermail, MESSAGES).await;
    let mut command = std::process::Command::new(DIMED);
    command
        .arg("--config")
        .arg(&hermail.config)
        .args(["queue", "list"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let peak = || {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What is behind these does not fit into the pipe, so the process is still there.
    let early = lines.nth(2000).map(|_| peak()).unwrap();
    let late = lines.nth(LINES - 4000).map(|_| peak()).unwrap();
    // Pages that are read are kept, 2 MiB of them.
    assert!(late < early + 4096, "{early} KiB, then {late} KiB");
    assert_eq!(lines.last().unwrap().unwrap(), format!("{LINES} recipients."));
    child.wait().unwrap();
    let (code, said) = change(&hermail, &["hold", "--all"]);
    assert_eq!((code, &said["recipients"]), (0, &LINES.into()));
    let (_, said) = change(&hermail, &["delete", "--status", "held"]);
    assert_eq!(said["recipients"], LINES);
    assert_eq!(hermail.count("SELECT count(*) FROM lanes").await, 0);
    assert_eq!(hermail.count("SELECT count(*) FROM messages").await, 0);
}
