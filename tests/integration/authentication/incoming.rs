//! What is said of mail from other hosts, and done about it.

use std::time::Duration;

use dimed::config::{Incoming, OnQuarantine};
use dimed::net::authority::Zone;

use super::{CLIENT, Elsewhere, bring, hismail, results};
use crate::support::PATIENCE;
use crate::support::world::{World, domain};

const MESSAGE: &str =
    "From: Carol <carol@plain.test>\r\nTo: bob@hismail.test\r\nSubject: hi\r\n\r\nhello\r\n \r\n";

/// Both signatures of a field of results, which differ from run to run in their first octets only.
fn dkim(word: &str, elsewhere: &Elsewhere, message: &str) -> String {
    let starts = message.split("\r\n\tb=").skip(1).map(|rest| &rest[..8]);
    let results = elsewhere.signers.iter().zip(starts).map(|(signer, start)| {
        format!(
            "dkim={word} header.d={} header.s={} header.a={} header.b=\"{start}\"",
            signer.domain,
            signer.selector,
            signer.key.algorithm().name()
        )
    });
    results.collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_on_top_says_what_was_found_and_nobody_can_say_it_for_us() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put(
        "plain.test",
        &plain.zone(&format!("v=spf1 {CLIENT} -all"), "v=DMARC1; p=reject"),
    );
    world.put(
        "client.test",
        &Zone::unsigned(&domain("client.test"))
            .unwrap()
            .txt("", "v=spf1 ?all"),
    );
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let forged = "Authentication-Results: mx.hismail.test;\r\n dmarc=pass header.from=plain.test\r\n\
        authentication-results : (x) \"MX.hismail\\.test\" 1; dkim=pass\r\n\
        Authentication-Results: other.test; spf=pass\r\n";
    let message = format!("{forged}{}", plain.signed(MESSAGE));
    let reply = bring(&hismail, "carol@plain.test", &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let delivered = hismail.maildir("bob").only().await;
    assert_eq!(
        results(&delivered),
        [format!(
            "Authentication-Results: mx.hismail.test; spf=pass smtp.mailfrom=plain.test; \
             spf=neutral smtp.helo=client.test; {}; dmarc=pass (p=reject) header.from=plain.test",
            dkim("pass", &plain, &message)
        )]
    );
    assert_eq!(delivered.matches("mx.hismail.test;").count(), 1, "{delivered}");
    assert!(delivered.contains("Authentication-Results: other.test; spf=pass\r\n"));
    assert!(delivered.ends_with(&plain.signed(MESSAGE)[plain.signed(MESSAGE).len() - MESSAGE.len()..]));
    served.stop().await;
}

/// RFC 6376 §3.4.4: what was added at the end does not count.
#[tokio::test(flavor = "multi_thread")]
async fn lines_of_blanks_at_the_end_do_not_break_a_signature_and_anything_else_does() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put("plain.test", &plain.zone("v=spf1 -all", "v=DMARC1; p=none"));
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    for (end, word) in [(" \r\n\t\r\n\r\n", "pass"), ("x\r\n", "fail")] {
        let before = hismail.maildir("bob").messages();
        let message = plain.signed(MESSAGE) + end;
        assert!(
            bring(&hismail, "carol@plain.test", &message)
                .await
                .starts_with("250 ")
        );
        let after = hismail.maildir("bob").expect(before.len() + 1).await;
        let new = after.iter().find(|message| !before.contains(message)).unwrap();
        assert_eq!(
            results(new),
            [format!(
                "Authentication-Results: mx.hismail.test; spf=fail smtp.mailfrom=plain.test; \
                 spf=none smtp.helo=client.test; {}; dmarc={word} (p=none) header.from=plain.test",
                dkim(word, &plain, &message)
            )],
            "{end:?}"
        );
        hismail.idle().await;
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_authors_domains_are_followed_where_that_is_wanted() {
    let world = World::new().await;
    let strict = Elsewhere::new("plain.test");
    world.put(
        "plain.test",
        &strict.zone("v=spf1 -all", "v=DMARC1; p=reject; sp=quarantine"),
    );
    let hismail = hismail(&world, Incoming::Enforce).await;
    let served = hismail.start().await;
    let unsigned = bring(&hismail, "carol@plain.test", MESSAGE).await;
    assert!(unsigned.starts_with("550 5.7.1 "), "{unsigned}");
    let changed = strict.signed(MESSAGE).replace("hello", "hullo");
    let changed = bring(&hismail, "carol@plain.test", &changed).await;
    assert!(changed.starts_with("550 5.7.1 "), "{changed}");
    let passed = bring(&hismail, "carol@plain.test", &strict.signed(MESSAGE)).await;
    assert!(passed.starts_with("250 "), "{passed}");
    let delivered = hismail.maildir("bob").only().await;
    assert!(!delivered.contains("X-Spam-Flag"), "{delivered}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_suspicious_is_marked_once_the_body_is_known() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put("plain.test", &plain.zone("v=spf1 -all", "v=DMARC1; p=quarantine"));
    let hismail = hismail(&world, Incoming::Enforce).await;
    let served = hismail.start().await;
    let right = plain.signed(MESSAGE);
    let wrong = right.replace("hello", "hullo");
    for (message, flag) in [
        (right.as_str(), "X-Spam-Flag: NO "),
        (&wrong, "X-Spam-Flag: YES"),
        (MESSAGE, "X-Spam-Flag: YES"),
    ] {
        let before = hismail.maildir("bob").messages();
        assert!(
            bring(&hismail, "carol@plain.test", message)
                .await
                .starts_with("250 ")
        );
        let after = hismail.maildir("bob").expect(before.len() + 1).await;
        let new = after.iter().find(|message| !before.contains(message)).unwrap();
        assert_eq!(results(new)[1], flag);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspicious_is_held_where_the_operator_wants_that() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put("plain.test", &plain.zone("v=spf1 -all", "v=DMARC1; p=quarantine"));
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.config(|config| {
        config.authentication.incoming = Incoming::Enforce;
        config.authentication.on_quarantine = OnQuarantine::Hold;
    });
    let hismail = hismail.build().await;
    let served = hismail.start().await;
    for message in [MESSAGE, &plain.signed(MESSAGE)] {
        assert!(
            bring(&hismail, "carol@plain.test", message)
                .await
                .starts_with("250 ")
        );
    }
    assert!(hismail.maildir("bob").only().await.contains("dmarc=pass"));
    // What was delivered is noted a little later.
    let settled = async {
        while hismail.count("SELECT count(*) FROM recipients").await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
    let held: serde_json::Value =
        serde_json::from_str(&hismail.cli(&["queue", "list", "--json"]).await).unwrap();
    assert_eq!(
        (&held["held"], &held["last_note"]),
        (
            &true.into(),
            &"the author's domain asks for quarantine by DMARC".into()
        )
    );
    served.stop().await;
}

/// RFC 9989 §4.10: subdomains are of the organization whose record stands above, unless a public suffix is between.
#[tokio::test(flavor = "multi_thread")]
async fn subdomains_align_by_the_tree_of_dns() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    let zone = plain.zone(
        &format!("v=spf1 {CLIENT} -all"),
        "v=DMARC1; p=reject; np=quarantine",
    );
    let zone = zone
        .address("news", "127.0.0.9".parse().unwrap())
        .txt("strict", "v=spf1 -all")
        .txt("_dmarc.strict", "v=DMARC1; p=reject; aspf=s; adkim=s")
        .txt("_dmarc.suffix", "v=DMARC1; p=reject; psd=y")
        .txt("a.suffix", format!("v=spf1 {CLIENT} -all"));
    world.put("plain.test", &zone);
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let cases = [
        ("carol@plain.test", "news.plain.test", "pass (p=reject)"),
        ("carol@plain.test", "gone.plain.test", "pass (p=quarantine)"),
        ("carol@plain.test", "strict.plain.test", "fail (p=reject)"),
        (
            "carol@a.suffix.plain.test",
            "b.suffix.plain.test",
            "fail (p=reject)",
        ),
        (
            "carol@a.suffix.plain.test",
            "x.a.suffix.plain.test",
            "pass (p=reject)",
        ),
        ("carol@plain.test", "nothing.test", "none"),
    ];
    for (from, author, expected) in cases {
        let before = hismail.maildir("bob").messages();
        let message = format!("From: x@{author}\r\nSubject: {author}\r\n\r\nhello\r\n");
        assert!(bring(&hismail, from, &message).await.starts_with("250 "));
        let after = hismail.maildir("bob").expect(before.len() + 1).await;
        let new = after.iter().find(|message| !before.contains(message)).unwrap();
        let end = format!("dmarc={expected} header.from={author}");
        assert!(results(new)[0].ends_with(&end), "{:?}: {end}", results(new));
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_answers_for_reports_without_a_sender_and_users_are_not_examined() {
    let world = World::new().await;
    let client = Zone::unsigned(&domain("client.test")).unwrap();
    let client = client
        .txt("", format!("v=spf1 {CLIENT} -all"))
        .txt("_dmarc", "v=DMARC1; p=reject");
    world.put("client.test", &client);
    let hismail = hismail(&world, Incoming::Enforce).await;
    let served = hismail.start().await;
    let report = "From: postmaster@client.test\r\nSubject: report\r\n\r\nfailed\r\n";
    assert!(bring(&hismail, "", report).await.starts_with("250 "));
    let delivered = hismail.maildir("bob").only().await;
    assert_eq!(
        results(&delivered),
        [
            "Authentication-Results: mx.hismail.test; spf=pass smtp.helo=client.test; dkim=none; \
          dmarc=pass (p=reject) header.from=client.test"
        ]
    );
    hismail
        .submit(
            "bob",
            &["bob@hismail.test"],
            "From: bob@hismail.test\r\n\r\nme\r\n",
        )
        .await;
    let both = hismail.maildir("bob").expect(2).await;
    let own = both
        .iter()
        .find(|message| message.contains("\r\n\r\nme\r\n"))
        .unwrap();
    assert!(!own.contains("Authentication-Results"), "{own}");
    served.stop().await;
}
