//! Postfix as the main host of a domain whose mail we take while it is down, and whom we ask for recipients.

use dimed::net::authority::Zone;

use super::Mta as _;
use super::postfix::Postfix;
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

#[tokio::test(flavor = "multi_thread")]
async fn postfix_is_asked_whom_it_knows_and_gets_their_mail() {
    let world = World::new().await;
    let only_carol =
        |_: &super::seat::Seat| "virtual_mailbox_maps = inline:{carol@plain.test=all/}\n".to_owned();
    let postfix = Postfix::start_with(world.name_server(), only_carol).await;
    let zone = Zone::unsigned(&domain("plain.test")).unwrap();
    let zone = zone
        .address("mx", postfix.ip())
        .mx("", 10, &domain("mx.plain.test"));
    world.put("plain.test", &zone.mx("", 20, &domain("mx.backup.test")));
    let backup = world
        .organization("backup.test")
        .plain()
        .accounts(&["bob"])
        .build()
        .await;
    backup.cli(&["domain", "add", "plain.test", "--relay"]).await;
    let served = backup.start().await;
    let mut talk = Talk::smtp(backup.ip).await;
    talk.ask("MAIL FROM:<eve@elsewhere.test>", "250").await;
    talk.ask("RCPT TO:<nobody@plain.test>", "550 5.1.1 ").await;
    talk.ask("RCPT TO:<carol@plain.test>", "250 2.1.5 ").await;
    talk.data("From: eve@elsewhere.test\r\nSubject: for carol\r\n\r\nhello\r\n")
        .await;
    let mail = postfix.maildir().only().await;
    assert!(mail.contains("Subject: for carol"), "{mail}");
    let log = postfix.log();
    assert!(
        log.contains("from=<> to=<nobody@plain.test>")
            && log.contains("User unknown in virtual mailbox table"),
        "{log}"
    );
    backup.idle().await;
    served.stop().await;
}
