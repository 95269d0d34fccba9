//! What senders ask to be told of deliveries (RFC 3461), and what they are told.

use std::num::NonZeroU64;

use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    Subject: tell me\r\n\r\nthe body of it\r\n";

/// A domain without DIME.
async fn hermail(world: &World) -> Organization {
    let hermail = world
        .organization("hermail.test")
        .plain()
        .accounts(&["alice", "ben", "bea"])
        .build()
        .await;
    for (alias, target) in [("team", "ben"), ("team", "bea"), ("one", "ben")] {
        let (alias, target) = (hermail.address(alias), hermail.address(target));
        hermail.cli(&["alias", "add", &alias, &target]).await;
    }
    hermail
}

async fn plain(world: &World, behaviour: Behaviour) -> (Sink, Loopback) {
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    (Sink::start(host.ip, behaviour).await, host)
}

/// Submits with these arguments of MAIL and RCPT.
async fn submit(from: &Organization, mail: &str, rcpt: &[&str]) {
    let alice = from.address("alice");
    let mut talk = Talk::submission(from.ip, &alice).await;
    talk.ask(&format!("MAIL FROM:<{alice}> {mail}"), "250").await;
    for arguments in rcpt {
        talk.ask(&format!("RCPT TO:{arguments}"), "250").await;
    }
    let reply = talk.data(MESSAGE).await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    talk.ask("QUIT", "221").await;
}

/// The reports that alice has got, the one that names `recipient`.
fn about<'a>(reports: &'a [String], recipient: &str) -> &'a str {
    let line = format!("\r\nFinal-Recipient: rfc822; {recipient}\r\n");
    let found: Vec<_> = reports.iter().filter(|report| report.contains(&line)).collect();
    assert_eq!(found.len(), 1, "reports on {recipient}: {reports:?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn successes_are_reported_as_delivered_relayed_and_expanded() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let (sink, _host) = plain(&world, Behaviour::default()).await;
    let served = hermail.start().await;
    submit(
        &hermail,
        "RET=FULL ENVID=QQ+2B314",
        &[
            "<one@hermail.test> NOTIFY=SUCCESS",
            "<team@hermail.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;list@hermail.test",
            "<carol@plain.test> NOTIFY=SUCCESS",
        ],
    )
    .await;
    // One for each domain.
    let reports = hermail.maildir("alice").expect(2).await;
    sink.taken(1).await;
    hermail.idle().await;
    served.stop().await;

    let delivered = about(&reports, "ben@hermail.test");
    assert!(delivered.starts_with("Return-Path: <>\r\n"), "{delivered}");
    for line in [
        "Subject: Your message was passed on\r\n",
        "Original-Envelope-Id: QQ+314\r\n",
        "Original-Recipient: rfc822; one@hermail.test\r\nFinal-Recipient: rfc822; ben@hermail.test\r\n\
         Action: delivered\r\nStatus: 2.0.0\r\n",
        "Subject: tell me\r\n",
    ] {
        assert!(delivered.contains(line), "{line} in {delivered}");
    }
    assert!(!delivered.contains("the body of it"), "RET is about failures");
    let relayed = about(&reports, "carol@plain.test");
    assert!(relayed.contains("Action: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; mx.plain.test\r\n"));
    assert!(relayed.contains("Original-Envelope-Id: QQ+314\r\n"));
    let expanded = about(&reports, "team@hermail.test");
    assert!(
        expanded.contains(
            "Original-Recipient: rfc822; list@hermail.test\r\nFinal-Recipient: rfc822; team@hermail.test\r\n\
             Action: expanded\r\n"
        ),
        "{expanded}"
    );
    assert_eq!(
        hermail.maildir("bea").count(),
        1,
        "and those it stands for have it"
    );
    assert_eq!(hermail.maildir("ben").count(), 1, "once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_host_with_dsn_is_told_and_reports_by_itself() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let behaviour = Behaviour {
        dsn: true,
        ..Behaviour::default()
    };
    let (sink, _host) = plain(&world, behaviour).await;
    let served = hermail.start().await;
    submit(
        &hermail,
        "RET=HDRS ENVID=QQ+2B314",
        &["<carol@plain.test> NOTIFY=success,delay ORCPT=rfc822;c+2Bx@plain.test"],
    )
    .await;
    let taken = sink.taken(1).await.remove(0);
    hermail.idle().await;
    served.stop().await;
    assert!(taken.mail.contains(" RET=HDRS ENVID=QQ+2B314"), "{}", taken.mail);
    assert_eq!(
        taken.rcpt,
        ["<carol@plain.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2Bx@plain.test"]
    );
    assert_eq!(hermail.maildir("alice").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_reported_as_asked() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let behaviour = Behaviour {
        refusal: Some("550 5.1.1 nobody of that name"),
        ..Behaviour::default()
    };
    let (_sink, _host) = plain(&world, behaviour).await;
    let served = hermail.start().await;
    let to = |local: &str, notify: &str| format!("<{local}@plain.test> NOTIFY={notify}");
    submit(
        &hermail,
        "ENVID=QQ314 RET=FULL",
        &[
            &to("never", "NEVER"),
            &to("delay", "DELAY,SUCCESS"),
            &to("failure", "FAILURE"),
            "<unsaid@plain.test>",
        ],
    )
    .await;
    hermail.idle().await;
    submit(&hermail, "RET=HDRS", &["<header@plain.test>"]).await;
    submit(&hermail, "", &["<ordinary@plain.test>"]).await;
    let reports = hermail.maildir("alice").expect(3).await;
    hermail.idle().await;
    served.stop().await;

    let report = about(&reports, "failure@plain.test");
    assert_eq!(
        report,
        about(&reports, "unsaid@plain.test"),
        "one report for both"
    );
    assert!(report.contains("Original-Envelope-Id: QQ314\r\n"));
    assert!(report.contains("Content-Type: message/rfc822\r\n") && report.contains("the body of it"));
    assert!(!report.contains("never@plain.test") && !report.contains("delay@plain.test"));
    assert!(!about(&reports, "header@plain.test").contains("the body of it"));
    let ordinary = about(&reports, "ordinary@plain.test");
    assert!(ordinary.contains("Content-Type: message/rfc822\r\n") && ordinary.contains("the body of it"));
    assert_eq!(hermail.maildir("alice").count(), 3);
}

/// What the destination has said 250 to is as far as the origin can see.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_mail_is_reported_as_relayed_to_its_author_alone() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    submit(
        &hermail,
        "ENVID=QQ314",
        &["<bob@hismail.test> NOTIFY=SUCCESS ORCPT=rfc822;first@hismail.test"],
    )
    .await;
    let delivered = hismail.maildir("bob").only().await;
    let report = hermail.maildir("alice").only().await;
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
    for line in [
        "Original-Envelope-Id: QQ314\r\n",
        "Final-Recipient: rfc822; bob@hismail.test\r\nAction: relayed\r\nStatus: 2.0.0\r\n\
         Remote-MTA: dns; mx.hismail.test\r\n",
        "Subject: tell me\r\n",
    ] {
        assert!(report.contains(line), "{line} in {report}");
    }
    // Whom the author named first is not kept beside the sealed message.
    assert!(!report.contains("first@hismail.test"), "{report}");
    assert!(!delivered.contains("QQ314"), "{delivered}");
}

/// What the destination took and could not deliver comes back, and is told as the author asked.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_mail_that_comes_back_is_not_reported_to_who_wants_nothing() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.queue.lifetime_secs = NonZeroU64::new(1).unwrap())
        .build()
        .await;
    hismail.block_mailbox("bob");
    let (here, there) = (hermail.start().await, hismail.start().await);
    for (notify, reports) in [(" NOTIFY=NEVER", 0), (" NOTIFY=SUCCESS", 1), ("", 2)] {
        submit(&hermail, "", &[&format!("<bob@hismail.test>{notify}")]).await;
        hermail.idle().await;
        hismail.idle().await;
        hermail.idle().await;
        assert_eq!(hermail.maildir("alice").count(), reports, "{notify}");
    }
    assert_eq!(there.witness.objects().len(), 3, "all of them were taken");
    here.stop().await;
    there.stop().await;
    let reports = hermail.maildir("alice").messages();
    let failed = reports
        .iter()
        .filter(|report| report.contains("Action: failed\r\n"));
    assert_eq!(failed.count(), 1, "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_may_ask_where_that_is_allowed() {
    for allowed in [false, true] {
        let world = World::new().await;
        let hismail = world
            .organization("hismail.test")
            .plain()
            .accounts(&["bob"])
            .config(|config| config.server.dsn_for_other_hosts = allowed)
            .build()
            .await;
        let (sink, _host) = plain(&world, Behaviour::default()).await;
        let served = hismail.start().await;
        let mut talk = Talk::smtp(hismail.ip).await;
        let offered = talk.ask("EHLO client.test", "250").await;
        assert_eq!(offered.contains("250-DSN\n"), allowed, "{offered}");
        talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
        let expected = if allowed { "250" } else { "555 5.5.4" };
        talk.ask("RCPT TO:<bob@hismail.test> NOTIFY=SUCCESS", expected)
            .await;
        if allowed {
            talk.data("From: carol@plain.test\r\n\r\nhi\r\n").await;
            let report = sink.taken(1).await.remove(0);
            assert!(report.mail.starts_with("<>"), "{}", report.mail);
            assert!(report.message.contains("Action: delivered\r\n"));
        }
        hismail.idle().await;
        served.stop().await;
    }
}
