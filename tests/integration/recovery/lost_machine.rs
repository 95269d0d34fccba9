//! The machine is gone with its disk. What was backed up comes back on another one.

use std::fs;

use crate::support::maildir::split;
use crate::support::organization::{Organization, record};
use crate::support::world::World;

use super::{Drill, RECOVERY, again, alerts, field, hermail, hismail, patient, records, waiting, write};

/// All that was on the machine.
fn lose(hismail: &Organization) {
    fs::remove_dir_all(&hismail.folder).unwrap();
}

async fn record_of(hismail: &Organization) -> String {
    record(&hismail.cli(&["dns", "records", "hismail.test"]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_comes_back_under_another_name_and_address_and_nobody_is_asked_for_anything() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob", "carol"]).await);
    hismail.cli(&["dkim", "add", "hismail.test"]).await;
    hismail.block_mailbox("carol");
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    write(&hismail, "bob", "alice@hermail.test", 2).await;
    hismail.maildir("bob").expect(1).await;
    hermail.maildir("alice").expect(1).await;
    // Accepted for Carol, and not delivered yet.
    write(&hermail, "alice", "carol@hismail.test", 3).await;
    waiting(&hismail, 1).await;
    hermail.idle().await;

    let mut drill = Drill::of(RECOVERY, "Backups", &world);
    let said = drill.done(&hismail, "dimed store backup /srv/backup/dimed.backup");
    assert!(said.contains("keep it as you keep the master key"), "{said}");
    drill.done(&hismail, "cp -aT /var/lib/dimed/mail /srv/backup/mail");
    let before = (records(&hismail).await, record_of(&hismail).await);
    let signets = [
        hismail.history("hismail.test").await,
        hismail.history("bob@hismail.test").await,
    ];
    there.kill();
    lose(&hismail);
    write(&hermail, "alice", "bob@hismail.test", 4).await;
    waiting(&hermail, 1).await;

    let lost = hismail;
    let hismail = lost.elsewhere(&world, "mx2", patient);
    let mut drill = Drill::of(RECOVERY, "The machine is lost", &world);
    let said = drill.done(&hismail, "dimed store restore");
    assert!(said.contains("1 recipients are held"), "{said}");
    drill.done(&hismail, "cp -aT /srv/backup/mail /var/lib/dimed/mail");
    fs::remove_file(hismail.maildir("carol").0).unwrap();
    drill.done(&hismail, "dimed check");
    drill.done(&hismail, "dimed dns records");
    assert_eq!(records(&hismail).await, before.0, "what DNS has is still true");
    let after = [
        hismail.history("hismail.test").await,
        hismail.history("bob@hismail.test").await,
    ];
    assert_eq!(after, signets);
    // The addresses are all that is changed in DNS, with the name for SMTP.
    hismail.publish_record(&world, &before.1);
    drill.otherwise("systemctl enable --now dimed");
    let there = hismail.spawn().await;
    again(&hermail, &mut here).await;
    drill.done(&hismail, "dimed dns check");
    let mail = hismail.maildir("bob").expect(2).await;
    assert!(
        mail.iter().any(|text| split(text).1 == "letter 1\r\n"),
        "read as before"
    );
    let sealed = mail.iter().find(|text| split(text).1 == "letter 4\r\n").unwrap();
    assert!(sealed.contains("author=alice@hermail.test"), "{sealed}");

    let listed = drill.done(&hismail, "dimed queue list");
    assert!(listed.contains("carol@hismail.test"), "{listed}");
    assert_eq!(hismail.maildir("carol").count(), 0, "nobody has released it");
    let said = drill.done(&hismail, "dimed queue release");
    assert!(said.contains('1'), "{said}");
    let released = hismail.maildir("carol").only().await;
    assert_eq!(split(&released).1, "letter 3\r\n");
    drill.end();

    // Bob logs in as before, and what he writes is taken for his.
    write(&hismail, "bob", "alice@hermail.test", 5).await;
    let mail = hermail.maildir("alice").expect(2).await;
    assert!(
        mail.iter().all(|text| text.contains("author=bob@hismail.test")),
        "{mail:?}"
    );
    assert_eq!(alerts(&here), [""; 0]);
    hermail.idle().await;
    hismail.idle().await;
    drop(there);
}

/// The certificate is not in such a backup, so that the record has to be published again.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_keys_needs_the_master_key_that_was_kept_apart_and_another_record() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    hismail.maildir("bob").expect(1).await;
    let mut drill = Drill::of(RECOVERY, "Backups without keys", &world);
    drill.done(
        &hismail,
        "install -m 600 /etc/dimed/master.key /srv/safe/master.key",
    );
    drill.done(
        &hismail,
        "dimed store backup --without-keys /srv/backup/dimed.backup",
    );
    drill.otherwise("systemctl enable --now dimed-backup.timer");
    drill.end();
    let before = record_of(&hismail).await;
    there.kill();
    lose(&hismail);

    let lost = hismail;
    let hismail = lost.elsewhere(&world, "mx", patient);
    let mut drill = Drill::of(
        RECOVERY,
        "The machine is lost, and the backup has no keys",
        &world,
    );
    let backup = world.home().join("backup/dimed.backup");
    let (code, _, err) = hismail.binary(&["store", "restore", backup.to_str().unwrap()]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("put it back from your copy"), "{err}");
    drill.done(
        &hismail,
        "install -m 600 /srv/safe/master.key /etc/dimed/master.key",
    );
    drill.done(&hismail, "dimed store restore");
    let said = drill.done(&hismail, "dimed dns records");
    drill.end();
    let after = record(&said);
    assert_eq!(field(&after, "pok="), field(&before, "pok="));
    assert_ne!(
        field(&after, "tls="),
        field(&before, "tls="),
        "there is another certificate"
    );
    hismail.publish_record(&world, &after);
    let there = hismail.spawn().await;
    again(&hermail, &mut here).await;
    hermail.forget_record("hismail.test").await;
    write(&hermail, "alice", "bob@hismail.test", 2).await;
    let mail = hismail.maildir("bob").only().await;
    assert!(mail.contains("author=alice@hermail.test"), "{mail}");
    assert_eq!(alerts(&here), [""; 0]);
    drop(there);
}
