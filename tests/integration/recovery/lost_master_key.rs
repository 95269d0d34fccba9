//! The master key is gone: from its file, or everywhere.

use std::fs;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::child::{Launch, Process};
use crate::support::eventually;
use crate::support::home::Home;
use crate::support::maildir::split;
use crate::support::organization::{Organization, record};
use crate::support::talk::Talk;
use crate::support::world::World;

use super::{Drill, RECOVERY, again, alerts, hermail, hismail, waiting, write};

/// What everything says that needs the key.
async fn says_what_to_do(hismail: &Organization) {
    for command in [
        &["queue", "list"][..],
        &["check"],
        &["store", "verify"],
        &["key", "rotate-master"],
    ] {
        let (code, _, err) = hismail.binary(command);
        assert_eq!(code, 78, "{command:?}: {err}");
        assert!(err.contains("master key"), "{err}");
    }
    let (code, _, err) = hismail.binary(&["domain", "add", "new.test", "--plain"]);
    assert_eq!(code, 78, "{err}");
    assert!(
        err.contains("put the key back from your copy"),
        "no other key is made: {err}"
    );
    let log = hismail.folder.join("refused.log");
    let mut process = Process::start(&hismail.config, &log, &Launch::default());
    assert_eq!(process.ended().await.code(), Some(78), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_with_keys_gives_the_master_key_back_and_nothing_is_lost() {
    let world = World::new().await;
    let hismail = hismail(&world, &["bob"]).await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    let (home, key) = (world.home(), hismail.folder.join("master.key"));
    let backup = home.join("backup/dimed.backup");
    let mut drill = Drill::of(RECOVERY, "The master key is lost, and a backup has it", &world);
    assert_eq!(
        hismail.binary(&["store", "backup", backup.to_str().unwrap()]).0,
        0
    );
    // Mail that came after the backup, too.
    write(&hismail, "bob", "bob@hismail.test", 1).await;
    process.kill();
    let octets = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    says_what_to_do(&hismail).await;

    // Another installation's does not help, and leaves nothing.
    let other = home.join("backup/other.backup");
    let hermail = hermail(&world).await;
    assert_eq!(hermail.binary(&["store", "backup", other.to_str().unwrap()]).0, 0);
    let restore = ["store", "restore", "--only-master-key", other.to_str().unwrap()];
    let (code, _, err) = hismail.binary(&restore);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("does not belong to this database"), "{err}");
    assert!(!key.exists());
    // Nor does one without keys.
    let poor = home.join("backup/poor.backup");
    let without = ["store", "backup", "--without-keys", poor.to_str().unwrap()];
    assert_eq!(hermail.binary(&without).0, 0);
    let restore = ["store", "restore", "--only-master-key", poor.to_str().unwrap()];
    let (code, _, err) = hismail.binary(&restore);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("has no master key"), "{err}");

    // What else is damaged in it does not matter.
    let options = SqliteConnectOptions::new().filename(&backup);
    let mut damaged = options.connect().await.unwrap();
    sqlx::query("DROP TABLE backup_files")
        .execute(&mut damaged)
        .await
        .unwrap();
    damaged.close().await.unwrap();
    let said = drill.done(
        &hismail,
        "dimed store restore --only-master-key /srv/backup/dimed.backup",
    );
    assert!(said.contains("Nothing else was changed"), "{said}");
    assert_eq!(fs::read(&key).unwrap(), octets);
    drill.done(&hismail, "dimed store verify");
    drill.otherwise("systemctl start dimed");
    drill.end();
    let (code, _, err) = hismail.binary(&["store", "restore", "--only-master-key", backup.to_str().unwrap()]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("is there"), "a key is never written over: {err}");
    let names = fs::read_dir(hismail.folder.join("data")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.starts_with(".dimed-")), "no copy is left");

    fs::remove_file(hismail.maildir("bob").0).unwrap();
    let _process = hismail.spawn().await;
    let mail = hismail.maildir("bob").only().await;
    assert_eq!(split(&mail).1, "letter 1\r\n");
}

/// Bob's keys were kept here, Pat's are at home. Alice has written to both.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_copy_the_domain_begins_anew_and_who_keeps_keys_at_home_loses_nothing() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let pat = Home::join(&hismail, "pat", "paranoid").await;
    hismail.cli(&["dkim", "add", "hismail.test"]).await;
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    for (number, to) in [(1, "bob@hismail.test"), (2, "pat@hismail.test")] {
        write(&hermail, "alice", to, number).await;
    }
    hismail.maildir("bob").expect(1).await;
    hismail.maildir("pat").expect(1).await;
    hermail.idle().await;
    hismail.idle().await;
    let before = hismail.history("pat@hismail.test").await;
    there.kill();
    fs::remove_file(hismail.folder.join("master.key")).unwrap();

    let mut drill = Drill::of(
        RECOVERY,
        "The master key is lost, and no copy of it is left",
        &world,
    );
    drill.otherwise("systemctl stop 'dimed*.socket' dimed");
    drill.done(&hismail, "mv /var/lib/dimed /var/lib/dimed.old");
    drill.otherwise("install -d -o dimed -g dimed -m 0700 /var/lib/dimed");
    let said = drill.done(
        &hismail,
        "dimed store restore --without-master-key /var/lib/dimed.old/dimed.db",
    );
    assert!(said.contains("dimed key rotate DOMAIN --at-once"), "{said}");
    drill.done(&hismail, "mv /var/lib/dimed.old/mail /var/lib/dimed/mail");
    let said = drill.done(&hismail, "dimed check");
    assert!(
        said.contains("the private keys of hismail.test are lost"),
        "{said}"
    );
    for command in [
        &["dns", "records", "hismail.test"][..],
        &["key", "rotate", "hismail.test"],
    ] {
        let (code, _, err) = hismail.binary(command);
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains("`dimed key rotate hismail.test --at-once` makes new ones"),
            "{err}"
        );
    }
    let said = drill.done(&hismail, "dimed key rotate example.org --at-once");
    assert!(
        said.contains("Users whose keys are as before: 1; users with new ones, because theirs are lost: 1."),
        "{said}"
    );
    drill.done(&hismail, "dimed dkim add example.org");
    let said = drill.done(&hismail, "dimed dns records example.org");
    hismail.publish_record(&world, &record(&said));
    let said = drill.done(&hismail, "dimed check");
    assert!(!said.contains("are lost"), "{said}");
    drill.otherwise("systemctl start dimed");
    let there = hismail.spawn().await;
    assert_eq!(hismail.binary(&["store", "verify"]).0, 0);
    Talk::submission(hismail.ip, "bob@hismail.test").await;
    again(&hermail, &mut here).await;
    hermail.forget_record("hismail.test").await;

    // Pat's keys are the same, and nobody is asked for anything.
    let after = hismail.history("pat@hismail.test").await;
    assert_eq!(after.len(), before.len() + 1);
    write(&hermail, "alice", "pat@hismail.test", 3).await;
    let mail = hismail.maildir("pat").expect(2).await;
    assert_eq!(alerts(&here), [""; 0]);
    for (from, names) in [
        (&hermail, ["hermail.test", "alice@hermail.test"]),
        (&hismail, ["hismail.test", "pat@hismail.test"]),
    ] {
        for name in names {
            pat.fetch(from, name).await;
        }
    }
    let opened = mail.iter().filter(|mail| {
        pat.desk.write("mail.eml", mail);
        let open = "message open --as recipient --key my.key --key my.kem --from alice@hermail.test --to pat@hismail.test --author-signet alice@hermail.test \
            --origin-signet hermail.test --destination-signet hismail.test --recipient-signet pat@hismail.test mail.eml --out opened.eml --force";
        let opened = tokio::task::block_in_place(|| pat.desk.dimed(open).output().unwrap());
        opened.status.success() && pat.desk.read("opened.eml").contains("letter 3")
    });
    assert_eq!(opened.count(), 1);

    // Bob has other keys, and Alice's operator has to be told so by somebody.
    write(&hermail, "alice", "bob@hismail.test", 4).await;
    eventually("the alert", || (alerts(&here).len() == 1).then_some(())).await;
    waiting(&hermail, 1).await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    drill.done(&hermail, "dimed key set accept bob@example.org");
    drill.end();
    let mail = hismail.maildir("bob").expect(2).await;
    assert!(
        mail.iter().any(|text| split(text).1 == "letter 4\r\n"),
        "{mail:?}"
    );
    hermail.idle().await;
    drop(there);
}

/// What others have sealed for keys that are lost can be opened by nobody, and its authors hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn mail_under_way_for_lost_keys_is_sealed_again_or_comes_back() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    hismail.maildir("bob").expect(1).await;
    hermail.idle().await;
    there.kill();
    write(&hermail, "alice", "bob@hismail.test", 2).await;
    eventually("it to be sealed", || {
        (here.log().matches("\"queue.sealed\"").count() == 2).then_some(())
    })
    .await;
    here.kill();
    fs::remove_file(hismail.folder.join("master.key")).unwrap();
    let data = hismail.folder.join("data");
    let old = hismail.folder.join("old");
    fs::rename(&data, &old).unwrap();
    let database = old.join("dimed.db");
    let restore = [
        "store",
        "restore",
        "--without-master-key",
        database.to_str().unwrap(),
    ];
    assert_eq!(hismail.binary(&restore).0, 0);
    hismail.cli(&["key", "rotate", "hismail.test", "--at-once"]).await;
    hismail.publish(&world).await;
    let there = hismail.spawn().await;
    hermail.forget_record("hismail.test").await;
    here = hermail.spawn().await;
    let report = hermail.maildir("alice").only().await;
    assert!(
        report.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{report}"
    );
    assert!(report.contains("\r\nAction: failed\r\n"), "{report}");
    hermail.idle().await;
    drop((here, there));
}
