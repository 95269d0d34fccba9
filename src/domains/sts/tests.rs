#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::time::ManualClock;
use crate::net::dns::{Proof, scripted};
use crate::store::StsPolicies;

const START: i64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// A domain's DNS and web server, and the disk.
struct World {
    txt: Mutex<Lookup<Vec<Vec<u8>>>>,
    web: Mutex<Option<String>>,
    fetched: Mutex<usize>,
    disk: Mutex<Option<StsEntry>>,
}

impl scripted::Script for World {
    fn texts(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        assert_eq!(name, "_mta-sts.plain.test");
        self.txt.lock().unwrap().clone()
    }
}

#[async_trait]
impl PolicySource for World {
    async fn fetch(&self, _: &Domain) -> Result<Bytes, https::Error> {
        *self.fetched.lock().unwrap() += 1;
        let text = self.web.lock().unwrap().clone();
        text.map(Bytes::from).ok_or(https::Error::TimedOut)
    }
}

#[async_trait]
impl StsPolicies for World {
    async fn sts_policy(&self, _: &Domain) -> Result<Option<StsEntry>, store::Error> {
        Ok(self.disk.lock().unwrap().clone())
    }
    async fn ageing_sts_policies(
        &self,
        now: Timestamp,
        after: Timestamp,
        age: Duration,
        limit: usize,
    ) -> Result<Vec<StsEntry>, store::Error> {
        assert_eq!((after, age, limit), (now, 24 * HOUR, 200));
        let kept = self.disk.lock().unwrap().clone();
        let ages = |entry: &StsEntry| after < entry.expires_at && now >= entry.fetched_at.after(age);
        Ok(kept.into_iter().filter(ages).collect())
    }
    async fn set_sts_policy(&self, entry: StsEntry) -> Result<(), store::Error> {
        *self.disk.lock().unwrap() = Some(entry);
        Ok(())
    }
}

fn announces(id: &str) -> Lookup<Vec<Vec<u8>>> {
    Lookup::Found {
        value: vec![format!("v=STSv1; id={id};").into_bytes()],
        ttl: Duration::from_secs(300),
        proof: Proof::Insecure,
    }
}

fn policy(mode: &str, host: &str, max_age: u64) -> Option<String> {
    Some(format!(
        "version: STSv1\nmode: {mode}\nmx: {host}\nmax_age: {max_age}\n"
    ))
}

fn world() -> (Arc<World>, Arc<ManualClock>, MtaSts) {
    let world = Arc::new(World {
        txt: Mutex::new(announces("1")),
        web: Mutex::new(policy("enforce", "mx.plain.test", 864_000)),
        fetched: Mutex::new(0),
        disk: Mutex::new(None),
    });
    let clock = Arc::new(ManualClock::new(Timestamp(START)));
    let sts = MtaSts::new(world.clone(), Some(world.clone()), clock.clone(), world.clone());
    (world, clock, sts)
}

/// Neither an old policy nor its id is held on to for as long as the clock was ahead.
#[tokio::test]
async fn a_policy_from_the_future_is_fetched_again() {
    let (world, clock, sts) = world();
    look(&sts).await;
    let ahead = clock.now().after(400 * 24 * HOUR);
    if let Some(entry) = world.disk.lock().unwrap().as_mut() {
        (entry.fetched_at, entry.expires_at) = (ahead, ahead.after(24 * HOUR));
    }
    *world.web.lock().unwrap() = policy("enforce", "new.plain.test", 864_000);
    clock.advance(HOUR);
    assert_eq!(look(&sts).await, (host("new.plain.test"), Origin::Fetched));
}

/// The hosts of the policy that counts, and where it comes from.
async fn look(sts: &MtaSts) -> (Option<String>, Origin) {
    let facts = sts.facts(&"plain.test".parse().unwrap()).await.unwrap();
    let hosts = facts.policy.map(|policy| policy.hosts[0].to_string());
    (hosts, facts.origin)
}

fn host(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_remembered() {
    let (world, clock, sts) = world();
    assert_eq!(look(&sts).await, (host("mx.plain.test"), Origin::Fetched));
    clock.advance(Duration::from_secs(299));
    assert_eq!(look(&sts).await, (host("mx.plain.test"), Origin::Fetched));
    clock.advance(HOUR);
    assert_eq!(look(&sts).await, (host("mx.plain.test"), Origin::Kept));
    assert_eq!(*world.fetched.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_new_id_or_a_day_has_it_fetched_again() {
    let (world, clock, sts) = world();
    look(&sts).await;
    *world.web.lock().unwrap() = policy("enforce", "mx2.plain.test", 864_000);
    clock.advance(HOUR);
    assert_eq!(look(&sts).await, (host("mx.plain.test"), Origin::Kept));
    *world.txt.lock().unwrap() = announces("2");
    clock.advance(HOUR);
    assert_eq!(look(&sts).await, (host("mx2.plain.test"), Origin::Fetched));
    clock.advance(24 * HOUR);
    assert_eq!(look(&sts).await, (host("mx2.plain.test"), Origin::Fetched));
    assert_eq!(*world.fetched.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_policy_that_was_seen_counts_until_it_expires_whatever_is_said_meanwhile() {
    let (world, clock, sts) = world();
    look(&sts).await;
    *world.web.lock().unwrap() = None;
    for (said, origin) in [
        (
            announces("2"),
            Origin::FetchFailed("the fetch took too long".into()),
        ),
        (Lookup::Absent { proof: Proof::Secure }, Origin::Kept),
        (Lookup::Bogus, Origin::Kept),
        (Lookup::Failed, Origin::Kept),
    ] {
        *world.txt.lock().unwrap() = said;
        clock.advance(HOUR);
        assert_eq!(look(&sts).await, (host("mx.plain.test"), origin));
    }
    clock.advance(240 * HOUR);
    assert_eq!(look(&sts).await, (None, Origin::None), "ten days are over");
}

#[tokio::test]
async fn what_cannot_be_fetched_or_read_and_was_never_seen_is_no_policy() {
    for web in [None, Some("version: STSv2\n".to_owned())] {
        let (world, clock, sts) = world();
        *world.web.lock().unwrap() = web;
        let (hosts, origin) = look(&sts).await;
        assert_eq!(hosts, None);
        assert!(matches!(origin, Origin::FetchFailed(_)), "{origin:?}");
        look(&sts).await;
        assert_eq!(*world.fetched.lock().unwrap(), 1, "not asked again at once");
        clock.advance(Duration::from_secs(300));
        look(&sts).await;
        assert_eq!(*world.fetched.lock().unwrap(), 2);
    }
}

#[tokio::test]
async fn a_policy_can_be_given_up() {
    let (world, clock, sts) = world();
    look(&sts).await;
    *world.web.lock().unwrap() = policy("none", "mx.plain.test", 864_000);
    *world.txt.lock().unwrap() = announces("2");
    clock.advance(HOUR);
    assert_eq!(look(&sts).await, (None, Origin::Fetched));
    *world.txt.lock().unwrap() = Lookup::Absent {
        proof: Proof::Insecure,
    };
    clock.advance(HOUR);
    assert_eq!(look(&sts).await, (None, Origin::Kept));
}

#[tokio::test]
async fn a_day_old_policy_is_fetched_in_the_background_as_long_as_it_is_announced() {
    let (world, clock, sts) = world();
    look(&sts).await;
    clock.advance(23 * HOUR);
    sts.refresh().await.unwrap();
    assert_eq!(*world.fetched.lock().unwrap(), 1, "not a day old");
    *world.web.lock().unwrap() = policy("enforce", "mx2.plain.test", 864_000);
    clock.advance(HOUR);
    sts.refresh().await.unwrap();
    assert_eq!(*world.fetched.lock().unwrap(), 2);
    let expiry = |world: &World| world.disk.lock().unwrap().as_ref().unwrap().expires_at;
    let renewed = Timestamp(START).after(264 * HOUR);
    assert_eq!(expiry(&world), renewed, "ten days from then on");
    assert_eq!(look(&sts).await, (host("mx2.plain.test"), Origin::Fetched));
    assert_eq!(*world.fetched.lock().unwrap(), 2, "mail needs no further fetch");
    clock.advance(24 * HOUR);
    *world.txt.lock().unwrap() = Lookup::Absent {
        proof: Proof::Insecure,
    };
    sts.refresh().await.unwrap();
    assert_eq!(*world.fetched.lock().unwrap(), 2, "announced no more");
    *world.txt.lock().unwrap() = announces("1");
    *world.web.lock().unwrap() = None;
    clock.advance(HOUR);
    sts.refresh().await.unwrap();
    assert_eq!(*world.fetched.lock().unwrap(), 3);
    assert_eq!(expiry(&world), renewed, "what cannot be fetched runs out in time");
}

#[tokio::test]
async fn without_a_record_nothing_is_fetched() {
    let (world, _, sts) = world();
    *world.txt.lock().unwrap() = Lookup::Absent {
        proof: Proof::Insecure,
    };
    assert_eq!(look(&sts).await, (None, Origin::None));
    assert_eq!(*world.fetched.lock().unwrap(), 0);
}

/// Others decide how many domains there are, and how long their policies.
#[tokio::test]
async fn what_is_remembered_is_bounded_in_octets() {
    let (_, clock, sts) = world();
    let long = (0..MAX_PATTERNS).fold(String::new(), |text, number| {
        text + &format!("mx: {}.{number}.plain.test\n", "x".repeat(60))
    });
    let text = format!("version: STSv1\nmode: enforce\n{long}max_age: 86400\n");
    let facts = StsFacts {
        policy: Some(Arc::new(Policy::parse(text.as_bytes()).unwrap())),
        ..StsFacts::none()
    };
    let held = facts.octets();
    assert!((text.len()..2 * text.len()).contains(&held), "{held}");
    let domain = |number: usize| -> Domain { format!("domain{number}.test").parse().unwrap() };
    for number in 0..1000 {
        sts.remember(&domain(number), &facts, clock.now());
    }
    let remembered = |number: &usize| sts.remembered(&domain(*number), clock.now()).is_some();
    assert!(remembered(&999));
    let count = (0..1000).filter(remembered).count();
    assert!(count * held <= REMEMBERED_OCTETS, "{count}");
    assert!((count + 2) * held > REMEMBERED_OCTETS, "{count}");
}
