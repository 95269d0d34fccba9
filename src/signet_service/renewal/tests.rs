#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::secret::Secret;
use crate::base::time::ManualClock;
use crate::crypto::at_rest::Key;
use crate::crypto::ed25519::SigningKey;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::{Draft, KemKeys};
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{Kind, OrgBuilder, request};
use crate::store::sqlite::SqliteStore;
use crate::store::{KeySetAhead, MasterKey, Publication, StoredSignet};

const DAY: u64 = 24 * 3600;
const START: u64 = 1_800_000_000;

struct Fixture {
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    published: Arc<Published>,
    renewal: Renewal,
    _home: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(START as i64 * 1000)));
    let master = MasterKey::new(Key::from_bytes([5; 32]));
    let store = SqliteStore::open(&home.path().join("dimed.db"), master, clock.clone()).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let published = Arc::new(Published::new(Arc::clone(&store), clock.clone()));
    Fixture {
        renewal: Renewal::new(
            Arc::clone(&store),
            clock.clone(),
            Arc::clone(&published),
            Times::default(),
            "mx.hismail.test".parse().unwrap(),
        ),
        store,
        clock,
        published,
        _home: home,
    }
}

fn domain() -> Domain {
    "hismail.test".parse().unwrap()
}

fn bob() -> Mailbox {
    "bob@hismail.test".parse().unwrap()
}

impl Fixture {
    async fn organization(&self) {
        let keys = OrgKeys::generate(&mut rand::rng());
        self.published
            .publish_organization(&domain(), keys)
            .await
            .unwrap();
    }

    async fn trustful_user(&self) {
        let keys = UserKeys::generate(&mut rand::rng());
        self.published.publish_user(&bob(), keys).await.unwrap();
    }

    /// A user whose keys are at home.
    async fn user_at_home(&self) -> UserKeys {
        let keys = UserKeys::generate(&mut rand::rng());
        let request = request(&keys).unwrap();
        self.published.publish_request(&bob(), &request).await.unwrap();
        keys
    }

    fn days_later(&self, days: u64) {
        self.clock.advance(Duration::from_secs(days * DAY));
    }

    async fn pass(&self) -> Report {
        self.renewal.pass().await.unwrap()
    }

    async fn set_of(&self, name: &str) -> Option<SignedKeySet> {
        let stored = self.store.current_signet(name).await.unwrap().unwrap();
        SignedKeySet::of(&Signet::decode(&stored.object).unwrap()).unwrap()
    }

    async fn current(&self, name: &str) -> FullFingerprint {
        self.store.current_signet(name).await.unwrap().unwrap().full
    }

    /// Signets whose private KEM keys exist, the newest first.
    async fn openable(&self, name: &str) -> Vec<FullFingerprint> {
        let candidates = self.published.candidates(name).await.unwrap();
        candidates.iter().map(|candidate| candidate.signet).collect()
    }

    /// Takes all mail out of the queue.
    async fn mails(&self) -> Vec<String> {
        let now = self.clock.now();
        let until = now.after(Duration::from_secs(1000 * DAY));
        let mut mails = Vec::new();
        for claim in self.store.claim(now, until, 10).await.unwrap() {
            let octets = self.store.read_piece(claim.message, 0).await.unwrap();
            mails.push(String::from_utf8(octets.unwrap()).unwrap());
        }
        mails
    }

    async fn sign_ahead(&self, keys: &SigningKey, days: &[u64]) {
        let set = |day: &u64| ahead(keys, START + day * DAY);
        let sets = days.iter().map(set).collect();
        self.store
            .keep_key_sets_ahead("bob@hismail.test", sets)
            .await
            .unwrap();
    }
}

fn ahead(owner: &SigningKey, created: u64) -> KeySetAhead {
    let draft = Draft {
        created,
        expires: created + 30 * DAY,
        keys: KemKeys::generate(&mut rand::rng()).public_keys(),
    };
    KeySetAhead {
        publish_at: Timestamp(created as i64 * 1000),
        value: draft.sign(Kind::User, owner).unwrap(),
    }
}

#[tokio::test]
async fn new_signets_have_keys_of_both_suites() {
    let fixture = fixture().await;
    fixture.organization().await;
    fixture.trustful_user().await;
    for name in ["hismail.test", "bob@hismail.test"] {
        let set = fixture.set_of(name).await.unwrap();
        assert_eq!((set.created(), set.expires()), (START, START + 30 * DAY));
        let kept = fixture.published.candidates(name).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].signet, fixture.current(name).await);
        let public = kept[0].keys.public_keys();
        let keys = set.accept(START).unwrap();
        assert_eq!(public.len(), 2);
        assert!(public.iter().all(|key| keys.key(key.suite()) == Some(key)));
    }
    assert_eq!(fixture.pass().await, Report::default());
}

#[tokio::test]
async fn key_sets_are_replaced_after_two_weeks_and_their_keys_destroyed_in_time() {
    let fixture = fixture().await;
    fixture.organization().await;
    fixture.trustful_user().await;
    let bob = "bob@hismail.test";
    let first = fixture.current(bob).await;
    fixture.days_later(13);
    assert_eq!(fixture.pass().await, Report::default());

    fixture.days_later(1);
    assert_eq!(fixture.pass().await.renewed, 2, "organization and user");
    let second = fixture.current(bob).await;
    assert_ne!(second, first);
    assert_eq!(
        fixture.set_of(bob).await.unwrap().created(),
        START + 14 * DAY,
        "created follows the clock"
    );
    assert_eq!(fixture.openable(bob).await, [second, first]);
    let history = fixture.store.signet_history(bob).await.unwrap();
    assert_eq!(
        history.iter().map(|old| old.signet.full).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(history[0].signet.crypto, history[1].signet.crypto);

    // The first set expires after 30 days; mail for it may come for 15 more, and a day is added.
    fixture.days_later(31);
    let report = fixture.pass().await;
    assert_eq!((report.renewed, report.destroyed), (2, 0));
    fixture.days_later(1);
    assert_eq!(fixture.pass().await.destroyed, 2);
    let third = fixture.current(bob).await;
    assert_eq!(fixture.openable(bob).await, [third, second]);
    assert!(fixture.published.user(&bob.parse().unwrap()).await.is_ok());
}

#[tokio::test]
async fn a_signet_from_before_key_sets_gets_one() {
    let fixture = fixture().await;
    let keys = OrgKeys::generate(&mut rand::rng());
    let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
    let signet = builder.identifiable(&domain()).unwrap();
    let stored = StoredSignet {
        name: "hismail.test".into(),
        crypto: signet.crypto_fingerprint().unwrap(),
        full: signet.full_fingerprint().unwrap(),
        id: signet.id_fingerprint().unwrap(),
        object: signet.encode(),
        published_at: fixture.clock.now(),
    };
    let armored = keys.to_armor().expose().clone().into_bytes();
    let publication = Publication {
        private_keys: Some(Secret::new(armored)),
        ..stored.clone().into()
    };
    fixture.store.publish_signet(publication).await.unwrap();
    assert_eq!(fixture.pass().await.renewed, 1);
    assert!(!fixture.set_of("hismail.test").await.unwrap().is_opt_out());
    let organization = fixture.published.organization(&domain()).await.unwrap().unwrap();
    assert_eq!(organization.signet.crypto_fingerprint(), stored.crypto);
    assert_eq!(organization.keys.signing.seed(), keys.signing.seed());
}

#[tokio::test]
async fn an_opt_out_is_followed_by_an_opt_out_until_the_owner_comes_back() {
    let fixture = fixture().await;
    fixture.organization().await;
    fixture.trustful_user().await;
    let first = fixture.current("bob@hismail.test").await;
    fixture.published.renew_user(&bob(), Offer::OptOut).await.unwrap();
    assert!(fixture.set_of("bob@hismail.test").await.unwrap().is_opt_out());
    // Mail that was under way is still opened.
    assert_eq!(fixture.openable("bob@hismail.test").await, [first]);
    fixture.days_later(14);
    assert_eq!(fixture.pass().await.renewed, 2);
    let set = fixture.set_of("bob@hismail.test").await.unwrap();
    assert!(set.is_opt_out());
    assert_eq!(set.created(), START + 14 * DAY);
    // New signing keys do not bring KEM keys back, either.
    fixture.trustful_user().await;
    assert!(fixture.set_of("bob@hismail.test").await.unwrap().is_opt_out());
    fixture.published.renew_user(&bob(), Offer::Keys).await.unwrap();
    assert!(!fixture.set_of("bob@hismail.test").await.unwrap().is_opt_out());
}

#[tokio::test]
async fn key_sets_signed_ahead_are_published_when_due_and_their_end_is_announced() {
    let fixture = fixture().await;
    fixture.organization().await;
    let keys = fixture.user_at_home().await;
    let bob = "bob@hismail.test";
    assert_eq!(fixture.set_of(bob).await, None);
    assert_eq!(
        fixture.pass().await,
        Report::default(),
        "nobody but the user can sign"
    );

    fixture.sign_ahead(&keys.signing, &[0, 14, 28]).await;
    let report = fixture.pass().await;
    assert_eq!((report.published, report.running_out.len()), (1, 0));
    assert_eq!(fixture.set_of(bob).await.unwrap().created(), START);
    assert!(fixture.openable(bob).await.is_empty(), "the keys are at home");

    fixture.days_later(14);
    let report = fixture.pass().await;
    assert_eq!((report.published, report.running_out.len()), (1, 0));
    assert_eq!(fixture.pass().await.published, 0);

    fixture.days_later(14);
    let report = fixture.pass().await;
    assert_eq!(report.published, 1);
    let running_out = BTreeMap::from([(domain(), 1)]);
    assert_eq!(report.running_out, running_out, "the last one is in use");
    assert_eq!(fixture.set_of(bob).await.unwrap().created(), START + 28 * DAY);
    assert_eq!(fixture.pass().await.running_out, running_out);

    fixture.sign_ahead(&keys.signing, &[42, 56]).await;
    assert_eq!(fixture.pass().await, Report::default());
}

#[tokio::test]
async fn a_user_whose_keys_are_at_home_is_told_once_for_each_threshold() {
    let fixture = fixture().await;
    fixture.organization().await;
    let keys = fixture.user_at_home().await;
    fixture.sign_ahead(&keys.signing, &[0, 14, 28]).await;
    // The last set is made on day 28 and expires on day 58.
    let told = [
        (13, None),
        (14, Some("is put into use on\r\nFri, 12 Feb 2027 08:00:00 +0000.")),
        (28, None),
        (43, None),
        (
            44,
            Some("is in use, and expires on\r\nSun, 14 Mar 2027 08:00:00 +0000."),
        ),
        (54, None),
        (
            55,
            Some("is in use, and expires on\r\nSun, 14 Mar 2027 08:00:00 +0000."),
        ),
        (59, None),
    ];
    let mut today = 0;
    for (day, expected) in told {
        fixture.days_later(day - today);
        today = day;
        // A daemon that starts anew remembers as well as this one.
        let again = Renewal::new(
            Arc::clone(&fixture.store),
            fixture.clock.clone(),
            Arc::clone(&fixture.published),
            Times::default(),
            "mx.hismail.test".parse().unwrap(),
        );
        let warned = (fixture.pass().await.warned, again.pass().await.unwrap().warned);
        assert_eq!(warned, (u64::from(expected.is_some()), 0), "day {day}");
        let mails = fixture.mails().await;
        assert_eq!(mails.len(), usize::from(expected.is_some()), "day {day}");
        for (mail, expected) in mails.iter().zip(expected) {
            assert!(mail.contains("\r\nTo: bob@hismail.test\r\n"), "{mail}");
            assert!(mail.contains(expected), "day {day}: {mail}");
        }
    }
    // Another last set has thresholds of its own.
    fixture.sign_ahead(&keys.signing, &[59]).await;
    assert_eq!(fixture.pass().await.warned, 0);
    fixture.days_later(28);
    assert_eq!(fixture.pass().await.warned, 1);
}

#[tokio::test]
async fn after_a_standstill_the_newest_usable_key_set_is_published() {
    let fixture = fixture().await;
    fixture.organization().await;
    let keys = fixture.user_at_home().await;
    fixture.sign_ahead(&keys.signing, &[0, 14, 28, 42]).await;
    // A due set that somebody else signed does not stand in the way.
    let stranger = SigningKey::from_seed(&[9; 32]);
    let mut sets = fixture.store.key_sets_ahead("bob@hismail.test").await.unwrap();
    sets.insert(3, ahead(&stranger, START + 29 * DAY));
    fixture
        .store
        .keep_key_sets_ahead("bob@hismail.test", sets)
        .await
        .unwrap();
    fixture.days_later(30);
    assert_eq!(fixture.pass().await.published, 1);
    let set = fixture.set_of("bob@hismail.test").await.unwrap();
    assert_eq!(set.created(), START + 28 * DAY);
    let left = fixture.store.key_sets_ahead("bob@hismail.test").await.unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn only_the_users_own_and_newer_key_sets_are_published() {
    let fixture = fixture().await;
    fixture.organization().await;
    let keys = fixture.user_at_home().await;
    let publish = async |set: KeySetAhead| {
        let done = fixture.published.publish_key_set(&bob(), &set.value).await;
        done.map(drop).map_err(|error| match error {
            Error::KeySet(error) => error.rule(),
            other => panic!("{other}"),
        })
    };
    let stranger = SigningKey::from_seed(&[9; 32]);
    assert_eq!(publish(ahead(&stranger, START)).await, Err("N3"));
    assert_eq!(publish(ahead(&keys.signing, START + 2 * DAY)).await, Err("N5"));
    assert_eq!(publish(ahead(&keys.signing, START)).await, Ok(()));
    assert_eq!(publish(ahead(&keys.signing, START - 1)).await, Err("N7"));
}

#[tokio::test]
async fn what_fails_for_one_name_does_not_stop_the_others() {
    let fixture = fixture().await;
    fixture.organization().await;
    // An organization whose private keys are gone comes first by its name.
    let stored = fixture
        .store
        .current_signet("hismail.test")
        .await
        .unwrap()
        .unwrap();
    let orphan = StoredSignet {
        name: "a.test".into(),
        ..stored
    };
    fixture.store.publish_signet(orphan.into()).await.unwrap();
    fixture.days_later(14);
    let report = fixture.pass().await;
    assert_eq!((report.renewed, report.failed), (1, 1));
}

/// There may be many, and of most nothing is due: their keys are left alone, readable or not.
#[tokio::test]
async fn keys_are_read_of_signets_alone_that_are_due() {
    let fixture = fixture().await;
    fixture.organization().await;
    let stored = fixture.store.current_signet("hismail.test").await.unwrap();
    let unreadable = Publication {
        private_keys: Some(Secret::new(b"no keys".to_vec())),
        ..StoredSignet {
            name: "b.test".into(),
            ..stored.unwrap()
        }
        .into()
    };
    fixture.store.publish_signet(unreadable).await.unwrap();
    assert_eq!(fixture.pass().await, Report::default());
    fixture.days_later(14);
    let report = fixture.pass().await;
    assert_eq!((report.renewed, report.failed), (1, 1));
}

#[tokio::test]
async fn a_domain_is_warned_of_once_a_day() {
    let fixture = fixture().await;
    let renewal = &fixture.renewal;
    assert!(renewal.is_to_be_warned(&domain()));
    assert!(!renewal.is_to_be_warned(&domain()));
    assert!(renewal.is_to_be_warned(&"other.test".parse().unwrap()));
    fixture.days_later(1);
    assert!(renewal.is_to_be_warned(&domain()));
}
