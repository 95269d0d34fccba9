//! Mail in format 2, and where it goes in format 1 or comes back.

use dimed::dime::dmime2::{Limits, Outline};

use super::exchange::{LETTER, assert_same_letter, hermail, hismail, shows};
use crate::support::maildir::split;
use crate::support::talk::Talk;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_in_format_2_to_the_best_suite_of_all() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = hismail(&world).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let delivered = hismail.maildir("bob").only().await;
    assert_same_letter(&delivered, LETTER);
    let header = split(&delivered).0;
    assert!(
        header.contains("\r\nDIME-Verification: mx.hismail.test; result=pass; format=2; suite=xwing;\r\n"),
        "{header}"
    );
    assert!(header.contains("\r\n\tfrom=match;\r\n\tcreated="), "{header}");
    let object = there.objects(1).await.remove(0);
    let outline = Outline::read(&object[..], &Limits::default()).unwrap();
    assert!(!outline.is_blank());
    assert!(
        header.contains(&format!("\tid={}", outline.message_id())),
        "{header}"
    );
    assert_eq!(shows(&object, &["alice", "bob@", "Subject", "numbers.bin"]), None);
    hermail.idle().await;
    hismail.idle().await;
    // Strangers do not decide how much is pinned.
    let pins = "SELECT COUNT(*) FROM key_set_pins";
    assert!(hermail.count(pins).await > 0);
    assert_eq!(hismail.count(pins).await, 0);
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_has_opted_out_gets_format_1() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .opted_out()
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.contains("result=pass; format=1; suite=legacy"));
    here.stop().await;
    there.stop().await;
}

/// `dmime2.md` §10.3, §14: "later" is said before the origin is proven, and tells only what whoever handed the object over
/// knows: that it names the domain in MAIL. Whatever else is wrong with it stays hidden behind the same words.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_cannot_be_asked_is_told_to_come_again_whatever_is_wrong_with_its_message() {
    const LATER: &str = "470 a signet of the origin cannot be had now";
    const REFUSED: &str = "554 the message could not be verified";
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = hismail(&world).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let object = there.objects(1).await.remove(0);
    hismail.maildir("bob").only().await;
    hermail.idle().await;
    here.stop().await;
    let forget = async || {
        let store = hismail.services().await.store;
        store.forget_remote_signets("hermail.test").await.unwrap();
    };
    forget().await;

    let outline = Outline::read(&object[..], &Limits::default()).unwrap();
    let chunks = outline.chunks();
    let middle = |index: usize| chunks[index].offset as usize + chunks[index].size / 2;
    let envelope = chunks[2].offset as usize..chunks[2].offset as usize + chunks[2].size;
    let last = chunks.len() - 1;
    // Chunk 5 and the destination's slot in it; then chunks 4, 33, 225 and 255.
    let opened = [envelope.start + 100, envelope.end - 60];
    let unopened = [1, 3, last - 1, last].map(middle);
    let mut talk = Talk::dmtp(hismail.ip, "hermail.test").await;
    let mut hand_over = async |place: Option<usize>, peer: &str| {
        let mut object = object.clone();
        if let Some(place) = place {
            object[place] ^= 1;
        }
        talk.object(peer, "hismail.test", &object).await
    };
    assert_eq!(hand_over(None, "hermail.test").await, LATER);
    for place in unopened {
        assert_eq!(
            hand_over(Some(place), "hermail.test").await,
            LATER,
            "octet {place}"
        );
    }
    for place in opened {
        assert_eq!(
            hand_over(Some(place), "hermail.test").await,
            REFUSED,
            "octet {place}"
        );
    }
    assert_eq!(hand_over(None, "evil.test").await, REFUSED);

    let here = hermail.start().await;
    for place in unopened.into_iter().chain(opened) {
        forget().await;
        assert_eq!(
            hand_over(Some(place), "hermail.test").await,
            REFUSED,
            "octet {place}"
        );
    }
    let again = hand_over(None, "hermail.test").await;
    assert!(again.starts_with("250 OK ["), "{again}");
    hismail.idle().await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    here.stop().await;
    there.stop().await;
}
