//! Restores that are killed, are given what is no backup, or belong somewhere else: what is left is no installation, and the next one is
//! whole.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use dimed::config::Config;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::faults::Faults;
use crate::support::child::{DIMED, Launch, Process};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGES: usize = 3;

/// With mail that waits, and a backup of it, with the keys or without them.
async fn backed_up(world: &World, options: &[&str]) -> (Organization, String) {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    for number in 0..MESSAGES {
        let message = format!("From: alice@plain.test\r\n\r\n{number}\r\n");
        let reply = talk
            .transfer("alice@plain.test", &["bob@hismail.test"], &message)
            .await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let file = hismail.folder.join("backup").to_str().unwrap().to_owned();
    let backup = [&["store", "backup", &file], options].concat();
    let (code, _, err) = hismail.binary(&backup);
    assert_eq!(code, 0, "{err}");
    process.kill();
    (hismail, file)
}

/// Has the organization keep everything in another place from now on, which is not there yet; where its data are.
fn move_to(organization: &mut Organization, name: &str, change: impl Fn(&mut Config)) -> PathBuf {
    let mut config = Config::load(&organization.config).unwrap();
    let folder = organization.folder.join(name);
    fs::create_dir(&folder).unwrap();
    let data = folder.join("data");
    config.server.data_directory = data.clone();
    config.server.master_key_file = folder.join("master.key");
    change(&mut config);
    organization.config = folder.join("dimed.toml");
    fs::write(&organization.config, toml::to_string(&config).unwrap()).unwrap();
    data
}

/// Names in a folder, in order; none if it is not there.
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Begins to restore, and kills that after a while; how it has ended, if it has.
async fn cut_off(hismail: &Organization, faults: &Faults, file: &str, after: Duration) -> Option<ExitStatus> {
    let mut child = Command::new(DIMED)
        .arg("--config")
        .arg(&hismail.config)
        .args(["store", "restore", file])
        .envs(faults.launch().environment)
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(after).await;
    let ended = child.try_wait().unwrap();
    let _ = child.kill();
    child.wait().unwrap();
    ended
}

/// No command takes it for an installation, nor does the daemon, whose mail would be refused for good.
async fn is_no_installation(hismail: &Organization) {
    for command in [
        &["queue", "list"][..],
        &["store", "verify"],
        &["check"],
        &["domain", "add", "new.test", "--plain"],
    ] {
        let (code, _, err) = hismail.binary(command);
        assert_eq!(code, 78, "{command:?}: {err}");
        assert!(
            err.contains("run `dimed store restore` again, or remove"),
            "{err}"
        );
        assert!(err.contains("dimed.restored"), "{err}");
    }
    let log = hismail.folder.join("refused.log");
    let mut process = Process::start(&hismail.config, &log, &Launch::default());
    assert_eq!(process.ended().await.code(), Some(78), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_is_no_installation_and_the_next_one_is_whole() {
    let world = World::new().await;
    let (mut hismail, file) = backed_up(&world, &[]).await;
    let data = move_to(&mut hismail, "again", |_| {});
    let faults = Faults::new(world.home());
    faults.begin("sync,rename", ".restored", "sleep 10");
    let mut rng = StdRng::seed_from_u64(17);
    let (mut kills, mut midway) = (0, 0);
    let mut after = Duration::from_millis(15);
    let ended = loop {
        if let Some(ended) = cut_off(&hismail, &faults, &file, after).await {
            break ended;
        }
        kills += 1;
        assert!(kills < 500);
        if data.join("dimed.db").exists() {
            // Killed once it was done.
            break ExitStatus::default();
        }
        if data.join("dimed.restored").exists() {
            midway += 1;
            if midway % 5 == 1 {
                is_no_installation(&hismail).await;
            }
        }
        after += Duration::from_millis(rng.random_range(1..12));
    };
    faults.end();
    assert!(ended.success(), "after {kills} kills: {:?}", names(&data));
    assert!(midway >= 2, "{midway} of {kills} kills came midway");
    assert!(!names(&data).iter().any(|name| name.starts_with("dimed.restored")));
    let (code, out, err) = hismail.binary(&["store", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
    let held = "SELECT count(*) FROM recipients WHERE state = 'held'";
    assert_eq!(hismail.count(held).await, MESSAGES as i64);
    println!("{kills} kills, {midway} of them midway");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_bars_no_other_whatever_its_backup_was() {
    let world = World::new().await;
    let (mut hismail, file) = backed_up(&world, &[]).await;
    let data = move_to(&mut hismail, "again", |_| {});
    let folder = data.parent().unwrap().to_owned();
    let octets = fs::read(&file).unwrap();
    let damaged = hismail.folder.join("damaged");
    let path = damaged.to_str().unwrap();
    let mut overwritten = octets.clone();
    overwritten[4096..8192].fill(0xa5);
    for (octets, told) in [
        (&octets[..octets.len() / 2], "is damaged"),
        (&octets[..4096], "is damaged"),
        (&overwritten[..], "is damaged"),
        (&octets[..10], "is not a backup"),
        (&octets[..0], "is not a backup"),
    ] {
        fs::write(&damaged, octets).unwrap();
        let (code, _, err) = hismail.binary(&["store", "restore", path]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(told), "{err}");
        for raw in ["malformed", "code:", "database failed"] {
            assert!(!err.contains(raw), "{err}");
        }
        assert_eq!(names(&data), [""; 0], "{err}");
        assert_eq!(names(&folder), ["data", "dimed.toml"], "no key is left either");
    }
    // What a kill has left of another restore, and a daemon that did not start.
    fs::write(data.join("dimed.restored"), &octets[..5000]).unwrap();
    fs::write(data.join("dimed.restored-journal"), "x").unwrap();
    fs::write(data.join("daemon.lock"), "").unwrap();
    fs::create_dir(data.join("tls")).unwrap();
    fs::write(data.join("tls/certificate.pem"), "another").unwrap();
    is_no_installation(&hismail).await;
    let (code, _, err) = hismail.binary(&["store", "restore", &file]);
    assert_eq!(code, 0, "{err}");
    assert!(!names(&data).iter().any(|name| name.starts_with("dimed.restored")));
    assert_eq!(hismail.binary(&["store", "verify"]).0, 0);
}

/// A lost key is replaced for good only together with the database.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_without_its_master_key_is_begun_anew() {
    let world = World::new().await;
    let (mut hismail, file) = backed_up(&world, &["--without-keys"]).await;
    let data = move_to(&mut hismail, "poor", |_| {});
    let key = data.with_file_name("master.key");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dimed.restored"), "half").unwrap();
    // As it is at the latest moment before the database has its name.
    let staged = data.with_file_name("master.key.restored");
    fs::write(&staged, [7u8; 32]).unwrap();
    fs::hard_link(&staged, &key).unwrap();
    let restore = ["store", "restore", &file, "--without-master-key"];
    let (code, _, err) = hismail.binary(&restore);
    assert_eq!(code, 0, "{err}");
    assert!(!staged.exists());
    assert_ne!(fs::read(&key).unwrap(), [7u8; 32]);
    assert_eq!(hismail.binary(&["store", "verify"]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_that_looks_after_a_database_makes_one() {
    let world = World::new().await;
    let (mut hismail, _) = backed_up(&world, &[]).await;
    let key = hismail.folder.join("master.key");
    let data = move_to(&mut hismail, "none", |_| {});
    fs::copy(key, data.with_file_name("master.key")).unwrap();
    let (to, backup) = (data.with_file_name("rescued"), data.with_file_name("backup"));
    let (to, backup) = (to.to_str().unwrap(), backup.to_str().unwrap());
    for is_there in [false, true] {
        for command in [
            &["verify"][..],
            &["repair"],
            &["repair", "--dry-run"],
            &["export", "--to", to],
            &["backup", backup, "--without-keys"],
        ] {
            let (code, _, err) = hismail.binary(&[&["store"], command].concat());
            assert_eq!(code, 78, "{command:?}: {err}");
            assert!(err.contains("there is no database"), "{err}");
        }
        let expected: &[&str] = if is_there { &["dimed.db"] } else { &[] };
        assert_eq!(names(&data), expected);
        // Nor do they make one of an empty file.
        let _ = fs::create_dir(&data);
        fs::write(data.join("dimed.db"), "").unwrap();
    }
    assert!(!data.with_file_name("rescued").exists() && !data.with_file_name("backup").exists());
}

/// Its disk is not mounted, or somebody has taken it away. An empty database in its place would refuse mail for everybody here, and
/// return what waits.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_makes_an_empty_database_in_the_place_of_one_that_is_missing() {
    let world = World::new().await;
    let (hismail, _) = backed_up(&world, &[]).await;
    let data = hismail.folder.join("data");
    let (database, log) = (data.join("dimed.db"), data.join("dimed.db-wal"));
    let (kept, left) = (hismail.folder.join("kept.db"), fs::read(&log).unwrap());
    assert!(!left.is_empty(), "what was acknowledged last is there alone");
    fs::rename(&database, &kept).unwrap();
    for is_there in [false, true] {
        for command in [
            &["serve"][..],
            &["queue", "list"],
            &["queue", "stats"],
            &["queue", "drain"],
            &["domain", "list"],
            &["account", "list"],
            &["log", "hash", "bob@hismail.test"],
            &["clock", "confirm"],
            &["key", "rotate-master"],
            &["domain", "add", "new.test", "--plain"],
        ] {
            let (code, _, err) = hismail.binary(command);
            assert_eq!(code, 78, "{command:?}: {err}");
            assert!(err.contains("there is no database"), "{command:?}: {err}");
            assert!(err.contains("mount its disk, or restore a backup"), "{err}");
            assert_eq!(
                err.contains("dimed.db-wal is left"),
                command[1..].contains(&"add"),
                "{err}"
            );
        }
        for command in [&["doctor", "--reach", "none"][..], &["check"]] {
            let (code, out, err) = hismail.binary(&[command, &["--json"]].concat());
            assert!(code == 78 || command[0] == "doctor", "{command:?}: {code}");
            assert!(out.contains("\"no_database\""), "{command:?}: {out}{err}");
        }
        assert_eq!(database.exists(), is_there);
        assert!(!is_there || fs::read(&database).unwrap().is_empty());
        assert_eq!(fs::read(&log).unwrap(), left);
        fs::write(&database, "").unwrap();
    }
    fs::rename(&kept, &database).unwrap();

    // Nothing at all is there.
    let away = hismail.folder.join("away");
    fs::rename(&data, &away).unwrap();
    fs::create_dir(&data).unwrap();
    let is_refused = || {
        let (code, _, err) = hismail.binary(&["serve"]);
        assert_eq!(code, 78, "{err}");
        assert!(err.contains("there is no database"), "{err}");
        assert!(err.contains("mount its disk, or restore a backup"), "{err}");
        assert_eq!(names(&data), [""; 0], "no lock is left either");
    };
    is_refused();
    // Nor the folder in which the disk is mounted.
    fs::remove_dir(&data).unwrap();
    is_refused();
    assert!(!data.exists());
    fs::rename(&away, &data).unwrap();
    let _process = hismail.spawn().await;
    let (code, out, err) = hismail.binary(&["queue", "list", "--json"]);
    assert_eq!((code, out.lines().count()), (0, MESSAGES), "{err}");
}

/// There is no server: they are refused before anything is opened.
#[tokio::test(flavor = "multi_thread")]
async fn with_postgresql_what_is_for_sqlite_alone_is_refused_and_says_what_to_do() {
    let world = World::new().await;
    let (mut hismail, file) = backed_up(&world, &[]).await;
    let data = move_to(&mut hismail, "server", |config| {
        config.storage.database = "postgres://dimed@127.0.0.1:9/dimed".parse().unwrap();
    });
    for (command, told) in [
        (
            &["store", "backup", "/nonexistent/backup"][..],
            "pg_dump or a base backup",
        ),
        (
            &["store", "restore", &file][..],
            "with pg_restore or from a base backup",
        ),
        (&["key", "rotate-master"][..], "this is not there yet"),
    ] {
        let (code, out, err) = hismail.binary(command);
        assert_eq!(code, 1, "{out}{err}");
        assert!(err.contains(told), "{err}");
        let (_, help, _) = hismail.binary(&[&command[..2], &["--help"]].concat());
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains("It is for SQLite."), "{help}");
    }
    // The mailboxes are in a folder all the same, whose disk may not be mounted.
    let (code, _, err) = hismail.binary(&["serve"]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("mount its disk"), "{err}");
    assert!(!data.exists());
}
