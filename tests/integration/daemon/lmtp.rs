//! Mail for accounts of ours that a mailbox server keeps, by LMTP.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use dimed::config::Local;
use dimed::net::service::Service;

use super::privacy::assert_absent_at_rest;
use crate::support::PATIENCE;
use crate::support::mailbox_server::{MailboxServer, Script};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    Subject: in\r\n\r\n.a dot\r\nhello\r\n";

fn socket(world: &World) -> PathBuf {
    world.home().join("lmtp")
}

/// A domain whose mail the mailbox server gets.
async fn organization(world: &World, name: &str, locals: &[&str]) -> Organization {
    world
        .organization(name)
        .accounts(locals)
        .config(|config| {
            config.delivery.local = Local::Lmtp;
            config.delivery.lmtp = Some(Service::Unix(socket(world)));
        })
        .build()
        .await
}

async fn served_by(world: &World, script: Script) -> (MailboxServer, Organization) {
    let server = MailboxServer::start(&socket(world), script);
    let locals = ["alice", "bob", "carol", "dave"];
    (server, organization(world, "hermail.test", &locals).await)
}

/// Waits until the queue says those words.
async fn until_listed(organization: &Organization, words: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = organization.cli(&["queue", "list"]).await;
        if listed.contains(words) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "no {words:?} in {listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const TO: [&str; 3] = ["bob@hermail.test", "carol@hermail.test", "dave@hermail.test"];

/// RFC 2033 §4.2.
#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_settles_by_its_own_reply() {
    let world = World::new().await;
    let (server, hermail) = served_by(
        &world,
        &[
            ("carol@hermail.test", "452 4.2.2 full today"),
            ("dave@hermail.test", "552 5.2.2 full for good"),
        ],
    )
    .await;
    let served = hermail.start().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    let handed = server.handed(3).await;
    assert_eq!(handed[0].mail, "<alice@hermail.test>");
    assert_eq!(handed[0].rcpt, TO, "one transaction for all");
    assert!(handed[0].message.ends_with("\r\n\r\n.a dot\r\nhello\r\n"));
    assert!(!handed[0].message.contains("Return-Path"), "the server adds it");
    let bounce = handed.iter().find(|handed| handed.mail == "<>").unwrap();
    assert_eq!(bounce.rcpt, ["alice@hermail.test"]);
    let report = bounce.message.replace("\r\n\t", " ").replace("\r\n ", " ");
    assert!(
        report.contains("Final-Recipient: rfc822; dave@hermail.test") && report.contains("Status: 5.2.2"),
        "{report}"
    );
    assert!(!report.contains("bob@") && !report.contains("carol@"), "{report}");
    // The mailbox server is a part of this host (RFC 3464 §2.3.5, §2.3.6).
    for field in [
        "Remote-MTA: dns; mx.hermail.test\r\n",
        "Diagnostic-Code: smtp; 552 5.2.2 full for good\r\n",
    ] {
        assert!(report.contains(field), "{report}");
    }
    let again = handed[1..].iter().find(|handed| handed.mail != "<>").unwrap();
    assert_eq!(again.rcpt, ["carol@hermail.test"]);
    hermail.idle().await;
    assert_eq!(server.handed(3).await.len(), 3);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_refused_at_rcpt_does_not_keep_the_others_from_their_mail() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[("carol@hermail.test", "rcpt 550 5.1.1 who?")]).await;
    let served = hermail.start().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    let handed = server.handed(2).await;
    assert_eq!(handed[0].rcpt, [TO[0], TO[2]]);
    assert!(handed[1].message.contains("Status: 5.1.1"), "{:?}", handed[1]);
    hermail.idle().await;
    served.stop().await;
}

/// What was answered counts; who was not is tried again, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_between_the_replies_leaves_only_the_unanswered() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[("carol@hermail.test", "close")]).await;
    let served = hermail.start().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    server.handed(2).await;
    hermail.idle().await;
    let handed = server.handed(2).await;
    assert_eq!(handed[0].rcpt, TO);
    // Each at its own time, or together.
    let again = handed[1..].iter().flat_map(|handed| handed.rcpt.clone());
    let mut again: Vec<_> = again.collect();
    again.sort();
    assert_eq!(again, TO[1..]);
    assert_eq!(handed[0].message, handed[1].message);
    served.stop().await;
}

/// The time of the attempt is over while the server keeps silent: what it said before counts.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_served_before_the_attempt_was_cut_off_is_not_served_again() {
    let world = World::new().await;
    let server = MailboxServer::start(&socket(&world), &[("carol@hermail.test", "hush")]);
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob", "carol", "dave"])
        .config(|config| {
            config.delivery.local = Local::Lmtp;
            config.delivery.lmtp = Some(Service::Unix(socket(&world)));
            config.queue.lease_secs = NonZeroU64::new(4).unwrap();
            config.queue.retry_first_secs = NonZeroU64::new(1).unwrap();
        })
        .build()
        .await;
    let served = hermail.start().await;
    hermail.submit("alice", &TO, MESSAGE).await;
    server.handed(2).await;
    hermail.idle().await;
    let handed = server.handed(2).await;
    assert_eq!(handed[0].rcpt, TO);
    let again = handed[1..].iter().flat_map(|handed| handed.rcpt.clone());
    let mut again: Vec<_> = again.collect();
    again.sort();
    assert_eq!(again, TO[1..], "bob has it");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_messages_share_a_session_with_the_mailbox_server() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[]).await;
    let served = hermail.start().await;
    for count in 1..=5 {
        hermail.submit("alice", &["bob@hermail.test"], MESSAGE).await;
        server.handed(count).await;
        hermail.idle().await;
    }
    assert_eq!(server.sessions(), 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_and_a_detail_lead_to_the_account_and_it_gets_one_copy() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[]).await;
    let alias = ["alias", "add", "team@hermail.test"];
    for target in ["bob@hermail.test", "carol@hermail.test"] {
        hermail.cli(&[&alias[..], &[target]].concat()).await;
    }
    let served = hermail.start().await;
    let to = ["team@hermail.test", "bob+shop@hermail.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    let handed = server.handed(1).await;
    assert_eq!(handed[0].rcpt, ["bob@hermail.test", "carol@hermail.test"]);
    hermail.idle().await;
    assert_eq!(server.handed(1).await.len(), 1);
    served.stop().await;
}

fn named(message: &str) -> Vec<&str> {
    let fields = message.lines().take_while(|line| !line.is_empty());
    fields
        .filter_map(|line| line.strip_prefix("X-Original-To: "))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mailbox_server_is_told_by_which_address_somebody_was_named() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[]).await;
    for target in ["carol@hermail.test", "dave@hermail.test"] {
        hermail.cli(&["alias", "add", "team@hermail.test", target]).await;
    }
    let served = hermail.start().await;
    let to = ["alice@hermail.test", "bob+shop@hermail.test", "team@hermail.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    let mut handed = server.handed(3).await;
    handed.sort_by(|a, b| a.rcpt.cmp(&b.rcpt));
    let told: Vec<_> = handed
        .iter()
        .map(|handed| (handed.rcpt.join(" "), named(&handed.message)))
        .collect();
    assert_eq!(
        told,
        [
            ("alice@hermail.test".to_owned(), vec![]),
            ("bob+shop@hermail.test".to_owned(), vec!["bob+shop@hermail.test"]),
            (
                "carol@hermail.test dave@hermail.test".to_owned(),
                vec!["team@hermail.test"]
            ),
        ]
    );
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_server_that_knows_no_details_gets_the_account() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[("bob+shop@hermail.test", "rcpt 550 5.1.1 who?")]).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["bob+shop@hermail.test"], MESSAGE).await;
    let handed = server.handed(1).await.remove(0);
    assert_eq!(handed.rcpt, ["bob@hermail.test"]);
    assert_eq!(named(&handed.message), ["bob+shop@hermail.test"]);
    hermail.idle().await;
    assert_eq!(server.handed(1).await.len(), 1);
    served.stop().await;
}

/// RFC 6531 §3.5. It would come back otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_in_utf8_is_refused_where_the_mailbox_server_does_not_take_such() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[]).await;
    let served = hermail.start().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    for _ in 0..2 {
        talk.ask("MAIL FROM:<jürgen@plain.test> SMTPUTF8", "250").await;
        talk.ask("RCPT TO:<bob@hermail.test>", "550 5.6.7 ").await;
        talk.ask("RSET", "250").await;
    }
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hermail.test>", "250").await;
    assert_eq!(server.sessions(), 1, "it is asked once");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_can_have_maildirs_beside_the_mailbox_server() {
    let world = World::new().await;
    let server = MailboxServer::start(&socket(&world), &[]);
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| {
            config.delivery.lmtp = Some(Service::Unix(socket(&world)));
            config.delivery.domains = [(domain("other.test"), Local::Lmtp)].into();
        })
        .build()
        .await;
    hermail.cli(&["domain", "add", "other.test", "--plain"]).await;
    let alias = ["alias", "add", "bob@other.test", "bob@hermail.test"];
    hermail.cli(&alias).await;
    let password = hermail.folder.join("password");
    let password = password.to_str().unwrap();
    hermail
        .cli(&["account", "add", "carol@other.test", "--password-file", password])
        .await;
    let served = hermail.start().await;
    let to = ["bob@hermail.test", "carol@other.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    assert!(
        hermail
            .maildir("bob")
            .only()
            .await
            .starts_with("Return-Path: <alice@")
    );
    assert_eq!(server.handed(1).await[0].rcpt, ["carol@other.test"]);
    hermail.idle().await;
    served.stop().await;
}

/// A quota is for Maildirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_mailbox_server_alone_says_what_is_too_much() {
    let world = World::new().await;
    let (server, hermail) = served_by(&world, &[]).await;
    hermail
        .cli(&["account", "quota", "bob@hermail.test", "64K"])
        .await;
    let served = hermail.start().await;
    let mut talk = Talk::smtp(hermail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test> SIZE=70000", "250").await;
    talk.ask("RCPT TO:<bob@hermail.test>", "250").await;
    served.stop().await;
    // And operators are told where to look.
    let place = format!("unix:{}", socket(&world).display());
    for (arguments, words) in [
        (
            &["account", "quota", "bob@hermail.test"][..],
            "which has quotas of its own",
        ),
        (
            &["account", "show", "bob@hermail.test"],
            "as the mailbox server has it",
        ),
        (&["route", "explain", "bob@hermail.test"], "delivery   by LMTP to"),
        (
            &["account", "remove", "bob@hermail.test"],
            "stays with the mailbox server",
        ),
    ] {
        let said = hermail.cli(arguments).await;
        assert!(said.contains(words) && said.contains(&place), "{said}");
    }
    let said = hermail.cli(&["check"]).await;
    assert!(!said.contains("delivery.lmtp"), "the server is there: {said}");
    drop(server);
    std::fs::remove_file(socket(&world)).unwrap();
    let said = hermail.cli(&["check"]).await;
    assert!(
        said.contains("(delivery.lmtp) takes no mail now (the mailbox server cannot be reached)"),
        "{said}"
    );
}

/// DESIGN.md §7: while opened mail waits, both ends exist only inside one ciphertext.
#[tokio::test(flavor = "multi_thread")]
async fn opened_mail_that_waits_for_the_mailbox_server_shows_no_end_of_it() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alicia-planted"]);
    let hermail = hermail.build().await;
    let hismail = organization(&world, "hismail.test", &["robert-planted"]).await;
    let (here, there) = (hermail.start().await, hismail.spawn().await);
    let message = MESSAGE
        .replace("alice", "alicia-planted")
        .replace("hello", "palladium-body");
    let to = ["robert-planted@hismail.test"];
    hermail.submit("alicia-planted", &to, &message).await;
    // Nobody is there yet.
    hermail.idle().await;
    until_listed(&hismail, "the mailbox server cannot be reached").await;
    let hidden = ["alicia-planted", "palladium-body"];
    assert_absent_at_rest(&hismail, &hidden);
    let server = MailboxServer::start(&socket(&world), &[]);
    let handed = server.handed(1).await.remove(0);
    assert_eq!(handed.mail, "<alicia-planted@hermail.test>");
    assert_eq!(handed.rcpt, to);
    assert!(handed.message.contains("palladium-body") && handed.message.contains("DIME-Verification:"));
    hismail.idle().await;
    assert_absent_at_rest(&hismail, &hidden);
    let log = there.log();
    for name in ["alicia-planted", "robert-planted", "palladium"] {
        assert!(!log.contains(name), "{name} is logged");
    }
    here.stop().await;
}

/// A mailbox server that refuses opened mail is not the one to tell the author's server who the recipient is.
#[tokio::test(flavor = "multi_thread")]
async fn opened_mail_that_the_mailbox_server_refuses_goes_back_sealed() {
    const REFUSED: Script = &[(
        "robert-planted@hismail.test",
        "550 5.1.1 robert-planted has no mailbox",
    )];
    let world = World::new().await;
    let server = MailboxServer::start(&socket(&world), REFUSED);
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail
        .config(|config| config.queue.retry_first_secs = NonZeroU64::new(1).unwrap())
        .build()
        .await;
    let hismail = organization(&world, "hismail.test", &["robert-planted"]).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail
        .submit("alice", &["robert-planted@hismail.test"], MESSAGE)
        .await;
    server.handed(1).await;
    let bounce = hermail.maildir("alice").only().await;
    assert!(bounce.contains("Status: 5.1.1"), "{bounce}");
    assert!(!bounce.contains("has no mailbox"), "{bounce}");
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}

/// From elsewhere and from a colleague, for a user who keeps the keys.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_letters_go_to_the_mailbox_server_in_their_wrapper() {
    let world = World::new().await;
    let server = MailboxServer::start(&socket(&world), &[]);
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.build().await;
    let hismail = organization(&world, "hismail.test", &["bob"]).await;
    super::keys_at_home::add_paranoid(&hismail, &world, "pat").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["pat@hismail.test"], MESSAGE).await;
    server.handed(1).await;
    let letter = MESSAGE.replace("alice@hermail.test", "bob@hismail.test");
    hismail.submit("bob", &["pat@hismail.test"], &letter).await;
    for handed in server.handed(2).await {
        assert_eq!(handed.rcpt, ["pat@hismail.test"]);
        let (header, body) = handed.message.split_once("\r\n\r\n").unwrap();
        assert!(header.contains("Content-Type: application/vnd.dime"), "{header}");
        let shown = format!("{}{header}{body}", handed.mail);
        assert!(!shown.contains("alice") && !shown.contains("bob@"), "{shown}");
    }
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}
