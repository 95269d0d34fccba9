//! What every store does, whatever database is below. Each test takes a [`Bed`] with an empty one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dimed::base::id::{QueueId, RecipientId};
use dimed::base::secret::Secret;
use dimed::base::time::Timestamp;
use dimed::crypto::ed25519::{SigningKey, VerifyingKey};
use dimed::crypto::suite::hpke::{self, Suite};
use dimed::crypto::suite::secp256k1_aes256::SecretKey;
use dimed::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint, IdFingerprint};
use dimed::dime::key_set::{self, KemKeys};
use dimed::dime::record::{Policy, SubdomainPolicy};
use dimed::dime::signet::{OrgBuilder, Signet, id};
use dimed::mail::address::{Domain, Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::mail::reply::EnhancedStatus;
use dimed::store::*;

mod blocks;
mod bodies;
mod drains;
mod greylist;
mod people;

pub use blocks::*;
pub use bodies::*;
pub use drains::*;
pub use greylist::*;
pub use people::*;

/// A test of every behaviour, each on a bed of its own.
macro_rules! behaviours {
    ($bed:expr) => {
        $crate::store::suite::behaviours! { $bed;
            a_committed_message_survives_reopening
            a_body_without_commit_leaves_nothing
            bodies_come_back_in_bounded_pieces
            a_message_is_stored_once_under_its_id
            recipients_of_one_domain_are_claimed_together
            nothing_is_claimed_before_it_is_due
            what_waited_longest_is_claimed_first
            a_lease_that_ran_out_is_due_again_and_its_token_is_stale
            a_settlement_with_one_foreign_recipient_changes_nothing
            others_take_the_place_of_an_expanded_recipient
            what_was_postponed_has_not_been_attempted
            destinations_behind_one_hop_are_claimed_together_within_its_room
            domains_of_ours_and_others_are_claimed_each_within_their_share
            who_takes_the_place_of_a_held_recipient_is_held
            a_deferred_recipient_keeps_its_history
            a_message_goes_when_its_last_recipient_is_final
            follow_ups_enter_with_the_settlement
            a_follow_up_that_cannot_enter_undoes_the_settlement
            a_crowded_destination_does_not_hold_up_the_others
            destinations_take_turns_across_claims
            two_claimers_never_get_the_same_recipient
            long_recipient_lists_are_claimed_in_groups_of_100
            a_lease_given_back_is_no_attempt
            quarantined_recipients_wait_aside_until_released
            held_recipients_are_not_claimed
            a_message_can_be_held_as_it_comes
            held_mail_is_deleted_when_its_time_is_over
            a_body_can_be_cut_short_anywhere
            a_hold_during_an_attempt_takes_effect_after_it
            retry_moves_only_what_no_attempt_is_under_way_for
            what_is_retried_is_due_at_once_and_what_is_held_stays
            what_a_clock_that_was_ahead_has_put_off_is_brought_forward
            of_a_long_history_the_end_is_kept
            what_is_being_tried_is_counted_apart
            what_is_condemned_is_due_at_once_or_after_the_attempt_under_way
            deleted_recipients_are_gone_with_their_message
            a_recipient_deleted_during_an_attempt_does_not_undo_the_others
            the_list_continues_after_an_entry_that_has_left
            an_expired_entry_keeps_nothing_out
            an_object_is_committed_once
            a_follow_up_taken_before_is_left_out
            a_follow_up_that_clashes_with_one_taken_before_undoes_the_settlement
            a_body_is_read_back_before_it_is_committed
            a_body_is_overwritten_across_pieces_and_nowhere_else
            a_spooled_body_is_adopted_with_the_settlement
            a_spooled_body_that_nobody_adopts_is_swept
            a_spooled_body_outlives_a_try_that_failed
            a_ticket_stays_with_its_message
            bodies_are_read_and_written_from_threads_that_may_wait
            a_failure_of_the_store_comes_out_of_the_adapters
            every_content_and_source_survives
            signets_keep_their_history_and_are_found_by_any_fingerprint
            a_signet_asked_about_stands_beside_the_current_one
            histories_have_both_ends_and_leave_out_what_is_out_of_service
            private_keys_of_replaced_signets_are_erased_when_they_are_due
            a_change_of_keys_takes_its_steps_from_the_state_it_is_in
            a_request_waits_for_one_decision
            a_domain_out_of_dime_is_still_served
            pins_of_signing_keys_are_replaced_forgotten_and_expire
            private_keys_come_back_for_their_signet_only
            remote_signets_are_kept_until_they_expire_or_are_forgotten
            remote_signets_with_the_same_keys_are_told_apart
            private_kem_keys_are_kept_by_signet_until_they_are_destroyed
            a_signet_replaces_only_the_one_it_was_made_from
            the_signet_published_last_is_the_current_one
            names_with_signets_are_listed_in_pages
            the_newest_signets_are_listed_in_pages
            key_sets_signed_ahead_wait_in_their_order
            pins_of_key_sets_are_replaced_by_who_knows_them
            accounts_are_found_without_regard_to_case
            an_address_is_an_account_or_an_alias
            key_deposits_are_replaced_by_who_knows_their_version
            domains_of_ours_keep_their_settings
            pins_are_replaced_and_dropped
            pins_are_dropped_some_time_after_they_have_expired
            policies_are_replaced_and_go_when_they_have_expired
            ageing_policies_are_listed_by_expiry
            an_enqueued_message_wakes_the_runner
            blocks_hold_until_their_end_and_are_found_by_each_identity
            every_change_of_the_block_list_leaves_a_line
            refusals_within_an_hour_share_a_line
            the_trail_keeps_the_newest_lines_of_each_doer
            mail_to_a_trap_blocks_its_author_once_and_copies_do_nothing
            traps_leave_alone_what_operators_have_decided
            several_trapped_authors_block_their_domain_if_that_is_wanted
            who_comes_again_in_time_is_taken_from_then_on
            a_network_of_which_enough_have_come_again_has_no_more_to_wait
            what_is_over_is_forgotten_and_all_on_demand
            a_network_that_tries_everything_pushes_out_only_its_own
            an_attempt_from_the_future_is_a_first_one
            traps_make_a_bounded_number_of_entries_for_a_domain
            the_account_in_charge_is_no_trap
            accounts_are_listed_in_pages
            what_an_operator_changes_of_an_account_stays
            senders_are_granted_and_withdrawn
            an_account_goes_with_everything_of_its_own
            aliases_are_listed_in_pages_and_lose_their_targets
            a_domain_goes_when_nothing_is_in_it
            a_drain_is_for_a_node_or_for_all_and_the_newest_counts
            nodes_are_known_by_what_they_said_last_and_forgotten_after_long
        }
    };
    ($bed:expr; $($test:ident)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::store::suite::$test(&$bed).await;
            }
        )*
    };
}
pub(in crate::store) use behaviours;

/// A database that tests may open several times.
#[async_trait]
pub trait Bed: Sync {
    /// Opens the database; what was opened before is closed by the test.
    async fn open(&self) -> Arc<dyn Store>;
    /// Closes what [`open`](Self::open) gave.
    async fn close(&self, store: Arc<dyn Store>);
}

/// Noon, in the tests' own era.
pub const NOON: Timestamp = Timestamp(1_000_000_000);

/// Minutes after noon.
pub fn noon_plus(minutes: u64) -> Timestamp {
    NOON.after(Duration::from_secs(60 * minutes))
}

pub fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

pub fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// A message from Alice, due at noon.
pub fn message(recipients: &[&str]) -> NewMessage {
    NewMessage {
        id: QueueId::random(&mut rand::rng()),
        envelope: Envelope {
            reverse_path: ReversePath(Some(mailbox("alice@hermail.test"))),
            source: Source::Submission(mailbox("alice@hermail.test")),
            smtputf8: false,
            eight_bit: false,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        },
        content: Content::Mime,
        recipients: recipients.iter().map(|text| mailbox(text).into()).collect(),
        accepted_at: NOON,
        due_at: NOON,
        ticket: None,
    }
}

pub async fn enqueue(store: &dyn Store, message: NewMessage) -> QueueId {
    let id = message.id;
    let body = b"Subject: x\r\n\r\ny\r\n".to_vec();
    store
        .enqueue(FollowUp {
            message,
            body: body.into(),
            replay: None,
        })
        .await
        .unwrap();
    id
}

/// Claims at `now` for five minutes.
pub async fn claim(store: &dyn Store, now: Timestamp, limit: usize) -> Vec<Claim> {
    let until = now.after(Duration::from_secs(300));
    store.claim(now, until, limit).await.unwrap()
}

pub async fn claim_one(store: &dyn Store, now: Timestamp) -> Claim {
    let mut claims = claim(store, now, 1).await;
    assert_eq!(claims.len(), 1, "one group is due");
    claims.remove(0)
}

/// The same state for all recipients of a claim.
pub fn settlements(claim: &Claim, state: SettledState) -> Vec<Settlement> {
    claim
        .recipients
        .iter()
        .map(|recipient| Settlement {
            recipient: recipient.id,
            state,
            note: format!("250 after {} attempts", recipient.attempts),
            instead: Vec::new(),
        })
        .collect()
}

pub async fn settle(store: &dyn Store, claim: &Claim, state: SettledState) -> Result<(), Error> {
    store
        .settle(claim.lease, settlements(claim, state), Vec::new())
        .await
}

fn deferred(due_at: Timestamp) -> SettledState {
    SettledState::Deferred {
        due_at,
        delay_reported: false,
    }
}

async fn body(store: &dyn Store, id: QueueId) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some(piece) = store.read_piece(id, pieces.len() as u32).await.unwrap() {
        pieces.push(piece);
    }
    pieces
}

pub async fn a_committed_message_survives_reopening(bed: &dyn Bed) {
    let store = bed.open().await;
    let new = message(&["bob@hismail.test"]);
    let mut writer = store.begin(new.id).await.unwrap();
    writer.write(b"Subject: x\r\n").await.unwrap();
    writer.write(b"\r\ny\r\n").await.unwrap();
    assert_eq!(writer.size_bytes(), 17);
    writer.commit(new.clone()).await.unwrap();
    bed.close(store).await;

    let store = bed.open().await;
    let claim = claim_one(&*store, NOON).await;
    assert_eq!(claim.message, new.id);
    assert_eq!(claim.envelope, new.envelope);
    assert_eq!(claim.content, Content::Mime);
    assert_eq!(claim.size_bytes, 17);
    assert_eq!(claim.accepted_at, NOON);
    assert_eq!(claim.destination, domain("hismail.test"));
    assert_eq!(
        claim.recipients[0].forward_path,
        mailbox("bob@hismail.test").into()
    );
    assert_eq!(claim.recipients[0].attempts, 0);
    assert!(!claim.recipients[0].delay_reported);
    assert_eq!(body(&*store, new.id).await, [b"Subject: x\r\n\r\ny\r\n".to_vec()]);
}

pub async fn a_body_without_commit_leaves_nothing(bed: &dyn Bed) {
    let store = bed.open().await;
    let new = message(&["bob@hismail.test"]);
    let mut writer = store.begin(new.id).await.unwrap();
    writer.write(&vec![b'x'; 3 * PIECE_BYTES]).await.unwrap();
    drop(writer);
    assert!(claim(&*store, NOON, 10).await.is_empty());
    bed.close(store).await;

    let store = bed.open().await;
    assert!(claim(&*store, NOON, 10).await.is_empty());
    assert!(matches!(store.read_piece(new.id, 0).await, Err(Error::Missing)));
    // Not even a piece stands in the way of a body of that name.
    let mut writer = store.begin(new.id).await.unwrap();
    writer.write(&vec![b'y'; 2 * PIECE_BYTES + 1]).await.unwrap();
    writer.commit(new.clone()).await.unwrap();
    assert_eq!(
        body(&*store, new.id).await.concat(),
        vec![b'y'; 2 * PIECE_BYTES + 1]
    );
}

pub async fn bodies_come_back_in_bounded_pieces(bed: &dyn Bed) {
    let store = bed.open().await;
    for size in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES] {
        let octets: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        let streamed = message(&["bob@hismail.test"]);
        let mut writer = store.begin(streamed.id).await.unwrap();
        for part in octets.chunks(1000) {
            writer.write(part).await.unwrap();
        }
        writer.commit(streamed.clone()).await.unwrap();
        let whole = message(&["bob@hismail.test"]);
        let follow_up = FollowUp {
            message: whole.clone(),
            body: octets.clone().into(),
            replay: None,
        };
        store.enqueue(follow_up).await.unwrap();
        for id in [streamed.id, whole.id] {
            let pieces = body(&*store, id).await;
            assert!(
                pieces
                    .iter()
                    .all(|piece| (1..=PIECE_BYTES).contains(&piece.len()))
            );
            assert_eq!(pieces.concat(), octets);
        }
    }
}

pub async fn a_message_is_stored_once_under_its_id(bed: &dyn Bed) {
    let store = bed.open().await;
    let new = message(&["bob@hismail.test"]);
    enqueue(&*store, new.clone()).await;
    let again = FollowUp {
        message: new,
        body: b"z".to_vec().into(),
        replay: None,
    };
    assert!(matches!(store.enqueue(again).await, Err(Error::Exists)));
    let nobody = FollowUp {
        message: message(&[]),
        body: Vec::new().into(),
        replay: None,
    };
    assert!(matches!(store.enqueue(nobody).await, Err(Error::Missing)));
    assert_eq!(claim(&*store, NOON, 10).await.len(), 1);
}

pub async fn recipients_of_one_domain_are_claimed_together(bed: &dyn Bed) {
    let store = bed.open().await;
    let id = enqueue(
        &*store,
        message(&["bob@hismail.test", "carol@plain.test", "dave@hismail.test"]),
    )
    .await;
    let claims = claim(&*store, NOON, 10).await;
    let groups: BTreeSet<(String, Vec<String>)> = claims
        .iter()
        .map(|claim| {
            assert_eq!(claim.message, id);
            let paths = claim.recipients.iter().map(|r| r.forward_path.to_string());
            (claim.destination.to_string(), paths.collect())
        })
        .collect();
    let expected = [
        (
            "hismail.test".to_owned(),
            vec!["bob@hismail.test".to_owned(), "dave@hismail.test".to_owned()],
        ),
        ("plain.test".to_owned(), vec!["carol@plain.test".to_owned()]),
    ];
    assert_eq!(groups, BTreeSet::from(expected));
    assert_ne!(claims[0].lease, claims[1].lease);
}

pub async fn nothing_is_claimed_before_it_is_due(bed: &dyn Bed) {
    let store = bed.open().await;
    assert_eq!(store.next_due().await.unwrap(), None);
    let new = NewMessage {
        due_at: noon_plus(1),
        ..message(&["bob@hismail.test"])
    };
    enqueue(&*store, new).await;
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(1)));
    assert!(claim(&*store, NOON, 10).await.is_empty());
    assert_eq!(claim(&*store, noon_plus(1), 10).await.len(), 1);
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(6)));
}

pub async fn what_waited_longest_is_claimed_first(bed: &dyn Bed) {
    let store = bed.open().await;
    let mut expected = Vec::new();
    for minutes in [3, 1, 2] {
        let new = NewMessage {
            due_at: noon_plus(minutes),
            ..message(&["bob@hismail.test"])
        };
        expected.push((minutes, enqueue(&*store, new).await));
    }
    expected.sort_by_key(|(minutes, _)| *minutes);
    for (_, id) in expected {
        assert_eq!(claim_one(&*store, noon_plus(10)).await.message, id);
    }
}

pub async fn a_lease_that_ran_out_is_due_again_and_its_token_is_stale(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let first = claim_one(&*store, NOON).await;
    assert_eq!(first.leased_until, noon_plus(5));
    assert!(claim(&*store, noon_plus(4), 10).await.is_empty());

    let second = claim_one(&*store, noon_plus(5)).await;
    assert_eq!(second.recipients[0].id, first.recipients[0].id);
    assert_eq!(second.recipients[0].attempts, 1, "the lost attempt counts");

    let bounce = FollowUp {
        message: message(&["alice@hermail.test"]),
        body: b"report".to_vec().into(),
        replay: None,
    };
    let failed = settlements(&first, SettledState::Failed(EnhancedStatus(5, 1, 1)));
    let stale = store.settle(first.lease, failed, vec![bounce]).await;
    assert!(matches!(stale, Err(Error::LeaseLost)));
    let entries = store.list(None, 10).await.unwrap();
    assert_eq!(entries.len(), 1, "the follow-up did not enter");
    assert_eq!(entries[0].recipient, second.recipients[0].id);

    settle(&*store, &second, SettledState::Relayed).await.unwrap();
    assert!(store.list(None, 10).await.unwrap().is_empty());
}

fn expanded_into(claim: &Claim, others: &[&str]) -> Vec<Settlement> {
    let mut settlements = settlements(claim, SettledState::Expanded);
    settlements[0].instead = others.iter().map(|text| mailbox(text).into()).collect();
    settlements
}

pub async fn others_take_the_place_of_an_expanded_recipient(bed: &dyn Bed) {
    let store = bed.open().await;
    let id = enqueue(&*store, message(&["all@hismail.test"])).await;
    let list = claim_one(&*store, NOON).await;
    let others = ["bob@hismail.test", "ben@other.test"];
    let settlements = expanded_into(&list, &others);
    store
        .settle(list.lease, settlements.clone(), Vec::new())
        .await
        .unwrap();
    let again = store.settle(list.lease, settlements, Vec::new()).await;
    assert!(matches!(again, Err(Error::LeaseLost)));
    let claims = claim(&*store, NOON, 10).await;
    let of_all = claims.iter().flat_map(|claim| &claim.recipients);
    let mut paths: Vec<_> = of_all.map(|one| one.forward_path.to_string()).collect();
    paths.sort();
    assert_eq!(paths, ["ben@other.test", "bob@hismail.test"]);
    assert!(claims.iter().all(|claim| claim.message == id));
    settle(&*store, &claims[0], SettledState::Delivered)
        .await
        .unwrap();
    assert!(!body(&*store, id).await.is_empty(), "one still waits");
    settle(&*store, &claims[1], SettledState::Delivered)
        .await
        .unwrap();
    assert!(matches!(store.read_piece(id, 0).await, Err(Error::Missing)));
}

pub async fn who_takes_the_place_of_a_held_recipient_is_held(bed: &dyn Bed) {
    let store = bed.open().await;
    let id = enqueue(&*store, message(&["all@hismail.test"])).await;
    let list = claim_one(&*store, NOON).await;
    assert_eq!(
        store.hold(Selection::Message(id), NOON).await.unwrap().recipients,
        1
    );
    let settlements = expanded_into(&list, &["bob@hismail.test"]);
    store.settle(list.lease, settlements, Vec::new()).await.unwrap();
    assert!(claim(&*store, noon_plus(60), 10).await.is_empty());
    assert_eq!(store.list(None, 10).await.unwrap()[0].state, QueueState::Held);
    assert_eq!(store.release(Selection::All, noon_plus(60)).await.unwrap(), 1);
    let claim = claim_one(&*store, noon_plus(60)).await;
    assert_eq!(claim.recipients[0].forward_path.to_string(), "bob@hismail.test");
    // How long it is tried counts from its release, for those who have taken its place, too.
    assert_eq!(list.counted_from, list.accepted_at);
    assert_eq!(claim.accepted_at, list.accepted_at);
    assert_eq!(claim.counted_from, noon_plus(60));
}

pub async fn a_settlement_with_one_foreign_recipient_changes_nothing(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test", "dave@hismail.test"])).await;
    let claim = claim_one(&*store, NOON).await;
    enqueue(&*store, message(&["carol@plain.test"])).await;
    let other = claim_one(&*store, NOON).await;
    let mut mixed = settlements(&claim, SettledState::Delivered);
    mixed[1].recipient = other.recipients[0].id;
    let result = store.settle(claim.lease, mixed, Vec::new()).await;
    assert!(matches!(result, Err(Error::LeaseLost)));
    assert_eq!(store.list(None, 10).await.unwrap().len(), 3);
    settle(&*store, &claim, SettledState::Delivered).await.unwrap();
    settle(&*store, &other, SettledState::Delivered).await.unwrap();
}

pub async fn a_deferred_recipient_keeps_its_history(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let first = claim_one(&*store, NOON).await;
    let state = SettledState::Deferred {
        due_at: noon_plus(30),
        delay_reported: true,
    };
    settle(&*store, &first, state).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(30)));
    assert!(claim(&*store, noon_plus(29), 10).await.is_empty());

    let entry = store.list(None, 10).await.unwrap().remove(0);
    assert_eq!(entry.attempts, 1);
    assert_eq!(entry.due_at, Some(noon_plus(30)));
    assert_eq!(entry.last_note.as_deref(), Some("250 after 0 attempts"));
    assert_eq!(entry.reverse_path.to_string(), "alice@hermail.test");
    assert_eq!(entry.forward_path, mailbox("bob@hismail.test").into());
    assert!(!entry.in_progress);

    let second = claim_one(&*store, noon_plus(30)).await;
    assert_eq!(second.recipients[0].attempts, 1);
    assert!(second.recipients[0].delay_reported);
    settle(&*store, &second, deferred(noon_plus(60))).await.unwrap();
    let notes: Vec<(u32, String)> = store
        .attempts(second.recipients[0].id)
        .await
        .unwrap()
        .into_iter()
        .map(|attempt| (attempt.number, attempt.note))
        .collect();
    assert_eq!(
        notes,
        [
            (1, "250 after 0 attempts".into()),
            (2, "250 after 1 attempts".into())
        ]
    );
    let third = claim_one(&*store, noon_plus(60)).await;
    assert!(third.recipients[0].delay_reported, "a delay is reported once");
}

pub async fn a_message_goes_when_its_last_recipient_is_final(bed: &dyn Bed) {
    let store = bed.open().await;
    let id = enqueue(&*store, message(&["bob@hismail.test", "carol@plain.test"])).await;
    let claims = claim(&*store, NOON, 10).await;
    settle(&*store, &claims[0], SettledState::Delivered)
        .await
        .unwrap();
    assert_eq!(body(&*store, id).await.len(), 1);
    assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
    settle(&*store, &claims[1], SettledState::Relayed).await.unwrap();
    assert!(matches!(store.read_piece(id, 0).await, Err(Error::Missing)));
    assert!(store.list(None, 10).await.unwrap().is_empty());
    assert_eq!(store.next_due().await.unwrap(), None);
}

pub async fn follow_ups_enter_with_the_settlement(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claim = claim_one(&*store, NOON).await;
    let bounce = FollowUp {
        message: NewMessage {
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Local,
                smtputf8: false,
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            ..message(&["alice@hermail.test"])
        },
        body: b"report".to_vec().into(),
        replay: None,
    };
    let failed = settlements(&claim, SettledState::Failed(EnhancedStatus(5, 1, 1)));
    store
        .settle(claim.lease, failed, vec![bounce.clone()])
        .await
        .unwrap();
    let report = claim_one(&*store, NOON).await;
    assert_eq!(report.message, bounce.message.id);
    assert!(report.envelope.reverse_path.is_null());
    assert_eq!(body(&*store, report.message).await, [b"report".to_vec()]);
}

pub async fn a_follow_up_that_cannot_enter_undoes_the_settlement(bed: &dyn Bed) {
    let store = bed.open().await;
    let waiting = message(&["carol@plain.test"]);
    enqueue(&*store, waiting.clone()).await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claims = claim(&*store, NOON, 10).await;
    let claim = claims.iter().find(|claim| claim.message != waiting.id).unwrap();
    let clash = FollowUp {
        message: waiting,
        body: Vec::new().into(),
        replay: None,
    };
    let failed = settlements(claim, SettledState::Failed(EnhancedStatus(5, 1, 1)));
    let result = store.settle(claim.lease, failed, vec![clash]).await;
    assert!(matches!(result, Err(Error::Exists)));
    assert_eq!(store.list(None, 10).await.unwrap().len(), 2);
    settle(&*store, claim, SettledState::Relayed).await.unwrap();
}

pub async fn a_crowded_destination_does_not_hold_up_the_others(bed: &dyn Bed) {
    let store = bed.open().await;
    for _ in 0..50 {
        enqueue(&*store, message(&["x@crowded.test"])).await;
    }
    for quiet in ["a@quiet-1.test", "b@quiet-2.test", "c@quiet-3.test"] {
        let late = NewMessage {
            due_at: noon_plus(1),
            ..message(&[quiet])
        };
        enqueue(&*store, late).await;
    }
    let served: Vec<String> = claim(&*store, noon_plus(2), 10)
        .await
        .into_iter()
        .map(|claim| claim.destination.to_string())
        .collect();
    let of = |name: &str| served.iter().filter(|served| *served == name).count();
    assert_eq!(
        (of("quiet-1.test"), of("quiet-2.test"), of("quiet-3.test")),
        (1, 1, 1)
    );
    assert_eq!(of("crowded.test"), 7, "what is left of the round is not wasted");
}

pub async fn destinations_take_turns_across_claims(bed: &dyn Bed) {
    let store = bed.open().await;
    for _ in 0..3 {
        for path in ["x@a.test", "x@b.test", "x@c.test"] {
            enqueue(&*store, message(&[path])).await;
        }
    }
    let mut served = Vec::new();
    for _ in 0..9 {
        // The clock stands still, so only turns tell the lanes apart.
        served.push(claim_one(&*store, NOON).await.destination.to_string());
    }
    for round in served.chunks(3) {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 3, "{served:?}");
    }
}

fn rooms(ours: usize, elsewhere: usize) -> Rooms {
    Rooms {
        ours,
        elsewhere,
        ..Rooms::unbounded()
    }
}

async fn claimed(store: &dyn Store, rooms: Rooms) -> Vec<String> {
    let claims = store.claim_within(NOON, noon_plus(5), 10, rooms).await.unwrap();
    for claim in &claims.claims {
        store.give_back(claim.lease, NOON).await.unwrap();
    }
    let mut names: Vec<_> = claims
        .claims
        .iter()
        .map(|claim| claim.destination.to_string())
        .collect();
    names.sort();
    names
}

pub async fn domains_of_ours_and_others_are_claimed_each_within_their_share(bed: &dyn Bed) {
    let store = bed.open().await;
    let ours = |name: &str| LocalDomain {
        name: domain(name),
        dime: None,
        created_at: NOON,
    };
    store.add_domain(ours("early.test")).await.unwrap();
    for path in ["x@early.test", "x@late.test", "x@other.test", "x@plain.test"] {
        enqueue(&*store, message(&[path])).await;
    }
    // It becomes ours when its mail is there already.
    store.add_domain(ours("late.test")).await.unwrap();
    let all = ["early.test", "late.test", "other.test", "plain.test"];
    assert_eq!(claimed(&*store, rooms(10, 10)).await, all);
    assert_eq!(claimed(&*store, rooms(10, 0)).await, all[..2]);
    assert_eq!(claimed(&*store, rooms(0, 10)).await, all[2..]);
    let some = claimed(&*store, rooms(1, 1)).await;
    assert!(all[..2].contains(&&*some[0]) && all[2..].contains(&&*some[1]) && some.len() == 2);
    assert_eq!(claimed(&*store, rooms(0, 0)).await, [""; 0]);
    for (rooms, next_due) in [(rooms(0, 0), None), (rooms(0, 1), Some(NOON))] {
        // With a limit of none, nothing is claimed.
        let left = store.claim_within(NOON, noon_plus(30), 0, rooms).await.unwrap();
        assert_eq!(
            (left.claims.len(), left.has_more, left.next_due),
            (0, true, next_due)
        );
    }
}

pub async fn destinations_behind_one_hop_are_claimed_together_within_its_room(bed: &dyn Bed) {
    let store = bed.open().await;
    for path in ["x@a.test", "x@b.test", "x@c.test", "x@free.test"] {
        enqueue(&*store, message(&[path])).await;
    }
    let behind = |room| Rooms {
        behind: ["a.test", "b.test", "c.test"]
            .map(|name| (domain(name), 0))
            .into(),
        hops: vec![room],
        ..Rooms::unbounded()
    };
    for (room, count) in [(0, 1), (1, 2), (2, 3), (9, 4)] {
        let names = claimed(&*store, behind(room)).await;
        assert_eq!(names.len(), count, "{names:?}");
        assert!(names.contains(&"free.test".to_owned()));
    }
}

pub async fn what_was_postponed_has_not_been_attempted(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claim = claim_one(&*store, NOON).await;
    let postponed = SettledState::Postponed { due_at: noon_plus(1) };
    settle(&*store, &claim, postponed).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(1)));
    let again = claim_one(&*store, noon_plus(1)).await;
    assert_eq!(again.recipients[0].attempts, 0);
    assert!(store.attempts(again.recipients[0].id).await.unwrap().is_empty());
}

pub async fn two_claimers_never_get_the_same_recipient(bed: &dyn Bed) {
    let store = bed.open().await;
    for number in 0..40 {
        enqueue(&*store, message(&[&format!("x@d{}.test", number % 5)])).await;
    }
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        claimers.spawn(async move { claim(&*store, NOON, 7).await });
    }
    let all: Vec<RecipientId> = claimers
        .join_all()
        .await
        .into_iter()
        .flatten()
        .flat_map(|claim| claim.recipients)
        .map(|recipient| recipient.id)
        .collect();
    assert_eq!(all.len(), 40);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 40);
}

pub async fn long_recipient_lists_are_claimed_in_groups_of_100(bed: &dyn Bed) {
    let store = bed.open().await;
    let paths: Vec<String> = (0..250).map(|number| format!("u{number}@hismail.test")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    enqueue(&*store, message(&paths)).await;
    let claims = claim(&*store, NOON, 10).await;
    let sizes: Vec<usize> = claims.iter().map(|claim| claim.recipients.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

pub async fn a_lease_given_back_is_no_attempt(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let first = claim_one(&*store, NOON).await;
    store.give_back(first.lease, noon_plus(1)).await.unwrap();
    assert!(matches!(
        store.give_back(first.lease, noon_plus(1)).await,
        Err(Error::LeaseLost)
    ));
    // It keeps its place before what was accepted after it; its destination had its last turn at noon.
    assert_eq!(store.next_due().await.unwrap(), Some(NOON));
    assert_eq!(claim_one(&*store, noon_plus(1)).await.recipients[0].attempts, 0);
}

pub async fn quarantined_recipients_wait_aside_until_released(bed: &dyn Bed) {
    let store = bed.open().await;
    let bad = enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claimed = claim_one(&*store, NOON).await;
    let good = enqueue(&*store, message(&["carol@plain.test"])).await;
    store.quarantine(claimed.lease, "body piece").await.unwrap();
    let expected = QuarantinedEntry {
        message: bad,
        recipient: claimed.recipients[0].id,
        destination: domain("hismail.test"),
        reason: "body piece".into(),
    };
    assert_eq!(store.quarantined(10).await.unwrap(), [expected]);
    let listed = store.list(None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|entry| entry.message).collect::<Vec<_>>(),
        [good]
    );
    assert_eq!(claim_one(&*store, noon_plus(10)).await.message, good);
    assert!(matches!(
        settle(&*store, &claimed, SettledState::Delivered).await,
        Err(Error::LeaseLost)
    ));

    let selection = Selection::Message(bad);
    assert_eq!(store.release(selection, noon_plus(11)).await.unwrap(), 1);
    assert!(store.quarantined(10).await.unwrap().is_empty());
    assert_eq!(claim_one(&*store, noon_plus(11)).await.message, bad);
}

pub async fn held_recipients_are_not_claimed(bed: &dyn Bed) {
    let store = bed.open().await;
    let held = enqueue(&*store, message(&["bob@hismail.test"])).await;
    let free = enqueue(&*store, message(&["carol@plain.test"])).await;
    let selection = Selection::Destination(domain("hismail.test"));
    assert_eq!(store.hold(selection.clone(), NOON).await.unwrap().recipients, 1);
    assert_eq!(store.hold(selection.clone(), NOON).await.unwrap().recipients, 0);
    assert_eq!(claim_one(&*store, NOON).await.message, free);
    let entry = store.list(None, 1).await.unwrap().remove(0);
    assert_eq!(
        (entry.message, entry.state, entry.due_at),
        (held, QueueState::Held, None)
    );
    assert_eq!(store.release(selection, noon_plus(1)).await.unwrap(), 1);
    assert_eq!(claim_one(&*store, noon_plus(1)).await.message, held);
}

pub async fn a_message_can_be_held_as_it_comes(bed: &dyn Bed) {
    let store = bed.open().await;
    let held = hold(&*store, Some(noon_plus(60))).await;
    assert!(claim(&*store, noon_plus(120), 1).await.is_empty());
    let entries = store.entries(held).await.unwrap();
    let told = entries
        .iter()
        .map(|entry| (entry.state, entry.held_until, entry.last_note.as_deref()));
    let expected = (QueueState::Held, Some(noon_plus(60)), Some("looks odd"));
    assert_eq!(told.collect::<Vec<_>>(), [expected, expected]);
    let history = store.attempts(entries[0].recipient).await.unwrap();
    let first = AttemptEntry {
        number: 0,
        ended_at: NOON,
        note: "looks odd".into(),
    };
    assert_eq!(history, [first]);
    let selection = Selection::Recipient(entries[0].recipient);
    assert_eq!(store.release(selection, noon_plus(1)).await.unwrap(), 1);
    let claimed = claim_one(&*store, noon_plus(1)).await;
    assert_eq!((claimed.message, claimed.recipients[0].attempts), (held, 0));
    settle(&*store, &claimed, SettledState::Delivered).await.unwrap();
    assert_eq!(store.entries(held).await.unwrap().len(), 1);
    assert_eq!(
        store
            .delete(Selection::Message(held), NOON)
            .await
            .unwrap()
            .recipients,
        1
    );
    assert!(store.entries(held).await.unwrap().is_empty());
    assert!(store.read_piece(held, 0).await.is_err());
}

pub async fn held_mail_is_deleted_when_its_time_is_over(bed: &dyn Bed) {
    let store = bed.open().await;
    let limited = hold(&*store, Some(noon_plus(60))).await;
    let unlimited = hold(&*store, None).await;
    let released = hold(&*store, Some(noon_plus(60))).await;
    let kept = hold(&*store, Some(noon_plus(60))).await;
    let by_hand = enqueue(&*store, message(&["bob@hismail.test"])).await;
    store
        .release(Selection::Message(released), noon_plus(999))
        .await
        .unwrap();
    assert_eq!(
        store
            .hold(Selection::Message(kept), NOON)
            .await
            .unwrap()
            .recipients,
        2
    );
    assert_eq!(
        store
            .hold(Selection::Message(by_hand), NOON)
            .await
            .unwrap()
            .recipients,
        1
    );
    assert_eq!(store.expire_held(noon_plus(59), 9).await.unwrap(), 0);
    assert_eq!(store.expire_held(noon_plus(60), 1).await.unwrap(), 1);
    assert_eq!(store.expire_held(noon_plus(60), 9).await.unwrap(), 1);
    assert_eq!(store.expire_held(noon_plus(99_999), 9).await.unwrap(), 0);
    assert!(store.entries(limited).await.unwrap().is_empty());
    for (id, count) in [(unlimited, 2), (released, 2), (kept, 2), (by_hand, 1)] {
        assert_eq!(store.entries(id).await.unwrap().len(), count);
    }
}

/// A message for two in one domain that is held as it comes.
async fn hold(store: &dyn Store, until: Option<Timestamp>) -> QueueId {
    let new = message(&["bob@hismail.test", "pat@hismail.test"]);
    let id = new.id;
    let mut writer = store.begin(id).await.unwrap();
    writer.write(b"Subject: x\r\n\r\ny\r\n").await.unwrap();
    let reason = "looks odd".into();
    let hold = Hold { reason, until };
    writer.commit_held(new, hold, None).await.unwrap();
    id
}

pub async fn a_hold_during_an_attempt_takes_effect_after_it(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claimed = claim_one(&*store, NOON).await;
    assert_eq!(store.hold(Selection::All, NOON).await.unwrap().recipients, 1);
    settle(&*store, &claimed, deferred(noon_plus(1))).await.unwrap();
    assert!(claim(&*store, noon_plus(2), 1).await.is_empty());
    assert_eq!(store.release(Selection::All, noon_plus(2)).await.unwrap(), 1);
    let again = claim_one(&*store, noon_plus(2)).await;
    assert_eq!(again.recipients[0].attempts, 1);
    assert_eq!(store.hold(Selection::All, NOON).await.unwrap().recipients, 1);
    settle(&*store, &again, SettledState::Delivered).await.unwrap();
    assert!(store.list(None, 1).await.unwrap().is_empty());
}

pub async fn retry_moves_only_what_no_attempt_is_under_way_for(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let first = claim_one(&*store, NOON).await;
    assert_eq!(store.retry(Selection::All, noon_plus(1)).await.unwrap(), 0);
    settle(&*store, &first, deferred(noon_plus(600))).await.unwrap();
    let selection = Selection::Recipient(first.recipients[0].id);
    assert_eq!(store.retry(selection, noon_plus(1)).await.unwrap(), 1);
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(1)));
    assert_eq!(claim(&*store, noon_plus(1), 1).await.len(), 1);
}

/// It is right again at the next start.
pub async fn what_a_clock_that_was_ahead_has_put_off_is_brought_forward(bed: &dyn Bed) {
    let store = bed.open().await;
    let (longest, a_year_on) = (Duration::from_secs(4 * 3600), noon_plus(365 * 24 * 60));
    let put_off = enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claimed = claim_one(&*store, a_year_on).await;
    let due_at = a_year_on.after(Duration::from_secs(300));
    settle(&*store, &claimed, deferred(due_at)).await.unwrap();
    bed.close(store).await;

    let store = bed.open().await;
    enqueue(&*store, message(&["carol@plain.test"])).await;
    let waits = claim_one(&*store, NOON).await;
    settle(&*store, &waits, deferred(NOON.after(longest)))
        .await
        .unwrap();
    enqueue(&*store, message(&["pat@elsewhere.test"])).await;
    let leased = store.claim(NOON, a_year_on, 1).await.unwrap().remove(0);

    assert!(claim(&*store, NOON, 10).await.is_empty());
    assert_eq!(store.bring_forward(longest, NOON).await.unwrap(), 1);
    let claimed: Vec<_> = claim(&*store, NOON, 10).await.iter().map(|c| c.message).collect();
    assert_eq!(claimed, [put_off]);
    assert_eq!(store.bring_forward(longest, NOON).await.unwrap(), 0);
    settle(&*store, &leased, SettledState::Relayed).await.unwrap();
}

pub async fn what_is_retried_is_due_at_once_and_what_is_held_stays(bed: &dyn Bed) {
    let store = bed.open().await;
    let later = |path: &str| NewMessage {
        due_at: noon_plus(600),
        ..message(&[path])
    };
    let held = enqueue(&*store, later("bob@hismail.test")).await;
    let late = enqueue(&*store, later("dave@hismail.test")).await;
    let other = enqueue(&*store, later("carol@plain.test")).await;
    assert_eq!(
        store
            .hold(Selection::Message(held), NOON)
            .await
            .unwrap()
            .recipients,
        1
    );
    let selection = Selection::Destination(domain("hismail.test"));
    assert_eq!(store.retry(selection, noon_plus(1)).await.unwrap(), 1);
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(1)));
    let claims = claim(&*store, noon_plus(2), 10).await;
    let claimed: Vec<_> = claims.iter().map(|claim| claim.message).collect();
    assert_eq!(claimed, [late], "nothing else is due");
    assert_eq!(store.retry(Selection::All, noon_plus(3)).await.unwrap(), 1);
    // What is due already keeps its place.
    assert_eq!(store.retry(Selection::All, noon_plus(4)).await.unwrap(), 1);
    assert_eq!(store.next_due().await.unwrap(), Some(noon_plus(3)));
    assert_eq!(claim_one(&*store, noon_plus(4)).await.message, other);
    let states = store.entries(held).await.unwrap();
    assert_eq!(states[0].state, QueueState::Held);
}

pub async fn of_a_long_history_the_end_is_kept(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let mut recipient = None;
    for minute in 0..53 {
        let tried = claim_one(&*store, noon_plus(minute)).await;
        settle(&*store, &tried, deferred(noon_plus(minute + 1)))
            .await
            .unwrap();
        recipient = Some(tried.recipients[0].id);
    }
    let history = store.attempts(recipient.unwrap()).await.unwrap();
    let numbers: Vec<u32> = history.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (4..=53).collect::<Vec<_>>());
}

pub async fn what_is_being_tried_is_counted_apart(bed: &dyn Bed) {
    let store = bed.open().await;
    let both = ["bob@hismail.test", "carol@plain.test"];
    enqueue(&*store, message(&both)).await;
    claim_one(&*store, NOON).await;
    let counted = |recipients, being_tried| Changed {
        recipients,
        being_tried,
    };
    let later = noon_plus(10);
    assert_eq!(store.hold(Selection::All, NOON).await.unwrap(), counted(2, 1));
    assert_eq!(store.condemn(Selection::All, NOON).await.unwrap(), counted(2, 1));
    assert_eq!(store.condemn(Selection::All, later).await.unwrap(), counted(2, 0));
    assert_eq!(store.delete(Selection::All, NOON).await.unwrap(), counted(2, 1));
    assert_eq!(store.delete(Selection::All, NOON).await.unwrap(), counted(0, 0));
}

pub async fn what_is_condemned_is_due_at_once_or_after_the_attempt_under_way(bed: &dyn Bed) {
    let store = bed.open().await;
    let later = |path: &str| NewMessage {
        due_at: noon_plus(600),
        ..message(&[path])
    };
    let id = enqueue(&*store, later("dave@plain.test")).await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let tried = claim_one(&*store, NOON).await;
    assert!(!tried.recipients[0].condemned);
    store.condemn(Selection::All, noon_plus(1)).await.unwrap();
    let claimed = claim_one(&*store, noon_plus(1)).await;
    assert_eq!((claimed.message, claimed.recipients[0].condemned), (id, true));
    settle(&*store, &tried, deferred(noon_plus(999))).await.unwrap();
    let claimed = claim_one(&*store, noon_plus(2)).await;
    assert_eq!(
        (claimed.message, claimed.recipients[0].condemned),
        (tried.message, true)
    );
}

pub async fn deleted_recipients_are_gone_with_their_message(bed: &dyn Bed) {
    let store = bed.open().await;
    let id = enqueue(&*store, message(&["bob@hismail.test", "carol@plain.test"])).await;
    let claims = claim(&*store, NOON, 10).await;
    let selection = Selection::Recipient(claims[0].recipients[0].id);
    assert_eq!(store.delete(selection, NOON).await.unwrap().recipients, 1);
    assert_eq!(body(&*store, id).await.len(), 1);
    assert_eq!(
        store
            .delete(Selection::Message(id), NOON)
            .await
            .unwrap()
            .recipients,
        1
    );
    assert!(matches!(store.read_piece(id, 0).await, Err(Error::Missing)));
    assert!(matches!(
        settle(&*store, &claims[1], SettledState::Delivered).await,
        Err(Error::LeaseLost)
    ));
    assert_eq!(store.next_due().await.unwrap(), None);
}

pub async fn a_recipient_deleted_during_an_attempt_does_not_undo_the_others(bed: &dyn Bed) {
    let store = bed.open().await;
    let recipients = ["bob@hismail.test", "eve@hismail.test"];
    enqueue(&*store, message(&recipients)).await;
    let attempt = claim_one(&*store, NOON).await;
    let selection = Selection::Recipient(attempt.recipients[0].id);
    assert_eq!(store.delete(selection, NOON).await.unwrap().recipients, 1);
    settle(&*store, &attempt, SettledState::Delivered).await.unwrap();
    assert!(store.list(None, 10).await.unwrap().is_empty());
    assert!(
        claim(&*store, noon_plus(60), 10).await.is_empty(),
        "nobody gets it twice"
    );
}

pub async fn the_list_continues_after_an_entry_that_has_left(bed: &dyn Bed) {
    let store = bed.open().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(enqueue(&*store, message(&["bob@hismail.test"])).await);
    }
    let first = store.list(None, 2).await.unwrap();
    assert_eq!(first.iter().map(|e| e.message).collect::<Vec<_>>(), ids[..2]);
    store.delete(Selection::Message(ids[1]), NOON).await.unwrap();
    let rest = store.list(Some(first[1].position), 10).await.unwrap();
    assert_eq!(rest.iter().map(|e| e.message).collect::<Vec<_>>(), ids[2..]);
}

/// A signet whose fingerprints and object are made of one octet and its neighbours.
pub fn signet(name: &str, octet: u8, published_at: Timestamp) -> StoredSignet {
    StoredSignet {
        name: name.into(),
        crypto: CryptoFingerprint([octet; 64]),
        full: FullFingerprint([octet + 1; 64]),
        id: IdFingerprint([octet + 2; 64]),
        object: vec![octet; 100],
        published_at,
    }
}

pub async fn signets_keep_their_history_and_are_found_by_any_fingerprint(bed: &dyn Bed) {
    let store = bed.open().await;
    let old = signet("Bob@hismail.test", 10, NOON);
    let new = signet("bob@hismail.test", 20, noon_plus(1));
    store.publish_signet(old.clone().into()).await.unwrap();
    store.publish_signet(new.clone().into()).await.unwrap();
    store
        .publish_signet(signet("eve@hismail.test", 30, noon_plus(2)).into())
        .await
        .unwrap();
    assert!(matches!(
        store.publish_signet(old.clone().into()).await,
        Err(Error::Exists)
    ));
    let old = StoredSignet {
        name: "bob@hismail.test".into(),
        ..old
    };
    assert_eq!(
        store.current_signet("BOB@hismail.test").await.unwrap(),
        Some(new.clone())
    );
    for octet in [10, 11, 12] {
        let found = store
            .signet_by_fingerprint("bob@hismail.test", AnyFingerprint([octet; 64]))
            .await
            .unwrap();
        assert_eq!(found.as_ref(), Some(&old), "{octet}");
    }
    let foreign = store
        .signet_by_fingerprint("bob@hismail.test", AnyFingerprint([30; 64]))
        .await
        .unwrap();
    assert_eq!(foreign, None);
    let served = async |name, octet: Option<u8>| {
        let asked = octet.map(|octet| AnyFingerprint([octet; 64]));
        let object = store.served_signet(name, asked).await.unwrap();
        object.map(|object| object[0])
    };
    // The second time from memory.
    for _ in 0..2 {
        assert_eq!(served("BOB@hismail.test", None).await, Some(20));
        for octet in [10, 11, 12, 20, 21, 22] {
            let asked = Some(octet);
            assert_eq!(served("bob@hismail.test", asked).await, Some(octet / 10 * 10));
        }
        assert_eq!(served("bob@hismail.test", Some(30)).await, None);
        assert_eq!(served("hismail.test", None).await, None);
    }
    let history = store.signet_history("bob@hismail.test").await.unwrap();
    let signets: Vec<_> = history.into_iter().map(|past| past.signet).collect();
    assert_eq!(signets, [old, new]);
    assert_eq!(store.current_signet("hismail.test").await.unwrap(), None);
}

pub async fn a_signet_asked_about_stands_beside_the_current_one(bed: &dyn Bed) {
    let store = bed.open().await;
    let name = "bob@hismail.test";
    let standing = async |octet: u8| {
        let fingerprint = AnyFingerprint([octet; 64]);
        let found = store
            .signet_standing("BOB@hismail.test", fingerprint)
            .await
            .unwrap();
        found.map(|found| (found.asked.0[0], found.current.0[0]))
    };
    assert_eq!(standing(11).await, None);
    for (octet, minute) in [(10, 0), (20, 1), (30, 2)] {
        store
            .publish_signet(signet(name, octet, noon_plus(minute)).into())
            .await
            .unwrap();
    }
    store
        .publish_signet(signet("eve@hismail.test", 40, NOON).into())
        .await
        .unwrap();
    // By any kind of fingerprint; the answer has the full one.
    for octet in [10, 11, 12] {
        assert_eq!(standing(octet).await, Some((11, 31)), "{octet}");
    }
    assert_eq!(standing(32).await, Some((31, 31)));
    assert_eq!(standing(41).await, None, "somebody else's");
    let revoke = async |octet: u8| {
        let revoked = [CryptoFingerprint([octet; 64])];
        store.revoke_signets(name, &revoked, noon_plus(3)).await.unwrap();
    };
    revoke(20).await;
    assert_eq!(standing(21).await, None);
    assert_eq!(standing(11).await, Some((11, 31)));
    revoke(30).await;
    assert_eq!(standing(31).await, None);
    assert_eq!(standing(11).await, None, "there is no current one");
}

pub async fn private_keys_come_back_for_their_signet_only(bed: &dyn Bed) {
    let store = bed.open().await;
    let keys = Secret::new(b"-----BEGIN KEYS-----".to_vec());
    let kept = signet("bob@hismail.test", 10, NOON);
    let not_kept = signet("bob@hismail.test", 20, NOON);
    let kept = Publication {
        private_keys: Some(keys.clone()),
        ..kept.into()
    };
    store.publish_signet(kept).await.unwrap();
    store.publish_signet(not_kept.into()).await.unwrap();
    let ask = async |name: &str, octet| {
        let fingerprint = CryptoFingerprint([octet; 64]);
        store.private_keys(name, fingerprint).await.unwrap()
    };
    assert_eq!(ask("Bob@Hismail.test", 10).await, Some(keys));
    assert_eq!(ask("bob@hismail.test", 20).await, None);
    assert_eq!(ask("bob@hismail.test", 30).await, None);
    assert_eq!(ask("eve@hismail.test", 10).await, None);
}

/// A signet with these keys and this full fingerprint, fetched and dropped at these minutes.
fn remote(crypto: u8, full: Option<u8>, minutes: (u64, Option<u64>, u64)) -> RemoteSignet {
    let (fetched, current, expires) = minutes;
    let object = full.map_or_else(|| vec![crypto; 50], |full| full_form(crypto, full));
    RemoteSignet {
        name: "bob@hismail.test".into(),
        crypto: CryptoFingerprint([crypto; 64]),
        full: full.map(|_| Signet::decode(&object).unwrap().full_fingerprint().unwrap()),
        object,
        fetched_at: noon_plus(fetched),
        current_until: current.map(noon_plus),
        expires_at: noon_plus(expires),
    }
}

/// An organizational signet with a full signature; every pair of numbers gives another one.
fn full_form(key: u8, profile: u8) -> Vec<u8> {
    let signing = SigningKey::from_seed(&[key; 32]);
    let encryption = SecretKey::from_bytes(&[7; 32]).unwrap().public_key();
    let mut builder = OrgBuilder::new(&signing, &encryption, &[]).unwrap();
    builder.profile_mut().add(id::NAME, &[profile]).unwrap();
    builder.full().unwrap().encode()
}

pub async fn remote_signets_are_kept_until_they_expire_or_are_forgotten(bed: &dyn Bed) {
    let store = bed.open().await;
    let first = remote(1, None, (1, Some(60), 60));
    let second = remote(2, None, (5, Some(50), 50));
    for signet in [remote(1, None, (0, Some(55), 55)), second.clone(), first.clone()] {
        store.remember_remote_signet(signet).await.unwrap();
    }
    let ask = async |wanted, minutes| {
        store
            .remote_signet("Bob@hismail.test", wanted, noon_plus(minutes))
            .await
            .unwrap()
    };
    let keys = |octet| Wanted::Crypto(CryptoFingerprint([octet; 64]));
    assert_eq!(ask(Wanted::Current, 10).await, Some(first.clone()));
    assert_eq!(ask(keys(1), 10).await, Some(first));
    assert_eq!(ask(keys(2), 49).await, Some(second));
    assert_eq!(ask(keys(2), 50).await, None);
    assert_eq!(ask(Wanted::Current, 60).await, None);
    store.forget_remote_signets("bob@HISMAIL.test").await.unwrap();
    assert_eq!(ask(Wanted::Current, 10).await, None);
}

pub async fn remote_signets_with_the_same_keys_are_told_apart(bed: &dyn Bed) {
    let store = bed.open().await;
    let (old, new) = (
        remote(1, Some(1), (0, Some(30), 100)),
        remote(1, Some(2), (1, Some(31), 100)),
    );
    store.remember_remote_signet(old.clone()).await.unwrap();
    store.remember_remote_signet(new.clone()).await.unwrap();
    let ask = async |wanted| {
        store
            .remote_signet("bob@hismail.test", wanted, noon_plus(10))
            .await
            .unwrap()
    };
    let full = |signet: &RemoteSignet| Wanted::Full(signet.full.unwrap());
    assert_eq!(ask(full(&old)).await, Some(old.clone()));
    assert_eq!(ask(full(&new)).await, Some(new.clone()));
    assert_eq!(ask(Wanted::Current).await, Some(new.clone()));

    // Asked for by its fingerprint, the old one does not become the current one.
    let again = RemoteSignet {
        fetched_at: noon_plus(5),
        current_until: None,
        ..old
    };
    store.remember_remote_signet(again.clone()).await.unwrap();
    assert_eq!(ask(Wanted::Current).await, Some(new));
    let never_current = RemoteSignet {
        name: "eve@hismail.test".into(),
        ..again
    };
    store.remember_remote_signet(never_current.clone()).await.unwrap();
    let current = store.remote_signet("eve@hismail.test", Wanted::Current, noon_plus(10));
    assert_eq!(current.await.unwrap(), None);
    let by_print = store.remote_signet("eve@hismail.test", full(&never_current), noon_plus(10));
    assert_eq!(by_print.await.unwrap(), Some(never_current));
}

fn kem_keys(octet: u8) -> KemKeys {
    let keys = Suite::ALL.map(|suite| hpke::SecretKey::from_bytes(suite, &[octet; 32]).unwrap());
    KemKeys::new(keys.into()).unwrap()
}

/// A publication whose private KEM keys, drawn from `octet`, are destroyed at that minute.
pub fn with_kem_keys(name: &str, octet: u8, destroyed: u64) -> Publication {
    let published = u64::from(octet);
    Publication {
        kem_keys: Some(NewKemKeys {
            keys: kem_keys(octet),
            created_at: noon_plus(published),
            expires_at: noon_plus(destroyed - 1),
            destroy_at: noon_plus(destroyed),
        }),
        ..signet(name, octet, noon_plus(published)).into()
    }
}

pub async fn private_kem_keys_are_kept_by_signet_until_they_are_destroyed(bed: &dyn Bed) {
    let store = bed.open().await;
    for publication in [
        with_kem_keys("Bob@hismail.test", 10, 100),
        with_kem_keys("bob@hismail.test", 20, 200),
        with_kem_keys("eve@hismail.test", 30, 100),
    ] {
        store.publish_signet(publication).await.unwrap();
    }
    let kept = async |name: &str| {
        let kept = store.kem_keys(name).await.unwrap();
        let shown = kept
            .iter()
            .map(|kept| (kept.signet.0[0], kept.keys.public_keys()));
        shown.collect::<Vec<_>>()
    };
    let (old, new) = ((11, kem_keys(10).public_keys()), (21, kem_keys(20).public_keys()));
    assert_eq!(kept("BOB@hismail.test").await, [new.clone(), old.clone()]);

    assert_eq!(store.destroy_kem_keys(noon_plus(99)).await.unwrap(), 0);
    assert_eq!(kept("bob@hismail.test").await, [new.clone(), old]);
    assert_eq!(store.destroy_kem_keys(noon_plus(100)).await.unwrap(), 2);
    assert_eq!(kept("bob@hismail.test").await, [new]);
    assert_eq!(kept("eve@hismail.test").await, []);
    // The signet itself stays in the history.
    assert_eq!(store.signet_history("eve@hismail.test").await.unwrap().len(), 1);
}

pub async fn a_signet_replaces_only_the_one_it_was_made_from(bed: &dyn Bed) {
    let store = bed.open().await;
    let replacing = |octet: u8, replaced: u8| Publication {
        replaces: Replaces::Signet(FullFingerprint([replaced; 64])),
        ..with_kem_keys("bob@hismail.test", octet, 100)
    };
    assert!(matches!(
        store.publish_signet(replacing(10, 1)).await,
        Err(Error::Changed)
    ));
    assert!(store.kem_keys("bob@hismail.test").await.unwrap().is_empty());
    let first = with_kem_keys("bob@hismail.test", 10, 100);
    store.publish_signet(first).await.unwrap();
    store.publish_signet(replacing(20, 11)).await.unwrap();
    assert!(matches!(
        store.publish_signet(replacing(30, 11)).await,
        Err(Error::Changed)
    ));
    // Whoever was first in making a first one, is.
    let late = Publication {
        replaces: Replaces::Nothing,
        ..with_kem_keys("bob@hismail.test", 40, 100)
    };
    assert!(matches!(
        store.publish_signet(late.clone()).await,
        Err(Error::Changed)
    ));
    assert_eq!(store.signet_history("bob@hismail.test").await.unwrap().len(), 2);
    let other = StoredSignet {
        name: "eve@hismail.test".into(),
        ..late.signet.clone()
    };
    store
        .publish_signet(Publication {
            signet: other,
            ..late
        })
        .await
        .unwrap();
}

/// A clock that was wrong for a while does not make a signet of that time outlive all later ones.
pub async fn the_signet_published_last_is_the_current_one(bed: &dyn Bed) {
    let store = bed.open().await;
    let early = signet("bob@hismail.test", 10, noon_plus(1_000_000));
    let late = signet("bob@hismail.test", 20, noon_plus(1));
    for signet in [&early, &late] {
        store.publish_signet(signet.clone().into()).await.unwrap();
    }
    let current = store.current_signet("bob@hismail.test").await.unwrap();
    assert_eq!(current.as_ref(), Some(&late));
    let history = store.signet_history("bob@hismail.test").await.unwrap();
    let history: Vec<_> = history.into_iter().map(|past| past.signet).collect();
    assert_eq!(history, [early, late]);
}

pub async fn names_with_signets_are_listed_in_pages(bed: &dyn Bed) {
    let store = bed.open().await;
    for (name, octet) in [("c.test", 1), ("a@c.test", 2), ("B@c.test", 3), ("c.test", 4)] {
        let signet = signet(name, octet * 10, NOON);
        store.publish_signet(signet.into()).await.unwrap();
    }
    let first = store.signet_names(None, 2).await.unwrap();
    assert_eq!(first, ["a@c.test", "b@c.test"]);
    assert_eq!(store.signet_names(Some("b@c.test"), 2).await.unwrap(), ["c.test"]);
    assert!(store.signet_names(Some("c.test"), 2).await.unwrap().is_empty());
}

pub async fn the_newest_signets_are_listed_in_pages(bed: &dyn Bed) {
    let store = bed.open().await;
    // The keys of A are kept beside the first of two signets that have them, those of C belong to one that was replaced.
    for (name, octet, full, keys) in [
        ("c.test", 10, 11, true),
        ("a@c.test", 20, 21, true),
        ("B@c.test", 30, 31, false),
        ("a@c.test", 20, 22, false),
        ("c.test", 40, 41, false),
    ] {
        let signet = StoredSignet {
            full: FullFingerprint([full; 64]),
            object: vec![full; 100],
            ..signet(name, octet, NOON)
        };
        let publication = Publication {
            private_keys: keys.then(|| Secret::new(vec![1; 10])),
            ..signet.into()
        };
        store.publish_signet(publication).await.unwrap();
    }
    let revoked = [CryptoFingerprint([40; 64])];
    store.revoke_signets("c.test", &revoked, NOON).await.unwrap();
    let page = async |after, limit| {
        let page = store.newest_signets(after, limit).await.unwrap();
        let entry = |newest: NewestSignet| {
            let NewestSignet {
                name,
                object,
                keys_kept,
                is_revoked,
            } = newest;
            (name, object[0], keys_kept, is_revoked)
        };
        page.into_iter().map(entry).collect::<Vec<_>>()
    };
    let first = page(None, 2).await;
    assert_eq!(
        first,
        [
            ("a@c.test".to_owned(), 22, true, false),
            ("b@c.test".to_owned(), 31, false, false),
        ]
    );
    let last = page(Some("b@c.test"), 2).await;
    assert_eq!(last, [("c.test".to_owned(), 41, false, true)]);
    assert!(page(Some("c.test"), 2).await.is_empty());
}

pub async fn key_sets_signed_ahead_wait_in_their_order(bed: &dyn Bed) {
    let store = bed.open().await;
    let set = |minute: u64| KeySetAhead {
        publish_at: noon_plus(minute),
        value: vec![minute as u8; 10],
    };
    let bob = "bob@hismail.test";
    let keep = async |sets: Vec<KeySetAhead>| store.keep_key_sets_ahead(bob, sets).await;
    let ahead = async || store.key_sets_ahead("Bob@hismail.test").await.unwrap();
    keep(vec![set(9)]).await.unwrap();
    keep(vec![set(3), set(1), set(2)]).await.unwrap();
    assert_eq!(ahead().await, [set(1), set(2), set(3)]);
    // Two that are due at once are not taken, and change nothing.
    assert!(matches!(keep(vec![set(4), set(4)]).await, Err(Error::Exists)));
    // Another one has come for the same time since they were read: it stays.
    let replaced = KeySetAhead {
        value: vec![0; 10],
        ..set(3)
    };
    let seen = vec![set(1), set(2), replaced];
    store.drop_key_sets_ahead(bob, seen).await.unwrap();
    assert_eq!(ahead().await, [set(3)]);
    assert!(store.key_sets_ahead("eve@hismail.test").await.unwrap().is_empty());
}

pub async fn pins_of_key_sets_are_replaced_by_who_knows_them(bed: &dyn Bed) {
    let store = bed.open().await;
    let bob = "Bob@hismail.test";
    let pin = |created, minutes| KeySetPin {
        pin: key_set::Pin {
            signing_key: VerifyingKey([7; 32]),
            created,
            ever_usable: created > 1,
        },
        expires_at: noon_plus(minutes),
    };
    let put = async |before: Option<KeySetPin>, after| {
        let before = before.map(|before| before.pin);
        store.pin_key_set(bob, before, after, NOON).await.unwrap()
    };
    let there = async |minutes| {
        store
            .key_set_pin("bob@hismail.test", noon_plus(minutes))
            .await
            .unwrap()
    };
    assert!(put(None, pin(1, 10)).await);
    assert!(!put(None, pin(2, 10)).await, "somebody else was faster");
    assert_eq!(there(9).await, Some(pin(1, 10)));
    assert_eq!(there(10).await, None);
    assert!(put(Some(pin(1, 10)), pin(2, 20)).await);
    assert_eq!(there(10).await, Some(pin(2, 20)));
    assert!(store.forget_key_set_pin("bob@hismail.test").await.unwrap());
    assert!(!store.forget_key_set_pin("bob@hismail.test").await.unwrap());
    assert_eq!(there(0).await, None);
}

pub async fn accounts_are_found_without_regard_to_case(bed: &dyn Bed) {
    let store = bed.open().await;
    let bob = Account {
        address: mailbox("Bob@hismail.test"),
        password_hash: "$argon2id$x".into(),
        scram_verifier: Some("SCRAM-SHA-256$y".into()),
        trust_mode: TrustMode::Cautious,
        created_at: NOON,
        trap_since: None,
        disabled_at: None,
        quota_bytes: None,
    };
    let amy = Account {
        address: mailbox("amy@hismail.test"),
        scram_verifier: None,
        trust_mode: TrustMode::Paranoid,
        ..bob.clone()
    };
    store.add_account(bob.clone()).await.unwrap();
    store.add_account(amy).await.unwrap();
    let twice = Account {
        address: mailbox("bOB@hismail.test"),
        ..bob.clone()
    };
    assert!(matches!(store.add_account(twice).await, Err(Error::Exists)));

    let found = store
        .account(&mailbox("BOB@hismail.test"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.address.local(), "Bob");
    assert_eq!(found.password_hash, bob.password_hash);
    assert_eq!(found.scram_verifier, bob.scram_verifier);
    assert_eq!(found.trust_mode, TrustMode::Cautious);
    assert_eq!(found.created_at, NOON);
    assert!(store.account(&mailbox("bob@plain.test")).await.unwrap().is_none());
}

pub async fn an_address_is_an_account_or_an_alias(bed: &dyn Bed) {
    let store = bed.open().await;
    let account = |text| Account {
        address: mailbox(text),
        password_hash: String::new(),
        scram_verifier: None,
        trust_mode: TrustMode::Trustful,
        created_at: NOON,
        trap_since: None,
        disabled_at: None,
        quota_bytes: None,
    };
    let (sales, bob, carol) = (
        mailbox("Sales@hismail.test"),
        mailbox("bob@hismail.test"),
        mailbox("carol@plain.test"),
    );
    store.add_account(account("bob@hismail.test")).await.unwrap();
    store.add_alias(&sales, &carol).await.unwrap();
    store.add_alias(&sales, &bob).await.unwrap();
    assert!(matches!(store.add_alias(&sales, &bob).await, Err(Error::Exists)));
    assert!(matches!(store.add_alias(&bob, &carol).await, Err(Error::Exists)));
    let taken = store.add_account(account("sales@hismail.test")).await;
    assert!(matches!(taken, Err(Error::Exists)));
    let targets = store.alias_targets(&mailbox("sales@hismail.test")).await.unwrap();
    assert_eq!(targets, [bob.clone(), carol]);
    assert!(store.alias_targets(&bob).await.unwrap().is_empty());
    // A list is read in another way.
    let list = mailbox("list@hismail.test");
    let members: Vec<_> = (100..170)
        .map(|number| mailbox(&format!("m{number}@plain.test")))
        .collect();
    for member in members.iter().rev() {
        store.add_alias(&list, member).await.unwrap();
    }
    assert_eq!(store.alias_targets(&list).await.unwrap(), members);
}

pub async fn domains_of_ours_keep_their_settings(bed: &dyn Bed) {
    let store = bed.open().await;
    assert_eq!(store.first_domain().await.unwrap(), None);
    let dime = LocalDomain {
        name: domain("hismail.test"),
        dime: Some(DimeSettings {
            policy: Policy::Strict,
            subdomain_policy: SubdomainPolicy::Explicit,
            expiry_days: Some(30),
            delivery_hosts: vec![domain("dx1.hismail.test"), domain("dx2.hismail.test")],
        }),
        created_at: NOON,
    };
    let plain = LocalDomain {
        name: domain("a.plain.test"),
        dime: None,
        created_at: noon_plus(1),
    };
    store.add_domain(dime.clone()).await.unwrap();
    store.add_domain(plain.clone()).await.unwrap();
    assert!(matches!(store.add_domain(dime.clone()).await, Err(Error::Exists)));
    assert_eq!(
        store.local_domain(&domain("hismail.test")).await.unwrap(),
        Some(dime.clone())
    );
    assert_eq!(store.local_domain(&domain("plain.test")).await.unwrap(), None);
    assert_eq!(store.first_domain().await.unwrap(), Some(plain.clone()));
    assert_eq!(store.list_domains().await.unwrap(), [plain.clone(), dime.clone()]);
    let settings = DimeSettings {
        expiry_days: None,
        ..dime.dime.clone().unwrap()
    };
    let joined = LocalDomain {
        dime: Some(settings.clone()),
        ..plain.clone()
    };
    assert!(store.set_dime(&plain.name, settings.clone()).await.unwrap());
    assert_eq!(
        store.local_domain(&plain.name).await.unwrap(),
        Some(joined.clone())
    );
    // What a domain with DIME says is not changed by it, and no domain is made.
    for name in [&plain.name, &dime.name, &domain("nowhere.test")] {
        assert!(!store.set_dime(name, settings.clone()).await.unwrap());
    }
    assert_eq!(store.list_domains().await.unwrap(), [joined, dime]);
}

pub async fn pins_are_replaced_and_dropped(bed: &dyn Bed) {
    let store = bed.open().await;
    let name = domain("hismail.test");
    let pin = |record: &str, secure| Pin {
        domain: name.clone(),
        record: record.into(),
        secure,
        first_seen_at: NOON,
        refresh_at: noon_plus(60),
        expires_at: noon_plus(600),
    };
    assert_eq!(store.pin(&name).await.unwrap(), None);
    store.set_pin(pin("ver=1 a", false)).await.unwrap();
    store.set_pin(pin("ver=1 b", true)).await.unwrap();
    assert_eq!(store.pin(&name).await.unwrap(), Some(pin("ver=1 b", true)));
    let other = Pin {
        domain: domain("hermail.test"),
        ..pin("ver=1 c", false)
    };
    store.set_pin(other.clone()).await.unwrap();
    let (first, second) = (
        (other.domain.clone(), Some(other)),
        (name.clone(), Some(pin("ver=1 b", true))),
    );
    assert_eq!(
        store.list_pins(None, 10).await.unwrap(),
        [first.clone(), second.clone()]
    );
    assert_eq!(
        store.list_pins(None, 1).await.unwrap(),
        std::slice::from_ref(&first)
    );
    assert_eq!(store.list_pins(Some(&first.0), 10).await.unwrap(), [second]);
    assert!(store.drop_pin(&name).await.unwrap());
    assert!(!store.drop_pin(&name).await.unwrap());
    assert_eq!(store.pin(&name).await.unwrap(), None);
}

pub async fn pins_are_dropped_some_time_after_they_have_expired(bed: &dyn Bed) {
    let store = bed.open().await;
    for minute in 0..600 {
        store
            .set_pin(Pin {
                domain: domain(&format!("domain{minute}.test")),
                record: "ver=1".into(),
                secure: minute % 2 == 0,
                first_seen_at: NOON,
                refresh_at: NOON,
                expires_at: noon_plus(minute),
            })
            .await
            .unwrap();
    }
    assert_eq!(store.drop_expired_pins(NOON).await.unwrap(), 0);
    let last = domain("domain598.test");
    assert!(store.pin(&last).await.unwrap().is_some());
    let mut dropped = Vec::new();
    while dropped.last() != Some(&0) {
        dropped.push(store.drop_expired_pins(noon_plus(599)).await.unwrap());
    }
    assert!(dropped.len() > 2, "not all in one transaction: {dropped:?}");
    assert_eq!(dropped.iter().sum::<u64>(), 599);
    assert_eq!(store.pin(&last).await.unwrap(), None);
    let left = store.list_pins(None, 10).await.unwrap();
    assert_eq!(left[0].0, domain("domain599.test"));
    assert_eq!(left.len(), 1);
}

pub async fn policies_are_replaced_and_go_when_they_have_expired(bed: &dyn Bed) {
    let store = bed.open().await;
    let entry = |name: &str, id: &str, fetched: u64, expires: u64| StsEntry {
        domain: domain(name),
        id: id.into(),
        policy: format!("version: STSv1\nmode: enforce\nmx: mx.{name}\nmax_age: 60\n"),
        fetched_at: noon_plus(fetched),
        expires_at: noon_plus(expires),
    };
    let [first, other] = [entry("plain.test", "1", 0, 10), entry("other.test", "1", 0, 20)];
    store.set_sts_policy(first.clone()).await.unwrap();
    store.set_sts_policy(other.clone()).await.unwrap();
    bed.close(store).await;
    let store = bed.open().await;
    assert_eq!(
        store.sts_policy(&first.domain).await.unwrap(),
        Some(first.clone())
    );
    let second = entry("plain.test", "2", 5, 15);
    store.set_sts_policy(second.clone()).await.unwrap();
    assert_eq!(store.sts_policy(&first.domain).await.unwrap(), Some(second));
    store
        .set_sts_policy(entry("third.test", "1", 15, 25))
        .await
        .unwrap();
    assert_eq!(store.sts_policy(&first.domain).await.unwrap(), None, "expired");
    assert_eq!(store.sts_policy(&other.domain).await.unwrap(), Some(other));
    assert_eq!(store.sts_policy(&domain("nobody.test")).await.unwrap(), None);
    bed.close(store).await;
}

pub async fn ageing_policies_are_listed_by_expiry(bed: &dyn Bed) {
    let store = bed.open().await;
    let ages = [
        ("month.test", 0, 3000),
        ("short.test", 0, 200),
        ("young.test", 90, 400),
        ("gone.test", 0, 110),
        ("half.test", 50, 170),
    ];
    for (name, fetched, expires) in ages {
        let entry = StsEntry {
            domain: domain(name),
            id: "1".into(),
            policy: "version: STSv1\n".into(),
            fetched_at: noon_plus(fetched),
            expires_at: noon_plus(expires),
        };
        store.set_sts_policy(entry).await.unwrap();
    }
    let list = async |after, limit| {
        let listed = store
            .ageing_sts_policies(
                noon_plus(110),
                noon_plus(after),
                Duration::from_secs(105 * 60),
                limit,
            )
            .await
            .unwrap();
        let names = listed.iter().map(|entry| entry.domain.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(list(110, 10).await, ["half.test", "short.test", "month.test"]);
    assert_eq!(list(110, 2).await, ["half.test", "short.test"]);
    assert_eq!(list(200, 2).await, ["month.test"]);
    bed.close(store).await;
}

pub async fn key_deposits_are_replaced_by_who_knows_their_version(bed: &dyn Bed) {
    let store = bed.open().await;
    let alice = mailbox("Alice@hermail.test");
    let put = |octets: &[u8], replaces| store.put_key_deposit(&alice, octets.to_vec(), replaces, NOON);
    assert_eq!(store.key_deposit(&alice).await.unwrap(), None);
    assert!(
        matches!(put(b"x", 1).await, Err(Error::Conflict)),
        "there is none"
    );
    assert_eq!(put(b"one", 0).await.unwrap(), 1);
    assert!(matches!(put(b"x", 0).await, Err(Error::Conflict)), "there is one");
    assert_eq!(put(b"two", 1).await.unwrap(), 2);
    assert!(matches!(put(b"x", u64::MAX).await, Err(Error::Conflict)));
    let found = store.key_deposit(&mailbox("alice@hermail.test")).await.unwrap();
    let expected = KeyDeposit {
        version: 2,
        octets: b"two".to_vec(),
    };
    assert_eq!(found, Some(expected));
    let other = mailbox("bob@hermail.test");
    assert_eq!(store.key_deposit(&other).await.unwrap(), None);
}

pub async fn an_enqueued_message_wakes_the_runner(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    // The change came before the wait, and is not lost.
    tokio::time::timeout(Duration::from_secs(10), store.changed())
        .await
        .unwrap();
    let again = Arc::clone(&store);
    let waiting = tokio::spawn(async move { again.changed().await });
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap()
        .unwrap();
}

pub async fn histories_have_both_ends_and_leave_out_what_is_out_of_service(bed: &dyn Bed) {
    let store = bed.open().await;
    let name = "bob@hismail.test";
    let signets: Vec<_> = (1..=4u8)
        .map(|n| signet(name, 10 * n, noon_plus(n.into())))
        .collect();
    for signet in &signets {
        store.publish_signet(signet.clone().into()).await.unwrap();
    }
    let any = |octet: u8| Some(AnyFingerprint([octet; 64]));
    let bounded = async |start, stop, signets, octets| {
        let most = RangeBound { signets, octets };
        let range = store.signet_range("Bob@hismail.test", start, stop, most).await;
        range.map(|objects| objects.map(|objects| objects.iter().map(|object| object[0]).collect::<Vec<_>>()))
    };
    let range = async |start, stop, signets| bounded(start, stop, signets, 1000).await.unwrap();
    assert_eq!(range(None, None, 10).await, Some(vec![10, 20, 30, 40]));
    assert_eq!(range(None, None, 4).await, Some(vec![10, 20, 30, 40]));
    for (signets, octets) in [(3, 1000), (4, 399)] {
        let refused = bounded(None, None, signets, octets).await;
        assert!(matches!(refused, Err(Error::TooLong)), "{refused:?}");
    }
    let fits = bounded(any(20), None, 3, 300).await.unwrap();
    assert_eq!(fits, Some(vec![20, 30, 40]), "only what is asked for counts");
    assert_eq!(range(any(20), None, 10).await, Some(vec![20, 30, 40]));
    assert_eq!(
        range(any(21), any(32), 10).await,
        Some(vec![20, 30]),
        "fingerprints of any kind"
    );
    assert_eq!(range(any(30), any(30), 10).await, Some(vec![30]));
    assert_eq!(range(any(30), any(20), 10).await, None);
    assert_eq!(range(any(50), None, 10).await, None);
    assert_eq!(range(None, any(50), 10).await, None);
    let most = RangeBound {
        signets: 10,
        octets: 1000,
    };
    let nobody = store.signet_range("eve@hismail.test", None, None, most).await;
    assert_eq!(nobody.unwrap(), None);

    let gone = [CryptoFingerprint([20; 64]), CryptoFingerprint([40; 64])];
    assert_eq!(store.revoke_signets(name, &gone, noon_plus(9)).await.unwrap(), 2);
    assert_eq!(store.revoke_signets(name, &gone, noon_plus(9)).await.unwrap(), 0);
    assert_eq!(range(None, None, 10).await, Some(vec![10, 30]));
    assert_eq!(range(any(20), None, 10).await, None);
    assert_eq!(
        store.current_signet(name).await.unwrap(),
        None,
        "an older one does not come back"
    );
    let found = async |octet| {
        store
            .signet_by_fingerprint(name, AnyFingerprint([octet; 64]))
            .await
            .unwrap()
    };
    assert_eq!(found(40).await, None);
    assert_eq!(found(30).await.as_ref(), Some(&signets[2]));
    let history = store.signet_history(name).await.unwrap();
    let revoked: Vec<_> = history.iter().map(|past| past.revoked_at).collect();
    assert_eq!(revoked, [None, Some(noon_plus(9)), None, Some(noon_plus(9))]);
}

pub async fn private_keys_of_replaced_signets_are_erased_when_they_are_due(bed: &dyn Bed) {
    let store = bed.open().await;
    let name = "bob@hismail.test";
    let publish = async |octet: u8, full: u8, erase_older_at| {
        let signet = StoredSignet {
            full: FullFingerprint([full; 64]),
            ..signet(name, octet, noon_plus(full.into()))
        };
        let publication = Publication {
            private_keys: Some(Secret::new(vec![octet; 40])),
            erase_older_at,
            ..signet.into()
        };
        store.publish_signet(publication).await.unwrap();
    };
    publish(10, 1, None).await;
    publish(20, 2, Some(noon_plus(100))).await;
    // Under the same keys: they are not old.
    publish(20, 3, Some(noon_plus(200))).await;
    publish(30, 4, Some(noon_plus(300))).await;
    // Another key set alone: the private keys are there already.
    let renewed = StoredSignet {
        full: FullFingerprint([5; 64]),
        ..signet(name, 30, noon_plus(5))
    };
    store.publish_signet(renewed.into()).await.unwrap();
    let history = async || {
        let history = store.signet_history(name).await.unwrap();
        let keys = history.iter().map(|past| (past.keys_kept, past.erase_keys_at));
        keys.collect::<Vec<_>>()
    };
    let (due, later) = (Some(noon_plus(100)), Some(noon_plus(300)));
    assert_eq!(
        history().await,
        [
            (true, due),
            (true, later),
            (true, later),
            (true, None),
            (true, None)
        ]
    );
    let kept = async |octet| {
        let signet = CryptoFingerprint([octet; 64]);
        store.private_keys(name, signet).await.unwrap().is_some()
    };
    assert_eq!(store.erase_private_keys(noon_plus(99)).await.unwrap(), 0);
    assert!(kept(10).await);
    assert_eq!(store.erase_private_keys(noon_plus(100)).await.unwrap(), 1);
    assert!(!kept(10).await && kept(20).await && kept(30).await);
    assert_eq!(store.erase_private_keys(noon_plus(299)).await.unwrap(), 0);
    assert_eq!(store.erase_private_keys(noon_plus(300)).await.unwrap(), 2);
    assert!(!kept(20).await && kept(30).await);
    let kept_now: Vec<_> = history().await.iter().map(|(kept, _)| *kept).collect();
    assert_eq!(kept_now, [false, false, false, true, true]);
    assert_eq!(store.erase_private_keys(noon_plus(9999)).await.unwrap(), 0);
}

pub async fn a_change_of_keys_takes_its_steps_from_the_state_it_is_in(bed: &dyn Bed) {
    use RolloverState as S;
    let store = bed.open().await;
    let name = "hismail.test";
    let replaces = CryptoFingerprint([7; 64]);
    let keys = Secret::new(b"new keys".to_vec());
    store
        .begin_rollover("HisMail.test", replaces, keys.clone(), NOON)
        .await
        .unwrap();
    let again = store.begin_rollover(name, replaces, keys.clone(), NOON).await;
    assert!(matches!(again, Err(Error::Exists)), "{again:?}");
    let begun = Rollover {
        name: name.into(),
        state: S::Generated,
        replaces,
        started_at: NOON,
        since: NOON,
        due_at: None,
    };
    assert_eq!(store.rollovers().await.unwrap(), std::slice::from_ref(&begun));
    assert_eq!(store.rollover_keys(name).await.unwrap(), Some(keys));
    let due = Some(noon_plus(60));
    let stale = store
        .advance_rollover(name, S::Seen, S::Active, noon_plus(1), due)
        .await;
    assert!(matches!(stale, Err(Error::Changed)), "{stale:?}");
    store
        .advance_rollover(name, S::Generated, S::Published, noon_plus(1), due)
        .await
        .unwrap();
    let published = Rollover {
        state: S::Published,
        since: noon_plus(1),
        due_at: due,
        ..begun
    };
    assert_eq!(store.rollover(name).await.unwrap(), Some(published));
    let stale = store.end_rollover(name, S::Generated).await;
    assert!(matches!(stale, Err(Error::Changed)), "{stale:?}");
    store.end_rollover(name, S::Published).await.unwrap();
    assert_eq!(store.rollover(name).await.unwrap(), None);
    assert_eq!(store.rollover_keys(name).await.unwrap(), None);
}

pub async fn a_request_waits_for_one_decision(bed: &dyn Bed) {
    let store = bed.open().await;
    let request = |octet: u8, minutes| SigningRequest {
        name: "pat@hismail.test".into(),
        object: vec![octet],
        key_set: None,
        submitted_at: noon_plus(minutes),
        rejected: None,
    };
    let (first, second) = (request(1, 1), request(2, 2));
    store.submit_request(first.clone()).await.unwrap();
    store.submit_request(second.clone()).await.unwrap();
    assert_eq!(
        store.signing_requests().await.unwrap(),
        std::slice::from_ref(&second)
    );
    let stale = store.reject_request(&first, "no", noon_plus(3)).await;
    assert!(matches!(stale, Err(Error::Changed)), "{stale:?}");
    assert!(!store.drop_request(&first).await.unwrap());
    store.reject_request(&second, "no", noon_plus(3)).await.unwrap();
    let rejected = store.signing_request("Pat@hismail.test").await.unwrap().unwrap();
    assert_eq!(rejected.rejected, Some((noon_plus(3), "no".into())));
    let twice = store.reject_request(&second, "no", noon_plus(4)).await;
    assert!(matches!(twice, Err(Error::Changed)), "{twice:?}");
    store.submit_request(first.clone()).await.unwrap();
    let waiting = store.signing_request("pat@hismail.test").await.unwrap();
    assert_eq!(waiting, Some(first.clone()), "a new request is undecided");
    assert!(store.drop_request(&first).await.unwrap());
    assert_eq!(store.signing_requests().await.unwrap(), []);
}

pub async fn a_domain_out_of_dime_is_still_served(bed: &dyn Bed) {
    use RetirementState as S;
    let store = bed.open().await;
    let name = domain("hismail.test");
    let served = LocalDomain {
        name: name.clone(),
        dime: Some(DimeSettings {
            policy: Policy::Mixed,
            subdomain_policy: SubdomainPolicy::Strict,
            delivery_hosts: vec![domain("dx.hismail.test")],
            expiry_days: Some(30),
        }),
        created_at: NOON,
    };
    store.add_domain(served).await.unwrap();
    store.begin_retirement(&name, NOON).await.unwrap();
    let again = store.begin_retirement(&name, NOON).await;
    assert!(matches!(again, Err(Error::Exists)), "{again:?}");
    let early = store.finish_retirement(&name).await;
    assert!(matches!(early, Err(Error::Changed)), "{early:?}");
    let due = Some(noon_plus(5));
    store
        .advance_retirement(&name, S::Announced, S::Withdrawn, noon_plus(1), due)
        .await
        .unwrap();
    let stale = store
        .advance_retirement(&name, S::Announced, S::Expiring, noon_plus(1), due)
        .await;
    assert!(matches!(stale, Err(Error::Changed)), "{stale:?}");
    let withdrawn = Retirement {
        name: name.clone(),
        state: S::Withdrawn,
        since: noon_plus(1),
        due_at: due,
    };
    assert_eq!(store.retirements().await.unwrap(), [withdrawn]);
    store.finish_retirement(&name).await.unwrap();
    assert_eq!(store.retirement(&name).await.unwrap(), None);
    assert_eq!(store.local_domain(&name).await.unwrap().unwrap().dime, None);
}

pub async fn pins_of_signing_keys_are_replaced_forgotten_and_expire(bed: &dyn Bed) {
    let store = bed.open().await;
    let pin = |octet: u8| CustodyPin {
        signing_key: VerifyingKey([octet; 32]),
        signet: CryptoFingerprint([octet; 64]),
    };
    let name = "bob@elsewhere.test";
    let put = async |before: Option<CustodyPin>, octet, minutes| {
        let after = Witnessed {
            pin: pin(octet),
            expires_at: noon_plus(minutes),
            as_author: true,
        };
        store.pin_custody(name, before, after, NOON).await.unwrap()
    };
    assert!(put(None, 1, 10).await);
    assert!(!put(None, 3, 10).await, "somebody else was faster");
    assert!(put(Some(pin(1)), 2, 20).await);
    assert!(!put(Some(pin(1)), 3, 30).await, "an older look does not undo it");
    let seen = async |minutes| {
        store
            .custody_pin("Bob@elsewhere.test", noon_plus(minutes))
            .await
            .unwrap()
    };
    assert_eq!(seen(19).await, Some(pin(2)));
    assert_eq!(seen(20).await, None);
    assert!(store.forget_custody_pin(name).await.unwrap());
    assert!(!store.forget_custody_pin(name).await.unwrap());
    assert_eq!(seen(0).await, None);
}
