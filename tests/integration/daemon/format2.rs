//! Mail in format 2, and where it goes in format 1 or comes back.

use dimed::dime::dmime2::{Limits, Outline};

use super::exchange::{LETTER, assert_same_letter, hermail, hismail, shows};
use crate::support::maildir::split;
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
    assert_eq!(shows(&object, &["alice", "bob", "Subject", "numbers.bin"]), None);
    hermail.idle().await;
    hismail.idle().await;
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
