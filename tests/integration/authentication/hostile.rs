//! Peers and zones that want to cost us work, or a word that we did not say.

use std::net::UdpSocket;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

use dimed::config::Incoming;
use dimed::net::authority::Zone;

use super::{CLIENT, Elsewhere, bring, hismail, results};
use crate::support::world::{World, domain};

const MESSAGE: &str = "From: carol@plain.test\r\nSubject: hi\r\n\r\nhello\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_signatures_the_first_eight_are_checked() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put("plain.test", &plain.zone("v=spf1 -all", "v=DMARC1; p=none"));
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let fake = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; d=plain.test; s=r1; h=from{}; bh={}; b=QUJD\r\n",
        ":x".repeat(20),
        "A".repeat(43)
    );
    let message = fake.repeat(1000) + &plain.signed(MESSAGE);
    let started = Instant::now();
    let reply = bring(&hismail, "carol@plain.test", &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let delivered = hismail.maildir("bob").only().await;
    let results = results(&delivered);
    assert_eq!(
        results[0].matches("dkim=fail (signature)").count(),
        8,
        "{results:?}"
    );
    assert!(!results[0].contains("dkim=pass") && results[0].contains("dmarc=fail"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_want_too_much_are_errors_and_end_soon() {
    let world = World::new().await;
    let zone = Zone::unsigned(&domain("plain.test")).unwrap();
    let giant = format!("v=DKIM1; k=rsa; p={}", "A".repeat(20_000));
    let mut zone = zone
        .txt("", "v=spf1 include:loop.plain.test -all")
        .txt("loop", "v=spf1 include:plain.test include:loop.plain.test +all")
        .txt("void", "v=spf1 a:a.plain.test a:b.plain.test a:c.plain.test +all")
        .txt("twice", "v=spf1 +all")
        .txt("twice", "v=spf1 -all")
        .txt(
            "wide",
            format!("v=spf1 {} {CLIENT} -all", "ip4:192.0.2.1 ".repeat(400)),
        )
        .txt("giant._domainkey", giant)
        .txt("_dmarc", "v=DMARC1; p=none");
    for n in 0..11 {
        zone = zone.txt(
            &format!("chain{n}"),
            format!("v=spf1 redirect=chain{}.plain.test", n + 1),
        );
    }
    let zone = zone.txt("chain11", "v=spf1 +all");
    world.put("plain.test", &zone);
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let signature = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; d=plain.test; s=giant; h=from; bh={}; b=QUJD\r\n",
        "A".repeat(43)
    );
    for (host, expected) in [
        ("", "permerror"),
        ("loop.", "permerror"),
        ("void.", "permerror"),
        ("twice.", "permerror"),
        ("wide.", "permerror"),
        ("chain0.", "permerror"),
        ("chain1.", "pass"),
    ] {
        let before = hismail.maildir("bob").messages();
        let message = format!("{signature}X-Case: {host}\r\n{MESSAGE}");
        let started = Instant::now();
        assert!(
            bring(&hismail, &format!("carol@{host}plain.test"), &message)
                .await
                .starts_with("250 ")
        );
        assert!(started.elapsed() < Duration::from_secs(20));
        let after = hismail.maildir("bob").expect(before.len() + 1).await;
        let new = after.iter().find(|message| !before.contains(message)).unwrap();
        let field = &results(new)[0];
        assert!(
            field.contains(&format!("; spf={expected} smtp.mailfrom={host}plain.test;")),
            "{field}"
        );
        assert!(
            field.contains("; dkim=permerror (key unusable) header.d=plain.test"),
            "{field}"
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_that_does_not_answer_proves_nothing_and_disproves_nothing() {
    for incoming in [Incoming::Mark, Incoming::Enforce] {
        let world = World::new().await;
        let plain = Elsewhere::new("plain.test");
        // Takes questions and never answers.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let builder = world.organization("hismail.test").accounts(&["bob"]);
        let builder = builder.config(move |config| {
            config.authentication.incoming = incoming;
            config.dns.servers = vec![address];
            config.dns.rounds = NonZeroU32::MIN;
            config.dns.reply_timeout_secs = NonZeroU64::MIN;
        });
        let hismail = builder.build().await;
        let served = hismail.start().await;
        let reply = bring(&hismail, "carol@plain.test", &plain.signed(MESSAGE)).await;
        match incoming {
            Incoming::Mark => {
                assert!(reply.starts_with("250 "), "{reply}");
                let delivered = hismail.maildir("bob").only().await;
                let field = &results(&delivered)[0];
                assert_eq!(field.matches("=temperror").count(), 5, "{field}");
                assert!(!field.contains("pass"), "{field}");
            }
            _ => assert!(reply.starts_with("451 4.7.1 "), "{reply}"),
        }
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_names_its_author_in_two_ways_is_refused_or_said_to_be_so() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put(
        "plain.test",
        &plain.zone(&format!("v=spf1 {CLIENT} -all"), "v=DMARC1; p=reject"),
    );
    let froms = [
        "From: carol@plain.test\r\nFrom: mallory@evil.test\r\n",
        "From: carol@plain.test\r\nfrom : carol@plain.test\r\n",
        "From: \"carol@plain.test\r\n",
        "From: <carol@plain.test> <mallory@evil.test>\r\n",
        "From:\r\n",
        "To: bob@hismail.test\r\n",
        "From: carol@plain.test\r\nno field\r\nFrom: mallory@evil.test\r\n",
        "From: carol@plain.test, dave@other.test\r\n",
    ];
    let strict = hismail(&world, Incoming::Enforce).await;
    let served = strict.start().await;
    for from in froms {
        let reply = bring(&strict, "carol@plain.test", &format!("{from}\r\nhello\r\n")).await;
        assert!(
            reply.starts_with("550 5.7.1 The header must consist of fields"),
            "{from}: {reply}"
        );
    }
    served.stop().await;
}

/// DMARC is silent about authors of several domains (RFC 9989 §5.3.1).
#[tokio::test(flavor = "multi_thread")]
async fn authors_of_several_domains_are_said_to_be_so() {
    let world = World::new().await;
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let several = "From: carol@plain.test, dave@other.test\r\n\r\nhello\r\n";
    let reply = bring(&hismail, "carol@plain.test", several).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        results(&delivered)[0].ends_with("dmarc=permerror (no single author domain)"),
        "{delivered}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_peer_says_becomes_a_result() {
    let world = World::new().await;
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let tricks = [
        "d=plain.test; s=x dmarc=pass",
        "d=plain.test;dmarc=pass; s=x",
        "d=plain.test; s=x\r\n\t;\r\n\tdmarc=pass",
        "d=(x) plain.test; s=x",
        "d=pl\"ain.test; s=x",
    ];
    let hash = "A".repeat(43);
    let signatures = tricks
        .map(|trick| format!("DKIM-Signature: v=1; a=rsa-sha256; {trick}; h=from; bh={hash}; b=QUJD\r\n"));
    let message = format!(
        "{}From: \"dmarc=pass header.from=plain.test\" <x@nothing.test>\r\n\r\nhello\r\n",
        signatures.concat()
    );
    assert!(
        bring(&hismail, "\"spf=pass;dmarc=pass\"@nothing.test", &message)
            .await
            .starts_with("250 ")
    );
    let delivered = hismail.maildir("bob").only().await;
    let field = &results(&delivered)[0];
    assert!(!field.contains("pass"), "{field}");
    assert!(field.ends_with("dmarc=none header.from=nothing.test"), "{field}");
    served.stop().await;
}
