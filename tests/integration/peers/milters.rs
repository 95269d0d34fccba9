//! Postfix with milters before us and behind us, which shows that they work and that they agree with us.

use std::net::SocketAddr;

use dimed::config::Incoming;
use dimed::net::authority::Zone;
use serde_json::Value;

use super::opendkim::OpenDkim;
use super::postfix::Postfix;
use super::rspamd::{CLEAN, Rspamd, SPAM, SUSPICIOUS};
use super::{Mta, bring, hard_messages};
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

/// Postfix that fails if the milter does.
async fn postfix(world: &World, milter: SocketAddr) -> Postfix {
    let (ip, port) = (milter.ip(), milter.port());
    let more = format!("smtpd_milters = inet:{ip}:{port}\nmilter_default_action = tempfail\n");
    Postfix::start_with(world.name_server(), |_| more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn we_take_the_signatures_of_opendkim() {
    let world = World::new().await;
    let opendkim = OpenDkim::signing().await;
    let zone = Zone::unsigned(&domain("plain.test")).unwrap();
    let zone = zone.txt("od._domainkey", opendkim.record());
    world.put("plain.test", &zone);
    let hismail = world.organization("hismail.test").plain().accounts(&["bob"]);
    let hismail = hismail
        .config(|config| config.authentication.incoming = Incoming::Mark)
        .build()
        .await;
    let served = hismail.start().await;
    let postfix = postfix(&world, opendkim.milter()).await;
    let messages = hard_messages("carol@plain.test");
    for octets in &messages {
        bring(postfix.ip(), "carol@plain.test", "bob@hismail.test", octets).await;
    }
    for delivered in hismail.maildir("bob").expect_octets(messages.len()).await {
        let delivered = String::from_utf8_lossy(&delivered);
        let (results, _) = delivered.split_once("Received:").unwrap();
        assert!(
            results.contains("dkim=pass header.d=plain.test header.s=od"),
            "{delivered}"
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opendkim_takes_our_signatures() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").plain();
    let hermail = hermail.accounts(&["alice"]).build().await;
    hermail.cli(&["dkim", "add", "hermail.test"]).await;
    hermail.publish_texts(&world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    let listed = hermail.cli(&["dkim", "list", "hermail.test", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["keys"].as_array().unwrap().iter().map(|key| {
        let selector = key["selector"].as_str().unwrap();
        let record = key["record"].as_str().unwrap();
        (format!("{selector}._domainkey.hermail.test"), record.to_owned())
    });
    let keys: Vec<_> = keys.collect();
    let opendkim = OpenDkim::verifying(&keys).await;
    let postfix = postfix(&world, opendkim.milter()).await;
    world.plain_domain("plain.test", postfix.ip());
    let served = hermail.start().await;
    let message = "From:  alice \t <alice@hermail.test>\r\nSubject: long\r\n\tand folded\r\n\r\n a  b \r\n\r\nend\r\n \r\n\t\r\n\r\n";
    hermail.submit("alice", &["carol@plain.test"], message).await;
    let taken = postfix.maildir().only().await;
    let unfolded = taken.replace("\n\t", " ");
    let results = |line: &&str| line.starts_with("Authentication-Results: mx.plain.test;");
    let results: Vec<&str> = unfolded.lines().filter(results).collect();
    assert!(!results.is_empty(), "{taken}");
    for line in results {
        assert!(line.contains("dkim=pass") && !line.contains("fail"), "{line}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rspamd_tells_spam_from_mail() {
    let world = World::new().await;
    let rspamd = Rspamd::start().await;
    let postfix = postfix(&world, rspamd.milter()).await;
    let mut talk = Talk::smtp(postfix.ip()).await;
    let mut sent = Vec::new();
    for message in [CLEAN, SUSPICIOUS, SPAM] {
        let reply = talk
            .transfer("carol@plain.test", &["bob@plain.test"], message)
            .await;
        sent.push(reply[..3].to_owned());
    }
    assert_eq!(sent, ["250", "250", "554"], "{}", rspamd.log());
    let taken = postfix.maildir().expect(2).await;
    let marked = taken.iter().filter(|message| message.contains("\nX-Spam: Yes\n"));
    let marked: Vec<_> = marked.collect();
    assert_eq!(marked.len(), 1, "{taken:?}");
    assert!(marked[0].contains("\nSubject: suspicious\n"));
}
