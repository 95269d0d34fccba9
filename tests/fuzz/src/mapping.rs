//! Between MIME messages and what is sealed, and the cleaning of mail from outside.

use bytes::Bytes;
use dimed::dime::convert::clean::EntryCleaner;
use dimed::dime::convert::delivery::{ByData, by_data, safe_for_data};
use dimed::dime::convert::{How, Rebuilt, clean_on_entry, from_dmime1, to_dmime1};
use dimed::dime::dmime1::Content;

/// Name of the server that cleans.
const SERVER: &str = "mx.destination.example";

/// A mapped message comes back with its body, and maps again to the same content; any content can be delivered.
pub fn mapping(input: &[u8]) {
    if let Ok(content) = to_dmime1(input.to_vec()) {
        let Rebuilt { mime, how } = from_dmime1(&content);
        assert_eq!(how, How::Mapped);
        assert_eq!(body(&mime), body(input), "the body changed");
        assert_eq!(to_dmime1(mime.clone()).as_ref(), Ok(&content));
        assert_eq!(from_dmime1(&content).mime, mime);
    }
    check_delivery(&foreign(input));
}

/// What follows the first empty line.
fn body(mime: &[u8]) -> &[u8] {
    if let Some(body) = mime.strip_prefix(b"\r\n") {
        return body;
    }
    let end = mime.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(&[], |end| &mime[end + 4..])
}

/// Content that other software might have sealed: pieces of the input, cut at zero octets.
fn foreign(input: &[u8]) -> Content {
    let mut pieces = input.split(|octet| *octet == 0).map(Bytes::copy_from_slice);
    let mut next = || pieces.next().unwrap_or_default();
    let (common_headers, other_headers, display) = (next(), next(), vec![next()]);
    Content {
        common_headers,
        other_headers,
        display,
        attachments: pieces.collect(),
    }
}

/// Whatever was sealed can be handed on in lines, and two readers of a mapped message see one text.
fn check_delivery(content: &Content) {
    let Rebuilt { mime, how } = from_dmime1(content);
    if how == How::Mapped {
        let again = to_dmime1(mime.clone()).expect("a mapped message can be mapped");
        assert_eq!(again.display, content.display, "two texts under one signature");
        assert_eq!(again.attachments, content.attachments);
    }
    assert_eq!(by_data(&safe_for_data(mime.into())), ByData::AsIs);
}

/// However a message is cut, it is cleaned alike; no marker and no bare line end is left; cleaning again changes nothing.
///
/// The first octet of the input is the size of the pieces.
pub fn clean(input: &[u8]) {
    let Some((size, message)) = input.split_first() else {
        return;
    };
    let at_once = clean_on_entry(message, SERVER);
    let mut cleaner = EntryCleaner::new(SERVER);
    let pieces = message.chunks(usize::from(*size) + 1);
    let mut out: Vec<u8> = pieces.flat_map(|piece| cleaner.push(piece)).collect();
    out.extend(cleaner.finish());
    assert_eq!(out, at_once);
    assert_eq!(clean_on_entry(&at_once, SERVER), at_once);
    assert_no_bare_line_end(&at_once);
    let header = at_once
        .split(|octet| *octet == b'\n')
        .take_while(|line| *line != b"\r");
    for line in header {
        let marker = line
            .get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"DIME-"));
        assert!(!marker || !line.contains(&b':'), "a marker from outside");
    }
}

fn assert_no_bare_line_end(message: &[u8]) {
    let mut before = None;
    for &octet in message {
        assert_eq!(before == Some(b'\r'), octet == b'\n', "a bare CR or LF");
        before = Some(octet);
    }
    assert_ne!(before, Some(b'\r'));
}
