//! How much one network and one domain may bring.

use super::*;

/// A whole message for those people; the reply to it, or to the recipient that is not taken.
async fn bring(scene: &Scene, address: &str, from: &str, to: &[&str]) -> String {
    let mut talk = scene.connect(address).await;
    talk.ask("EHLO mx.plain.test", "250").await;
    talk.ask(&format!("MAIL FROM:<{from}>"), "250").await;
    for recipient in to {
        let reply = talk.ask(&format!("RCPT TO:<{recipient}@hismail.test>"), "").await;
        if !reply.starts_with("250 ") {
            return reply;
        }
    }
    talk.data(MESSAGE).await
}

const TOO_MUCH: &str =
    "450 4.7.1 Your network has sent too much within the hour: wait a while, and try again";

#[tokio::test(flavor = "multi_thread")]
async fn a_network_brings_its_share_and_what_is_not_taken_does_not_count() {
    let scene = Scene::new(&[], |screening| {
        screening.network_messages_per_hour = 2;
        screening.network_recipients_per_hour = 3;
        screening.ipv6_bits = 48;
    })
    .await;
    let served = scene.start().await;
    for _ in 0..5 {
        let reply = scene.rcpt("192.0.2.77", "carol@plain.test").await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let from = "carol@plain.test";
    for (address, to, start) in [
        ("192.0.2.77", &["bob", "alice"][..], "250 "),
        ("192.0.2.78", &["bob", "alice"], TOO_MUCH),
        ("192.0.2.79", &["alice"], "250 "),
        ("192.0.2.80", &["bob"], TOO_MUCH),
        ("192.0.2.80", &["postmaster", "abuse"], "250 "),
        ("192.0.3.77", &["bob"], "250 "),
        ("2001:db8:1:2::1", &["bob"], "250 "),
        ("2001:db8:1:3::1", &["bob"], "250 "),
        ("2001:db8:1:4::1", &["bob"], TOO_MUCH),
        ("2001:db8:2:4::1", &["bob"], "250 "),
    ] {
        let reply = bring(&scene, address, from, to).await;
        assert!(reply.starts_with(start), "{address} {to:?}: {reply}");
    }
    served.stop().await;
}

/// Anybody can name a domain, and must not use up its share.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_s_share_is_used_by_those_alone_whom_its_spf_lets_send() {
    let spf = Zone::unsigned("plain.test").with("@ TXT \"v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all\"");
    let scene = Scene::new(&[spf], |screening| screening.domain_messages_per_hour = 1).await;
    let served = scene.start().await;
    for (address, from, start) in [
        ("203.0.113.7", "carol@plain.test", "250 "),
        ("203.0.113.7", "carol@plain.test", "250 "),
        ("192.0.2.77", "carol@plain.test", "250 "),
        (
            "198.51.100.7",
            "pat@plain.test",
            "450 4.7.1 The domain of the sender has sent too much within the hour: ",
        ),
        ("198.51.100.7", "", "250 "),
        ("203.0.113.7", "carol@plain.test", "250 "),
    ] {
        let reply = bring(&scene, address, from, &["bob"]).await;
        assert!(reply.starts_with(start), "{address} {from}: {reply}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_opens_so_many_connections_within_a_minute() {
    let scene = Scene::new(&[], |screening| {
        screening.network_connections_per_minute = 2;
    })
    .await;
    let served = scene.start().await;
    for address in ["192.0.2.77", "192.0.2.78"] {
        scene.connect(address).await.ask("QUIT", "221").await;
    }
    let mut third = scene.call("192.0.2.79").await;
    third
        .expect("421 mx.hismail.test Too many connections from your network within the minute, ")
        .await;
    third.expect_end().await;
    scene.connect("192.0.3.77").await.ask("QUIT", "221").await;
    // This machine is not measured, and submission is not for other hosts.
    for _ in 0..5 {
        Talk::smtp(scene.hismail.ip).await.ask("QUIT", "221").await;
    }
    served.stop().await;
}
