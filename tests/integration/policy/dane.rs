//! RFC 7672.

use dimed::net::authority::KeyKind;
use hickory_proto::rr::RecordType;
use sha2::Sha512;

use super::proxy::{Proxy, Spoils};
use super::*;

/// plain.test, signed, with its host.
fn zone(host: &Loopback) -> Zone {
    Zone::signed(&domain("plain.test"), KeyKind::Ed25519)
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", host.ip)
}

/// Sends one message to plain.test as `records` describe it, to a host that shows the certificate.
async fn deliver(records: impl Fn(Zone, &Certification, &Certificate) -> Zone, name: &str) -> Taken {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let certificate = scene.authority.issue(name);
    scene.world.put(
        "plain.test",
        &records(zone(&host), &scene.authority, &certificate),
    );
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&certificate)).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    let taken = only(&sink).await;
    hermail.idle().await;
    served.stop().await;
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_key_is_in_dns_gets_mail_whatever_its_name() {
    let taken = deliver(
        |zone, _, certificate| key_record(zone, "mx", certificate),
        "elsewhere.test",
    )
    .await;
    assert!(taken.tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_below_a_trust_anchor_in_dns_gets_mail_under_the_names_of_host_and_domain() {
    for name in ["mx.plain.test", "plain.test"] {
        let records = |zone: Zone, authority: &Certification, _: &Certificate| {
            zone.tlsa(
                "mx",
                loopback::SMTP,
                [2, 0, 2],
                &Sha512::digest(authority.certificate()),
            )
        };
        assert!(deliver(records, name).await.tls, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_what_dns_says_gets_no_mail_until_dns_says_otherwise() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let [shown, expected] = [
        scene.authority.issue("mx.plain.test"),
        scene.authority.issue("mx.plain.test"),
    ];
    scene
        .world
        .put("plain.test", &key_record(zone(&host), "mx", &expected));
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&shown)).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    waits(&hermail, &sink, "no TLSA record matches the host's certificates").await;
    let right = zone(&host).tlsa(
        "mx",
        loopback::SMTP,
        [3, 0, 1],
        &Sha256::digest(shown.identity.leaf()),
    );
    scene.world.put("plain.test", &right);
    assert!(only(&sink).await.tls);
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_tlsa_records_gets_nothing_in_clear_text() {
    for unusable in [false, true] {
        let scene = Scene::new().await;
        let host = Loopback::take();
        let usage = if unusable { 1 } else { 3 };
        let records = zone(&host).tlsa("mx", loopback::SMTP, [usage, 1, 1], &[7; 32]);
        scene.world.put("plain.test", &records);
        let sink = Sink::start(host.ip, Behaviour::default()).await;
        let hermail = scene.hermail(|_| ()).await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        waits(&hermail, &sink, "TLS is not available").await;
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_used_demand_tls_with_any_certificate() {
    let records =
        |zone: Zone, _: &Certification, _: &Certificate| zone.tlsa("mx", loopback::SMTP, [1, 1, 1], &[7; 32]);
    assert!(deliver(records, "elsewhere.test").await.tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_followed_to_the_records_of_the_host_behind_it() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let certificate = scene.authority.issue("mx.big.test");
    let plain = Zone::signed(&domain("plain.test"), KeyKind::Ed25519)
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .cname("mx", &domain("mx.big.test"))
        // Not asked for: there are records at the end of the alias.
        .tlsa("mx", loopback::SMTP, [3, 1, 1], &[7; 32]);
    let big = Zone::signed(&domain("big.test"), KeyKind::Ed25519)
        .unwrap()
        .address("mx", host.ip);
    scene.world.put("plain.test", &plain);
    scene.world.put("big.test", &key_record(big, "mx", &certificate));
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&certificate)).await;
    let hermail = scene.hermail(|_| ()).await;
    let explained = hermail.cli(&["route", "explain", "carol@plain.test"]).await;
    assert!(explained.contains("asked for as mx.big.test"), "{explained}");
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(only(&sink).await.tls);
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_an_unsigned_zone_count_for_nothing() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let unsigned = Zone::unsigned(&domain("plain.test"))
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", host.ip)
        .tlsa("mx", loopback::SMTP, [3, 1, 1], &[7; 32]);
    scene.world.put("plain.test", &unsigned);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(!only(&sink).await.tls);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_records_in_a_signed_zone_is_sent_to_as_it_offers() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    scene.world.put("plain.test", &zone(&host));
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(!only(&sink).await.tls);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_of_records_that_fails_or_is_bogus_keeps_mail_back() {
    for (spoils, words) in [
        (Spoils::Fails, "the host's TLSA records could not be looked up"),
        (Spoils::Strips, "the host's TLSA records fail DNSSEC validation"),
    ] {
        let scene = Scene::new().await;
        let host = Loopback::take();
        let certificate = scene.authority.issue("mx.plain.test");
        scene
            .world
            .put("plain.test", &key_record(zone(&host), "mx", &certificate));
        let proxy = Proxy::start(scene.world.name_server(), RecordType::TLSA, spoils).await;
        let sink = Sink::start(host.ip, Behaviour::with_certificate(&certificate)).await;
        let hermail = scene
            .hermail(|config| config.dns.servers = vec![proxy.address])
            .await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        waits(&hermail, &sink, words).await;
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_host_leaves_the_next_one() {
    let scene = Scene::new().await;
    let hosts = [Loopback::take(), Loopback::take()];
    let certificates = [
        scene.authority.issue("mx1.plain.test"),
        scene.authority.issue("mx2.plain.test"),
    ];
    let records = Zone::signed(&domain("plain.test"), KeyKind::Ed25519)
        .unwrap()
        .mx("", 10, &domain("mx1.plain.test"))
        .mx("", 20, &domain("mx2.plain.test"))
        .address("mx1", hosts[0].ip)
        .address("mx2", hosts[1].ip)
        .tlsa("mx1", loopback::SMTP, [3, 1, 1], &[7; 32]);
    scene
        .world
        .put("plain.test", &key_record(records, "mx2", &certificates[1]));
    let first = Sink::start(hosts[0].ip, Behaviour::with_certificate(&certificates[0])).await;
    let second = Sink::start(hosts[1].ip, Behaviour::with_certificate(&certificates[1])).await;
    let hermail = scene.hermail(|_| ()).await;
    let process = hermail.spawn().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(only(&second).await.tls);
    assert!(first.attempts().is_empty());
    hermail.idle().await;
    let log = process.log();
    let line = |event: &str| {
        let marked = format!("\"event\":\"{event}\"");
        log.lines()
            .find(|line| line.contains(&marked))
            .unwrap()
            .to_owned()
    };
    let refused = line("queue.host.refused");
    for field in ["\"peer.host\":\"mx1.plain.test\"", "\"tls.policy\":\"dane\""] {
        assert!(refused.contains(field), "{refused}");
    }
    let sent = line("queue.attempt.smtp");
    for field in [
        "\"peer.host\":\"mx2.plain.test\"",
        "\"route.reason\":\"record_",
        "\"tls.demanded\":\"dane\"",
        "\"tls.verified\":true",
    ] {
        assert!(sent.contains(field), "{sent}");
    }
}
