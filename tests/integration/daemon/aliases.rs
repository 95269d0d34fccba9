//! Sealed mail for addresses that are nobody's own: aliases, details, lists, postmaster, and whatever a catch-all takes.

use crate::support::loopback;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

fn letter(to: &str) -> String {
    format!(
        "From: alice@hermail.test\r\nMessage-ID: <{to}>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
         To: {to}\r\nSubject: to {to}\r\n\r\ntext\r\n"
    )
}

/// A strict domain: what has no signet is not sent at all.
async fn strict(world: &World) -> Organization {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "ben"])
        .policy("strict")
        .build()
        .await;
    for (alias, target) in [("sales", "bob"), ("all", "bob"), ("all", "ben")] {
        let (alias, target) = (hismail.address(alias), hismail.address(target));
        hismail.cli(&["alias", "add", &alias, &target]).await;
    }
    hismail
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_strict_domain_takes_sealed_mail() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = strict(&world).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let mut arrived = 0;
    for local in ["sales", "bob+shop", "postmaster", "Sales+x"] {
        let to = hismail.address(local);
        hermail.submit("alice", &[&to], &letter(&to)).await;
        arrived += 1;
        let mails = hismail.maildir("bob").expect(arrived).await;
        let mail = mails
            .iter()
            .find(|mail| mail.contains(&format!("Subject: to {to}\r\n")));
        let mail = mail.unwrap_or_else(|| panic!("{to} is missing"));
        assert!(mail.contains("result=pass; format=2"), "{mail}");
        assert_eq!(here.witness.routes_to(&to), ["dmtp"]);
    }
    // A list: opened here, and passed on to each.
    let to = hismail.address("all");
    hermail.submit("alice", &[&to], &letter(&to)).await;
    hismail.maildir("bob").expect(arrived + 1).await;
    hismail.maildir("ben").expect(1).await;
    assert_eq!(here.witness.routes_to(&to), ["dmtp"]);
    // Nobody.
    let to = hismail.address("nobody");
    hermail.submit("alice", &[&to], &letter(&to)).await;
    let report = hermail.maildir("alice").only().await;
    assert!(report.contains("Status: 5.1.1"), "{report}");
    // Now somebody takes it all.
    let everybody = hismail.address("*");
    let said = hismail
        .cli(&["alias", "add", &everybody, "ben@hismail.test"])
        .await;
    assert_eq!(said, "*@hismail.test leads to ben@hismail.test.\n");
    let to = hismail.address("anybody");
    hermail.submit("alice", &[&to], &letter(&to)).await;
    hismail.maildir("ben").expect(2).await;
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_addresses_are_answered_with_the_signet_of_the_account_behind_them() {
    let world = World::new().await;
    let hismail = strict(&world).await;
    let there = hismail.start().await;
    let print = hismail.history("bob@hismail.test").await[0].signet.full;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    talk.expect("220 ").await;
    let bob = talk.ask("SGNT <bob@hismail.test>", "250 OK [").await;
    for local in ["sales", "bob+shop", "postmaster", "abuse"] {
        assert_eq!(
            talk.ask(&format!("SGNT <{local}@hismail.test>"), "").await,
            bob,
            "{local}"
        );
        let current = talk
            .ask(&format!("VRFY <{local}@hismail.test> [{print}]"), "")
            .await;
        assert_eq!(current, "250 CURRENT", "{local}");
        talk.ask(&format!("HIST <{local}@hismail.test> [{print}]"), "250-[")
            .await;
    }
    let list = talk.ask("SGNT <all@hismail.test>", "250 OK [").await;
    assert_ne!(list, bob, "a list has its own");
    assert_eq!(
        talk.ask("SGNT <nobody@hismail.test>", "").await,
        "450 no such signet"
    );
    // A circle is a fault of ours, after which nobody is to use SMTP.
    for (alias, target) in [("here", "there"), ("there", "here")] {
        let (alias, target) = (hismail.address(alias), hismail.address(target));
        hismail.cli(&["alias", "add", &alias, &target]).await;
    }
    for command in [
        "SGNT <here@hismail.test>".to_owned(),
        format!("VRFY <here@hismail.test> [{print}]"),
    ] {
        talk.ask(&command, "476 ").await;
    }
    hismail
        .cli(&["alias", "add", "*@hismail.test", "bob@hismail.test"])
        .await;
    assert_eq!(talk.ask("SGNT <nobody@hismail.test>", "").await, bob);
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_that_lead_to_each_other_take_no_mail() {
    let world = World::new().await;
    let hismail = strict(&world).await;
    for (alias, target) in [("ring", "rung"), ("rung", "ring")] {
        let (alias, target) = (hismail.address(alias), hismail.address(target));
        let said = hismail.cli(&["alias", "add", &alias, &target]).await;
        assert!(
            said.ends_with("so far to nobody: mail for it is refused.\n"),
            "{said}"
        );
    }
    let there = hismail.start().await;
    let mut stranger = Talk::smtp(hismail.ip).await;
    stranger.ask("MAIL FROM:<carol@plain.test>", "250").await;
    stranger.ask("RCPT TO:<ring@hismail.test>", "550 5.4.6 ").await;
    there.stop().await;
}
