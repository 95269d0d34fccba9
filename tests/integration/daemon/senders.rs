//! Under which addresses our users write, and how much.

use dimed::config::{Config, FromPolicy};

use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const BOB: &str = "bob@hismail.test";

/// Bob is sales and, with Eve, the office.
async fn hismail(world: &World, change: impl Fn(&mut Config)) -> Organization {
    let hismail = world.organization("hismail.test").accounts(&["bob", "eve"]);
    let hismail = hismail.config(change).build().await;
    for (alias, target) in [
        ("sales", "info"),
        ("info", "bob"),
        ("office", "bob"),
        ("office", "eve"),
    ] {
        let (alias, target) = (hismail.address(alias), hismail.address(target));
        hismail.cli(&["alias", "add", &alias, &target]).await;
    }
    hismail
}

fn letter(header: &str) -> String {
    format!("{header}Subject: hi\r\n\r\nx\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn users_write_under_addresses_that_are_theirs_alone_or_granted() {
    let world = World::new().await;
    let hismail = hismail(&world, |_| {}).await;
    let served = hismail.start().await;
    let mut talk = Talk::submission(hismail.ip, BOB).await;
    let mut mail = async |sender: &str, reply: &str| {
        talk.ask(&format!("MAIL FROM:<{sender}>"), reply).await;
        talk.ask("RSET", "250").await;
    };
    for own in ["bob", "BOB", "bob+shop", "sales", "Info+x"] {
        mail(&hismail.address(own), "250").await;
    }
    let refused = "550 5.7.1 The address in MAIL FROM is not yours: use the one of your account";
    for other in ["eve", "office", "nobody"] {
        mail(&hismail.address(other), refused).await;
    }
    for other in ["bob@hermail.test", "bob@sub.hismail.test"] {
        mail(other, refused).await;
    }
    for granted in ["office@hismail.test", "Bob@Hermail.test", "*@club.test"] {
        hismail.cli(&["account", "grant", BOB, granted]).await;
    }
    for granted in ["Office@hismail.test", "bob@hermail.test", "anybody@club.test"] {
        mail(granted, "250").await;
    }
    for other in ["eve@hermail.test", "bob@sub.club.test"] {
        mail(other, refused).await;
    }
    hismail
        .cli(&["account", "withdraw", BOB, "office@hismail.test"])
        .await;
    mail("office@hismail.test", refused).await;
    // Nobody else was granted anything.
    let mut talk = Talk::submission(hismail.ip, "eve@hismail.test").await;
    talk.ask("MAIL FROM:<bob@hermail.test>", "550 5.7.1").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_in_the_name_of_somebody_else() {
    let world = World::new().await;
    let hismail = hismail(&world, |_| {}).await;
    let served = hismail.start().await;
    let mut talk = Talk::submission(hismail.ip, BOB).await;
    let refused = "550 5.7.1 The address in From or Sender (or in Resent-From or Resent-Sender) is not yours";
    for (header, reply) in [
        ("From: Bob <Bob@hismail.test>\r\n", "250"),
        (
            "From: \"eve@hismail.test\" <sales@hismail.test>\r\nSender: bob+x@hismail.test\r\n",
            "250",
        ),
        ("From: eve@hismail.test\r\n", refused),
        ("From: bob@hismail.test\r\nSender: eve@hismail.test\r\n", refused),
        ("From: bob@hismail.test\r\nsender : eve@hismail.test\r\n", refused),
        ("From: bob@hismail.test,\r\n eve@hismail.test\r\n", refused),
        ("From: office@hismail.test\r\n", refused),
        ("From: Team: bob@hismail.test, ceo@bank.test;\r\n", refused),
        // Without quotes, a name that is an address may be taken for the author.
        ("From: ceo@bank.test <bob@hismail.test>\r\n", refused),
        (
            "From: bob@hismail.test <bob@hismail.test>\r\nResent-From: sales@hismail.test\r\n",
            "250",
        ),
        (
            "From: bob@hismail.test\r\nResent-From: eve@hismail.test\r\n",
            refused,
        ),
        (
            "From: bob@hismail.test\r\nresent-sender: eve@hismail.test\r\n",
            refused,
        ),
        (
            "From: <bob@hismail.test> <eve@hismail.test>\r\n",
            "550 5.6.0 The field From does not name",
        ),
        (
            "From: undisclosed:;\r\n",
            "550 5.6.0 The field From does not name",
        ),
    ] {
        let reply_is = talk.transfer(BOB, &["eve@hismail.test"], &letter(header)).await;
        assert!(reply_is.starts_with(reply), "{header}: {reply_is}");
    }
    let foreign = letter("From: eve@hismail.test\r\n");
    let reply = talk.transfer("", &["eve@hismail.test"], &foreign).await;
    assert!(reply.starts_with(refused), "from nobody: {reply}");
    hismail.idle().await;
    hismail.maildir("eve").expect(3).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_leave_from_alone_but_not_the_envelope() {
    let world = World::new().await;
    let hismail = hismail(&world, |config| config.submission.from = FromPolicy::Off).await;
    let served = hismail.start().await;
    let mut talk = Talk::submission(hismail.ip, BOB).await;
    let foreign = letter("From: ceo@bank.test\r\n");
    let reply = talk.transfer(BOB, &["eve@hismail.test"], &foreign).await;
    assert!(reply.starts_with("250"), "{reply}");
    talk.ask("MAIL FROM:<eve@hismail.test>", "550 5.7.1").await;
    served.stop().await;
}

/// The author of sealed mail is the account, whatever From says, and the other side is told both.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_sealed_is_signed_by_the_account_behind_the_alias() {
    let world = World::new().await;
    let hismail = hismail(&world, |_| {}).await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let (here, there) = (hismail.start().await, hermail.start().await);
    let mut talk = Talk::submission(hismail.ip, BOB).await;
    for sender in ["bob@hismail.test", "sales@hismail.test"] {
        let message = letter(&format!("From: {sender}\r\n"));
        let reply = talk.transfer(sender, &["alice@hermail.test"], &message).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let mails = hermail.maildir("alice").expect(2).await;
    for mail in &mails {
        let header = split(mail).0;
        assert!(header.contains("author=bob@hismail.test"), "{header}");
        let is_alias = header.contains("From: sales@hismail.test");
        assert_eq!(header.contains("from=mismatch"), is_alias, "{header}");
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_sends_its_share_within_the_hour_and_no_more() {
    let world = World::new().await;
    let small = |config: &mut Config| {
        config.submission.messages_per_hour = 2;
        config.submission.recipients_per_hour = 3;
    };
    let hismail = hismail(&world, small).await;
    let served = hismail.start().await;
    let mut talk = Talk::submission(hismail.ip, BOB).await;
    for _ in 0..5 {
        talk.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
        talk.ask("RCPT TO:<eve@hismail.test>", "250").await;
        talk.ask("RSET", "250").await;
    }
    let own = letter("From: bob@hismail.test\r\n");
    let refused = letter("From: eve@hismail.test\r\n");
    for message in [&refused, &refused, &own] {
        talk.transfer(BOB, &["eve@hismail.test", "eve+x@hismail.test"], message)
            .await;
    }
    // Another session is the same account.
    let mut other = Talk::submission(hismail.ip, BOB).await;
    other.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
    other.ask("RCPT TO:<eve@hismail.test>", "250").await;
    other
        .ask("RCPT TO:<bob@hismail.test>", "452 4.7.1 Too many recipients")
        .await;
    let reply = other.data(&own).await;
    assert!(reply.starts_with("250"), "{reply}");
    talk.ask(&format!("MAIL FROM:<{BOB}>"), "450 4.7.1 Too many messages")
        .await;
    let mut eve = Talk::submission(hismail.ip, "eve@hismail.test").await;
    eve.ask("MAIL FROM:<eve@hismail.test>", "250").await;
    served.stop().await;
}
