//! DNS with real sockets, a real authoritative server and real validation.

mod forge;
mod own_policy;
mod published;
mod real;
pub(super) mod tamper;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dimed::mail::address::Domain;
use dimed::net::authority::{Authority, KeyKind, Zone};
use dimed::net::dns::{AdBitResolver, HickoryResolver, Lookup, Mx, Proof, Resolver, Servers, TrustAnchors};

use tamper::{Tamper, Trick};

const RECORD: &str = "ver=1 pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn servers(address: SocketAddr) -> Servers {
    Servers {
        reply_timeout: Duration::from_millis(300),
        rounds: 1,
        total_timeout: Duration::from_secs(5),
        ..Servers::new(vec![address])
    }
}

fn hismail() -> Zone {
    Zone::signed(&domain("hismail.test"), KeyKind::Ed25519)
        .unwrap()
        .txt("_dx", RECORD)
        .txt("several", "one")
        .txt("several", "two")
        .txt("long", "x".repeat(600))
        .txt("huge", "y".repeat(3000))
        .mx("", 20, &domain("mx2.hismail.test"))
        .mx("", 10, &domain("mx1.hismail.test"))
        .null_mx("silent")
        .address("dx", "127.0.0.1".parse().unwrap())
        .address("dx", "::1".parse().unwrap())
        .address("v4only", "127.0.0.2".parse().unwrap())
        .cname("alias", &domain("dx.hismail.test"))
        .cname("dangling", &domain("nowhere.hismail.test"))
        .cname("abroad", &domain("mail.plain.test"))
}

/// `test`, signed, with hismail.test and nsec3.test signed below it, and plain.test unsigned.
async fn tree() -> (Authority, TrustAnchors) {
    let hismail = hismail();
    let nsec3 = Zone::signed(&domain("nsec3.test"), KeyKind::EcdsaP256)
        .unwrap()
        .with_nsec3(false)
        .txt("_dx", RECORD)
        .delegate_unsigned("child", &domain("ns.child.nsec3.test"));
    let plain = Zone::unsigned(&domain("plain.test"))
        .unwrap()
        .txt("_dx", RECORD)
        .address("mail", "127.0.0.3".parse().unwrap());
    let child = Zone::unsigned(&domain("child.nsec3.test"))
        .unwrap()
        .txt("_dx", RECORD);
    let parent = Zone::signed(&domain("test"), KeyKind::EcdsaP256)
        .unwrap()
        .delegate("hismail", &hismail, &domain("ns.hismail.test"))
        .unwrap()
        .delegate("nsec3", &nsec3, &domain("ns.nsec3.test"))
        .unwrap()
        .delegate_unsigned("plain", &domain("ns.plain.test"));
    let anchors = parent.trust_anchor().unwrap().unwrap().parse().unwrap();
    let authority = Authority::start(LOOPBACK, vec![parent, hismail, nsec3, plain, child])
        .await
        .unwrap();
    (authority, anchors)
}

/// hismail.test alone, anchored by its own key.
async fn island() -> (Authority, TrustAnchors) {
    let authority = Authority::start(LOOPBACK, vec![hismail()]).await.unwrap();
    let anchors = authority.trust_anchors().parse().unwrap();
    (authority, anchors)
}

fn proof_of<T: std::fmt::Debug>(lookup: &Lookup<T>) -> Proof {
    match lookup {
        Lookup::Found { proof, .. } => *proof,
        other => panic!("not found: {other:?}"),
    }
}

#[tokio::test]
async fn signed_answers_are_secure_below_a_parent_and_on_an_island() {
    for (authority, anchors) in [tree().await, island().await] {
        let resolver = HickoryResolver::new(servers(authority.address()), anchors);
        assert_eq!(
            resolver.txt("_dx.hismail.test").await,
            Lookup::Found {
                value: vec![RECORD.as_bytes().to_vec()],
                ttl: Duration::from_secs(300),
                proof: Proof::Secure
            }
        );
        authority.shutdown().await;
    }
}

#[tokio::test]
async fn every_record_and_every_string_of_it_is_returned() {
    let (authority, anchors) = island().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    let Lookup::Found { mut value, .. } = resolver.txt("several.hismail.test").await else {
        panic!("not found");
    };
    value.sort();
    assert_eq!(value, [b"one".to_vec(), b"two".to_vec()]);
    let Lookup::Found { value, .. } = resolver.txt("long.hismail.test").await else {
        panic!("not found");
    };
    assert_eq!(value, [vec![b'x'; 600]]);
}

#[tokio::test]
async fn replies_too_large_for_udp_come_over_tcp() {
    let (authority, anchors) = island().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    let lookup = resolver.txt("huge.hismail.test").await;
    assert_eq!(proof_of(&lookup), Proof::Secure);
    assert!(matches!(lookup, Lookup::Found { value, .. } if value == [vec![b'y'; 3000]]));
}

#[tokio::test]
async fn mail_hosts_and_addresses_are_read() {
    let (authority, anchors) = tree().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    let Lookup::Found { mut value, proof, .. } = resolver.mx(&domain("hismail.test")).await else {
        panic!("not found");
    };
    value.sort_by_key(|mx| mx.preference);
    let mx = |preference, host: &str| Mx {
        preference,
        host: Some(domain(host)),
    };
    assert_eq!(value, [mx(10, "mx1.hismail.test"), mx(20, "mx2.hismail.test")]);
    assert_eq!(proof, Proof::Secure);
    let silent = resolver.mx(&domain("silent.hismail.test")).await;
    assert!(matches!(silent, Lookup::Found { value, .. } if value == [Mx { preference: 0, host: None }]));
    let both = resolver.addresses(&domain("dx.hismail.test")).await;
    let expected: Vec<IpAddr> = vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    assert!(matches!(both, Lookup::Found { value, proof: Proof::Secure, .. } if value == expected));
    let one = resolver.addresses(&domain("v4only.hismail.test")).await;
    let expected: Vec<IpAddr> = vec!["127.0.0.2".parse().unwrap()];
    assert!(matches!(one, Lookup::Found { value, proof: Proof::Secure, .. } if value == expected));
}

#[tokio::test]
async fn absence_in_a_signed_zone_is_proven_by_nsec_and_nsec3() {
    let (authority, anchors) = tree().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    let absent = Lookup::Absent { proof: Proof::Secure };
    for name in [
        "_dx.unknown.hismail.test",
        "dx.hismail.test",
        "_dx.unknown.nsec3.test",
        "nsec3.test",
        "_dx.unknown.test",
    ] {
        assert_eq!(resolver.txt(name).await, absent, "{name}");
    }
    assert_eq!(
        resolver.addresses(&domain("unknown.hismail.test")).await,
        Lookup::Absent { proof: Proof::Secure }
    );
}

#[tokio::test]
async fn absence_on_an_island_is_proven() {
    let (authority, anchors) = island().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    assert_eq!(
        resolver.txt("_dx.unknown.hismail.test").await,
        Lookup::Absent { proof: Proof::Secure }
    );
}

#[tokio::test]
async fn below_an_unsigned_delegation_everything_is_insecure() {
    let (authority, anchors) = tree().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    for zone in ["plain.test", "child.nsec3.test"] {
        let found = resolver.txt(&format!("_dx.{zone}")).await;
        assert_eq!(proof_of(&found), Proof::Insecure, "{zone}");
        assert_eq!(
            resolver.txt(&format!("_dx.unknown.{zone}")).await,
            Lookup::Absent {
                proof: Proof::Insecure
            },
            "{zone}"
        );
    }
}

#[tokio::test]
async fn aliases_are_followed_and_weigh_as_their_weakest_part() {
    let (authority, anchors) = tree().await;
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    let near = resolver.addresses(&domain("alias.hismail.test")).await;
    assert_eq!(proof_of(&near), Proof::Secure);
    let far = resolver.addresses(&domain("abroad.hismail.test")).await;
    assert_eq!(proof_of(&far), Proof::Insecure);
    assert_eq!(
        resolver.addresses(&domain("dangling.hismail.test")).await,
        Lookup::Absent { proof: Proof::Secure }
    );
}

#[tokio::test]
async fn a_replaced_zone_is_served_and_still_secure() {
    let zone = hismail();
    let authority = Authority::start(LOOPBACK, vec![zone.clone()]).await.unwrap();
    let anchors = authority.trust_anchors().parse().unwrap();
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    authority
        .put_zone(&zone.remove("_dx").txt("_dx", "changed"))
        .unwrap();
    let lookup = resolver.txt("_dx.hismail.test").await;
    assert!(
        matches!(lookup, Lookup::Found { value, proof: Proof::Secure, .. } if value == [b"changed".to_vec()])
    );
}

#[tokio::test]
async fn tampering_in_a_signed_zone_is_bogus_whatever_is_taken_away() {
    for (authority, anchors) in [tree().await, island().await] {
        for (trick, name) in [
            (Trick::StripSignatures, "_dx.hismail.test"),
            (Trick::ChangeText, "_dx.hismail.test"),
            (Trick::BreakSignatures, "_dx.hismail.test"),
            (Trick::StripDenials, "dx.hismail.test"),
            (Trick::StripSignatures, "dx.hismail.test"),
            (Trick::BreakSignatures, "dx.hismail.test"),
            (Trick::PretendNothing, "_dx.hismail.test"),
            (Trick::PretendNoSuchName, "_dx.hismail.test"),
        ] {
            let said = format!("{trick:?} {name}");
            let proxy = Tamper::start(authority.address(), trick).await;
            let resolver = HickoryResolver::new(servers(proxy.address()), anchors.clone());
            assert_eq!(resolver.txt(name).await, Lookup::Bogus, "{said}");
        }
    }
}

#[tokio::test]
async fn a_zone_signed_by_another_key_than_the_anchored_one_is_bogus() {
    let (authority, _) = island().await;
    let anchors = hismail().trust_anchor().unwrap().unwrap().parse().unwrap();
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    assert_eq!(resolver.txt("_dx.hismail.test").await, Lookup::Bogus);
}

#[tokio::test]
async fn an_unsigned_zone_below_an_anchor_for_itself_is_bogus() {
    let (_, anchors) = island().await;
    let unsigned = Zone::unsigned(&domain("hismail.test"))
        .unwrap()
        .txt("_dx", RECORD);
    let authority = Authority::start(LOOPBACK, vec![unsigned]).await.unwrap();
    let resolver = HickoryResolver::new(servers(authority.address()), anchors);
    assert_eq!(resolver.txt("_dx.hismail.test").await, Lookup::Bogus);
    assert_eq!(resolver.txt("_dx.unknown.hismail.test").await, Lookup::Bogus);
}

#[tokio::test]
async fn a_foreign_zone_cannot_deny_a_name() {
    // evil.test is properly signed, and its owner signs a denial that spans hismail.test.
    let pkcs8 = forge::new_key();
    let evil = Zone::signed_with_key(&domain("evil.test"), KeyKind::Ed25519, &pkcs8).unwrap();
    let hismail = hismail();
    let parent = Zone::signed(&domain("test"), KeyKind::Ed25519)
        .unwrap()
        .delegate("hismail", &hismail, &domain("ns.hismail.test"))
        .unwrap()
        .delegate("evil", &evil, &domain("ns.evil.test"))
        .unwrap();
    let anchors: TrustAnchors = parent.trust_anchor().unwrap().unwrap().parse().unwrap();
    let authority = Authority::start(LOOPBACK, vec![parent, hismail, evil])
        .await
        .unwrap();
    let denial = forge::denial(&pkcs8, "evil.test", "a.evil.test", "zz.test");
    let own = Tamper::start(authority.address(), Trick::Deny(denial)).await;
    let resolver = HickoryResolver::new(servers(own.address()), anchors);
    assert_eq!(resolver.txt("_dx.hismail.test").await, Lookup::Bogus);
}

#[tokio::test]
async fn failures_are_failures() {
    let (authority, anchors) = tree().await;
    for trick in [
        Trick::Drop,
        Trick::ServerFailure,
        Trick::WrongId,
        Trick::Garbage,
        Trick::OtherQuestion,
    ] {
        let said = format!("{trick:?}");
        let proxy = Tamper::start(authority.address(), trick).await;
        let resolver = HickoryResolver::new(servers(proxy.address()), anchors.clone());
        assert_eq!(resolver.txt("_dx.hismail.test").await, Lookup::Failed, "{said}");
        assert_eq!(
            resolver.txt("_dx.unknown.hismail.test").await,
            Lookup::Failed,
            "{said}"
        );
        assert_eq!(resolver.mx(&domain("plain.test")).await, Lookup::Failed, "{said}");
    }
    let nobody = HickoryResolver::new(Servers::new(vec![]), anchors.clone());
    assert_eq!(nobody.txt("_dx.hismail.test").await, Lookup::Failed);
    let refused = HickoryResolver::new(
        servers(authority.address()),
        "example. DS 1 13 2 00".parse().unwrap(),
    );
    assert_eq!(
        refused.txt("_dx.hismail.test").await,
        Lookup::Failed,
        "below no anchor"
    );
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_make_a_failure_not_a_bogus_answer() {
    let (authority, anchors) = tree().await;
    let proxy = Tamper::start(authority.address(), Trick::DropKeysOf("hismail.test")).await;
    let resolver = HickoryResolver::new(servers(proxy.address()), anchors);
    assert_eq!(resolver.txt("_dx.hismail.test").await, Lookup::Failed);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_silent() {
    let (authority, anchors) = tree().await;
    let silent = Tamper::start(authority.address(), Trick::Drop).await;
    let mut both = servers(silent.address());
    both.addresses.push(authority.address());
    both.total_timeout = Duration::from_secs(30);
    let resolver = HickoryResolver::new(both, anchors);
    assert_eq!(proof_of(&resolver.txt("_dx.hismail.test").await), Proof::Secure);
}

#[tokio::test]
async fn the_whole_lookup_has_a_deadline() {
    let (authority, anchors) = tree().await;
    let silent = Tamper::start(authority.address(), Trick::Drop).await;
    let mut slow = servers(silent.address());
    slow.reply_timeout = Duration::from_secs(60);
    slow.total_timeout = Duration::from_millis(200);
    let resolver = HickoryResolver::new(slow, anchors);
    let started = std::time::Instant::now();
    assert_eq!(resolver.txt("_dx.hismail.test").await, Lookup::Failed);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_ad_bit_of_a_local_resolver_is_believed() {
    let (authority, _) = tree().await;
    let resolver = |proxy: &Tamper| AdBitResolver::new(servers(proxy.address())).unwrap();
    let vouching = Tamper::start(authority.address(), Trick::SetAd).await;
    assert_eq!(
        proof_of(&resolver(&vouching).txt("_dx.hismail.test").await),
        Proof::Secure
    );
    let absent = resolver(&vouching).txt("_dx.unknown.hismail.test").await;
    assert_eq!(absent, Lookup::Absent { proof: Proof::Secure });
    let silent = Tamper::start(authority.address(), Trick::Pass).await;
    assert_eq!(
        proof_of(&resolver(&silent).txt("_dx.hismail.test").await),
        Proof::Insecure
    );
    let refusing = Tamper::start(authority.address(), Trick::FailUnlessCheckingDisabled).await;
    assert_eq!(resolver(&refusing).txt("_dx.hismail.test").await, Lookup::Bogus);
    let failing = Tamper::start(authority.address(), Trick::ServerFailure).await;
    assert_eq!(resolver(&failing).txt("_dx.hismail.test").await, Lookup::Failed);
}
