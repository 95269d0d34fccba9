//! What authors demand, and what operators allow.

use std::num::NonZeroU64;

use dimed::cli::Exit;
use dimed::net::authority::KeyKind;
use hickory_proto::rr::RecordType;

use super::proxy::{Proxy, Spoils};
use super::*;
use crate::support::talk::Talk;

/// The message with one more field.
fn with(field: &str) -> String {
    format!("{field}\r\n{MESSAGE}")
}

/// plain.test, signed; its host shows the certificate that DNS names.
fn dane(host: &Loopback, certificate: &Certificate) -> Zone {
    let zone = Zone::signed(&domain("plain.test"), KeyKind::Ed25519)
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", host.ip);
    key_record(zone, "mx", certificate)
}

/// Submits a message with REQUIRETLS.
async fn submit_requiring(hermail: &Organization, to: &str) {
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    talk.ask("MAIL FROM:<alice@hermail.test> REQUIRETLS", "250").await;
    talk.ask(&format!("RCPT TO:<{to}>"), "250").await;
    let reply = talk.data(MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
}

async fn bounce(hermail: &Organization) -> String {
    let bounce = hermail.maildir("alice").only().await;
    bounce.replace("\r\n\t", " ").replace("\r\n ", " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_must_go_as_dime_comes_back_rather_than_go_by_smtp() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    scene.world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    hermail
        .submit("alice", &["carol@plain.test"], &with("DIME-Required: Yes"))
        .await;
    let bounce = bounce(&hermail).await;
    assert!(bounce.contains("Status: 5.7.1"), "{bounce}");
    assert!(
        bounce.contains("the message demands to go as D/MIME or not at all"),
        "{bounce}"
    );
    assert!(sink.attempts().is_empty());
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_must_go_as_dime_goes_so_without_saying_it() {
    let scene = Scene::new().await;
    let hismail = scene
        .world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let hermail = scene.hermail(|_| ()).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail
        .submit("alice", &["bob@hismail.test"], &with("dime-required: yes"))
        .await;
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.contains("DIME-Verification:"), "{delivered}");
    assert!(!delivered.to_lowercase().contains("dime-required"), "{delivered}");
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);
    hermail.idle().await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_that_cannot_be_understood_is_refused_at_submission() {
    let scene = Scene::new().await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    for field in ["DIME-Required: No", "DIME-Required: Yes\r\nDIME-Required: Yes"] {
        let reply = talk
            .transfer("alice@hermail.test", &["alice@hermail.test"], &with(field))
            .await;
        assert_eq!(
            reply,
            "550 5.6.0 The field DIME-Required stands there once and says \"Yes\", or is left out"
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn required_tls_is_promised_to_a_verified_host_that_promises_it_too() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let certificate = scene.authority.issue("mx.plain.test");
    scene.world.put("plain.test", &dane(&host, &certificate));
    let behaviour = Behaviour {
        require_tls: true,
        ..Behaviour::with_certificate(&certificate)
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let hermail = scene.hermail(|_| ()).await;
    hermail
        .cli(&["alias", "add", "away@hermail.test", "carol@plain.test"])
        .await;
    let served = hermail.start().await;
    submit_requiring(&hermail, "carol@plain.test").await;
    submit_requiring(&hermail, "away@hermail.test").await;
    for taken in sink.taken(2).await {
        assert!(taken.tls);
        assert_eq!(taken.mail, "<alice@hermail.test> REQUIRETLS");
    }
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_requires_tls_comes_back_where_the_next_host_does_not_promise_it() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let certificate = scene.authority.issue("mx.plain.test");
    scene.world.put("plain.test", &dane(&host, &certificate));
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&certificate)).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    submit_requiring(&hermail, "carol@plain.test").await;
    let bounce = bounce(&hermail).await;
    assert!(bounce.contains("Status: 5.7.30"), "{bounce}");
    assert!(
        bounce.contains("message demands TLS all the way (REQUIRETLS)"),
        "{bounce}"
    );
    assert!(sink.attempts().is_empty());
    hermail.idle().await;
    served.stop().await;
}

/// plain.test, signed; nothing says which certificate its host has.
fn signed(host: &Loopback) -> Zone {
    Zone::signed(&domain("plain.test"), KeyKind::Ed25519)
        .unwrap()
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", host.ip)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_requires_tls_comes_back_where_the_next_host_has_none() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    scene.world.put("plain.test", &signed(&host));
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    submit_requiring(&hermail, "carol@plain.test").await;
    let bounce = bounce(&hermail).await;
    assert!(bounce.contains("Status: 5.7.30"), "{bounce}");
    assert!(bounce.contains("message demands TLS (REQUIRETLS)"), "{bounce}");
    assert!(sink.attempts().is_empty());
    hermail.idle().await;
    served.stop().await;
}

/// It may have been renewed by the next attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_requires_tls_waits_while_the_host_has_no_good_certificate() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    scene.world.put("plain.test", &signed(&host));
    let behaviour = Behaviour {
        require_tls: true,
        ..Behaviour::with_certificate(&scene.authority.issue_expired("mx.plain.test"))
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    submit_requiring(&hermail, "carol@plain.test").await;
    waits(&hermail, &sink, "demands verified TLS (REQUIRETLS)").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_requires_tls_comes_back_where_nothing_proves_the_host() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    scene.world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        require_tls: true,
        ..Behaviour::with_certificate(&scene.authority.issue("mx.plain.test"))
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let hermail = scene.hermail(|_| ()).await;
    let explain = ["route", "explain", "carol@plain.test", "--demand", "requiretls"];
    let (exit, explained) = hermail.answered(&explain).await;
    assert!(explained.contains("(requiretls_unproven)"), "{explained}");
    assert!(
        explained.ends_with("\nmail       is refused, or returned to its author\n"),
        "{explained}"
    );
    assert_eq!(exit, Exit::No);
    let served = hermail.start().await;
    submit_requiring(&hermail, "carol@plain.test").await;
    let bounce = bounce(&hermail).await;
    assert!(bounce.contains("Status: 5.7.30"), "{bounce}");
    assert!(bounce.contains("neither DNSSEC nor MTA-STS"), "{bounce}");
    assert!(sink.attempts().is_empty());
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_requires_tls_goes_on_where_nobody_promises_it() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let certificate = scene.authority.issue("mx.plain.test");
    scene.world.put("plain.test", &dane(&host, &certificate));
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&certificate)).await;
    let hermail = scene.hermail(|_| ()).await;
    hermail
        .cli(&["alias", "add", "away@hermail.test", "carol@plain.test"])
        .await;
    let served = hermail.start().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    talk.ask("STARTTLS", "220").await;
    talk.start_tls().await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask("MAIL FROM:<> REQUIRETLS", "250").await;
    talk.ask("RCPT TO:<away@hermail.test>", "250").await;
    let reply = talk.data(MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
    let taken = only(&sink).await;
    assert!(taken.tls);
    assert_eq!(taken.mail, "<>");
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_protection_does_not_matter_goes_where_policies_would_keep_it_from() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    let [shown, expected] = [
        scene.authority.issue("mx.plain.test"),
        scene.authority.issue("mx.plain.test"),
    ];
    scene.world.put("plain.test", &dane(&host, &expected));
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&shown)).await;
    let hermail = scene.hermail(|_| ()).await;
    let explain = [
        "route",
        "explain",
        "carol@plain.test",
        "--demand",
        "no-tls-policy",
    ];
    let explained = hermail.cli(&explain).await;
    assert!(explained.contains("(tls_not_required)"), "{explained}");
    let served = hermail.start().await;
    hermail
        .submit("alice", &["carol@plain.test"], &with("TLS-Required: No"))
        .await;
    let taken = only(&sink).await;
    assert!(taken.tls);
    assert!(
        taken.message.contains("TLS-Required: No\r\n"),
        "{}",
        taken.message
    );
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_fails_for_long_leads_to_smtp_where_the_operator_allows_it() {
    for allowed in [false, true] {
        let scene = Scene::new().await;
        let host = Loopback::take();
        scene.world.plain_domain("plain.test", host.ip);
        let proxy = Proxy::start(scene.world.name_server(), RecordType::TXT, Spoils::Fails).await;
        let sink = Sink::start(host.ip, Behaviour::default()).await;
        let hermail = scene
            .hermail(|config| {
                config.dns.servers = vec![proxy.address];
                config.routing.smtp_after_failed_lookup = allowed;
                config.routing.smtp_after_secs = NonZeroU64::new(2).unwrap();
            })
            .await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        waits(&hermail, &sink, "record_lookup_failed").await;
        match allowed {
            true => drop(only(&sink).await),
            false => waits(&hermail, &sink, "tried 3 times").await,
        }
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_domain_above_forbids_smtp_where_the_operator_lets_it_count() {
    for counts in [false, true] {
        let scene = Scene::new().await;
        let host = Loopback::take();
        let record = "ver=1 pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg pol=strict sub=strict";
        let zone = Zone::signed(&domain("plain.test"), KeyKind::Ed25519)
            .unwrap()
            .txt("_dx", record)
            .mx("sub", 10, &domain("mx.plain.test"))
            .address("mx", host.ip);
        scene.world.put("plain.test", &zone);
        let sink = Sink::start(host.ip, Behaviour::default()).await;
        let hermail = scene
            .hermail(|config| config.routing.parent_records = counts)
            .await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@sub.plain.test"], MESSAGE).await;
        if counts {
            let bounce = bounce(&hermail).await;
            assert!(
                bounce.contains("the strict record of a domain above forbids SMTP"),
                "{bounce}"
            );
            assert!(sink.attempts().is_empty());
        } else {
            only(&sink).await;
        }
        hermail.idle().await;
        served.stop().await;
    }
}
