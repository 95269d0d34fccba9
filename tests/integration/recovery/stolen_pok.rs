//! Somebody has the keys of a domain, and all else that a backup made with keys has.

use std::path::PathBuf;

use dimed::config::Config;
use dimed::dime::fingerprint::CryptoFingerprint;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::maildir::split;
use crate::support::organization::{Organization, record};
use crate::support::tool::Desk;
use crate::support::world::World;

use super::{Drill, RECOVERY, again, alerts, hermail, hismail, patient, waiting, write};

/// A backup that somebody has carried off.
fn carried_off(world: &World, hismail: &Organization) -> PathBuf {
    let backup = world.home().join("stolen.backup");
    let (code, _, err) = hismail.binary(&["store", "backup", backup.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    backup
}

/// The whole installation at the thief's.
fn thief(world: &World, hismail: &Organization, backup: &std::path::Path) -> Organization {
    let change = |config: &mut Config| {
        patient(config);
        config.server.hostname = "mx.hismail.test".parse().unwrap();
    };
    let thief = hismail.elsewhere(world, "thief", change);
    let (code, _, err) = thief.binary(&["store", "restore", backup.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    thief
}

async fn record_of(hismail: &Organization) -> String {
    record(&hismail.cli(&["dns", "records", "hismail.test"]).await)
}

/// The network leads to the thief for a while, who has even the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_thief_serves_and_sends_counts_for_nothing_once_the_record_has_the_new_key() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let (mut here, there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    write(&hismail, "bob", "alice@hermail.test", 2).await;
    hismail.maildir("bob").expect(1).await;
    hermail.maildir("alice").expect(1).await;
    hermail.idle().await;
    let thief = thief(&world, &hismail, &carried_off(&world, &hismail));
    let at_thief = thief.spawn().await;

    // As long as nobody has noticed, the thief is the domain for whoever is led there.
    thief.publish_record(&world, &record_of(&hismail).await);
    again(&hermail, &mut here).await;
    write(&hermail, "alice", "bob@hismail.test", 3).await;
    thief.maildir("bob").expect(1).await;
    write(&thief, "bob", "alice@hermail.test", 7).await;
    hermail.maildir("alice").expect(2).await;

    let mut drill = Drill::of(RECOVERY, "Somebody else may have the keys of a domain", &world);
    drill.done(&hismail, "dimed key rotate example.org --at-once");
    let said = drill.done(&hismail, "dimed dns records example.org");
    let record = record(&said);
    assert_eq!(record.matches("pok=").count(), 1, "{record}");
    thief.publish_record(&world, &record);
    here.kill();
    hermail.forget_record("hismail.test").await;
    here = hermail.spawn().await;
    write(&hermail, "alice", "bob@hismail.test", 4).await;
    waiting(&hermail, 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    waiting(&hermail, 1).await;
    assert_eq!(thief.maildir("bob").count(), 1, "the thief gets nothing");
    let config = hermail.config.display();
    let fetch = format!("signet fetch bob@hismail.test --out fetched.signet --config {config}");
    let desk = Desk::new();
    let refused = block_in_place(|| desk.json(1, &fetch));
    assert!(refused.to_string().contains("primary_key"), "{refused}");

    // What the thief sends as Bob is not Bob's, though the thief's daemon goes by the record that it has seen.
    write(&thief, "bob", "alice@hermail.test", 5).await;
    let report = thief.maildir("bob").expect(2).await;
    assert!(
        report.iter().any(|text| text.contains("\r\nAction: failed\r\n")),
        "{report:?}"
    );
    assert_eq!(hermail.maildir("alice").count(), 2);

    // The way is free again: Alice's mail arrives, and nobody is asked for anything.
    hismail.publish_record(&world, &record);
    again(&hermail, &mut here).await;
    let mail = hismail.maildir("bob").expect(2).await;
    assert!(
        mail.iter().any(|text| split(text).1 == "letter 4\r\n"),
        "{mail:?}"
    );
    write(&hismail, "bob", "alice@hermail.test", 6).await;
    hermail.maildir("alice").expect(3).await;
    assert_eq!(alerts(&here), [""; 0]);
    let history = drill.done(&hismail, "dimed signet history example.org");
    assert_eq!(history.matches("  full ").count(), 2, "{history}");
    drill.end();
    drop((there, at_thief));
}

#[tokio::test(flavor = "multi_thread")]
async fn signets_that_the_stolen_key_has_signed_are_refused_for_anybody() {
    let world = World::new().await;
    let hismail = hismail(&world, &["bob"]).await;
    let published = hismail.services().await.published;
    let organization = published.organization(&hismail.name).await.unwrap().unwrap();
    let desk = Desk::new();
    desk.write("stolen.key", organization.keys.to_armor().expose());
    desk.write("old.signet", organization.signet.object());
    hismail.cli(&["key", "rotate", "hismail.test", "--at-once"]).await;
    let organization = published.organization(&hismail.name).await.unwrap().unwrap();
    desk.write("new.signet", organization.signet.object());
    block_in_place(|| {
        desk.done("signet new-request mallory@hismail.test");
        desk.done(
            "signet sign mallory-hismail.test.ssr --org-key stolen.key --org-signet old.signet \
             --address mallory@hismail.test --out mallory.signet",
        );
        desk.done("signet verify mallory.signet --org old.signet");
        let refused = desk.json(1, "signet verify mallory.signet --org new.signet");
        assert!(refused.to_string().contains("signet.bad_signature"), "{refused}");
    });
    // Nor does our own host publish what it has signed.
    let (code, _, err) = hismail.binary(&[
        "signet",
        "publish",
        "mallory@hismail.test",
        "--signet",
        desk.path("mallory.signet").to_str().unwrap(),
    ]);
    assert_eq!(code, 1, "{err}");
}

/// The names of a domain's keys for DKIM, those in use first.
async fn selectors(hismail: &Organization) -> Vec<String> {
    let listed = hismail.cli(&["dkim", "list", "hismail.test", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let name = |key: &Value| key["selector"].as_str().unwrap().to_owned();
    let in_state = |state: &'static str| keys.iter().filter(move |key| key["state"] == state).map(name);
    in_state("active").chain(in_state("generated")).collect()
}

/// Fingerprints of the keys that Bob has had, oldest first.
async fn keys_of_bob(hismail: &Organization) -> Vec<CryptoFingerprint> {
    let history = hismail.history("bob@hismail.test").await;
    history.iter().map(|past| past.signet.crypto).collect()
}

/// Whoever had the host or a backup with keys has more than the domain's keys.
#[tokio::test(flavor = "multi_thread")]
async fn all_other_keys_of_a_host_are_replaced_and_correspondents_follow() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    // Of DKIM there are keys in use, and others that wait.
    hismail.cli(&["dkim", "add", "hismail.test"]).await;
    hismail.publish_texts(&world).await;
    for _ in 0..2 {
        hismail.cli(&["dkim", "rotate", "hismail.test"]).await;
    }
    let signers = selectors(&hismail).await;
    assert_eq!(signers.len(), 4);
    // The keys that Bob uses are new, and his change of keys is under way.
    hismail.cli(&["key", "rotate", "bob@hismail.test"]).await;
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    hismail.maildir("bob").expect(1).await;
    hermail.idle().await;
    hismail.idle().await;
    let certificate = hismail.folder.join("data/tls/certificate.pem");
    let before = std::fs::read(&certificate).unwrap();
    let backup = carried_off(&world, &hismail);

    let mut drill = Drill::of(
        RECOVERY,
        "Somebody may have had the host, or a backup with keys",
        &world,
    );
    // `setup::acme` has an authority.
    drill.otherwise("dimed acme deactivate --revoke");
    drill.otherwise("systemctl stop 'dimed*.socket' dimed");
    there.kill();
    drill.done(&hismail, "dimed key rotate-master");
    drill.done(&hismail, "mv /var/lib/dimed/tls /var/lib/dimed/tls.old");
    drill.done(&hismail, "dimed key rotate example.org --at-once");
    let of_bob = keys_of_bob(&hismail).await;
    drill.done(&hismail, "dimed key rotate bob@example.org --at-once");
    assert!(!of_bob.contains(keys_of_bob(&hismail).await.last().unwrap()));
    drill.done(&hismail, "dimed dkim rotate example.org --cancel");
    drill.done(&hismail, "dimed dkim rotate example.org");
    let mut drill = drill.meaning("SELECTOR", &signers[0]);
    drill.done(&hismail, "dimed dkim retire example.org SELECTOR");
    hismail
        .cli(&["dkim", "retire", "hismail.test", &signers[1]])
        .await;
    let said = drill.done(&hismail, "dimed dns records example.org");
    for old in &signers {
        assert!(!said.contains(old.as_str()), "{old}: {said}");
    }
    assert_eq!(said.matches("._domainkey.").count(), 2, "{said}");
    drill.otherwise("systemctl start dimed");
    drill.end();
    assert_ne!(std::fs::read(&certificate).unwrap(), before);
    hismail.publish_record(&world, &record(&said));
    let there = hismail.spawn().await;
    hermail.forget_record("hismail.test").await;
    again(&hermail, &mut here).await;
    write(&hermail, "alice", "bob@hismail.test", 2).await;
    hismail.maildir("bob").expect(2).await;
    assert_eq!(
        alerts(&here),
        [""; 0],
        "Bob has signed his new key with the old one"
    );

    // The stolen key opens nothing of what is there now.
    let stolen = thief(&world, &hismail, &backup).folder.join("master.key");
    std::fs::copy(stolen, hismail.folder.join("master.key")).unwrap();
    let (code, _, err) = hismail.binary(&["queue", "list"]);
    assert_eq!(code, 78, "{err}");
    drop(there);
}
