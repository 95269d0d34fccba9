//! Accounts, aliases and domains that a command changes in another process: what a running daemon does from then on.

use dimed::base::encoding::base64;
use dimed::cli::Exit;

use super::submission::log_in_by_scram;
use crate::support::loopback::SUBMISSIONS;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

const BOB: &str = "bob@hismail.test";

async fn hismail(world: &World) -> Organization {
    let hismail = world.organization("hismail.test").accounts(&["bob", "eve"]);
    hismail.build().await
}

/// A session up to EHLO.
async fn greeted(hismail: &Organization) -> Talk {
    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk
}

/// Logs in with PLAIN.
async fn log_in(hismail: &Organization, user: &str, password: &str, reply: &str) -> Talk {
    let mut talk = greeted(hismail).await;
    let response = base64(format!("\0{user}\0{password}").as_bytes());
    talk.ask(&format!("AUTH PLAIN {response}"), reply).await;
    talk
}

/// A message of Bob to Eve of which the end is missing.
async fn unfinished(hismail: &Organization) -> Talk {
    let mut talk = Talk::submission(hismail.ip, BOB).await;
    talk.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
    talk.ask("RCPT TO:<eve@hismail.test>", "250").await;
    talk.ask("DATA", "354").await;
    talk.send(format!("From: {BOB}\r\nSubject: hi\r\n\r\n").as_bytes())
        .await;
    talk
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_sends_nothing_and_still_gets_mail() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let _daemon = hismail.spawn().await;
    let mut open = Talk::submission(hismail.ip, BOB).await;
    let mut sealing = Talk::submission(hismail.ip, BOB).await;
    sealing.ask("NOOP", "250").await;
    let mut begun = unfinished(&hismail).await;
    hismail.cli(&["account", "disable", BOB]).await;
    begun.send(b"x\r\n").await;
    begun.ask(".", "550 5.7.1 ").await;
    assert_eq!(hismail.maildir("eve").count(), 0);
    open.ask(&format!("MAIL FROM:<{BOB}>"), "421 4.7.0 ").await;
    log_in(&hismail, BOB, PASSWORD, "535 5.7.8").await;
    let mut talk = greeted(&hismail).await;
    let reply = log_in_by_scram(&mut talk, "n,,", b"", BOB, PASSWORD).await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
    hismail
        .submit(
            "eve",
            &[BOB],
            "From: eve@hismail.test\r\nSubject: hi\r\n\r\nx\r\n",
        )
        .await;
    hismail.maildir("bob").only().await;
    let shown = hismail.cli(&["account", "list"]).await;
    assert!(
        shown.contains("bob@hismail.test  trustful, disabled since "),
        "{shown}"
    );

    hismail.cli(&["account", "enable", BOB]).await;
    let mut open = Talk::submission(hismail.ip, BOB).await;
    open.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_the_one_before_in_every_mechanism() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let _daemon = hismail.spawn().await;
    let mut open = Talk::submission(hismail.ip, BOB).await;
    let mut begun = unfinished(&hismail).await;
    let file = hismail.folder.join("other");
    std::fs::write(&file, "battery staple\nnot this\n").unwrap();
    let file = file.to_str().unwrap();
    hismail
        .cli(&["account", "passwd", BOB, "--password-file", file])
        .await;
    begun.ask(".", "550 5.7.1 ").await;
    open.ask(&format!("MAIL FROM:<{BOB}>"), "421 4.7.0 ").await;
    for (password, reply) in [(PASSWORD, "535 5.7.8"), ("battery staple", "235")] {
        log_in(&hismail, BOB, password, reply).await;
        let mut talk = greeted(&hismail).await;
        let said = log_in_by_scram(&mut talk, "n,,", b"", BOB, password).await;
        assert!(said.starts_with(reply), "{said}");
    }
    // Nobody else's.
    log_in(&hismail, "eve@hismail.test", PASSWORD, "235").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_account_is_gone_with_its_keys_and_its_address_is_free() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let sales = "sales@hismail.test";
    for target in [BOB, "eve@hismail.test"] {
        hismail.cli(&["alias", "add", sales, target]).await;
    }
    hismail
        .cli(&["alias", "add", "info@hismail.test", "Bob@hismail.test"])
        .await;
    hismail
        .cli(&["account", "grant", BOB, "office@hismail.test"])
        .await;
    hismail.cli(&["key", "rotate", BOB]).await;
    let _daemon = hismail.spawn().await;
    let mut open = Talk::submission(hismail.ip, BOB).await;
    let mut asking = Talk::dmtp(hismail.ip, "hermail.test").await;
    asking.ask(&format!("SGNT <{BOB}>"), "250 OK [").await;

    let (exit, said) = hismail.answered(&["account", "remove", BOB]).await;
    assert_eq!(exit, Exit::No);
    assert!(said.contains("(info@hismail.test, sales@hismail.test)"), "{said}");
    open.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
    open.ask("RSET", "250").await;

    let said = hismail.cli(&["account", "remove", BOB, "--with-aliases"]).await;
    assert!(said.contains("mail for it is refused"), "{said}");
    open.ask(&format!("MAIL FROM:<{BOB}>"), "421 4.7.0 ").await;
    log_in(&hismail, BOB, PASSWORD, "535 5.7.8").await;
    let mut stranger = Talk::smtp(hismail.ip).await;
    stranger.ask("MAIL FROM:<carol@plain.test>", "250").await;
    for (address, reply) in [
        (BOB, "550 5.1.1"),
        ("info@hismail.test", "550 5.1.1"),
        (sales, "250"),
    ] {
        stranger.ask(&format!("RCPT TO:<{address}>"), reply).await;
    }
    asking.ask(&format!("SGNT <{BOB}>"), "450 ").await;
    for past in hismail.history(BOB).await {
        assert!(past.revoked_at.is_some() && !past.keys_kept);
    }
    for left in [
        "SELECT COUNT(*) FROM kem_keys WHERE name = 'bob@hismail.test'",
        "SELECT COUNT(*) FROM senders WHERE folded = 'bob@hismail.test'",
        "SELECT COUNT(*) FROM signets WHERE name = 'bob@hismail.test' AND private_keys IS NOT NULL",
    ] {
        assert_eq!(hismail.count(left).await, 0, "{left}");
    }
    hismail.add_account("bob").await;
    asking.ask(&format!("SGNT <{BOB}>"), "250 OK [").await;
    stranger.ask(&format!("RCPT TO:<{BOB}>"), "250").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_change_under_a_running_daemon() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let list = "list@hismail.test";
    for target in [BOB, "eve@hismail.test", "carol@plain.test"] {
        hismail.cli(&["alias", "add", list, target]).await;
    }
    let daemon = hismail.start().await;
    let mut asking = Talk::dmtp(hismail.ip, "hermail.test").await;
    asking.ask(&format!("SGNT <{list}>"), "250 OK [").await;
    let shown = hismail.cli(&["alias", "show", list]).await;
    let all = "bob@hismail.test, carol@plain.test, eve@hismail.test";
    assert_eq!(shown, format!("{list} leads to {all}.\nIts mail is for {all}.\n"));
    let said = hismail.cli(&["alias", "remove", list, "Carol@PLAIN.test"]).await;
    assert_eq!(
        said,
        "list@hismail.test leads to bob@hismail.test, eve@hismail.test now.\n"
    );
    hismail.cli(&["alias", "remove", list]).await;
    asking.ask(&format!("SGNT <{list}>"), "450 ").await;
    let mut stranger = Talk::smtp(hismail.ip).await;
    stranger.ask("MAIL FROM:<carol@plain.test>", "250").await;
    stranger.ask(&format!("RCPT TO:<{list}>"), "550 5.1.1").await;
    let kept = "SELECT COUNT(*) FROM signets WHERE name = 'list@hismail.test' AND private_keys IS NOT NULL";
    assert_eq!(hismail.count(kept).await, 0);
    assert_eq!(hismail.cli(&["alias", "list"]).await, "There are no aliases.\n");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_removed_when_nothing_stands_in_the_way() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    hismail.cli(&["domain", "add", "other.test"]).await;
    let daemon = hismail.start().await;
    let file = hismail.folder.join("password");
    let file = file.to_str().unwrap();
    let pat = "pat@other.test";
    hismail
        .cli(&["account", "add", pat, "--password-file", file])
        .await;
    let mut stranger = Talk::smtp(hismail.ip).await;
    stranger.ask("MAIL FROM:<carol@plain.test>", "250").await;
    for _ in 0..2 {
        stranger.ask(&format!("RCPT TO:<{pat}>"), "250").await;
    }
    for (arguments, why) in [
        (
            &["domain", "remove", "other.test"][..],
            "`dimed domain retire other.test` comes first",
        ),
        (
            &["domain", "remove", "other.test", "--at-once"],
            "(accounts: 1, aliases: 0)",
        ),
    ] {
        let (exit, said) = hismail.answered(arguments).await;
        assert_eq!(exit, Exit::No);
        assert!(said.contains(why), "{said}");
    }
    hismail.cli(&["account", "remove", pat]).await;
    hismail
        .cli(&["domain", "remove", "other.test", "--at-once"])
        .await;
    stranger.ask(&format!("RCPT TO:<{pat}>"), "550 5.7.1").await;
    let listed = hismail.cli(&["domain", "list"]).await;
    assert_eq!(listed, "hismail.test  with DIME, experimental\n");
    let keys = "SELECT (SELECT COUNT(*) FROM signets WHERE name LIKE '%other.test' AND private_keys IS NOT NULL) \
                + (SELECT COUNT(*) FROM kem_keys WHERE name LIKE '%other.test')";
    assert_eq!(hismail.count(keys).await, 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_mail_that_waits_stays() {
    let world = World::new().await;
    let patient = |config: &mut dimed::config::Config| {
        config.queue.retry_first_secs = std::num::NonZeroU64::new(3600).unwrap();
    };
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.config(patient).build().await;
    hismail.cli(&["domain", "add", "other.test", "--plain"]).await;
    let (pat, file) = ("pat@other.test", hismail.folder.join("password"));
    let add = ["account", "add", pat, "--password-file", file.to_str().unwrap()];
    hismail.cli(&add).await;
    let maildir = hismail.folder.join("data/mail/other.test");
    std::fs::create_dir_all(maildir.parent().unwrap()).unwrap();
    std::fs::write(&maildir, "in the way").unwrap();
    let daemon = hismail.start().await;
    let letter = "From: bob@hismail.test\r\nSubject: hi\r\n\r\nx\r\n";
    hismail.submit("bob", &[pat], letter).await;
    let deferred = "SELECT COUNT(*) FROM attempts";
    while hismail.count(deferred).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    hismail.cli(&["account", "remove", pat]).await;
    let (exit, said) = hismail.answered(&["domain", "remove", "other.test"]).await;
    assert_eq!(exit, Exit::No);
    assert!(said.contains("mail waits for it (1)"), "{said}");
    daemon.stop().await;
}
