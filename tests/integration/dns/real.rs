//! Knot DNS as name server and Unbound as resolver. Every question is asked in four ways: validated in this process, with the
//! name server itself, a plain resolver and a validating one before us; and by the AD bit of the validating one.

use std::net::SocketAddr;
use std::time::Duration;

use dimed::net::dns::{AdBitResolver, HickoryResolver, Lookup, Proof, Resolver, SelfTest, Servers};

use super::super::support::name_server::{Denial, Fault, NameServer, Zone};
use super::super::support::unbound::Unbound;
use super::tamper::{Tamper, Trick};

const FOUND_SECURE: &str = "found, secure";
const FOUND_INSECURE: &str = "found, insecure";
const ABSENT_SECURE: &str = "absent, secure";
const ABSENT_INSECURE: &str = "absent, insecure";
const BOGUS: &str = "bogus";
const FAILED: &str = "failed";

fn patient(address: SocketAddr) -> Servers {
    Servers {
        reply_timeout: Duration::from_secs(10),
        rounds: 1,
        total_timeout: Duration::from_secs(50),
        ..Servers::new(vec![address])
    }
}

fn state<T>(lookup: &Lookup<T>) -> &'static str {
    match lookup {
        Lookup::Found { proof, .. } => match proof {
            Proof::Secure => FOUND_SECURE,
            Proof::Insecure => FOUND_INSECURE,
        },
        Lookup::Absent { proof } => match proof {
            Proof::Secure => ABSENT_SECURE,
            Proof::Insecure => ABSENT_INSECURE,
        },
        Lookup::Bogus => BOGUS,
        Lookup::Failed => FAILED,
    }
}

/// A root of our own, `test` below it, and what a test adds.
struct Tree {
    knot: NameServer,
    _plain: Unbound,
    _validating: Unbound,
    ways: Vec<(&'static str, Box<dyn Resolver>)>,
}

impl Tree {
    async fn with(zones: &[Zone]) -> Self {
        let mut all = vec![
            Zone::signed(".", "RSASHA256", Denial::Nsec)
                .with("dns-host A 127.0.0.1\nns.dns-host A 127.0.0.1"),
            Zone::signed("test", "ECDSAP256SHA256", Denial::Nsec),
        ];
        all.extend_from_slice(zones);
        let knot = NameServer::start(&all).await;
        let plain = Unbound::not_validating(&knot).await;
        let validating = Unbound::validating(&knot).await;
        let in_process = |address| {
            let anchors = knot.anchor.parse().unwrap();
            Box::new(HickoryResolver::new(patient(address), anchors)) as Box<dyn Resolver>
        };
        let ad_bit = AdBitResolver::new(patient(validating.address)).unwrap();
        let ways = vec![
            ("in process", in_process(knot.address)),
            ("in process, behind a plain resolver", in_process(plain.address)),
            (
                "in process, behind a validating resolver",
                in_process(validating.address),
            ),
            ("by the AD bit", Box::new(ad_bit) as Box<dyn Resolver>),
        ];
        Self {
            knot,
            _plain: plain,
            _validating: validating,
            ways,
        }
    }

    /// Asks for TXT records in every way.
    async fn shows(&self, cases: &[(&str, &str)]) {
        let mut wrong = Vec::new();
        for (name, expected) in cases {
            for (way, resolver) in &self.ways {
                let lookup = resolver.txt(name).await;
                if state(&lookup) != *expected {
                    wrong.push(format!("{name} {way}: {lookup:?}, not {expected}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.knot.log());
    }
}

const RECORDS: &str = "_dx TXT \"record\"\n*.wild TXT \"any\"\nhost A 127.0.0.1\nx.deep.down A 127.0.0.1";

#[tokio::test]
async fn zones_of_every_usual_algorithm_are_secure_and_deny_with_proof() {
    let zones = [
        ("rsa.test", "RSASHA256", Denial::Nsec),
        ("rsa512.test", "RSASHA512", Denial::Nsec3),
        ("p256.test", "ECDSAP256SHA256", Denial::Nsec3),
        ("p384.test", "ECDSAP384SHA384", Denial::Nsec),
        ("ed25519.test", "ED25519", Denial::Nsec),
        ("ed25519-3.test", "ED25519", Denial::Nsec3),
    ];
    let served = zones.map(|(name, algorithm, denial)| Zone::signed(name, algorithm, denial).with(RECORDS));
    let tree = Tree::with(&served).await;
    for (zone, ..) in zones {
        let name = |label: &str| format!("{label}.{zone}");
        tree.shows(&[
            (&name("_dx"), FOUND_SECURE),
            (&name("any.wild"), FOUND_SECURE),
            (&name("x.y.wild"), FOUND_SECURE),
            (&name("nowhere"), ABSENT_SECURE),
            (&name("a.b.nowhere"), ABSENT_SECURE),
            (&name("host"), ABSENT_SECURE),
            (&name("below.host"), ABSENT_SECURE),
            (&name("deep.down"), ABSENT_SECURE),
            (&name("down"), ABSENT_SECURE),
            (zone, ABSENT_SECURE),
        ])
        .await;
    }
    tree.shows(&[
        ("no-such-zone.test", ABSENT_SECURE),
        ("no-such-tld", ABSENT_SECURE),
    ])
    .await;
}

#[tokio::test]
async fn unsigned_delegations_are_proven_insecure() {
    let tree = Tree::with(&[
        Zone::unsigned("plain.test").with(RECORDS),
        Zone::unsigned("below.plain.test").with(RECORDS),
        Zone::signed("no-ds.test", "ED25519", Denial::Nsec)
            .with(RECORDS)
            .but(Fault::NoDs),
        Zone::signed("nsec3.test", "ECDSAP256SHA256", Denial::Nsec3).with(RECORDS),
        Zone::unsigned("plain.nsec3.test").with(RECORDS),
    ])
    .await;
    for zone in ["plain.test", "below.plain.test", "no-ds.test", "plain.nsec3.test"] {
        tree.shows(&[
            (&format!("_dx.{zone}"), FOUND_INSECURE),
            (&format!("any.wild.{zone}"), FOUND_INSECURE),
            (&format!("nowhere.{zone}"), ABSENT_INSECURE),
            (&format!("host.{zone}"), ABSENT_INSECURE),
        ])
        .await;
    }
}

#[tokio::test]
async fn opt_out_proves_what_is_signed_and_leaves_the_rest_open() {
    let tree = Tree::with(&[
        Zone::signed("opt-out.test", "ECDSAP256SHA256", Denial::OptOut).with(RECORDS),
        Zone::unsigned("plain.opt-out.test").with(RECORDS),
        Zone::signed("signed.opt-out.test", "ED25519", Denial::Nsec).with(RECORDS),
    ])
    .await;
    tree.shows(&[
        ("_dx.opt-out.test", FOUND_SECURE),
        ("host.opt-out.test", ABSENT_SECURE),
        ("_dx.signed.opt-out.test", FOUND_SECURE),
        ("nowhere.signed.opt-out.test", ABSENT_SECURE),
        ("_dx.plain.opt-out.test", FOUND_INSECURE),
        ("nowhere.plain.opt-out.test", ABSENT_INSECURE),
        // An unsigned delegation might stand there.
        ("nowhere.opt-out.test", ABSENT_INSECURE),
    ])
    .await;
}

#[tokio::test]
async fn broken_zones_are_bogus_whatever_is_broken() {
    let broken = |name: &str, denial, fault| {
        Zone::signed(name, "ECDSAP256SHA256", denial)
            .with(RECORDS)
            .but(fault)
    };
    let tree = Tree::with(&[
        broken("expired.test", Denial::Nsec, Fault::Expired),
        broken("future.test", Denial::Nsec, Fault::NotYetValid),
        broken("wrong-ds.test", Denial::Nsec, Fault::WrongDs),
        broken("unsigned-text.test", Denial::Nsec, Fault::Unsigned("TXT")),
        Zone::signed("unsigned-keys.test", "RSASHA256", Denial::Nsec)
            .with(RECORDS)
            .but(Fault::Unsigned("DNSKEY")),
        broken("forged.test", Denial::Nsec, Fault::Forged("TXT")),
        broken("unsigned-nsec.test", Denial::Nsec, Fault::Unsigned("NSEC")),
        broken("unsigned-nsec3.test", Denial::Nsec3, Fault::Unsigned("NSEC3")),
        broken("no-nsec.test", Denial::Nsec, Fault::NoDenials),
        broken("forged-nsec3.test", Denial::Nsec3, Fault::Forged("NSEC3")),
    ])
    .await;
    for zone in [
        "expired.test",
        "future.test",
        "wrong-ds.test",
        "unsigned-keys.test",
    ] {
        tree.shows(&[
            (&format!("_dx.{zone}"), BOGUS),
            (&format!("nowhere.{zone}"), BOGUS),
            (&format!("any.wild.{zone}"), BOGUS),
        ])
        .await;
    }
    for zone in ["unsigned-text.test", "forged.test"] {
        tree.shows(&[
            (&format!("_dx.{zone}"), BOGUS),
            (&format!("any.wild.{zone}"), BOGUS),
            // The rest of the zone is as it should be.
            (&format!("nowhere.{zone}"), ABSENT_SECURE),
        ])
        .await;
    }
    for zone in [
        "unsigned-nsec.test",
        "unsigned-nsec3.test",
        "no-nsec.test",
        "forged-nsec3.test",
    ] {
        tree.shows(&[
            (&format!("_dx.{zone}"), FOUND_SECURE),
            (&format!("nowhere.{zone}"), BOGUS),
            (&format!("host.{zone}"), BOGUS),
            // Without the proof that nothing closer exists, the wildcard proves nothing.
            (&format!("any.wild.{zone}"), BOGUS),
        ])
        .await;
    }
    for (way, resolver) in &tree.ways {
        assert_eq!(
            resolver.self_test().await,
            SelfTest::Passed,
            "the zones are to blame: {way}"
        );
    }
}

#[tokio::test]
async fn aliases_are_proven_as_well_as_their_weakest_part() {
    let aliases = "near CNAME target\ntarget TXT \"here\"\nfar CNAME _dx.other.test.\nplain CNAME _dx.plain.test.\n\
        broken CNAME _dx.expired.test.\ndangling CNAME nowhere\nabroad CNAME nowhere.other.test.\n\
        loop CNAME pool\npool CNAME loop\nself CNAME self\n*.wild CNAME target\nempty CNAME host\nhost A 127.0.0.1\n\
        twice CNAME far";
    let tree = Tree::with(&[
        Zone::signed("alias.test", "ED25519", Denial::Nsec).with(aliases),
        Zone::signed("other.test", "ECDSAP256SHA256", Denial::Nsec3).with(RECORDS),
        Zone::unsigned("plain.test")
            .with(RECORDS)
            .with("back CNAME _dx.other.test."),
        Zone::signed("expired.test", "ED25519", Denial::Nsec)
            .with(RECORDS)
            .but(Fault::Expired),
    ])
    .await;
    tree.shows(&[
        ("near.alias.test", FOUND_SECURE),
        ("far.alias.test", FOUND_SECURE),
        ("twice.alias.test", FOUND_SECURE),
        ("x.wild.alias.test", FOUND_SECURE),
        ("plain.alias.test", FOUND_INSECURE),
        ("back.plain.test", FOUND_INSECURE),
        ("broken.alias.test", BOGUS),
        ("dangling.alias.test", ABSENT_SECURE),
        ("empty.alias.test", ABSENT_SECURE),
        ("abroad.alias.test", ABSENT_SECURE),
        ("loop.alias.test", FAILED),
        ("self.alias.test", FAILED),
    ])
    .await;
}

#[tokio::test]
async fn names_below_a_dname_are_aliases_proven_by_it() {
    let moved = |name: &str, target: &str| {
        Zone::signed(name, "ED25519", Denial::Nsec).with(&format!("@ DNAME {target}"))
    };
    let old = "moved DNAME new.test.\nmoved TXT \"itself\"\nUpper DNAME New.TEST.\nplain DNAME plain.test.\n\
        back DNAME moved.old.test.\nexpired DNAME expired.test.\n_dx CNAME _dx.moved\n\
        beside TXT \"beside\"";
    let tree = Tree::with(&[
        Zone::signed("old.test", "ED25519", Denial::Nsec).with(old),
        Zone::signed("old3.test", "ECDSAP256SHA256", Denial::Nsec3).with(old),
        moved("apex.test", "new.test."),
        Zone::signed("new.test", "ECDSAP256SHA256", Denial::Nsec3).with(RECORDS),
        Zone::unsigned("plain.test")
            .with(RECORDS)
            .with("away DNAME new.test."),
        Zone::signed("expired.test", "ED25519", Denial::Nsec)
            .with(RECORDS)
            .but(Fault::Expired),
        Zone::signed("unsigned-dname.test", "ED25519", Denial::Nsec)
            .with("moved DNAME new.test.")
            .but(Fault::Unsigned("DNAME")),
        Zone::signed("forged-dname.test", "ED25519", Denial::Nsec)
            .with("moved DNAME new.test.")
            .but(Fault::Forged("DNAME")),
    ])
    .await;
    for zone in ["old.test", "old3.test"] {
        let name = |label: &str| format!("{label}.{zone}");
        tree.shows(&[
            (&name("_dx.moved"), FOUND_SECURE),
            (&name("_dx.upper"), FOUND_SECURE),
            (&name("_dx.back"), FOUND_SECURE),
            (&name("_dx"), FOUND_SECURE),
            (&name("any.wild.moved"), FOUND_SECURE),
            (&name("nowhere.moved"), ABSENT_SECURE),
            (&name("host.moved"), ABSENT_SECURE),
            (&name("moved"), FOUND_SECURE),
            (&name("upper"), ABSENT_SECURE),
            (&name("beside"), FOUND_SECURE),
            (&name("_dx.plain"), FOUND_INSECURE),
            (&name("nowhere.plain"), ABSENT_INSECURE),
            (&name("_dx.expired"), BOGUS),
        ])
        .await;
    }
    tree.shows(&[
        ("_dx.apex.test", FOUND_SECURE),
        ("x.deep.down.apex.test", ABSENT_SECURE),
        ("apex.test", ABSENT_SECURE),
        ("_dx.away.plain.test", FOUND_INSECURE),
        ("_dx.moved.unsigned-dname.test", BOGUS),
        ("_dx.moved.forged-dname.test", BOGUS),
    ])
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_answer_is_a_failure_and_not_a_forgery() {
    let tree = Tree::with(&[
        Zone::signed("broken.test", "ED25519", Denial::Nsec).but(Fault::Unreadable),
        Zone::signed("fine.test", "ED25519", Denial::Nsec)
            .with(RECORDS)
            .with("away CNAME _dx.broken.test."),
    ])
    .await;
    tree.shows(&[
        ("_dx.broken.test", FAILED),
        ("nowhere.broken.test", FAILED),
        ("away.fine.test", FAILED),
        ("_dx.fine.test", FOUND_SECURE),
    ])
    .await;
}

fn root() -> Zone {
    Zone::signed(".", "ED25519", Denial::Nsec)
}

fn in_process(address: SocketAddr, anchor: &str) -> HickoryResolver {
    HickoryResolver::new(patient(address), anchor.parse().unwrap())
}

#[tokio::test]
async fn a_resolver_that_leaves_dnssec_out_is_told_from_a_bogus_zone() {
    let zones = [
        root(),
        Zone::signed("fine.test", "ED25519", Denial::Nsec).with(RECORDS),
        Zone::signed("expired.test", "ED25519", Denial::Nsec)
            .with(RECORDS)
            .but(Fault::Expired),
    ];
    let knot = NameServer::start(&zones).await;
    let stripping = Tamper::start(knot.address, Trick::NoDnssec).await;
    let resolver = in_process(stripping.address(), &knot.anchor);
    assert_eq!(resolver.txt("_dx.fine.test").await, Lookup::Bogus);
    assert_eq!(resolver.self_test().await, SelfTest::Strips);
    let honest = in_process(knot.address, &knot.anchor);
    assert_eq!(state(&honest.txt("_dx.fine.test").await), FOUND_SECURE);
    assert_eq!(honest.txt("_dx.expired.test").await, Lookup::Bogus);
    assert_eq!(honest.self_test().await, SelfTest::Passed);
    let plain = Unbound::not_validating(&knot).await;
    let believing = AdBitResolver::new(patient(plain.address)).unwrap();
    assert_eq!(state(&believing.txt("_dx.fine.test").await), FOUND_INSECURE);
    assert_eq!(believing.self_test().await, SelfTest::NotValidating);
    let validating = Unbound::validating(&knot).await;
    let believing = AdBitResolver::new(patient(validating.address)).unwrap();
    assert_eq!(believing.self_test().await, SelfTest::Passed);
}

#[tokio::test]
async fn anchors_and_clocks_that_do_not_fit_and_servers_that_are_silent_are_told_apart() {
    let knot = NameServer::start(&[root()]).await;
    let other = NameServer::start(&[root()]).await;
    let test = async |address, anchor: &str| in_process(address, anchor).self_test().await;
    assert_eq!(test(knot.address, &other.anchor).await, SelfTest::WrongAnchor);
    for fault in [Fault::Expired, Fault::NotYetValid] {
        let stale = NameServer::start(&[root().but(fault)]).await;
        assert_eq!(
            test(stale.address, &stale.anchor).await,
            SelfTest::Clock,
            "{fault:?}"
        );
    }
    let nobody = SocketAddr::new(other.address.ip(), 10054);
    assert_eq!(test(nobody, &other.anchor).await, SelfTest::Unreachable);
}
