//! Bodies in pieces: read back, overwritten, adopted; and what is remembered with them.

use std::io::{Read, Seek, SeekFrom, Write};

use dimed::store::blocking::{Appender, Reader, StoredBody, store_error};

use super::*;

/// Octets that differ from piece to piece.
fn octets(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 251) as u8).collect()
}

fn entry(digest: u8, until: Timestamp) -> ReplayEntry {
    ReplayEntry {
        key: [7; 32],
        digest: [digest; 16],
        until,
    }
}

/// Long after whatever clock the store has.
fn in_a_century() -> Timestamp {
    noon_plus(60 * 24 * 365 * 100)
}

async fn begin(store: &dyn Store, new: &NewMessage, octets: &[u8]) -> Box<dyn BodyWriter> {
    let mut writer = store.begin(new.id).await.unwrap();
    writer.write(octets).await.unwrap();
    writer
}

async fn read_back(writer: &mut Box<dyn BodyWriter>) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some(piece) = writer.read_piece(pieces.len() as u32).await.unwrap() {
        pieces.push(piece);
    }
    pieces
}

pub async fn an_expired_entry_keeps_nothing_out(bed: &dyn Bed) {
    let store = bed.open().await;
    for digest in [1, 2] {
        let new = message(&["bob@hismail.test"]);
        let writer = store.begin(new.id).await.unwrap();
        let committed = writer.commit_once(new, entry(digest, Timestamp(1))).await;
        assert_eq!(committed.unwrap(), Committed::Stored);
    }
    assert_eq!(store.list(None, 10).await.unwrap().len(), 2);
}

pub async fn a_body_can_be_cut_short_anywhere(bed: &dyn Bed) {
    let store = bed.open().await;
    let size = 3 * PIECE_BYTES + 10;
    let all = octets(size);
    let border = 2 * PIECE_BYTES;
    for cut in [
        0,
        1,
        PIECE_BYTES,
        border - 1,
        border,
        border + 1,
        size - 10,
        size - 1,
        size,
    ] {
        for more in [0, 1, PIECE_BYTES + 1] {
            let new = message(&["bob@hismail.test"]);
            let id = new.id;
            let mut writer = begin(&*store, &new, &all).await;
            assert!(matches!(
                writer.truncate(size as u64 + 1).await,
                Err(Error::Missing)
            ));
            writer.truncate(cut as u64).await.unwrap();
            assert_eq!(writer.size_bytes(), cut as u64);
            writer.write(&all[..more]).await.unwrap();
            let expected = [&all[..cut], &all[..more]].concat();
            assert!(read_back(&mut writer).await.concat() == expected, "{cut} {more}");
            writer.commit(new).await.unwrap();
            let mut stored = Vec::new();
            while let Some(piece) = store
                .read_piece(id, (stored.len() / PIECE_BYTES) as u32)
                .await
                .unwrap()
            {
                stored.extend(piece);
                if stored.len() % PIECE_BYTES != 0 {
                    break;
                }
            }
            assert!(stored == expected, "{cut} {more}");
        }
    }
}

/// `dmime2.md` §11, T3.
pub async fn an_object_is_committed_once(bed: &dyn Bed) {
    let store = bed.open().await;
    let tries = [
        (1, 10, Committed::Stored),
        (1, 10, Committed::Duplicate),
        (1, PIECE_BYTES + 1, Committed::Duplicate),
        (2, 10, Committed::Conflict),
        (2, PIECE_BYTES + 1, Committed::Conflict),
        (1, 10, Committed::Duplicate),
    ];
    for (digest, size, expected) in tries {
        let new = message(&["bob@hismail.test"]);
        let writer = begin(&*store, &new, &octets(size)).await;
        let committed = writer.commit_once(new, entry(digest, in_a_century())).await;
        assert_eq!(committed.unwrap(), expected);
    }
    assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
}

pub async fn a_follow_up_taken_before_is_left_out(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claim = claim_one(&*store, NOON).await;
    let follow_up = || FollowUp {
        message: message(&["alice@hermail.test"]),
        body: b"report".to_vec().into(),
        replay: Some(entry(1, in_a_century())),
    };
    let settled = settlements(&claim, SettledState::Expanded);
    let both = vec![follow_up(), follow_up()];
    store.settle(claim.lease, settled, both).await.unwrap();
    assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
    store.enqueue(follow_up()).await.unwrap();
    assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
}

pub async fn a_follow_up_that_clashes_with_one_taken_before_undoes_the_settlement(bed: &dyn Bed) {
    let store = bed.open().await;
    let follow_up = |digest| FollowUp {
        message: message(&["carol@plain.test"]),
        body: b"sealed".to_vec().into(),
        replay: Some(entry(digest, in_a_century())),
    };
    store.enqueue(follow_up(1)).await.unwrap();
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let claims = claim(&*store, NOON, 10).await;
    let claim = claims
        .iter()
        .find(|claim| claim.destination == domain("hismail.test"))
        .unwrap();
    let settled = settlements(claim, SettledState::Expanded);
    let clash = store.settle(claim.lease, settled, vec![follow_up(2)]).await;
    assert!(matches!(clash, Err(Error::Conflict)));
    settle(&*store, claim, SettledState::Relayed).await.unwrap();
    assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
}

pub async fn a_body_is_read_back_before_it_is_committed(bed: &dyn Bed) {
    let store = bed.open().await;
    for size in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 5] {
        let octets = octets(size);
        let new = message(&["bob@hismail.test"]);
        let mut writer = begin(&*store, &new, &octets).await;
        let pieces = read_back(&mut writer).await;
        let full = pieces.iter().rev().skip(1);
        assert!(full.clone().all(|piece| piece.len() == PIECE_BYTES));
        assert_eq!(pieces.concat(), octets);
        // It goes on from there.
        writer.write(b"end").await.unwrap();
        assert_eq!(writer.size_bytes(), size as u64 + 3);
        writer.commit(new.clone()).await.unwrap();
        assert_eq!(
            body(&*store, new.id).await.concat(),
            [&octets[..], b"end"].concat()
        );
    }
}

pub async fn a_body_is_overwritten_across_pieces_and_nowhere_else(bed: &dyn Bed) {
    let store = bed.open().await;
    let mut expected = octets(2 * PIECE_BYTES + 10);
    let new = message(&["bob@hismail.test"]);
    let mut writer = begin(&*store, &new, &expected).await;
    let size = expected.len();
    for place in [
        0..5,
        PIECE_BYTES - 3..PIECE_BYTES + 4,
        PIECE_BYTES..2 * PIECE_BYTES + 2,
        size - 4..size,
        size..size,
    ] {
        let patch = vec![0xEE; place.len()];
        writer.overwrite(place.start as u64, &patch).await.unwrap();
        expected[place].copy_from_slice(&patch);
    }
    for beyond in [size as u64 - 3, u64::MAX - 1] {
        let refused = writer.overwrite(beyond, b"four").await;
        assert!(matches!(refused, Err(Error::Missing)));
    }
    assert_eq!(read_back(&mut writer).await.concat(), expected);
    writer.commit(new.clone()).await.unwrap();
    assert_eq!(body(&*store, new.id).await.concat(), expected);
}

pub async fn a_spooled_body_is_adopted_with_the_settlement(bed: &dyn Bed) {
    let store = bed.open().await;
    for size in [0, 10, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1] {
        let octets = octets(size);
        let waiting = message(&["bob@hismail.test"]);
        enqueue(&*store, waiting).await;
        let claim = claim_one(&*store, NOON).await;
        let new = message(&["carol@plain.test"]);
        let spooled = begin(&*store, &new, &octets).await.finish();
        assert_eq!(spooled.size_bytes(), size as u64);
        assert!(spooled.held_bytes() <= PIECE_BYTES);
        let follow_up = FollowUp::new(new.clone(), FollowUpBody::Spooled(spooled));
        let settled = settlements(&claim, SettledState::Expanded);
        store.settle(claim.lease, settled, vec![follow_up]).await.unwrap();
        let adopted = claim_one(&*store, NOON).await;
        assert_eq!((adopted.message, adopted.size_bytes), (new.id, size as u64));
        assert_eq!(body(&*store, new.id).await.concat(), octets);
        settle(&*store, &adopted, SettledState::Relayed).await.unwrap();
    }
}

pub async fn a_spooled_body_that_nobody_adopts_is_swept(bed: &dyn Bed) {
    let store = bed.open().await;
    let new = message(&["bob@hismail.test"]);
    let spooled = begin(&*store, &new, &octets(2 * PIECE_BYTES)).await.finish();
    let clone = spooled.clone();
    drop(spooled);
    // Another message may not adopt it.
    let other = FollowUp::new(
        message(&["bob@hismail.test"]),
        FollowUpBody::Spooled(clone.clone()),
    );
    assert!(matches!(store.enqueue(other).await, Err(Error::Missing)));
    drop(clone);
    // The name is free again, pieces and all.
    let again = begin(&*store, &new, &octets(2 * PIECE_BYTES + 1)).await;
    again.commit(new.clone()).await.unwrap();
    assert_eq!(claim(&*store, NOON, 10).await.len(), 1);
}

pub async fn a_spooled_body_outlives_a_try_that_failed(bed: &dyn Bed) {
    let store = bed.open().await;
    enqueue(&*store, message(&["bob@hismail.test"])).await;
    let first = claim_one(&*store, NOON).await;
    let second = claim_one(&*store, noon_plus(5)).await;
    let new = message(&["carol@plain.test"]);
    let octets = octets(PIECE_BYTES + 1);
    let spooled = begin(&*store, &new, &octets).await.finish();
    let follow_up = FollowUp::new(new.clone(), FollowUpBody::Spooled(spooled));
    for (lease, succeeds) in [(first.lease, false), (second.lease, true)] {
        let settled = settlements(&second, SettledState::Expanded);
        let result = store.settle(lease, settled, vec![follow_up.clone()]).await;
        assert_eq!(result.is_ok(), succeeds);
    }
    drop(follow_up);
    assert_eq!(body(&*store, new.id).await.concat(), octets);
}

pub async fn a_ticket_stays_with_its_message(bed: &dyn Bed) {
    let store = bed.open().await;
    let plain = enqueue(&*store, message(&["bob@hismail.test"])).await;
    let new = NewMessage {
        ticket: Some(b"chunks and hashes".to_vec()),
        ..message(&["bob@hismail.test"])
    };
    let returnable = enqueue(&*store, new).await;
    assert_eq!(store.ticket(plain).await.unwrap(), None);
    let ticket = store.ticket(returnable).await.unwrap();
    assert_eq!(ticket.as_deref(), Some(&b"chunks and hashes"[..]));
    store.delete(Selection::All, NOON).await.unwrap();
    assert_eq!(store.ticket(returnable).await.unwrap(), None);
}

pub async fn bodies_are_read_and_written_from_threads_that_may_wait(bed: &dyn Bed) {
    let store = bed.open().await;
    let expected = octets(2 * PIECE_BYTES + 100);
    let new = message(&["bob@hismail.test"]);
    let mut writer = store.begin(new.id).await.unwrap();
    let octets = expected.clone();
    let writer = tokio::task::spawn_blocking(move || {
        for part in octets.chunks(70_001) {
            Appender::new(&mut *writer).write_all(part).unwrap();
        }
        assert_reads(Reader::new(&mut writer), &octets);
        writer
    });
    writer.await.unwrap().commit(new.clone()).await.unwrap();
    let stored = StoredBody {
        store: Arc::clone(&store),
        message: new.id,
        size_bytes: expected.len() as u64,
    };
    let reading = tokio::task::spawn_blocking(move || assert_reads(Reader::new(stored), &expected));
    reading.await.unwrap();
}

fn assert_reads(mut reader: impl Read + Seek, expected: &[u8]) {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(all == expected);
    let size = expected.len();
    for place in [0, PIECE_BYTES - 4, size - 8, 2 * PIECE_BYTES - 1] {
        reader.seek(SeekFrom::Start(place as u64)).unwrap();
        let mut found = [0; 8];
        reader.read_exact(&mut found).unwrap();
        assert_eq!(found, expected[place..place + 8]);
    }
    assert_eq!(reader.seek(SeekFrom::End(-3)).unwrap(), size as u64 - 3);
    assert_eq!(reader.seek(SeekFrom::Current(2)).unwrap(), size as u64 - 1);
    assert!(reader.seek(SeekFrom::Current(-(size as i64))).is_err());
    reader.seek(SeekFrom::Start(size as u64 + 1)).unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

pub async fn a_failure_of_the_store_comes_out_of_the_adapters(bed: &dyn Bed) {
    let store = bed.open().await;
    let stored = StoredBody {
        store,
        message: message(&[]).id,
        size_bytes: 10,
    };
    let read = tokio::task::spawn_blocking(move || Reader::new(stored).read(&mut [0; 8]));
    let failed = read.await.unwrap().unwrap_err();
    assert!(matches!(store_error(failed), Ok(Error::Missing)));
    let other = std::io::Error::other("not of the store");
    assert_eq!(store_error(other).unwrap_err().to_string(), "not of the store");
}

pub async fn every_content_and_source_survives(bed: &dyn Bed) {
    let store = bed.open().await;
    let contents = [Content::Mime, Content::Dmime1, Content::Dmime2, Content::Returned];
    for content in contents {
        let mut new = NewMessage {
            content,
            ..message(&["bob@hismail.test"])
        };
        new.envelope.source = Source::Domain(domain("hermail.test"));
        enqueue(&*store, new.clone()).await;
        let claim = claim_one(&*store, NOON).await;
        assert_eq!((claim.content, claim.envelope), (content, new.envelope));
    }
}
