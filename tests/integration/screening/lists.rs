//! Lists in DNS (RFC 5782).

use dimed::config::{ListAction, Listed};
use dimed::screening::lists::{self, Tested};

use super::*;
use crate::support::loopback::Loopback;
use crate::support::name_server::Fault;
use crate::support::sink::{Behaviour, Sink};

/// Everybody in 192.0.2.0/24 but those below 10 is known for something.
fn bad() -> Zone {
    Zone::unsigned("bl.test").with(
        "2.0.0.127 A 127.0.0.2\n77.2.0.192 A 127.0.0.4\n77.2.0.192 TXT \"see \\255\\009http://bl.test/?192.0.2.77\"\n\
         78.2.0.192 A 127.0.0.9\n79.2.0.192 A 192.0.2.1\n80.2.0.192 A 127.0.0.1",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_listed_is_refused_and_told_by_whom_and_why() {
    let scene = Scene::new(&[bad()], |screening| {
        screening.lists = vec![dimed::config::List {
            answers: vec!["127.0.0.1-5".parse().unwrap()],
            ..list("bl.test", ListAction::Reject)
        }];
    })
    .await;
    let served = scene.start().await;
    assert_eq!(
        scene.rcpt("192.0.2.77", "carol@plain.test").await,
        "550 5.7.1 Your address is listed by bl.test (see ??http://bl.test/?192.0.2.77): have it taken off, \
         or ask postmaster@hismail.test about it"
    );
    assert_eq!(
        scene.rcpt("192.0.2.80", "carol@plain.test").await,
        "550 5.7.1 Your address is listed by bl.test (no reason given): have it taken off, \
         or ask postmaster@hismail.test about it"
    );
    for (address, why) in [
        ("192.0.2.78", "an answer that does not count"),
        ("192.0.2.79", "an answer that no list gives"),
        ("192.0.2.1", "not listed"),
        ("127.9.9.9", "on this machine"),
    ] {
        let reply = scene.rcpt(address, "carol@plain.test").await;
        assert!(reply.starts_with("250 "), "{why}: {reply}");
    }
    // RFC 5321 §4.5.1, RFC 2142: whoever is refused can ask why.
    for open in ["postmaster@hismail.test", "Abuse@HISMAIL.test", "Postmaster"] {
        let reply = scene.rcpt_to("192.0.2.77", "x", "carol@plain.test", open).await;
        assert!(reply.starts_with("250 "), "{open}: {reply}");
    }
    let unknown = scene.rcpt_to("192.0.2.77", "x", "", "nobody@hismail.test").await;
    assert!(unknown.starts_with("550 5.1.1 "), "{unknown}");
    served.stop().await;
}

/// Whoever is refused does not make us dial a third host.
#[tokio::test(flavor = "multi_thread")]
async fn a_next_host_is_not_asked_for_somebody_who_is_listed() {
    let host = Loopback::take();
    let main = Zone::unsigned("main.test").with(&format!("@ MX 10 mx\nmx A {}", host.ip));
    let scene = Scene::new(&[bad(), main], |screening| {
        screening.lists = vec![list("bl.test", ListAction::Reject)];
    })
    .await;
    let relayed = ["domain", "add", "main.test", "--relay", "--verify", "callout"];
    scene.hismail.cli(&relayed).await;
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let served = scene.start().await;
    for (address, expected, asked) in [
        ("192.0.2.77", "550 5.7.1 Your address is listed", 0),
        ("192.0.2.1", "250 ", 1),
    ] {
        let reply = scene
            .rcpt_to(address, "x", "carol@plain.test", "dave@main.test")
            .await;
        assert!(reply.starts_with(expected), "{reply}");
        assert_eq!(sink.sessions(), asked, "{address}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_log_in_are_not_measured_wherever_they_are() {
    let scene = Scene::new(&[bad()], |screening| {
        screening.lists = vec![list("bl.test", ListAction::Reject)];
        screening.false_hello = dimed::config::Consequence::Reject;
        screening.greylist = true;
    })
    .await;
    let served = scene.start().await;
    let mut talk = scene.connect("192.0.2.77").await;
    talk.ask("EHLO localhost", "250").await;
    talk.ask("STARTTLS", "220").await;
    talk.start_tls().await;
    talk.ask("EHLO localhost", "250").await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "550 5.7.1 ").await;
    let mut submission = Talk::submission(scene.hismail.ip, "alice@hismail.test").await;
    let reply = submission
        .transfer(
            "alice@hismail.test",
            &["bob@hismail.test"],
            "From: alice@hismail.test\r\n\r\nx\r\n",
        )
        .await;
    assert!(reply.starts_with("250 "), "{reply}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strongest_list_counts_unless_one_allows() {
    let good = Zone::unsigned("wl.test").with("78.2.0.192 A 127.0.9.2\n79.2.0.192 A 127.0.9.0");
    let worse = Zone::unsigned("worse.test")
        .with("77.2.0.192 A 127.0.0.2\n78.2.0.192 A 127.0.0.2\n79.2.0.192 A 127.0.0.2");
    // The zone of who pays for it holds a key.
    let slow = Zone::unsigned("s3cr3t.slow.test").with("77.2.0.192 A 127.0.0.2\n76.2.0.192 A 127.0.0.2");
    let scene = Scene::new(&[good, worse, slow], |screening| {
        screening.lists = vec![
            dimed::config::List {
                name: "slow.test".parse().unwrap(),
                ..list("s3cr3t.slow.test", ListAction::Defer)
            },
            list("worse.test", ListAction::Reject),
            dimed::config::List {
                answers: vec!["127.0.0-255.1-3".parse().unwrap()],
                ..list("wl.test", ListAction::Allow)
            },
        ];
    })
    .await;
    let served = scene.start().await;
    for (address, start) in [
        ("192.0.2.76", "450 4.7.1 Your address is listed by slow.test "),
        ("192.0.2.77", "550 5.7.1 Your address is listed by worse.test "),
        ("192.0.2.78", "250 "),
        ("192.0.2.79", "550 5.7.1 Your address is listed by worse.test "),
    ] {
        let reply = scene.rcpt(address, "carol@plain.test").await;
        assert!(reply.starts_with(start), "{address}: {reply}");
    }
    let delivered = scene.delivered("192.0.2.78", "mx.plain.test", MESSAGE).await;
    let results = field(&delivered, "Authentication-Results").unwrap();
    assert!(
        results.ends_with("; dnswl=pass dns.zone=wl.test policy.ip=127.0.9.2"),
        "{results}"
    );
    assert_eq!(field(&delivered, "Dimed-Screening"), None);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_says_which_list_and_nobody_else_can_say_it() {
    let scene = Scene::new(
        &[
            Zone::unsigned("bl.test").with("77.2.0.192 A 127.0.0.4"),
            Zone::unsigned("dbl.test").with("plain.test A 127.0.1.2"),
            Zone::unsigned("six.test").with("*.8.b.d.0.1.0.0.2 A 127.0.0.3"),
        ],
        |screening| {
            screening.lists = vec![
                list("bl.test", ListAction::Mark),
                list("six.test", ListAction::Reject),
                dimed::config::List {
                    of: Listed::SenderDomain,
                    ..list("dbl.test", ListAction::Mark)
                },
            ];
        },
    )
    .await;
    let served = scene.start().await;
    let forged = format!("dimed-screening : mx.hismail.test; list=good.test\r\nDimed-Other: x\r\n{MESSAGE}");
    let delivered = scene.delivered("192.0.2.77", "mx.plain.test", &forged).await;
    let expected = "mx.hismail.test; list=bl.test (127.0.0.4); sender-list=dbl.test (127.0.1.2)";
    assert_eq!(field(&delivered, "Dimed-Screening").as_deref(), Some(expected));
    assert_eq!(
        delivered.to_ascii_lowercase().matches("dimed-").count(),
        1,
        "{delivered}"
    );
    let six = scene.rcpt("2001:db8:7::1", "pat@ham.test").await;
    assert!(
        six.starts_with("550 5.7.1 Your address is listed by six.test "),
        "{six}"
    );
    let six = scene.rcpt("2001:db9:7::1", "pat@ham.test").await;
    assert!(six.starts_with("250 "), "{six}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_domains_can_be_listed() {
    let scene = Scene::new(
        &[Zone::unsigned("dbl.test").with("spam.test A 127.0.1.2\nspam.test TXT \"spam\"")],
        |screening| {
            screening.lists = vec![dimed::config::List {
                of: Listed::SenderDomain,
                ..list("dbl.test", ListAction::Reject)
            }];
        },
    )
    .await;
    let served = scene.start().await;
    let mut talk = scene.connect("192.0.2.1").await;
    talk.ask("EHLO mx.spam.test", "250").await;
    talk.ask("MAIL FROM:<x@spam.test>", "250").await;
    talk.ask(
        "RCPT TO:<bob@hismail.test>",
        "550 5.7.1 The domain of the sender is listed by dbl.test (spam)",
    )
    .await;
    // It is the message that is listed, and not the host.
    talk.ask("RSET", "250").await;
    talk.ask("MAIL FROM:<x@ham.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    let null = scene.rcpt("192.0.2.1", "").await;
    assert!(null.starts_with("250 "), "{null}");
    served.stop().await;
}

/// A list that is no more often answers whatever is asked; others refuse to answer whom they do not like.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_right_keeps_nobody_out() {
    let scene = Scene::new(
        &[
            Zone::unsigned("gone.test").with("* A 127.0.0.2"),
            Zone::unsigned("refusing.test").with("* A 127.255.255.254"),
            Zone::unsigned("broken.test").but(Fault::Unreadable),
        ],
        |screening| {
            screening.lists = vec![
                list("gone.test", ListAction::Reject),
                dimed::config::List {
                    answers: vec!["127.0-255.0-255.0-255".parse().unwrap()],
                    ..list("refusing.test", ListAction::Reject)
                },
                list("broken.test", ListAction::Reject),
                list("nothing.nowhere", ListAction::Reject),
            ];
        },
    )
    .await;
    let process = scene.hismail.spawn().await;
    for address in ["192.0.2.77", "192.0.2.78", "2001:db8::1"] {
        let reply = scene.rcpt(address, "carol@plain.test").await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let log = process.log();
    for list in ["gone.test", "refusing.test"] {
        let told = format!("\"list\":\"{list}\"");
        let lines = log.lines().filter(|line| line.contains(&told));
        let events: Vec<_> = lines
            .filter(|line| line.contains("\"screening.list_unusable\""))
            .collect();
        assert_eq!(events.len(), 1, "once: {log}");
    }
    drop(process);
    assert!(scene.knot.log().contains("broken.test"));
}

/// Before anybody has come, and until it passes.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_tested_at_the_start_and_asked_again_when_it_passes() {
    let sound = Zone::unsigned("sound.test").with("2.0.0.127 A 127.0.0.2\n77.2.0.192 A 127.0.0.2");
    let all = Zone::unsigned("all.test").with("* A 127.0.0.2");
    let empty = Zone::unsigned("empty.test").with("77.9.0.192 A 127.0.0.2");
    let names = Zone::unsigned("names.test").with("invalid A 127.0.0.2\ntest A 127.0.0.2");
    let scene = Scene::new(&[sound, all, empty, names], |screening| {
        screening.lists = vec![
            list("sound.test", ListAction::Mark),
            list("all.test", ListAction::Reject),
            list("empty.test", ListAction::Reject),
            dimed::config::List {
                of: Listed::SenderDomain,
                ..list("names.test", ListAction::Reject)
            },
        ];
    })
    .await;
    let process = scene.hismail.spawn().await;
    let events = |event: &str| {
        let log = process.log();
        let lines = log.lines().filter(|line| line.contains(&format!("\"{event}\"")));
        let list = |line: &str| {
            line.split("\"list\":\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        };
        let mut lists: Vec<String> = lines.map(list).collect();
        lists.sort();
        lists
    };
    crate::support::eventually("the tests", || {
        (events("screening.list_unusable").len() == 2 && events("screening.list_odd").len() == 1)
            .then_some(())
    })
    .await;
    assert_eq!(events("screening.list_unusable"), ["all.test", "names.test"]);
    assert_eq!(events("screening.list_odd"), ["empty.test"]);
    drop(process);
    let checked = scene.hismail.cli(&["check"]).await;
    for (list, words) in [
        (
            "all.test",
            "has whom no list may have, as if everybody were in it",
        ),
        (
            "names.test",
            "has whom no list may have, as if everybody were in it",
        ),
        ("empty.test", "lacks whom every list has, as if it were no more"),
    ] {
        let sentence = format!("Look again: {list} (screening.lists) {words}: ");
        assert!(checked.contains(&sentence), "{checked}");
    }
    assert!(!checked.contains("sound.test"), "{checked}");
    let resolver = Config::load(&scene.hismail.config)
        .unwrap()
        .dns
        .resolver()
        .unwrap();
    let tested = async |zone: &str, of: Listed| {
        let list = dimed::config::List {
            of,
            ..list(zone, ListAction::Reject)
        };
        lists::test(resolver.as_ref(), &(&list).into()).await
    };
    for (zone, of, expected) in [
        ("sound.test", Listed::Address, Tested::Passed),
        ("all.test", Listed::Address, Tested::HasEverybody),
        ("all.test", Listed::SenderDomain, Tested::HasEverybody),
        ("names.test", Listed::SenderDomain, Tested::HasEverybody),
        ("empty.test", Listed::Address, Tested::LacksTestEntry),
        ("nothing.test", Listed::Address, Tested::LacksTestEntry),
    ] {
        assert_eq!(tested(zone, of).await, expected, "{zone}");
    }
}

/// Some say everything that they know in one answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_hundreds_of_addresses_is_judged() {
    let many: String = (0..300)
        .map(|n| format!("77.2.0.192 A 127.0.{}.{}\n", 1 + n / 200, 2 + n % 200))
        .collect();
    let bl = Zone::unsigned("bl.test").with(&format!("2.0.0.127 A 127.0.0.2\n{many}77.2.0.192 A 127.9.9.9"));
    let scene = Scene::new(&[bl], |screening| {
        screening.lists = vec![dimed::config::List {
            answers: vec!["127.9.9.9".parse().unwrap()],
            ..list("bl.test", ListAction::Reject)
        }];
    })
    .await;
    let served = scene.start().await;
    let reply = scene.rcpt("192.0.2.77", "carol@plain.test").await;
    assert!(
        reply.starts_with("550 5.7.1 Your address is listed by bl.test "),
        "{reply}"
    );
    served.stop().await;
}
