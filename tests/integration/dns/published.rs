//! What `dimed dns records` prints, served by Knot DNS, and what `dimed dns check` says of it and of its neighbours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use dimed::base::zone_text::character_strings;
use dimed::cli::{Arguments, Exit};
use dimed::dime::record::ManagementRecord;
use dimed::net::dns::{HickoryResolver, Lookup, Mx, Proof, Resolver, Servers};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use super::super::support::name_server::{Denial, Fault, NameServer, Zone, done, program};
use super::super::support::organization::Organization;
use super::super::support::world::{World, domain};
use super::tamper::{Tamper, Trick};

pub const NAME: &str = "hismail.test";

/// hismail.test, whose configuration trusts the anchor of whatever Knot is started for it.
pub struct Stage {
    pub world: World,
    pub organization: Organization,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with_certificate(None).await
    }

    /// With a certificate of ours that ends in so many days, or a self-signed one that the daemon makes.
    async fn with_certificate(days: Option<i64>) -> Self {
        let world = World::new().await;
        let anchor = world.home().join("knot-anchor");
        std::fs::write(&anchor, "; Knot is not there yet\n").unwrap();
        let pair = days.map(|days| certificate(world.home(), "live", days));
        let organization = world
            .organization(NAME)
            .config(|config| {
                config.dns.trust_anchors = Some(anchor.clone());
                config.tls.certificate = pair.as_ref().map(|pair| pair.0.clone());
                config.tls.key = pair.as_ref().map(|pair| pair.1.clone());
            })
            .build()
            .await;
        Self { world, organization }
    }

    pub async fn records(&self) -> String {
        self.organization.cli(&["dns", "records", NAME]).await
    }

    /// Starts Knot with a root and a zone.
    pub async fn serve(&self, zone: Zone) -> NameServer {
        let root = Zone::signed(".", "ED25519", Denial::Nsec);
        let knot = NameServer::start(&[root, zone]).await;
        std::fs::copy(knot.anchor_file(), self.world.home().join("knot-anchor")).unwrap();
        knot
    }

    pub async fn check(&self, server: SocketAddr) -> (Exit, Value) {
        let config = self.organization.config.to_str().unwrap();
        let server = server.to_string();
        let words = [
            "dimed", "--config", config, "dns", "check", NAME, "--json", "--server", &server,
        ];
        let mut out = Vec::new();
        let exit = dimed::cli::run(Arguments::try_parse_from(words).unwrap(), &mut out)
            .await
            .unwrap();
        (exit, serde_json::from_slice(&out).unwrap())
    }

    /// Changes the configuration file.
    pub fn configure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.organization.config).unwrap();
        assert!(text.contains(from));
        std::fs::write(&self.organization.config, text.replacen(from, to, 1)).unwrap();
    }
}

pub fn signed(records: &str) -> Zone {
    Zone::signed(NAME, "ECDSAP256SHA256", Denial::Nsec).with(&with_address(records))
}

fn with_address(records: &str) -> String {
    format!("{records}mx A 192.0.2.1\n")
}

/// `name.pem` and `name.key`, valid for so many days from now.
fn certificate(folder: &Path, name: &str, days: i64) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec![format!("mx.{NAME}")]).unwrap();
    let now = std::time::SystemTime::now();
    params.not_after = (now + std::time::Duration::from_secs(days as u64 * 24 * 3600)).into();
    let key = KeyPair::generate().unwrap();
    let (chain, private) = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    std::fs::write(&chain, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    (chain, private)
}

/// What is wrong at a name and type, with a mark where it counts.
pub fn problems(report: &Value, name: &str, kind: &str) -> Vec<String> {
    let records = report["records"].as_array().unwrap();
    let found = records
        .iter()
        .find(|record| record["name"] == name && record["type"] == kind);
    let found = found.unwrap_or_else(|| panic!("{name} {kind}: {report:#}"));
    let problems = found["problems"].as_array().unwrap().iter();
    let word = |problem: &Value| {
        let mark = if problem["counts"] == true { "!" } else { "" };
        format!("{}{mark}", problem["code"].as_str().unwrap())
    };
    problems.map(word).collect()
}

pub fn of(report: &Value, name: &str, side: &str) -> Vec<String> {
    let records = report["records"].as_array().unwrap();
    let found = records.iter().find(|record| record["name"] == name).unwrap();
    let items = found[side].as_array().unwrap().iter();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The record's text among the lines.
fn record(records: &str) -> String {
    let line = records.lines().find(|line| line.starts_with("_dx.")).unwrap();
    let (_, strings) = line.split_once(" IN TXT ").unwrap();
    strings.trim_matches('"').split("\" \"").collect()
}

fn with_record(records: &str, record: &str) -> String {
    let line = records.lines().find(|line| line.starts_with("_dx.")).unwrap();
    records.replace(line, &format!("_dx 3600 IN TXT {}", character_strings(record)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_loads_into_a_name_server_and_reads_back() {
    let stage = Stage::with_certificate(Some(90)).await;
    let (next, _) = certificate(stage.world.home(), "next", 180);
    stage.configure(
        "[tls]\n",
        &format!("[tls]\nnext_certificate = \"{}\"\n", next.display()),
    );
    let records = stage.records().await;
    let file = stage.world.home().join("published.zone");
    std::fs::write(
        &file,
        format!("@ 300 SOA ns hostmaster 1 1 1 1 1\n@ 300 NS ns\nns 300 A 192.0.2.1\n{records}"),
    )
    .unwrap();
    done(program("kzonecheck").args(["-o", NAME]).arg(&file));
    let knot = stage.serve(signed(&records)).await;
    let resolver = HickoryResolver::new(Servers::new(vec![knot.address]), knot.anchor.parse().unwrap());

    let Lookup::Found {
        value,
        proof: Proof::Secure,
        ..
    } = resolver.txt("_dx.hismail.test").await
    else {
        panic!("no record");
    };
    let text = String::from_utf8(value[0].clone()).unwrap();
    assert!(text.len() > 255, "several strings: {text}");
    assert_eq!(text, record(&records));
    let parsed = ManagementRecord::parse(&text).unwrap();
    assert_eq!((parsed.tls_signatures.len(), parsed.expiry_days), (2, Some(30)));
    for pem in ["live.pem", "next.pem"] {
        let pem = std::fs::read(stage.world.home().join(pem)).unwrap();
        let der =
            <rustls_pki_types::CertificateDer as rustls_pki_types::pem::PemObject>::from_pem_slice(&pem);
        assert!(parsed.matches_certificate(&der.unwrap()));
    }

    let mx = Mx {
        preference: 10,
        host: Some(domain("mx.hismail.test")),
    };
    assert!(matches!(resolver.mx(&domain(NAME)).await, Lookup::Found { value, .. } if value == [mx]));
    for (service, port) in [("_submission", 10587), ("_submissions", 10465)] {
        let Lookup::Found { value, .. } = resolver.srv(&format!("{service}._tcp.{NAME}")).await else {
            panic!("{service}");
        };
        assert_eq!(
            (value[0].port, value[0].target.clone()),
            (port, Some(domain("mx.hismail.test")))
        );
    }
    let Lookup::Found { value, .. } = resolver.tlsa("_25._tcp.mx.hismail.test").await else {
        panic!("no TLSA");
    };
    assert_eq!(value.len(), 2, "the live key and the next one");
    assert!(
        value
            .iter()
            .all(|tlsa| (tlsa.usage, tlsa.selector, tlsa.matching, tlsa.data.len()) == (3, 1, 1, 32))
    );
    for (name, text) in [
        (NAME, "v=spf1 mx -all"),
        ("mx.hismail.test", "v=spf1 a -all"),
        (
            "_dmarc.hismail.test",
            "v=DMARC1; p=none; rua=mailto:postmaster@hismail.test",
        ),
        (
            "_smtp._tls.hismail.test",
            "v=TLSRPTv1; rua=mailto:postmaster@hismail.test",
        ),
    ] {
        assert!(
            matches!(resolver.txt(name).await, Lookup::Found { value, .. } if value == [text.as_bytes()]),
            "{name}"
        );
    }
    // What the daemon does not do is said, and not published.
    for remark in [
        "; DKIM: ",
        "; MTA-STS: ",
        "; _imaps._tcp ",
        "; mx.hismail.test needs A and AAAA",
    ] {
        assert!(
            records.lines().any(|line| line.starts_with(remark)),
            "{remark} {records}"
        );
    }
    assert!(!records.contains("_domainkey") && !records.contains("_mta-sts"));

    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(
        (exit, &report["result"]),
        (Exit::Done, &Value::from("right")),
        "{report:#}"
    );
    assert_eq!(report["self_test"], "passed");
    assert!(
        report["records"]
            .as_array()
            .unwrap()
            .iter()
            .all(|record| record["right"] == true && record["secure"] == true),
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_record_is_named_and_what_counts_ends_with_1() {
    let stage = Stage::new().await;
    let records = stage.records().await;
    let right = record(&records);
    let knot = stage.serve(signed(&records)).await;
    assert_eq!(stage.check(knot.address).await.0, Exit::Done);
    let dx = "_dx.hismail.test";
    let other_tls = format!("tls={}", "A".repeat(86));
    let tls = right.split(' ').find(|word| word.starts_with("tls=")).unwrap();
    let line = |name: &str| {
        records
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    let without = |name: &str| records.replace(&line(name), "");
    for (served, name, kind, expected, exit) in [
        (without("_dx."), dx, "TXT", &["missing!"][..], Exit::No),
        (
            with_record(&records, &right.replace("pol=experimental", "pol=strict")),
            dx,
            "TXT",
            &["differs!"],
            Exit::No,
        ),
        (
            format!("{records}_dx TXT \"ver=1\"\n"),
            dx,
            "TXT",
            &["several!"],
            Exit::No,
        ),
        (
            with_record(&records, "ver=2"),
            dx,
            "TXT",
            &["unparsable!"],
            Exit::No,
        ),
        (
            with_record(&records, &right.replace(" exp=30", "")),
            dx,
            "TXT",
            &["differs!", "no_expiry"],
            Exit::No,
        ),
        (
            with_record(&records, &right.replace(tls, &other_tls)),
            dx,
            "TXT",
            &["differs!", "certificate_not_covered!"],
            Exit::No,
        ),
        (
            // The same record in other words.
            with_record(
                &records,
                &right
                    .replace("ver=1 ", "")
                    .replace(' ', "; ")
                    .replace("pol=", "POLICY="),
            ),
            dx,
            "TXT",
            &[],
            Exit::Done,
        ),
        (
            without("hismail.test. 3600 IN MX"),
            NAME,
            "MX",
            &["missing!"],
            Exit::No,
        ),
        (
            records.replace("MX 10 mx.hismail", "MX 10 old.hismail"),
            NAME,
            "MX",
            &["differs!"],
            Exit::No,
        ),
        (
            format!("{records}@ MX 20 backup.hermail.test.\n"),
            NAME,
            "MX",
            &[],
            Exit::Done,
        ),
        (
            records.replace("TLSA 3 1 1 ", "TLSA 3 1 1 00"),
            "_25._tcp.mx.hismail.test",
            "TLSA",
            &["differs!"],
            Exit::No,
        ),
        (
            without("_25._tcp"),
            "_25._tcp.mx.hismail.test",
            "TLSA",
            &["missing"],
            Exit::Done,
        ),
        (
            records.replace("v=spf1 mx -all", "v=spf1 mx include:x.test -all"),
            NAME,
            "TXT",
            &["differs"],
            Exit::Done,
        ),
        (
            without("_submission._tcp"),
            "_submission._tcp.hismail.test",
            "SRV",
            &["missing"],
            Exit::Done,
        ),
        (
            without("_dmarc"),
            "_dmarc.hismail.test",
            "TXT",
            &["missing"],
            Exit::Done,
        ),
    ] {
        knot.replace(&signed(&served));
        let (ended, report) = stage.check(knot.address).await;
        assert_eq!(problems(&report, name, kind), expected, "{report:#}");
        assert_eq!(ended, exit, "{name} {kind} {expected:?}");
    }
    knot.replace(&signed(&with_record(
        &records,
        &right.replace("pol=experimental", "pol=strict new=1"),
    )));
    let (_, report) = stage.check(knot.address).await;
    assert_eq!(of(&report, dx, "lacking"), ["pol=experimental"]);
    assert_eq!(of(&report, dx, "excess"), ["pol=strict", "new=1"]);
    knot.replace(&Zone::signed(NAME, "ECDSAP256SHA256", Denial::Nsec).with(&records));
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, "mx.hismail.test", "A/AAAA"), ["missing!"]);
    assert_eq!(exit, Exit::No);
}

/// A change of keys was called off when DNS had both already.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ours_that_is_out_of_use_does_no_harm_and_a_stranger_s_does() {
    let stage = Stage::new().await;
    let (dx, right) = ("_dx.hismail.test", record(&stage.records().await));
    stage.organization.cli(&["key", "rotate", NAME]).await;
    let both = stage.records().await;
    stage.organization.cli(&["key", "rotate", NAME, "--cancel"]).await;
    let after = stage.records().await;
    assert_eq!(record(&after), right);
    let knot = stage.serve(signed(&both)).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), ["former_key"], "{report:#}");
    assert_eq!(exit, Exit::Done);
    let excess = of(&report, dx, "excess");
    assert!(
        excess.len() == 2 && excess[0].starts_with("pok=") && excess[1].starts_with("tls="),
        "{excess:?}"
    );

    let stranger = format!("ver=1 pok={}", "A".repeat(43));
    for wrong in [
        with_record(&after, &right.replace("ver=1", &stranger)),
        // Beside it, something that counts.
        with_record(&both, &record(&both).replace("pol=experimental", "pol=strict")),
        // In the place of the key in use.
        with_record(
            &both,
            &record(&both).replace(right.split(' ').nth(1).unwrap(), ""),
        ),
    ] {
        knot.replace(&signed(&wrong));
        let (exit, report) = stage.check(knot.address).await;
        assert_eq!(problems(&report, dx, "TXT")[0], "differs!", "{report:#}");
        assert_eq!(exit, Exit::No);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_break_is_said_in_time() {
    let stage = Stage::with_certificate(Some(3)).await;
    let records = stage.records().await;
    let dx = "_dx.hismail.test";
    let knot = stage.serve(signed(&records)).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), ["certificate_ends!"]);
    assert_eq!(exit, Exit::No);
    let line = records.lines().find(|line| line.starts_with("_dx.")).unwrap();
    let long = records.replace(line, &line.replace(" 3600 IN ", " 604800 IN "));
    knot.replace(&signed(&long));
    let (_, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), ["ttl_outlives_certificate!"]);
    let zero = records.replace(line, &line.replace(" 3600 IN ", " 0 IN "));
    knot.replace(&signed(&zero));
    let (_, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), ["certificate_ends!", "zero_ttl!"]);

    // A successor is there and not yet published; then it is.
    let (next, _) = certificate(stage.world.home(), "next", 90);
    stage.configure(
        "[tls]\n",
        &format!("[tls]\nnext_certificate = \"{}\"\n", next.display()),
    );
    knot.replace(&signed(&records));
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(
        problems(&report, dx, "TXT"),
        ["differs!", "next_certificate_not_covered!", "certificate_ends!"]
    );
    assert_eq!(exit, Exit::No);
    knot.replace(&signed(&stage.records().await));
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), [""; 0]);
    assert_eq!(exit, Exit::Done, "{report:#}");

    let records = stage.records().await;
    let line = records.lines().find(|line| line.starts_with("_dx.")).unwrap();
    let longer = records.replace(line, &line.replace(" 3600 IN ", " 604801 IN "));
    knot.replace(&signed(&longer));
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), ["ttl_outlives_rotation!"]);
    assert_eq!(exit, Exit::No);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_said_to_have() {
    let stage = Stage::with_certificate(Some(0)).await;
    let knot = stage.serve(signed(&stage.records().await)).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(
        problems(&report, "_dx.hismail.test", "TXT"),
        ["certificate_ended!"]
    );
    assert_eq!(exit, Exit::No);
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_and_broken_zones_and_useless_resolvers_are_told_apart() {
    let stage = Stage::new().await;
    let records = stage.records().await;
    let dx = "_dx.hismail.test";
    let unsigned = Zone::unsigned(NAME).with(&with_address(&records));
    let knot = stage.serve(unsigned).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(
        problems(&report, dx, "TXT"),
        ["unsigned!"],
        "its certificate is self-signed"
    );
    assert_eq!(
        problems(&report, "_25._tcp.mx.hismail.test", "TLSA"),
        ["unsigned"]
    );
    assert_eq!((exit, &report["self_test"]), (Exit::No, &Value::from("passed")));

    let knot = stage.serve(signed(&records).but(Fault::Expired)).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, dx, "TXT"), ["bogus!"]);
    assert_eq!((exit, &report["self_test"]), (Exit::No, &Value::from("passed")));

    let knot = stage.serve(signed(&records)).await;
    let stripping = Tamper::start(knot.address, Trick::NoDnssec).await;
    let (exit, report) = stage.check(stripping.address()).await;
    assert_eq!(
        (exit, &report["self_test"]),
        (Exit::TryLater, &Value::from("strips_dnssec"))
    );
    stage.configure("reply_timeout_secs = 2", "reply_timeout_secs = 1");
    let nobody = SocketAddr::new(knot.address.ip(), 10054);
    let (exit, report) = stage.check(nobody).await;
    assert_eq!(
        (exit, &report["self_test"]),
        (Exit::TryLater, &Value::from("unreachable"))
    );
    assert_eq!(problems(&report, dx, "TXT"), ["lookup_failed!"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_should_be_gone_is_told_of() {
    let stage = Stage::new().await;
    let records = stage.records().await;
    stage.organization.cli(&["domain", "retire", NAME]).await;
    stage
        .organization
        .change_database("UPDATE retirements SET state = 'withdrawn', due_at = NULL")
        .await;
    let knot = stage.serve(signed(&records)).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(problems(&report, "_dx.hismail.test", "TXT"), ["leftover!"]);
    assert_eq!(exit, Exit::No);
    knot.replace(&signed(&stage.records().await));
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(exit, Exit::Done, "{report:#}");
    let named = |record: &Value| record["name"] == "_dx.hismail.test";
    assert!(
        !report["records"].as_array().unwrap().iter().any(named),
        "{report:#}"
    );
}
