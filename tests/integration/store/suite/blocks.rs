//! The block list, its audit trail, and what mail to a trap does to them.

use super::*;

fn key(octet: u8) -> VerifyingKey {
    VerifyingKey([octet; 32])
}

fn author(octet: u8) -> Identity {
    Identity::AuthorKey(key(octet))
}

fn of_domain(name: &str) -> Identity {
    Identity::Domain(domain(name))
}

/// By an operator, from noon on.
fn by_operator(identity: Identity, until: Option<u64>) -> Block {
    Block {
        identity,
        by: Doer::Operator,
        reason: "complaints".into(),
        origin: None,
        since: NOON,
        until: until.map(noon_plus),
    }
}

fn trapped(author: u8, minutes: u64, origin_after: u32) -> Trapped {
    Trapped {
        author: key(author),
        origin: domain("hermail.test"),
        blocked_for: Duration::from_secs(60 * minutes),
        origin_after,
    }
}

/// Commits mail to a trap; `object` tells it apart.
async fn spring(store: &dyn Store, object: u8, trapped: Trapped) -> Committed {
    let new = message(&["trap@hismail.test"]);
    let writer = store.begin(new.id).await.unwrap();
    let entry = ReplayEntry::of_whole([object; 32], noon_plus(10_000));
    writer.commit_trapped(new, entry, trapped).await.unwrap()
}

async fn all(store: &dyn Store) -> Vec<Block> {
    store.list_blocks(None, 1000).await.unwrap()
}

/// The trail, oldest first.
async fn trail(store: &dyn Store) -> Vec<(i64, &'static str, &'static str, String, u64)> {
    let events = store.block_events(None, 1000).await.unwrap();
    let line = |event: &BlockEvent| {
        let minute = (event.at.0 - NOON.0) / 60_000;
        let (doer, deed) = (event.doer.name(), event.deed.name());
        (minute, doer, deed, event.identity.to_string(), event.count)
    };
    events.iter().rev().map(line).collect()
}

pub async fn blocks_hold_until_their_end_and_are_found_by_each_identity(bed: &dyn Bed) {
    let store = bed.open().await;
    let entries = [
        by_operator(of_domain("spam.test"), None),
        by_operator(Identity::PrimaryKey(key(1)), Some(10)),
        by_operator(author(1), Some(20)),
    ];
    for entry in &entries {
        store.block(entry.clone()).await.unwrap();
    }
    let found = async |identities: &[Identity], minute| {
        let found = store.find_block(identities, noon_plus(minute)).await.unwrap();
        found.map(|entry| entry.identity)
    };
    let pok = Identity::PrimaryKey(key(1));
    assert_eq!(found(&[], 0).await, None);
    assert_eq!(found(&[of_domain("ham.test"), author(2)], 0).await, None);
    for identity in [of_domain("spam.test"), pok.clone(), author(1)] {
        let asked = [of_domain("ham.test"), identity.clone()];
        assert_eq!(found(&asked, 9).await, Some(identity));
    }
    // A POK is no author's key, whatever its octets.
    assert_eq!(found(std::slice::from_ref(&pok), 10).await, None);
    assert_eq!(found(&[author(1)], 19).await, Some(author(1)));
    assert_eq!(found(&[author(1)], 20).await, None);
    assert_eq!(
        found(&[of_domain("spam.test")], 1_000_000).await,
        Some(of_domain("spam.test"))
    );

    let listed = all(&*store).await;
    assert_eq!(
        listed,
        [entries[2].clone(), entries[0].clone(), entries[1].clone()]
    );
    let rest = store.list_blocks(Some(&listed[0].identity), 1).await.unwrap();
    assert_eq!(rest, listed[1..2]);
}

pub async fn every_change_of_the_block_list_leaves_a_line(bed: &dyn Bed) {
    let store = bed.open().await;
    let spam = of_domain("spam.test");
    store.block(by_operator(spam.clone(), None)).await.unwrap();
    store.block(by_operator(spam.clone(), Some(5))).await.unwrap();
    store.block(by_operator(author(1), None)).await.unwrap();
    assert!(store.unblock(&author(1), noon_plus(1)).await.unwrap());
    assert!(!store.unblock(&author(1), noon_plus(1)).await.unwrap());
    assert_eq!(store.expire_blocks(noon_plus(4)).await.unwrap(), 0);
    // What has ended cannot be removed any more, and the trail says when it ended.
    assert!(!store.unblock(&spam, noon_plus(7)).await.unwrap());
    assert_eq!(store.expire_blocks(noon_plus(7)).await.unwrap(), 0);
    assert!(all(&*store).await.is_empty());
    let key = author(1).to_string();
    let expected = [
        (0, "operator", "added", "domain spam.test".to_owned(), 1),
        (0, "operator", "added", "domain spam.test".to_owned(), 1),
        (0, "operator", "added", key.clone(), 1),
        (1, "operator", "removed", key, 1),
        (5, "expiry", "expired", "domain spam.test".to_owned(), 1),
    ];
    assert_eq!(trail(&*store).await, expected);
    let newest = store.block_events(None, 2).await.unwrap();
    let next = store.block_events(Some(newest[1].place), 1).await.unwrap();
    assert_eq!(
        (newest[0].deed, next[0].identity.clone()),
        (Deed::Expired, author(1))
    );
}

pub async fn refusals_within_an_hour_share_a_line(bed: &dyn Bed) {
    let store = bed.open().await;
    let entry = by_operator(of_domain("spam.test"), None);
    let other = by_operator(author(1), None);
    for minute in [0, 1, 59, 60, 61] {
        store.note_refusal(&entry, noon_plus(minute)).await.unwrap();
    }
    store.note_refusal(&other, noon_plus(62)).await.unwrap();
    let spam = "domain spam.test".to_owned();
    let expected = [
        (0, "arrival", "refused", spam.clone(), 3),
        (60, "arrival", "refused", spam, 2),
        (62, "arrival", "refused", author(1).to_string(), 1),
    ];
    assert_eq!(trail(&*store).await, expected);
}

/// Nobody who is refused can push out what operators and traps did.
pub async fn the_trail_keeps_the_newest_lines_of_each_doer(bed: &dyn Bed) {
    let store = bed.open().await;
    store
        .block(by_operator(of_domain("spam.test"), None))
        .await
        .unwrap();
    let entry = |number: u32| {
        let mut octets = [0; 32];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        by_operator(Identity::AuthorKey(VerifyingKey(octets)), None)
    };
    let refuse = |number| {
        let store = &store;
        async move { store.note_refusal(&entry(number), NOON).await.unwrap() }
    };
    let mut refused = tokio::task::JoinSet::new();
    for number in 0..=MAX_BLOCK_EVENTS {
        let store = Arc::clone(&store);
        refused.spawn(async move { store.note_refusal(&entry(number), NOON).await.unwrap() });
    }
    refused.join_all().await;
    let count = async || store.block_events(None, u32::MAX >> 1).await.unwrap().len();
    assert_eq!(count().await, 1 + MAX_BLOCK_EVENTS as usize);
    refuse(MAX_BLOCK_EVENTS + 1).await;
    assert_eq!(count().await, 1 + MAX_BLOCK_EVENTS as usize);
    let first = store.block_events(Some(2), 1).await.unwrap();
    assert_eq!(first[0].doer, Doer::Operator);
}

pub async fn mail_to_a_trap_blocks_its_author_once_and_copies_do_nothing(bed: &dyn Bed) {
    let store = bed.open().await;
    assert_eq!(spring(&*store, 1, trapped(1, 30, 0)).await, Committed::Stored);
    let listed = all(&*store).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (
            &listed[0].identity,
            listed[0].by,
            listed[0].origin.clone(),
            listed[0].until
        ),
        (
            &author(1),
            Doer::Trap,
            Some(domain("hermail.test")),
            Some(noon_plus(30))
        )
    );
    // Again, with a later end; an earlier one changes nothing.
    spring(&*store, 2, trapped(1, 40, 0)).await;
    spring(&*store, 3, trapped(1, 35, 0)).await;
    assert_eq!(all(&*store).await[0].until, Some(noon_plus(40)));
    store.unblock(&author(1), noon_plus(1)).await.unwrap();
    assert_eq!(spring(&*store, 1, trapped(1, 50, 0)).await, Committed::Duplicate);
    assert!(all(&*store).await.is_empty(), "a copy of old mail blocks nobody");
    let deeds: Vec<_> = trail(&*store)
        .await
        .into_iter()
        .map(|line| (line.1, line.2))
        .collect();
    assert_eq!(
        deeds,
        [("trap", "added"), ("trap", "prolonged"), ("operator", "removed")]
    );
}

pub async fn traps_leave_alone_what_operators_have_decided(bed: &dyn Bed) {
    let store = bed.open().await;
    let entries = [
        by_operator(author(1), Some(5)),
        by_operator(of_domain("hermail.test"), Some(6)),
    ];
    for entry in &entries {
        store.block(entry.clone()).await.unwrap();
    }
    spring(&*store, 1, trapped(1, 30, 0)).await;
    spring(&*store, 2, trapped(2, 30, 1)).await;
    let listed = all(&*store).await;
    assert_eq!(listed.len(), 3);
    assert!(entries.iter().all(|entry| listed.contains(entry)));
}

pub async fn several_trapped_authors_block_their_domain_if_that_is_wanted(bed: &dyn Bed) {
    let store = bed.open().await;
    let is_blocked = async || {
        let found = store
            .find_block(&[of_domain("hermail.test")], NOON)
            .await
            .unwrap();
        found.is_some()
    };
    for (object, author) in [(1, 1), (2, 1), (3, 2)] {
        spring(&*store, object, trapped(author, 30, 3)).await;
        assert!(!is_blocked().await, "two authors");
    }
    let elsewhere = Trapped {
        origin: domain("elsewhere.test"),
        ..trapped(9, 30, 3)
    };
    spring(&*store, 4, elsewhere).await;
    assert!(!is_blocked().await, "of another domain");
    spring(&*store, 5, trapped(3, 30, 3)).await;
    assert!(is_blocked().await);
}

/// A domain makes as many keys for its authors as it likes.
pub async fn traps_make_a_bounded_number_of_entries_for_a_domain(bed: &dyn Bed) {
    let store = bed.open().await;
    for author in 0..=MAX_TRAPPED_OF_ORIGIN as u8 {
        spring(&*store, author, trapped(author, 30 + u64::from(author), 0)).await;
    }
    let listed = all(&*store).await;
    assert_eq!(listed.len(), MAX_TRAPPED_OF_ORIGIN as usize);
    let last = trail(&*store).await.pop().unwrap();
    assert_eq!((last.1, last.2), ("trap", "removed"));
}

pub async fn the_account_in_charge_is_no_trap(bed: &dyn Bed) {
    let store = bed.open().await;
    let account = |local: &str, minute| Account {
        address: mailbox(&format!("{local}@hismail.test")),
        password_hash: String::new(),
        scram_verifier: None,
        trust_mode: TrustMode::Trustful,
        created_at: noon_plus(minute),
        trap_since: None,
        disabled_at: None,
        quota_bytes: None,
    };
    for (local, minute) in [("Bob", 2), ("amy", 1), ("trap", 0)] {
        store.add_account(account(local, minute)).await.unwrap();
    }
    let hismail = domain("hismail.test");
    let oldest = async || {
        let oldest = store.oldest_account(&hismail).await.unwrap();
        oldest.map(|account| account.address.local().to_owned())
    };
    assert_eq!(oldest().await.as_deref(), Some("trap"));
    let trap = mailbox("TRAP@hismail.test");
    assert!(store.set_trap(&trap, Some(NOON)).await.unwrap());
    assert_eq!(oldest().await.as_deref(), Some("amy"));
    let traps = store.list_traps().await.unwrap();
    assert_eq!((traps.len(), traps[0].trap_since), (1, Some(NOON)));
    assert!(store.set_trap(&trap, None).await.unwrap());
    assert!(store.list_traps().await.unwrap().is_empty());
    assert!(
        !store
            .set_trap(&mailbox("nobody@hismail.test"), None)
            .await
            .unwrap()
    );
    assert!(
        store
            .oldest_account(&domain("else.test"))
            .await
            .unwrap()
            .is_none()
    );
}
