//! RFC 8461 with nginx as the web server and Postfix as the mail server.

use dimed::net::authority::Zone;

use super::Mta;
use super::nginx::Nginx;
use super::postfix::{Postfix, shows};
use crate::support::certificates::Certification;
use crate::support::world::{World, domain};

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_nginx_serves_holds_for_mail_to_postfix() {
    let world = World::new().await;
    let folder = world.home().join("authority");
    std::fs::create_dir(&folder).unwrap();
    let authority = Certification::new(&folder);
    let policy = "version: STSv1\nmode: enforce\nmx: *.plain.test\nmax_age: 86400\n";
    let nginx = Nginx::start(&authority.issue("mta-sts.plain.test"), policy).await;
    let certificate = authority.issue("mx.plain.test");
    let postfix = Postfix::start_with(world.name_server(), |seat| shows(seat, &certificate)).await;
    let zone = Zone::unsigned(&domain("plain.test")).unwrap();
    let zone = zone
        .mx("", 10, &domain("mx.plain.test"))
        .address("mx", postfix.ip())
        .address("mta-sts", nginx.ip())
        .txt("_mta-sts", "v=STSv1; id=1;");
    world.put("plain.test", &zone);
    let hermail = world.organization("hermail.test").plain();
    let hermail = hermail
        .accounts(&["alice"])
        .config(|config| config.outbound.root_certificates = Some(authority.roots()))
        .build()
        .await;
    let process = hermail.spawn().await;
    let message = "From: alice@hermail.test\r\nSubject: out\r\n\r\nhello\r\n";
    hermail.submit("alice", &["carol@plain.test"], message).await;
    postfix.maildir().only().await;
    hermail.idle().await;
    let log = process.log();
    let mut attempts = log.lines().filter(|line| line.contains("\"queue.attempt.smtp\""));
    let sent = attempts.next_back().unwrap();
    for field in ["\"tls.policy\":\"mta_sts\"", "\"tls.verified\":true"] {
        assert!(sent.contains(field), "{sent}");
    }
    let asked = nginx.log();
    assert_eq!(
        asked
            .matches("\"GET /.well-known/mta-sts.txt HTTP/1.1\" 200")
            .count(),
        1,
        "{asked}"
    );
}
