//! Routing decisions: with every fact at hand, and warm, as the queue makes them, facts included.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // generated items have no documentation; a bench may panic

#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use dimed::base::id::QueueId;
use dimed::base::time::{Clock, SystemClock, Timestamp};
use dimed::dime::record::ManagementRecord;
use dimed::domains::{DomainFacts, PinnedRecord, RecordLookup};
use dimed::mail::address::{Mailbox, ReversePath};
use dimed::mail::demand::{Demand, TlsDemand};
use dimed::mail::notify::MessageRequest;
use dimed::net::dane::Dane;
use dimed::net::dns::{Proof, Tlsa};
use dimed::queue::plan::{Planned, Planner};
use dimed::routing::{
    Allowances, Decision, DmtpFinding, Facts, HostFacts, Route, SmtpTls, Sts, TlsaFinding, decide,
    decide_host,
};
use dimed::store::{Claim, Content, Envelope, FollowUp, NewMessage, Source, Store};
use tokio::runtime::Runtime;

use support::organization::Served;
use support::world::World;

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
        transport: None,
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
        transport: None,
    };
    bencher.bench(|| decide_host(black_box(&facts)));
}

/// Alice's server, which has written to hismail.test and to plain.test a moment ago, and that of hismail.test.
struct Warm {
    runtime: Runtime,
    planner: Planner,
    by_dmtp: Claim,
    by_smtp: Claim,
    _served: Served,
    _world: World,
}

impl Warm {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (planner, by_dmtp, by_smtp, served, world) = runtime.block_on(async {
            let world = World::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).await;
            world.plain_domain("plain.test", Ipv4Addr::LOCALHOST.into());
            let hermail = world.organization("hermail.test").accounts(&["alice"]);
            let hermail = hermail.build().await;
            let hismail = world.organization("hismail.test").accounts(&["bob"]);
            let hismail = hismail.build().await;
            let served = hismail.start().await;
            let services = hermail.services().await;
            let planner = services.planner();
            let by_dmtp = claim(services.store.as_ref(), "bob@hismail.test").await;
            let by_smtp = claim(services.store.as_ref(), "carol@plain.test").await;
            (planner, by_dmtp, by_smtp, served, world)
        });
        let warm = Self {
            runtime,
            planner,
            by_dmtp,
            by_smtp,
            _served: served,
            _world: world,
        };
        let routes = [&warm.by_dmtp, &warm.by_smtp].map(|claim| warm.decide(claim).route);
        assert!(
            matches!(routes, [Route::Dmtp { .. }, Route::Smtp { .. }]),
            "{routes:?}"
        );
        assert!(warm.plan(&warm.by_dmtp)[0].sealing.is_some());
        warm
    }

    /// What the domain's records and our own settings say: facts and decision, as before anybody is asked for signets.
    fn decide(&self, claim: &Claim) -> Decision {
        let facts = self.planner.facts(&claim.destination, &claim.envelope.source);
        decide(&self.runtime.block_on(facts).unwrap())
    }

    /// The whole of it, with the signets of all four parties, their pins, and the author's private keys for sealing.
    fn plan<'a>(&self, claim: &'a Claim) -> Vec<Planned<'a>> {
        self.runtime.block_on(self.planner.plan(claim)).unwrap()
    }
}

/// A message from alice, as the queue has it.
async fn claim(store: &dyn Store, recipient: &str) -> Claim {
    let now = SystemClock.now();
    let alice: Mailbox = "alice@hermail.test".parse().unwrap();
    let recipient: Mailbox = recipient.parse().unwrap();
    let message = NewMessage {
        id: QueueId::random(&mut rand::rng()),
        envelope: Envelope {
            reverse_path: ReversePath(Some(alice.clone())),
            source: Source::Submission(alice),
            smtputf8: false,
            eight_bit: false,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        },
        content: Content::Mime,
        recipients: vec![recipient.into()],
        accepted_at: now,
        due_at: now,
        ticket: None,
    };
    let follow_up = FollowUp {
        message,
        body: b"Subject: x\r\n\r\nx\r\n".to_vec().into(),
        replay: None,
    };
    store.enqueue(follow_up).await.unwrap();
    let until = now.after(Duration::from_secs(3600));
    store.claim(now, until, 1).await.unwrap().remove(0)
}

#[divan::bench]
fn warm_decision_for_dmtp(bencher: divan::Bencher) {
    let warm = Warm::new();
    bencher.bench_local(|| warm.decide(&warm.by_dmtp));
}

#[divan::bench]
fn warm_decision_for_smtp(bencher: divan::Bencher) {
    let warm = Warm::new();
    bencher.bench_local(|| warm.decide(&warm.by_smtp));
}

#[divan::bench]
fn warm_plan_with_signets_and_keys(bencher: divan::Bencher) {
    let warm = Warm::new();
    bencher.bench_local(|| warm.plan(&warm.by_dmtp).len());
}
