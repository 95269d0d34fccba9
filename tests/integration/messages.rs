//! Realistic messages through repair, cleaning and both mappings: the body comes back octet for octet, the header block in
//! its canonical form (`dmime2.md` §16).
//!
//! `tests/messages` has two files per case. `NAME.eml` is the message. `NAME.expected` has in its first line the kinds of
//! its parts in the order of the document, then the canonical header block with the empty line that ends it. Those in
//! `mapped` are mapped as they are; those in `submitted` are first repaired and cleaned, as an author's server does.

use std::io::Cursor;
use std::path::Path;

use dimed::dime::convert::delivery::{ByData, by_data, safe_for_data};
use dimed::dime::convert::{
    How, check_dmime1, clean_on_entry, from_dmime1, rebuilt_header, to_dmime1, to_dmime2,
};
use dimed::dime::dmime2::ChunkType;
use dimed::mail::repair::{Error, Supplied, repair};

const SUPPLIED: Supplied<'_> = Supplied {
    date: "Fri, 15 Jan 2027 08:00:00 +0000",
    message_id: "<supplied@hermail.test>",
};

/// Runs `check` on the messages of a folder, in the order of their names: name, message, expectation.
fn each(folder: &str, check: impl Fn(&str, Vec<u8>, &[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/messages")
        .join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (messages, expected): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|path| path.extension().is_some_and(|extension| extension == "eml"));
    assert!(!messages.is_empty());
    assert_eq!(messages.len(), expected.len(), "each message has an expectation");
    for path in messages {
        let expected = std::fs::read(path.with_extension("expected")).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        check(name, std::fs::read(&path).unwrap(), &expected);
    }
}

/// What follows the first empty line.
fn body(message: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(message, b"\r\n\r\n");
    end.map_or(b"", |end| &message[end + 4..])
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Maps a message by both formats and back.
fn map(name: &str, message: &[u8], expected: &[u8]) {
    let kinds_end = memchr::memmem::find(expected, b"\r\n").unwrap();
    let (kinds, header) = (text(&expected[..kinds_end]), &expected[kinds_end + 2..]);
    let canonical = [header, body(message)].concat();
    as_format2(name, message, &kinds, &canonical);
    as_format1(name, message, &canonical);
    let safe = safe_for_data(canonical.into());
    assert_eq!(by_data(&safe), ByData::AsIs, "{name}");
}

fn as_format2(name: &str, message: &[u8], kinds: &str, canonical: &[u8]) {
    let content = to_dmime2(Cursor::new(message)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut rebuilt = rebuilt_header(&content.common_headers, &content.other_headers);
    let mut found = Vec::new();
    for part in &content.parts {
        found.push(match part.kind {
            ChunkType::Display => "display",
            _ => "attachment",
        });
        rebuilt.extend_from_slice(&message[part.body.start as usize..part.body.end as usize]);
    }
    assert_eq!(text(&rebuilt), text(canonical), "{name}");
    assert_eq!(rebuilt, canonical, "{name}");
    assert_eq!(found.join(" "), kinds, "{name}");
    // A canonical message is mapped to itself.
    let again = to_dmime2(Cursor::new(canonical)).unwrap();
    assert_eq!(again.common_headers, content.common_headers, "{name}");
    assert_eq!(again.other_headers, content.other_headers, "{name}");
}

fn as_format1(name: &str, message: &[u8], canonical: &[u8]) {
    check_dmime1(Cursor::new(message)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let rebuilt = from_dmime1(&to_dmime1(message.to_vec()).unwrap());
    assert_eq!(rebuilt.how, How::Mapped, "{name}");
    assert_eq!(text(&rebuilt.mime), text(canonical), "{name}");
    assert_eq!(rebuilt.mime, canonical, "{name}");
}

#[test]
fn messages_come_back_by_both_formats() {
    each("mapped", |name, message, expected| map(name, &message, expected));
}

#[test]
fn submitted_messages_are_repaired_and_come_back_by_both_formats() {
    each("submitted", |name, message, expected| {
        let repaired = repair(&message, &SUPPLIED).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            message.ends_with(body(&repaired)),
            "{name}: repair keeps the body"
        );
        let cleaned = clean_on_entry(&repaired, "mx.hermail.test");
        // SMTP demands CRLF; nothing else of the body is changed.
        let in_order = text(body(&repaired))
            .replace("\r\n", "\n")
            .replace(['\r', '\n'], "\r\n");
        assert_eq!(text(body(&cleaned)), in_order, "{name}");
        map(name, &cleaned, expected);
    });
}

/// Every message is one of mail programs; without its repair it would be refused or read as another.
#[test]
fn submitted_messages_need_their_repair() {
    each("submitted", |name, message, _| {
        let as_it_is = to_dmime2(Cursor::new(&message));
        let repaired = repair(&message, &SUPPLIED).unwrap();
        assert!(
            as_it_is.is_err() || repaired != message || name == "utf-8",
            "{name}"
        );
    });
    assert_eq!(
        repair(b"To: bob@hismail.test\r\n\r\n", &SUPPLIED),
        Err(Error::NoFrom)
    );
}
