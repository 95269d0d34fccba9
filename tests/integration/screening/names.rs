//! Names in EHLO, reverse DNS, and domains of senders.

use dimed::config::{Consequence, Validation};

use super::*;
use crate::support::milter::{Act, Milter};
use crate::support::name_server::Fault;
use crate::support::unbound::Unbound;

fn zones() -> Vec<Zone> {
    vec![
        Zone::unsigned("plain.test")
            .with("mx A 192.0.2.77\nonly-mx MX 10 mx\nother A 192.0.2.99\nsix AAAA 2001:db8::1\nnull MX 0 ."),
        Zone::unsigned("broken.test").but(Fault::Unreadable),
        Zone::unsigned("in-addr.arpa").with(
            "77.2.0.192 PTR mx.plain.test.\n77.2.0.192 PTR other.plain.test.\n78.2.0.192 PTR mx.plain.test.\n\
             79.2.0.192 PTR mx.broken.test.\n80.2.0.192 PTR nowhere.plain.test.",
        ),
        Zone::unsigned("ip6.arpa")
            .with("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 PTR six.plain.test."),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_ehlo_is_a_host_s_and_not_ours() {
    let scene = Scene::new(&zones(), |screening| screening.false_hello = Consequence::Reject).await;
    let served = scene.start().await;
    for (hello, start) in [
        ("mx.plain.test", "250 "),
        ("nowhere.plain.test", "250 "),
        ("[192.0.2.77]", "250 "),
        (
            "[192.0.2.78]",
            "550 5.7.1 The name in EHLO is no host's, or another's: ",
        ),
        ("192.0.2.77", "550 5.7.1 "),
        ("localhost", "550 5.7.1 "),
        ("a_b.plain.test", "550 5.7.1 "),
        ("MX.hismail.test", "550 5.7.1 "),
        ("Hismail.test", "550 5.7.1 "),
        ("www.hismail.test", "250 "),
    ] {
        let reply = scene
            .rcpt_to("192.0.2.77", hello, "carol@plain.test", "bob@hismail.test")
            .await;
        assert!(reply.starts_with(start), "{hello}: {reply}");
    }
    // The last name counts.
    let mut talk = scene.connect("192.0.2.77").await;
    for (hello, start) in [("localhost", "550 5.7.1 "), ("mx.plain.test", "250 ")] {
        talk.ask(&format!("EHLO {hello}"), "250").await;
        talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
        talk.ask("RCPT TO:<bob@hismail.test>", start).await;
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_ehlo_exists_and_where_dns_is_silent_mail_waits() {
    let scene = Scene::new(&zones(), |screening| {
        screening.unknown_hello = Consequence::Reject
    })
    .await;
    let served = scene.start().await;
    for (hello, start) in [
        ("mx.plain.test", "250 "),
        ("only-mx.plain.test", "250 "),
        ("six.plain.test.", "250 "),
        (
            "nowhere.plain.test",
            "550 5.7.1 The name in EHLO does not exist in DNS: ",
        ),
        (
            "mx.broken.test",
            "450 4.7.1 DNS does not answer about the name in EHLO: ",
        ),
    ] {
        let reply = scene
            .rcpt_to("192.0.2.77", hello, "carol@plain.test", "bob@hismail.test")
            .await;
        assert!(reply.starts_with(start), "{hello}: {reply}");
    }
    served.stop().await;
}

/// RFC 7505 §4.2.
#[tokio::test(flavor = "multi_thread")]
async fn the_domain_of_a_sender_can_be_written_to_and_where_dns_is_silent_mail_waits() {
    let scene = Scene::new(&zones(), |screening| {
        screening.unknown_sender = Consequence::Reject
    })
    .await;
    let served = scene.start().await;
    for (sender, start) in [
        ("carol@mx.plain.test", "250 "),
        ("carol@only-mx.plain.test", "250 "),
        ("carol@six.plain.test", "250 "),
        ("", "250 "),
        (
            "carol@nowhere.plain.test",
            "550 5.1.8 The domain of the sender has neither a mail host nor an address in DNS: ",
        ),
        (
            "carol@null.plain.test",
            "550 5.7.27 The domain of the sender takes no mail (null MX), ",
        ),
        (
            "carol@mx.broken.test",
            "450 4.1.8 DNS does not answer about the domain of the sender: ",
        ),
    ] {
        let reply = scene.rcpt("192.0.2.77", sender).await;
        assert!(reply.starts_with(start), "{sender}: {reply}");
    }
    let reply = scene
        .rcpt_to(
            "192.0.2.77",
            "mx.plain.test",
            "carol@nowhere.plain.test",
            "postmaster@hismail.test",
        )
        .await;
    assert!(reply.starts_with("250 "), "{reply}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_whose_domain_does_not_exist_can_be_marked() {
    let scene = Scene::new(&[Zone::unsigned("plain.test")], |screening| {
        screening.unknown_sender = Consequence::Mark;
    })
    .await;
    let served = scene.start().await;
    let delivered = scene.delivered("192.0.2.77", "mx.plain.test", MESSAGE).await;
    assert_eq!(
        field(&delivered, "Dimed-Screening").as_deref(),
        Some("mx.hismail.test; sender=unknown")
    );
    served.stop().await;
}

/// Behind Unbound, whose word counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_name_that_leads_back_to_it() {
    let knot = knot(&zones()).await;
    let unbound = Unbound::validating(&knot).await;
    let world = World::new().await;
    let settings = |config: &mut Config| {
        config.dns.servers = vec![unbound.address];
        config.dns.validation = Validation::AdBit;
        config.screening.no_reverse = Consequence::Reject;
        config.screening.unconfirmed_reverse = Consequence::Defer;
    };
    let scene = Scene {
        hismail: hismail(&world, settings).await,
        knot,
        _world: world,
    };
    let served = scene.start().await;
    for (address, start) in [
        ("192.0.2.77", "250 "),
        ("2001:db8::1", "250 "),
        (
            "192.0.2.76",
            "550 5.7.25 Your address has no name in DNS: have a PTR record set for it",
        ),
        ("2001:db8::2", "550 5.7.25 "),
        (
            "192.0.2.78",
            "450 4.7.25 The name that DNS has for your address does not lead back to it: ",
        ),
        (
            "192.0.2.79",
            "450 4.7.25 DNS does not answer about the name of your address: ",
        ),
        ("192.0.2.80", "450 4.7.25 The name that DNS has "),
    ] {
        let reply = scene.rcpt(address, "carol@plain.test").await;
        assert!(reply.starts_with(start), "{address}: {reply}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_of_names_stands_in_the_header() {
    let scene = Scene::new(&zones(), |screening| {
        screening.no_reverse = Consequence::Mark;
        screening.unconfirmed_reverse = Consequence::Mark;
        screening.false_hello = Consequence::Mark;
        screening.unknown_hello = Consequence::Mark;
    })
    .await;
    let served = scene.start().await;
    for (address, hello, iprev, marks) in [
        (
            "192.0.2.77",
            "mx.plain.test",
            "iprev=pass policy.iprev=192.0.2.77",
            None,
        ),
        (
            "192.0.2.76",
            "localhost",
            "iprev=permerror policy.iprev=192.0.2.76",
            Some("mx.hismail.test; hello=false; reverse=missing"),
        ),
        (
            "192.0.2.78",
            "nowhere.plain.test",
            "iprev=fail policy.iprev=192.0.2.78",
            Some("mx.hismail.test; hello=unknown; reverse=unconfirmed"),
        ),
        (
            "192.0.2.79",
            "mx.broken.test",
            "iprev=temperror policy.iprev=192.0.2.79",
            Some("mx.hismail.test; hello=temperror; reverse=temperror"),
        ),
        (
            "2001:db8::1",
            "six.plain.test",
            "iprev=pass policy.iprev=\"2001:db8::1\"",
            None,
        ),
    ] {
        let delivered = scene.delivered(address, hello, MESSAGE).await;
        let results = field(&delivered, "Authentication-Results").unwrap();
        assert!(results.ends_with(&format!("; {iprev}")), "{results}");
        assert_eq!(
            field(&delivered, "Dimed-Screening").as_deref(),
            marks,
            "{delivered}"
        );
    }
    served.stop().await;
}

/// Whatever hosts are measured by: filters have rules about names.
#[tokio::test(flavor = "multi_thread")]
async fn a_milter_is_told_what_reverse_dns_says() {
    let knot = knot(&zones()).await;
    let world = World::new().await;
    let milter = Milter::start(|_, _| Act::Usual).await;
    let hismail = hismail(&world, |config: &mut Config| {
        config.dns.servers = vec![knot.address];
        config.dns.trust_anchors = Some(knot.anchor_file());
        config.filtering.filters = vec![milter.filter("scripted")];
    })
    .await;
    let scene = Scene {
        hismail,
        knot,
        _world: world,
    };
    let served = scene.start().await;
    for (address, name, both, pointer, resolved) in [
        (
            "192.0.2.77",
            "mx.plain.test",
            "mx.plain.test [192.0.2.77]",
            "mx.plain.test",
            "OK",
        ),
        (
            "192.0.2.78",
            "[192.0.2.78]",
            "mx.plain.test [192.0.2.78] (may be forged)",
            "mx.plain.test",
            "FORGED",
        ),
        ("192.0.2.1", "[192.0.2.1]", "[192.0.2.1]", "unknown", "FAIL"),
        (
            "2001:db8::1",
            "six.plain.test",
            "six.plain.test [IPv6:2001:db8::1]",
            "six.plain.test",
            "OK",
        ),
    ] {
        let before = milter.heard().len();
        let reply = scene.rcpt(address, "carol@plain.test").await;
        assert!(reply.starts_with("250 "), "{reply}");
        let heard = milter.heard().split_off(before);
        let text = |letter: &[u8]| {
            let packet = heard.iter().find(|packet| packet.starts_with(letter)).unwrap();
            String::from_utf8_lossy(packet).into_owned()
        };
        assert!(text(b"C").starts_with(&format!("C{name}\0")), "{address}");
        let macros = text(b"DC");
        for (key, value) in [
            ("j", "mx.hismail.test"),
            ("_", both),
            ("{client_name}", name),
            ("{client_ptr}", pointer),
            ("{client_resolve}", resolved),
        ] {
            assert!(
                macros.contains(&format!("{key}\0{value}\0")),
                "{key} of {address}: {macros:?}"
            );
        }
    }
    served.stop().await;
}
