//! The master key is replaced, and killed at any moment while it is; nothing that it protects is lost.

use std::num::NonZeroU64;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dimed::config::{Config, read_master_key};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::faults::Faults;
use crate::support::child::DIMED;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGES: usize = 450;

/// With mail that waits, and everything else that has keys.
async fn hermail(world: &World) -> Organization {
    let quick = |config: &mut Config| config.queue.retry_max_secs = NonZeroU64::MIN;
    let builder = world.organization("hermail.test").accounts(&["alice", "bob"]);
    let hermail = builder.config(quick).build().await;
    hermail.cli(&["dkim", "add", "hermail.test"]).await;
    hermail
}

async fn submit(hermail: &Organization, messages: usize) {
    let mut talk = Talk::smtp(hermail.ip).await;
    for number in 0..messages {
        let message = format!("From: carol@plain.test\r\n\r\n{number}\r\n");
        let reply = talk
            .transfer("carol@plain.test", &["bob@hermail.test"], &message)
            .await;
        assert!(reply.starts_with("250"), "{reply}");
    }
}

fn is_right(hermail: &Organization) {
    let (code, out, err) = hermail.binary(&["store", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

fn master_key(hermail: &Organization, name: &str) -> [u8; 32] {
    *read_master_key(&hermail.folder.join(name)).unwrap().expose()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_master_key_opens_everything_and_the_old_one_nothing() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    hermail.block_mailbox("bob");
    let mut process = hermail.spawn().await;
    submit(&hermail, 3).await;
    let (code, _, err) = hermail.binary(&["key", "rotate-master"]);
    assert_eq!(code, 75, "the daemon runs: {err}");
    assert!(err.contains("stop the daemon"), "{err}");
    process.kill();
    let pieces = "SELECT COALESCE(SUM(LENGTH(sealed) + unicode(hex(substr(sealed, 1, 1)))), 0) FROM pieces";
    let bodies = hermail.count(pieces).await;
    let old = master_key(&hermail, "master.key");
    let (code, out, err) = hermail.binary(&["key", "rotate-master", "--json"]);
    assert_eq!(code, 0, "{err}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&said["result"], &said["unreadable"]),
        (&"done".into(), &0.into())
    );
    assert!(
        said["rewrapped"].as_u64().unwrap() >= 3 + 3,
        "messages and keys: {said}"
    );
    let new = master_key(&hermail, "master.key");
    assert_ne!(new, old);
    assert_eq!(master_key(&hermail, "master.key.old"), old);
    assert_eq!(hermail.count(pieces).await, bodies, "no body is written again");
    is_right(&hermail);
    // The old key opens nothing.
    let path = hermail.folder.join("master.key");
    std::fs::rename(&path, hermail.folder.join("kept")).unwrap();
    std::fs::copy(hermail.folder.join("master.key.old"), &path).unwrap();
    assert_eq!(hermail.binary(&["queue", "list"]).0, 78);
    std::fs::rename(hermail.folder.join("kept"), &path).unwrap();
    // The mail is delivered, users log in, and what comes now is readable, too.
    std::fs::remove_file(hermail.maildir("bob").0).unwrap();
    let mut process = hermail.spawn().await;
    hermail.maildir("bob").expect(3).await;
    let message = "From: alice@hermail.test\r\n\r\nnew\r\n";
    hermail.submit("alice", &["bob@hermail.test"], message).await;
    hermail.maildir("bob").expect(4).await;
    process.kill();
    // A key that is to be kept is not written over; once it is put away, the key is replaced again.
    let (code, _, err) = hermail.binary(&["key", "rotate-master"]);
    assert_eq!(code, 1, "{err}");
    std::fs::remove_file(hermail.folder.join("master.key.old")).unwrap();
    assert_eq!(hermail.binary(&["key", "rotate-master"]).0, 0);
    is_right(&hermail);
}

/// Begins to replace the key, and kills that after a while unless it has ended.
async fn cut_off(hermail: &Organization, faults: &Faults, after: Duration) -> bool {
    let launch = faults.launch();
    let mut line = launch.before.iter().cloned().chain([DIMED.into()]);
    let mut child = Command::new(line.next().unwrap())
        .args(line)
        .arg("--config")
        .arg(&hermail.config)
        .args(["key", "rotate-master"])
        .envs(launch.environment.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(after).await;
    let has_ended = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    child.wait().unwrap();
    has_ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_master_key_is_replaced_leaves_what_opens_and_goes_on() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    hermail.block_mailbox("bob");
    let mut process = hermail.spawn().await;
    submit(&hermail, MESSAGES).await;
    process.kill();
    let faults = Faults::new(world.home());
    faults.begin("sync", "dimed.db-wal", "sleep 20");
    let mut rng = StdRng::seed_from_u64(11);
    let (mut kills, mut midway) = (0, 0);
    let mut after = Duration::from_millis(20);
    while !cut_off(&hermail, &faults, after).await {
        kills += 1;
        assert!(kills < 200);
        let under_way = "SELECT count(*) FROM master_key_ring WHERE next IS NOT NULL";
        midway += match hermail
            .count("SELECT count(*) FROM sqlite_master WHERE name = 'master_key_ring'")
            .await
        {
            0 => 0,
            _ => hermail.count(under_way).await,
        };
        is_right(&hermail);
        after += Duration::from_millis(rng.random_range(1..25));
    }
    faults.end();
    assert!(midway >= 2, "{midway} of {kills} kills came midway");
    let (_, _, _) = hermail.binary(&["key", "rotate-master"]);
    is_right(&hermail);
    assert_eq!(
        hermail
            .count("SELECT count(*) FROM master_key_ring WHERE next IS NOT NULL")
            .await,
        0
    );
    assert!(Path::new(&hermail.folder.join("master.key.old")).exists());
    std::fs::remove_file(hermail.maildir("bob").0).unwrap();
    let _process = hermail.spawn().await;
    hermail.maildir("bob").expect(MESSAGES).await;
    println!("{kills} kills, {midway} of them midway; all {MESSAGES} messages delivered");
}
