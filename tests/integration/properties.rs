//! Whole messages of both formats: what an author writes is what a recipient reads, and nothing that was changed on the
//! way is accepted by whoever can check it.

use std::ops::Range;

use bytes::Bytes;
use dimed::crypto::suite::hpke::Suite;
use dimed::dime::convert::{from_dmime1, rebuilt_header, to_dmime1};
use dimed::dime::dmime1::chunk::{Actor, ChunkType};
use dimed::dime::dmime1::{Limits, Message};
use dimed::dime::dmime2::content::Opened;
use dimed::dime::dmime2::{self, Outline};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::fuzz::correspondents::{CORRESPONDENTS, body_of};
use super::fuzz::message2::mapped;

/// Data that need no, exactly one, just more than one, and several chunks, the record head of 12 octets included.
const SIZES: [usize; 7] = [0, 1, 65_518, 65_519, 65_520, 131_050, 131_051];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_comes_out_of_format_1_as_it_went_in(mime in message(), seed: u64) {
        prop_assert!(through_format1(&mime, seed) == mime);
    }

    #[test]
    fn any_message_comes_out_of_format_2_as_it_went_in(mime in message(), seed: u64) {
        prop_assert!(through_format2(Suite::X25519, &mime, seed) == mime);
    }

    #[test]
    fn any_message_comes_out_of_format_2_with_x_wing_as_it_went_in(mime in message(), seed: u64) {
        prop_assert!(through_format2(Suite::XWing, &mime, seed) == mime);
    }
}

#[test]
fn parts_of_every_length_around_a_chunk_come_out_as_they_went_in() {
    for size in SIZES {
        let body: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        for kind in ["text/plain", "image/png"] {
            let mime = [HEADER, "Content-Type: ", kind, "\r\n\r\n"].concat();
            let mime = [mime.as_bytes(), &body].concat();
            assert!(through_format1(&mime, 3) == mime, "{size} {kind}");
            assert!(through_format2(Suite::X25519, &mime, 3) == mime, "{size} {kind}");
        }
    }
}

/// Author, origin, destination, recipient, and the author with the sent copy.
fn through_format1(mime: &[u8], seed: u64) -> Vec<u8> {
    let them = &*CORRESPONDENTS;
    let content = to_dmime1(mime.to_vec()).expect("a message that can be mapped");
    let sealed = them.seal1(&content, seed).expect("content that can be sealed");
    let signed = them.sign1(&sealed).expect("a message that the origin signs");
    assert!(them.arrive1(&signed), "the destination");
    let read = them.read1(&signed).expect("the recipient");
    assert_eq!(them.read_copy1(&signed).as_ref(), Some(&read));
    from_dmime1(&read.content).mime
}

fn through_format2(suite: Suite, mime: &[u8], seed: u64) -> Vec<u8> {
    let them = &*CORRESPONDENTS;
    let sealed = them
        .seal(suite, &mapped(mime), mime, seed)
        .expect("content that can be sealed");
    let signed = them.sign(&sealed).expect("a message that the origin signs");
    them.arrive(&signed).expect("the destination");
    let read = rebuilt(&them.read(&signed).expect("the recipient"), &signed);
    let copy = rebuilt(&them.read_copy(&signed).expect("the author"), &signed);
    assert!(copy == read);
    read
}

fn rebuilt(opened: &Opened, object: &[u8]) -> Vec<u8> {
    let mut mime = rebuilt_header(&opened.common_headers, &opened.other_headers);
    mime.extend(body_of(opened, object).expect("content that was checked"));
    mime
}

const HEADER: &str = "Date: Fri, 15 Jan 2027 10:00:00 +0000\r\nTo: ben@destination.example\r\n\
    From: ada@origin.example\r\nSubject: figures\r\nMIME-Version: 1.0\r\n";

/// Messages with a canonical header block (`dmime2.md` §16.2), so that every octet has to come back.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let field = select(vec![
        "X-Mailer: m",
        "Reply-To: \"A, B\" <ada@origin.example>",
        "References: <a@b>\r\n <c@d>\r\n\t<e@f>",
        "X-Folded:\r\n  late",
        "List-Id: größer",
        "x-empty:",
    ]);
    let subject = "[ -~äöü€\u{1F600}]{0,40}".prop_map(|text| format!("s{text}e"));
    (subject, any::<bool>(), vec(field, 0..4), entity()).prop_map(|(subject, copied, fields, entity)| {
        let copy = if copied {
            "Cc: cy@elsewhere.example\r\n"
        } else {
            ""
        };
        let mut mime = format!(
            "Date: Fri, 15 Jan 2027 10:00:00 +0000\r\nTo: ben@destination.example\r\n{copy}\
             From: Ada <ada@origin.example>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        );
        fields.iter().for_each(|field| mime.extend([field, "\r\n"]));
        [mime.as_bytes(), &entity].concat()
    })
}

/// Header fields of one entity, an empty line, and its body: a leaf or a tree.
fn entity() -> impl Strategy<Value = Vec<u8>> {
    leaf().prop_recursive(4, 24, 4, |part| {
        let boundary = "[a-zA-Z0-9'()+_,./:=?-]{1,20}";
        let subtype = select(vec![
            "mixed",
            "alternative",
            "related",
            "signed; protocol=\"x/y\"",
            "encrypted",
        ]);
        let around = (octets(), octets(), any::<bool>());
        (boundary, subtype, vec(part, 0..4), around).prop_map(|(boundary, subtype, parts, around)| {
            let (preamble, epilogue, closed) = around;
            let mut out =
                format!("Content-Type: multipart/{subtype}; boundary=\"{boundary}\"\r\n\r\n").into_bytes();
            out.extend(preamble);
            for part in parts {
                out.extend(format!("\r\n--{boundary}\r\n").bytes());
                out.extend(part);
            }
            if closed {
                out.extend(format!("\r\n--{boundary}--\r\n").bytes());
                out.extend(epilogue);
            }
            out
        })
    })
}

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    let head = select(vec![
        "",
        "Content-Type: text/plain; charset=iso-2022-jp\r\n",
        "Content-Type: text/html\r\nContent-Disposition: inline\r\n",
        "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=\"a.txt\"\r\n",
        "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: application/pgp-signature; name=\"s.asc\"\r\n",
        "Content-Type: nonsense\r\n",
        "Content-Type: multipart/mixed\r\n",
    ]);
    (head, octets()).prop_map(|(head, body)| [head.as_bytes(), b"\r\n", &body].concat())
}

/// What mail programs send, and worse.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[ -~]{0,60}\r\n".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
        select(vec![
            &b"\r\n.\r\n"[..],
            b"--",
            b"--b\r\n",
            b"\r",
            b"\n",
            b"\0",
            b"\r\n\r\n",
            b"From x\r\n"
        ])
        .prop_map(<[u8]>::to_vec),
        (1000usize..1200).prop_map(|size| vec![b'x'; size]),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// With a size field, four octets at `at`, that says how many octets follow it.
fn resized(mut object: Vec<u8>, at: usize) -> Vec<u8> {
    let size = object.len().saturating_sub(at + 4) as u32;
    if let Some(field) = object.get_mut(at..at + 4) {
        field.copy_from_slice(&size.to_be_bytes());
    }
    object
}

/// A small message of format 2 in the author's and in the origin's form.
fn sealed2(suite: Suite) -> [Vec<u8>; 2] {
    let mime = [HEADER.as_bytes(), b"\r\nHello\r\n"].concat();
    let sealed = CORRESPONDENTS.seal(suite, &mapped(&mime), &mime, 5).unwrap();
    let signed = CORRESPONDENTS.sign(&sealed).unwrap();
    [sealed, signed]
}

fn assert_refused2(sealed: &[u8], signed: &[u8], what: &str) {
    let them = &*CORRESPONDENTS;
    assert!(them.sign(sealed).is_err(), "origin, {what}");
    assert!(
        them.read_copy(sealed).is_err(),
        "author before the origin, {what}"
    );
    assert!(them.arrive(signed).is_err(), "destination, {what}");
    assert!(them.read(signed).is_err(), "recipient, {what}");
    assert!(them.read_copy(signed).is_err(), "author, {what}");
}

/// Octets to change: all of the first ones, then so many that are spread over the rest.
fn places(size: usize, spread: usize) -> impl Iterator<Item = usize> {
    let front = size.min(24);
    (0..front).chain((0..spread).map(move |number| front + number * (size - front) / spread))
}

#[test]
fn everybody_refuses_every_flipped_bit_of_format_2() {
    for suite in [Suite::X25519, Suite::XWing] {
        let [mut sealed, mut signed] = sealed2(suite);
        for place in places(sealed.len(), 199) {
            let bit = 1 << (place * 5 % 8);
            sealed[place] ^= bit;
            signed[place] ^= bit;
            assert_refused2(&sealed, &signed, &format!("{suite}, bit {bit} of octet {place}"));
            sealed[place] ^= bit;
            signed[place] ^= bit;
        }
    }
}

#[test]
fn everybody_refuses_a_message_of_format_2_that_is_shorter_or_longer() {
    let [sealed, signed] = sealed2(Suite::X25519);
    for place in places(sealed.len(), 60) {
        assert_refused2(&sealed[..place], &signed[..place], &format!("cut at {place}"));
        let cut = |object: &[u8]| resized(object[..place].to_vec(), 4);
        assert_refused2(
            &cut(&sealed),
            &cut(&signed),
            &format!("cut at {place} and sized so"),
        );
        let without = |object: &[u8]| resized([&object[..place], &object[place + 1..]].concat(), 4);
        assert_refused2(
            &without(&sealed),
            &without(&signed),
            &format!("without octet {place}"),
        );
        let twice = |object: &[u8]| resized([&object[..=place], &object[place..]].concat(), 4);
        assert_refused2(&twice(&sealed), &twice(&signed), &format!("octet {place} twice"));
    }
    for end in [&b"\0"[..], b"\r\n", &signed] {
        assert_refused2(&[&sealed, end].concat(), &[&signed, end].concat(), "longer");
    }
}

/// A message of several parts in both forms, and where its chunks are.
fn sealed_parts(suite: Suite, seed: u64) -> ([Vec<u8>; 2], Vec<Range<usize>>) {
    const PARTS: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\
        --b\r\nContent-Type: image/png\r\n\r\nthree\r\n--b\r\nContent-Type: image/png\r\n\r\nfour\r\n--b--\r\n";
    let mime = [HEADER.as_bytes(), PARTS.as_bytes()].concat();
    let sealed = CORRESPONDENTS.seal(suite, &mapped(&mime), &mime, seed).unwrap();
    let signed = CORRESPONDENTS.sign(&sealed).unwrap();
    let outline = Outline::read(&sealed[..], &dmime2::Limits::default()).unwrap();
    let chunks = outline.chunks().iter();
    let places = chunks.map(|chunk| chunk.offset as usize..chunk.offset as usize + chunk.size);
    ([sealed, signed], places.collect())
}

/// Makes a message of two.
type Splice<'a> = &'a dyn Fn(&[u8], &[u8]) -> Vec<u8>;

/// One object whose chunks are these.
fn of_chunks<'a>(header: &[u8], chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let chunks: Vec<_> = chunks.into_iter().collect();
    resized([&header[..8], &chunks.concat()].concat(), 4)
}

#[test]
fn everybody_refuses_a_message_of_format_2_put_together_from_two_that_are_good() {
    for suite in [Suite::X25519, Suite::XWing] {
        let (one, places) = sealed_parts(suite, 5);
        let (other, same_places) = sealed_parts(suite, 6);
        assert_eq!((places.len(), &places), (11, &same_places));
        let refused = |what: String, splice: Splice<'_>| {
            let [sealed, signed] = [0, 1].map(|form| splice(&one[form], &other[form]));
            assert_refused2(&sealed, &signed, &format!("{suite}, {what}"));
        };
        let all = |object: &'_ [u8]| {
            places
                .iter()
                .map(|place| object[place.clone()].to_vec())
                .collect::<Vec<_>>()
        };
        let joined =
            |header: &[u8], chunks: Vec<Vec<u8>>| of_chunks(header, chunks.iter().map(Vec::as_slice));
        for (index, place) in places.iter().enumerate() {
            refused(format!("chunk {index} of another"), &|one, other| {
                let mut spliced = one.to_vec();
                spliced[place.clone()].copy_from_slice(&other[place.clone()]);
                spliced
            });
            refused(format!("all of another but chunk {index}"), &|one, other| {
                let mut spliced = other.to_vec();
                spliced[place.clone()].copy_from_slice(&one[place.clone()]);
                spliced
            });
            if place.end < one[0].len() {
                refused(format!("one up to chunk {index}, then another"), &|one, other| {
                    [&one[..place.end], &other[place.end..]].concat()
                });
            }
            refused(format!("without chunk {index}"), &|one, _| {
                let mut chunks = all(one);
                chunks.remove(index);
                joined(one, chunks)
            });
            refused(format!("chunk {index} twice"), &|one, other| {
                let (mut chunks, more) = (all(one), all(other));
                chunks.insert(index, more[index].clone());
                joined(one, chunks)
            });
            refused(
                format!("chunks {index} and the next changed places"),
                &|one, _| {
                    let mut chunks = all(one);
                    let next = (index + 1) % chunks.len();
                    chunks.swap(index, next);
                    joined(one, chunks)
                },
            );
            // The last slot there is the recipient's or the origin's, and before it stands another one's.
            if index > 0 {
                refused(format!("slots of chunk {index} changed places"), &|one, _| {
                    let mut spliced = one.to_vec();
                    let (front, last) = spliced[..place.end].split_at_mut(place.end - 48);
                    front[place.end - 96..].swap_with_slice(last);
                    spliced
                });
                refused(format!("a slot of another in chunk {index}"), &|one, other| {
                    let mut spliced = one.to_vec();
                    let slot = place.end - 48..place.end;
                    spliced[slot.clone()].copy_from_slice(&other[slot]);
                    spliced
                });
            }
        }
        // The encapsulations of chunk 2, each in the place of the next one.
        let size = (places[0].len() - 12) / 4;
        refused("encapsulations turned round".into(), &|one, _| {
            let mut spliced = one.to_vec();
            spliced[places[0].start + 12..places[0].end].rotate_left(size);
            spliced
        });
    }
}

/// A small message of format 1 in the author's and in the origin's form.
fn sealed1() -> [Vec<u8>; 2] {
    let mime = [HEADER.as_bytes(), b"\r\nHello\r\n"].concat();
    let content = to_dmime1(mime).unwrap();
    let sealed = CORRESPONDENTS.seal1(&content, 5).unwrap();
    let signed = CORRESPONDENTS.sign1(&sealed).unwrap();
    [sealed, signed]
}

/// Where nobody's signature reaches in what an actor checks (`dmime.md` §10): the slots that others have in the chunk of the
/// last signature that it verifies, and all that follows it.
fn is_open_to_change(signed: &[u8], actor: Actor, place: usize) -> bool {
    let message = Message::parse(Bytes::copy_from_slice(signed), &Limits::default()).unwrap();
    let last = match actor {
        Actor::Author | Actor::Origin => ChunkType::AuthorSignature,
        Actor::Destination | Actor::Recipient => ChunkType::OriginSignature,
    };
    let last = message.find(last).unwrap();
    let own_slot = last.keyslot_range(actor).unwrap();
    place >= last.payload_range().end && !own_slot.contains(&place)
}

#[test]
fn everybody_refuses_every_flipped_bit_of_format_1_that_a_signature_covers() {
    let them = &*CORRESPONDENTS;
    let [sealed, signed] = sealed1();
    for place in places(sealed.len(), 220) {
        let flipped = |object: &[u8]| {
            let mut object = object.to_vec();
            object[place] ^= 1 << (place * 5 % 8);
            object
        };
        let (submitted, sent) = (flipped(&sealed), flipped(&signed));
        for (actor, accepted) in [
            (Actor::Origin, them.sign1(&submitted).is_some()),
            (Actor::Destination, them.arrive1(&sent)),
            (Actor::Recipient, them.read1(&sent).is_some()),
            (Actor::Author, them.read_copy1(&sent).is_some()),
        ] {
            let open = is_open_to_change(&signed, actor, place);
            assert!(!accepted || open, "{actor:?} accepts a change of octet {place}");
        }
    }
}

#[test]
fn everybody_refuses_a_message_of_format_1_that_is_shorter_or_longer() {
    let them = &*CORRESPONDENTS;
    let [sealed, signed] = sealed1();
    let refused = |sealed: &[u8], signed: &[u8]| {
        them.sign1(sealed).is_none()
            && !them.arrive1(signed)
            && them.read1(signed).is_none()
            && them.read_copy1(signed).is_none()
    };
    for place in places(sealed.len(), 60) {
        assert!(refused(&sealed[..place], &signed[..place]), "cut at {place}");
        let cut = |object: &[u8]| resized(object[..place].to_vec(), 2);
        assert!(
            refused(&cut(&sealed), &cut(&signed)),
            "cut at {place} and sized so"
        );
        let without = |object: &[u8]| resized([&object[..place], &object[place + 1..]].concat(), 2);
        assert!(
            refused(&without(&sealed), &without(&signed)),
            "without octet {place}"
        );
    }
    for end in [&b"\0"[..], b"\r\n", &signed] {
        assert!(refused(&[&sealed, end].concat(), &[&signed, end].concat()));
    }
}
