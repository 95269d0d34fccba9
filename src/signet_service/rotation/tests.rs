#![allow(clippy::unwrap_used)]

mod at_once;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::base::encoding::base64_unpadded;
use crate::base::time::ManualClock;
use crate::crypto::at_rest::Key;
use crate::dime::key_set::{Draft, KemKeys, SignedKeySet};
use crate::dime::record::{Policy, SubdomainPolicy};
use crate::dime::signet::{Custody, Kind, Permissions, request};
use crate::net::dns::{Proof, scripted};
use crate::store::sqlite::SqliteStore;
use crate::store::{DimeSettings, LocalDomain, MasterKey};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// What DNS has of the management record.
struct Zone {
    text: Mutex<Option<String>>,
    ttl_secs: AtomicU64,
    proof: Proof,
}

impl scripted::Script for Zone {
    fn texts(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        assert_eq!(name, "_dx.hismail.test");
        match &*self.text.lock().unwrap() {
            Some(text) => Lookup::Found {
                value: vec![text.clone().into_bytes()],
                proof: self.proof,
                ttl: Duration::from_secs(self.ttl_secs.load(Ordering::Relaxed)),
            },
            None => Lookup::Failed,
        }
    }
}

/// An installation that is opened anew for every step, as after a kill.
struct Bed {
    path: PathBuf,
    clock: Arc<ManualClock>,
    zone: Arc<Zone>,
    _home: tempfile::TempDir,
}

impl Bed {
    /// With an organization, Bob whose keys are kept, and Pat who has signed a key set at home.
    async fn new() -> Self {
        Self::in_zone(Proof::Secure).await
    }

    async fn in_zone(proof: Proof) -> Self {
        let home = tempfile::tempdir().unwrap();
        let zone = Zone {
            text: Mutex::default(),
            ttl_secs: AtomicU64::new(2 * HOUR),
            proof,
        };
        let bed = Self {
            path: home.path().join("dimed.db"),
            clock: Arc::new(ManualClock::new(Timestamp(1_800_000_000_000))),
            zone: Arc::new(zone),
            _home: home,
        };
        let rotation = bed.open().await;
        let rng = &mut rand::rng();
        let published = &rotation.published;
        let keys = OrgKeys::generate(rng);
        published.publish_organization(&domain(), keys).await.unwrap();
        published
            .publish_user(&bob(), UserKeys::generate(rng))
            .await
            .unwrap();
        let keys = UserKeys::generate(rng);
        let created = u64::try_from(bed.clock.now().unix_secs()).unwrap();
        let set = Draft {
            created,
            expires: created + 300 * DAY,
            keys: KemKeys::generate(rng).public_keys(),
        };
        let set = set.sign(Kind::User, &keys.signing).unwrap();
        let request = request(&keys).unwrap();
        published
            .publish_request_with(&pat(), &request, &set)
            .await
            .unwrap();
        bed
    }

    async fn open(&self) -> Rotation {
        let master = MasterKey::new(Key::from_bytes([5; 32]));
        let store = SqliteStore::open(&self.path, master, self.clock.clone()).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        Rotation {
            published: Arc::new(Published::new(Arc::clone(&store), self.clock.clone())),
            store,
            clock: self.clock.clone(),
            resolver: self.zone.clone(),
        }
    }

    /// Puts those keys into DNS.
    fn publish(&self, keys: &[VerifyingKey]) {
        let keys = keys.iter().map(|key| format!(" pok={}", base64_unpadded(&key.0)));
        *self.zone.text.lock().unwrap() = Some(format!("ver=1{} pol=mixed", keys.collect::<String>()));
    }

    fn later(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// One call of the command, in a process of its own; the state after it.
    async fn rotate(&self, name: &Name) -> Rollover {
        match self.open().await.rotate(name).await.unwrap() {
            Progress::UnderWay(rollover) => rollover,
            other => panic!("{other:?}"),
        }
    }

    /// The primary keys that the record is to have.
    async fn planned(&self) -> Vec<VerifyingKey> {
        let plan = self
            .open()
            .await
            .published
            .record_plan(&domain(), &settings())
            .await;
        plan.unwrap().unwrap().primary_keys
    }

    async fn primary(&self) -> VerifyingKey {
        let organization = self.open().await.published.organization(&domain()).await;
        organization.unwrap().unwrap().signet.primary_key()
    }

    async fn count(&self, name: &str) -> usize {
        self.open().await.store.signet_history(name).await.unwrap().len()
    }
}

fn domain() -> Domain {
    "hismail.test".parse().unwrap()
}

fn organization() -> Name {
    Name::Organization(domain())
}

fn bob() -> Mailbox {
    "bob@hismail.test".parse().unwrap()
}

fn pat() -> Mailbox {
    "pat@hismail.test".parse().unwrap()
}

fn settings() -> DimeSettings {
    DimeSettings {
        policy: Policy::Mixed,
        subdomain_policy: SubdomainPolicy::Strict,
        delivery_hosts: vec!["dx.hismail.test".parse().unwrap()],
        expiry_days: Some(30),
    }
}

#[tokio::test]
async fn an_organization_gets_new_keys_step_by_step_whenever_it_is_killed() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    bed.publish(&[old]);
    let before = bed.open().await.published;
    let old_organization = before.organization(&domain()).await.unwrap().unwrap();
    let bob_before = before.user(&bob()).await.unwrap().unwrap();
    let pat_before = before.user(&pat()).await.unwrap().unwrap();

    let begun = bed.rotate(&organization()).await;
    assert_eq!((begun.state, begun.due_at), (RolloverState::Generated, None));
    assert_eq!(bed.rotate(&organization()).await, begun, "begins no other");
    let planned = bed.planned().await;
    let new = planned[1];
    assert_eq!(planned, [old, new]);
    assert_eq!(
        bed.primary().await,
        old,
        "nothing is used before others can know it"
    );

    bed.publish(&planned);
    let published = bed.rotate(&organization()).await;
    let due = bed.clock.now().after(Duration::from_secs(26 * HOUR));
    assert_eq!(
        (published.state, published.due_at),
        (RolloverState::Published, Some(due))
    );
    bed.publish(&[old]);
    assert_eq!(
        bed.rotate(&organization()).await.state,
        RolloverState::Generated,
        "taken back"
    );
    bed.publish(&planned);
    bed.rotate(&organization()).await;
    bed.later(26 * HOUR - 1);
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Published);
    assert_eq!(bed.primary().await, old);

    bed.later(1);
    let active = bed.rotate(&organization()).await;
    let due = bed.clock.now().after(Duration::from_secs(16 * DAY));
    assert_eq!((active.state, active.due_at), (RolloverState::Active, Some(due)));
    assert_eq!(
        bed.planned().await,
        [old, new],
        "the record has both until nothing old is under way"
    );
    let now = bed.open().await.published;
    let organization_now = now.organization(&domain()).await.unwrap().unwrap().signet;
    assert_eq!(organization_now.primary_key(), new);
    let secondary = organization_now.secondary_keys();
    assert_eq!((secondary.len(), secondary[0].key), (1, old));
    assert_eq!(secondary[0].permissions, Permissions::SIGNETS);
    for (address, before) in [(bob(), &bob_before), (pat(), &pat_before)] {
        let after = now.user(&address).await.unwrap().unwrap();
        assert!(after.signet.is_signed_by(&new) && !before.signet.is_signed_by(&new));
        assert_eq!(after.signet.signing_key(), before.signet.signing_key());
        let set =
            |user: &crate::signet_service::User| SignedKeySet::of(user.signet.signet()).unwrap().unwrap();
        assert_eq!(set(&after), set(before), "the key set stays valid");
        assert_eq!(after.keys.is_some(), before.keys.is_some());
        let candidates = now.candidates(&address.to_string()).await.unwrap();
        let can_open = |full| candidates.iter().any(|kept| Some(kept.signet) == full);
        assert_eq!(can_open(after.signet.full_fingerprint()), before.keys.is_some());
        assert_eq!(can_open(before.signet.full_fingerprint()), before.keys.is_some());
    }
    let old_signet = old_organization.signet.crypto_fingerprint().into();
    let opens_old = now.organization_by(&domain(), old_signet).await;
    assert!(opens_old.unwrap().is_some(), "mail under way can be opened");

    bed.later(16 * DAY - 1);
    assert_eq!(bed.rotate(&organization()).await, active);
    assert_eq!(
        bed.open()
            .await
            .store
            .erase_private_keys(bed.clock.now())
            .await
            .unwrap(),
        0
    );
    bed.later(1);
    let retired = bed.rotate(&organization()).await;
    assert_eq!((retired.state, retired.due_at), (RolloverState::Retired, None));
    assert_eq!(bed.planned().await, [new]);
    bed.open().await.pass().await.unwrap();
    let last = bed.open().await.published;
    let kept = last.organization(&domain()).await.unwrap().unwrap();
    assert_eq!(kept.signet.secondary_keys(), []);
    assert_eq!(kept.keys.signing.verifying_key(), new);
    let opens_old = last.organization_by(&domain(), old_signet).await;
    assert!(opens_old.unwrap().is_none(), "erased");
    let bob_last = last.user(&bob()).await.unwrap().unwrap();
    assert!(bob_last.keys.is_some() && bob_last.signet.is_signed_by(&new));
    let past = last.past_organizations(&domain()).await.unwrap();
    let keys: Vec<_> = past.iter().map(|past| past.primary_key()).collect();
    assert_eq!(keys, [old, new, new]);

    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Retired);
    bed.publish(&[new]);
    assert_eq!(
        bed.open().await.advance(&organization()).await.unwrap(),
        Progress::Done
    );
    assert_eq!(
        bed.open().await.progress(&organization()).await.unwrap(),
        Progress::None
    );
    assert_eq!(bed.planned().await, [new]);
}

/// Others who remember the record before, and can prove nothing, accept the next one because it shares a key with that.
#[tokio::test]
async fn without_proof_the_old_key_stays_in_the_record_as_long_as_others_remember_it() {
    let bed = Bed::in_zone(Proof::Insecure).await;
    let served = LocalDomain {
        name: domain(),
        dime: Some(settings()),
        created_at: bed.clock.now(),
    };
    bed.open().await.store.add_domain(served).await.unwrap();
    let old = bed.primary().await;
    bed.rotate(&organization()).await;
    let planned = bed.planned().await;
    bed.publish(&planned);
    bed.rotate(&organization()).await;
    bed.later(26 * HOUR);
    let active = bed.rotate(&organization()).await;
    let due = bed.clock.now().after(Duration::from_secs(31 * DAY));
    assert_eq!((active.state, active.due_at), (RolloverState::Active, Some(due)));

    // The private half goes when nothing under way needs it; the new key vouches for the certificates then.
    bed.later(30 * DAY);
    bed.open().await.pass().await.unwrap();
    let plan = bed
        .open()
        .await
        .published
        .record_plan(&domain(), &settings())
        .await;
    let plan = plan.unwrap().unwrap();
    assert_eq!(plan.primary_keys, [old, planned[1]]);
    let signers: Vec<_> = plan.signers.iter().map(|key| key.verifying_key()).collect();
    assert_eq!(signers, [planned[1]]);
    bed.later(DAY);
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Retired);
    assert_eq!(bed.planned().await, [planned[1]]);
}

/// A cache shows what is left of the TTL, and all of it once it has asked again.
#[tokio::test]
async fn the_ttl_that_others_may_have_is_waited_for() {
    let bed = Bed::new().await;
    bed.rotate(&organization()).await;
    bed.publish(&bed.planned().await);
    bed.zone.ttl_secs.store(5, Ordering::Relaxed);
    let begun = bed.clock.now();
    let due = |secs| Some(begun.after(Duration::from_secs(secs)));
    assert_eq!(bed.rotate(&organization()).await.due_at, due(25 * HOUR));
    bed.later(HOUR);
    bed.zone.ttl_secs.store(7 * DAY, Ordering::Relaxed);
    let waiting = bed.rotate(&organization()).await;
    assert_eq!((waiting.since, waiting.due_at), (begun, due(8 * DAY)));
    bed.zone.ttl_secs.store(5, Ordering::Relaxed);
    bed.later(8 * DAY - HOUR - 1);
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Published);
    bed.later(1);
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Active);
}

/// Killed between any two of the steps of activation, the next try goes on where it stood and does nothing twice.
#[tokio::test]
async fn an_activation_that_was_cut_off_is_finished() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    bed.rotate(&organization()).await;
    let rotation = bed.open().await;
    let (from, seen) = (RolloverState::Generated, RolloverState::Seen);
    let now = bed.clock.now();
    rotation
        .store
        .advance_rollover("hismail.test", from, seen, now, None)
        .await
        .unwrap();
    let keys = rotation
        .store
        .rollover_keys("hismail.test")
        .await
        .unwrap()
        .unwrap();
    let keys = OrgKeys::from_armor(std::str::from_utf8(keys.expose()).unwrap()).unwrap();
    let new = keys.signing.verifying_key();
    bed.later(1);

    // The organization's signet is out, and no user's.
    rotation
        .published
        .publish_organization_beside(&domain(), keys, Some(old))
        .await
        .unwrap();
    let published = bed.open().await.published;
    for address in [bob(), pat()] {
        let user = published.user(&address).await.unwrap().unwrap();
        assert!(!user.signet.is_signed_by(&new), "valid by the old key");
    }
    // One user's, and not the other's.
    assert!(published.resign(&bob()).await.unwrap());
    assert!(!published.resign(&bob()).await.unwrap());
    assert_eq!(
        (
            bed.count("bob@hismail.test").await,
            bed.count("pat@hismail.test").await
        ),
        (2, 1)
    );

    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Active);
    assert_eq!(bed.count("hismail.test").await, 2);
    assert_eq!(
        (
            bed.count("bob@hismail.test").await,
            bed.count("pat@hismail.test").await
        ),
        (2, 2)
    );
    bed.open().await.pass().await.unwrap();
    assert_eq!(bed.count("hismail.test").await, 2);
}

/// They may be the ones that were erased, by this process or another.
#[tokio::test]
async fn private_keys_do_not_stay_in_memory_for_longer_than_from_one_pass_to_the_next() {
    let bed = Bed::new().await;
    let rotation = bed.open().await;
    let published = &rotation.published;
    published.organization(&domain()).await.unwrap();
    assert!(published.has_keys_in_memory(&domain()).await);
    rotation.pass().await.unwrap();
    assert!(!published.has_keys_in_memory(&domain()).await);
    published.organization(&domain()).await.unwrap();
    assert!(published.has_keys_in_memory(&domain()).await);
}

#[tokio::test]
async fn a_user_gets_new_keys_under_a_chain_of_custody_and_the_old_ones_are_erased_in_time() {
    let bed = Bed::new().await;
    let name = Name::User(bob());
    let before = bed.open().await.published.user(&bob()).await.unwrap().unwrap();
    bed.later(1);
    // Killed right after the keys were made.
    bed.open().await.begin(&name).await.unwrap();
    assert_eq!(bed.count("bob@hismail.test").await, 1);
    let active = bed.rotate(&name).await;
    let due = bed.clock.now().after(Duration::from_secs(16 * DAY));
    assert_eq!((active.state, active.due_at), (RolloverState::Active, Some(due)));
    assert_eq!(bed.rotate(&name).await, active, "repeating it changes nothing");
    assert_eq!(bed.count("bob@hismail.test").await, 2);

    let published = bed.open().await.published;
    let after = published.user(&bob()).await.unwrap().unwrap();
    assert!(after.signet.succeeds(&before.signet.signing_key()));
    assert_eq!(
        after.signet.custody(),
        Custody::Unproven,
        "as anybody sees it alone"
    );
    let old = before.signet.crypto_fingerprint();
    let opens_old = published.user_by(&bob(), old.into()).await.unwrap().unwrap();
    assert_eq!(
        opens_old.keys.unwrap().signing.seed(),
        before.keys.unwrap().signing.seed()
    );

    bed.later(16 * DAY);
    bed.open().await.pass().await.unwrap();
    assert_eq!(bed.open().await.progress(&name).await.unwrap(), Progress::None);
    let published = bed.open().await.published;
    assert!(
        published
            .user_by(&bob(), old.into())
            .await
            .unwrap()
            .unwrap()
            .keys
            .is_none()
    );
    assert!(published.user(&bob()).await.unwrap().unwrap().keys.is_some());
}

/// Killed behind the publication, before the state is written.
#[tokio::test]
async fn a_user_s_publication_is_not_repeated() {
    let bed = Bed::new().await;
    let name = Name::User(bob());
    let rotation = bed.open().await;
    rotation.begin(&name).await.unwrap();
    let keys = rotation
        .store
        .rollover_keys("bob@hismail.test")
        .await
        .unwrap()
        .unwrap();
    let keys = UserKeys::from_armor(std::str::from_utf8(keys.expose()).unwrap()).unwrap();
    bed.later(1);
    rotation.published.publish_user(&bob(), keys).await.unwrap();
    assert_eq!(bed.rotate(&name).await.state, RolloverState::Active);
    assert_eq!(bed.count("bob@hismail.test").await, 2);
}

#[tokio::test]
async fn nothing_is_begun_that_cannot_be_done_here() {
    let bed = Bed::new().await;
    let rotation = bed.open().await;
    let at_home = rotation.rotate(&Name::User(pat())).await;
    assert!(matches!(at_home, Err(Error::NoKeys)), "{at_home:?}");
    let nobody = rotation.rotate(&"eve@hismail.test".parse().unwrap()).await;
    assert!(matches!(nobody, Err(Error::NoSignet)), "{nobody:?}");
    let domain = LocalDomain {
        name: domain(),
        dime: Some(settings()),
        created_at: bed.clock.now(),
    };
    rotation.store.add_domain(domain.clone()).await.unwrap();
    rotation
        .store
        .begin_retirement(&domain.name, bed.clock.now())
        .await
        .unwrap();
    let leaving = rotation.rotate(&organization()).await;
    assert!(matches!(leaving, Err(Error::Retiring)), "{leaving:?}");
    assert_eq!(rotation.store.rollovers().await.unwrap(), []);
}

/// Two commands and the daemon, say: none of them fails, and keys change once.
#[tokio::test(flavor = "multi_thread")]
async fn steps_taken_by_several_at_once_are_taken_once() {
    let bed = Bed::new().await;
    let name = Name::User(bob());
    for changes in 1..=5 {
        let tries = (0..6).map(|_| async { bed.open().await.rotate(&name).await });
        for progress in futures_util::future::join_all(tries).await {
            assert!(matches!(progress, Ok(Progress::UnderWay(_))), "{progress:?}");
        }
        assert_eq!(bed.count("bob@hismail.test").await, 1 + changes);
        assert_eq!(bed.rotate(&name).await.state, RolloverState::Active);
        bed.later(17 * DAY);
        assert_eq!(bed.open().await.rotate(&name).await.unwrap(), Progress::Done);
    }
}

fn user() -> Name {
    Name::User(bob())
}

/// Before the new keys are used for anything, whatever DNS has of them: the old ones go on, and the next change is another one.
#[tokio::test]
async fn a_change_is_called_off_until_the_new_keys_are_used() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    bed.publish(&[old]);
    assert_eq!(bed.open().await.cancel(&organization()).await.unwrap(), None);

    let mut states = Vec::new();
    for until in [
        RolloverState::Generated,
        RolloverState::Published,
        RolloverState::Seen,
    ] {
        bed.rotate(&organization()).await;
        let both = bed.planned().await;
        if until > RolloverState::Generated {
            bed.publish(&both);
            bed.rotate(&organization()).await;
        }
        if until == RolloverState::Seen {
            let (store, now) = (bed.open().await.store, bed.clock.now());
            let from = RolloverState::Published;
            store
                .advance_rollover("hismail.test", from, until, now, None)
                .await
                .unwrap();
        }
        states.push(bed.open().await.cancel(&organization()).await.unwrap());
        let after = bed.open().await;
        assert_eq!(after.progress(&organization()).await.unwrap(), Progress::None);
        assert_eq!(
            bed.open().await.cancel(&organization()).await.unwrap(),
            None,
            "once"
        );
        assert_eq!((bed.primary().await, bed.planned().await), (old, vec![old]));
        after.pass().await.unwrap();
        assert_eq!(bed.count("hismail.test").await, 1);
        let again = bed.rotate(&organization()).await;
        assert_eq!(
            again.state,
            RolloverState::Generated,
            "DNS has a key that is not awaited"
        );
        assert_ne!(bed.planned().await[1], both[1], "new keys");
        bed.open().await.cancel(&organization()).await.unwrap();
        bed.publish(&[old]);
    }
    use RolloverState::{Generated, Published, Seen};
    assert_eq!(states, [Some(Generated), Some(Published), Some(Seen)]);
}

#[tokio::test]
async fn a_change_whose_keys_are_used_is_not_called_off() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    bed.rotate(&organization()).await;
    let rotation = bed.open().await;
    let now = bed.clock.now();
    let (from, seen) = (RolloverState::Generated, RolloverState::Seen);
    rotation
        .store
        .advance_rollover("hismail.test", from, seen, now, None)
        .await
        .unwrap();
    let keys = rotation
        .store
        .rollover_keys("hismail.test")
        .await
        .unwrap()
        .unwrap();
    let keys = OrgKeys::from_armor(std::str::from_utf8(keys.expose()).unwrap()).unwrap();
    bed.later(1);
    // Killed between the signet and the state: the state alone would allow it.
    rotation
        .published
        .publish_organization_beside(&domain(), keys, Some(old))
        .await
        .unwrap();
    let refused = async |name: &Name| {
        let refused = bed.open().await.cancel(name).await;
        assert!(matches!(refused, Err(Error::NewKeysInUse)), "{refused:?}");
    };
    refused(&organization()).await;
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Active);
    refused(&organization()).await;
    bed.later(16 * DAY);
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Retired);
    refused(&organization()).await;

    assert_eq!(bed.rotate(&user()).await.state, RolloverState::Active);
    refused(&user()).await;
}

#[tokio::test]
async fn a_user_s_change_is_called_off_before_the_signet_is_published() {
    let bed = Bed::new().await;
    let before = bed.open().await.published.user(&bob()).await.unwrap().unwrap();
    bed.open().await.begin(&user()).await.unwrap();
    let was = bed.open().await.cancel(&user()).await.unwrap();
    assert_eq!(was, Some(RolloverState::Generated));
    bed.open().await.pass().await.unwrap();
    let after = bed.open().await.published.user(&bob()).await.unwrap().unwrap();
    assert_eq!(after.signet.signing_key(), before.signet.signing_key());
    assert_eq!(bed.count("bob@hismail.test").await, 1);
    // Of a user whose signet was taken out of service meanwhile, too.
    bed.open().await.begin(&user()).await.unwrap();
    bed.open().await.published.revoke(&bob()).await.unwrap();
    let was = bed.open().await.cancel(&user()).await.unwrap();
    assert_eq!(was, Some(RolloverState::Generated));
}

/// Whoever had looked before it was called off, and comes to publish after that, does not.
#[tokio::test]
async fn what_was_called_off_is_not_published_by_a_step_that_had_begun() {
    let bed = Bed::new().await;
    let late = bed.open().await;
    late.begin(&user()).await.unwrap();
    let rollover = late.store.rollover("bob@hismail.test").await.unwrap().unwrap();
    let armored = late.new_keys(&rollover).await.unwrap();
    let keys = UserKeys::from_armor(&armored).unwrap();
    bed.open().await.cancel(&user()).await.unwrap();
    bed.later(1);
    let published = late.published.during(&rollover);
    let refused = published.publish_user(&bob(), keys).await;
    assert!(
        matches!(refused, Err(Error::Store(store::Error::Changed))),
        "{refused:?}"
    );
    assert_eq!(bed.count("bob@hismail.test").await, 1);
    // Nor if another change has begun since, which is in the same state.
    let keys = UserKeys::from_armor(&armored).unwrap();
    bed.open().await.begin(&user()).await.unwrap();
    let refused = published.publish_user(&bob(), keys).await;
    assert!(
        matches!(refused, Err(Error::Store(store::Error::Changed))),
        "{refused:?}"
    );
    bed.open().await.cancel(&user()).await.unwrap();

    // And the other way round: a signet that came out after the look keeps it from being called off.
    late.begin(&user()).await.unwrap();
    let current = late
        .store
        .current_signet("bob@hismail.test")
        .await
        .unwrap()
        .unwrap();
    bed.rotate(&user()).await;
    for state in [RolloverState::Generated, RolloverState::Active] {
        let refused = late
            .store
            .cancel_rollover("bob@hismail.test", state, Some(current.full), None)
            .await;
        assert!(matches!(refused, Err(store::Error::Changed)), "{refused:?}");
    }
}

/// The same of a domain, whose new keys are put to use while it is called off.
#[tokio::test]
async fn a_domain_s_keys_are_put_to_use_or_called_off_and_never_both() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    let late = bed.open().await;
    late.begin(&organization()).await.unwrap();
    let (from, seen) = (RolloverState::Generated, RolloverState::Seen);
    let now = bed.clock.now();
    late.store
        .advance_rollover("hismail.test", from, seen, now, None)
        .await
        .unwrap();
    let rollover = late.store.rollover("hismail.test").await.unwrap().unwrap();
    let current = late.store.current_signet("hismail.test").await.unwrap().unwrap();
    let keys = OrgKeys::from_armor(&late.new_keys(&rollover).await.unwrap()).unwrap();
    // Called off between the look and the publication.
    bed.open().await.cancel(&organization()).await.unwrap();
    let published = late.published.during(&rollover);
    let refused = published
        .publish_organization_beside(&domain(), keys, Some(old))
        .await;
    assert!(
        matches!(refused, Err(Error::Store(store::Error::Changed))),
        "{refused:?}"
    );
    assert_eq!((bed.primary().await, bed.count("hismail.test").await), (old, 1));

    // Published between the look of who calls it off and the end.
    bed.later(1);
    late.begin(&organization()).await.unwrap();
    let now = bed.clock.now();
    late.store
        .advance_rollover("hismail.test", from, seen, now, None)
        .await
        .unwrap();
    bed.later(1);
    assert_eq!(bed.rotate(&organization()).await.state, RolloverState::Active);
    for state in [seen, RolloverState::Active] {
        let refused = late
            .store
            .cancel_rollover("hismail.test", state, Some(current.full), None)
            .await;
        assert!(matches!(refused, Err(store::Error::Changed)), "{refused:?}");
    }
    assert_ne!(bed.primary().await, old);
}

/// Anybody who finds the database file and the master key finds no key that nobody uses.
#[tokio::test]
async fn keys_of_a_change_that_was_called_off_are_gone_from_the_files() {
    let bed = Bed::new().await;
    let rotation = bed.open().await;
    rotation.begin(&user()).await.unwrap();
    let mut database = SqliteConnectOptions::new()
        .filename(&bed.path)
        .connect()
        .await
        .unwrap();
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM rollovers")
        .fetch_one(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let holds = |needle: &[u8]| {
        let files = std::fs::read_dir(bed.path.parent().unwrap()).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .any(|octets| octets.windows(needle.len()).any(|window| window == needle))
    };
    assert!(holds(&sealed));
    rotation.cancel(&user()).await.unwrap();
    assert!(!holds(&sealed));
}

/// Somebody reads the database all the time.
#[tokio::test]
async fn keys_that_could_not_be_erased_from_the_log_are_erased_by_the_next_try() {
    let bed = Bed::new().await;
    let rotation = bed.open().await;
    rotation.begin(&user()).await.unwrap();
    let options = SqliteConnectOptions::new().filename(&bed.path);
    let mut reader = options.connect().await.unwrap();
    sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
    sqlx::query("SELECT * FROM rollovers")
        .execute(&mut reader)
        .await
        .unwrap();
    let cancelled = rotation.cancel(&user()).await;
    let in_use = matches!(cancelled, Err(Error::Store(store::Error::LogInUse)));
    assert!(in_use, "{cancelled:?}");
    assert_eq!(rotation.progress(&user()).await.unwrap(), Progress::None);
    let log = bed.path.with_extension("db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    assert!(length() > 0);
    reader.close().await.unwrap();
    assert_eq!(rotation.cancel(&user()).await.unwrap(), None);
    assert_eq!(length(), 0);
}
