//! Addresses of ours that lead elsewhere, and mail that goes in circles.

use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

async fn hismail(world: &World) -> Organization {
    let hismail = world.organization("hismail.test").accounts(&["bob", "eve"]);
    let hismail = hismail.build().await;
    for (alias, target) in [
        ("sales", "bob"),
        ("info", "sales"),
        ("all", "bob"),
        ("all", "eve"),
        ("*", "eve"),
    ] {
        let (alias, target) = (hismail.address(alias), hismail.address(target));
        hismail.cli(&["alias", "add", &alias, &target]).await;
    }
    hismail
}

const LETTER: &str = "From: carol@plain.test\r\nSubject: hi\r\n\r\nx\r\n";

/// Brings a letter from another host; the final reply.
async fn bring(hismail: &Organization, from: &str, locals: &[&str], letter: &str) -> String {
    let to: Vec<String> = locals.iter().map(|local| hismail.address(local)).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    Talk::smtp(hismail.ip).await.transfer(from, &to, letter).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_behind_some_addresses_gets_one_copy() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let locals = [
        "sales",
        "info",
        "Bob",
        "bob+shop",
        "all",
        "postmaster",
        "whoever",
        "nobody",
    ];
    let reply = bring(&hismail, "carol@plain.test", &locals, LETTER).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.idle().await;
    for local in ["bob", "eve"] {
        let mail = hismail.maildir(local).only().await;
        let delivered = format!("\r\nDelivered-To: {local}@hismail.test\r\n");
        assert!(split(&mail).0.contains(&delivered), "{mail}");
    }
    served.stop().await;
}

/// A field says so, of oneself alone.
#[tokio::test(flavor = "multi_thread")]
async fn by_which_address_somebody_was_named_is_not_lost() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    for (named, local, field) in [
        ("bob+shop", "bob", Some("X-Original-To: bob+shop@hismail.test")),
        ("info", "bob", Some("X-Original-To: info@hismail.test")),
        ("whoever", "eve", Some("X-Original-To: whoever@hismail.test")),
        ("BOB", "bob", None),
    ] {
        bring(&hismail, "carol@plain.test", &[named], LETTER).await;
        hismail.idle().await;
        let maildir = hismail.maildir(local);
        let mail = maildir.only().await;
        let found = split(&mail)
            .0
            .lines()
            .find(|line| line.starts_with("X-Original-To"));
        assert_eq!(found, field, "{mail}");
        std::fs::remove_dir_all(&maildir.0).unwrap();
    }
    bring(&hismail, "carol@plain.test", &["all", "whoever"], LETTER).await;
    for local in ["bob", "eve"] {
        let mail = hismail.maildir(local).only().await;
        assert!(mail.contains("\r\nX-Original-To: all@hismail.test\r\n"), "{mail}");
        assert!(!mail.contains("whoever"), "{mail}");
    }
    hismail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_comes_back_to_a_mailbox_is_returned() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    // Bob's mail program sends what it gets on to sales, which is Bob.
    let first = bring(&hismail, "eve@hismail.test", &["bob"], LETTER).await;
    assert!(first.starts_with("250"), "{first}");
    let looped = hismail.maildir("bob").only().await;
    let reply = bring(&hismail, "eve@hismail.test", &["sales", "eve"], &looped).await;
    assert!(reply.starts_with("250"), "{reply}");
    // Eve gets the letter, and a report about Bob.
    let mails = hismail.maildir("eve").expect(2).await;
    let report = mails
        .iter()
        .find(|mail| mail.contains("multipart/report"))
        .unwrap();
    assert!(report.contains("Status: 5.4.6"), "{report}");
    assert!(report.contains("bob@hismail.test"), "{report}");
    hismail.idle().await;
    assert_eq!(hismail.maildir("bob").count(), 1);

    // Where nobody else gets it, there is no need to write to anybody.
    for locals in [&["bob"][..], &["info", "bob+x"]] {
        let reply = bring(&hismail, "eve@hismail.test", locals, &looped).await;
        assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    }
    // What nobody sent goes back to nobody.
    let shouted = looped.replace("Delivered-To: bob", "Delivered-To: BOB");
    let reply = bring(&hismail, "", &["sales", "whoever"], &shouted).await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.idle().await;
    hismail.maildir("eve").expect(3).await;
    assert_eq!(hismail.maildir("bob").count(), 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_has_passed_a_hundred_hosts_goes_no_further() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let hop = "Received: from a.test by b.test; Tue, 3 Jun 2025 10:00:00 +0000\r\n";
    for (hops, reply) in [(99, "250"), (100, "554 5.4.6 ")] {
        let letter = hop.repeat(hops) + LETTER;
        let said = bring(&hismail, "carol@plain.test", &["bob"], &letter).await;
        assert!(said.starts_with(reply), "{hops}: {said}");
    }
    served.stop().await;
}
