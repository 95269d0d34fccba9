//! Accounts, aliases and domains as an operator lists, changes and removes them.

use super::*;

/// An account with that address, made at noon.
pub fn account(address: &str) -> Account {
    Account {
        address: mailbox(address),
        password_hash: "$argon2id$x".into(),
        scram_verifier: Some("SCRAM-SHA-256$y".into()),
        trust_mode: TrustMode::Cautious,
        created_at: NOON,
        trap_since: None,
        disabled_at: None,
        quota_bytes: None,
    }
}

async fn add(store: &dyn Store, addresses: &[&str]) {
    for address in addresses {
        store.add_account(account(address)).await.unwrap();
    }
}

pub async fn accounts_are_listed_in_pages(bed: &dyn Bed) {
    let store = bed.open().await;
    let all = ["carol@b.test", "Alice@a.test", "bob@b.test", "bob@a.test"];
    add(&*store, &all).await;
    let listed = async |of: Option<&str>, after: Option<&str>, limit| {
        let (of, after) = (of.map(domain), after.map(mailbox));
        let page = store.list_accounts(of.as_ref(), after.as_ref(), limit).await;
        let addresses = page
            .unwrap()
            .into_iter()
            .map(|account| account.address.to_string());
        addresses.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        listed(None, None, 9).await,
        "Alice@a.test bob@a.test bob@b.test carol@b.test"
    );
    assert_eq!(listed(None, None, 1).await, "Alice@a.test");
    assert_eq!(
        listed(None, Some("ALICE@a.test"), 2).await,
        "bob@a.test bob@b.test"
    );
    assert_eq!(listed(Some("b.test"), None, 9).await, "bob@b.test carol@b.test");
    assert_eq!(
        listed(Some("b.test"), Some("bob@b.test"), 9).await,
        "carol@b.test"
    );
    assert_eq!(listed(Some("c.test"), None, 9).await, "");
}

pub async fn what_an_operator_changes_of_an_account_stays(bed: &dyn Bed) {
    let store = bed.open().await;
    add(&*store, &["Bob@a.test", "carol@a.test"]).await;
    let (bob, nobody) = (mailbox("BOB@a.test"), mailbox("nobody@a.test"));
    assert!(store.set_disabled(&bob, Some(noon_plus(1))).await.unwrap());
    assert!(
        store
            .set_password(&bob, "$argon2id$z".into(), None)
            .await
            .unwrap()
    );
    assert!(store.set_quota(&bob, Some(u64::MAX)).await.unwrap());
    let found = store.account(&bob).await.unwrap().unwrap();
    assert_eq!(found.disabled_at, Some(noon_plus(1)));
    assert_eq!(
        (found.password_hash.as_str(), found.scram_verifier),
        ("$argon2id$z", None)
    );
    assert_eq!(found.quota_bytes, Some(i64::MAX as u64));
    let others = store.account(&mailbox("carol@a.test")).await.unwrap().unwrap();
    assert_eq!((others.disabled_at, others.quota_bytes), (None, None));
    assert_eq!(others.password_hash, "$argon2id$x");
    // Who cannot log in is in charge of nothing.
    let oldest = store.oldest_account(&domain("a.test")).await.unwrap().unwrap();
    assert_eq!(oldest.address, others.address);
    assert!(store.set_disabled(&bob, None).await.unwrap() && store.set_quota(&bob, None).await.unwrap());
    let found = store.account(&bob).await.unwrap().unwrap();
    assert_eq!((found.disabled_at, found.quota_bytes), (None, None));
    assert!(!store.set_disabled(&nobody, None).await.unwrap());
    assert!(!store.set_password(&nobody, String::new(), None).await.unwrap());
    assert!(!store.set_quota(&nobody, None).await.unwrap());
    assert!(!store.set_trust_mode(&nobody, TrustMode::Paranoid).await.unwrap());
    // What a cautious user has left here stays as long as they are one.
    for (mode, is_left) in [(TrustMode::Cautious, true), (TrustMode::Paranoid, false)] {
        let version = store
            .key_deposit(&bob)
            .await
            .unwrap()
            .map_or(0, |left| left.version);
        store
            .put_key_deposit(&bob, b"wrapped".to_vec(), version, NOON)
            .await
            .unwrap();
        assert!(store.set_trust_mode(&bob, mode).await.unwrap());
        assert_eq!(store.account(&bob).await.unwrap().unwrap().trust_mode, mode);
        assert_eq!(store.key_deposit(&bob).await.unwrap().is_some(), is_left);
    }
    let others = store.account(&mailbox("carol@a.test")).await.unwrap().unwrap();
    assert_eq!(others.trust_mode, TrustMode::Cautious);
}

pub async fn senders_are_granted_and_withdrawn(bed: &dyn Bed) {
    let store = bed.open().await;
    add(&*store, &["bob@a.test"]).await;
    let (bob, ceo) = (mailbox("Bob@a.test"), mailbox("Ceo@Bank.test"));
    store.grant_sender(&bob, &ceo).await.unwrap();
    let again = store.grant_sender(&bob, &mailbox("ceo@bank.test")).await;
    assert!(matches!(again, Err(Error::Exists)));
    let nobody = store.grant_sender(&mailbox("nobody@a.test"), &ceo).await;
    assert!(matches!(nobody, Err(Error::Missing)));
    let granted = store.granted_senders(&mailbox("BOB@a.test")).await.unwrap();
    assert_eq!(granted, [mailbox("ceo@bank.test")]);
    assert!(store.withdraw_sender(&bob, &ceo).await.unwrap());
    assert!(!store.withdraw_sender(&bob, &ceo).await.unwrap());
    assert_eq!(store.granted_senders(&bob).await.unwrap(), []);
}

pub async fn an_account_goes_with_everything_of_its_own(bed: &dyn Bed) {
    let store = bed.open().await;
    add(&*store, &["bob@a.test", "eve@a.test"]).await;
    let (bob, eve) = (mailbox("Bob@a.test"), mailbox("eve@a.test"));
    for (name, octet) in [("bob@a.test", 1), ("eve@a.test", 2)] {
        store
            .publish_signet(with_kem_keys(name, octet, 100))
            .await
            .unwrap();
        store
            .grant_sender(&mailbox(name), &mailbox("ceo@bank.test"))
            .await
            .unwrap();
        store
            .put_key_deposit(&mailbox(name), vec![octet], 0, NOON)
            .await
            .unwrap();
    }
    for (alias, target) in [
        ("info@a.test", "BOB@a.test"),
        ("all@a.test", "bob@a.test"),
        ("all@a.test", "eve@a.test"),
        ("*@a.test", "bob@a.test"),
    ] {
        store.add_alias(&mailbox(alias), &mailbox(target)).await.unwrap();
    }
    for sender in ["Bob@a.test", "info@a.test", "All@a.test", "*@a.test"] {
        store.grant_sender(&eve, &mailbox(sender)).await.unwrap();
    }
    let kept = store.remove_account(&bob, false, NOON).await.unwrap();
    let aliases = ["*@a.test", "all@a.test", "info@a.test"].map(mailbox).to_vec();
    assert_eq!(kept, Removal::AliasesLeadHere(aliases));
    assert!(store.account(&bob).await.unwrap().is_some());
    assert_eq!(
        store.remove_account(&bob, true, NOON).await.unwrap(),
        Removal::Done
    );
    assert_eq!(
        store.remove_account(&bob, true, NOON).await.unwrap(),
        Removal::Missing
    );
    assert!(store.account(&bob).await.unwrap().is_none());
    assert!(store.current_signet("bob@a.test").await.unwrap().is_none());
    assert!(store.kem_keys("bob@a.test").await.unwrap().is_empty());
    assert!(store.key_deposit(&bob).await.unwrap().is_none());
    assert!(store.granted_senders(&bob).await.unwrap().is_empty());
    assert!(
        store
            .alias_targets(&mailbox("info@a.test"))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.alias_targets(&mailbox("all@a.test")).await.unwrap(),
        std::slice::from_ref(&eve)
    );
    // Nothing of anybody else.
    assert!(store.current_signet("eve@a.test").await.unwrap().is_some());
    assert_eq!(store.kem_keys("eve@a.test").await.unwrap().len(), 1);
    assert!(store.key_deposit(&eve).await.unwrap().is_some());
    let granted = store.granted_senders(&eve).await.unwrap();
    assert_eq!(
        granted,
        ["*@a.test", "all@a.test", "ceo@bank.test"].map(mailbox),
        "what is gone is no longer granted, and all@ still leads to somebody"
    );
    store
        .remove_alias(&mailbox("all@a.test"), None, NOON)
        .await
        .unwrap();
    let granted = store.granted_senders(&eve).await.unwrap();
    assert_eq!(granted, ["*@a.test", "ceo@bank.test"].map(mailbox));
}

pub async fn aliases_are_listed_in_pages_and_lose_their_targets(bed: &dyn Bed) {
    let store = bed.open().await;
    for (alias, target) in [
        ("All@a.test", "x@c.test"),
        ("all@a.test", "Bob@a.test"),
        ("b@b.test", "x@c.test"),
    ] {
        store.add_alias(&mailbox(alias), &mailbox(target)).await.unwrap();
    }
    let one = |alias, target| AliasTarget {
        alias: mailbox(alias),
        target: mailbox(target),
    };
    let listed = [
        one("all@a.test", "Bob@a.test"),
        one("all@a.test", "x@c.test"),
        one("b@b.test", "x@c.test"),
    ];
    assert_eq!(store.list_aliases(None, None, 9).await.unwrap(), listed);
    assert_eq!(
        store.list_aliases(None, Some(&listed[0]), 1).await.unwrap(),
        listed[1..2]
    );
    let of_b = store
        .list_aliases(Some(&domain("b.test")), None, 9)
        .await
        .unwrap();
    assert_eq!(of_b, listed[2..]);
    let all = mailbox("ALL@a.test");
    store
        .publish_signet(with_kem_keys("all@a.test", 3, 100))
        .await
        .unwrap();
    let remove = async |target: Option<&str>| {
        let target = target.map(mailbox);
        store.remove_alias(&all, target.as_ref(), NOON).await.unwrap()
    };
    assert_eq!(remove(Some("nobody@a.test")).await, 0);
    assert_eq!(remove(Some("BOB@a.test")).await, 1);
    assert!(
        store.current_signet("all@a.test").await.unwrap().is_some(),
        "it still leads somewhere"
    );
    assert_eq!(remove(None).await, 1);
    assert!(store.current_signet("all@a.test").await.unwrap().is_none());
    assert!(store.kem_keys("all@a.test").await.unwrap().is_empty());
    assert_eq!(remove(None).await, 0);
}

pub async fn a_domain_goes_when_nothing_is_in_it(bed: &dyn Bed) {
    let store = bed.open().await;
    for name in ["a.test", "b.a.test"] {
        let local = LocalDomain {
            name: domain(name),
            dime: None,
            created_at: NOON,
        };
        store.add_domain(local).await.unwrap();
    }
    let name = domain("a.test");
    add(&*store, &["bob@a.test", "bob@b.a.test"]).await;
    store
        .add_alias(&mailbox("x@a.test"), &mailbox("y@c.test"))
        .await
        .unwrap();
    let there = DomainRemoval::HasAddresses {
        accounts: 1,
        aliases: 1,
    };
    assert_eq!(store.remove_domain(&name, NOON).await.unwrap(), there);
    store
        .remove_alias(&mailbox("x@a.test"), None, NOON)
        .await
        .unwrap();
    store
        .remove_account(&mailbox("bob@a.test"), false, NOON)
        .await
        .unwrap();
    enqueue(&*store, message(&["bob@a.test", "eve@a.test"])).await;
    assert_eq!(
        store.remove_domain(&name, NOON).await.unwrap(),
        DomainRemoval::MailWaits(2)
    );
    let other = domain("c.test");
    assert_eq!(
        store.remove_domain(&other, NOON).await.unwrap(),
        DomainRemoval::Missing
    );
    let claimed = claim_one(&*store, NOON).await;
    let failed = SettledState::Failed(EnhancedStatus(5, 1, 1));
    settle(&*store, &claimed, failed).await.unwrap();
    for (name, octet) in [
        ("a.test", 4),
        ("old@a.test", 5),
        ("b.a.test", 6),
        ("x@b.a.test", 7),
    ] {
        store
            .publish_signet(with_kem_keys(name, octet, 100))
            .await
            .unwrap();
    }
    add(&*store, &["eve@b.a.test"]).await;
    let eve = mailbox("eve@b.a.test");
    for sender in ["*@a.test", "old@a.test", "*@b.a.test"] {
        store.grant_sender(&eve, &mailbox(sender)).await.unwrap();
    }
    assert_eq!(
        store.remove_domain(&name, NOON).await.unwrap(),
        DomainRemoval::Done
    );
    assert_eq!(
        store.granted_senders(&eve).await.unwrap(),
        [mailbox("*@b.a.test")],
        "grants go with the domain"
    );
    assert_eq!(store.local_domain(&name).await.unwrap(), None);
    for (name, kept) in [
        ("a.test", false),
        ("old@a.test", false),
        ("b.a.test", true),
        ("x@b.a.test", true),
    ] {
        assert_eq!(
            store.current_signet(name).await.unwrap().is_some(),
            kept,
            "{name}"
        );
        assert_eq!(!store.kem_keys(name).await.unwrap().is_empty(), kept, "{name}");
    }
    assert!(store.local_domain(&domain("b.a.test")).await.unwrap().is_some());
}
