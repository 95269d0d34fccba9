//! Dovecot keeps the mail that we hand it over by LMTP.

use dimed::config::Local;
use dimed::net::service::Service;

use super::dovecot::Dovecot;
use crate::support::organization::Organization;
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
    Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\r\n.Grüße\r\n";

async fn hermail(world: &World, server: Service) -> Organization {
    world
        .organization("hermail.test")
        .accounts(&["alice", "bob", "ghost"])
        .config(|config| {
            config.delivery.local = Local::Lmtp;
            config.delivery.lmtp = Some(server.clone());
        })
        .build()
        .await
}

/// Nobody has told Dovecot of ghost.
#[tokio::test(flavor = "multi_thread")]
async fn dovecot_takes_a_message_for_one_and_refuses_it_for_another() {
    let dovecot = Dovecot::start(&["alice@hermail.test", "bob@hermail.test"]).await;
    let servers = [Service::Unix(dovecot.lmtp_socket()), Service::Tcp(dovecot.lmtp())];
    for (before, server) in servers.into_iter().enumerate() {
        let world = World::new().await;
        let hermail = hermail(&world, server).await;
        let served = hermail.start().await;
        let to = ["bob@hermail.test", "ghost@hermail.test"];
        hermail.submit("alice", &to, MESSAGE).await;
        let delivered = dovecot.maildir("bob@hermail.test").expect(before + 1).await;
        for message in delivered {
            let message = message.replace("\r\n", "\n");
            assert!(
                message.starts_with("Return-Path: <alice@hermail.test>\n"),
                "{message}"
            );
            assert!(
                message.contains("\nDelivered-To: bob@hermail.test\n"),
                "{message}"
            );
            assert!(message.ends_with("\n\n.Grüße\n"), "{message}");
        }
        let bounces = dovecot.maildir("alice@hermail.test").expect(before + 1).await;
        for bounce in bounces {
            assert!(bounce.contains("ghost@hermail.test"), "{bounce}");
            assert!(bounce.contains("Status: 5.1.1"), "{bounce}");
            assert!(!bounce.contains("bob@hermail.test"), "{bounce}");
        }
        hermail.idle().await;
        assert_eq!(hermail.maildir("bob").count(), 0, "no Maildir of ours");
        served.stop().await;
    }
}

/// Sealed on the way, opened at the destination, and kept by Dovecot.
#[tokio::test(flavor = "multi_thread")]
async fn dovecot_keeps_mail_that_came_sealed() {
    let dovecot = Dovecot::start(&["bob@hismail.test"]).await;
    let world = World::new().await;
    let sender = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| {
            config.delivery.local = Local::Lmtp;
            config.delivery.lmtp = Some(Service::Unix(dovecot.lmtp_socket()));
        })
        .build()
        .await;
    let (here, there) = (sender.start().await, hismail.start().await);
    sender.submit("alice", &["bob@hismail.test"], MESSAGE).await;
    let delivered = dovecot.maildir("bob@hismail.test").only().await;
    assert!(delivered.contains("DIME-Verification:"), "{delivered}");
    assert!(
        delivered.replace("\r\n", "\n").ends_with("\n\n.Grüße\n"),
        "{delivered}"
    );
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);
    hismail.idle().await;
    here.stop().await;
    there.stop().await;
}
