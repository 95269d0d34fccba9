//! Keys of a peer that change: followed where a chain of custody leads to the new ones, and mail waits where none does.

use dimed::dime::keys::UserKeys;
use dimed::signet_service::Wanted;

use crate::support::organization::Organization;
use crate::support::world::World;
use crate::support::{PATIENCE, eventually};

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    To: bob@hismail.test\r\nSubject: keys\r\n\r\ntext\r\n";
const TO: [&str; 1] = ["bob@hismail.test"];

async fn organization(world: &World, name: &str, account: &str) -> Organization {
    world.organization(name).accounts(&[account]).build().await
}

/// Makes the sender ask again at once, as it would after a few minutes.
async fn forget_signets(organization: &Organization) {
    let store = organization.services().await.store;
    for name in ["hismail.test", "bob@hismail.test"] {
        store.forget_remote_signets(name).await.unwrap();
    }
}

/// So many changes of Bob's keys, each signed by the keys before.
async fn change_keys(hismail: &Organization, times: usize) {
    change_keys_of(hismail, "bob", times).await;
}

async fn change_keys_of(organization: &Organization, local: &str, times: usize) {
    let published = organization.services().await.published;
    let address = organization.address(local).parse().unwrap();
    for _ in 0..times {
        let keys = UserKeys::generate(&mut rand::rng());
        published.publish_user(&address, keys).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_is_followed_over_several_steps_of_custody() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &TO, MESSAGE).await;
    hismail.maildir("bob").expect(1).await;
    for (changes, arrived) in [(1, 2), (3, 3)] {
        change_keys(&hismail, changes).await;
        forget_signets(&hermail).await;
        hermail.submit("alice", &TO, MESSAGE).await;
        hismail.maildir("bob").expect(arrived).await;
    }
    let routes = here.witness.routes_to("bob@hismail.test");
    assert_eq!(routes, ["dmtp", "dmtp", "dmtp"]);
    here.stop().await;
    there.stop().await;
}

/// A signet that has been remembered for a while is not sent again if it is still the current one.
#[tokio::test(flavor = "multi_thread")]
async fn a_signet_at_hand_is_asked_about_and_only_a_new_one_is_fetched() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let there = hismail.start().await;
    let services = hermail.services().await;
    let bob = "bob@hismail.test".parse().unwrap();
    let current = async || services.directory.user(&bob, Wanted::Current).await;
    let later = async || {
        let aged = "UPDATE remote_signets SET current_until = current_until - 600000";
        hermail.change_database(aged).await;
    };
    let first = current().await.unwrap().1;
    later().await;
    change_keys(&hismail, 1).await;
    let second = current().await.unwrap().1;
    assert!(second.succeeds(&first.signing_key()));
    later().await;
    // Their host knows which one is current, and can show none.
    let damage = "UPDATE signets SET object = x'00' WHERE name IN ('hismail.test', 'bob@hismail.test')";
    hismail.change_database(damage).await;
    assert_eq!(current().await.unwrap().1, second);
    hermail.change_database("DELETE FROM remote_signets").await;
    assert!(current().await.is_err());
    there.stop().await;
}

/// The domain is experimental: were the new key only unusable, mail would go by SMTP.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_key_is_an_alert_and_mail_waits_until_the_operator_accepts_it() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let there = hismail.start().await;
    let here = hermail.spawn().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    hismail.maildir("bob").expect(1).await;

    hismail.cli(&["signet", "revoke", "bob@hismail.test"]).await;
    hismail.cli(&["signet", "publish", "bob@hismail.test"]).await;
    // A change with custody on top of the swap does not hide it.
    change_keys(&hismail, 1).await;
    forget_signets(&hermail).await;
    hermail.submit("alice", &TO, MESSAGE).await;
    eventually("the alert", || {
        here.log().contains("\"signet.custody_broken\"").then_some(())
    })
    .await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    let log = here.log();
    let alert = log
        .lines()
        .find(|line| line.contains("signet.custody_broken"))
        .unwrap();
    assert!(
        alert.contains("\"ERROR\"") && alert.contains("hismail.test"),
        "{alert}"
    );
    assert!(!alert.contains("bob"), "{alert}");

    hermail.cli(&["key", "set", "accept", "bob@hismail.test"]).await;
    hismail.maildir("bob").expect(2).await;
    hermail.idle().await;
    there.stop().await;
}

/// What the destination has remembered is what it judges the author by, whichever way it was learnt.
#[tokio::test(flavor = "multi_thread")]
async fn an_author_s_change_of_keys_is_followed_forwards_and_backwards() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let here = hermail.start().await;
    let there = hismail.start().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    hismail.maildir("bob").expect(1).await;
    for (changes, arrived) in [(1, 2), (3, 3)] {
        change_keys_of(&hermail, "alice", changes).await;
        hermail.submit("alice", &TO, MESSAGE).await;
        hismail.maildir("bob").expect(arrived).await;
    }
    // The next one waits sealed, while her keys change and the destination sees the new ones.
    there.stop().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    eventually_sealed(&hermail).await;
    change_keys_of(&hermail, "alice", 2).await;
    let services = hismail.services().await;
    let alice = "alice@hermail.test".parse().unwrap();
    services
        .store
        .forget_remote_signets("alice@hermail.test")
        .await
        .unwrap();
    let (_, newest) = services.directory.user(&alice, Wanted::Current).await.unwrap();
    let there = hismail.start().await;
    hismail.maildir("bob").expect(4).await;
    // The earlier key has not taken the place of the later one.
    let now = services.clock.now();
    let pin = services
        .store
        .custody_pin("alice@hermail.test", now)
        .await
        .unwrap();
    assert_eq!(pin.unwrap().signing_key, newest.signing_key());
    here.stop().await;
    there.stop().await;
}

async fn eventually_sealed(organization: &Organization) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while organization
        .count("SELECT COUNT(*) FROM messages WHERE content > 1")
        .await
        == 0
    {
        assert!(tokio::time::Instant::now() < deadline, "nothing is sealed");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn swapped_author_key(hermail: &Organization, hismail: &Organization) {
    let here = hermail.start().await;
    let there = hismail.spawn().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    hismail.maildir("bob").expect(1).await;
    hermail.cli(&["signet", "revoke", "alice@hermail.test"]).await;
    hermail.cli(&["signet", "publish", "alice@hermail.test"]).await;
    hermail.submit("alice", &TO, MESSAGE).await;
    eventually("the alert", || {
        there.log().contains("\"signet.custody_broken\"").then_some(())
    })
    .await;
    let log = there.log();
    let alert = log.lines().find(|line| line.contains("signet.custody_broken"));
    let alert = alert.unwrap();
    assert!(
        alert.contains("\"ERROR\"") && alert.contains("hermail.test") && !alert.contains("alice"),
        "{alert}"
    );
    assert_eq!(hismail.maildir("bob").count(), 1);
    let waiting = hermail.cli(&["queue", "list"]).await;
    assert!(!waiting.contains("empty"), "{waiting}");
    hismail.cli(&["key", "set", "accept", "alice@hermail.test"]).await;
    hismail.maildir("bob").expect(2).await;
    hermail.idle().await;
    here.stop().await;
    drop(there);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_author_with_a_swapped_key_is_refused_for_now_and_an_alert() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    swapped_author_key(&hermail, &hismail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_author_with_a_swapped_key_is_refused_for_now_in_format_1_too() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.opted_out().build().await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    swapped_author_key(&hermail, &hismail).await;
}

/// Two daemons, both primary keys in the record, and mail in both directions before, during and after.
#[tokio::test(flavor = "multi_thread")]
async fn mail_flows_while_an_organization_changes_its_keys() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", "alice").await;
    let hismail = organization(&world, "hismail.test", "bob").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let reply = MESSAGE
        .replace("alice@hermail", "bob@hismail")
        .replace("To: bob@hismail", "To: alice@hermail");
    let exchange = async |count: usize| {
        forget_signets(&hermail).await;
        hermail.submit("alice", &TO, MESSAGE).await;
        hismail.submit("bob", &["alice@hermail.test"], &reply).await;
        hismail.maildir("bob").expect(count).await;
        hermail.maildir("alice").expect(count).await;
    };
    exchange(1).await;
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(said.starts_with("hismail.test: generated since "), "{said}");
    assert!(
        said.ends_with("Next: publish what `dimed dns records hismail.test` prints; it has both keys.\n"),
        "{said}"
    );
    exchange(2).await;

    hismail.publish(&world).await;
    hermail.forget_record("hismail.test").await;
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(said.starts_with("hismail.test: published since "), "{said}");
    exchange(3).await;
    hismail
        .change_database("UPDATE rollovers SET due_at = 0, since = 0")
        .await;
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(said.starts_with("hismail.test: active since "), "{said}");
    let before = hismail.history("hismail.test").await;
    assert_eq!(before.len(), 2);
    exchange(4).await;
    // Repeating it changes nothing.
    assert_eq!(hismail.cli(&["key", "rotate", "hismail.test"]).await, said);
    assert_eq!(hismail.history("hismail.test").await, before);

    hismail
        .change_database("UPDATE rollovers SET due_at = 0, since = 0")
        .await;
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(said.starts_with("hismail.test: retired since "), "{said}");
    exchange(5).await;
    hismail.publish(&world).await;
    hermail.forget_record("hismail.test").await;
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(
        said.starts_with("hismail.test: The keys are replaced. "),
        "{said}"
    );
    exchange(6).await;
    for (witness, address) in [
        (&here.witness, "bob@hismail.test"),
        (&there.witness, "alice@hermail.test"),
    ] {
        let routes = witness.routes_to(address);
        assert!(
            routes.iter().all(|route| route == "dmtp"),
            "{address}: {routes:?}"
        );
    }
    here.stop().await;
    there.stop().await;
}
