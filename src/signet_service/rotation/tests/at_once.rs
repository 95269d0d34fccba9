//! Keys that are replaced at once.

use super::*;
use crate::dime::signet::Custody;
use crate::signet_service::TakenAlong;
use crate::store::{Account, TrustMode};

impl Bed {
    async fn replace(&self) -> TakenAlong {
        self.open().await.replace_at_once(&domain()).await.unwrap()
    }

    async fn change(&self, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(&self.path);
        let mut database = options.connect().await.unwrap();
        sqlx::query(sql).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    }

    async fn user(&self, address: &Mailbox) -> crate::signet_service::User {
        let published = self.open().await.published;
        published.user(address).await.unwrap().unwrap()
    }
}

fn taken(kept: u64, renewed: u64) -> TakenAlong {
    TakenAlong { kept, renewed }
}

#[tokio::test]
async fn the_old_key_vouches_for_nothing_and_users_keep_theirs() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    bed.publish(&[old]);
    let before = [bed.user(&bob()).await, bed.user(&pat()).await];
    // A change in steps that has got far does not matter.
    bed.rotate(&organization()).await;
    bed.publish(&bed.planned().await);
    bed.rotate(&organization()).await;
    let next = bed.planned().await[1];

    assert_eq!(bed.replace().await, taken(2, 0));
    let new = bed.primary().await;
    assert!(new != old && new != next, "what was prepared may be known, too");
    assert_eq!(bed.planned().await, [new]);
    let published = bed.open().await.published;
    let present = published.organization(&domain()).await.unwrap().unwrap();
    assert!(present.signet.secondary_keys().is_empty());
    for (address, before) in [bob(), pat()].iter().zip(&before) {
        let after = bed.user(address).await;
        assert!(after.signet.is_signed_by(&new), "{address}");
        assert_eq!(after.signet.signing_key(), before.signet.signing_key());
        assert_eq!(after.keys.is_some(), before.keys.is_some());
        let full = before.signet.full_fingerprint().unwrap();
        let earlier = published.user_by(address, full.into()).await.unwrap();
        assert!(earlier.is_none(), "{address}: the old key's signet");
    }
    let retired = bed.rotate(&organization()).await;
    assert_eq!((retired.state, retired.due_at), (RolloverState::Retired, None));
    bed.publish(&[new]);
    let done = bed.open().await.rotate(&organization()).await.unwrap();
    assert_eq!(done, Progress::Done);
}

#[tokio::test]
async fn users_whose_keys_are_lost_with_the_domain_s_begin_anew() {
    let bed = Bed::new().await;
    let old = bed.primary().await;
    bed.publish(&[old]);
    let before = [bed.user(&bob()).await, bed.user(&pat()).await];
    let rotation = bed.open().await;
    for (address, trust_mode) in [(bob(), TrustMode::Trustful), (pat(), TrustMode::Paranoid)] {
        let account = Account {
            address,
            password_hash: String::new(),
            scram_verifier: None,
            trust_mode,
            created_at: bed.clock.now(),
            trap_since: None,
            disabled_at: None,
            quota_bytes: None,
        };
        rotation.store.add_account(account).await.unwrap();
    }
    bed.change("UPDATE signets SET private_keys = NULL").await;
    bed.change("DELETE FROM kem_keys").await;
    let refused = bed.open().await.rotate(&organization()).await;
    assert!(matches!(refused, Err(Error::NoKeys)), "{refused:?}");

    assert_eq!(bed.replace().await, taken(1, 1));
    let new = bed.primary().await;
    assert_ne!(new, old);
    let [of_bob, of_pat] = [bed.user(&bob()).await, bed.user(&pat()).await];
    assert_ne!(of_bob.signet.signing_key(), before[0].signet.signing_key());
    assert_eq!(of_bob.signet.custody(), Custody::NoCustody);
    assert!(of_bob.keys.is_some());
    assert_eq!(of_pat.signet.signing_key(), before[1].signet.signing_key());
    assert!(of_pat.keys.is_none() && of_pat.signet.is_signed_by(&new));
    assert_eq!(bed.planned().await, [new]);
}

#[tokio::test]
async fn what_was_cut_off_is_ended_with_the_same_keys() {
    let bed = Bed::new().await;
    bed.publish(&[bed.primary().await]);
    let rotation = bed.open().await;
    let current = rotation
        .store
        .current_signet("hismail.test")
        .await
        .unwrap()
        .unwrap();
    let keys = OrgKeys::generate(&mut rand::rng());
    let own = keys.signing.verifying_key();
    let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
    let now = bed.clock.now();
    let store = &rotation.store;
    store
        .begin_rollover("hismail.test", current.crypto, armored, now)
        .await
        .unwrap();
    let (from, to) = (RolloverState::Generated, RolloverState::Retired);
    store
        .advance_rollover("hismail.test", from, to, now, None)
        .await
        .unwrap();
    // Cut off before the signet: nothing has changed for others.
    let noted = store.rollover("hismail.test").await.unwrap().unwrap();
    assert_ne!(bed.planned().await, [own]);
    bed.open().await.advance(&organization()).await.unwrap();
    assert_eq!(store.rollover("hismail.test").await.unwrap(), Some(noted.clone()));
    // Cut off behind it, with one of the users.
    rotation
        .published
        .during(&noted)
        .publish_organization(&domain(), keys.clone())
        .await
        .unwrap();
    assert_eq!(bed.replace().await, taken(2, 0));
    assert_eq!(bed.primary().await, own);
    assert_eq!(bed.count("hismail.test").await, 2);
    // The next call is another change.
    assert_eq!(bed.replace().await, taken(2, 0));
    assert_ne!(bed.primary().await, own);
}

/// They do not show that this change was begun.
#[tokio::test]
async fn keys_are_replaced_also_where_others_have_left_users_behind() {
    let bed = Bed::new().await;
    let keys = OrgKeys::generate(&mut rand::rng());
    let published = bed.open().await.published;
    published.publish_organization(&domain(), keys).await.unwrap();
    let known_to_others = bed.primary().await;
    assert_eq!(bed.replace().await, taken(2, 0));
    assert_ne!(bed.primary().await, known_to_others);
}

#[tokio::test]
async fn a_noted_change_goes_on_with_its_keys() {
    let bed = Bed::new().await;
    bed.publish(&[bed.primary().await]);
    let rotation = bed.open().await;
    let current = rotation
        .store
        .current_signet("hismail.test")
        .await
        .unwrap()
        .unwrap();
    let keys = OrgKeys::generate(&mut rand::rng());
    let armored = Secret::new(keys.to_armor().expose().clone().into_bytes());
    let now = bed.clock.now();
    rotation
        .store
        .begin_rollover("hismail.test", current.crypto, armored, now)
        .await
        .unwrap();
    let (from, to) = (RolloverState::Generated, RolloverState::Retired);
    rotation
        .store
        .advance_rollover("hismail.test", from, to, now, None)
        .await
        .unwrap();
    assert_eq!(bed.replace().await, taken(2, 0));
    assert_eq!(bed.primary().await, keys.signing.verifying_key());
}

#[tokio::test]
async fn a_user_s_keys_are_replaced_whatever_is_under_way() {
    let bed = Bed::new().await;
    let first = bed.user(&bob()).await;
    bed.later(1);
    bed.rotate(&user()).await;
    let second = bed.user(&bob()).await;
    bed.later(1);
    let progress = bed.open().await.replace_user_at_once(&bob()).await.unwrap();
    let due = bed.clock.now().after(Duration::from_secs(16 * DAY));
    let is_in_use = matches!(
        &progress,
        Progress::UnderWay(now) if now.state == RolloverState::Active && now.due_at == Some(due)
    );
    assert!(is_in_use, "{progress:?}");
    let third = bed.user(&bob()).await;
    assert_ne!(third.signet.signing_key(), second.signet.signing_key());
    assert!(third.signet.succeeds(&second.signet.signing_key()));

    // What is sealed for those before opens until then.
    let keys_of = async |before: &crate::signet_service::User| {
        let published = bed.open().await.published;
        let crypto = before.signet.crypto_fingerprint();
        let found = published.user_by(&bob(), crypto.into()).await.unwrap();
        found.unwrap().keys
    };
    assert!(keys_of(&first).await.is_some() && keys_of(&second).await.is_some());
    bed.later(16 * DAY);
    bed.open().await.pass().await.unwrap();
    assert_eq!(bed.open().await.progress(&user()).await.unwrap(), Progress::None);
    assert!(keys_of(&first).await.is_none() && keys_of(&second).await.is_none());
    assert!(keys_of(&third).await.is_some());
}

/// Whoever has the keys of now may have those that wait, too.
#[tokio::test]
async fn keys_of_a_user_that_wait_are_not_used() {
    let bed = Bed::new().await;
    let before = bed.user(&bob()).await;
    let rotation = bed.open().await;
    rotation.begin(&user()).await.unwrap();
    let waiting = rotation.store.rollover_keys("bob@hismail.test").await;
    let waiting = waiting.unwrap().unwrap();
    let waiting = UserKeys::from_armor(std::str::from_utf8(waiting.expose()).unwrap()).unwrap();
    bed.later(1);
    bed.open().await.replace_user_at_once(&bob()).await.unwrap();
    let after = bed.user(&bob()).await;
    assert_ne!(after.signet.signing_key(), waiting.signing.verifying_key());
    assert!(after.signet.succeeds(&before.signet.signing_key()));
    assert_eq!(bed.count("bob@hismail.test").await, 2);
}

#[tokio::test]
async fn keys_that_are_not_here_are_not_replaced() {
    let bed = Bed::new().await;
    let rotation = bed.open().await;
    let refused = rotation.replace_user_at_once(&pat()).await;
    assert!(matches!(refused, Err(Error::NoKeys)), "{refused:?}");
    rotation.published.revoke(&bob()).await.unwrap();
    let refused = rotation.replace_user_at_once(&bob()).await;
    assert!(matches!(refused, Err(Error::NoSignet)), "{refused:?}");
    let now = bed.clock.now();
    rotation.store.begin_retirement(&domain(), now).await.unwrap();
    let refused = rotation.replace_user_at_once(&bob()).await;
    assert!(matches!(refused, Err(Error::Retiring)), "{refused:?}");
}
