//! What key sets do to mail on its way (`dmime2.md` §4).

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::organization::Organization;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    To: bob@hismail.test\r\nSubject: keys\r\n\r\ntext\r\n";

async fn organization(world: &World, name: &str, account: &str) -> Organization {
    world.organization(name).accounts(&[account]).build().await
}

async fn explained(hermail: &Organization) -> Value {
    let arguments = ["route", "explain", "--json", "--from", "alice@hermail.test"];
    let text = hermail
        .cli(&[&arguments[..], &["bob@hismail.test"]].concat())
        .await;
    serde_json::from_str(&text).unwrap()
}

/// Makes the sender ask again at once, as it would after a few minutes.
async fn forget_signets(organization: &Organization, name: &str) {
    let store = organization.services().await.store;
    store.forget_remote_signets(name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_choice_and_everybodys_keys_are_explained() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let there = hismail.start().await;
    let report = explained(&hermail).await;
    assert_eq!(report["route"], "dmtp");
    assert_eq!(report["reason"]["code"], "dime_signet_valid");
    for party in ["destination", "recipient", "author"] {
        assert_eq!(report["key_sets"][party]["state"], "usable", "{party}");
        assert_eq!(
            report["key_sets"][party]["suites"],
            json!(["x25519", "xwing"]),
            "{party}"
        );
    }
    let expected = json!({ "format": 2, "suite": "xwing", "author_copy": true });
    assert_eq!(report["choice"], expected);
    let again = explained(&hermail).await;
    assert_eq!(again["key_sets"]["recipient"]["ever_usable"], true, "now pinned");
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_held_when_an_organization_opts_out_until_the_operator_accepts_it() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let to = ["bob@hismail.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    hismail.maildir("bob").expect(1).await;

    hismail.cli(&["key", "opt-out", "hismail.test"]).await;
    forget_signets(&hermail, "hismail.test").await;
    hermail.submit("alice", &to, MESSAGE).await;
    eventually("the second message to be held", || {
        let routes = here.witness.routes_to("bob@hismail.test");
        (routes.len() >= 2).then_some(())
    })
    .await;
    let routes = here.witness.routes_to("bob@hismail.test");
    assert!(routes[1..].iter().all(|route| route == "defer"), "{routes:?}");
    assert_eq!(hismail.maildir("bob").count(), 1);

    hermail.cli(&["key", "set", "accept", "hismail.test"]).await;
    hismail.maildir("bob").expect(2).await;
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_had_keys_is_not_sent_to_in_the_clear_because_no_host_answers() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let to = ["bob@hismail.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    hismail.maildir("bob").expect(1).await;
    hermail.idle().await;
    there.stop().await;

    // The domain is experimental: without what was seen of its keys, mail would go by SMTP.
    forget_signets(&hermail, "hismail.test").await;
    forget_signets(&hermail, "bob@hismail.test").await;
    hermail.submit("alice", &to, MESSAGE).await;
    eventually("the second message to be held", || {
        let routes = here.witness.routes_to("bob@hismail.test");
        (routes.len() >= 2).then_some(())
    })
    .await;
    let routes = here.witness.routes_to("bob@hismail.test");
    assert!(routes[1..].iter().all(|route| route == "defer"), "{routes:?}");
    here.stop().await;
}
