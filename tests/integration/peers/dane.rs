//! RFC 7672 with Postfix on either side. What Postfix believes comes from Knot, and is validated by Unbound.

use std::net::IpAddr;

use dimed::config::Config;
use dimed::net::authority::{KeyKind, Zone};
use sha2::{Digest, Sha256};
use tokio::task::block_in_place;

use super::postfix::{Postfix, Tools, shows};
use super::{Mta, bring, hard_messages};
use crate::support::certificates::{Certificate, Certification};
use crate::support::loopback::SMTP;
use crate::support::name_server::{Denial, NameServer, Zone as ServedZone};
use crate::support::organization::Organization;
use crate::support::unbound::Unbound;
use crate::support::world::{World, domain};

fn issue(world: &World, host: &str) -> Certificate {
    let folder = world.home().join(format!("authority-of-{host}"));
    std::fs::create_dir(&folder).unwrap();
    Certification::new(&folder).issue(host)
}

fn digest(certificate: &Certificate) -> [u8; 32] {
    Sha256::digest(&certificate.public_key).into()
}

async fn hismail(world: &World, certificate: &Certificate) -> Organization {
    let [chain, key] = certificate.files.clone();
    let change = move |config: &mut Config| {
        (config.tls.certificate, config.tls.key) = (Some(chain.clone()), Some(key.clone()));
    };
    let builder = world.organization("hismail.test").plain().accounts(&["bob"]);
    builder.config(change).build().await
}

/// Serves hismail.test, signed, with that digest of its host's key.
async fn signed_dns(host: IpAddr, digest: &[u8]) -> (NameServer, Unbound) {
    let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let records =
        format!("@ MX 10 mx\nmx A {host}\n_{SMTP}._tcp.mx TLSA 3 1 1 {digits}\n@ TXT \"v=spf1 -all\"");
    let root = ServedZone::signed(".", "RSASHA256", Denial::Nsec);
    let knot = NameServer::start(&[
        root.with("dns-host A 127.0.0.1\nns.dns-host A 127.0.0.1"),
        ServedZone::signed("test", "ECDSAP256SHA256", Denial::Nsec),
        ServedZone::signed("hismail.test", "ED25519", Denial::Nsec3).with(&records),
    ])
    .await;
    let unbound = Unbound::validating(&knot).await;
    (knot, unbound)
}

/// What posttls-finger says of our host.
fn finger(unbound: &Unbound) -> String {
    let tools = Tools::new(unbound.address, |_| String::new());
    let mut command = tools.command("sbin/posttls-finger");
    command.args(["-c", "-l", "dane", "-t", "10", &format!("hismail.test:{SMTP}")]);
    let output = block_in_place(|| command.output().unwrap());
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn posttls_finger_verifies_our_key_by_dns_and_no_other() {
    let world = World::new().await;
    let certificate = issue(&world, "mx.hismail.test");
    let hismail = hismail(&world, &certificate).await;
    let served = hismail.start().await;
    let (_knot, unbound) = signed_dns(hismail.ip, &digest(&certificate)).await;
    let said = finger(&unbound);
    assert!(
        said.contains("Verified TLS connection established to mx.hismail.test"),
        "{said}"
    );
    let (_knot, unbound) = signed_dns(hismail.ip, &[7; 32]).await;
    let said = finger(&unbound);
    assert!(
        said.contains("TLS connection established to mx.hismail.test") && !said.contains("Verified TLS"),
        "{said}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_that_sends_by_dane_alone_sends_to_us() {
    let world = World::new().await;
    let certificate = issue(&world, "mx.hismail.test");
    let hismail = hismail(&world, &certificate).await;
    let served = hismail.start().await;
    let (_knot, unbound) = signed_dns(hismail.ip, &digest(&certificate)).await;
    let dane = "smtp_tls_security_level = dane-only\nsmtp_dns_support_level = dnssec\n";
    let postfix = Postfix::start_with(unbound.address, |_| dane.into()).await;
    let [plain, ..] = hard_messages("carol@plain.test");
    bring(postfix.ip(), "carol@plain.test", "bob@hismail.test", &plain).await;
    hismail.maildir("bob").only().await;
    let log = postfix.log();
    assert!(
        log.contains("Verified TLS connection established to mx.hismail.test"),
        "{log}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_send_to_postfix_when_its_key_is_the_one_in_dns() {
    let world = World::new().await;
    let certificate = issue(&world, "mx.plain.test");
    let postfix = Postfix::start_with(world.name_server(), |seat| shows(seat, &certificate)).await;
    let zone = |digest: &[u8]| {
        let zone = Zone::signed(&domain("plain.test"), KeyKind::Ed25519).unwrap();
        zone.mx("", 10, &domain("mx.plain.test"))
            .address("mx", postfix.ip())
            .tlsa("mx", SMTP, [3, 1, 1], digest)
    };
    world.put("plain.test", &zone(&[7; 32]));
    let hermail = world.organization("hermail.test").plain();
    let hermail = hermail.accounts(&["alice"]).build().await;
    let process = hermail.spawn().await;
    let message = "From: alice@hermail.test\r\nSubject: out\r\n\r\nhello\r\n";
    hermail.submit("alice", &["carol@plain.test"], message).await;
    crate::support::eventually("the host to be refused", || {
        process.log().contains("\"queue.host.refused\"").then_some(())
    })
    .await;
    assert_eq!(postfix.maildir().count(), 0);
    world.put("plain.test", &zone(&digest(&certificate)));
    postfix.maildir().only().await;
    hermail.idle().await;
    let log = process.log();
    let mut attempts = log.lines().filter(|line| line.contains("\"queue.attempt.smtp\""));
    let sent = attempts.next_back().unwrap();
    for field in ["\"tls.demanded\":\"dane\"", "\"tls.verified\":true"] {
        assert!(sent.contains(field), "{sent}");
    }
}
