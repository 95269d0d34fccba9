#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::time::ManualClock;
use crate::crypto::at_rest::Key;
use crate::mail::address::Domain;
use crate::store::sqlite::SqliteStore;
use crate::store::{LocalDomain, MasterKey};

struct Fixture {
    accounts: Accounts,
    _home: tempfile::TempDir,
}

/// Accounts of hermail.test and other.test; the first is Alice.
async fn fixture_with(postmaster: Option<&str>) -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let master = MasterKey::new(Key::from_bytes([5; 32]));
    let store = SqliteStore::open(&home.path().join("dimed.db"), master, clock)
        .await
        .unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    for name in ["hermail.test", "other.test"] {
        let domain = LocalDomain {
            name: name.parse().unwrap(),
            dime: None,
            created_at: Timestamp(0),
        };
        store.add_domain(domain).await.unwrap();
    }
    let settings = Settings {
        postmaster: postmaster.map(|text| text.parse().unwrap()),
        cost: Cost {
            memory_kib: 64,
            passes: 1,
            scram_rounds: 4096,
        },
        ..Settings::default()
    };
    let accounts = Accounts::new(store, settings);
    create(&accounts, "Alice@hermail.test", 1).await;
    create(&accounts, "aaron@hermail.test", 2).await;
    Fixture {
        accounts,
        _home: home,
    }
}

async fn fixture() -> Fixture {
    fixture_with(None).await
}

async fn create(accounts: &Accounts, address: &str, at: i64) {
    let new = NewAccount {
        address: address.parse().unwrap(),
        password: secret("correct horse"),
        trust_mode: TrustMode::Trustful,
    };
    accounts.create(new, Timestamp(at)).await.unwrap();
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

async fn alias(accounts: &Accounts, from: &str, to: &str) {
    accounts
        .create_alias(&from.parse().unwrap(), &to.parse().unwrap())
        .await
        .unwrap();
}

/// Who gets mail for `address`, in words.
async fn resolved(accounts: &Accounts, address: &str) -> String {
    match accounts.resolve(&address.parse().unwrap()).await {
        Ok(Resolution::NotLocal) => "not local".into(),
        Ok(Resolution::Unknown) => "unknown".into(),
        Ok(Resolution::Targets(targets)) => {
            let name = |target: &Target| match target {
                Target::Local(account) => account.address.to_string(),
                Target::Remote(address) => format!("remote {address}"),
            };
            targets.iter().map(name).collect::<Vec<_>>().join(", ")
        }
        Err(Error::AliasLoop) => "loop".into(),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_right_password_of_a_known_user_is_accepted() {
    let Fixture { accounts, _home } = fixture().await;
    let account = accounts
        .authenticate("ALICE@Hermail.Test", &secret("correct horse"))
        .await
        .unwrap();
    assert_eq!(account.address.to_string(), "Alice@hermail.test");
    for (identity, password) in [
        ("alice@hermail.test", "wrong horse"),
        ("alice@hermail.test", ""),
        ("bob@hermail.test", "correct horse"),
        ("alice", "correct horse"),
        ("", ""),
    ] {
        let refused = accounts.authenticate(identity, &secret(password)).await;
        assert!(matches!(refused, Err(Error::Refused)), "{identity} {password}");
    }
}

#[tokio::test]
async fn who_has_logged_in_does_so_again_once_their_trust_mode_has_changed() {
    let Fixture { accounts, _home } = fixture().await;
    let account = accounts
        .authenticate("alice@hermail.test", &secret("correct horse"))
        .await
        .unwrap();
    assert!(accounts.is_still_in(&account).await.unwrap());
    let mode = TrustMode::Paranoid;
    let set = accounts.store.set_trust_mode(&account.address, mode).await;
    assert!(set.unwrap());
    assert!(!accounts.is_still_in(&account).await.unwrap());
}

#[tokio::test]
async fn accounts_are_unique_and_in_domains_of_ours() {
    let Fixture { accounts, _home } = fixture().await;
    let new = |address: &str| NewAccount {
        address: address.parse().unwrap(),
        password: secret("correct horse"),
        trust_mode: TrustMode::Trustful,
    };
    let taken = accounts.create(new("aLICE@hermail.test"), Timestamp(9)).await;
    assert!(matches!(taken, Err(Error::IsAccount)));
    let foreign = accounts.create(new("bob@hismail.test"), Timestamp(9)).await;
    assert!(matches!(foreign, Err(Error::ForeignDomain)));
}

#[tokio::test]
async fn recipients_are_found_without_regard_to_case_and_detail() {
    let Fixture { accounts, _home } = fixture().await;
    for address in [
        "alice@hermail.test",
        "ALICE@HERMAIL.TEST",
        "alice+shop@hermail.test",
        "Alice+a+b@hermail.test",
    ] {
        assert_eq!(
            resolved(&accounts, address).await,
            "Alice@hermail.test",
            "{address}"
        );
    }
    for address in ["bob@hermail.test", "+alice@hermail.test", "alice@other.test"] {
        assert_eq!(resolved(&accounts, address).await, "unknown", "{address}");
    }
    assert_eq!(resolved(&accounts, "bob@hismail.test").await, "not local");
}

#[tokio::test]
async fn an_exact_address_comes_before_one_without_its_detail() {
    let Fixture { accounts, _home } = fixture().await;
    alias(&accounts, "alice+team@hermail.test", "aaron@hermail.test").await;
    assert_eq!(
        resolved(&accounts, "alice+team@hermail.test").await,
        "aaron@hermail.test"
    );
    assert_eq!(
        resolved(&accounts, "alice+other@hermail.test").await,
        "Alice@hermail.test"
    );
}

#[tokio::test]
async fn an_alias_does_not_lead_to_itself() {
    let Fixture { accounts, _home } = fixture().await;
    let sales = "sales@hermail.test".parse().unwrap();
    for target in ["sales@hermail.test", "Sales@HERMAIL.test"] {
        let made = accounts.create_alias(&sales, &target.parse().unwrap()).await;
        assert!(matches!(made, Err(Error::AliasToItself)), "{target}");
    }
}

#[tokio::test]
async fn aliases_lead_to_each_target_once() {
    let Fixture { accounts, _home } = fixture().await;
    alias(&accounts, "sales@hermail.test", "alice@hermail.test").await;
    alias(&accounts, "sales@hermail.test", "bob@hismail.test").await;
    alias(&accounts, "all@hermail.test", "sales@hermail.test").await;
    alias(&accounts, "all@hermail.test", "alice@hermail.test").await;
    let targets = resolved(&accounts, "all@hermail.test").await;
    assert_eq!(targets, "Alice@hermail.test, remote bob@hismail.test");
}

#[tokio::test]
async fn circles_end() {
    let Fixture { accounts, _home } = fixture().await;
    alias(&accounts, "a@hermail.test", "b@hermail.test").await;
    alias(&accounts, "b@hermail.test", "a@hermail.test").await;
    assert_eq!(resolved(&accounts, "a@hermail.test").await, "loop");
    // A way out of the circle is taken.
    alias(&accounts, "b@hermail.test", "alice@hermail.test").await;
    assert_eq!(resolved(&accounts, "a@hermail.test").await, "Alice@hermail.test");
}

/// How many an alias leads to says nothing of how far.
#[tokio::test]
async fn a_list_may_be_long() {
    let Fixture { accounts, _home } = fixture().await;
    for list in ["some", "more"] {
        alias(&accounts, "all@hermail.test", &format!("{list}@hermail.test")).await;
        for number in 0..60 {
            let to = format!("{list}{number}@hismail.test");
            alias(&accounts, &format!("{list}@hermail.test"), &to).await;
        }
    }
    let targets = resolved(&accounts, "all@hermail.test").await;
    assert_eq!(targets.matches("remote ").count(), 120, "{targets}");
}

#[tokio::test]
async fn endless_chains_end() {
    let Fixture { accounts, _home } = fixture().await;
    for step in 0..60 {
        let next = step + 1;
        alias(
            &accounts,
            &format!("a{step}@hermail.test"),
            &format!("a{next}@hermail.test"),
        )
        .await;
    }
    assert_eq!(resolved(&accounts, "a0@hermail.test").await, "loop");
}

/// RFC 5321 §4.5.1 and RFC 2142.
#[tokio::test]
async fn postmaster_and_abuse_reach_somebody() {
    let Fixture { accounts, _home } = fixture().await;
    assert_eq!(
        resolved(&accounts, "Postmaster@hermail.test").await,
        "Alice@hermail.test"
    );
    assert_eq!(
        resolved(&accounts, "abuse@hermail.test").await,
        "Alice@hermail.test"
    );
    assert_eq!(resolved(&accounts, "postmaster@other.test").await, "unknown");
    alias(&accounts, "abuse@hermail.test", "aaron@hermail.test").await;
    assert_eq!(
        resolved(&accounts, "abuse@hermail.test").await,
        "aaron@hermail.test"
    );

    let Fixture { accounts, _home } = fixture_with(Some("admin@hismail.test")).await;
    assert_eq!(
        resolved(&accounts, "postmaster@other.test").await,
        "remote admin@hismail.test"
    );
    let nobody: Domain = "hismail.test".parse().unwrap();
    assert!(!accounts.is_local(&nobody).await.unwrap());
}

/// RFC 5802 §5.1: what tells people from nobody must not be seen in how their names may be spelled, nor over a restart.
#[tokio::test]
async fn nobody_is_as_constant_under_all_spellings_as_somebody() {
    let fixture = fixture().await;
    let again = Accounts::new(
        Arc::clone(&fixture.accounts.store),
        fixture.accounts.settings.clone(),
    );
    for name in ["alice", "nobody"] {
        let first = fixture
            .accounts
            .scram_verifier(&format!("{name}@hermail.test"))
            .await
            .unwrap();
        for spelling in [
            format!("{name}@HERMAIL.test"),
            format!("\"{name}\"@hermail.test"),
            format!("\"\\{name}\"@hermail.test"),
        ] {
            let other = fixture.accounts.scram_verifier(&spelling).await.unwrap();
            assert_eq!(first, other, "{spelling}");
        }
        let restarted = again
            .scram_verifier(&format!("{name}@hermail.test"))
            .await
            .unwrap();
        assert_eq!(first, restarted, "{name}");
    }
    let other = fixture
        .accounts
        .scram_verifier("somebody@hermail.test")
        .await
        .unwrap();
    let nobody = fixture
        .accounts
        .scram_verifier("nobody@hermail.test")
        .await
        .unwrap();
    assert_ne!(other, nobody);
}

#[tokio::test]
async fn nobody_logs_in_to_a_trap_and_none_is_in_charge() {
    let Fixture { accounts, _home } = fixture().await;
    let trap: Mailbox = "alice@hermail.test".parse().unwrap();
    assert_eq!(
        resolved(&accounts, "postmaster@hermail.test").await,
        "Alice@hermail.test"
    );
    let since = Some(Timestamp(3));
    assert!(accounts.store.set_trap(&trap, since).await.unwrap());
    let refused = accounts
        .authenticate("alice@hermail.test", &secret("correct horse"))
        .await;
    assert!(matches!(refused, Err(Error::Refused)));
    assert!(matches!(
        accounts.proven("alice@hermail.test").await,
        Err(Error::Refused)
    ));
    assert_eq!(
        resolved(&accounts, "postmaster@hermail.test").await,
        "aaron@hermail.test"
    );
    assert_eq!(
        resolved(&accounts, "alice@hermail.test").await,
        "Alice@hermail.test"
    );
}
