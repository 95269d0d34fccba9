//! Messages of format 2 as each of the four actors meets them.

use std::io::Cursor;
use std::sync::LazyLock;

use dimed::crypto::suite::hpke::Suite;
use dimed::dime::convert::to_dmime2;
use dimed::dime::dmime2::content::Opened;
use dimed::dime::dmime2::headers::{check_common, check_other};
use dimed::dime::dmime2::seal::{Content, Part};
use dimed::dime::dmime2::{ChunkType, Limits, Outline};

use super::correspondents::{CORRESPONDENTS, body_of};
use super::hostile::Hostile;

/// Two parts, one of them shown, with text around them.
const LETTER: &str = "Date: Fri, 15 Jan 2027 10:00:00 +0000\r\nTo: ben@destination.example\r\n\
    From: ada@origin.example\r\nSubject: plan\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\nHello\r\n--b\r\n\
    Content-Type: image/png\r\n\r\n\0\x01\x02\r\n--b--\r\nepilogue";

/// Just a text.
const NOTE: &str = "Date: Fri, 15 Jan 2027 10:00:00 +0000\r\nFrom: ada@origin.example\r\n\r\nHello\r\n";

/// What the author has sealed and the origin has signed: as submitted, as sent on.
static SENT: LazyLock<Vec<[Vec<u8>; 2]>> = LazyLock::new(|| {
    let letters = [
        (NOTE, Suite::X25519),
        (LETTER, Suite::X25519),
        (NOTE, Suite::XWing),
    ];
    (1..)
        .zip(letters)
        .map(|(seed, (letter, suite))| {
            let sealed = CORRESPONDENTS
                .seal(suite, &mapped(letter.as_bytes()), letter.as_bytes(), seed)
                .expect("a letter that can be sealed");
            let signed = CORRESPONDENTS
                .sign(&sealed)
                .expect("a letter that the origin signs");
            [sealed, signed]
        })
        .collect()
});

/// All of them: seeds that accept, so that a fuzzer starts from what is good.
pub fn sent() -> &'static [[Vec<u8>; 2]] {
    &SENT
}

/// The content of a message that can be mapped.
pub fn mapped(mime: &[u8]) -> Content {
    to_dmime2(Cursor::new(mime)).expect("a message that can be mapped")
}

/// Chunks tile the object; and whatever an actor accepts is, octet for octet, a message that was sealed and signed.
pub fn message(input: &[u8]) {
    let Ok(outline) = Outline::read(input, &Limits { size: 1 << 20 }) else {
        return;
    };
    check_layout(&outline, input);
    let submitted = SENT.iter().any(|[sealed, _]| sealed == input);
    let sent = SENT.iter().any(|[_, signed]| signed == input);
    let them = &*CORRESPONDENTS;
    assert_eq!(them.sign(input).is_ok(), submitted, "the origin");
    assert_eq!(them.arrive(input).is_ok(), sent, "the destination");
    assert_eq!(them.read(input).is_ok(), sent, "the recipient");
    assert_eq!(them.read_copy(input).is_ok(), submitted || sent, "the author");
}

/// See `dmime2.md` §5 and §13 P.
fn check_layout(outline: &Outline, input: &[u8]) {
    assert_eq!(outline.size(), input.len() as u64);
    let mut end = 8;
    for chunk in outline.chunks() {
        assert_eq!(chunk.offset, end, "a gap between chunks");
        assert_eq!(input[end as usize], chunk.kind.id());
        end += chunk.size as u64;
    }
    assert_eq!(end, outline.size());
    let kinds: Vec<_> = outline.chunks().iter().map(|chunk| chunk.kind).collect();
    assert!(
        kinds
            .windows(2)
            .all(|pair| pair[0] < pair[1] || pair[0] == pair[1] && pair[0].repeats())
    );
    let must = ChunkType::ALL.into_iter().filter(|kind| {
        !matches!(
            kind,
            ChunkType::OtherHeaders | ChunkType::Display | ChunkType::Attachment
        )
    });
    assert!(must.clone().all(|kind| kinds.contains(&kind)));
    assert_eq!(
        outline.created(),
        u64::from_be_bytes(*input[12..].first_chunk().unwrap())
    );
}

/// What an author and an origin who do not keep the rules can do to a recipient: put any plaintext into any chunk.
///
/// Octet 0 of the input chooses the chunk, octet 1 whether the rest is data or the plaintext itself.
pub fn plaintext(input: &[u8]) {
    static LETTER_OF_HOSTILE: LazyLock<Hostile> = LazyLock::new(|| {
        let letter = LETTER.as_bytes();
        Hostile::new(Suite::X25519, &mapped(letter), letter, 9)
    });
    let Some((&[which, how], octets)) = input.split_first_chunk() else {
        return;
    };
    let mut hostile = LETTER_OF_HOSTILE.clone();
    // Chunk 2 has no plaintext, the last two are for the signatures.
    let index = 1 + usize::from(which) % (hostile.count() - 3);
    if how & 1 == 0 {
        hostile.put(index, octets);
    } else {
        let plaintext = hostile.plaintext(index);
        let size = octets.len().min(plaintext.len());
        plaintext[..size].copy_from_slice(&octets[..size]);
    }
    check_hostile(&hostile.clone().sealed(), &hostile.signed());
}

fn check_hostile(sealed: &[u8], object: &[u8]) {
    let them = &*CORRESPONDENTS;
    let read = match them.read(object) {
        Ok(opened) => opened,
        Err(error) => {
            let rule = error.rule().expect("a rule that is broken").name();
            assert!("KEHM".contains(&rule[..1]), "{rule}");
            return;
        }
    };
    assert_eq!(
        them.sign(sealed).ok().as_deref(),
        Some(object),
        "the origin signs otherwise"
    );
    assert!(
        them.arrive(object).is_ok(),
        "the destination refuses what the recipient reads"
    );
    assert!(
        them.read_copy(object).is_ok(),
        "the author cannot read what the recipient reads"
    );
    assert_eq!(check_common(&read.common_headers), Ok(()));
    assert!(read.other_headers.is_empty() || check_other(&read.other_headers).is_ok());
    check_again(&read, &body_of(&read, object).expect("content that was checked"));
}

/// What a recipient accepts, an honest author could have sealed.
fn check_again(read: &Opened, body: &[u8]) {
    let mut at = 0;
    let mut parts: Vec<Part> = Vec::new();
    for record in read.records() {
        let body = at..at + record.size;
        at = body.end;
        parts.push(Part {
            kind: record.kind,
            head: record.head,
            body,
        });
    }
    assert_eq!(at, body.len() as u64);
    let content = Content {
        common_headers: read.common_headers.clone(),
        other_headers: read.other_headers.clone(),
        parts,
    };
    let them = &*CORRESPONDENTS;
    let sealed = them
        .seal(Suite::X25519, &content, body, 10)
        .expect("content that was accepted");
    let again = them.read(&them.sign(&sealed).unwrap()).unwrap();
    assert_eq!(again.common_headers, read.common_headers);
    assert_eq!(again.other_headers, read.other_headers);
}
