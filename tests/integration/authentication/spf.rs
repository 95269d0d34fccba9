//! SPF against real DNS: the examples of RFC 7208, and what its text leaves to be got wrong.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dimed::authentication::spf::{Client, Identity, Verdict, check};
use dimed::mail::address::Mailbox;
use dimed::net::authority::{Authority, Zone};
use dimed::net::dns::{AdBitResolver, Servers};

use hickory_proto::rr::RecordType;

use crate::dns::tamper::{Tamper, Trick};
use crate::support::world::domain;

/// A name server with these zones, and who asks it.
struct Dns {
    authority: Authority,
    resolver: AdBitResolver,
}

impl Dns {
    async fn of(zones: Vec<Zone>) -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let authority = Authority::start(listen, zones).await.unwrap();
        let resolver = asking(authority.address());
        Self { authority, resolver }
    }

    async fn check(&self, sender: &str, address: &str) -> Verdict {
        verdict(&self.resolver, sender, "mx.example.org", address).await
    }
}

fn asking(address: SocketAddr) -> AdBitResolver {
    AdBitResolver::new(Servers {
        reply_timeout: Duration::from_millis(300),
        rounds: 1,
        ..Servers::new(vec![address])
    })
    .unwrap()
}

async fn verdict(resolver: &AdBitResolver, sender: &str, hello: &str, address: &str) -> Verdict {
    let sender = Mailbox::parse(sender).unwrap();
    let client = Client {
        address: address.parse::<IpAddr>().unwrap().to_canonical(),
        hello,
        identity: Identity::MailFrom {
            local: sender.local(),
            domain: sender.domain(),
        },
    };
    check(resolver, &client).await
}

fn zone(name: &str, text: &str) -> Zone {
    Zone::unsigned(&domain(name)).unwrap().with_text(text).unwrap()
}

/// Appendix A: the zones that the examples are about.
fn appendix() -> [Zone; 4] {
    [
        zone(
            "example.com",
            "@ 60 IN A 192.0.2.10\n@ 60 IN A 192.0.2.11\n@ 60 IN MX 10 mail-a.example.com.\n\
             @ 60 IN MX 20 mail-b.example.com.\namy 60 IN A 192.0.2.65\nbob 60 IN A 192.0.2.66\n\
             mail-a 60 IN A 192.0.2.129\nmail-b 60 IN A 192.0.2.130\nwww 60 IN CNAME example.com.\n",
        ),
        zone(
            "example.org",
            "@ 60 IN MX 10 mail-c.example.org.\nmail-c 60 IN A 192.0.2.140\n",
        ),
        zone(
            "2.0.192.in-addr.arpa",
            "10 60 IN PTR example.com.\n11 60 IN PTR example.com.\n65 60 IN PTR amy.example.com.\n\
             66 60 IN PTR bob.example.com.\n129 60 IN PTR mail-a.example.com.\n\
             130 60 IN PTR mail-b.example.com.\n140 60 IN PTR mail-c.example.org.\n",
        ),
        // A rogue, who says that he is bob.
        zone("0.0.10.in-addr.arpa", "4 60 IN PTR bob.example.com.\n"),
    ]
}

#[tokio::test]
async fn the_examples_of_rfc_7208_come_out_as_there() {
    let [example, rest @ ..] = appendix();
    let dns = Dns::of(std::iter::once(example.clone()).chain(rest).collect()).await;
    for (record, passing, failing) in [
        ("v=spf1 +all", &["192.0.2.1", "2001:db8::1"][..], &[][..]),
        (
            "v=spf1 a -all",
            &["192.0.2.10", "192.0.2.11", "::ffff:192.0.2.11"],
            &["192.0.2.12"],
        ),
        ("v=spf1 a:example.org -all", &[], &["192.0.2.140"]),
        (
            "v=spf1 mx -all",
            &["192.0.2.129", "192.0.2.130"],
            &["192.0.2.140"],
        ),
        ("v=spf1 mx:example.org -all", &["192.0.2.140"], &["192.0.2.129"]),
        (
            "v=spf1 mx mx:example.org -all",
            &["192.0.2.129", "192.0.2.130", "192.0.2.140"],
            &["192.0.2.10"],
        ),
        (
            "v=spf1 mx/30 mx:example.org/30 -all",
            &["192.0.2.131", "192.0.2.143"],
            &["192.0.2.132", "192.0.2.139"],
        ),
        (
            "v=spf1 ptr -all",
            &["192.0.2.65", "192.0.2.10"],
            &["192.0.2.140", "10.0.0.4", "192.0.2.99"],
        ),
        (
            "v=spf1 ip4:192.0.2.128/28 -all",
            &["192.0.2.129"],
            &["192.0.2.65", "2001:db8::1"],
        ),
        ("v=spf1 a:www.example.com -all", &["192.0.2.10"], &["192.0.2.65"]),
    ] {
        dns.authority.put_zone(&example.clone().txt("", record)).unwrap();
        for (addresses, expected) in [(passing, Verdict::Pass), (failing, Verdict::Fail)] {
            for address in addresses {
                let verdict = dns.check("x@example.com", address).await;
                assert_eq!(verdict, expected, "{record} {address}");
            }
        }
    }
}

/// Appendix A.2 and A.3.
#[tokio::test]
async fn records_that_lead_to_others_count_as_they_say() {
    let [example, organization, ..] = appendix();
    let example = example
        .txt(
            "",
            "v=spf1 mx include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all",
        )
        .txt("mobile-users._spf", "v=spf1 exists:%{l1r+}.%{d}")
        .txt("remote-users._spf", "v=spf1 exists:%{ir}.%{l1r+}.%{d}")
        .address("mary.mobile-users._spf", "127.0.0.2".parse().unwrap())
        .address(
            "15.15.168.192.joel.remote-users._spf",
            "127.0.0.2".parse().unwrap(),
        );
    let organization = organization
        .txt("", "v=spf1 include:example.com include:example.net -all")
        .txt("la", "v=spf1 redirect=example.org")
        .txt("none", "v=spf1 redirect=mail-c.example.org")
        .txt("lacks", "v=spf1 include:mail-c.example.org +all")
        .txt("loop", "v=spf1 redirect=loop.example.org");
    let net = zone("example.net", "@ 60 IN TXT \"v=spf1 ip4:198.51.100.7 ~all\"\n");
    let dns = Dns::of(vec![example, organization, net]).await;
    for (sender, address, expected) in [
        ("mary@example.com", "198.51.100.1", Verdict::Pass),
        ("mary+list@example.com", "198.51.100.1", Verdict::Pass),
        ("fred@example.com", "198.51.100.1", Verdict::Fail),
        ("joel@example.com", "192.168.15.15", Verdict::Pass),
        ("joel@example.com", "192.168.15.16", Verdict::Fail),
        ("x@example.org", "192.0.2.129", Verdict::Pass),
        ("x@la.example.org", "198.51.100.7", Verdict::Pass),
        ("x@la.example.org", "198.51.100.8", Verdict::Fail),
        ("x@mail-c.example.org", "192.0.2.140", Verdict::None),
        ("x@none.example.org", "192.0.2.140", Verdict::PermError),
        ("x@lacks.example.org", "192.0.2.140", Verdict::PermError),
        ("x@loop.example.org", "192.0.2.140", Verdict::PermError),
    ] {
        assert_eq!(dns.check(sender, address).await, expected, "{sender} {address}");
    }
}

/// Who sends chooses the local-part and the name in EHLO, and must not choose the outcome with them.
#[tokio::test]
async fn no_name_that_a_sender_chooses_is_an_error() {
    let zone = zone("example.com", "a--b 60 IN A 192.0.2.1\n")
        .txt(
            "",
            "v=spf1 exists:%{l}.users.example.com exists:%{s}._spf.example.com -all",
        )
        .txt("hello", "v=spf1 a:%{h}.example.com a:%{H}.example.com -all")
        .txt("unknown", "v=spf1 a:%{p}.example.com -all")
        .txt(
            "slash",
            "v=spf1 a:foo:bar/baz.example.com a:a%_b%-c%%d.example.com -all",
        );
    let dns = Dns::of(vec![zone]).await;
    let long = format!("{}@example.com", "l".repeat(64));
    for sender in [
        "a+b@example.com",
        "a=b/c@example.com",
        "a.b@example.com",
        "\"a b\"@example.com",
        "\"a\\\\b@c\"@example.com",
        "\"a..b\"@example.com",
        "\".\"@example.com",
        "\u{fc}@example.com",
        "*@example.com",
        &long,
    ] {
        assert_eq!(dns.check(sender, "192.0.2.7").await, Verdict::Fail, "{sender}");
    }
    for hello in [
        "[192.0.2.7]",
        "OEMCOMPUTER",
        "jumpin%20jupiter",
        "a--b..",
        "\u{fc}.test",
    ] {
        let verdict = verdict(&dns.resolver, "x@hello.example.com", hello, "192.0.2.7").await;
        assert_eq!(verdict, Verdict::Fail, "{hello}");
    }
    assert_eq!(
        verdict(&dns.resolver, "x@hello.example.com", "a--b", "192.0.2.1").await,
        Verdict::Pass
    );
    assert_eq!(
        dns.check("x@unknown.example.com", "192.0.2.7").await,
        Verdict::Fail
    );
    assert_eq!(dns.check("x@slash.example.com", "192.0.2.7").await, Verdict::Fail);
}

/// What there is of the other family neither makes up for a failure nor makes one.
#[tokio::test]
async fn only_the_family_of_the_client_has_a_say() {
    let zone = zone(
        "example.com",
        "@ 60 IN A 192.0.2.1\n@ 60 IN AAAA 2001:db8::1\n@ 60 IN TXT \"v=spf1 a -all\"\n",
    );
    let dns = Dns::of(vec![zone]).await;
    for (failing, address, expected) in [
        (RecordType::AAAA, "192.0.2.1", Verdict::Pass),
        (RecordType::AAAA, "192.0.2.2", Verdict::Fail),
        (RecordType::A, "192.0.2.1", Verdict::TempError),
        (RecordType::A, "2001:db8::1", Verdict::Pass),
        (RecordType::AAAA, "2001:db8::1", Verdict::TempError),
    ] {
        let tamper = Tamper::start(dns.authority.address(), Trick::FailFor(failing)).await;
        let resolver = asking(tamper.address());
        let verdict = verdict(&resolver, "x@example.com", "mx.example.org", address).await;
        assert_eq!(verdict, expected, "{failing} fails, {address}");
    }
}
