#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::time::{ManualClock, Timestamp};
use crate::crypto::at_rest::Key;
use crate::store::sqlite::SqliteStore;
use crate::store::{Account, Block, Doer, LocalDomain, MasterKey, TrustMode};

const DAY: Duration = Duration::from_secs(24 * 3600);
const POK: VerifyingKey = VerifyingKey([1; 32]);
const AUTHOR: VerifyingKey = VerifyingKey([2; 32]);

struct Bed {
    _folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    gate: Arc<Gate>,
}

fn settings() -> Settings {
    Settings {
        messages_per_hour: 0,
        mib_per_hour: 0,
        never_blocked: vec![domain("big.test")],
        trapped_for: 30 * DAY,
        trap_origin_after: 2,
    }
}

async fn bed(settings: Settings) -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
    let master = MasterKey::new(Key::from_bytes([7; 32]));
    let path = folder.path().join("dimed.db");
    let store = SqliteStore::open(&path, master, clock.clone()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let gate = Arc::new(Gate::new(Arc::clone(&store), clock.clone(), settings));
    Bed {
        _folder: folder,
        clock,
        store,
        gate,
    }
}

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

impl Bed {
    async fn block(&self, identity: Identity, until: Option<Timestamp>) {
        let entry = Block {
            identity,
            by: Doer::Operator,
            reason: "complaints".into(),
            origin: None,
            since: self.clock.now(),
            until,
        };
        self.store.block(entry).await.unwrap();
    }

    /// Whether a message is admitted, and if not, why.
    async fn admits(&self, origin: &str, octets: u64, now: Instant) -> Result<Admission, &'static str> {
        let admitted = self.gate.admit(&domain(origin), POK, octets, now).await;
        admitted.map_err(|refused| match refused {
            Refused::Blocked => "blocked",
            Refused::TooMuch => "too much",
            Refused::Store(_) => "fault",
        })
    }

    async fn is_blocked(&self, origin: &str) -> bool {
        self.admits(origin, 1, Instant::now()).await.err() == Some("blocked")
    }

    async fn serve(&self, name: &str) {
        let local = LocalDomain {
            name: domain(name),
            dime: None,
            created_at: self.clock.now(),
        };
        self.store.add_domain(local).await.unwrap();
    }
}

#[tokio::test]
async fn a_blocked_domain_takes_those_below_it_along_and_no_others() {
    let bed = bed(settings()).await;
    bed.block(Identity::Domain(domain("spam.test")), None).await;
    for (origin, blocked) in [
        ("spam.test", true),
        ("a.b.spam.test", true),
        ("test", false),
        ("notspam.test", false),
    ] {
        assert_eq!(bed.is_blocked(origin).await, blocked, "{origin}");
    }
}

#[tokio::test]
async fn keys_are_blocked_each_in_its_role_until_the_time_is_over() {
    let bed = bed(settings()).await;
    let until = bed.clock.now().after(DAY);
    let origin = domain("hermail.test");
    let admits_author = async |key| bed.gate.admit_author(&origin, key).await.is_ok();
    bed.block(Identity::PrimaryKey(POK), Some(until)).await;
    bed.block(Identity::AuthorKey(AUTHOR), Some(until)).await;
    assert!(bed.is_blocked("hermail.test").await);
    assert!(!admits_author(AUTHOR).await);
    assert!(admits_author(POK).await, "no author's key");
    bed.clock.advance(DAY);
    assert!(!bed.is_blocked("hermail.test").await);
    assert!(admits_author(AUTHOR).await);
}

#[tokio::test]
async fn our_domains_and_those_of_the_configuration_are_never_blocked() {
    let bed = bed(settings()).await;
    bed.serve("hismail.test").await;
    let trap = trap(&bed).await;
    bed.block(Identity::Domain(domain("test")), None).await;
    bed.block(Identity::PrimaryKey(POK), None).await;
    bed.block(Identity::AuthorKey(AUTHOR), None).await;
    for (name, exempt) in [
        ("hismail.test", true),
        ("big.test", true),
        ("eu.big.test", true),
        ("spam.test", false),
        ("x.hismail.test", false),
    ] {
        let origin = domain(name);
        assert_eq!(!bed.is_blocked(name).await, exempt, "{name}");
        assert_eq!(
            bed.gate.admit_author(&origin, AUTHOR).await.is_ok(),
            exempt,
            "{name}"
        );
        let trapped = bed.gate.trapped(&trap, &origin, AUTHOR).await.unwrap();
        assert_eq!(trapped.is_none(), exempt, "{name}");
    }
}

/// Makes `trap@hismail.test` a trap.
async fn trap(bed: &Bed) -> Mailbox {
    let account = Account {
        address: "trap@hismail.test".parse().unwrap(),
        password_hash: String::new(),
        scram_verifier: None,
        trust_mode: TrustMode::Trustful,
        created_at: bed.clock.now(),
        trap_since: None,
        disabled_at: None,
        quota_bytes: None,
    };
    let address = account.address.clone();
    bed.store.add_account(account).await.unwrap();
    bed.store.set_trap(&address, Some(bed.clock.now())).await.unwrap();
    address
}

#[tokio::test]
async fn only_the_address_of_the_trap_itself_is_one() {
    let bed = bed(settings()).await;
    let origin = domain("hermail.test");
    trap(&bed).await;
    let caught = async |address: &str| {
        let trapped = bed.gate.trapped(&address.parse().unwrap(), &origin, AUTHOR).await;
        trapped.unwrap()
    };
    let expected = Trapped {
        author: AUTHOR,
        origin: origin.clone(),
        blocked_for: 30 * DAY,
        origin_after: 2,
    };
    assert_eq!(caught("TRAP@hismail.test").await, Some(expected));
    for other in ["trap+x@hismail.test", "bob@hismail.test", "trap@else.test"] {
        assert_eq!(caught(other).await, None, "{other}");
    }
}

#[tokio::test]
async fn an_origin_has_its_share_of_messages_and_gets_it_back_over_the_hour() {
    let bed = bed(Settings {
        messages_per_hour: 2,
        ..settings()
    })
    .await;
    let start = Instant::now();
    let may = async |origin: &str, minute: u64| {
        let now = start + Duration::from_secs(60 * minute);
        bed.admits(origin, 1, now).await.map(|_| ()).err()
    };
    assert_eq!([may("a.test", 0).await, may("a.test", 0).await], [None, None]);
    assert_eq!(may("a.test", 29).await, Some("too much"));
    assert_eq!(may("b.test", 29).await, None);
    assert_eq!(
        [may("a.test", 30).await, may("a.test", 30).await],
        [None, Some("too much")]
    );
}

#[tokio::test]
async fn an_origin_has_its_share_of_octets_and_one_large_message_always_passes() {
    let bed = bed(Settings {
        mib_per_hour: 1,
        messages_per_hour: 1000,
        ..settings()
    })
    .await;
    let now = Instant::now();
    bed.admits("a.test", 3 << 20, now).await.unwrap().give_back();
    let _large = bed.admits("a.test", 3 << 20, now).await.unwrap();
    assert_eq!(bed.admits("a.test", 1, now).await.err(), Some("too much"));
    let later = now + SPAN * 2;
    assert_eq!(bed.admits("a.test", 1, later).await.err(), Some("too much"));
    assert!(bed.admits("a.test", 1, later + SPAN).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_at_once_get_no_more_than_the_share() {
    let bed = bed(Settings {
        messages_per_hour: 10,
        ..settings()
    })
    .await;
    let now = Instant::now();
    let mut arrivals = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let gate = Arc::clone(&bed.gate);
        arrivals.spawn(async move { gate.admit(&domain("a.test"), POK, 1, now).await.is_ok() });
    }
    let admitted = arrivals.join_all().await.into_iter().filter(|admitted| *admitted);
    assert_eq!(admitted.count(), 10);
}

#[tokio::test]
async fn a_copy_uses_nothing_of_the_share() {
    let bed = bed(Settings {
        messages_per_hour: 1,
        mib_per_hour: 1,
        ..settings()
    })
    .await;
    let now = Instant::now();
    for _ in 0..10 {
        bed.admits("a.test", 2 << 20, now).await.unwrap().give_back();
    }
    assert!(bed.admits("a.test", 1, now).await.is_ok());
}
