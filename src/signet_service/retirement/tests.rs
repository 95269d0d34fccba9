#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use super::*;
use crate::base::time::ManualClock;
use crate::crypto::at_rest::Key;
use crate::dime::keys::OrgKeys;
use crate::dime::record::SubdomainPolicy;
use crate::net::dns::{Proof, scripted};
use crate::signet_service::{Published, RecordPlan};
use crate::store::sqlite::SqliteStore;
use crate::store::{DimeSettings, LocalDomain, MasterKey};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const POK: &str = "pok=HhtCW02mHkP7T1+5u3V1eZKnkTL8ZwqOTdVmvmB1sN4";

struct Zone(Mutex<Lookup<Vec<Vec<u8>>>>);

impl scripted::Script for Zone {
    fn texts(&self, _: &str) -> Lookup<Vec<Vec<u8>>> {
        self.0.lock().unwrap().clone()
    }
}

struct Bed {
    retiring: Retiring,
    published: Published,
    clock: Arc<ManualClock>,
    zone: Arc<Zone>,
    _home: tempfile::TempDir,
}

fn domain() -> Domain {
    "hismail.test".parse().unwrap()
}

fn settings() -> DimeSettings {
    DimeSettings {
        policy: Policy::Strict,
        subdomain_policy: SubdomainPolicy::Strict,
        delivery_hosts: vec!["dx.hismail.test".parse().unwrap()],
        expiry_days: Some(30),
    }
}

impl Bed {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
        let master = MasterKey::new(Key::from_bytes([5; 32]));
        let store = SqliteStore::open(&home.path().join("dimed.db"), master, clock.clone()).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let published = Published::new(Arc::clone(&store), clock.clone());
        let keys = OrgKeys::generate(&mut rand::rng());
        published.publish_organization(&domain(), keys).await.unwrap();
        let served = LocalDomain {
            name: domain(),
            dime: Some(settings()),
            created_at: clock.now(),
        };
        store.add_domain(served).await.unwrap();
        let zone = Arc::new(Zone(Mutex::new(Lookup::Failed)));
        Self {
            retiring: Retiring {
                store,
                clock: clock.clone(),
                resolver: zone.clone(),
            },
            published,
            clock,
            zone,
            _home: home,
        }
    }

    fn dns(&self, text: Option<&str>) {
        self.dns_for(HOUR, text);
    }

    fn dns_for(&self, ttl_secs: u64, text: Option<&str>) {
        let proof = Proof::Secure;
        *self.zone.0.lock().unwrap() = match text {
            Some(rest) => Lookup::Found {
                value: vec![format!("ver=1 {POK} {rest}").into_bytes()],
                ttl: Duration::from_secs(ttl_secs),
                proof,
            },
            None => Lookup::Absent { proof },
        };
    }

    fn later(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// State, and seconds until the next step may be taken.
    async fn retire(&self) -> (RetirementState, Option<u64>) {
        let retirement = self.retiring.retire(&domain()).await.unwrap().unwrap();
        let due = retirement.due_at.map(|due| due.since(self.clock.now()).as_secs());
        (retirement.state, due)
    }

    async fn plan(&self) -> Option<RecordPlan> {
        self.published.record_plan(&domain(), &settings()).await.unwrap()
    }
}

#[tokio::test]
async fn a_domain_leaves_when_nobody_remembers_its_record() {
    use RetirementState as S;
    let bed = Bed::new().await;
    bed.dns(Some("pol=strict exp=30"));
    let plan = bed.plan().await.unwrap();
    assert_eq!((plan.policy, plan.expiry_days), (Policy::Strict, Some(30)));
    for _ in 0..2 {
        assert_eq!(bed.retire().await, (S::Announced, None));
    }
    let plan = bed.plan().await.unwrap();
    assert_eq!((plan.policy, plan.expiry_days), (Policy::Experimental, Some(1)));

    bed.dns(Some("pol=experimental exp=1"));
    assert_eq!(bed.retire().await, (S::Expiring, Some(31 * DAY + HOUR)));
    bed.later(DAY);
    assert_eq!(bed.retire().await, (S::Expiring, Some(30 * DAY + HOUR)));
    bed.dns(Some("pol=strict exp=30"));
    assert_eq!(
        bed.retire().await,
        (S::Announced, None),
        "the old record is back: all over again"
    );
    bed.dns(Some("pol=experimental exp=1"));
    bed.retire().await;
    bed.later(31 * DAY + HOUR - 1);
    assert_eq!(bed.retire().await, (S::Expiring, Some(1)));
    bed.later(1);
    assert_eq!(bed.retire().await, (S::Withdrawn, None));
    assert!(bed.plan().await.is_none());

    bed.dns(None);
    assert_eq!(bed.retire().await, (S::Withdrawn, Some(9 * DAY)));
    bed.dns(Some("pol=experimental exp=1"));
    assert_eq!(bed.retire().await, (S::Withdrawn, None), "not gone everywhere");
    bed.dns(None);
    bed.retire().await;
    bed.later(9 * DAY - 1);
    bed.retiring.pass().await.unwrap();
    assert!(
        bed.retiring
            .store
            .local_domain(&domain())
            .await
            .unwrap()
            .unwrap()
            .dime
            .is_some()
    );
    bed.later(1);
    bed.retiring.pass().await.unwrap();
    assert!(
        bed.retiring
            .store
            .local_domain(&domain())
            .await
            .unwrap()
            .unwrap()
            .dime
            .is_none()
    );
    assert_eq!(bed.retiring.store.retirements().await.unwrap(), []);
    let again = bed.retiring.retire(&domain()).await;
    assert!(matches!(again, Err(Error::NotServed)), "{again:?}");
}

/// A cache shows what is left of the TTL, and all of it once it has asked again.
#[tokio::test]
async fn the_ttl_that_others_may_have_is_waited_for() {
    use RetirementState as S;
    let bed = Bed::new().await;
    let short = Some("pol=experimental exp=1");
    bed.dns_for(5, short);
    assert_eq!(bed.retire().await, (S::Expiring, Some(31 * DAY + 5)));
    bed.later(HOUR);
    bed.dns_for(7 * DAY, short);
    assert_eq!(bed.retire().await, (S::Expiring, Some(38 * DAY - HOUR)));
    bed.dns_for(DAY, short);
    assert_eq!(bed.retire().await, (S::Expiring, Some(38 * DAY - HOUR)));
    // Nobody relies on more.
    bed.dns_for(90 * DAY, short);
    assert_eq!(bed.retire().await, (S::Expiring, Some(38 * DAY - HOUR)));
    bed.later(38 * DAY - HOUR);
    assert_eq!(bed.retire().await, (S::Withdrawn, None));

    // Removed at once, against what was asked for: how long it lasts cannot be seen.
    let bed = Bed::new().await;
    bed.dns(None);
    assert_eq!(bed.retire().await, (S::Expiring, Some(38 * DAY)));
}

/// A failure of DNS is no absence.
#[tokio::test]
async fn nothing_moves_while_dns_does_not_answer() {
    use RetirementState as S;
    let bed = Bed::new().await;
    for broken in [Lookup::Failed, Lookup::Bogus] {
        *bed.zone.0.lock().unwrap() = broken;
        assert_eq!(bed.retire().await, (S::Announced, None));
    }
    bed.dns(Some("pol=experimental exp=1"));
    bed.retire().await;
    bed.later(32 * DAY);
    bed.retire().await;
    *bed.zone.0.lock().unwrap() = Lookup::Failed;
    bed.later(10 * DAY);
    assert_eq!(bed.retire().await, (S::Withdrawn, None));
}

#[tokio::test]
async fn a_domain_does_not_leave_while_its_keys_change_and_may_stay_after_all() {
    let bed = Bed::new().await;
    let store = &bed.retiring.store;
    let signet = store.current_signet("hismail.test").await.unwrap().unwrap();
    let keys = crate::base::secret::Secret::new(vec![1]);
    store
        .begin_rollover("hismail.test", signet.crypto, keys, bed.clock.now())
        .await
        .unwrap();
    let refused = bed.retiring.retire(&domain()).await;
    assert!(matches!(refused, Err(Error::RolloverUnderWay)), "{refused:?}");
    let generated = crate::store::RolloverState::Generated;
    store.end_rollover("hismail.test", generated).await.unwrap();
    bed.retire().await;
    assert!(store.cancel_retirement(&domain()).await.unwrap());
    assert!(!store.cancel_retirement(&domain()).await.unwrap());
    let plan = bed.plan().await.unwrap();
    assert_eq!((plan.policy, plan.expiry_days), (Policy::Strict, Some(30)));
}

/// Nobody can remember what never was there; that it was not is for the operator to know.
#[tokio::test]
async fn a_domain_that_was_never_published_leaves_at_once() {
    for seen in [Some("pol=strict exp=30"), Some("pol=experimental exp=1")] {
        let bed = Bed::new().await;
        bed.dns(seen);
        let refused = bed.retiring.retire_unpublished(&domain()).await;
        assert!(matches!(refused, Err(Error::RecordSeen)), "{refused:?}");
        assert_eq!(bed.retiring.store.retirement(&domain()).await.unwrap(), None);
    }
    let bed = Bed::new().await;
    let refused = bed.retiring.retire_unpublished(&domain()).await;
    assert!(
        matches!(refused, Err(Error::RecordSeen)),
        "DNS does not answer: {refused:?}"
    );
    bed.dns(None);
    bed.retiring.retire_unpublished(&domain()).await.unwrap();
    let served = bed.retiring.store.local_domain(&domain()).await.unwrap();
    assert_eq!(served.unwrap().dime, None);
    assert_eq!(bed.retiring.store.retirement(&domain()).await.unwrap(), None);
    let again = bed.retiring.retire_unpublished(&domain()).await;
    assert!(matches!(again, Err(Error::NotServed)), "{again:?}");
}
