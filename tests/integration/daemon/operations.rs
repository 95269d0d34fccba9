//! The port for those who watch over a host.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dimed::config;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::certificates::Certification;
use crate::support::loopback::{HTTP, Loopback, OPERATIONS};
use crate::support::organization::Organization;
use crate::support::postgres::Cluster;
use crate::support::talk::Talk;
use crate::support::watcher::{ask, get, until_reasons};
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nTo: somebody\r\nSubject: planted\r\n\r\nHello\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_well_is_alive_and_ready_until_it_is_drained() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let _process = hismail.spawn().await;
    until_reasons(hismail.ip, &[]).await;
    let alive = get(hismail.ip, "/healthz").await;
    assert_eq!((alive.status, alive.json()["alive"].as_bool()), (200, Some(true)));

    hismail.cli(&["queue", "drain"]).await;
    until_reasons(hismail.ip, &["drained"]).await;
    let metrics = get(hismail.ip, "/metrics").await;
    assert_eq!(metrics.value("dimed_ready"), 0.0);
    assert_eq!(metrics.value("dimed_unready{reason=\"drained\"}"), 1.0);
    assert_eq!(metrics.value("dimed_unready{reason=\"space_short\"}"), 0.0);
    // It lives nevertheless.
    assert_eq!(get(hismail.ip, "/healthz").await.status, 200);
    hismail.cli(&["queue", "drain", "--end"]).await;
    until_reasons(hismail.ip, &[]).await;
    assert_eq!(get(hismail.ip, "/metrics").await.value("dimed_ready"), 1.0);
}

/// Names that lead here in a browser belong to pages of others (DNS rebinding).
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_there_is_answered_and_only_to_those_who_mean_this_host() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let served = hismail.start().await;
    let asked = |line: &str, host: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let ip = hismail.ip;
        async move { ask(ip, &request).await }
    };
    for host in [
        "127.0.0.1",
        "[::1]:8525",
        "localhost:8525",
        "LOCALHOST",
        "mx.hismail.test",
    ] {
        assert_eq!(asked("GET /healthz", host).await.status, 200, "{host}");
    }
    for host in ["evil.test", "127.0.0.1.evil.test", "hismail.test", ""] {
        assert_eq!(asked("GET /metrics", host).await.status, 421, "{host}");
    }
    assert_eq!(ask(hismail.ip, "GET /healthz HTTP/1.0\r\n\r\n").await.status, 421);
    // RFC 9112 §3.2.
    for host in [
        "127.0.0.1\r\nHost: 127.0.0.1",
        "evil.test\r\nHost: localhost",
        "localhost:80@evil.test",
        "[::1]evil.test",
    ] {
        assert_eq!(asked("GET /metrics", host).await.status, 400, "{host}");
    }
    assert_eq!(ask(hismail.ip, "GET /metrics HTTP/1.1\r\n\r\n").await.status, 400);
    let absolute = asked("GET http://evil.test/metrics", "127.0.0.1").await;
    assert_eq!(absolute.status, 421);
    let absolute = asked("GET http://localhost/healthz", "evil.test").await;
    assert_eq!(absolute.status, 200);
    for path in ["/nothing", "/readyz/", "/../metrics"] {
        assert_eq!(get(hismail.ip, path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = asked(&format!("{method} /readyz"), "127.0.0.1").await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let head = asked("HEAD /healthz", "127.0.0.1").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let header = get(hismail.ip, "/readyz").await.header;
    for line in ["cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(header.contains(line), "{header}");
    }
    let long = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    assert_eq!(ask(hismail.ip, &long).await.status, 431);
    served.stop().await;
}

/// They may have sent part of a request, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_connected_and_asks_for_nothing_holds_up_nobody() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .config(|config| {
            config.listen.http = vec![SocketAddr::new(config.listen.operations[0].ip(), HTTP)];
            config.server.shutdown_grace_secs = 20;
        })
        .build()
        .await;
    let mut process = hismail.spawn().await;
    let mut idle = Vec::new();
    let begun = Instant::now();
    for number in 0..200 {
        let mut tcp = TcpStream::connect((hismail.ip, OPERATIONS)).await.unwrap();
        if number % 2 == 0 {
            tcp.write_all(b"GET /hea").await.unwrap();
        }
        idle.push(tcp);
    }
    assert_eq!(get(hismail.ip, "/healthz").await.status, 200);
    // Some of them would be waited for half a minute, and the next ones as well.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    for port in [OPERATIONS, HTTP] {
        idle.push(TcpStream::connect((hismail.ip, port)).await.unwrap());
    }
    process.terminate();
    assert!(process.ended().await.success());
    assert!(
        !process.log().contains("\"daemon.grace_over\""),
        "{}",
        process.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_makes_a_host_unready() {
    let world = World::new().await;
    let authority = Certification::new(world.home());
    let expired = authority.issue_expired("mx.hismail.test");
    let [certificate, key] = expired.files.clone();
    let hismail = world
        .organization("hismail.test")
        .config(move |config| {
            config.tls.smtp_certificate = Some(certificate.clone());
            config.tls.smtp_key = Some(key.clone());
        })
        .build()
        .await;
    let served = hismail.start().await;
    until_reasons(hismail.ip, &["certificate_ended"]).await;
    let metrics = get(hismail.ip, "/metrics").await;
    let until = |service: &str| {
        metrics.value(&format!(
            "dimed_certificate_expiry_timestamp_seconds{{service=\"{service}\"}}"
        ))
    };
    let now = metrics.value("dimed_start_timestamp_seconds");
    assert!(until("smtp") < now, "{}", until("smtp"));
    assert!(until("dmtp") > now, "{}", until("dmtp"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_sync_or_is_gone_makes_a_host_unready() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let address = database.server().address.to_string();
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .config(move |config| config.storage.database = address.parse::<config::Database>().unwrap())
        .build()
        .await;
    let served = hismail.start().await;
    until_reasons(hismail.ip, &[]).await;
    let queue = "dimed_queue_sample_timestamp_seconds";
    assert!(get(hismail.ip, "/metrics").await.value(queue) > 0.0);
    for (setting, wanted) in [("off", &["store_not_durable"][..]), ("on", &[])] {
        cluster.sql("postgres", &format!("ALTER SYSTEM SET fsync = {setting}"));
        cluster.sql("postgres", "SELECT pg_reload_conf()");
        until_reasons(hismail.ip, wanted).await;
    }
    cluster.kill();
    until_reasons(hismail.ip, &["store_unusable"]).await;
    // What is counted in memory is told all the same.
    let mut metrics = get(hismail.ip, "/metrics").await;
    // What was read before is told again for some seconds.
    while metrics.find(queue).is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        metrics = get(hismail.ip, "/metrics").await;
    }
    assert_eq!(metrics.status, 200);
    metrics.value("dimed_messages_accepted_total{service=\"smtp\"}");
    cluster.start("");
    until_reasons(hismail.ip, &[]).await;
    served.stop().await;
}

/// Two processes, so that each counts for itself.
async fn two(world: &World) -> (Organization, Organization) {
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
    (hermail, hismail)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_and_names_nobody() {
    let world = World::new().await;
    let (hermail, hismail) = two(&world).await;
    let (_one, _other) = (hermail.spawn().await, hismail.spawn().await);
    let start = get(hermail.ip, "/metrics").await;
    for series in [
        "messages_accepted_total{service=\"submission\"}",
        "leases_lost_total",
    ] {
        assert_eq!(start.value(&format!("dimed_{series}")), 0.0, "{series}");
    }
    hermail
        .submit("alice", &["bob@hismail.test", "alice@hermail.test"], MESSAGE)
        .await;
    hismail.maildir("bob").only().await;
    hermail.idle().await;
    let mut stranger = Talk::smtp(hismail.ip).await;
    stranger.ask("MAIL FROM:<carol@plain.test>", "250").await;
    stranger.ask("RCPT TO:<nobody@hismail.test>", "550").await;

    let metrics = get(hermail.ip, "/metrics").await;
    assert!(
        metrics
            .header
            .contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        metrics.header
    );
    for (series, count) in [
        ("messages_accepted_total{service=\"submission\"}", 1.0),
        ("messages_accepted_total{service=\"dmtp\"}", 0.0),
        ("deliveries_total{route=\"local\",result=\"delivered\"}", 1.0),
        ("deliveries_total{route=\"dmtp\",result=\"relayed\"}", 1.0),
        ("deliveries_total{route=\"smtp\",result=\"relayed\"}", 0.0),
        ("signet_lookups_total{result=\"missing\"}", 0.0),
        ("dmtp_handshakes_total{direction=\"out\",result=\"failed\"}", 0.0),
    ] {
        assert_eq!(metrics.value(&format!("dimed_{series}")), count, "{series}");
    }
    // The other side has asked for signets, and keeps the session for a while.
    assert!(metrics.value("dimed_sessions_open{service=\"dmtp\"}") <= 1.0);
    for series in [
        "signet_lookups_total{result=\"found\"}",
        "dmtp_handshakes_total{direction=\"out\",result=\"done\"}",
        "dmtp_handshakes_total{direction=\"in\",result=\"done\"}",
        "dns_answers_total{proof=\"secure\"}",
        "disk_free_bytes",
        "queue_sample_timestamp_seconds",
        "store_commit_seconds_count",
        "store_commit_jobs_sum",
        "key_set_expiry_timestamp_seconds",
    ] {
        assert!(metrics.value(&format!("dimed_{series}")) > 0.0, "{series}");
    }
    let there = get(hismail.ip, "/metrics").await;
    assert_eq!(
        there.value("dimed_messages_accepted_total{service=\"dmtp\"}"),
        1.0
    );
    assert_eq!(
        there.value("dimed_refusals_total{protocol=\"smtp\",class=\"5\"}"),
        1.0
    );
    assert_eq!(there.value("dimed_sessions_open{service=\"dual\"}"), 1.0);
    for text in [&metrics.body, &there.body] {
        for name in ["hermail", "hismail", "alice", "bob", "nobody", "carol", "planted"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_counted_by_route_and_status() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "ann"])
        .build()
        .await;
    // Nobody listens there.
    let dark = Loopback::take();
    world.plain_domain("plain.test", dark.ip);
    let served = hermail.start().await;
    hermail.block_mailbox("ann");
    hermail
        .submit("alice", &["ann@hermail.test", "carol@plain.test"], MESSAGE)
        .await;
    hermail.cli(&["queue", "hold", "--domain", "plain.test"]).await;
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let metrics = get(hermail.ip, "/metrics").await;
        let of = |name: &str, route: &str, status: &str| {
            metrics.value(&format!("dimed_{name}{{route=\"{route}\",status=\"{status}\"}}"))
        };
        let local = of("queue_recipients", "local", "waiting") + of("queue_recipients", "local", "trying");
        let held = of("queue_recipients", "smtp", "held");
        if (local, held) == (1.0, 1.0) {
            assert!(of("queue_oldest_age_seconds", "smtp", "held") > 0.0);
            assert_eq!(of("queue_oldest_age_seconds", "dmtp", "held"), 0.0);
            assert_eq!(of("queue_recipients", "dmtp", "waiting"), 0.0);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", metrics.body);
        // The numbers are kept for some seconds.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    served.stop().await;
}
