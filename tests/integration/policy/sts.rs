//! RFC 8461.

use std::sync::Arc;
use std::time::Duration;

use dimed::base::time::{Clock as _, SystemClock, Timestamp};
use dimed::mail::address::Domain;
use dimed::net::connect::Outgoing;
use dimed::net::dns::{HickoryResolver, Servers};
use dimed::net::https::{Error, HttpsClient};
use dimed::net::tls::{Connector, WebPki};
use dimed::store::StsEntry;

use super::*;

/// plain.test, unsigned, whose policy DNS announces; its host is also its web server.
fn zone(host: &Loopback, id: Option<&str>) -> Zone {
    let zone = Zone::unsigned(&domain("plain.test"))
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", host.ip)
        .address("mta-sts", host.ip);
    match id {
        Some(id) => zone.txt("_mta-sts", format!("v=STSv1; id={id};")),
        None => zone,
    }
}

fn page(text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{text}"
    )
}

pub(super) fn policy(mode: &str, host: &str) -> String {
    page(&format!(
        "version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: 86400\r\n"
    ))
}

/// plain.test with its two servers, and the way it looks from hermail.test.
pub(super) struct Plain {
    pub(super) scene: Scene,
    host: Loopback,
    web: Web,
}

impl Plain {
    pub(super) async fn new(policy: &str) -> Self {
        let scene = Scene::new().await;
        let host = Loopback::take();
        scene.world.put("plain.test", &zone(&host, Some("1")));
        let certificate = scene.authority.issue("mta-sts.plain.test");
        let web = Web::start(host.ip, &certificate, policy).await;
        Self { scene, host, web }
    }

    pub(super) async fn sink(&self, behaviour: Behaviour) -> Sink {
        Sink::start(self.host.ip, behaviour).await
    }

    fn with_certificate(&self, name: &str) -> Behaviour {
        Behaviour::with_certificate(&self.scene.authority.issue(name))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_the_policy_with_a_verified_certificate_gets_mail() {
    for pattern in ["mx.plain.test", "*.plain.test"] {
        let plain = Plain::new(&policy("enforce", pattern)).await;
        let sink = plain.sink(plain.with_certificate("mx.plain.test")).await;
        let hermail = plain.scene.hermail(|_| ()).await;
        let explained = hermail.cli(&["route", "explain", "carol@plain.test"]).await;
        let line = format!("mta-sts    enforce, hosts {pattern}, fetched; DNS announces id 1\n");
        assert!(explained.contains(&line), "{explained}");
        assert!(explained.contains("(mta_sts)"), "{explained}");
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        assert!(only(&sink).await.tls);
        hermail.idle().await;
        served.stop().await;
        let requests = plain.web.requests();
        let [request] = requests.as_slice() else {
            panic!("the policy is kept between processes: {requests:?}");
        };
        assert!(
            request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("host: mta-sts.plain.test\r\n"), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_the_policy_keeps_mail_from_get_none() {
    for (mode_host, certificate, words) in [
        (
            ("enforce", "mx2.plain.test"),
            Some("mx.plain.test"),
            "the domain's MTA-STS policy does not name the host",
        ),
        (
            ("enforce", "mx.plain.test"),
            Some("elsewhere.test"),
            "its certificate is for another name",
        ),
        (("enforce", "mx.plain.test"), None, "TLS is not available"),
    ] {
        let plain = Plain::new(&policy(mode_host.0, mode_host.1)).await;
        let behaviour = certificate.map_or_else(Behaviour::default, |name| plain.with_certificate(name));
        let sink = plain.sink(behaviour).await;
        let hermail = plain.scene.hermail(|_| ()).await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        waits(&hermail, &sink, words).await;
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_on_trial_or_given_up_changes_nothing() {
    for mode in ["testing", "none"] {
        let plain = Plain::new(&policy(mode, "mx2.plain.test")).await;
        let sink = plain.sink(Behaviour::default()).await;
        let hermail = plain.scene.hermail(|_| ()).await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        assert!(!only(&sink).await.tls, "{mode}");
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_seen_outlasts_its_record_and_its_web_server() {
    let plain = Plain::new(&policy("enforce", "mx.plain.test")).await;
    let sink = plain.sink(plain.with_certificate("mx.plain.test")).await;
    let hermail = plain.scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    only(&sink).await;
    hermail.idle().await;
    served.stop().await;
    sink.stop().await;

    plain.scene.world.put("plain.test", &zone(&plain.host, None));
    plain.web.answer("HTTP/1.1 404 Not Found\r\n\r\n");
    let sink = plain.sink(Behaviour::default()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    waits(&hermail, &sink, "TLS is not available").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_refreshed_in_the_background_and_outlasts_its_first_expiry() {
    let plain = Plain::new(&policy("enforce", "mx.plain.test")).await;
    let hermail = plain.scene.hermail(|_| ()).await;
    let store = hermail.services().await.store;
    let fetched_at = SystemClock.now();
    // Two thirds of its day are over, and nobody writes to plain.test.
    let aged = StsEntry {
        domain: domain("plain.test"),
        id: "1".into(),
        policy: "version: STSv1\nmode: enforce\nmx: mx2.plain.test\nmax_age: 86400\n".into(),
        fetched_at: Timestamp(fetched_at.0 - 57_600_000),
        expires_at: Timestamp(fetched_at.0 + 28_800_000),
    };
    store.set_sts_policy(aged.clone()).await.unwrap();
    let served = hermail.start().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refreshed = loop {
        let entry = store.sts_policy(&aged.domain).await.unwrap().unwrap();
        if entry != aged {
            break entry;
        }
        assert!(tokio::time::Instant::now() < deadline, "not refreshed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(refreshed.policy.contains("mx: mx.plain.test"), "{refreshed:?}");
    assert!(refreshed.fetched_at >= fetched_at, "{refreshed:?}");
    assert_eq!(
        refreshed.expires_at,
        refreshed.fetched_at.after(Duration::from_secs(86400))
    );
    assert_eq!(plain.web.requests().len(), 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_refreshed_is_told_of_and_still_counts() {
    let plain = Plain::new("HTTP/1.1 404 Not Found\r\n\r\n").await;
    let hermail = plain.scene.hermail(|_| ()).await;
    let store = hermail.services().await.store;
    let now = SystemClock.now();
    let aged = StsEntry {
        domain: domain("plain.test"),
        id: "1".into(),
        policy: "version: STSv1\nmode: enforce\nmx: mx.plain.test\nmax_age: 86400\n".into(),
        fetched_at: Timestamp(now.0 - 57_600_000),
        expires_at: Timestamp(now.0 + 28_800_000),
    };
    store.set_sts_policy(aged.clone()).await.unwrap();
    let mut process = hermail.spawn().await;
    eventually("the warning", || {
        let log = process.log();
        let told = log.lines().find(|line| line.contains("\"sts.refresh.failed\""))?;
        assert!(told.contains("\"domain\":\"plain.test\""), "{told}");
        assert!(
            told.contains("\"reason\":\"the answer is 404 Not Found\""),
            "{told}"
        );
        Some(())
    })
    .await;
    assert_eq!(store.sts_policy(&aged.domain).await.unwrap(), Some(aged));
    process.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unproven_record_does_not_lead_mail_past_the_policy() {
    let plain = Plain::new(&policy("enforce", "mx.plain.test")).await;
    let elsewhere = Loopback::take();
    let forged = "ver=1 pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg dx=dx.forger.test";
    plain
        .scene
        .world
        .put("plain.test", &zone(&plain.host, Some("1")).txt("_dx", forged));
    let forger = Zone::unsigned(&domain("forger.test"))
        .unwrap()
        .address("dx", elsewhere.ip);
    plain.scene.world.put("forger.test", &forger);
    let listening = tokio::net::TcpListener::bind((elsewhere.ip, loopback::DMTP))
        .await
        .unwrap();
    let sink = plain.sink(plain.with_certificate("mx.plain.test")).await;
    let hermail = plain.scene.hermail(|_| ()).await;
    let explained = hermail
        .cli(&[
            "route",
            "explain",
            "carol@plain.test",
            "--from",
            "alice@hermail.test",
        ])
        .await;
    assert!(explained.contains("(dime_not_covered)"), "{explained}");
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(only(&sink).await.tls);
    hermail.idle().await;
    served.stop().await;
    let nobody = tokio::time::timeout(Duration::from_millis(50), listening.accept()).await;
    assert!(nobody.is_err(), "the forger's host was asked");
}

/// A client that trusts the authority, and gives up after a second.
fn client(scene: &Scene, port: u16) -> HttpsClient {
    let anchors = std::fs::read_to_string(scene.world.anchors())
        .unwrap()
        .parse()
        .unwrap();
    HttpsClient {
        resolver: Arc::new(HickoryResolver::new(
            Servers::new(vec![scene.world.name_server()]),
            anchors,
        )),
        outgoing: Outgoing {
            source: None,
            timeout: Duration::from_secs(5),
        },
        connector: Some(Connector::pkix(&WebPki::load(&scene.authority.roots()).unwrap()).unwrap()),
        port,
        patience: Duration::from_secs(1),
    }
}

/// The name of what went wrong.
fn name(result: &Result<bytes::Bytes, Error>) -> &'static str {
    match result {
        Ok(_) => "text",
        Err(Error::Address(_)) => "address",
        Err(Error::Unreachable(_)) => "unreachable",
        Err(Error::Tls(_)) => "tls",
        Err(Error::Protocol(_)) => "protocol",
        Err(Error::Status(_)) => "status",
        Err(Error::NotText) => "not text",
        Err(Error::TooLarge) => "too large",
        Err(Error::TimedOut) => "timed out",
        Err(_) => "another",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_text_from_a_verified_server_without_detours() {
    let text = "text/plain";
    let head = |kind: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
    let octets = |count: usize| "x".repeat(count);
    let cases = [
        (page("policy"), "text"),
        (format!("{}\r\npolicy", head("Text/Plain")), "text"),
        (
            format!(
                "{}Transfer-Encoding: chunked\r\n\r\n6\r\npolicy\r\n0\r\n\r\n",
                head(text)
            ),
            "text",
        ),
        (page(&octets(64 * 1024)), "text"),
        (page(&octets(64 * 1024 + 1)), "too large"),
        (format!("{}\r\n{}", head(text), octets(100_000)), "too large"),
        (format!("{}\r\npolicy", head("text/html")), "not text"),
        ("HTTP/1.1 200 OK\r\n\r\npolicy".into(), "not text"),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.plain.test/\r\n\r\n".into(),
            "status",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n".into(), "status"),
        (
            format!("{}Content-Length: 100\r\n\r\npolicy", head(text)),
            "protocol",
        ),
        (format!("{}{}\r\n\r\n", head(text), octets(100_000)), "protocol"),
        ("220 smtp\r\n".into(), "protocol"),
        (String::new(), "protocol"),
    ];
    let plain = Plain::new("").await;
    let client = client(&plain.scene, loopback::HTTPS);
    for (answer, expected) in cases {
        plain.web.answer(&answer);
        let fetched = client
            .text(
                &domain("mta-sts.plain.test"),
                "/.well-known/mta-sts.txt",
                64 * 1024,
            )
            .await;
        let start: String = answer.chars().take(100).collect();
        assert_eq!(name(&fetched), expected, "{start:?}: {fetched:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_verified_or_not_there_has_no_policy() {
    let scene = Scene::new().await;
    let hosts: Vec<Loopback> = (0..5).map(|_| Loopback::take()).collect();
    let mut zone = Zone::unsigned(&domain("plain.test")).unwrap();
    for (host, label) in hosts
        .iter()
        .zip(["misnamed", "expired", "foreign", "silent", "away"])
    {
        zone = zone.address(label, host.ip);
    }
    scene.world.put("plain.test", &zone);
    let folder = scene.world.home().join("foreign");
    std::fs::create_dir(&folder).unwrap();
    let certificates = [
        scene.authority.issue("elsewhere.test"),
        scene.authority.issue_expired("expired.plain.test"),
        Certification::new(&folder).issue("foreign.plain.test"),
    ];
    let mut webs = Vec::new();
    for (host, certificate) in hosts.iter().zip(&certificates) {
        webs.push(Web::start(host.ip, certificate, page("policy")).await);
    }
    let silent = tokio::net::TcpListener::bind((hosts[3].ip, loopback::HTTPS))
        .await
        .unwrap();
    let client = client(&scene, loopback::HTTPS);
    for (label, expected) in [
        ("misnamed", "tls"),
        ("expired", "tls"),
        ("foreign", "tls"),
        ("silent", "timed out"),
        ("away", "unreachable"),
        ("unknown", "address"),
    ] {
        let host: Domain = domain(&format!("{label}.plain.test"));
        let fetched = client.text(&host, "/", 100).await;
        assert_eq!(name(&fetched), expected, "{label}: {fetched:?}");
    }
    drop(silent);
}
