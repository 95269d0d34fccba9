//! Files for classes of lines.

use std::fs;
use std::time::Duration;

use dimed::config::Config;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::lines;
use crate::support::loopback::SUBMISSIONS;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\n\r\nhello\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_class_has_its_file_and_goes_on_after_it_was_moved() {
    let world = World::new().await;
    let folder = world.home().join("logs");
    fs::create_dir(&folder).unwrap();
    let file = |name: &str| folder.join(name);
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| {
            config.log.mail_file = Some(file("mail.log"));
            config.log.security_file = Some(file("security.log"));
            config.log.audit_file = Some(file("audit.log"));
        })
        .build()
        .await;
    let process = hermail.spawn().await;
    let read = |name: &str| {
        process.settle();
        fs::read_to_string(file(name)).unwrap_or_default()
    };
    hermail.submit("alice", &["bob@hermail.test"], MESSAGE).await;
    hermail.idle().await;
    let delivered = |name: &str| lines(&read(name), "queue.attempt.local").len();
    assert_eq!(lines(&read("mail.log"), "smtp.message.accepted").len(), 1);
    assert_eq!(delivered("mail.log"), 1);
    assert_eq!(lines(&process.log(), "daemon.started").len(), 1);
    assert_eq!(lines(&process.log(), "smtp.message.accepted").len(), 0);

    let mut talk = Talk::open_tls(hermail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask("AUTH PLAIN AGFsaWNlQGhlcm1haWwudGVzdAB3cm9uZw==", "535")
        .await;
    assert_eq!(lines(&read("security.log"), "smtp.auth.refused").len(), 1);
    assert!(!read("mail.log").contains("smtp.auth.refused"));

    // What a command does is in the file that the daemon has made.
    let arguments = ["block", "add", "domain", "spam.test", "--reason", "complaints"];
    assert_eq!(hermail.binary(&arguments).0, 0);
    let added = lines(&read("audit.log"), "block.added");
    assert_eq!(added.len(), 1);
    assert_eq!(added[0]["target"], "dimed::audit");

    fs::rename(file("mail.log"), file("mail.log.1")).unwrap();
    // With the next line it is looked for, at most once a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    hermail.submit("alice", &["bob@hermail.test"], MESSAGE).await;
    hermail.idle().await;
    assert_eq!((delivered("mail.log"), delivered("mail.log.1")), (1, 1));
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_log_cannot_be_made_does_not_start() {
    let world = World::new().await;
    let missing = world.home().join("missing/mail.log");
    let hermail = world
        .organization("hermail.test")
        .config(|config| config.log.mail_file = Some(missing.clone()))
        .build()
        .await;
    let (code, _, said) = hermail.binary(&["serve"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("the log cannot be written"), "{said}");
    assert!(said.contains("missing/mail.log"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    // Commands do what they are told all the same.
    let arguments = ["block", "add", "domain", "spam.test", "--reason", "complaints"];
    let (code, _, said) = hermail.binary(&arguments);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"block.added\""), "{said}");
}

/// With domains, and without people.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_operators_change_is_in_the_file_for_it() {
    let world = World::new().await;
    let audit = world.home().join("audit.log");
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| config.log.audit_file = Some(audit.clone()))
        .build()
        .await;
    fs::write(&audit, "").unwrap();
    let backup = world.home().join("backup");
    let password = hermail.folder.join("password");
    let (backup, password) = (backup.to_str().unwrap(), password.to_str().unwrap());
    let (alice, carol) = ("alice@hermail.test", "carol@hermail.test");
    for (arguments, event, change) in [
        (
            &["account", "add", carol, "--password-file", password][..],
            "account.changed",
            "added",
        ),
        (
            &["account", "passwd", carol, "--password-file", password][..],
            "account.changed",
            "password",
        ),
        (
            &["account", "quota", carol, "5MiB"][..],
            "account.changed",
            "quota",
        ),
        (&["account", "disable", carol][..], "account.changed", "disabled"),
        (&["account", "enable", carol][..], "account.changed", "enabled"),
        (
            &["account", "grant", carol, "info@hermail.test"][..],
            "account.changed",
            "granted",
        ),
        (
            &["account", "withdraw", carol, "info@hermail.test"][..],
            "account.changed",
            "withdrawn",
        ),
        (
            &["alias", "add", "info@hermail.test", alice][..],
            "alias.changed",
            "added",
        ),
        (
            &["alias", "remove", "info@hermail.test"][..],
            "alias.changed",
            "removed",
        ),
        (
            &["domain", "add", "new.test", "--plain"][..],
            "domain.changed",
            "served",
        ),
        (&["domain", "join", "new.test"][..], "domain.changed", "joined"),
        (
            &["domain", "add", "other.test", "--relay"][..],
            "domain.changed",
            "relayed",
        ),
        (
            &["domain", "remove", "other.test"][..],
            "domain.changed",
            "not_relayed",
        ),
        (&["dkim", "add", "hermail.test"][..], "dkim.changed", "added"),
        (
            &["account", "grant", carol, "sales@hermail.test"][..],
            "account.changed",
            "granted",
        ),
        (&["queue", "drain"][..], "queue.drain_changed", "begun"),
        (&["queue", "drain", "--end"][..], "queue.drain_changed", "ended"),
        (
            &["store", "backup", backup][..],
            "store.copied",
            "copied_with_keys",
        ),
    ] {
        let before = fs::read_to_string(&audit).unwrap().len();
        let (code, _, said) = hermail.binary(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        let all = fs::read_to_string(&audit).unwrap();
        let logged = lines(&all[before..], event);
        assert_eq!(logged.len(), 1, "{arguments:?}: {all}");
        assert_eq!(logged[0]["change"], change);
        if logged[0].get("domain").is_some() {
            let is_ours = ["hermail.test", "new.test", "other.test"]
                .iter()
                .any(|name| logged[0]["domain"] == *name);
            assert!(is_ours, "{all}");
        }
    }
    // What waits, what is only looked at, and what holds already.
    hermail.block_mailbox("bob");
    let process = hermail.spawn().await;
    hermail.submit("alice", &["bob@hermail.test"], MESSAGE).await;
    drop(process);
    let before = fs::read_to_string(&audit).unwrap().len();
    for arguments in [
        &["queue", "delete", "--domain", "hermail.test", "--dry-run"][..],
        &["queue", "list"],
        &["account", "list"],
        &["dkim", "list", "hermail.test"],
        &["account", "grant", carol, "sales@hermail.test"],
    ] {
        assert_eq!(hermail.binary(arguments).0, 0, "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(&audit).unwrap().len(), before);
    let (code, _, said) = hermail.binary(&["queue", "delete", "--domain", "hermail.test"]);
    assert_eq!(code, 0, "{said}");
    let all = fs::read_to_string(&audit).unwrap();
    let deleted = lines(&all, "queue.changed");
    assert_eq!(
        (&deleted[0]["change"], &deleted[0]["count"]),
        (&"deleted".into(), &1.into())
    );
    assert!(
        !all.contains("carol") && !all.contains("alice") && !all.contains("info@"),
        "{all}"
    );
}

/// The key is lost, and then the database, and then somebody may have had the key.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_backups_and_of_the_master_key_is_in_the_file() {
    let world = World::new().await;
    let audit = world.home().join("audit.log");
    let hermail = world
        .organization("hermail.test")
        .config(|config| config.log.audit_file = Some(audit.clone()))
        .build()
        .await;
    fs::write(&audit, "").unwrap();
    let backup = world.home().join("backup");
    let backup = backup.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let (code, _, said) = hermail.binary(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
    };
    run(&["store", "backup", backup]);
    fs::remove_file(hermail.folder.join("master.key")).unwrap();
    run(&["store", "restore", "--only-master-key", backup]);
    let data = hermail.folder.join("data");
    fs::rename(&data, hermail.folder.join("lost")).unwrap();
    run(&["store", "restore", backup]);
    run(&["key", "rotate-master"]);
    fs::remove_file(hermail.folder.join("master.key")).unwrap();
    fs::rename(&data, hermail.folder.join("old")).unwrap();
    let database = hermail.folder.join("old/dimed.db");
    run(&[
        "store",
        "restore",
        "--without-master-key",
        database.to_str().unwrap(),
    ]);
    let all = fs::read_to_string(&audit).unwrap();
    for (event, changes) in [
        ("key.master_changed", ["put_back", "replaced"]),
        ("store.restored", ["restored", "restored_without_key"]),
    ] {
        let found = lines(&all, event);
        let found: Vec<_> = found.iter().map(|line| &line["change"]).collect();
        assert_eq!(found, changes, "{all}");
    }
}

/// Of two messages the second cannot be changed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_has_changed_before_it_failed_is_in_the_file() {
    let world = World::new().await;
    let audit = world.home().join("audit.log");
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| config.log.audit_file = Some(audit.clone()))
        .build()
        .await;
    fs::write(&audit, "").unwrap();
    hermail.block_mailbox("bob");
    let process = hermail.spawn().await;
    for _ in 0..2 {
        hermail.submit("alice", &["bob@hermail.test"], MESSAGE).await;
    }
    drop(process);

    let config = Config::load(&hermail.config).unwrap();
    let options = SqliteConnectOptions::new().filename(config.server.database());
    let mut database = options.connect().await.unwrap();
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM messages")
        .fetch_all(&mut database)
        .await
        .unwrap();
    let [first, second] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE UPDATE ON recipients WHEN NEW.message = '{second}' BEGIN SELECT RAISE(ABORT, 'no'); END"
    );
    sqlx::query(AssertSqlSafe(refuse))
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();

    let (code, _, said) = hermail.binary(&["queue", "hold", first, second]);
    assert_ne!(code, 0, "{said}");
    let held = lines(&fs::read_to_string(&audit).unwrap(), "queue.changed");
    assert_eq!(held.len(), 1, "{said}");
    assert_eq!(
        (&held[0]["change"], &held[0]["count"]),
        (&"held".into(), &1.into())
    );
}
