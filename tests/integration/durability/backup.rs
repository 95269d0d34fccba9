//! A backup of a database that is in use, and the installation made from it.

use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dimed::config::Config;
use serde_json::Value;

use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const BEFORE: usize = 12;

async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test").accounts(&["bob"]);
    let quick = |config: &mut Config| config.queue.retry_max_secs = NonZeroU64::MIN;
    builder.config(quick).build().await
}

async fn send(talk: &mut Talk, number: usize) -> bool {
    let message = format!("From: alice@plain.test\r\n\r\n{number}\r\n");
    let reply = talk
        .transfer("alice@plain.test", &["bob@hismail.test"], &message)
        .await;
    reply.starts_with("250")
}

/// Has the organization keep everything in another place from now on.
fn move_to(organization: &mut Organization, name: &str) {
    let mut config = Config::load(&organization.config).unwrap();
    let folder = organization.folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    config.server.data_directory = folder.join("data");
    config.server.master_key_file = folder.join("master.key");
    organization.config = folder.join("dimed.toml");
    std::fs::write(&organization.config, toml::to_string(&config).unwrap()).unwrap();
}

fn answer((code, out, err): (i32, String, String)) -> (i32, Value) {
    let said = serde_json::from_str(&out);
    (code, said.unwrap_or_else(|_| panic!("{out} {err}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_load_has_all_that_was_acknowledged_and_sends_nothing_unasked() {
    let world = World::new().await;
    let mut hismail = hismail(&world).await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    for number in 0..BEFORE {
        assert!(send(&mut talk, number).await);
    }
    let (stop, during) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (stop, during, ip) = (Arc::clone(&stop), Arc::clone(&during), hismail.ip);
        tokio::spawn(async move {
            let mut talk = Talk::smtp(ip).await;
            for number in BEFORE.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                assert!(send(&mut talk, number).await);
                during.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    while during.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = during.load(Ordering::Relaxed);
    let file = hismail.folder.join("backup");
    let path = file.to_str().unwrap();
    let (code, said) = answer(hismail.binary(&["store", "backup", path, "--json"]));
    assert_eq!((code, &said["keys"]), (0, &true.into()));
    assert!(
        during.load(Ordering::Relaxed) > before,
        "nothing came in meanwhile"
    );
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        hismail.binary(&["store", "backup", path]).0,
        2,
        "it is not replaced"
    );
    process.kill();

    let key = std::fs::read(hismail.folder.join("master.key")).unwrap();
    let certificate = std::fs::read(hismail.folder.join("data/tls/certificate.pem")).unwrap();
    move_to(&mut hismail, "restored");
    let (code, said) = answer(hismail.binary(&["store", "restore", path, "--json"]));
    assert_eq!(code, 0);
    let held = said["held"].as_u64().unwrap() as usize;
    assert!(held >= BEFORE + before, "{held}");
    assert_eq!(
        std::fs::read(hismail.folder.join("restored/master.key")).unwrap(),
        key
    );
    let restored = std::fs::read(hismail.folder.join("restored/data/tls/certificate.pem")).unwrap();
    assert_eq!(restored, certificate);
    let database = std::fs::read(hismail.folder.join("restored/data/dimed.db")).unwrap();
    let master = dimed::config::read_master_key(&hismail.folder.join("master.key")).unwrap();
    assert!(
        !database.windows(32).any(|octets| octets == master.expose()),
        "the key is in the database"
    );

    let mut process = hismail.spawn().await;
    assert_eq!(hismail.binary(&["store", "verify"]).0, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(hismail.maildir("bob").count(), 0, "nobody has released it");
    let reason = ["--reason", "restored from a backup", "--json"];
    let (code, said) = answer(hismail.binary(&[&["queue", "release"], &reason[..]].concat()));
    assert_eq!((code, &said["recipients"]), (0, &held.into()));
    // A running daemon takes a while to find out.
    process.kill();
    let _process = hismail.spawn().await;
    let messages = hismail.maildir("bob").expect(held).await;
    let mut numbers: Vec<usize> = messages
        .iter()
        .map(|message| split(message).1.trim_end().parse().unwrap())
        .collect();
    numbers.sort();
    assert_eq!(numbers, (0..held).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_or_has_no_place_is_not_restored_and_a_lost_key_is_told() {
    let world = World::new().await;
    let mut hismail = hismail(&world).await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    assert!(send(&mut talk, 0).await);
    let file = hismail.folder.join("backup");
    let path = file.to_str().unwrap();
    assert_eq!(hismail.binary(&["store", "backup", path, "--without-keys"]).0, 0);
    let master = dimed::config::read_master_key(&hismail.folder.join("master.key")).unwrap();
    let octets = std::fs::read(&file).unwrap();
    assert!(!octets.windows(32).any(|octets| octets == master.expose()));
    process.kill();
    let (code, _, err) = hismail.binary(&["store", "restore", path]);
    assert_eq!(code, 1);
    assert!(err.contains("is not empty"), "{err}");

    let old = hismail.folder.join("master.key");
    move_to(&mut hismail, "restored");
    let (code, _, err) = hismail.binary(&["store", "restore", hismail.config.to_str().unwrap()]);
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = hismail.binary(&["store", "restore", path]);
    assert_eq!(code, 1);
    for told in [
        "no master key",
        "are the mail in the queue",
        "--without-master-key",
    ] {
        assert!(err.contains(told), "{err}");
    }
    // With the key put back, all is there.
    let here = hismail.folder.join("restored/master.key");
    std::fs::copy(&old, &here).unwrap();
    let (code, said) = answer(hismail.binary(&["store", "restore", path, "--json"]));
    assert_eq!((code, &said["held"]), (0, &1.into()));
    assert_eq!(hismail.binary(&["store", "verify"]).0, 0);

    // Without it, what is not encrypted is: the account and its password, and the domain.
    move_to(&mut hismail, "poor");
    let (code, said) = answer(hismail.binary(&["store", "restore", path, "--without-master-key", "--json"]));
    assert_eq!((code, &said["keys"]), (0, &false.into()));
    assert_eq!(hismail.binary(&["store", "verify"]).0, 0);
    assert_eq!(hismail.count("SELECT count(*) FROM messages").await, 0);
    assert!(hismail.count("SELECT count(*) FROM signets").await > 0);
    let _process = hismail.spawn().await;
    Talk::submission(hismail.ip, "bob@hismail.test").await;
}
