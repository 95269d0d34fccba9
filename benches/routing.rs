//! Routing decisions: with every fact at hand, and warm, with what is known of the domain fetched from where it is kept.

#![allow(missing_docs, clippy::unwrap_used)] // generated items have no documentation; a bench may panic

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dimed::base::time::{Clock, SystemClock, Timestamp};
use dimed::crypto::at_rest::Key;
use dimed::dime::record::ManagementRecord;
use dimed::domains::{DomainFacts, Domains, Limits, PinnedRecord, RecordLookup};
use dimed::mail::address::Domain;
use dimed::mail::demand::{Demand, TlsDemand};
use dimed::net::dane::Dane;
use dimed::net::dns::{HickoryResolver, Proof, Servers, Tlsa, TrustAnchors};
use dimed::routing::{
    Allowances, DmtpFinding, Facts, HostFacts, SmtpTls, Sts, TlsaFinding, decide, decide_host,
};

use dimed::store::sqlite::SqliteStore;
use dimed::store::{self, MasterKey, Pin};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

const RECORD: &str =
    "ver=1 pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg pol=mixed dx=dx.hismail.test exp=30";

fn facts(lookup: RecordLookup, finding: DmtpFinding) -> Facts {
    let pin = PinnedRecord {
        record: ManagementRecord::parse(RECORD).unwrap(),
        proof: Proof::Secure,
        first_seen_at: Timestamp(0),
        expires_at: Timestamp(1),
    };
    Facts {
        local: false,
        sender_policy: None,
        demand: Demand::default(),
        domain: DomainFacts {
            lookup,
            pin: Some(pin),
            remembered: true,
        },
        parent: None,
        finding,
        failing_for_long: false,
        allowances: Allowances::default(),
    }
}

#[divan::bench]
fn by_dmtp(bencher: divan::Bencher) {
    let record = ManagementRecord::parse(RECORD).unwrap();
    let lookup = RecordLookup::Found {
        record,
        proof: Proof::Secure,
    };
    let facts = facts(lookup, DmtpFinding::SignetValid);
    bencher.bench(|| decide(black_box(&facts)));
}

#[divan::bench]
fn by_smtp(bencher: divan::Bencher) {
    let facts = facts(RecordLookup::Absent(Proof::Secure), DmtpFinding::NotAsked);
    bencher.bench(|| decide(black_box(&facts)));
}

#[divan::bench]
fn one_host_by_dane(bencher: divan::Bencher) {
    let record = Tlsa {
        usage: 3,
        selector: 1,
        matching: 1,
        data: vec![7; 32],
    };
    let names = vec![
        "mx.hismail.test".parse().unwrap(),
        "hismail.test".parse().unwrap(),
    ];
    let facts = HostFacts {
        list: Proof::Secure,
        tlsa: TlsaFinding::Usable(Dane::new(&[record], names).unwrap()),
        sts: Sts::Covered,
        wanted: SmtpTls::VerifiedIfPossible,
        demand: TlsDemand::Required,
    };
    bencher.bench(|| decide_host(black_box(&facts)));
}

/// What is kept of a domain, on disk.
struct Warm {
    runtime: Runtime,
    domains: Domains,
    name: Domain,
    _folder: tempfile::TempDir,
}

impl Warm {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("dimed.db");
        let master = MasterKey(Key::from_bytes([1; 32]));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let opened = SqliteStore::open(&path, master, Arc::clone(&clock));
        let store = Arc::new(runtime.block_on(opened).unwrap());
        let name: Domain = "hismail.test".parse().unwrap();
        let later = clock.now().after(Duration::from_secs(3600));
        let pin = Pin {
            domain: name.clone(),
            record: RECORD.to_owned(),
            secure: true,
            first_seen_at: clock.now(),
            refresh_at: later,
            expires_at: later,
        };
        runtime
            .block_on(store::Domains::set_pin(store.as_ref(), pin))
            .unwrap();
        // Nobody is asked while the record is fresh.
        let resolver = HickoryResolver::new(Servers::new(Vec::new()), TrustAnchors::root());
        let domains = Domains::new(Arc::new(resolver), store, clock, Limits::default());
        Self {
            runtime,
            domains,
            name,
            _folder: folder,
        }
    }
}

#[divan::bench]
fn warm(bencher: divan::Bencher) {
    let warm = Warm::new();
    let known = facts(RecordLookup::Failed, DmtpFinding::NotAsked);
    bencher.bench(|| {
        let domain = warm.runtime.block_on(warm.domains.facts(&warm.name)).unwrap();
        assert!(domain.remembered);
        decide(&Facts {
            domain,
            ..known.clone()
        })
    });
}
