//! Hosts of ours that need not log in.

use std::net::{Ipv4Addr, SocketAddr};

use dimed::config::Config;

use super::proxied::header;
use crate::support::home::Home;
use crate::support::loopback::{HTTP, Loopback, SMTP};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

const SCAN: &str = "From: Scanner <scanner@hermail.test>\r\nSubject: scan\r\n\r\n1 page\r\n";

/// Hermail with Alice, and what the tests say of its networks.
async fn hermail(world: &World, change: impl Fn(&mut Config)) -> Organization {
    let builder = world.organization("hermail.test").accounts(&["alice"]);
    builder.config(change).build().await
}

fn trusting(config: &mut Config) {
    config.relay.networks = vec!["127.0.0.1".parse().unwrap()];
}

async fn hand_over(from: &Organization, sender: &str, to: &str, message: &str) -> String {
    let mut talk = Talk::smtp(from.ip).await;
    talk.transfer(sender, &[to], message).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_host_sends_is_completed_signed_and_shows_nothing_of_it() {
    let world = World::new().await;
    let plain = Loopback::take();
    world.plain_domain("plain.test", plain.ip);
    let sink = Sink::start(plain.ip, Behaviour::default()).await;
    let hermail = hermail(&world, trusting).await;
    hermail.cli(&["dkim", "add", "hermail.test"]).await;
    hermail.publish_texts(&world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    let served = hermail.start().await;
    let reply = hand_over(&hermail, "bounces@elsewhere.test", "carol@plain.test", SCAN).await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    let taken = sink.taken(1).await.remove(0);
    // Not as if an alias had passed it on.
    assert_eq!(taken.mail.split(' ').next(), Some("<bounces@elsewhere.test>"));
    for field in [
        "\r\nDate: ",
        "\r\nMessage-ID: <",
        "@mx.hermail.test>\r\n",
        "DKIM-Signature: v=1; ",
        "\td=hermail.test;",
        "Received: from mx.hermail.test (submission)\r\n\tby mx.hermail.test with ESMTP id ",
    ] {
        assert!(taken.message.contains(field), "no {field:?} in {}", taken.message);
    }
    for trace in ["127.0.0.1", "client.test", "Authentication-Results"] {
        assert!(!taken.message.contains(trace), "{}", taken.message);
    }
    // Nobody here answers for others.
    let foreign = SCAN.replace("scanner@hermail.test", "eve@elsewhere.test");
    hand_over(&hermail, "eve@elsewhere.test", "carol@plain.test", &foreign).await;
    let taken = sink.taken(2).await.remove(1);
    assert!(!taken.message.contains("DKIM-Signature"), "{}", taken.message);
    served.stop().await;
}

/// As programs write that send by SMTP to their own host.
#[tokio::test(flavor = "multi_thread")]
async fn names_without_a_domain_are_completed_and_so_is_a_message_without_author() {
    let world = World::new().await;
    let hermail = hermail(&world, |config| {
        trusting(config);
        config.local.origin = Some("hermail.test".parse().unwrap());
    })
    .await;
    let served = hermail.start().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    let message = "Subject: job\r\nTo: alice\r\n\r\ndone\r\n";
    let reply = talk
        .transfer("root", &["alice", "alice@localhost"], message)
        .await;
    assert!(reply.starts_with("250 "), "{reply}");
    let mail = hermail.maildir("alice").only().await;
    assert!(mail.starts_with("Return-Path: <root@hermail.test>\r\n"), "{mail}");
    for field in ["From: root@hermail.test", "To: alice@hermail.test"] {
        assert!(mail.contains(&format!("\r\n{field}\r\n")), "{field} in {mail}");
    }
    let reply = talk.transfer("", &["postmaster"], message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let mails = hermail.maildir("alice").expect(2).await;
    let author = "\r\nFrom: mailer-daemon@hermail.test\r\n";
    assert!(mails.iter().any(|mail| mail.contains(author)), "{mails:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_a_proxy_says_is_trusted_or_not() {
    let world = World::new().await;
    let hermail = hermail(&world, |config| {
        let ip = config.listen.smtp[0].ip();
        config.listen.smtp.push(SocketAddr::new(ip, HTTP));
        config.listen.proxied = vec![SocketAddr::new(ip, HTTP)];
        config.listen.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.relay.networks = vec!["192.0.2.0/28".parse().unwrap()];
    })
    .await;
    let served = hermail.start().await;
    for (last, reply) in [(7, "250 2.1.5"), (16, "550 5.7.1 Relaying denied")] {
        let mut talk = Talk::open(hermail.ip, HTTP).await;
        talk.send(&header(Some(Ipv4Addr::new(192, 0, 2, last)))).await;
        talk.expect("220 ").await;
        talk.ask("EHLO client.test", "250").await;
        talk.ask("MAIL FROM:<scanner@hermail.test>", "250").await;
        talk.ask("RCPT TO:<carol@plain.test>", reply).await;
    }
    // The proxy's own address, and whoever else is near, is nobody's.
    let mut talk = Talk::open(hermail.ip, SMTP).await;
    talk.expect("220 ").await;
    talk.ask("HELO client.test", "250").await;
    talk.ask("MAIL FROM:<scanner@hermail.test>", "250").await;
    talk.ask("RCPT TO:<carol@plain.test>", "550 5.7.1 Relaying denied")
        .await;
    served.stop().await;
}

/// A proxy looks whether we are here, and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_does_in_its_own_name_is_not_trusted() {
    let world = World::new().await;
    let hermail = hermail(&world, |config| {
        let ip = config.listen.smtp[0].ip();
        config.listen.smtp.push(SocketAddr::new(ip, HTTP));
        config.listen.proxied = vec![SocketAddr::new(ip, HTTP)];
        config.listen.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        trusting(config);
    })
    .await;
    let served = hermail.start().await;
    for (source, reply) in [
        (None, "550 5.7.1 Relaying denied"),
        (Some(Ipv4Addr::LOCALHOST), "250 2.1.5"),
    ] {
        let mut talk = Talk::open(hermail.ip, HTTP).await;
        talk.send(&header(source)).await;
        talk.expect("220 ").await;
        talk.ask("EHLO client.test", "250").await;
        talk.ask("MAIL FROM:<scanner@hermail.test>", "250").await;
        talk.ask("RCPT TO:<carol@plain.test>", reply).await;
    }
    let checked = hermail.cli_any(&["check"]).await;
    let warned = "relay.networks has 127.0.0.1/32, in which there are proxies";
    assert!(checked.contains(warned), "{checked}");
    served.stop().await;
}

/// What its owner cannot send any more, no device sends in its name.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_in_the_name_of_a_disabled_account() {
    let world = World::new().await;
    let hermail = hermail(&world, trusting).await;
    hermail.add_account("bob").await;
    let served = hermail.start().await;
    let of_alice = SCAN.replace("scanner@hermail.test", "alice@hermail.test");
    let reply = hand_over(&hermail, "", "bob@hermail.test", &of_alice).await;
    assert!(reply.starts_with("250 "), "{reply}");
    hermail.cli(&["account", "disable", "alice@hermail.test"]).await;
    let reply = hand_over(&hermail, "", "bob@hermail.test", &of_alice).await;
    assert!(reply.starts_with("550 5.7.1 The account that "), "{reply}");
    let reply = hand_over(&hermail, "", "bob@hermail.test", SCAN).await;
    assert!(reply.starts_with("250 "), "{reply}");
    served.stop().await;
}

/// The network's word stands for a login: mail of an account goes as if the account had sent it.
#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_account_is_sealed_or_refused_as_from_the_account_itself() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let hermail = hermail(&world, trusting).await;
    let pat = Home::join(&hermail, "pat", "paranoid").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let of = |who: &str| SCAN.replace("scanner@hermail.test", who);
    let reply = hand_over(&hermail, "", "bob@hismail.test", &of("alice@hermail.test")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let mail = hismail.maildir("bob").only().await;
    assert!(mail.contains("result=pass"), "{mail}");
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);

    for to in ["bob@hismail.test", "alice@hermail.test"] {
        let reply = hand_over(&hermail, "scanner@hermail.test", to, &of(&pat.address)).await;
        assert!(
            reply.starts_with("550 5.7.1 The recipient takes sealed mail"),
            "{to} {reply}"
        );
    }
    // Mail of nobody in particular has nobody to seal it.
    let reply = hand_over(&hermail, "", "bob@hismail.test", SCAN).await;
    assert!(reply.starts_with("250 "), "{reply}");
    hismail.maildir("bob").expect(2).await;
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp", "smtp"]);
    here.stop().await;
    there.stop().await;
}

/// What it may send is counted for its network.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_has_its_share() {
    let world = World::new().await;
    let hermail = hermail(&world, |config| {
        trusting(config);
        config.relay.messages_per_hour = 1;
        config.relay.recipients_per_hour = 2;
    })
    .await;
    let served = hermail.start().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    talk.ask("MAIL FROM:<>", "250").await;
    talk.ask("RCPT TO:<alice@hermail.test>", "250").await;
    talk.ask("RCPT TO:<alice+1@hermail.test>", "250").await;
    talk.ask("RCPT TO:<alice+2@hermail.test>", "452 4.7.1 ").await;
    talk.data(SCAN).await;
    let mut talk = Talk::smtp(hermail.ip).await;
    talk.ask("MAIL FROM:<>", "450 4.7.1 ").await;
    served.stop().await;
}
