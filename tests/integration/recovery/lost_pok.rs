//! The primary key of a domain is gone, and everything else is there.

use dimed::base::time::Timestamp;
use dimed::domains::Standing;
use dimed::net::dns::Proof;
use dimed::store::Pin;
use serde_json::Value;

use crate::support::eventually;
use crate::support::maildir::split;
use crate::support::organization::{Organization, record};
use crate::support::world::{World, domain};

use super::{Drill, RECOVERY, again, alerts, hermail, hismail, waiting, write};

/// As a damaged row would have it.
async fn lose_keys(hismail: &Organization) {
    for sql in [
        "UPDATE signets SET private_keys = NULL WHERE name = 'hismail.test'",
        "DELETE FROM kem_keys WHERE name = 'hismail.test'",
    ] {
        hismail.change_database(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_without_its_keys_takes_nothing_sealed_and_has_new_ones_at_once() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    write(&hismail, "bob", "alice@hermail.test", 2).await;
    hismail.maildir("bob").expect(1).await;
    hermail.maildir("alice").expect(1).await;
    hermail.idle().await;
    hismail.idle().await;
    let of_bob = hismail.history("bob@hismail.test").await;
    lose_keys(&hismail).await;
    again(&hismail, &mut there).await;

    let mut drill = Drill::of(RECOVERY, "The keys of a domain are lost", &world);
    let said = drill.done(&hismail, "dimed check");
    assert!(
        said.contains("`dimed key rotate hismail.test --at-once` makes new ones"),
        "{said}"
    );
    // Bob's mail waits: it is not sent in the clear.
    write(&hismail, "bob", "alice@hermail.test", 3).await;
    waiting(&hismail, 1).await;
    let (code, _, err) = hismail.binary(&["key", "rotate", "bob@hismail.test", "--at-once"]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("`dimed key rotate hismail.test --at-once` makes new ones"),
        "{err}"
    );

    let said = drill.done(&hismail, "dimed key rotate example.org --at-once");
    assert!(
        said.contains("Users whose keys are as before: 1; users with new ones, because theirs are lost: 0."),
        "{said}"
    );
    let said = drill.done(&hismail, "dimed dns records example.org");
    let said = record(&said);
    assert_eq!(said.matches("pok=").count(), 1, "{said}");
    let status = drill.done(&hismail, "dimed key rotate example.org --status");
    assert!(status.contains("the old key is not in it"), "{status}");
    drill.end();
    hismail.publish_record(&world, &said);

    // The zone is signed, so that others take the record for what it is, once they look at it.
    forget_ttl(&hermail).await;
    again(&hermail, &mut here).await;
    let mail = hermail.maildir("alice").expect(2).await;
    assert!(
        mail.iter().any(|text| split(text).1 == "letter 3\r\n"),
        "{mail:?}"
    );
    assert!(
        mail.iter().all(|text| text.contains("author=bob@hismail.test")),
        "{mail:?}"
    );
    write(&hermail, "alice", "bob@hismail.test", 4).await;
    hismail.maildir("bob").expect(2).await;
    assert_eq!(alerts(&here), [""; 0], "Bob's keys are the same");
    assert_eq!(hismail.history("bob@hismail.test").await.len(), of_bob.len() + 1);
    let done = hismail.cli(&["key", "rotate", "hismail.test", "--json"]).await;
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(done["state"], "done", "DNS has the record without the old key");
    drop(there);
}

/// What a correspondent remembers is looked up again, as at the end of its TTL.
async fn forget_ttl(hermail: &Organization) {
    let store = hermail.services().await.store;
    let pin = store.pin(&domain("hismail.test")).await.unwrap().unwrap();
    let refresh_at = Timestamp(0);
    store.set_pin(Pin { refresh_at, ..pin }).await.unwrap();
}

/// Then anybody could have put the record there.
#[tokio::test(flavor = "multi_thread")]
async fn where_dnssec_vouches_for_nothing_others_hold_their_mail_until_their_operator_has_asked() {
    let world = World::new().await;
    let (hermail, hismail) = (hermail(&world).await, hismail(&world, &["bob"]).await);
    let mut here = hermail.spawn().await;
    let there = hismail.spawn().await;
    write(&hermail, "alice", "bob@hismail.test", 1).await;
    hismail.maildir("bob").expect(1).await;
    hismail.cli(&["key", "rotate", "hismail.test", "--at-once"]).await;
    let said = hismail.cli(&["dns", "records", "hismail.test"]).await;
    here.kill();
    // The zone is not signed any more.
    let name = domain("hismail.test");
    let zone = dimed::net::authority::Zone::unsigned(&name).unwrap();
    let zone = zone
        .mx("", 10, &domain("mx.hismail.test"))
        .address("mx", hismail.ip)
        .txt("_dx", record(&said));
    world.put("hismail.test", &zone);
    forget_ttl(&hermail).await;
    let here = hermail.spawn().await;
    write(&hermail, "alice", "bob@hismail.test", 2).await;
    eventually("the alert", || {
        here.log()
            .contains("\"domain.record.keys_conflict\"")
            .then_some(())
    })
    .await;
    waiting(&hermail, 1).await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    let counts = async || {
        let domains = hermail.services().await.directory.domains.clone();
        let facts = domains.facts(&name).await.unwrap();
        match facts.standing() {
            Standing::Dime(record, proof) => Some((record.primary_keys.len(), proof)),
            _ => None,
        }
    };
    assert_eq!(counts().await, None, "neither of the two records is used");
    let mut drill = Drill::of(RECOVERY, "At the other side", &world);
    let shown = drill.done(&hermail, "dimed domain pins example.org");
    assert!(shown.contains("proven by DNSSEC"), "{shown}");
    drill.done(&hermail, "dimed domain forget-pin example.org");
    drill.done(&hermail, "dimed key set accept example.org");
    drill.end();
    assert_eq!(counts().await, Some((1, Proof::Insecure)));
    drop(there);
}
