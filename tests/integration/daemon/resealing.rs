//! The recipient has new keys while a message for the old ones is on its way (586).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dimed::config::Config;
use dimed::daemon::Daemon;
use dimed::dime::keys::UserKeys;
use dimed::queue::observer::Observer;
use dimed::store::MAX_RESEALED;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::support::eventually;
use crate::support::home::Home;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::world::World;

const LETTER: &str = "Date: Tue, 3 Jun 2025 10:00:00 +0200\r\nFrom: <alice@hermail.test>\r\nTo: <bob@hismail.test>\r\n\
    Subject: new keys\r\nMessage-ID: <1@hermail.test>\r\nMIME-Version: 1.0\r\n\r\n";

fn letter(body: &str) -> String {
    format!("{LETTER}{body}\r\n")
}

async fn organizations(world: &World, opted_out: bool) -> (Organization, Organization) {
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = match opted_out {
        true => hismail.opted_out().build().await,
        false => hismail.build().await,
    };
    (hermail, hismail)
}

/// Has a message sealed for keys that bob has no more when it arrives.
async fn seal_for_old_keys(hermail: &Organization, hismail: &Organization) -> crate::support::child::Process {
    let here = hermail.spawn().await;
    let mut there = hismail.spawn().await;
    hermail
        .submit("alice", &["bob@hismail.test"], &letter("first"))
        .await;
    hismail.maildir("bob").only().await;
    there.kill();
    hermail
        .submit("alice", &["bob@hismail.test"], &letter("second"))
        .await;
    eventually("both to be sealed", || {
        (here.log().matches("\"queue.sealed\"").count() == 2).then_some(())
    })
    .await;
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn trustful_mail_is_sealed_again_for_the_new_keys() {
    for opted_out in [false, true] {
        let world = World::new().await;
        let (hermail, hismail) = organizations(&world, opted_out).await;
        let here = seal_for_old_keys(&hermail, &hismail).await;
        hismail.rotate_bob().await;
        let _there = hismail.spawn().await;
        let delivered = hismail.maildir("bob").expect(2).await;
        let second = delivered
            .iter()
            .find(|text| split(text).1 == "second\r\n")
            .unwrap();
        assert!(split(second).0.contains("Subject: new keys"), "{second}");
        assert!(second.contains("author=alice@hermail.test"), "{second}");
        hermail.idle().await;
        let log = here.log();
        assert_eq!(log.matches("\"queue.sealed_again\"").count(), 1, "{log}");
        assert_eq!(log.matches("\"queue.sealed\"").count(), 3, "{log}");
        assert!(!log.contains("bob"), "{log}");
        assert_eq!(hermail.maildir("alice").count(), 0, "nothing to report");
    }
}

/// The author's copy opens with the keys that it was sealed with, which are still kept.
#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_author_who_has_new_keys_too_is_sealed_again() {
    for opted_out in [false, true] {
        let world = World::new().await;
        let (hermail, hismail) = organizations(&world, opted_out).await;
        let here = seal_for_old_keys(&hermail, &hismail).await;
        let published = hermail.services().await.published;
        let keys = UserKeys::generate(&mut rand::rng());
        let alice = "alice@hermail.test".parse().unwrap();
        published.publish_user(&alice, keys).await.unwrap();
        hismail.rotate_bob().await;
        let _there = hismail.spawn().await;
        let delivered = hismail.maildir("bob").expect(2).await;
        assert!(delivered.iter().any(|text| split(text).1 == "second\r\n"));
        hermail.idle().await;
        let log = here.log();
        assert_eq!(log.matches("\"queue.sealed_again\"").count(), 1, "{log}");
        assert_eq!(hermail.maildir("alice").count(), 0, "nothing to report");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_no_newer_signet_does_not_keep_a_message_going_round() {
    let world = World::new().await;
    let (hermail, hismail) = organizations(&world, false).await;
    let here = seal_for_old_keys(&hermail, &hismail).await;
    hismail.lose_keys_of_bob().await;
    let _there = hismail.spawn().await;
    let report = hermail.maildir("alice").only().await;
    assert!(report.contains("Status: 5.7.5\r\n"), "{report}");
    assert!(
        report.contains("Final-Recipient: rfc822; bob@hismail.test\r\n"),
        "{report}"
    );
    assert!(report.contains("Subject: new keys"), "{report}");
    assert!(!here.log().contains("\"queue.sealed_again\""));
    hermail.idle().await;
}

/// Gives bob new keys whenever a message has come, before anybody looks for the keys that it was sealed for.
struct NewKeysEachTime {
    hismail: Organization,
    came: AtomicU32,
}

impl Observer for NewKeysEachTime {
    fn watches_objects(&self) -> bool {
        true
    }

    fn object_arrived(&self, _: &[u8]) {
        self.came.fetch_add(1, Ordering::SeqCst);
        block_in_place(|| Handle::current().block_on(self.hismail.rotate_bob()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sealed_again_three_times_and_then_its_author_gets_it_back() {
    let world = World::new().await;
    let (hermail, hismail) = organizations(&world, false).await;
    let config = Config::load(&hismail.config).unwrap();
    let maildir = hismail.maildir("bob");
    let rotating = Arc::new(NewKeysEachTime {
        hismail,
        came: AtomicU32::new(0),
    });
    let there = Daemon::start(config, Arc::clone(&rotating) as _).await.unwrap();
    let here = hermail.spawn().await;
    hermail
        .submit("alice", &["bob@hismail.test"], &letter("never the right keys"))
        .await;

    let report = hermail.maildir("alice").only().await;
    for expected in [
        "Action: failed\r\n",
        "Status: 5.7.5\r\n",
        "Final-Recipient: rfc822; bob@hismail.test\r\n",
        // What was written is given back.
        "Subject: new keys\r\n",
    ] {
        assert!(report.contains(expected), "{expected}: {report}");
    }
    let unfolded = report.replace("\r\n ", " ").replace("\r\n", " ");
    assert!(
        unfolded.contains("the recipient has other keys than those the message was sealed for"),
        "{report}"
    );
    hermail.idle().await;
    let again = u32::from(MAX_RESEALED);
    assert_eq!((again, rotating.came.load(Ordering::SeqCst)), (3, 4));
    let log = here.log();
    assert_eq!(log.matches("\"queue.sealed_again\"").count(), 3, "{log}");
    assert_eq!(log.matches("\"queue.sealed\"").count(), 4, "{log}");
    assert_eq!(maildir.count(), 0, "nothing came through");
    assert_eq!(hermail.maildir("alice").count(), 1, "and one report alone");
    there.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_with_keys_at_home_is_told_to_seal_again() {
    let world = World::new().await;
    let (hermail, hismail) = organizations(&world, false).await;
    let pat = Home::join(&hermail, "pat", "cautious").await;
    let _here = hermail.spawn().await;
    let mut there = hismail.spawn().await;
    let bob = "bob@hismail.test";
    pat.fetch_all(&hermail, &hismail, bob).await;
    let text = letter("text").replace("alice", "pat");
    // So that the destination's signet is known when nobody answers there.
    pat.seal(bob, &text, "", "first");
    pat.send(0, "first", "hismail.test");
    hismail.maildir("bob").only().await;
    there.kill();
    let sealed = pat.seal(bob, &text, "--format 2", "sealed");
    pat.send(0, "sealed", "hismail.test");
    hismail.rotate_bob().await;
    let _there = hismail.spawn().await;
    let report = hermail.maildir("pat").only().await;
    let unfolded = report.replace("\r\n ", " ").replace("\r\n", " ");
    assert!(unfolded.contains("seal the message again"), "{report}");
    assert!(
        report.contains("Final-Recipient: x-dime; @hismail.test\r\n"),
        "{report}"
    );
    assert!(report.contains("Status: 5.7.5\r\n"), "{report}");
    // The author knows the message by its id; nobody else learns more.
    assert!(
        report.contains(sealed["message_id"].as_str().unwrap()),
        "{report}"
    );
    assert!(
        !report.contains("bob@") && !report.contains("new keys"),
        "{report}"
    );
    pat.fetch(&hismail, bob).await;
    pat.seal(bob, &text, "--format 2", "sealed");
    pat.send(0, "sealed", "hismail.test");
    let delivered = hismail.maildir("bob").expect(2).await;
    assert!(delivered.iter().all(|delivered| split(delivered).1 == "text\r\n"));
}
