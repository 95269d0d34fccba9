//! Mail that leaves by SMTP is signed, with keys that are made, published and replaced in steps.

use std::sync::Arc;
use std::time::Duration;

use dimed::authentication::Keys;
use dimed::base::time::{Clock, ManualClock, SystemClock};
use dimed::config::Incoming;
use dimed::store::{DkimState, Error};
use serde_json::Value;

use super::{hismail, results};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str =
    "From: Alice <alice@hermail.test>\r\nTo: bob@hismail.test\r\nSubject: out\r\n\r\nhello\r\n \r\n\t\r\n";

/// Selectors and states, in the order in which they were made.
async fn keys(hermail: &Organization) -> Vec<(String, String)> {
    let listed = hermail.cli(&["dkim", "list", "hermail.test", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let word = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let keys = listed["keys"].as_array().unwrap().iter();
    keys.map(|key| (word(key, "selector"), word(key, "state")))
        .collect()
}

fn states(keys: &[(String, String)]) -> Vec<&str> {
    keys.iter().map(|(_, state)| state.as_str()).collect()
}

/// Hermail with keys that are published and in use.
async fn hermail(world: &World) -> Organization {
    let builder = world.organization("hermail.test").accounts(&["alice"]).plain();
    let hermail = builder.build().await;
    hermail.cli(&["dkim", "add", "hermail.test"]).await;
    hermail.publish_texts(world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    hermail
}

/// What bob has got beside `before`.
async fn new(hismail: &Organization, before: &[String]) -> String {
    let after = hismail.maildir("bob").expect(before.len() + 1).await;
    after
        .into_iter()
        .find(|message| !before.contains(message))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_published_before_they_sign_and_stay_published_after() {
    let world = World::new().await;
    let hismail = hismail(&world, Incoming::Enforce).await;
    let builder = world.organization("hermail.test").accounts(&["alice"]).plain();
    let hermail = builder.build().await;
    let (serving, receiving) = (hermail.start().await, hismail.start().await);
    let said = hermail.cli(&["dkim", "add", "hermail.test"]).await;
    assert!(
        said.contains("Next: publish what `dimed dns records hermail.test` prints"),
        "{said}"
    );
    assert_eq!(states(&keys(&hermail).await), ["generated"; 2]);
    // What nobody can check is not signed with.
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    assert_eq!(states(&keys(&hermail).await), ["generated"; 2]);
    hermail.publish_texts(&world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    let first = keys(&hermail).await;
    assert_eq!(states(&first), ["active"; 2]);

    hermail.submit("alice", &["bob@hismail.test"], MESSAGE).await;
    let delivered = hismail.maildir("bob").only().await;
    assert_signed(&delivered, &first, "hermail.test");
    assert!(delivered.ends_with("\r\n\r\nhello\r\n \r\n\t\r\n"), "{delivered}");

    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    let both = keys(&hermail).await;
    assert_eq!(states(&both), ["active", "active", "generated", "generated"]);
    hermail.publish_texts(&world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    let both = keys(&hermail).await;
    assert_eq!(states(&both), ["replaced", "replaced", "active", "active"]);
    let store = hermail.services().await.store;
    for key in store.dkim_keys(&"hermail.test".parse().unwrap()).await.unwrap() {
        assert_eq!(
            key.private.is_some(),
            key.state == DkimState::Active,
            "{}",
            key.selector
        );
    }
    let printed = hermail.cli(&["dns", "records", "hermail.test"]).await;
    for (selector, _) in &both {
        assert!(printed.contains(&format!(
            "{selector}._domainkey.hermail.test. 3600 IN TXT \"v=DKIM1; k="
        )));
    }
    hermail.idle().await;
    serving.stop().await;
    // A daemon that starts now signs with the new keys.
    let serving = hermail.start().await;
    let before = hismail.maildir("bob").messages();
    hermail.submit("alice", &["bob@hismail.test"], MESSAGE).await;
    let delivered = new(&hismail, &before).await;
    assert_signed(&delivered, &both[2..], "hermail.test");

    for (selector, _) in &both[2..] {
        hermail.cli(&["dkim", "retire", "hermail.test", selector]).await;
    }
    assert_eq!(states(&keys(&hermail).await), ["replaced"; 2]);
    serving.stop().await;
    receiving.stop().await;
}

/// Both signatures hold, and the domain is the author's.
fn assert_signed(delivered: &str, keys: &[(String, String)], author: &str) {
    let field =
        &results(&delivered.replace("Received: from mx.hermail.test", "Received: from client.test"))[0];
    for (selector, _) in keys {
        let holds = format!("dkim=pass header.d=hermail.test header.s={selector} ");
        assert!(field.contains(&holds), "{field}");
    }
    assert_eq!(field.matches("dkim=").count(), 2, "{field}");
    assert!(
        field.ends_with(&format!("dmarc=pass (p=none) header.from={author}")),
        "{field}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn our_reports_are_signed_and_what_is_only_passed_on_is_not() {
    let world = World::new().await;
    let hismail = hismail(&world, Incoming::Mark).await;
    let hermail = hermail(&world).await;
    let (serving, receiving) = (hermail.start().await, hismail.start().await);
    for (alias, target) in [("gone", "nobody@hismail.test"), ("friend", "bob@hismail.test")] {
        let alias = format!("{alias}@hermail.test");
        hermail.cli(&["alias", "add", &alias, target]).await;
    }
    let message = "From: bob@hismail.test\r\nSubject: round trip\r\n\r\nhello\r\n";
    let sent = Talk::smtp(hermail.ip)
        .await
        .transfer("bob@hismail.test", &["gone@hermail.test"], message)
        .await;
    assert!(sent.starts_with("250 "), "{sent}");
    let report = hismail.maildir("bob").only().await;
    assert!(
        report.contains("\r\nFinal-Recipient: rfc822; nobody@hismail.test\r\n"),
        "{report}"
    );
    assert_signed(&report, &keys(&hermail).await, "mx.hermail.test");

    let before = hismail.maildir("bob").messages();
    let sent = Talk::smtp(hermail.ip)
        .await
        .transfer("bob@hismail.test", &["friend@hermail.test"], message)
        .await;
    assert!(sent.starts_with("250 "), "{sent}");
    let passed_on = new(&hismail, &before).await;
    assert!(!passed_on.contains("DKIM-Signature"), "{passed_on}");
    serving.stop().await;
    receiving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_dns_misses_a_key_that_signs() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let check = async || {
        let said = hermail.cli_any(&["dns", "check", "hermail.test", "--json"]).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        let records = said["records"].as_array().unwrap().clone();
        let of_keys = records.into_iter().filter(|record| {
            let name = record["name"].as_str().unwrap_or_default();
            name.contains("._domainkey.")
        });
        of_keys
            .map(|record| record["problems"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(check().await, ["[]", "[]"]);
    let text = hermail.cli(&["dkim", "list", "hermail.test"]).await;
    assert!(text.contains("Mail is signed."), "{text}");
    hermail.unpublish_texts(&world);
    let missing = check().await;
    assert!(
        missing.iter().all(|problems| problems.contains("missing")),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_is_forgotten_when_nothing_signed_with_it_is_under_way() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let services = hermail.services().await;
    let (store, resolver) = (services.store, services.resolver);
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let now: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let service = Keys::new(store, now, resolver);
    let domain = "hermail.test".parse().unwrap();
    service.generate(&domain).await.unwrap();
    assert!(matches!(service.generate(&domain).await, Err(Error::Exists)));
    hermail.publish_texts(&world).await;
    service.pass().await.unwrap();
    let both = keys(&hermail).await;
    assert_eq!(states(&both), ["replaced", "replaced", "active", "active"]);
    clock.advance(Duration::from_secs(8 * 24 * 3600 - 1));
    assert!(matches!(service.advance(&domain).await, (false, Ok(()))));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(service.advance(&domain).await, (true, Ok(()))));
    assert_eq!(keys(&hermail).await, both[2..]);
    // A subdomain without keys of its own is signed for by the domain above.
    let signers = service
        .signers(&"sub.hermail.test".parse().unwrap())
        .await
        .unwrap();
    let selectors: Vec<&str> = signers.iter().map(|signer| signer.selector.as_str()).collect();
    assert_eq!(selectors, [both[2].0.as_str(), both[3].0.as_str()]);
    assert!(
        service
            .signers(&"other.test".parse().unwrap())
            .await
            .unwrap()
            .is_empty()
    );
}
