//! A source that is another one when the content is written than when it was checked. Chunks are not hashed again then,
//! and need not be: what does not open under the reader's own slot never comes out.

use super::*;

/// Long enough for several chunks of one record.
fn long(octet: u8) -> Vec<u8> {
    (0..200_000_u32)
        .map(|number| octet ^ (number % 251) as u8)
        .collect()
}

fn long_message(body: &[u8], seed: u64) -> Vec<u8> {
    let mut sealed = Vec::new();
    let (parties, content) = (PAIR.parties(Suite::X25519), content(200_000, 60_000));
    let mut rng = StdRng::seed_from_u64(seed);
    let key = &PAIR.from.user_keys.signing;
    seal::write(&parties, key, &content, Cursor::new(body), &mut sealed, &mut rng).unwrap();
    PAIR.signed(sealed)
}

/// What comes out of `changed`, of a message that was checked before it changed.
fn written(opened: &Opened, changed: &[u8]) -> (Vec<u8>, Result<(), Error>) {
    let mut out = Vec::new();
    let ended = opened.write_body(Cursor::new(changed), &mut out);
    (out, ended)
}

/// Offsets and sizes of the chunks of the body.
fn chunks(message: &[u8]) -> Vec<std::ops::Range<usize>> {
    let outline = Outline::read(message, &Limits::default()).unwrap();
    let of_body = |kind| matches!(kind, ChunkType::Display | ChunkType::Attachment);
    let chunks = outline.chunks().iter().filter(|chunk| of_body(chunk.kind));
    chunks
        .map(|chunk| chunk.offset as usize..chunk.offset as usize + chunk.size)
        .collect()
}

#[test]
fn nothing_comes_out_of_a_chunk_that_changed_after_it_was_checked() {
    let body = long(0);
    let message = long_message(&body, 3);
    let opened = PAIR.read(&message).unwrap();
    let chunks = chunks(&message);
    assert!(chunks.len() >= 4, "{}", chunks.len());
    for chunk in &chunks {
        let slot = chunk.end - 48;
        let tag = chunk.end - 3 * 48 + 32;
        for (place, rule) in [
            (chunk.start + 4, Rule::K3),
            (chunk.start + 35, Rule::K3),
            (chunk.start + 36, Rule::K4),
            (tag - 1, Rule::K4),
            (tag, Rule::K4),
            (tag + 15, Rule::K4),
            (slot, Rule::K2),
            (chunk.end - 1, Rule::K2),
        ] {
            let mut changed = message.clone();
            changed[place] ^= 1;
            let (out, ended) = written(&opened, &changed);
            assert_eq!(ended.unwrap_err().rule(), Some(rule), "{}", place - chunk.start);
            assert!(body.starts_with(&out) && out.len() < body.len());
        }
        // The author's slot is nothing to the recipient, and the head was read with the outline.
        for place in [chunk.start, chunk.start + 3, slot - 1] {
            let mut changed = message.clone();
            changed[place] ^= 1;
            let (out, ended) = written(&opened, &changed);
            assert!(ended.is_ok() && out == body, "{}", place - chunk.start);
        }
    }
}

#[test]
fn chunks_of_other_places_and_other_messages_stay_shut() {
    let body = long(0);
    let message = long_message(&body, 3);
    let opened = PAIR.read(&message).unwrap();
    let chunks = chunks(&message);
    // From the same author to the same recipient, at the same time and of the same shape.
    let other = long_message(&long(0xff), 4);
    assert_eq!(other.len(), message.len());
    for chunk in &chunks {
        let mut changed = message.clone();
        changed[chunk.clone()].copy_from_slice(&other[chunk.clone()]);
        let (out, ended) = written(&opened, &changed);
        assert_eq!(ended.unwrap_err().rule(), Some(Rule::K2));
        assert!(body.starts_with(&out));
    }
    let whole: Vec<_> = chunks
        .iter()
        .filter(|chunk| chunk.len() == chunks[0].len())
        .collect();
    let [first, second, ..] = whole[..] else {
        panic!("no two chunks of one size");
    };
    let mut changed = message.clone();
    changed.copy_within(first.clone(), second.start);
    let (out, ended) = written(&opened, &changed);
    assert_eq!(ended.unwrap_err().rule(), Some(Rule::K2));
    assert!(body.starts_with(&out));

    let (out, ended) = written(&opened, &message[..chunks[1].end - 1]);
    assert!(matches!(ended, Err(Error::Io(_))));
    assert!(body.starts_with(&out));
    let (out, ended) = written(&opened, &other);
    assert_eq!((out.len(), ended.unwrap_err().rule()), (0, Some(Rule::K2)));
    // A record alone is no exception.
    let record = &opened.records()[1];
    let mut out = Vec::new();
    let ended = opened.write_record(record, Cursor::new(&other), &mut out);
    assert_eq!((out.len(), ended.unwrap_err().rule()), (0, Some(Rule::K2)));
}
