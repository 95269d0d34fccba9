#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::base::time::{ManualClock, Timestamp};
use crate::crypto::at_rest::Key;
use crate::dime::signet::{self, Custody};
use crate::store::MasterKey;
use crate::store::sqlite::SqliteStore;

struct Fixture {
    published: Published,
    clock: Arc<ManualClock>,
    _home: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
    let master = MasterKey(Key::from_bytes([5; 32]));
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
