//! Filters of others before our own sessions: rspamd by milter and by HTTP, and OpenDKIM over a socket and a port.

use dimed::config::{Action, Filter, FilterProtocol, FilteredMail, Incoming};
use dimed::net::service::Service;
use serde_json::Value;

use super::large_message;
use super::opendkim::OpenDkim;
use super::rspamd::{CLEAN, Rspamd, SPAM, SUSPICIOUS};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

async fn hismail(world: &World, filters: Vec<Filter>) -> Organization {
    let hismail = world.organization("hismail.test").plain().accounts(&["bob"]);
    hismail
        .config(|config| config.filtering.filters.clone_from(&filters))
        .build()
        .await
}

/// The replies to messages in one session.
async fn replies(hismail: &Organization, messages: &[&str]) -> Vec<String> {
    let mut talk = Talk::smtp(hismail.ip).await;
    let mut replies = Vec::new();
    for message in messages {
        let reply = talk
            .transfer("mallory@plain.test", &["bob@hismail.test"], message)
            .await;
        replies.push(reply);
    }
    replies
}

fn codes(replies: &[String]) -> Vec<&str> {
    replies.iter().map(|reply| &reply[..3]).collect()
}

/// Mail that rspamd judges, of which the second message is refused with `refusal`, and the suspicious one has `mark`. The replies.
async fn judged(rspamd: &Rspamd, filter: Filter, refusal: &str, mark: &str) -> Vec<String> {
    let world = World::new().await;
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    let large = String::from_utf8(large_message("carol@plain.test", 3_000_000)).unwrap();
    let sent = replies(&hismail, &[CLEAN, SPAM, SUSPICIOUS, &large]).await;
    assert_eq!(
        codes(&sent),
        ["250", refusal, "250", "250"],
        "{sent:?}{}",
        rspamd.log()
    );
    let taken = hismail.maildir("bob").expect(3).await;
    for message in &taken {
        let is_suspicious = message.contains("\nSubject: suspicious\r\n");
        assert_eq!(message.contains(mark), is_suspicious, "{message:.2000}");
    }
    let (_, body) = large.split_once("\r\n\r\n").unwrap();
    assert!(taken.iter().any(|message| message.ends_with(body)));
    served.stop().await;
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn rspamd_judges_our_mail_by_milter() {
    let rspamd = Rspamd::start().await;
    let filter = Filter::new("rspamd", FilterProtocol::Milter, Service::Tcp(rspamd.milter()));
    let sent = judged(&rspamd, filter, "554", "X-Spam: Yes\r\n").await;
    assert!(sent[1].contains("Gtube pattern"), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rspamd_judges_our_mail_by_http() {
    let rspamd = Rspamd::start().await;
    let filter = Filter::new("rspamd", FilterProtocol::Rspamd, Service::Tcp(rspamd.http()));
    let sent = judged(&rspamd, filter, "550", "X-Spam-Flag: YES\r\n").await;
    assert!(sent[1].starts_with("550 5.7.1 Gtube pattern"), "{sent:?}");
    let log = rspamd.log();
    assert!(
        log.contains("from: <mallory@plain.test>") && log.contains("rcpts: <bob@hismail.test>"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rspamd_rejects_can_be_held_and_a_rspamd_that_is_gone_puts_mail_off() {
    let world = World::new().await;
    let rspamd = Rspamd::start().await;
    let filter = Filter {
        on_reject: Action::Quarantine,
        ..Filter::new("rspamd", FilterProtocol::Rspamd, Service::Tcp(rspamd.http()))
    };
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    assert_eq!(codes(&replies(&hismail, &[SPAM]).await), ["250"]);
    let held: Value = serde_json::from_str(&hismail.cli(&["queue", "list", "--json"]).await).unwrap();
    let note = held["last_note"].as_str().unwrap();
    assert!(
        note.starts_with("filter rspamd says reject (score ") && note.ends_with("): Gtube pattern"),
        "{note}"
    );
    let id = held["message"].as_str().unwrap();
    let stored = hismail.cli(&["queue", "show", id, "--message"]).await;
    assert!(
        stored.contains("X-Spamd-Result: default: ") && stored.contains("GTUBE("),
        "{stored}"
    );
    drop(rspamd);
    assert_eq!(replies(&hismail, &[CLEAN]).await[0][..9], *"451 4.3.0");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opendkim_verifies_our_signatures_as_our_filter() {
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
    let opendkim = OpenDkim::verifying(&keys.collect::<Vec<_>>()).await;
    let filter = Filter::new(
        "opendkim",
        FilterProtocol::Milter,
        Service::Tcp(opendkim.milter()),
    );
    let hismail = hismail(&world, vec![filter]).await;
    let (ours, theirs) = (hermail.start().await, hismail.start().await);
    let message =
        "From:  alice \t <alice@hermail.test>\r\nSubject: long\r\n\tand folded\r\n\r\n a  b \r\n\r\nend\r\n";
    hermail.submit("alice", &["bob@hismail.test"], message).await;
    let taken = hismail.maildir("bob").only().await.replace("\r\n\t", " ");
    let results = taken
        .lines()
        .filter(|line| line.starts_with("Authentication-Results: mx.plain.test;"));
    let results: Vec<_> = results.collect();
    assert!(!results.is_empty(), "{taken}");
    for line in results {
        assert!(line.contains("dkim=pass") && !line.contains("fail"), "{line}");
    }
    ours.stop().await;
    theirs.stop().await;
}

/// One signs over a Unix socket, the next one verifies what it sees then.
#[tokio::test(flavor = "multi_thread")]
async fn opendkim_signs_for_our_users_and_the_next_filter_sees_it() {
    let world = World::new().await;
    let (signing, socket) = OpenDkim::signing_on_a_socket().await;
    let record = (String::from("od._domainkey.plain.test"), signing.record());
    let verifying = OpenDkim::verifying(&[record]).await;
    let filters = vec![
        Filter::new("signing", FilterProtocol::Milter, Service::Unix(socket)),
        Filter::new(
            "verifying",
            FilterProtocol::Milter,
            Service::Tcp(verifying.milter()),
        ),
    ];
    let filters = filters.into_iter().map(|filter| Filter {
        mail: [FilteredMail::Submission].into(),
        ..filter
    });
    let filters: Vec<_> = filters.collect();
    let plain = world
        .organization("plain.test")
        .plain()
        .accounts(&["carol", "dave"]);
    let plain = plain.config(|config| {
        config.filtering.filters.clone_from(&filters);
        config.authentication.incoming = Incoming::Off;
    });
    let plain = plain.build().await;
    let served = plain.start().await;
    let message = "From: carol@plain.test\r\nSubject: long\r\n\tand folded\r\n\r\n a  b \r\n\r\nend\r\n";
    plain.submit("carol", &["dave@plain.test"], message).await;
    let taken = plain.maildir("dave").only().await;
    assert!(
        taken.contains("DKIM-Signature: ") && taken.contains("s=od;"),
        "{taken}"
    );
    assert!(taken.contains("dkim=pass"), "{taken}");
    served.stop().await;
}
