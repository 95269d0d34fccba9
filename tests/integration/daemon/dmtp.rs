//! Sealed mail between two organizations.

use super::exchange::{LETTER, assert_same_letter, hermail, shows};
use crate::support::eventually;
use crate::support::loopback::Loopback;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_arrives_sealed_over_the_dmtp_port_and_is_delivered_as_it_was_written() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    // No port for SMTP, so nothing but the DMTP port can have been used.
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.listen.smtp.clear())
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let delivered = hismail.maildir("bob").only().await;
    assert_same_letter(&delivered, LETTER);
    let header = split(&delivered).0;
    assert!(
        header.starts_with("Return-Path: <alice@hermail.test>\r\n"),
        "{header}"
    );
    assert!(
        header.contains("\r\nDelivered-To: bob@hismail.test\r\n"),
        "{header}"
    );
    assert!(header.contains("result=pass; format=2"), "{header}");
    assert!(header.contains("author=alice@hermail.test"), "{header}");
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);

    // The object does not show what is inside it.
    let object = there.objects(1).await.remove(0);
    assert_eq!(
        shows(&object, &["alice", "bob@", "Subject", "Grüße", "numbers.bin"]),
        None
    );
    hermail.idle().await;
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_dx_leads_to_the_mail_host_in_dual_mode() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .without_dx()
        .config(|config| config.listen.dmtp.clear())
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .without_dx()
        .config(|config| config.listen.dmtp.clear())
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    assert_same_letter(&hismail.maildir("bob").only().await, LETTER);
    let answer = LETTER.replace("alice@hermail.test", "bob@hismail.test");
    hismail.submit("bob", &["alice@hermail.test"], &answer).await;
    assert_same_letter(&hermail.maildir("alice").only().await, &answer);
    assert_eq!(
        (here.objects(1).await.len(), there.objects(1).await.len()),
        (1, 1)
    );
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_goes_each_recipients_own_way() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "ben"])
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let to = [
        "bob@hismail.test",
        "carol@plain.test",
        "eve@hermail.test",
        "ben@hismail.test",
    ];
    hermail.submit("alice", &to, LETTER).await;
    for delivered in [
        hismail.maildir("bob").only().await,
        hismail.maildir("ben").only().await,
        hermail.maildir("eve").only().await,
        sink.taken(1).await.remove(0).message,
    ] {
        assert_same_letter(&delivered, LETTER);
    }
    // One message has one recipient (DESIGN.md §5).
    assert_eq!(there.objects(2).await.len(), 2);
    assert_eq!(sink.taken(1).await[0].rcpt, ["<carol@plain.test>"]);
    for (mailbox, kind) in [
        ("bob@hismail.test", "dmtp"),
        ("ben@hismail.test", "dmtp"),
        ("carol@plain.test", "smtp"),
        ("eve@hermail.test", "local"),
    ] {
        assert_eq!(here.witness.routes_to(mailbox), [kind], "{mailbox}");
    }
    hermail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 0, "no bounce");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_recipient_in_a_dime_domain_bounces_to_the_author() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .policy("strict")
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["nobody@hismail.test"], LETTER).await;
    let bounce = hermail.maildir("alice").only().await;
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");
    assert!(
        bounce.contains("Final-Recipient: rfc822; nobody@hismail.test"),
        "{bounce}"
    );
    assert!(bounce.contains("Status: 5.1.1"), "{bounce}");
    hermail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// hismail.test under a policy, with nobody serving it but a server for plain SMTP at its address.
async fn down(world: &World, policy: &str) -> (Organization, Sink) {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .policy(policy)
        .build()
        .await;
    let sink = Sink::start(hismail.ip, Behaviour::default()).await;
    (hismail, sink)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_dime_domain_that_is_down_and_does_not_go_in_clear() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let (hismail, sink) = down(&world, "mixed").await;
    let here = hermail.start().await;
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    eventually("two attempts", || {
        (here.witness.routes_to("bob@hismail.test").len() >= 2).then_some(())
    })
    .await;
    assert!(sink.attempts().is_empty(), "sent in clear");
    sink.stop().await;

    let there = hismail.start().await;
    assert_same_letter(&hismail.maildir("bob").only().await, LETTER);
    let routes = here.witness.routes_to("bob@hismail.test");
    let (last, before) = routes.split_last().unwrap();
    assert_eq!(last, "dmtp");
    assert!(before.iter().all(|kind| kind == "defer"), "{routes:?}");
    hermail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// management-record.md §9.3.1
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_experiments_gets_its_mail_by_smtp_when_dmtp_is_down() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let (_hismail, sink) = down(&world, "experimental").await;
    let here = hermail.start().await;
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    assert_same_letter(&sink.taken(1).await[0].message, LETTER);
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["smtp"]);
    here.stop().await;
}

/// dmtp.md §3.4 and management-record.md §9.3.1: it waits even where the domain's trial of DMTP would let it go by SMTP.
#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_while_the_record_does_not_sign_the_hosts_certificate() {
    let rewrites: [fn(String) -> String; 2] = [
        // Nothing signs the certificate, which signs itself.
        |record| {
            let fields = record.split(' ').filter(|field| !field.starts_with("tls="));
            fields.collect::<Vec<_>>().join(" ")
        },
        // Something signs another one.
        |record| {
            let (before, signature) = record.split_once("tls=").unwrap();
            let changed = if signature.starts_with('A') { "B" } else { "A" };
            format!("{before}tls={changed}{}", &signature[1..])
        },
    ];
    for rewrite in rewrites {
        let world = World::new().await;
        let hermail = hermail(&world).await;
        let hismail = world
            .organization("hismail.test")
            .accounts(&["bob"])
            .record(rewrite)
            .build()
            .await;
        let (here, there) = (hermail.start().await, hismail.start().await);
        hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
        eventually("two attempts", || {
            (here.witness.routes_to("bob@hismail.test").len() >= 2).then_some(())
        })
        .await;
        let routes = here.witness.routes_to("bob@hismail.test");
        assert!(routes.iter().all(|kind| kind == "defer"), "{routes:?}");
        assert!(there.witness.objects().is_empty());
        here.stop().await;
        there.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_domain_sends_nothing_by_smtp() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .policy("strict")
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let here = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], LETTER).await;
    let bounce = hermail.maildir("alice").only().await;
    assert!(bounce.contains("Status: 5.7.1"), "{bounce}");
    assert!(sink.attempts().is_empty());
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limits_of_format_1_is_reported_and_one_within_arrives_whole() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hismail = world
        .organization("hismail.test")
        .opted_out()
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let head = "From: alice@hermail.test\r\nTo: bob@hismail.test\r\nSubject: big\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n";
    let line = "0123456789".repeat(7) + "\r\n";

    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    let to = ["bob@hismail.test"];
    let fits = head.to_owned() + &line.repeat(10 * 1024 * 1024 / line.len());
    let reply = talk.transfer("alice@hermail.test", &to, &fits).await;
    assert!(reply.starts_with("250"), "{reply}");
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        split(&delivered).1 == split(&fits).1,
        "10 MiB, changed on the way"
    );
    hermail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 0, "no bounce");

    // D/MIME 1 takes 16 776 890 octets in one chunk; this is more. Which format will do is known when it is sealed.
    let too_large = head.to_owned() + &line.repeat(17_000_000 / line.len());
    let reply = talk.transfer("alice@hermail.test", &to, &too_large).await;
    assert!(reply.starts_with("250"), "{reply}");
    let report = hermail.maildir("alice").only().await;
    assert!(report.contains("Status: 5.3.4\r\n"), "{report}");
    talk.ask("QUIT", "221").await;
    here.stop().await;
    there.stop().await;
}
