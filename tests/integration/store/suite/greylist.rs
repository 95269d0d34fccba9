//! Who is asked to come again, and who has.

use super::*;

/// Five minutes, an hour, a day; after three the whole network.
fn terms(network_after: u32) -> GreylistTerms {
    GreylistTerms {
        wait: Duration::from_secs(300),
        retry_within: Duration::from_secs(3600),
        proven_for: Duration::from_secs(24 * 3600),
        network_after,
    }
}

/// From a network of documentation by its number.
fn attempt(network: u8, from: &str) -> Attempt {
    Attempt {
        network: format!("203.0.{network}.0/24").parse().unwrap(),
        reverse_path: ReversePath::parse(from).unwrap(),
        recipient: mailbox("bob@hismail.test"),
    }
}

const PASS: Greylisted = Greylisted::Pass;

fn wait(secs: u64) -> Greylisted {
    Greylisted::Wait(Duration::from_secs(secs))
}

async fn counts(store: &dyn Store, minute: u64) -> [u64; 3] {
    let counts = store.greylist_counts(noon_plus(minute)).await.unwrap();
    [counts.waiting, counts.proven, counts.networks]
}

pub async fn who_comes_again_in_time_is_taken_from_then_on(bed: &dyn Bed) {
    let mut store = bed.open().await;
    for (from, minute, told) in [
        ("<carol@plain.test>", 0, wait(300)),
        ("<carol@plain.test>", 4, wait(60)),
        ("<pat@plain.test>", 4, wait(300)),
        ("<carol@plain.test>", 5, PASS),
        ("<carol@plain.test>", 6, PASS),
        ("<>", 6, wait(300)),
        // An hour after its first try it is one of its own.
        ("<pat@plain.test>", 64, wait(300)),
        ("<pat@plain.test>", 68, wait(60)),
        ("<pat@plain.test>", 69, PASS),
        // Renewed each time, and forgotten a day after the last.
        ("<carol@plain.test>", 5 + 23 * 60, PASS),
        ("<carol@plain.test>", 4 + 47 * 60, PASS),
        ("<carol@plain.test>", 5 + 72 * 60, wait(300)),
    ] {
        // Nothing of it is in memory alone.
        bed.close(store).await;
        store = bed.open().await;
        let attempt = attempt(113, from);
        let heard = store.greylist(&attempt, &terms(0), noon_plus(minute)).await;
        assert_eq!(heard.unwrap(), told, "{from} at {minute}");
    }
    let other = attempt(114, "<carol@plain.test>");
    let heard = store.greylist(&other, &terms(0), noon_plus(6)).await.unwrap();
    assert_eq!(heard, wait(300), "from another network");
    bed.close(store).await;
}

pub async fn a_network_of_which_enough_have_come_again_has_no_more_to_wait(bed: &dyn Bed) {
    let store = bed.open().await;
    let told = async |from: &str, minute| {
        let attempt = attempt(113, from);
        store
            .greylist(&attempt, &terms(3), noon_plus(minute))
            .await
            .unwrap()
    };
    for from in ["<a@plain.test>", "<b@plain.test>", "<c@plain.test>"] {
        assert_eq!(told(from, 0).await, wait(300));
    }
    assert_eq!(told("<a@plain.test>", 5).await, PASS);
    assert_eq!(told("<a@plain.test>", 6).await, PASS);
    assert_eq!(told("<b@plain.test>", 6).await, PASS);
    assert_eq!(
        told("<d@plain.test>", 6).await,
        wait(300),
        "the same one twice is one"
    );
    assert_eq!(told("<c@plain.test>", 7).await, PASS);
    assert_eq!(told("<e@plain.test>", 7).await, PASS);
    assert_eq!(counts(store.as_ref(), 7).await, [1, 3, 1]);
    // A day without a message.
    assert_eq!(told("<e@plain.test>", 7 + 24 * 60).await, wait(300));
    bed.close(store).await;
}

pub async fn what_is_over_is_forgotten_and_all_on_demand(bed: &dyn Bed) {
    let store = bed.open().await;
    for (from, minute) in [
        ("<a@plain.test>", 0),
        ("<a@plain.test>", 5),
        ("<b@plain.test>", 5),
    ] {
        let attempt = attempt(113, from);
        store
            .greylist(&attempt, &terms(3), noon_plus(minute))
            .await
            .unwrap();
    }
    assert_eq!(counts(store.as_ref(), 5).await, [1, 1, 1]);
    assert_eq!(store.expire_greylist(noon_plus(64)).await.unwrap(), 0);
    assert_eq!(store.expire_greylist(noon_plus(65)).await.unwrap(), 1);
    assert_eq!(counts(store.as_ref(), 0).await, [0, 1, 1]);
    assert_eq!(store.expire_greylist(noon_plus(5 + 24 * 60)).await.unwrap(), 2);
    assert_eq!(counts(store.as_ref(), 0).await, [0, 0, 0]);
    let again = attempt(113, "<a@plain.test>");
    store.greylist(&again, &terms(3), noon_plus(5)).await.unwrap();
    assert_eq!(store.clear_greylist().await.unwrap(), 1);
    assert_eq!(counts(store.as_ref(), 5).await, [0, 0, 0]);
    bed.close(store).await;
}

/// Whoever tries any number of addresses has others wait no longer.
pub async fn a_network_that_tries_everything_pushes_out_only_its_own(bed: &dyn Bed) {
    let store = bed.open().await;
    let quiet = attempt(113, "<carol@plain.test>");
    store.greylist(&quiet, &terms(0), NOON).await.unwrap();
    let loud = |number: u32| attempt(114, &format!("<{}@spam.test>", letters(number)));
    for number in 0..=MAX_WAITING_OF_NETWORK {
        let heard = store.greylist(&loud(number), &terms(0), NOON).await.unwrap();
        assert_eq!(heard, wait(300));
    }
    let most = u64::from(MAX_WAITING_OF_NETWORK);
    assert_eq!(counts(store.as_ref(), 0).await, [most + 1, 0, 0]);
    let at_five = async |attempt: &Attempt| {
        let told = store.greylist(attempt, &terms(0), noon_plus(5)).await;
        told.unwrap()
    };
    assert_eq!(at_five(&quiet).await, PASS);
    assert_eq!(at_five(&loud(1)).await, PASS, "the oldest that is left");
    assert_eq!(at_five(&loud(0)).await, wait(300), "made room");
    bed.close(store).await;
}

/// A number as letters: digits do not count.
fn letters(number: u32) -> String {
    let letter = |digit: char| char::from(b'a' + digit as u8 - b'0');
    number.to_string().chars().map(letter).collect()
}

/// A clock that was ahead once.
pub async fn an_attempt_from_the_future_is_a_first_one(bed: &dyn Bed) {
    let store = bed.open().await;
    let carol = attempt(113, "<carol@plain.test>");
    store
        .greylist(&carol, &terms(0), noon_plus(500_000))
        .await
        .unwrap();
    let told = async |minute| {
        let told = store.greylist(&carol, &terms(0), noon_plus(minute)).await;
        told.unwrap()
    };
    assert_eq!(told(0).await, wait(300));
    assert_eq!(told(5).await, PASS);
    bed.close(store).await;
}
