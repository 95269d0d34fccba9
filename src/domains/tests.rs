#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::base::encoding::base64_unpadded;
use crate::base::time::ManualClock;
use crate::net::dns::{Mx, scripted};
use crate::store::{LocalDomain, Pin};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Answers what it was last told to, and counts.
struct Script {
    txt: Mutex<Lookup<Vec<Vec<u8>>>>,
    mx: Mutex<Lookup<Vec<Mx>>>,
    addresses: Mutex<Lookup<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl scripted::Script for Script {
    fn texts(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        assert_eq!(name, "_dx.hismail.test");
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.txt.lock().unwrap().clone()
    }
    fn hosts(&self) -> Lookup<Vec<Mx>> {
        self.mx.lock().unwrap().clone()
    }
    fn addresses(&self) -> Lookup<Vec<IpAddr>> {
        self.addresses.lock().unwrap().clone()
    }
}

/// Pins in memory.
#[derive(Default)]
struct Pins(Mutex<HashMap<Domain, Pin>>);

#[async_trait]
impl store::Domains for Pins {
    async fn add_domain(&self, _: LocalDomain) -> Result<(), store::Error> {
        Err(store::Error::Exists)
    }
    async fn set_dime(&self, _: &Domain, _: store::DimeSettings) -> Result<bool, store::Error> {
        Ok(false)
    }
    async fn local_domain(&self, _: &Domain) -> Result<Option<LocalDomain>, store::Error> {
        Ok(None)
    }
    async fn list_domains(&self) -> Result<Vec<LocalDomain>, store::Error> {
        Ok(Vec::new())
    }
    async fn first_domain(&self) -> Result<Option<LocalDomain>, store::Error> {
        Ok(None)
    }
    async fn remove_domain(&self, _: &Domain, _: Timestamp) -> Result<store::DomainRemoval, store::Error> {
        Ok(store::DomainRemoval::Missing)
    }
    async fn pin(&self, domain: &Domain) -> Result<Option<Pin>, store::Error> {
        Ok(self.0.lock().unwrap().get(domain).cloned())
    }
    async fn set_pin(&self, pin: Pin) -> Result<(), store::Error> {
        self.0.lock().unwrap().insert(pin.domain.clone(), pin);
        Ok(())
    }
    async fn drop_pin(&self, domain: &Domain) -> Result<bool, store::Error> {
        Ok(self.0.lock().unwrap().remove(domain).is_some())
    }
    async fn drop_expired_pins(&self, before: Timestamp) -> Result<u64, store::Error> {
        self.0.lock().unwrap().retain(|_, pin| pin.expires_at >= before);
        Ok(0)
    }
    async fn list_pins(
        &self,
        _: Option<&Domain>,
        _: usize,
    ) -> Result<Vec<(Domain, Option<Pin>)>, store::Error> {
        Ok(Vec::new())
    }
}

struct World {
    script: Arc<Script>,
    pins: Arc<Pins>,
    clock: Arc<ManualClock>,
    domains: Domains,
}

impl World {
    fn new() -> Self {
        let script = Arc::new(Script {
            txt: Mutex::new(Lookup::Failed),
            mx: Mutex::new(Lookup::Failed),
            addresses: Mutex::new(Lookup::Failed),
            asked: AtomicUsize::new(0),
        });
        let pins = Arc::new(Pins::default());
        let clock = Arc::new(ManualClock::new(Timestamp(1_000_000)));
        let domains = Domains::new(script.clone(), pins.clone(), clock.clone(), Limits::default());
        Self {
            script,
            pins,
            clock,
            domains,
        }
    }

    async fn see(&self, lookup: Lookup<Vec<Vec<u8>>>) -> DomainFacts {
        *self.script.txt.lock().unwrap() = lookup;
        self.domains.facts(&hismail()).await.unwrap()
    }

    fn pin(&self) -> Option<Pin> {
        self.pins.0.lock().unwrap().get(&hismail()).cloned()
    }

    fn asked(&self) -> usize {
        self.script.asked.load(Ordering::Relaxed)
    }
}

fn hismail() -> Domain {
    Domain::parse("hismail.test").unwrap()
}

fn text(key: u8, fields: &str) -> String {
    format!("ver=1 pok={} {fields}", base64_unpadded(&[key; 32]))
}

fn published(text: &str, ttl: Duration, proof: Proof) -> Lookup<Vec<Vec<u8>>> {
    Lookup::Found {
        value: vec![text.as_bytes().to_vec()],
        ttl,
        proof,
    }
}

fn found(text: &str, proof: Proof) -> RecordLookup {
    RecordLookup::Found {
        record: ManagementRecord::parse(text).unwrap(),
        proof,
    }
}

const SECURE: Proof = Proof::Secure;
const INSECURE: Proof = Proof::Insecure;

#[tokio::test]
async fn a_record_is_pinned_at_first_sight_and_remembered_for_its_ttl() {
    let world = World::new();
    let record = text(1, "pol=mixed exp=30");
    let facts = world.see(published(&record, HOUR, SECURE)).await;
    assert_eq!(
        facts,
        DomainFacts {
            lookup: found(&record, SECURE),
            pin: None,
            remembered: false
        }
    );
    let pin = world.pin().unwrap();
    let now = world.clock.now();
    assert_eq!((pin.secure, pin.first_seen_at), (true, now));
    assert_eq!(
        (pin.refresh_at, pin.expires_at),
        (now.after(HOUR), now.after(DAY * 30))
    );
    world.clock.advance(HOUR - Duration::from_millis(1));
    let facts = world.see(Lookup::Failed).await;
    assert_eq!((facts.lookup, facts.remembered), (found(&record, SECURE), true));
    assert_eq!(world.asked(), 1);
    world.clock.advance(Duration::from_millis(1));
    let facts = world.see(Lookup::Failed).await;
    assert_eq!(facts.lookup, RecordLookup::Failed);
    assert_eq!(
        facts.pin.unwrap().record,
        ManagementRecord::parse(&record).unwrap()
    );
}

#[tokio::test]
async fn a_pin_ends_at_its_expiry_or_without_one_at_the_ttl() {
    for (fields, ttl, life) in [
        ("exp=1", HOUR, DAY),
        ("", HOUR, HOUR),
        ("", Duration::from_secs(5), Duration::from_secs(60)),
        ("", DAY * 30, DAY * 7),
    ] {
        let world = World::new();
        world.see(published(&text(1, fields), ttl, SECURE)).await;
        world.clock.advance(life - Duration::from_millis(1));
        assert!(world.see(Lookup::Failed).await.pin.is_some(), "{fields} {ttl:?}");
        world.clock.advance(Duration::from_millis(1));
        let facts = world.see(Lookup::Failed).await;
        assert_eq!(
            (facts.lookup, facts.pin),
            (RecordLookup::Failed, None),
            "{fields} {ttl:?}"
        );
    }
}

/// One forged answer does not decide about ten years.
#[tokio::test]
async fn a_pin_without_proof_lasts_thirty_days_at_most() {
    for (days, proof, life) in [
        (3650, INSECURE, 30),
        (31, INSECURE, 30),
        (30, INSECURE, 30),
        (29, INSECURE, 29),
        (3650, SECURE, 3650),
    ] {
        let world = World::new();
        let record = text(1, &format!("exp={days}"));
        world.see(published(&record, HOUR, proof)).await;
        let expires_at = world.pin().unwrap().expires_at;
        assert_eq!(
            expires_at,
            world.clock.now().after(DAY * life),
            "{days} {proof:?}"
        );
    }
}

#[tokio::test]
async fn a_ttl_of_zero_serves_one_delivery() {
    let world = World::new();
    let record = text(1, "");
    world.see(published(&record, Duration::ZERO, SECURE)).await;
    let facts = world.see(Lookup::Failed).await;
    assert_eq!((facts.lookup, facts.pin), (RecordLookup::Failed, None));
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_secure_record_replaces_whatever_was_pinned() {
    for old in [SECURE, INSECURE] {
        let world = World::new();
        world
            .see(published(&text(1, "pol=strict exp=30"), HOUR, old))
            .await;
        world.clock.advance(DAY);
        let new = text(2, "pol=experimental exp=10");
        let facts = world.see(published(&new, HOUR, SECURE)).await;
        assert_eq!(facts.lookup, found(&new, SECURE));
        assert!(!facts.keys_conflict());
        let pin = world.pin().unwrap();
        assert_eq!(
            ManagementRecord::parse(&pin.record).unwrap(),
            ManagementRecord::parse(&new).unwrap()
        );
        assert_eq!(pin.first_seen_at, world.clock.now());
        assert_eq!(pin.expires_at, world.clock.now().after(DAY * 10));
    }
}

#[tokio::test]
async fn a_proven_record_was_first_seen_when_its_keys_were_first_proven() {
    for (old, kept) in [(SECURE, true), (INSECURE, false)] {
        let world = World::new();
        world.see(published(&text(1, "exp=30"), HOUR, old)).await;
        let before = world.pin().unwrap().first_seen_at;
        world.clock.advance(DAY);
        world.see(published(&text(1, "exp=30"), HOUR, SECURE)).await;
        let seen = world.pin().unwrap().first_seen_at;
        assert_eq!(seen == before, kept);
    }
}

#[tokio::test]
async fn an_unproven_record_with_other_keys_waits_for_the_expiry() {
    for old in [SECURE, INSECURE] {
        let world = World::new();
        world.see(published(&text(1, "exp=2"), HOUR, old)).await;
        let before = world.pin();
        world.clock.advance(DAY);
        let facts = world.see(published(&text(2, "exp=2"), HOUR, INSECURE)).await;
        assert!(facts.keys_conflict());
        assert_eq!(world.pin(), before);
        world.clock.advance(DAY);
        let facts = world.see(published(&text(2, "exp=2"), HOUR, INSECURE)).await;
        assert!(!facts.keys_conflict());
        assert_eq!(facts.pin, None);
        assert!(world.pin().unwrap().record.contains(&base64_unpadded(&[2; 32])));
    }
}

#[tokio::test]
async fn an_unproven_refresh_keeps_first_sight_expiry_and_the_stronger_policy() {
    let world = World::new();
    let rolled = format!("{} {}", text(2, "pol=experimental exp=3000"), &text(1, "")[6..]);
    world
        .see(published(&text(1, "pol=strict exp=2"), HOUR, INSECURE))
        .await;
    let before = world.pin().unwrap();
    world.clock.advance(HOUR * 2);
    world.see(published(&rolled, HOUR, INSECURE)).await;
    let after = world.pin().unwrap();
    assert_eq!(
        (after.first_seen_at, after.expires_at),
        (before.first_seen_at, before.expires_at)
    );
    assert_eq!(after.refresh_at, world.clock.now().after(HOUR));
    let record = ManagementRecord::parse(&after.record).unwrap();
    assert_eq!(
        (record.primary_keys.len(), record.policy),
        (2, record::Policy::Strict)
    );
}

#[tokio::test]
async fn an_unproven_record_never_replaces_a_proven_one() {
    let world = World::new();
    world.see(published(&text(1, "exp=2"), HOUR, SECURE)).await;
    let before = world.pin();
    world.clock.advance(HOUR * 2);
    let facts = world
        .see(published(&text(1, "pol=mixed exp=2"), HOUR, INSECURE))
        .await;
    assert_eq!(facts.lookup, found(&text(1, "pol=mixed exp=2"), INSECURE));
    assert_eq!(world.pin(), before);
}

#[tokio::test]
async fn only_proven_absence_drops_the_pin() {
    let world = World::new();
    world.see(published(&text(1, "exp=30"), HOUR, SECURE)).await;
    for lookup in [
        Lookup::Failed,
        Lookup::Bogus,
        published("ver=2", HOUR, SECURE),
        Lookup::Absent { proof: INSECURE },
    ] {
        world.clock.advance(HOUR);
        let facts = world.see(lookup.clone()).await;
        assert!(facts.pin.is_some() && world.pin().is_some(), "{lookup:?}");
    }
    world.clock.advance(HOUR);
    let facts = world.see(Lookup::Absent { proof: SECURE }).await;
    assert_eq!((facts.lookup, facts.pin), (RecordLookup::Absent(SECURE), None));
    assert_eq!(world.pin(), None);
}

/// `management-record.md` §9.3, first table.
#[test]
fn the_record_that_counts_is_the_published_one_or_the_pin() {
    let record = |key| ManagementRecord::parse(text(key, "")).unwrap();
    let (old, new) = (record(1), record(2));
    let lookup = |record: &ManagementRecord, proof| RecordLookup::Found {
        record: record.clone(),
        proof,
    };
    let pin = PinnedRecord {
        record: old.clone(),
        proof: SECURE,
        first_seen_at: Timestamp(0),
        expires_at: Timestamp(0).after(DAY),
    };
    let unparsable = RecordLookup::Unparsable { error: None };
    let dime = |record, proof| Standing::Dime(Cow::Borrowed(record), proof);
    let pinned = dime(&old, SECURE);
    for (lookup, without, with) in [
        (lookup(&new, SECURE), dime(&new, SECURE), dime(&new, SECURE)),
        (lookup(&new, INSECURE), dime(&new, INSECURE), Standing::Unknown),
        (lookup(&old, INSECURE), dime(&old, INSECURE), dime(&old, INSECURE)),
        (RecordLookup::Bogus, Standing::Unknown, Standing::Unknown),
        (unparsable, Standing::Unknown, pinned.clone()),
        (RecordLookup::Absent(SECURE), Standing::Plain, Standing::Plain),
        (RecordLookup::Absent(INSECURE), Standing::Plain, pinned.clone()),
        (RecordLookup::Failed, Standing::Unknown, pinned),
    ] {
        for (pin, expected) in [(None, without), (Some(pin.clone()), with)] {
            let facts = DomainFacts {
                lookup: lookup.clone(),
                pin,
                remembered: false,
            };
            assert_eq!(facts.standing(), expected, "{lookup:?}");
        }
    }
}

/// `management-record.md` §7.4: only the keys count that the proven record had, and only its signatures bind certificates.
#[test]
fn an_unproven_record_can_take_keys_from_a_proven_one_but_add_none() {
    let tls = base64_unpadded(&[9; 64]);
    let keys = |of: &[u8]| -> String {
        of.iter()
            .map(|key| format!("{} ", &text(*key, "")[6..]))
            .collect()
    };
    let record = |text: &str| ManagementRecord::parse(text).unwrap();
    let counts = |pinned: &str, pin_proof, found: &str| {
        let facts = DomainFacts {
            lookup: self::found(found, INSECURE),
            pin: Some(PinnedRecord {
                record: record(pinned),
                proof: pin_proof,
                first_seen_at: Timestamp(0),
                expires_at: Timestamp(0).after(DAY),
            }),
            remembered: false,
        };
        let standing = match facts.standing() {
            Standing::Dime(record, INSECURE) => Some(record.into_owned()),
            Standing::Unknown => None,
            other => panic!("{other:?}"),
        };
        (standing, facts.keys_ignored())
    };
    let pinned = format!("{}pol=mixed tls={tls} dx=dx.hismail.test", keys(&[1, 2]));
    for (forged, counting, ignored) in [
        // A key added: it does not count.
        (
            format!("{}tls={tls} pol=strict dx=evil.test", keys(&[1, 7])),
            Some(format!("{}tls={tls} pol=strict dx=evil.test", keys(&[1]))),
            true,
        ),
        // All keys and another: the same.
        (
            format!("{}tls={tls} pol=mixed", keys(&[7, 2, 1])),
            Some(format!("{}tls={tls} pol=mixed", keys(&[2, 1]))),
            true,
        ),
        // A key taken away.
        (
            format!("{}tls={tls} pol=mixed", keys(&[2])),
            Some(format!("{}tls={tls} pol=mixed", keys(&[2]))),
            false,
        ),
        // The policy weakened, and certificates no longer bound: neither counts.
        (
            format!("{}pol=experimental dx=evil.test", keys(&[1, 2])),
            Some(format!("{}pol=mixed tls={tls} dx=evil.test", keys(&[1, 2]))),
            false,
        ),
        (format!("{}tls={tls}", keys(&[7])), None, true),
    ] {
        let expected = (counting.map(|text| record(&text)), ignored);
        assert_eq!(counts(&pinned, SECURE, &forged), expected, "{forged}");
    }
    // Where nothing binds the certificate, the hosts stay.
    let unbound = format!("{}dx=dx.hismail.test", keys(&[1]));
    let forged = format!("{}dx=evil.test", keys(&[1]));
    assert_eq!(counts(&unbound, SECURE, &forged), (Some(record(&unbound)), false));
    // An unproven pin was never more than that: a shared key is enough (§7.4).
    let rolled = format!("{}dx=new.test", keys(&[1, 7]));
    assert_eq!(
        counts(&unbound, INSECURE, &rolled),
        (Some(record(&rolled)), false)
    );
}

#[tokio::test]
async fn absence_is_remembered_for_a_minute_and_failure_not_at_all() {
    let world = World::new();
    for _ in 0..2 {
        assert_eq!(world.see(Lookup::Failed).await.lookup, RecordLookup::Failed);
        assert_eq!(world.see(Lookup::Bogus).await.lookup, RecordLookup::Bogus);
    }
    assert_eq!(world.asked(), 4);
    world.see(Lookup::Absent { proof: INSECURE }).await;
    world.clock.advance(Duration::from_secs(59));
    let facts = world.see(published(&text(1, ""), HOUR, SECURE)).await;
    assert_eq!(
        (facts.lookup, facts.remembered),
        (RecordLookup::Absent(INSECURE), true)
    );
    world.clock.advance(Duration::from_secs(1));
    let facts = world.see(published(&text(1, ""), HOUR, SECURE)).await;
    assert_eq!(facts.lookup, found(&text(1, ""), SECURE));
    assert_eq!(world.asked(), 6);
}

#[tokio::test]
async fn memory_of_absences_is_bounded() {
    let world = World::new();
    for index in 0..5000 {
        let domain = Domain::parse(&format!("d{index}.test")).unwrap();
        world
            .domains
            .remember_absence(&domain, INSECURE, world.clock.now());
    }
    assert_eq!(
        world.domains.absences.lock().unwrap().len(),
        Limits::default().absences
    );
    world.clock.advance(HOUR);
    world
        .domains
        .remember_absence(&hismail(), INSECURE, world.clock.now());
    assert_eq!(world.domains.absences.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn several_records_and_bad_ones_are_unparsable() {
    let world = World::new();
    let record = text(1, "").into_bytes();
    let two = Lookup::Found {
        value: vec![record.clone(), record],
        ttl: HOUR,
        proof: SECURE,
    };
    assert_eq!(
        world.see(two).await.lookup,
        RecordLookup::Unparsable { error: None }
    );
    assert_eq!(
        world.see(published("ver=1", HOUR, SECURE)).await.lookup,
        RecordLookup::Unparsable {
            error: Some(record::Error::NoPrimaryKey)
        }
    );
    assert_eq!(world.pin(), None);
}

/// A pin that was written while the clock was ahead must not stand for DNS until the clock is there again.
#[tokio::test]
async fn a_pin_from_the_future_does_not_keep_dns_from_being_asked() {
    let world = World::new();
    world.see(published(&text(1, "exp=30"), HOUR, SECURE)).await;
    let ahead = world.clock.now().after(400 * DAY);
    if let Some(pin) = world.pins.0.lock().unwrap().get_mut(&hismail()) {
        (pin.refresh_at, pin.expires_at) = (ahead.after(HOUR), ahead.after(30 * DAY));
    }
    let facts = world.see(published(&text(2, "exp=30"), HOUR, SECURE)).await;
    assert_eq!(facts.lookup, found(&text(2, "exp=30"), SECURE));
    let refresh_at = world.pin().unwrap().refresh_at;
    assert_eq!(refresh_at, world.clock.now().after(HOUR));
}

/// A wildcard, or an alias made from one, answers for `_dx`, too.
#[tokio::test]
async fn texts_of_other_kinds_are_no_record() {
    let texts = |texts: &[&str], proof| Lookup::Found {
        value: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        ttl: HOUR,
        proof,
    };
    let spf = "v=spf1 include:example.net exp=explain.example.net -all";
    for others in [&[spf][..], &[spf, "google-site-verification=x"], &[""]] {
        for proof in [SECURE, INSECURE] {
            let facts = World::new().see(texts(others, proof)).await;
            assert_eq!(facts.lookup, RecordLookup::Absent(proof), "{others:?}");
        }
    }
    // Whoever means a record and spoils it has not withdrawn it.
    for meant in [
        "ver=2",
        "POK=",
        "pol=strict",
        "dx=dx.hismail.test exp=30",
        "v=spf1;tls=x",
    ] {
        let facts = World::new().see(texts(&[meant], SECURE)).await;
        assert!(
            matches!(facts.lookup, RecordLookup::Unparsable { error: Some(_) }),
            "{meant}"
        );
        let facts = World::new().see(texts(&[spf, meant], SECURE)).await;
        assert_eq!(facts.lookup, RecordLookup::Unparsable { error: None }, "{meant}");
    }
    // A pin falls with proof alone.
    let world = World::new();
    world.see(published(&text(1, "exp=30"), HOUR, SECURE)).await;
    world.clock.advance(HOUR);
    let facts = world.see(texts(&[spf], INSECURE)).await;
    assert!(matches!(facts.standing(), Standing::Dime(_, SECURE)));
    world.clock.advance(HOUR);
    let facts = world.see(texts(&[spf], SECURE)).await;
    assert_eq!(facts.standing(), Standing::Plain);
}

fn mx(preference: u16, host: &str) -> Mx {
    Mx {
        preference,
        host: Some(Domain::parse(host).unwrap()),
    }
}

async fn mail_hosts(world: &World, lookup: Lookup<Vec<Mx>>, seed: u64) -> MailHosts {
    *world.script.mx.lock().unwrap() = lookup;
    super::mail_hosts(
        world.script.as_ref(),
        &hismail(),
        &["mx.ours.test".parse().unwrap(), "ours.test".parse().unwrap()],
        &mut StdRng::seed_from_u64(seed),
    )
    .await
}

fn names(hosts: &MailHosts) -> Vec<&str> {
    match hosts {
        MailHosts::Hosts { hosts, .. } => hosts.iter().map(Domain::as_str).collect(),
        other => panic!("no hosts: {other:?}"),
    }
}

#[tokio::test]
async fn mail_hosts_are_sorted_by_preference_and_shuffled_among_equals() {
    let world = World::new();
    let lookup = Lookup::Found {
        value: vec![
            mx(20, "c.test"),
            mx(10, "a.test"),
            mx(10, "b.test"),
            mx(30, "a.test"),
        ],
        ttl: HOUR,
        proof: SECURE,
    };
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let hosts = mail_hosts(&world, lookup.clone(), seed).await;
        orders.insert(names(&hosts).join(" "));
    }
    assert_eq!(
        orders.into_iter().collect::<Vec<_>>(),
        ["a.test b.test c.test", "b.test a.test c.test"]
    );
}

/// RFC 5321 §5.1: those of the same preference as ours go, too.
#[tokio::test]
async fn of_hosts_beside_ours_only_better_ones_count() {
    let world = World::new();
    let found = |value| Lookup::Found {
        value,
        ttl: HOUR,
        proof: SECURE,
    };
    let all = vec![
        mx(10, "a.test"),
        mx(20, "b.test"),
        mx(20, "mx.ours.test"),
        mx(30, "ours.test"),
        mx(40, "c.test"),
    ];
    for seed in 0..20 {
        let hosts = mail_hosts(&world, found(all.clone()), seed).await;
        assert_eq!(names(&hosts), ["a.test"]);
    }
    let both = vec![mx(20, "mx.ours.test"), mx(20, "b.test"), mx(30, "c.test")];
    for seed in 0..20 {
        assert_eq!(
            mail_hosts(&world, found(both.clone()), seed).await,
            MailHosts::OnlyOurs
        );
    }
}

#[tokio::test]
async fn null_mx_absence_and_failure_are_told_apart() {
    let world = World::new();
    let null = Mx {
        preference: 0,
        host: None,
    };
    let only = |value| Lookup::Found {
        value,
        ttl: HOUR,
        proof: SECURE,
    };
    assert_eq!(
        mail_hosts(&world, only(vec![null.clone()]), 0).await,
        MailHosts::NullMx
    );
    assert_eq!(
        names(&mail_hosts(&world, only(vec![null, mx(1, "a.test")]), 0).await),
        ["a.test"]
    );
    assert_eq!(mail_hosts(&world, Lookup::Bogus, 0).await, MailHosts::Bogus);
    assert_eq!(mail_hosts(&world, Lookup::Failed, 0).await, MailHosts::Failed);
    let absent = Lookup::Absent { proof: SECURE };
    for (addresses, expected) in [
        (Lookup::Failed, MailHosts::Failed),
        (Lookup::Bogus, MailHosts::Bogus),
        (Lookup::Absent { proof: SECURE }, MailHosts::Nowhere),
        (
            Lookup::Found {
                value: vec![IpAddr::from([127, 0, 0, 1])],
                ttl: HOUR,
                proof: INSECURE,
            },
            MailHosts::Hosts {
                hosts: vec![hismail()],
                proof: INSECURE,
            },
        ),
    ] {
        *world.script.addresses.lock().unwrap() = addresses;
        assert_eq!(mail_hosts(&world, absent.clone(), 0).await, expected);
    }
}

async fn delivery_hosts(world: &World, record: &str, lookup: Lookup<Vec<Mx>>) -> DeliveryHosts {
    *world.script.mx.lock().unwrap() = lookup;
    let record = ManagementRecord::parse(record).unwrap();
    let mut rng = StdRng::seed_from_u64(0);
    super::delivery_hosts(world.script.as_ref(), &record, &hismail(), &mut rng).await
}

fn attempts(list: &[(&str, Reach)]) -> DeliveryHosts {
    let attempt = |(host, reach): &(&str, Reach)| DxAttempt {
        host: Domain::parse(host).unwrap(),
        reach: *reach,
    };
    DeliveryHosts::Attempts(list.iter().map(attempt).collect())
}

#[tokio::test]
async fn delivery_hosts_are_those_of_the_record_alone() {
    let world = World::new();
    let hosts = delivery_hosts(&world, &text(1, "dx=b.test dx=a.test"), Lookup::Failed).await;
    assert_eq!(
        hosts,
        attempts(&[("b.test", Reach::Single), ("a.test", Reach::Single)])
    );
}

#[tokio::test]
async fn without_delivery_hosts_three_mail_hosts_and_the_domain_are_tried() {
    use Reach::{Dual, Single};
    let world = World::new();
    let list = |value| Lookup::Found {
        value,
        ttl: HOUR,
        proof: SECURE,
    };
    let four = list(vec![
        mx(4, "d.test"),
        mx(1, "a.test"),
        mx(2, "b.test"),
        mx(3, "c.test"),
    ]);
    assert_eq!(
        delivery_hosts(&world, &text(1, ""), four).await,
        attempts(&[
            ("a.test", Single),
            ("a.test", Dual),
            ("b.test", Single),
            ("b.test", Dual),
            ("c.test", Single),
            ("c.test", Dual),
            ("hismail.test", Single),
        ])
    );
    let itself = attempts(&[("hismail.test", Single), ("hismail.test", Dual)]);
    assert_eq!(
        delivery_hosts(&world, &text(1, ""), list(vec![mx(1, "hismail.test")])).await,
        itself
    );
    let absent = Lookup::Absent { proof: INSECURE };
    assert_eq!(
        delivery_hosts(&world, &text(1, ""), absent).await,
        attempts(&[("hismail.test", Single)])
    );
    let null = list(vec![Mx {
        preference: 0,
        host: None,
    }]);
    assert_eq!(
        delivery_hosts(&world, &text(1, ""), null).await,
        DeliveryHosts::NullMx
    );
    assert_eq!(
        delivery_hosts(&world, &text(1, ""), Lookup::Bogus).await,
        DeliveryHosts::Bogus
    );
    assert_eq!(
        delivery_hosts(&world, &text(1, ""), Lookup::Failed).await,
        DeliveryHosts::Failed
    );
}

/// A domain of ours, whose signet is over the first key.
impl World {
    async fn own(&self, lookup: Lookup<Vec<Vec<u8>>>) -> Option<Unpublished> {
        *self.script.txt.lock().unwrap() = lookup;
        let key = crate::crypto::ed25519::VerifyingKey([1; 32]);
        self.domains.unpublished(&hismail(), &key).await
    }
}

fn ours(keys: &[u8], ttl: Duration) -> Lookup<Vec<Vec<u8>>> {
    let keys = keys
        .iter()
        .map(|key| format!(" pok={}", base64_unpadded(&[*key; 32])));
    Lookup::Found {
        value: vec![format!("ver=1{}", keys.collect::<String>()).into_bytes()],
        ttl,
        proof: Proof::Insecure,
    }
}

/// Longer than a failure, or an absence, is remembered.
const A_WHILE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn our_own_record_is_there_once_it_was_seen_with_the_key_in_use() {
    let secure = Proof::Secure;
    for (lookup, expected) in [
        (ours(&[1], HOUR), None),
        (ours(&[2, 1], HOUR), None),
        (ours(&[2], HOUR), Some(Unpublished::WithoutKey)),
        (Lookup::Absent { proof: secure }, Some(Unpublished::Missing)),
        (Lookup::Failed, Some(Unpublished::Unknown)),
        (Lookup::Bogus, Some(Unpublished::Unknown)),
    ] {
        let world = World::new();
        assert_eq!(world.own(lookup.clone()).await, expected, "{lookup:?}");
    }
    let two = Lookup::Found {
        value: vec![
            text(1, "pol=mixed").into_bytes(),
            text(1, "pol=strict").into_bytes(),
        ],
        ttl: HOUR,
        proof: secure,
    };
    assert_eq!(World::new().own(two).await, Some(Unpublished::WithoutKey));
}

#[tokio::test(start_paused = true)]
async fn our_own_record_counts_for_its_ttl_and_a_failure_takes_nothing_back() {
    let world = World::new();
    let absent = Lookup::Absent {
        proof: Proof::Insecure,
    };
    assert_eq!(world.own(ours(&[1], HOUR)).await, None);
    tokio::time::advance(HOUR - Duration::from_secs(1)).await;
    assert_eq!(world.own(absent.clone()).await, None);
    assert_eq!(world.asked(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..3 {
        assert_eq!(world.own(Lookup::Failed).await, None);
        // Not every message waits for name servers that say nothing.
        let asked = world.asked();
        assert_eq!(world.own(Lookup::Failed).await, None);
        assert_eq!(world.asked(), asked);
        tokio::time::advance(A_WHILE).await;
    }
    assert_eq!(world.own(absent.clone()).await, Some(Unpublished::Missing));
    // It was seen before that, and it is known to be gone.
    tokio::time::advance(A_WHILE).await;
    assert_eq!(world.own(Lookup::Failed).await, Some(Unpublished::Unknown));

    // Whoever publishes it need not wait for long, and much mail that waits does not ask for it each time.
    tokio::time::advance(A_WHILE).await;
    assert_eq!(world.own(absent.clone()).await, Some(Unpublished::Missing));
    let asked = world.asked();
    assert_eq!(
        world.own(ours(&[1], Duration::ZERO)).await,
        Some(Unpublished::Missing)
    );
    assert_eq!(world.asked(), asked);
    tokio::time::advance(A_WHILE).await;
    assert_eq!(world.own(ours(&[1], Duration::ZERO)).await, None);
    tokio::time::advance(A_WHILE).await;
    assert_eq!(world.own(absent).await, None, "however small its TTL is");
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_of_our_own_record_says_nothing_of_another_key() {
    let world = World::new();
    assert_eq!(world.own(ours(&[1], HOUR)).await, None);
    let next = crate::crypto::ed25519::VerifyingKey([2; 32]);
    let found = world.domains.unpublished(&hismail(), &next).await;
    assert_eq!(found, Some(Unpublished::WithoutKey));
    *world.script.txt.lock().unwrap() = Lookup::Failed;
    assert_eq!(world.own(Lookup::Failed).await, Some(Unpublished::Unknown));
}
