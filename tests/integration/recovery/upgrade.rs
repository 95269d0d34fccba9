//! Another version in the place of the one that runs, and the way back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::sleep;

use crate::support::PATIENCE;
use crate::support::child::{Launch, Process};
use crate::support::loopback;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

use super::{Drill, UPGRADE, hismail, waiting, write};

/// The schema of a version to come, as far as this one can know it.
const LATER: [&str; 2] = [
    "ALTER TABLE accounts ADD COLUMN from_the_future INTEGER",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (9999, 'from the future', 1, x'00', 0)",
];

/// That the schemas of all earlier versions are brought up to date, and kills meanwhile cost nothing, is tested in `durability::migration`; nodes of two
/// versions side by side in `cluster::upgrade`.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_version_refuses_what_a_later_one_has_made_and_the_backup_leads_back() {
    let world = World::new().await;
    let hismail = hismail(&world, &["bob"]).await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    write(&hismail, "bob", "bob@hismail.test", 1).await;
    let mut drill = Drill::of(UPGRADE, "One machine", &world);
    drill.done(&hismail, "dimed store backup /srv/backup/before.backup");
    drill.otherwise("systemctl stop 'dimed*.socket' dimed");
    process.kill();
    drill.otherwise("apt-get install ./dimed_NEW_amd64.deb");
    drill.done(&hismail, "dimed check");
    drill.done(&hismail, "dimed store verify");
    drill.otherwise("systemctl start dimed");
    drill.end();
    let mut process = hismail.spawn().await;
    write(&hismail, "bob", "bob@hismail.test", 2).await;
    waiting(&hismail, 2).await;
    process.kill();
    let database = hismail.folder.join("data/dimed.db");
    for sql in LATER {
        change(&database, sql).await;
    }
    let before = fs::read(&database).unwrap();

    // We are the earlier version now.
    for command in [&["queue", "list"][..], &["check"], &["store", "verify"]] {
        let (code, out, err) = hismail.binary(command);
        assert_eq!(code, 78, "{command:?}: {out}{err}");
        assert!(
            err.contains("a later version of dimed has changed the schema")
                && err.contains("install that version again"),
            "{err}"
        );
    }
    let log = hismail.folder.join("refused.log");
    let mut refused = Process::start(&hismail.config, &log, &Launch::default());
    assert_eq!(refused.ended().await.code(), Some(78), "{}", refused.log());
    assert_eq!(fs::read(&database).unwrap(), before, "nothing was changed");

    let mut drill = Drill::of(UPGRADE, "Back to the version before", &world);
    drill.otherwise("systemctl stop 'dimed*.socket' dimed");
    drill.otherwise("apt-get install --allow-downgrades ./dimed_OLD_amd64.deb");
    drill.done(&hismail, "mv /var/lib/dimed /var/lib/dimed.later");
    drill.otherwise("install -d -o dimed -g dimed -m 0700 /var/lib/dimed");
    let said = drill.done(&hismail, "dimed store restore /srv/backup/before.backup");
    assert!(said.contains("1 recipients are held"), "{said}");
    drill.done(&hismail, "mv /var/lib/dimed.later/mail /var/lib/dimed/mail");
    drill.otherwise("systemctl start dimed");
    fs::remove_file(hismail.maildir("bob").0).unwrap();
    let process = hismail.spawn().await;
    drill.done(&hismail, "dimed queue release");
    drill.end();
    let mail = hismail.maildir("bob").only().await;
    assert_eq!(
        split(&mail).1,
        "letter 1\r\n",
        "what came since is with the later version"
    );
    drop(process);
}

/// A backup is as old or as new as its database.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_later_version_is_refused_and_leaves_nothing() {
    let world = World::new().await;
    let hismail = hismail(&world, &["bob"]).await;
    let backup = world.home().join("later.backup");
    let path = backup.to_str().unwrap();
    assert_eq!(hismail.binary(&["store", "backup", path]).0, 0);
    change(&backup, LATER[1]).await;
    let moved = hismail.elsewhere(&world, "mx2", |_| {});
    let (code, _, err) = moved.binary(&["store", "restore", path]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("a later version of dimed"), "{err}");
    assert!(!moved.folder.join("master.key").exists());
    assert!(!moved.folder.join("data/dimed.restored").exists());
}

/// Nodes that share a database are drained one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_before_its_version_changes_and_takes_mail_again_after_it() {
    let world = World::new().await;
    let hismail = hismail(&world, &["bob"]).await;
    let mut process = hismail.spawn().await;
    let mut drill = Drill::of(UPGRADE, "Several nodes", &world);
    drill.done(&hismail, "dimed queue drain --wait 60");
    assert!(refuses(&hismail).await);
    drill.otherwise("systemctl stop 'dimed*.socket' dimed");
    process.kill();
    drill.otherwise("apt-get install ./dimed_NEW_amd64.deb");
    drill.done(&hismail, "dimed check");
    drill.otherwise("systemctl start dimed");
    let process = hismail.spawn().await;
    drill.done(&hismail, "dimed queue drain --end");
    drill.end();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while refuses(&hismail).await {
        assert!(tokio::time::Instant::now() < deadline, "it takes nothing");
        sleep(Duration::from_millis(100)).await;
    }
    write(&hismail, "bob", "bob@hismail.test", 1).await;
    hismail.maildir("bob").expect(1).await;
    drop(process);
}

/// Whether mail is refused for now.
async fn refuses(hismail: &Organization) -> bool {
    let mut talk = Talk::open(hismail.ip, loopback::SMTP).await;
    let greeting = talk.reply().await.unwrap_or_default();
    if !greeting.starts_with("220") {
        return true;
    }
    talk.ask("EHLO client.test", "").await;
    talk.ask("MAIL FROM:<alice@plain.test>", "")
        .await
        .starts_with('4')
}

async fn change(file: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(file);
    let mut database = options.connect().await.unwrap();
    sqlx::query(sql).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}
