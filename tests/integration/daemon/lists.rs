//! Addresses of sealed mail that stand for several people, which is found out when the mail is delivered.

use std::path::PathBuf;

use dimed::config::Local;
use dimed::net::service::Service;

use super::mapping::opened;
use crate::support::loopback::Loopback;
use crate::support::mailbox_server::MailboxServer;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::world::World;

const MIME: &[u8] =
    b"Date: Tue, 3 Jun 2025 10:00:00 +0000\r\nFrom: alice@hermail.test\r\n\r\nto all of you\r\n";

fn socket(world: &World) -> PathBuf {
    world.home().join("lmtp")
}

async fn hismail(world: &World, list: &[&str]) -> Organization {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "carol"])
        .config(|config| {
            config.delivery.local = Local::Lmtp;
            config.delivery.lmtp = Some(Service::Unix(socket(world)));
        })
        .build()
        .await;
    for target in list {
        hismail.cli(&["alias", "add", "all@hismail.test", target]).await;
    }
    hismail
}

/// Not one for whom another has to wait, and nobody twice because another got nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_list_has_a_fate_of_its_own() {
    let world = World::new().await;
    let replies = &[
        ("carol@hismail.test", "452 4.2.2 full today"),
        ("carol@hismail.test", "452 4.2.2 still full"),
    ];
    let server = MailboxServer::start(&socket(&world), replies);
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let list = ["bob@hismail.test", "carol@hismail.test", "pat@plain.test"];
    let hismail = hismail(&world, &list).await;
    opened(&hismail, "all@hismail.test", MIME).await;
    let served = hismail.start().await;
    assert_eq!(sink.taken(1).await[0].rcpt, ["<pat@plain.test>"]);
    let handed = server.handed(3).await;
    assert_eq!(handed[0].rcpt, ["bob@hismail.test", "carol@hismail.test"]);
    hismail.idle().await;
    for later in &server.handed(3).await[1..] {
        assert_eq!(later.rcpt, ["carol@hismail.test"]);
        assert_eq!(later.message, handed[0].message);
    }
    assert_eq!(sink.taken(1).await.len(), 1);
    served.stop().await;
}

/// `dmime2.md` §12: by the domain that took it, and once.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_several_of_a_list_is_returned_once_by_the_domain_it_was_for() {
    let world = World::new().await;
    let replies = &[
        ("bob@hismail.test", "552 5.2.2 full for good"),
        ("ben@other.test", "552 5.2.2 full for good"),
    ];
    let server = MailboxServer::start(&socket(&world), replies);
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.build().await;
    let hismail = hismail(&world, &[]).await;
    hismail.cli(&["domain", "add", "other.test", "--plain"]).await;
    let password = hismail.folder.join("password");
    let password = password.to_str().unwrap();
    hismail
        .cli(&["account", "add", "ben@other.test", "--password-file", password])
        .await;
    for target in ["bob@hismail.test", "ben@other.test"] {
        hismail.cli(&["alias", "add", "all@hismail.test", target]).await;
    }
    let (here, there) = (hermail.start().await, hismail.start().await);
    let letter = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\n\
        Date: Tue, 3 Jun 2025 10:00:00 +0000\r\nSubject: in\r\n\r\nhello\r\n";
    hermail.submit("alice", &["all@hismail.test"], letter).await;
    server.handed(2).await;
    let report = hermail.maildir("alice").only().await;
    assert!(report.contains("Status: 5.2.2"), "{report}");
    hismail.idle().await;
    hermail.idle().await;
    hermail.maildir("alice").only().await;
    here.stop().await;
    there.stop().await;
}
