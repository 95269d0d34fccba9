#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::base::time::{ManualClock, Timestamp};
use crate::crypto::at_rest::Key;
use crate::dime::signet::{self, Custody};
use crate::store::sqlite::SqliteStore;
use crate::store::{KeySetAhead, MasterKey};

struct Fixture {
    published: Published,
    clock: Arc<ManualClock>,
    _home: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
    let master = MasterKey::new(Key::from_bytes([5; 32]));
    let store = SqliteStore::open(&home.path().join("dimed.db"), master, clock.clone())
        .await
        .unwrap();
    Fixture {
        published: Published::new(Arc::new(store), clock.clone()),
        clock,
        _home: home,
    }
}

fn domain() -> Domain {
    "hismail.test".parse().unwrap()
}

fn bob() -> Mailbox {
    "Bob@hismail.test".parse().unwrap()
}

fn user_keys() -> UserKeys {
    UserKeys::generate(&mut rand::rng())
}

async fn with_organization() -> Fixture {
    let fixture = fixture().await;
    let keys = OrgKeys::generate(&mut rand::rng());
    fixture
        .published
        .publish_organization(&domain(), keys)
        .await
        .unwrap();
    fixture
}

#[tokio::test]
async fn an_organization_and_its_users_are_found_with_their_keys() {
    let fixture = with_organization().await;
    let published = &fixture.published;
    let keys = user_keys();
    let made = published.publish_user(&bob(), keys.clone()).await.unwrap();
    assert_eq!(made.signet.custody(), Custody::NoCustody);

    let found = published
        .user(&"BOB@hismail.test".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.signet, made.signet);
    assert_eq!(found.keys.unwrap().signing.seed(), keys.signing.seed());
    let organization = published.organization(&domain()).await.unwrap().unwrap();
    assert_eq!(
        organization.signet.primary_key(),
        organization.keys.signing.verifying_key()
    );
    assert!(
        published
            .user(&"carol@hismail.test".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn signets_are_served_without_their_identifying_part_under_any_fingerprint() {
    let fixture = with_organization().await;
    let published = &fixture.published;
    let user = published.publish_user(&bob(), user_keys()).await.unwrap().signet;
    let served = published.signet("bOb@HisMail.test", None).await.unwrap().unwrap();
    let signet = Signet::decode(&served).unwrap();
    assert_eq!(signet.level(), Some(Level::Full));
    assert_eq!(signet.full_fingerprint(), user.full_fingerprint());
    for fingerprint in [
        AnyFingerprint(user.crypto_fingerprint().0),
        AnyFingerprint(user.full_fingerprint().unwrap().0),
        AnyFingerprint(user.id_fingerprint().unwrap().0),
    ] {
        let by_fingerprint = published
            .signet("bob@hismail.test", Some(fingerprint))
            .await
            .unwrap();
        assert_eq!(by_fingerprint.as_ref(), Some(&served));
        assert_eq!(
            published.signet("hismail.test", Some(fingerprint)).await.unwrap(),
            None
        );
    }
    assert_eq!(published.signet("nobody@hismail.test", None).await.unwrap(), None);
}

#[tokio::test]
async fn a_rotation_keeps_custody_and_the_old_keys() {
    let fixture = with_organization().await;
    let (published, clock) = (&fixture.published, &fixture.clock);
    let old = published.publish_user(&bob(), user_keys()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let new = published.publish_user(&bob(), user_keys()).await.unwrap();
    assert_eq!(new.signet.custody(), Custody::Proven);

    let (old_full, new_full) = (
        old.signet.full_fingerprint().unwrap(),
        new.signet.full_fingerprint().unwrap(),
    );
    let status = |fingerprint| published.status("bob@hismail.test", fingerprint);
    assert_eq!(status(new_full.into()).await.unwrap(), Some(Status::Current));
    assert_eq!(
        status(old_full.into()).await.unwrap(),
        Some(Status::Superseded(new_full))
    );
    assert_eq!(status(AnyFingerprint([9; 64])).await.unwrap(), None);

    let kept = published
        .user_by(&bob(), old.signet.crypto_fingerprint().into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        kept.keys.unwrap().signing.seed(),
        old.keys.unwrap().signing.seed()
    );
}

#[tokio::test]
async fn a_request_is_signed_and_no_keys_are_kept() {
    let fixture = with_organization().await;
    let published = &fixture.published;
    let keys = user_keys();
    let signet = published
        .publish_request(&bob(), &request(&keys).unwrap())
        .await
        .unwrap();
    assert_eq!(signet.signing_key(), keys.signing.verifying_key());
    assert!(published.user(&bob()).await.unwrap().unwrap().keys.is_none());
    assert!(matches!(
        published.publish_user(&bob(), user_keys()).await,
        Err(Error::NoKeys)
    ));
}

#[tokio::test]
async fn a_successor_without_custody_is_refused() {
    let fixture = with_organization().await;
    let published = &fixture.published;
    published.publish_user(&bob(), user_keys()).await.unwrap();
    let stranger = request(&user_keys()).unwrap();
    let refused = published.publish_request(&bob(), &stranger).await;
    assert!(
        matches!(refused, Err(Error::Signet(signet::Error::CustodyMissing))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_user_needs_an_organization() {
    let fixture = fixture().await;
    let published = &fixture.published;
    let refused = published.publish_user(&bob(), user_keys()).await;
    assert!(matches!(refused, Err(Error::NoOrganization)));
}

#[tokio::test]
async fn an_address_without_a_form_in_dmtp_gets_no_signet() {
    let fixture = with_organization().await;
    for text in ["\"a b\"@hismail.test", "bücher@hismail.test"] {
        let refused = fixture
            .published
            .publish_user(&text.parse().unwrap(), user_keys())
            .await;
        assert!(matches!(refused, Err(Error::NoDmtpForm)), "{text}: {refused:?}");
    }
}

/// A domain with DIME that is served here, as requests demand it.
async fn served() -> Fixture {
    let fixture = with_organization().await;
    let domain = crate::store::LocalDomain {
        name: domain(),
        dime: Some(crate::store::DimeSettings {
            policy: crate::dime::record::Policy::Mixed,
            subdomain_policy: crate::dime::record::SubdomainPolicy::Strict,
            delivery_hosts: vec![domain()],
            expiry_days: None,
        }),
        created_at: fixture.clock.now(),
    };
    fixture.published.store.add_domain(domain).await.unwrap();
    fixture
}

fn key_set(keys: &UserKeys, fixture: &Fixture) -> Vec<u8> {
    let created = seconds(fixture.clock.now());
    let draft = crate::dime::key_set::Draft {
        created,
        expires: created + 1000,
        keys: crate::dime::key_set::KemKeys::generate(&mut rand::rng()).public_keys(),
    };
    draft.sign(Kind::User, &keys.signing).unwrap()
}

#[tokio::test]
async fn a_request_waits_until_it_is_approved_with_its_key_set() {
    let fixture = served().await;
    let published = &fixture.published;
    let keys = user_keys();
    let asked = request(&keys).unwrap();
    let set = key_set(&keys, &fixture);
    published
        .submit_request(&bob(), &asked, Some(&set))
        .await
        .unwrap();
    assert!(
        published.user(&bob()).await.unwrap().is_none(),
        "nothing is published yet"
    );
    let signet = published.approve(&bob(), None).await.unwrap();
    assert_eq!(signet.signing_key(), keys.signing.verifying_key());
    assert_eq!(
        signet.signet().undefined_field(crate::dime::key_set::FIELD),
        Some(&set[..])
    );
    assert!(matches!(
        published.approve(&bob(), None).await,
        Err(Error::NoRequest)
    ));

    // The next one carries a chain of custody from this one.
    fixture.clock.advance(Duration::from_secs(1));
    let stranger = published
        .submit_request(&bob(), &request(&user_keys()).unwrap(), None)
        .await;
    assert!(
        matches!(stranger, Err(Error::Signet(signet::Error::CustodyMissing))),
        "{stranger:?}"
    );
    let next = user_keys();
    let asked = rotation_request(&next, &keys.signing).unwrap();
    published.submit_request(&bob(), &asked, None).await.unwrap();
    assert_eq!(
        published.approve(&bob(), None).await.unwrap().custody(),
        Custody::Proven
    );
}

/// The signet is there, and the request is, too: killed in between, or at the same time by another hand.
#[tokio::test]
async fn an_approval_that_was_cut_off_is_finished_by_the_next() {
    let fixture = served().await;
    let published = &fixture.published;
    let keys = user_keys();
    let set = key_set(&keys, &fixture);
    for asked in [request(&keys), rotation_request(&user_keys(), &keys.signing)] {
        let asked = asked.unwrap();
        let is_first = published.user(&bob()).await.unwrap().is_none();
        let set = is_first.then_some(&set[..]);
        published.submit_request(&bob(), &asked, set).await.unwrap();
        let before = match set {
            Some(set) => published.publish_request_with(&bob(), &asked, set).await,
            None => published.publish_request(&bob(), &asked).await,
        };
        let after = published.approve(&bob(), None).await.unwrap();
        assert_eq!(after.full_fingerprint(), before.unwrap().full_fingerprint());
        assert!(matches!(
            published.approve(&bob(), None).await,
            Err(Error::NoRequest)
        ));
        fixture.clock.advance(Duration::from_secs(1));
    }
}

/// Whoever has the key that was lost has the old request, too.
#[tokio::test]
async fn a_key_that_was_revoked_does_not_come_back() {
    let fixture = served().await;
    let published = &fixture.published;
    let (lost, fresh) = (user_keys(), user_keys());
    let asked = request(&lost).unwrap();
    published.submit_request(&bob(), &asked, None).await.unwrap();
    let signet = published.publish_request(&bob(), &asked).await.unwrap();
    published.revoke(&bob()).await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    for refused in [
        published.approve(&bob(), None).await,
        published.publish_request(&bob(), &asked).await,
        published.publish_signed(&bob(), signet.signet()).await,
        published
            .submit_request(&bob(), &asked, None)
            .await
            .map(|()| signet.clone()),
    ] {
        assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    }
    assert!(published.user(&bob()).await.unwrap().is_none());
    published
        .submit_request(&bob(), &request(&fresh).unwrap(), None)
        .await
        .unwrap();
    let anew = published.approve(&bob(), None).await.unwrap();
    assert_eq!(anew.signing_key(), fresh.signing.verifying_key());
}

#[tokio::test]
async fn key_sets_may_come_twice_and_go_with_their_key() {
    let fixture = served().await;
    let published = &fixture.published;
    let keys = user_keys();
    let asked = request(&keys).unwrap();
    let set = key_set(&keys, &fixture);
    let first = published
        .publish_request_with(&bob(), &asked, &set)
        .await
        .unwrap();
    let again = published.keep_key_sets(&bob(), &[&set]).await.unwrap();
    assert_eq!(
        again,
        Due {
            published: true,
            left: 0
        }
    );
    let current = published.user(&bob()).await.unwrap().unwrap().signet;
    assert_eq!(current.full_fingerprint(), first.full_fingerprint());

    let name = fold(&bob());
    fixture.clock.advance(Duration::from_secs(3600));
    let later = KeySetAhead {
        publish_at: fixture.clock.now().after(Duration::from_secs(14 * 24 * 3600)),
        value: key_set(&keys, &fixture),
    };
    published
        .store
        .keep_key_sets_ahead(&name, vec![later])
        .await
        .unwrap();
    let changed = rotation_request(&user_keys(), &keys.signing).unwrap();
    published.publish_request(&bob(), &changed).await.unwrap();
    assert!(published.store.key_sets_ahead(&name).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rejected_request_is_not_approved_and_a_new_one_takes_its_place() {
    let fixture = served().await;
    let published = &fixture.published;
    let asked = request(&user_keys()).unwrap();
    published.submit_request(&bob(), &asked, None).await.unwrap();
    published.reject(&bob(), "not you").await.unwrap();
    let rejected = published
        .store
        .signing_request("bob@hismail.test")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rejected.rejected, Some((fixture.clock.now(), "not you".into())));
    assert!(matches!(
        published.approve(&bob(), None).await,
        Err(Error::NoRequest)
    ));
    assert!(matches!(
        published.reject(&bob(), "again").await,
        Err(Error::NoRequest)
    ));
    published
        .submit_request(&bob(), &request(&user_keys()).unwrap(), None)
        .await
        .unwrap();
    published.approve(&bob(), None).await.unwrap();
}

#[tokio::test]
async fn what_cannot_become_a_signet_is_not_even_taken() {
    let fixture = served().await;
    let published = &fixture.published;
    let keys = user_keys();
    let asked = request(&keys).unwrap();
    let foreign = published
        .submit_request(&"bob@elsewhere.test".parse().unwrap(), &asked, None)
        .await;
    assert!(matches!(foreign, Err(Error::NotServed)), "{foreign:?}");
    let quoted = published
        .submit_request(&"\"a b\"@hismail.test".parse().unwrap(), &asked, None)
        .await;
    assert!(matches!(quoted, Err(Error::NoDmtpForm)), "{quoted:?}");
    let set = key_set(&user_keys(), &fixture);
    let foreign = published.submit_request(&bob(), &asked, Some(&set)).await;
    assert!(matches!(foreign, Err(Error::KeySet(_))), "{foreign:?}");
    assert_eq!(published.store.signing_requests().await.unwrap(), []);
}

#[tokio::test]
async fn a_revoked_signet_is_out_of_service_with_all_of_its_key() {
    let fixture = with_organization().await;
    let (published, clock) = (&fixture.published, &fixture.clock);
    let first = published.publish_user(&bob(), user_keys()).await.unwrap().signet;
    clock.advance(Duration::from_secs(1));
    let second = published.publish_user(&bob(), user_keys()).await.unwrap().signet;
    clock.advance(Duration::from_secs(1));
    let third = published.renew_user(&bob(), Offer::Keys).await.unwrap().signet;
    assert_eq!(published.revoke(&bob()).await.unwrap(), 2);
    assert!(published.user(&bob()).await.unwrap().is_none());
    let name = "bob@hismail.test";
    assert_eq!(published.signet(name, None).await.unwrap(), None);
    for gone in [&second, &third] {
        let full = gone.full_fingerprint().unwrap();
        assert_eq!(published.signet(name, Some(full.into())).await.unwrap(), None);
        assert_eq!(published.status(name, full.into()).await.unwrap(), None);
        assert_eq!(
            published.history(&bob(), Some(full.into()), None).await.unwrap(),
            None
        );
    }
    let old = first.full_fingerprint().unwrap();
    assert!(published.signet(name, Some(old.into())).await.unwrap().is_some());
    assert_eq!(
        published.status(name, old.into()).await.unwrap(),
        None,
        "there is no current one"
    );
    assert!(matches!(published.revoke(&bob()).await, Err(Error::NoSignet)));
    // Mail under way can still be opened.
    let kept = published
        .private_keys(name, third.crypto_fingerprint())
        .await
        .unwrap();
    assert!(kept.is_some());

    clock.advance(Duration::from_secs(1));
    let anew = published.publish_user(&bob(), user_keys()).await.unwrap().signet;
    assert_eq!(anew.custody(), Custody::NoCustody);
    let status = published.status(name, old.into()).await.unwrap();
    assert_eq!(status, Some(Status::Superseded(anew.full_fingerprint().unwrap())));
}

#[tokio::test]
async fn a_signet_signed_elsewhere_is_published_if_it_follows_the_present_one() {
    let fixture = with_organization().await;
    let (published, clock) = (&fixture.published, &fixture.clock);
    let organization = published.organization(&domain()).await.unwrap().unwrap();
    let signed = |request: &Signet, before: Option<&VerifiedUser>| {
        let request = verify_request(request, before).unwrap();
        let signer = Signer::new(&organization.signet, &organization.keys.signing).unwrap();
        let address: Mailbox = "bob@hismail.test".parse().unwrap();
        signer.sign(&request).unwrap().identifiable(&address).unwrap()
    };
    let keys = user_keys();
    let first = signed(&request(&keys).unwrap(), None);
    let first = published.publish_signed(&bob(), &first).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let stranger = signed(&request(&user_keys()).unwrap(), None);
    let refused = published.publish_signed(&bob(), &stranger).await;
    assert!(
        matches!(refused, Err(Error::Signet(signet::Error::CustodyMissing))),
        "{refused:?}"
    );
    let next = signed(
        &rotation_request(&user_keys(), &keys.signing).unwrap(),
        Some(&first),
    );
    let next = published.publish_signed(&bob(), &next).await.unwrap();
    assert_eq!(next.custody(), Custody::Proven);
    // The same keys with another profile.
    clock.advance(Duration::from_secs(1));
    let signer = Signer::new(&organization.signet, &organization.keys.signing).unwrap();
    let mut builder = signer.edit(&next).unwrap();
    builder.profile_mut().add_undefined(b"note", b"x").unwrap();
    let edited = builder
        .identifiable(&"bob@hismail.test".parse().unwrap())
        .unwrap();
    published.publish_signed(&bob(), &edited).await.unwrap();
    assert_eq!(
        published
            .store
            .signet_history("bob@hismail.test")
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_history_longer_than_one_answer_is_said_to_be_so() {
    let fixture = with_organization().await;
    let published = &fixture.published;
    published.publish_user(&bob(), user_keys()).await.unwrap();
    let current = published
        .store
        .current_signet("bob@hismail.test")
        .await
        .unwrap()
        .unwrap();
    for number in 1..=MAX_HISTORY as u64 {
        let mut full = current.full;
        full.0[..8].copy_from_slice(&number.to_be_bytes());
        let copy = StoredSignet {
            full,
            ..current.clone()
        };
        published.store.publish_signet(copy.into()).await.unwrap();
    }
    let all = published.history(&bob(), None, None).await;
    assert!(matches!(all, Err(Error::TooLong)), "{all:?}");
    let mut late = current.full;
    late.0[..8].copy_from_slice(&2u64.to_be_bytes());
    let some = published
        .history(&bob(), Some(AnyFingerprint(late.0)), None)
        .await;
    assert_eq!(some.unwrap().unwrap().len(), MAX_HISTORY - 1);
}
