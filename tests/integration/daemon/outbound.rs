//! Mail to domains without DIME.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use dimed::net::authority::{KeyKind, Zone};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::support::loopback::{Loopback, SMTP};
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink, Taken};
use crate::support::world::{World, domain};

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    Subject: out\r\n\r\n.a dot\r\nand a line\r\n";

async fn hermail(world: &World) -> Organization {
    world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mail_server_gets_mail_by_mx_over_tls() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let plain = world
        .organization("plain.test")
        .plain()
        .accounts(&["carol"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, plain.start().await);
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    let delivered = plain.maildir("carol").only().await;
    let (header, body) = split(&delivered);
    assert_eq!(body, split(MESSAGE).1);
    assert!(
        header.starts_with("Return-Path: <alice@hermail.test>\r\n"),
        "{header}"
    );
    assert!(header.contains("from mx.hermail.test"), "{header}");
    assert!(header.contains("with ESMTPS"), "opportunistic TLS: {header}");
    assert_eq!(here.witness.routes_to("carol@plain.test"), ["smtp"]);
    hermail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// RFC 9422.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_recipients_are_named_than_a_host_takes() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        recipients: Some(2),
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let served = hermail.start().await;
    let to = ["a", "b", "c", "d", "e"].map(|local| format!("{local}@plain.test"));
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    hermail.submit("alice", &to, MESSAGE).await;
    let taken = sink.taken(3).await;
    hermail.idle().await;
    served.stop().await;
    let counts: Vec<usize> = taken.iter().map(|one| one.rcpt.len()).collect();
    assert_eq!(counts, [2, 2, 1]);
    for one in &taken {
        assert!(one.message.ends_with(MESSAGE), "all of it each time: {one:?}");
    }
    assert_eq!(sink.attempts().len(), 3, "none was named in vain");
}

/// RFC 9422: whom one session has no room for gets the message in the next, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_few_in_a_session_gets_all_in_several() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(|config| config.queue.retry_first_secs = NonZeroU64::new(3600).unwrap());
    let hermail = hermail.build().await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        recipients: Some(1),
        transactions: Some(2),
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let served = hermail.start().await;
    // More than one attempt has sessions for.
    let to: Vec<_> = (0..45).map(|number| format!("r{number}@plain.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    hermail.submit("alice", &to, MESSAGE).await;
    let taken = sink.taken(to.len()).await;
    hermail.idle().await;
    served.stop().await;
    let named: Vec<_> = taken.iter().flat_map(|taken| &taken.rcpt).collect();
    let expected: Vec<_> = to.iter().map(|to| format!("<{to}>")).collect();
    assert_eq!(named, expected.iter().collect::<Vec<_>>(), "each once");
    assert!(taken.iter().all(|taken| taken.message.ends_with(MESSAGE)));
    assert_eq!(sink.attempts().len(), to.len(), "no transaction is begun in vain");
    assert_eq!(sink.sessions(), to.len().div_ceil(2));
}

/// A stranger's domain whose mail host is at our address would have us write to ourselves, from an address that we trust.
#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_host_at_our_own_address_comes_back_to_its_author() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(|config| config.relay.networks = vec!["127.0.0.0/8".parse().unwrap()]);
    let hermail = hermail.build().await;
    world.plain_domain("evil.test", hermail.ip);
    // Those that it likes less are not asked (RFC 5321 §5.1).
    let worse = Loopback::take();
    let sink = Sink::start(worse.ip, Behaviour::default()).await;
    let zone = Zone::unsigned(&domain("both.test")).unwrap();
    let zone = zone.address("mx", hermail.ip).address("worse", worse.ip);
    let zone = zone
        .mx("", 10, &domain("mx.both.test"))
        .mx("", 20, &domain("worse.both.test"));
    world.put("both.test", &zone);
    let served = hermail.start().await;
    for (number, to) in ["eve@evil.test", "eve@both.test"].into_iter().enumerate() {
        hermail.submit("alice", &[to], MESSAGE).await;
        let mails = hermail.maildir("alice").expect(number + 1).await;
        let report = mails.iter().find(|mail| mail.contains(to)).unwrap();
        assert!(report.contains("\r\nStatus: 5.4.6\r\n"), "{report}");
    }
    assert_eq!(sink.sessions(), 0);
    hermail.idle().await;
    served.stop().await;
}

/// A router may lead what leaves for another address back in.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_greets_with_our_name_is_this_one() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let listener = TcpListener::bind((host.ip, SMTP)).await.unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut stream = BufReader::new(tcp);
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                assert!(!line.contains("MAIL "), "{line}");
                stream
                    .write_all(b"250 MX.hermail.test at your service\r\n")
                    .await
                    .unwrap();
            }
        }
    });
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    let report = hermail.maildir("alice").only().await;
    assert!(report.contains("\r\nStatus: 5.4.6\r\n"), "{report}");
    serving.abort();
    served.stop().await;
}

/// A wildcard answers for the name of the management record, too, with texts that are none.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_texts_under_every_name_gets_mail_by_smtp() {
    let name = domain("plain.test");
    let zones = [
        Zone::unsigned(&name).unwrap().txt("*", "v=spf1 mx -all"),
        Zone::signed(&name, KeyKind::Ed25519)
            .unwrap()
            .txt("*", "v=spf1 mx exp=explain.plain.test -all"),
        Zone::unsigned(&name)
            .unwrap()
            .txt("", "v=spf1 mx -all")
            .txt("", "site-verification=1")
            .cname("*", &name),
    ];
    for zone in zones {
        let world = World::new().await;
        let hermail = hermail(&world).await;
        let host = Loopback::take();
        let mx = domain("mx.plain.test");
        world.put("plain.test", &zone.mx("", 10, &mx).address("mx", host.ip));
        let sink = Sink::start(host.ip, Behaviour::default()).await;
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        assert!(sink.taken(1).await[0].message.ends_with(MESSAGE));
        served.stop().await;
    }
}

/// Whoever answers at many names, and never, holds up nobody else's mail.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_let_us_wait_do_not_hold_up_mail_for_others() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .config(|config| config.queue.runners = NonZeroUsize::new(2).unwrap())
        .build()
        .await;
    let host = Loopback::take();
    let silent = TcpListener::bind((host.ip, SMTP)).await.unwrap();
    let names = ["slow1.test", "slow2.test", "slow3.test"];
    for name in names {
        world.plain_domain(name, host.ip);
    }
    let served = hermail.start().await;
    let to = names.map(|name| format!("x@{name}"));
    hermail
        .submit("alice", &to.each_ref().map(String::as_str), MESSAGE)
        .await;
    let mut held = vec![silent.accept().await.unwrap(), silent.accept().await.unwrap()];
    hermail.submit("alice", &["alice@hermail.test"], MESSAGE).await;
    hermail.maildir("alice").expect(1).await;
    held.push(silent.accept().await.unwrap());
    drop((held, silent));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_taken_where_it_is_offered_and_not_missed_where_it_is_not() {
    for tls in [true, false] {
        let world = World::new().await;
        let hermail = hermail(&world).await;
        let host = Loopback::take();
        world.plain_domain("plain.test", host.ip);
        let behaviour = match tls {
            true => Behaviour::with_tls(world.home()),
            false => Behaviour::default(),
        };
        let sink = Sink::start(host.ip, behaviour).await;
        let served = hermail.start().await;
        let to = ["carol@plain.test", "dave@plain.test"];
        hermail.submit("alice", &to, MESSAGE).await;
        let taken = sink.taken(1).await.remove(0);
        assert!(taken.message.ends_with(MESSAGE), "{}", taken.message);
        assert_eq!(
            taken,
            Taken {
                tls,
                mail: "<alice@hermail.test>".into(),
                rcpt: vec!["<carol@plain.test>".into(), "<dave@plain.test>".into()],
                message: taken.message.clone(),
            }
        );
        hermail.idle().await;
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_bounces_to_the_author() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        refusal: Some("550 5.1.1 no such user"),
        ..Behaviour::default()
    };
    let _sink = Sink::start(host.ip, behaviour).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["nobody@plain.test"], MESSAGE).await;
    let bounce = hermail.maildir("alice").only().await;
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");
    for line in [
        "Content-Type: multipart/report; report-type=delivery-status",
        "Final-Recipient: rfc822; nobody@plain.test",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "Message-ID: <1@hermail.test>",
    ] {
        let unfolded = bounce.replace("\r\n\t", " ").replace("\r\n ", " ");
        assert!(unfolded.contains(line), "{line} is not in {bounce}");
    }
    assert!(bounce.contains("and a line"), "all of it comes back: {bounce}");
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_now_is_tried_again_after_growing_waits() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        deferrals: 2,
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    sink.taken(1).await;
    let at = sink.attempts();
    let [first, second] = [at[1] - at[0], at[2] - at[1]];
    // 1 s, then 2 s, spread by an eighth either way, and late by what the machine takes.
    assert!(first >= Duration::from_millis(850), "{first:?}");
    assert!(second >= Duration::from_millis(1700), "{second:?}");
    hermail.idle().await;
    assert_eq!(sink.taken(1).await.len(), 1);
    assert_eq!(hermail.maildir("alice").count(), 0, "no bounce");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_down_gets_its_mail_once_it_is_up() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    until_tried(&hermail).await;
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    sink.taken(1).await;
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_within_the_lifetime_comes_back() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .config(|config| config.queue.lifetime_secs = NonZeroU64::new(1).unwrap())
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    let bounce = hermail.maildir("alice").only().await;
    assert!(bounce.contains("Status: 5.4.7"), "{bounce}");
    assert!(bounce.contains("carol@plain.test"), "{bounce}");
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_the_queue() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    until_tried(&hermail).await;
    served.stop().await;

    let sink = Sink::start(host.ip, Behaviour::default()).await;
    assert!(hermail.cli(&["queue", "list"]).await.contains("carol@plain.test"));
    let served = hermail.start().await;
    sink.taken(1).await;
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retried_does_not_wait_for_its_time() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(|config| config.queue.retry_first_secs = NonZeroU64::new(3600).unwrap());
    let hermail = hermail.build().await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    until_tried(&hermail).await;
    served.stop().await;

    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let listed = hermail.cli(&["queue", "list"]).await;
    assert!(listed.contains(", due in "), "{listed}");
    let said = hermail
        .cli(&["queue", "retry", "--domain", "plain.test", "--json"])
        .await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["result"], "retried");
    assert_eq!(said["recipients"], 1);
    assert_eq!(
        hermail.cli(&["queue", "retry", "--all"]).await,
        "One recipient is due now.\n"
    );
    let listed = hermail.cli(&["queue", "list"]).await;
    assert!(listed.contains(", due\n"), "{listed}");
    // A daemon that runs takes it up within half a minute, and one that starts at once.
    let served = hermail.start().await;
    sink.taken(1).await;
    hermail.idle().await;
    served.stop().await;
}

/// Waits until the first attempt is over.
async fn until_tried(hermail: &Organization) {
    for _ in 0..1000 {
        let listed = hermail.cli(&["queue", "list"]).await;
        if !listed.contains("tried 0 times") && !listed.contains("being tried now") {
            assert!(listed.contains("carol@plain.test"), "{listed}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_have_the_message_keeps_it_from_the_next_host() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hosts = [Loopback::take(), Loopback::take()];
    let [first, second] = ["mx1.plain.test", "mx2.plain.test"].map(domain);
    let zone = Zone::unsigned(&domain("plain.test"))
        .unwrap()
        .mx("", 10, &first)
        .mx("", 20, &second)
        .address("mx1", hosts[0].ip)
        .address("mx2", hosts[1].ip);
    world.put("plain.test", &zone);
    let silent = Behaviour {
        silent: true,
        ..Behaviour::default()
    };
    let sink = Sink::start(hosts[0].ip, silent).await;
    let next = Sink::start(hosts[1].ip, Behaviour::default()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    // The second copy shows that the first attempt was over, and it was given to nobody else.
    sink.taken(2).await;
    assert!(next.attempts().is_empty());
    served.stop().await;
}
